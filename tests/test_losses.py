"""The losses as the sums they are, written as loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.train.losses import Batch, LossConfig, mmn_losses

from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings

GRID = ProposalGrid(6, (3, 1))


def make(seed: int, counts: list[int]) -> tuple[Embeddings, Embeddings, Batch]:
    """Random unit embeddings of len(counts) videos, with so many sentences each."""
    generator = torch.Generator().manual_seed(seed)

    def units(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, 4, generator=generator, dtype=torch.float64), dim=-1)

    total = sum(counts)
    start = torch.rand(total, generator=generator, dtype=torch.float64) * 8
    moments = torch.stack([start, start + 0.5 + torch.rand(total, generator=generator, dtype=torch.float64) * 6], dim=1)
    of = torch.tensor([video for video, count in enumerate(counts) for _ in range(count)])
    videos = Embeddings(units(len(counts), len(GRID)), units(len(counts), len(GRID)))
    return videos, Embeddings(units(total), units(total)), Batch(of, moments, GRID.iou_targets(moments, 12.0))


def slow_losses(videos: Embeddings, texts: Embeddings, batch: Batch, config: LossConfig) -> tuple[float, float, float]:
    of, y = batch.video_of.tolist(), batch.targets
    count, proposals = len(of), len(GRID)
    entropy, video, sentence, positives = 0.0, 0.0, 0.0, 0
    for s in range(count):
        for p in range(proposals):
            q = 1 / (1 + math.exp(-10 * float(texts.iou[s] @ videos.iou[of[s], p])))
            target = min(1.0, max(0.0, (float(y[s, p]) - config.min_iou) / (config.max_iou - config.min_iou)))
            entropy -= target * math.log(q) + (1 - target) * math.log(1 - q)
        for p in y[s].topk(config.num_positives).indices.tolist():  # equal IoUs leave a choice that is not the formula's
            positives += 1
            v = videos.contrastive[of[s], p]
            own = math.exp((float(texts.contrastive[s] @ v) - config.margin) / config.tau_video)
            z = own
            for t in range(count):
                if t != s and (of[t] != of[s] or slow_iou(batch.moments[s], batch.moments[t]) < config.sentence_removal_iou):
                    z += math.exp(float(texts.contrastive[t] @ v) / config.tau_video)
            video -= math.log(own / z)
            own = math.exp((float(texts.contrastive[s] @ v) - config.margin) / config.tau_sentence)
            z = own + 1e-6
            for b in range(len(videos.contrastive)):
                for other in range(proposals):
                    near = b == of[s] and y[s, other] >= config.negative_iou
                    z += 1.0 if near else math.exp(float(texts.contrastive[s] @ videos.contrastive[b, other]) / config.tau_sentence)
            sentence -= math.log(own / z)
    return entropy / (count * proposals), video / positives, sentence / positives


def slow_iou(a: torch.Tensor, b: torch.Tensor) -> float:
    inner = max(0.0, float(min(a[1], b[1]) - max(a[0], b[0])))
    return inner / float((a[1] - a[0]) + (b[1] - b[0]) - inner)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), counts=st.lists(st.integers(1, 3), min_size=1, max_size=3), k=st.integers(1, 3))
def test_the_losses_are_their_sums(seed: int, counts: list[int], k: int) -> None:
    videos, texts, batch = make(seed, counts)
    config = LossConfig(num_positives=k, margin=0.3, tau_video=0.2, tau_sentence=0.15, sentence_removal_iou=0.4, negative_iou=0.45)
    losses = mmn_losses(videos, texts, batch, config)
    expected = slow_losses(videos, texts, batch, config)
    assert [losses.iou.item(), losses.video.item(), losses.sentence.item()] == pytest.approx(expected, rel=1e-9)
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
