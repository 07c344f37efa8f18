"""The losses as the sums they are, written as loops."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.train.alike import Alike, described
from mmn_index.train.losses import Batch, LossConfig, iou_loss, mmn_losses

from mmn_index.errors import ConfigError
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings

GRID = ProposalGrid(6, (3, 1))


def make(seed: int, counts: list[int]) -> tuple[Embeddings, Embeddings, Batch]:
    """Random unit embeddings of len(counts) videos, with so many sentences each."""
    generator = torch.Generator().manual_seed(seed)

    def units(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(
            torch.randn(*shape, 4, generator=generator, dtype=torch.float64), dim=-1
        )

    total = sum(counts)
    start = torch.rand(total, generator=generator, dtype=torch.float64) * 8
    moments = torch.stack(
        [start, start + 0.5 + torch.rand(total, generator=generator, dtype=torch.float64) * 6], dim=1
    )
    of = torch.tensor([video for video, count in enumerate(counts) for _ in range(count)])
    videos = Embeddings(units(len(counts), len(GRID)), units(len(counts), len(GRID)))
    return videos, Embeddings(units(total), units(total)), Batch(of, moments, GRID.iou_targets(moments, 12.0))


def with_alike(batch: Batch, names: list[int], config: LossConfig) -> Batch:
    """The batch where sentences of one name are alike, as the objective makes it."""
    meanings = torch.tensor([(name, -1) for name in names])
    pairs = Alike(None, cosine=0.0, labels=False)(meanings, meanings) & (
        batch.video_of[:, None] != batch.video_of
    )
    near = batch.targets >= config.negative_iou
    return replace(
        batch, alike=pairs, described=described(pairs, batch.video_of, near, int(batch.video_of.max()) + 1)
    )


def slow_losses(
    videos: Embeddings, texts: Embeddings, batch: Batch, config: LossConfig, names: list[int] | None = None
) -> tuple[float, float, float]:
    """Sentences of different videos with one of `names` are alike; without names, none are."""
    of, y = batch.video_of.tolist(), batch.targets
    names = names or list(range(len(of)))

    def is_described(s: int, b: int, p: int) -> bool:
        return any(
            of[t] == b != of[s] and names[t] == names[s] and float(y[t, p]) >= config.negative_iou
            for t in range(len(of))
        )

    others = [
        math.log(1 + math.exp(10 * float(texts.iou[s] @ videos.iou[b, p])))
        for s in range(len(of))
        for b in range(len(videos.iou))
        for p in range(len(GRID))
        if b != of[s] and not is_described(s, b, p)
    ]
    count, proposals = len(of), len(GRID)
    entropy, video, sentence, positives = 0.0, 0.0, 0.0, 0
    for s in range(count):
        for p in range(proposals):
            q = 1 / (1 + math.exp(-10 * float(texts.iou[s] @ videos.iou[of[s], p])))
            target = min(1.0, max(0.0, (float(y[s, p]) - config.min_iou) / (config.max_iou - config.min_iou)))
            entropy -= target * math.log(q) + (1 - target) * math.log(1 - q)
        for p in (
            y[s].topk(config.num_positives).indices.tolist()
        ):  # equal IoUs leave a choice that is not the formula's
            positives += 1
            v = videos.contrastive[of[s], p]
            own = math.exp((float(texts.contrastive[s] @ v) - config.margin) / config.tau_video)
            z = own
            for t in range(count):
                apart = slow_iou(batch.moments[s], batch.moments[t]) < config.sentence_removal_iou
                if t != s and (apart if of[t] == of[s] else names[t] != names[s]):
                    z += math.exp(float(texts.contrastive[t] @ v) / config.tau_video)
            video -= math.log(own / z)
            own = math.exp((float(texts.contrastive[s] @ v) - config.margin) / config.tau_sentence)
            z = own + 1e-6
            for b in range(len(videos.contrastive)):
                for other in range(proposals):
                    if is_described(s, b, other):
                        continue
                    near = b == of[s] and y[s, other] >= config.negative_iou
                    z += (
                        1.0
                        if near
                        else math.exp(
                            float(texts.contrastive[s] @ videos.contrastive[b, other]) / config.tau_sentence
                        )
                    )
            sentence -= math.log(own / z)
    iou = entropy / (count * proposals) + config.iou_negatives * sum(others) / max(1, len(others))
    return iou, video / positives, sentence / positives


def slow_iou(a: torch.Tensor, b: torch.Tensor) -> float:
    inner = max(0.0, float(min(a[1], b[1]) - max(a[0], b[0])))
    return inner / float((a[1] - a[0]) + (b[1] - b[0]) - inner)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    k=st.integers(1, 3),
)
def test_the_losses_are_their_sums(seed: int, counts: list[int], k: int) -> None:
    videos, texts, batch = make(seed, counts)
    config = LossConfig(
        num_positives=k,
        margin=0.3,
        tau_video=0.2,
        tau_sentence=0.15,
        sentence_removal_iou=0.4,
        negative_iou=0.45,
    )
    losses = mmn_losses(videos, texts, batch, config)
    expected = slow_losses(videos, texts, batch, config)
    assert [losses.iou.item(), losses.video.item(), losses.sentence.item()] == pytest.approx(
        expected, rel=1e-9
    )
    assert losses.total(0.05).item() == pytest.approx(expected[0] + 0.05 * (expected[1] + expected[2]))


def test_gradients_reach_both_sides_and_are_finite() -> None:
    videos, texts, batch = make(0, [2, 1])
    leaves = [x.clone().requires_grad_() for x in (*videos, *texts)]
    losses = mmn_losses(Embeddings(*leaves[:2]), Embeddings(*leaves[2:]), batch, LossConfig())
    torch.autograd.backward(losses.total(1.0))
    for leaf in leaves:
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().max() > 0


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    names=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=3),
    k=st.integers(1, 3),
)
def test_alike_sentences_are_no_negatives_and_the_iou_head_sees_other_videos(
    seed: int, names: list[list[int]], k: int
) -> None:
    videos, texts, batch = make(seed, [len(of_video) for of_video in names])
    flat = [name for of_video in names for name in of_video]
    config = LossConfig(
        num_positives=k, margin=0.3, tau_video=0.2, tau_sentence=0.15, negative_iou=0.35, iou_negatives=0.7
    )
    losses = mmn_losses(videos, texts, with_alike(batch, flat, config), config)
    expected = slow_losses(videos, texts, batch, config, flat)
    assert [losses.iou.item(), losses.video.item(), losses.sentence.item()] == pytest.approx(
        expected, rel=1e-9
    )


def test_where_nothing_is_alike_the_losses_are_the_paper_s_to_the_bit() -> None:
    videos, texts, batch = make(3, [2, 1, 2])
    plain = mmn_losses(videos, texts, batch, LossConfig())
    same = mmn_losses(videos, texts, with_alike(batch, [0, 1, 2, 3, 4], LossConfig()), LossConfig())
    assert (plain.iou, plain.video, plain.sentence) == (same.iou, same.video, same.sentence)
    more = mmn_losses(videos, texts, batch, LossConfig(iou_negatives=1.0))
    assert (more.video, more.sentence) == (plain.video, plain.sentence)
    assert more.iou > plain.iou


def test_an_alike_pair_has_no_gradient() -> None:
    """Two videos of one sentence each: what the first one's losses do to the second video's matching
    proposals.
    """
    config = LossConfig(iou_negatives=1.0, negative_iou=0.35)
    videos, texts, batch = make(5, [1, 1])
    near = batch.targets[1] >= config.negative_iou
    assert near.any()
    assert not near.all()

    def gradients(batch: Batch, *, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a loss, by the first sentence and by the second video, where the first sentence alone asks."""
        leaves = [x.clone().requires_grad_() for x in (*videos, *texts)]
        alone = replace(
            batch,
            video_of=batch.video_of[:1],
            moments=batch.moments[:1],
            targets=batch.targets[:1],
            alike=None,
            described=None if batch.described is None else batch.described[:1],
        )
        losses = mmn_losses(Embeddings(*leaves[:2]), Embeddings(leaves[2][:1], leaves[3][:1]), alone, config)
        getattr(losses, loss).backward()
        space = 1 if loss == "iou" else 0
        assert leaves[space].grad is not None
        assert leaves[2 + space].grad is not None
        return leaves[2 + space].grad[0], leaves[space].grad[1]

    alike = with_alike(batch, [0, 0], config)
    for loss in ("sentence", "iou"):
        _, before = gradients(batch, loss=loss)
        _, after = gradients(alike, loss=loss)
        assert before.abs().sum(dim=1).min() > 0  # every proposal of the other video was a negative
        assert (after[near] == 0).all()
        assert after[~near].abs().sum(dim=1).min() > 0
    leaves = texts.contrastive.clone().requires_grad_()
    loss = mmn_losses(videos, Embeddings(leaves, texts.iou), alike, config).video
    loss.backward()
    assert loss == 0  # each positive is compared with its own sentence alone
    assert leaves.grad is not None
    assert leaves.grad.abs().max() < 1e-12


def test_gradients_do_not_depend_on_which_thread_is_first() -> None:
    """Several sentences of one video add to the same gradient."""
    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    videos = torch.randn(4, 428, 64, generator=generator).requires_grad_()
    sentences = torch.randn(13, 64, generator=generator)
    of = torch.tensor([0] * 2 + [1] * 7 + [2] * 2 + [3] * 2)
    batch = Batch(of, torch.zeros(13, 2), torch.rand(13, 428, generator=generator))
    try:
        torch.set_num_threads(2)
        found = [
            torch.autograd.grad(iou_loss(videos, sentences, batch, LossConfig()), videos)[0]
            for _ in range(40)
        ]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize(
    "bad",
    [
        {"tau_video": 0.0},
        {"tau_sentence": 0.0},
        {"tau_video": -0.1},
        {"num_positives": 0},
        {"min_iou": 1.0},
        {"margin": -0.1},
        {"contrastive_weight": -1.0},
        {"iou_negatives": -0.5},
    ],
    ids=str,
)
def test_losses_that_cannot_be_computed_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        LossConfig(**bad)
