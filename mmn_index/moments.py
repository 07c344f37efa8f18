"""Moments, their temporal IoU, and non-maximum suppression: the only ones of the project.

A moment is [start, end) in seconds. Temporal IoU has the hull of the two moments in the
denominator, which is the union whenever they touch (as in 2D-TAN and MMN). NMS drops a moment
whose IoU with a better-scored one of the same video is ABOVE the threshold, strictly, so a
threshold of 1 drops nothing.
"""

import torch
from torch import Tensor


def temporal_iou(a: Tensor, b: Tensor) -> Tensor:
    """Temporal IoU of moments, broadcast over leading dimensions.

    Args:
        a, b: (..., 2) start and end in seconds.

    Returns:
        (...) in [0, 1]; 0 where both moments are the same empty one.
    """
    inner = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return torch.where(hull > 0, inner / hull, torch.zeros_like(hull))


def nms_top(scores: Tensor, spans: Tensor, threshold: float, limit: int) -> Tensor:
    """The best moments of one video for each of many queries, after NMS.

    Args:
        scores: (Q, P); -inf marks what is no candidate. Of equal scores the first wins.
        spans: (P, 2) seconds, shared by all queries.
        threshold: temporal IoU above which the worse of two moments is dropped.
        limit: how many survivors a query gets.

    Returns:
        (Q, limit) int64 positions in `spans`, best first, -1 where nothing was left.
    """
    left = scores.clone()
    kept = torch.full((len(scores), limit), -1, dtype=torch.int64)
    for rank in range(min(limit, scores.shape[1])):
        value, best = left.max(dim=1)
        found = value > -torch.inf
        kept[found, rank] = best[found]
        overlap = temporal_iou(spans[best][:, None], spans[None])  # (Q, P)
        left.masked_fill_(overlap > threshold, -torch.inf)
        left[torch.arange(len(left)), best] = -torch.inf
    return kept


def nms_lists(
    spans: Tensor, groups: Tensor, valid: Tensor, threshold: float, limit: int, per_group: int | None = None
) -> Tensor:
    """NMS down ranked lists that mix videos, one list a query.

    Args:
        spans: (Q, n, 2) seconds, best first.
        groups: (Q, n) video of each entry; moments of different videos never suppress each other.
        valid: (Q, n) bool; False is no entry.
        threshold: as in `nms_top`.
        limit: stop at so many survivors.
        per_group: at most so many survivors of one video.

    Returns:
        (Q, limit) int64 positions of the survivors, best first, -1 where nothing was left.
    """
    queries, count = groups.shape
    kept = torch.full((queries, limit), -1, dtype=torch.int64)
    if threshold >= 1 and per_group is None:  # nothing is dropped
        first = torch.argsort(~valid, dim=1, stable=True)[:, :limit]
        kept[:, : first.shape[1]] = torch.where(valid.gather(1, first), first, -1)
        return kept
    left = valid.clone()
    falling = torch.arange(count, 0, -1, dtype=torch.int32)  # the largest of what is left is the first of it
    taken = torch.zeros(queries, count, dtype=torch.int32)
    for rank in range(min(limit, count)):
        value, best = (left * falling).max(dim=1, keepdim=True)
        kept[:, rank] = torch.where(value > 0, best, -1)[:, 0]
        same = groups == groups.gather(1, best)
        drop = same & (temporal_iou(spans.gather(1, best[..., None].expand(-1, -1, 2)), spans) > threshold)
        if per_group is not None:
            taken += same & (value > 0)
            drop |= taken >= min(per_group, count)  # whatever number a caller gives, it fits
        left = (left & ~drop).scatter_(1, best, False)
    return kept
