"""The metrics, by hand; see test_golden_metrics.py for the official ones."""

from math import comb

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn_index.evaluation.recall import (
    Ranked,
    Right,
    average_precision,
    best_ious,
    chances,
    first_rank,
    hits,
    intervals,
    median_rank,
    ranked_ious,
    recall,
)
from mmn_index.moments import nms_top
from mmn_index.proposals import ProposalGrid

A, B, C, Z = range(4)  # videos
Moment = tuple[int, float, float]  # video, start, end


def answer(*moments: Moment) -> Ranked:
    spans = torch.tensor([moment[1:] for moment in moments], dtype=torch.float32).reshape(-1, 2)
    videos = torch.tensor([moment[0] for moment in moments], dtype=torch.int64)
    return Ranked(videos, spans, torch.zeros(len(moments), dtype=torch.float64), True)


def right(*moments: Moment) -> Right:
    return Right(*answer(*moments)[:2])


def rank(found: Ranked, one: Right, m: float) -> float:
    return first_rank(hits(best_ious(found, one), m))


def precision(found: Ranked, one: Right, m: float = 0.5) -> float:
    return average_precision(found, hits(best_ious(found, one), m), one)


FOUND = answer((A, 0, 4), (B, 0, 4), (A, 0, 3), (C, 10, 14), (B, 1, 5))


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
    found, own = answer((A, 0, tenths)), right((A, 0, 10))
    assert rank(found, own, m) == 1
    assert precision(found, own, m) == 1
    assert rank(answer((A, 0, tenths - 1e-5)), own, m) == np.inf


@pytest.mark.parametrize(
    ("num_clips", "pooling_counts", "threshold"),
    [(16, (15,), 0.5), (64, (15, 8, 8), 0.5), (128, (15, 8, 8, 8), 0.4)],
)
def test_the_slow_evaluation_is_met_to_the_bit(
    num_clips: int, pooling_counts: tuple[int, ...], threshold: float
) -> None:
    grid, rng = ProposalGrid(num_clips, pooling_counts), np.random.default_rng(0)
    cells = oracle.valid_cells(num_clips, pooling_counts)
    assert cells == [tuple(cell) for cell in grid.cells.tolist()]
    for _ in range(6):
        duration = float(rng.uniform(2, 300))
        # Rounded, so that scores are often equal, and some zero; the last sentence has two candidates, hardly
        # any survivors.
        scores = rng.random((4, len(cells)), dtype=np.float32).round(2)
        scores[3] *= np.arange(len(cells)) < 2
        ends = np.sort(rng.uniform(0, duration, (4, 2)), axis=1).astype(np.float32)
        spans, expected = (
            grid.seconds(duration),
            [oracle.seconds(cell, duration, num_clips) for cell in cells],
        )
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
        torch.tensor([[3.0, 2.0, 1.0]]),
        torch.tensor([[0.0, 4.0], [0.0, 4.0], [0.0, 4.0]]),
        torch.tensor([[0.0, 4.0]]),
        0.5,
    )
    assert ious.tolist() == [[1.0, -1.0, -1.0, -1.0, -1.0]]
    none = ranked_ious(
        torch.tensor([[-torch.inf]]), torch.tensor([[0.0, 4.0]]), torch.tensor([[0.0, 4.0]]), 0.5
    )
    assert none.tolist() == [[-1.0] * 5]
    assert [recall(torch.cat([ious, none]), n, 0.5) for n in (1, 5)] == [0.5, 0.5]


def test_best_ious_and_ranks_by_hand() -> None:
    # Of a's moments [0,4] and [2,4] the nearest counts: [0,3] has 3/4 and 1/4 (inner [2,3], hull [0,4]); c's
    # is another video's time.
    several = right((A, 0, 4), (A, 2, 4), (C, 12, 14))
    assert best_ious(FOUND, several).tolist() == [1, -1, 0.75, 0.5, -1]
    assert [
        rank(FOUND, right(one), m) for one, m in [((C, 10, 14), 0.5), ((A, 0, 3), 0.8), ((Z, 0, 4), 0.5)]
    ] == [4, 3, np.inf]
    assert rank(answer(), several, 0.5) == np.inf


def test_average_precision_by_hand() -> None:
    # Hits: rank 1 (video a) and rank 4 (video c); rank 3 is video a again and earns nothing. Video z is never
    # found.
    assert precision(FOUND, right((A, 0, 4), (C, 10, 14), (Z, 0, 1))) == pytest.approx((1 / 1 + 2 / 4) / 3)
    # Two right moments of one video are one credit: rank 1 hits the first of them, and there are two videos,
    # a and c.
    assert precision(FOUND, right((A, 0, 4), (A, 0, 3), (C, 10, 14))) == pytest.approx((1 / 1 + 2 / 4) / 2)
    assert precision(answer(), right((A, 0, 4))) == 0
    assert precision(answer((A, 0, 4), (C, 10, 14), (Z, 0, 1)), right((A, 0, 4), (C, 10, 14), (Z, 0, 1))) == 1


def test_median_rank_by_hand() -> None:
    assert median_rank(torch.tensor([1.0, 2.0, 7.0])) == 2
    assert median_rank(torch.tensor([1.0, 2.0, 7.0, torch.inf])) == 4.5
    assert median_rank(torch.tensor([1.0, torch.inf])) == np.inf


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[Moment], list[Moment]]:
    """An answer and right moments, on whole seconds so that IoUs are often exactly m."""
    moment = st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 6)).map(
        lambda x: (x[0], x[1], x[1] + x[2])
    )
    return draw(st.lists(moment, max_size=12)), draw(st.lists(moment, min_size=1, max_size=5))


@given(lists(), st.sampled_from([0.3, 0.5, 0.7]))
def test_the_slow_metrics_agree(both: tuple[list[Moment], list[Moment]], m: float) -> None:
    found, given_right = both
    a, b = answer(*found), right(*given_right)
    assert rank(a, b, m) == oracle.first_rank(found, given_right, m)
    assert precision(a, b, m) == pytest.approx(oracle.average_precision(found, given_right, m))
    for k in (1, 5):
        share = recall(best_ious(a, b)[None], k, m) if found else 0.0
        assert share == (oracle.first_rank(found, given_right, m) <= k)


def test_intervals_draw_whole_clusters() -> None:
    # One cluster of 60 queries that all succeed, 20 single ones that all fail. Of single draws the share
    # would stay near 3/4; of clusters, none of the 21 draws is the large one with probability (20/21)^21 =
    # 0.36: the interval begins at 0.
    values = torch.cat([torch.ones(60, 1), torch.zeros(20, 1)]).double()
    clusters = torch.cat([torch.zeros(60), torch.arange(1, 21)]).long()
    low, high = intervals(values, clusters)[0].tolist()
    assert low == 0
    # Three of the large one and 18 single ones make 180/198; more than three have a probability of about
    # 0.02.
    assert high == pytest.approx(180 / 198, abs=0.03)
    alone = intervals(values, torch.arange(80))[0].tolist()
    # The normal approximation of a share of 3/4 of 80: 0.75 +- 1.96 sqrt(0.75 * 0.25 / 80) = 0.75 +- 0.095.
    assert alone == pytest.approx([0.655, 0.845], abs=0.02)
    assert torch.equal(intervals(values, clusters), intervals(values, clusters))


def test_chance_is_the_share_that_random_draws_reach() -> None:
    rng = np.random.default_rng(0)
    share = sum((rng.permutation(50)[:5] < 4).any() for _ in range(20_000)) / 20_000
    assert float(chances(torch.tensor(4), 50, 5)) == pytest.approx(share, abs=0.01)
    assert chances(torch.tensor([0, 46]), 50, 5).tolist() == [0, 1]
    assert float(chances(torch.tensor(10), 50, 1)) == pytest.approx(0.2)
    assert chances(torch.tensor([1, 0]), 3, 5).tolist() == [1, 0]  # more draws than proposals


def test_chances_are_the_share_of_combinations() -> None:
    expected = [1 - comb(12 - right, 5) / comb(12, 5) for right in range(13)]
    assert chances(torch.arange(13), 12, 5).tolist() == pytest.approx(expected)
