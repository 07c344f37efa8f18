"""Each peculiarity of the official losses over tubes: that it is in them, and not in the corrected ones.

The losses are written down once more, a term at a time, with each peculiarity to be had or not.
"""

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from mmn_index.train.losses import LossConfig
from mmn_index.train.tube_losses import TubeBatch, tube_losses, tube_sentence_loss, tube_video_loss
from torch import Tensor
from torch.nn import functional

from mmn_index.scoring import Embeddings

OFFICIAL = LossConfig(min_iou=0.3, max_iou=0.9)
CORRECTED = LossConfig(min_iou=0.3, max_iou=0.9, corrected=True)
PECULIAR = (
    "the positive's tube is left out of the sum by its number in the video",
    "the positive is added twice",
    "a positive below the threshold counts by twice its similarity",
    "what is neither worse nor best adds 1",
    "other tubes of the video are negatives whatever their IoU",
    "where no tube meets the truth, the first proposal is the positive",
    "1e-6 is added",
)


def slow_sentence_loss(videos: Tensor, sentences: Tensor, batch: TubeBatch, had: Iterable[str]) -> float:
    """One video after the other, in float64."""
    by_number, twice, doubled, constant, unfiltered, no_overlap, epsilon = (name in had for name in PECULIAR)
    margin, tau, most = OFFICIAL.margin, OFFICIAL.tau_sentence, OFFICIAL.negative_iou
    terms = []
    for b, words in enumerate(sentences):
        own = (batch.video_of == b).nonzero()[:, 0].tolist()
        y = batch.targets
        a, p = max(
            ((t, p) for t in range(len(own)) for p in range(y.shape[1])),
            key=lambda tp: float(y[own[tp[0]], tp[1]]),
        )
        best = float(y[own[a], p])
        if best == 0 and not no_overlap:
            continue
        positive = (float(videos[own[a], p] @ words) - margin) / tau
        z = math.exp(positive)
        left_out = a if by_number else own[a]
        for q in range(y.shape[1]):  # the positive's tube
            s, iou = float(videos[own[a], q] @ words), float(y[own[a], q])
            low, as_good = iou < most, iou >= best - 1e-6
            if as_good:
                weight = 1 + (low and doubled)
                z += math.exp((weight * s - margin) / tau) if twice else 0.0
            elif low:
                z += math.exp(s / tau)
            elif constant:
                z += 1.0
        for r in range(len(videos)):
            if r == left_out:
                continue
            for q in range(y.shape[1]):
                described = r in own and not (y[r, q] < most and y[r, q] < best - 1e-6)
                if unfiltered or not described:
                    z += math.exp(float(videos[r, q] @ words) / tau)
        terms.append(math.log(z + 1e-6 * epsilon) - positive)
    return sum(terms) / max(len(terms), 1)


def drawn(seed: int, *, overlap: bool = True) -> tuple[Tensor, Tensor, TubeBatch]:
    """Three videos of two, three and one tubes; the positive of the second lies in its second tube, below the
    threshold; of the third, if not `overlap`, nowhere.
    """
    torch.manual_seed(seed)
    videos = functional.normalize(torch.randn(6, 5, 4, dtype=torch.float64), dim=2)
    sentences = functional.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1)
    targets = torch.rand(6, 5, dtype=torch.float64) * 0.6
    targets[1, 2], targets[1, 3], targets[0, 1] = 0.9, 0.7, 0.8
    targets[2:5] *= 0.5
    targets[3, 4] = 0.45
    if not overlap:
        targets[5] = 0
    return videos, sentences, TubeBatch(torch.tensor([0, 0, 1, 1, 1, 2]), targets)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_official_loss_has_all_and_the_corrected_one_none(seed: int, overlap: bool) -> None:
    given = drawn(seed, overlap=overlap)
    official, corrected = (float(tube_sentence_loss(*given, config)) for config in (OFFICIAL, CORRECTED))
    assert official == pytest.approx(slow_sentence_loss(*given, PECULIAR), rel=1e-12)
    assert corrected == pytest.approx(slow_sentence_loss(*given, ()), rel=1e-12)


@pytest.mark.parametrize("name", PECULIAR)
def test_each_peculiarity_shows(name: str) -> None:
    """Without it the official loss would be another."""
    given = drawn(0, overlap=False)
    rest = [other for other in PECULIAR if other != name]
    without = slow_sentence_loss(*given, rest)
    assert abs(float(tube_sentence_loss(*given, OFFICIAL)) - without) > 1e-12


def test_the_official_loss_depends_on_the_order_of_the_videos_and_the_corrected_one_does_not() -> None:
    videos, sentences, batch = drawn(1)
    order = torch.tensor([2, 0, 1])
    tubes = torch.cat([(batch.video_of == video).nonzero()[:, 0] for video in order])
    moved = TubeBatch(torch.tensor([0, 1, 1, 2, 2, 2]), batch.targets[tubes])
    for config, same in ((OFFICIAL, False), (CORRECTED, True)):
        one = float(tube_sentence_loss(videos, sentences, batch, config))
        other = float(tube_sentence_loss(videos[tubes], sentences[order], moved, config))
        assert (one == pytest.approx(other, rel=1e-12)) is same


@pytest.mark.parametrize("loss", [tube_video_loss, tube_sentence_loss])
def test_a_video_that_no_tube_meets_has_no_contrastive_term(loss: Callable[..., Tensor]) -> None:
    videos, sentences, batch = drawn(2, overlap=False)
    videos.requires_grad_()
    nothing = TubeBatch(batch.video_of, torch.zeros_like(batch.targets))
    value = loss(videos, sentences, nothing, CORRECTED)
    value.backward()
    assert value.item() == 0
    assert videos.grad is not None
    assert bool((videos.grad == 0).all())
    assert loss(videos, sentences, nothing, OFFICIAL).item() > 0


def test_the_sum_over_sentences_of_one_video_alone_is_0() -> None:
    videos, sentences, batch = drawn(3)
    alone = TubeBatch(batch.video_of[:2], batch.targets[:2])
    both = Embeddings(videos[:2], videos[:2]), Embeddings(sentences[:1], sentences[:1])
    assert float(tube_losses(*both, alone, OFFICIAL).video) == 0


@pytest.mark.parametrize("loss", [tube_video_loss, tube_sentence_loss])
def test_a_video_with_several_sentences_is_no_negative_of_itself(loss: Callable[..., Tensor]) -> None:
    """The second video is the first one with another sentence: each has the term that it has without the
    other. (The third, that no tube meets, is a negative alone.)
    """
    torch.manual_seed(4)
    videos = functional.normalize(torch.randn(3, 5, 4, dtype=torch.float64), dim=2)
    sentences = functional.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1)
    targets = torch.rand(5, 5, dtype=torch.float64)
    targets[4] = 0
    given = videos[[0, 1, 0, 1, 2]], sentences
    video_of = torch.tensor([0, 0, 1, 1, 2])
    found = float(loss(*given, TubeBatch(video_of, targets, torch.tensor([7, 7, 3])), CORRECTED))
    apart = [
        float(loss(videos, sentences[[b, 2]], TubeBatch(torch.tensor([0, 0, 1]), targets[rows]), CORRECTED))
        for b, rows in ((0, [0, 1, 4]), (1, [2, 3, 4]))
    ]
    assert found == pytest.approx(sum(apart) / 2, rel=1e-12)
    assert found < float(loss(*given, TubeBatch(video_of, targets), CORRECTED)) - 1e-3
