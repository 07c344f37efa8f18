"""Moments, their temporal IoU, and non-maximum suppression: the only ones of the project.

A moment is [start, end) in seconds. Temporal IoU has the hull of the two moments in the
denominator, which is the union whenever they touch (as in 2D-TAN and MMN). NMS drops a moment
whose IoU with a better-scored one of the same video is ABOVE the threshold, strictly, so a
threshold of 1 drops nothing. Of videos with tubes it is the same tube: within one, temporal IoU is
the IoU in space and time.
"""

import numpy as np
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


def union_iou(a: Tensor, b: Tensor) -> Tensor:
    """Temporal IoU whose union is both lengths less the common part, as most published evaluators compute it.

    It is `temporal_iou` but for the last bit, on which a comparison with a threshold may depend.

    Args:
        a, b: (..., 2) start and end in seconds, float64 as theirs are.

    Returns:
        (...) in [0, 1]; 0 where both moments are empty.
    """
    inner = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - inner
    return torch.where(union > 0, inner / union, torch.zeros_like(union))


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
    spans: Tensor,
    groups: Tensor,
    valid: Tensor,
    threshold: float,
    limit: int,
    per_group: int | None = None,
    tubes: Tensor | None = None,
) -> Tensor:
    """NMS down ranked lists that mix videos, one list a query.

    Args:
        spans: (Q, n, 2) seconds, best first.
        groups: (Q, n) video of each entry; moments of different videos never suppress each other.
        valid: (Q, n) bool; False is no entry.
        threshold: as in `nms_top`.
        limit: stop at so many survivors.
        per_group: at most so many survivors of one video.
        tubes: (Q, n) tube of each entry; moments of different tubes never suppress each other either.

    Returns:
        (Q, limit) int64 positions of the survivors, best first, -1 where nothing was left.
    """
    queries, count = groups.shape
    kept = torch.full((queries, limit), -1, dtype=torch.int64)
    if threshold >= 1 and per_group is None:  # nothing is dropped
        first = torch.argsort(~valid, dim=1, stable=True)[:, :limit]
        kept[:, : first.shape[1]] = torch.where(valid.gather(1, first), first, -1)
        return kept
    found = np.zeros(groups.shape, dtype=bool)
    line, place = valid.numpy().nonzero()
    if not len(line):
        return kept
    # Videos have nothing to do with each other: entries of one list and one video stand together, best first,
    # and each round settles the first of all of them at once. It is done in NumPy, whose calls on a few
    # hundred numbers take a fifth of torch's time.
    group = line * (int(groups.max()) + 1) + groups.numpy()[line, place]
    order = np.argsort(group, kind="stable")
    group, line, place = group[order], line[order], place[order]
    moments = spans.numpy()[line, place]
    rounds, most = 0, count if per_group is None else per_group
    while len(place) and rounds < most:
        rounds += 1
        leads = np.ones(len(group), dtype=bool)
        leads[1:] = group[1:] != group[:-1]
        found[line[leads], place[leads]] = True
        best = moments[leads][leads.cumsum() - 1]
        # What comes after `limit` survivors of its list is out, whatever survives above.
        ranks = found.cumsum(axis=1)
        last = np.where(ranks[:, -1] < limit, count, (ranks >= limit).argmax(axis=1))
        stays = (temporal_iou(torch.from_numpy(best), torch.from_numpy(moments)) <= threshold).numpy()
        if tubes is not None:
            of = tubes.numpy()[line, place]
            stays |= of != of[leads][leads.cumsum() - 1]
        stays &= ~leads & (place < last[line])
        line, place, group, moments = line[stays], place[stays], group[stays], moments[stays]
    ranks = found.cumsum(axis=1) - 1
    line, place = (found & (ranks < limit)).nonzero()
    kept.numpy()[line, ranks[line, place]] = place
    return kept
