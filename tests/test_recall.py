"""The metrics, by hand; see test_golden_metrics.py for the official ones."""

from math import comb

import numpy as np
import oracle
import pytest
import torch

from mmn_index.moments import nms_top
from mmn_index.proposals import ProposalGrid
from mmn_index.recall import Found, Right, average_precision, chance, chances, first_hit, ranked_ious, recall

FOUND = [Found("a", 0, 4), Found("b", 0, 4), Found("a", 0, 3), Found("c", 10, 14), Found("b", 1, 5)]


def test_recall_by_hand() -> None:
    ious = torch.tensor([[0.2, 0.5], [0.7, -1.0], [0.0, 0.1]])
    assert recall(ious, 1, 0.5) == pytest.approx(1 / 3)
    assert recall(ious, 2, 0.5) == pytest.approx(2 / 3)
    assert recall(ious, 2, 0.7) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("tenths", "m"), [(1, 0.1), (3, 0.3), (5, 0.5), (7, 0.7)])
def test_an_iou_of_exactly_m_is_a_hit_everywhere(tenths: int, m: float) -> None:
    # 7/10 in float32 is less than 0.7 in float64: m has to be compared in float32, as officially.
    span, moment = torch.tensor([[0.0, tenths]]), torch.tensor([[0.0, 10.0]])
    ious = ranked_ious(torch.tensor([[1.0]]), span, moment, 0.5, 1)
    assert recall(ious, 1, m) == 1
    assert recall(torch.nextafter(ious, torch.tensor(0.0)), 1, m) == 0
    found, right = [Found("a", 0, tenths)], Right({"a": [(0, 10)]})
    assert first_hit(found, right, m) == 1
    assert average_precision(found, right, m) == 1
    assert first_hit([Found("a", 0, tenths - 1e-5)], right, m) is None


@pytest.mark.parametrize(
    ("num_clips", "pooling_counts", "threshold"), [(16, (15,), 0.5), (64, (15, 8, 8), 0.5), (128, (15, 8, 8, 8), 0.4)]
)
def test_the_slow_evaluation_is_met_to_the_bit(num_clips: int, pooling_counts: tuple[int, ...], threshold: float) -> None:
    grid, rng = ProposalGrid(num_clips, pooling_counts), np.random.default_rng(0)
    cells = oracle.valid_cells(num_clips, pooling_counts)
    assert cells == [tuple(cell) for cell in grid.cells.tolist()]
    for _ in range(6):
        duration = float(rng.uniform(2, 300))
        # Rounded, so that scores are often equal, and some zero; the last sentence has two candidates, hardly any survivors.
        scores = rng.random((4, len(cells)), dtype=np.float32).round(2)
        scores[3] *= np.arange(len(cells)) < 2
        ends = np.sort(rng.uniform(0, duration, (4, 2)), axis=1).astype(np.float32)
        spans, expected = grid.seconds(duration), [oracle.seconds(cell, duration, num_clips) for cell in cells]
        assert spans.tolist() == [list(span) for span in expected]
        candidates = torch.from_numpy(np.where(scores == 0, -np.inf, scores))
        top = nms_top(candidates, spans, threshold, 5)
        ious = ranked_ious(candidates, spans, torch.from_numpy(ends), threshold)
        for row, positions, moment, found in zip(scores, top, ends, ious, strict=True):
            kept = oracle.best_moments(list(row), expected, threshold, 5)
            assert [tuple(span) for span in spans[positions[positions >= 0]].numpy()] == kept
            for n in (1, 5):
                for m in (0.1, 0.3, 0.5, 0.7):
                    assert bool(recall(found[None], n, m)) == oracle.is_hit(kept, tuple(moment), n, m)


def test_fewer_survivors_than_asked_for() -> None:
    ious = ranked_ious(
        torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 4.0], [0.0, 4.0], [0.0, 4.0]]), torch.tensor([[0.0, 4.0]]), 0.5
    )
    assert ious.tolist() == [[1.0, -1.0, -1.0, -1.0, -1.0]]
    none = ranked_ious(torch.tensor([[-torch.inf]]), torch.tensor([[0.0, 4.0]]), torch.tensor([[0.0, 4.0]]), 0.5)
    assert none.tolist() == [[-1.0] * 5]
    assert [recall(torch.cat([ious, none]), n, 0.5) for n in (1, 5)] == [0.5, 0.5]


def test_first_hit_by_hand() -> None:
    assert first_hit(FOUND, Right({"c": [(10, 14)]}), 0.5) == 4
    assert first_hit(FOUND, Right({"a": [(0, 3)]}), 0.8) == 3
    assert first_hit(FOUND, Right({"z": [(0, 4)]}), 0.5) is None


def test_average_precision_by_hand() -> None:
    # Hits: rank 1 (video a) and rank 4 (video c); rank 3 is video a again and earns nothing. Video z is never found.
    right = Right({"a": [(0, 4)], "c": [(10, 14)], "z": [(0, 1)]})
    assert average_precision(FOUND, right) == pytest.approx((1 / 1 + 2 / 4) / 3)
    assert average_precision([], right) == 0
    assert average_precision([Found("a", 0, 4), Found("c", 10, 14), Found("z", 0, 1)], right) == 1


def test_chance_is_the_share_that_random_draws_reach() -> None:
    rng = np.random.default_rng(0)
    hits = sum((rng.permutation(50)[:5] < 4).any() for _ in range(20_000))
    assert chance(4, 50, 5) == pytest.approx(hits / 20_000, abs=0.01)
    assert chance(0, 50, 5) == 0
    assert chance(46, 50, 5) == 1
    assert chance(10, 50, 1) == pytest.approx(0.2)
    assert chance(1, 3, 5) == 1  # more draws than proposals
    assert chance(0, 3, 5) == 0


def test_chances_are_the_share_of_combinations() -> None:
    expected = [1 - comb(12 - right, 5) / comb(12, 5) for right in range(13)]
    assert chances(torch.arange(13), 12, 5).tolist() == pytest.approx(expected)
