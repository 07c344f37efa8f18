"""Temporal IoU and NMS."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn_index.moments import nms_lists, nms_top, temporal_iou, union_iou

moment = st.tuples(st.floats(0, 100, width=32), st.floats(0.125, 50, width=32)).map(
    lambda x: (x[0], x[0] + x[1])
)


@given(moment, moment)
def test_iou_is_symmetric_within_bounds_and_one_on_itself(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    first, second = torch.tensor(a), torch.tensor(b)
    iou = temporal_iou(first, second).item()
    assert iou == temporal_iou(second, first).item()
    assert 0 <= iou <= 1
    assert temporal_iou(first, first).item() == 1
    assert union_iou(first.double(), second.double()).item() == pytest.approx(iou, abs=1e-5)


def test_iou_by_hand() -> None:
    iou = temporal_iou(
        torch.tensor([0.0, 4.0]), torch.tensor([[2.0, 6.0], [4.0, 8.0], [9.0, 9.5], [1.0, 2.0]])
    )
    assert iou.tolist() == pytest.approx([2 / 6, 0, 0, 1 / 4])


def test_two_empty_moments_have_no_overlap() -> None:
    for iou in (temporal_iou, union_iou):
        assert iou(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 3.0])).item() == 0


def slow_nms(
    scores: list[float], spans: list[tuple[float, float]], threshold: float, limit: int
) -> list[int]:
    kept: list[int] = []
    for position in sorted(range(len(scores)), key=lambda p: -scores[p]):
        if all(
            temporal_iou(torch.tensor(spans[position]), torch.tensor(spans[k])).item() <= threshold
            for k in kept
        ):
            kept.append(position)
    return kept[:limit]


def walk(
    spans: torch.Tensor, groups: list[int], threshold: float, limit: int, per_group: int | None = None
) -> list[int]:
    """One list by `nms_lists`, beside one that is empty and one in another order, which must not
    disturb it.
    """
    both = torch.stack([spans, spans, spans.flip(0)])
    valid = torch.tensor([[True], [False], [True]]).expand(3, len(spans))
    kept = nms_lists(both, torch.tensor([groups, groups, groups[::-1]]), valid, threshold, limit, per_group)
    assert kept[1].tolist() == [-1] * limit
    return [position for position in kept[0].tolist() if position >= 0]


@given(
    st.lists(st.tuples(moment, st.integers(0, 20)), min_size=1, max_size=12),
    st.floats(0, 1, width=32),
    st.integers(1, 8),
)
def test_both_forms_of_nms_are_the_slow_one(
    items: list[tuple[tuple[float, float], int]], threshold: float, limit: int
) -> None:
    spans = [span for span, _ in items]
    scores = [float(score) for _, score in items]
    expected = slow_nms(scores, spans, threshold, limit)
    top = nms_top(torch.tensor([scores]), torch.tensor(spans), threshold, limit)[0].tolist()
    assert [position for position in top if position >= 0] == expected
    order = sorted(range(len(scores)), key=lambda p: -scores[p])
    walked = walk(torch.tensor(spans)[order], [0] * len(order), threshold, limit)
    assert [order[position] for position in walked] == expected
    again = walk(torch.tensor(spans)[expected], [0] * len(expected), threshold, limit)
    assert again == list(range(len(expected)))  # idempotent


def test_a_threshold_is_exceeded_only_strictly() -> None:
    spans = torch.tensor([[0.0, 2.0], [0.0, 1.0]])  # IoU exactly one half
    assert nms_top(torch.tensor([[2.0, 1.0]]), spans, 0.5, 2).tolist() == [[0, 1]]
    assert nms_top(torch.tensor([[2.0, 1.0]]), spans, 0.49, 2).tolist() == [[0, -1]]


@pytest.mark.parametrize(("tenths", "threshold"), [(4, 0.4), (7, 0.7), (3, 0.3)])
def test_the_threshold_is_compared_in_float32(tenths: int, threshold: float) -> None:
    # 4/10 in float32 is more than 0.4 in float64, and yet not above a threshold of 0.4.
    spans = torch.tensor([[0.0, 10.0], [0.0, tenths]])
    assert nms_top(torch.tensor([[2.0, 1.0]]), spans, threshold, 2).tolist() == [[0, 1]]
    assert walk(spans, [0, 0], threshold, 2) == [0, 1]


def test_of_equal_scores_the_first_wins() -> None:
    spans = torch.tensor([[5.0, 6.0], [0.0, 1.0], [2.0, 3.0]])
    assert nms_top(torch.tensor([[1.0, 2.0, 2.0]]), spans, 0.5, 3).tolist() == [[1, 2, 0]]


def test_what_is_no_candidate_is_never_kept() -> None:
    spans = torch.tensor([[0.0, 1.0], [5.0, 6.0]])
    assert nms_top(torch.tensor([[-torch.inf, -3.0]]), spans, 0.5, 3).tolist() == [[1, -1, -1]]


def test_videos_do_not_suppress_each_other_and_a_video_has_its_limit() -> None:
    spans = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [5.0, 6.0]])
    assert walk(spans, [7, 8, 7, 7], 0.5, 10) == [0, 1, 3]
    assert walk(spans, [7, 8, 7, 7], 0.5, 10, per_group=1) == [0, 1]
