"""The evaluation once more, slowly: one sentence, one candidate at a time, in NumPy float32 scalars.

Written from the specification of the official evaluation, and over a collection from the definitions in
docs/evaluation.md, and from nothing of this project, so that it can be compared to the bit. Used by the tests
and by benchmarks/metrics.py.
"""

from collections.abc import Sequence

import numpy as np

Span = tuple[np.float32, np.float32]


def valid_cells(num_clips: int, pooling_counts: Sequence[int]) -> list[tuple[int, int]]:
    """Cells (first clip, last clip) of the sparse 2D map, in row-major order."""
    cells, offset = {(i, i) for i in range(num_clips)}, 0
    for group, count in enumerate(pooling_counts):
        stride = 2**group
        for _ in range(count):
            offset += stride
            cells |= {(i, i + offset) for i in range(0, num_clips - offset, stride)}
    return sorted(cells)


def seconds(cell: tuple[int, int], duration: float, num_clips: int) -> Span:
    """float32(clip) * float32(duration) / N, in this order."""
    first, last = cell
    scale, clips = np.float32(duration), np.float32(num_clips)
    return np.float32(first) * scale / clips, np.float32(last + 1) * scale / clips


def iou(a: Span, b: Span) -> np.float32:
    """Temporal IoU with the hull in the denominator."""
    inner = max(np.float32(0), min(a[1], b[1]) - max(a[0], b[0]))
    return inner / (max(a[1], b[1]) - min(a[0], b[0]))


def best_moments(scores: Sequence[float], spans: Sequence[Span], threshold: float, limit: int) -> list[Span]:
    """The first survivors of NMS, best first; a score of exactly zero is no candidate, of equal scores the
    first wins.
    """
    candidates = [position for position, score in enumerate(scores) if score != 0]
    kept: list[Span] = []
    for position in sorted(candidates, key=lambda p: -scores[p]):
        if len(kept) == limit:
            break
        if not any(iou(spans[position], better) > np.float32(threshold) for better in kept):
            kept.append(spans[position])
    return kept


def is_hit(kept: Sequence[Span], moment: Span, n: int, m: float) -> bool:
    """Whether one of the first n survivors, or of as many as there are, has an IoU of at least m."""
    return any(iou(span, moment) >= np.float32(m) for span in kept[:n])


Moment = tuple[int, float, float]  # video, start, end


def is_right(found: Moment, right: Sequence[Moment], m: float) -> bool:
    """Whether a moment of a collection has an IoU of at least m with a right one of its own video."""
    spans = [(np.float32(start), np.float32(end)) for video, start, end in right if video == found[0]]
    return any(iou((np.float32(found[1]), np.float32(found[2])), span) >= np.float32(m) for span in spans)


def first_rank(found: Sequence[Moment], right: Sequence[Moment], m: float) -> float:
    """Rank of the first right moment, from 1."""
    for rank, moment in enumerate(found, 1):
        if is_right(moment, right, m):
            return rank
    return float("inf")


def average_precision(found: Sequence[Moment], right: Sequence[Moment], m: float) -> float:
    """The precision at each video's first right moment, summed, over the number of videos with a right
    moment.
    """
    credited: list[int] = []
    total = 0.0
    for rank, moment in enumerate(found, 1):
        if is_right(moment, right, m) and moment[0] not in credited:
            credited.append(moment[0])
            total += len(credited) / rank
    return total / len({moment[0] for moment in right})
