"""R@n,IoU=m: a query counts if one of its first n moments has a temporal IoU of at least m with a right one.

(Retrieval at large calls this Success@n; the field of temporal grounding calls it recall, and so do we.)
Within a video each query has one right moment. Across a collection several moments, in several videos, may be
right. IoUs and m are compared in float32 everywhere, as in the official evaluation.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..moments import nms_top, temporal_iou


class Ranked(NamedTuple):
    """One query's answer, best first."""

    videos: Tensor  # (n,) int64 numbers of the videos
    spans: Tensor  # (n, 2) float32 seconds
    scores: Tensor  # (n,) float64
    exact: bool  # proven to be what scoring everything gives


class Right(NamedTuple):
    """The moments that are right answers to a query, one at least."""

    videos: Tensor  # (r,) int64 numbers of the videos
    spans: Tensor  # (r, 2) float32 seconds

    @property
    def distinct(self) -> set[int]:
        """The videos, each once."""
        return set(self.videos.tolist())


def ranked_ious(scores: Tensor, spans: Tensor, moments: Tensor, nms: float, limit: int = 5) -> Tensor:
    """Temporal IoU with the right moment of each query's best proposals in one video, after NMS.

    Args:
        scores: (Q, P), -inf for what is no candidate.
        spans: (P, 2) seconds.
        moments: (Q, 2) the right ones, float32 as the comparison with m is.

    Returns:
        (Q, limit) float32, best first, -1 where fewer proposals were left.
    """
    kept = nms_top(scores, spans, nms, limit)
    ious = temporal_iou(spans[kept.clamp(min=0)], moments[:, None])
    return torch.where(kept >= 0, ious, -1.0)


def recall(ious: Tensor, n: int, m: float) -> float:
    """Share of queries, 0 to 1, with an IoU of at least m among the first n: (Q, limit) -> one number."""
    return float(hits(ious[:, :n], m).any(dim=1).double().mean())


def hits(ious: Tensor, m: float) -> Tensor:
    """Which temporal IoUs are at least m, elementwise; m in their precision."""
    return ious >= torch.tensor(m, dtype=ious.dtype)


def chances(right: Tensor, total: int | Tensor, n: int) -> Tensor:
    """Probability that n of `total` proposals, drawn at random without replacement, hold a right one.

    Args:
        right: (...) integers, how many proposals are right.
        total: one number, or integers of the shape of `right`.

    Returns:
        (...) float64.
    """
    if isinstance(total, Tensor):
        found = torch.empty(right.shape, dtype=torch.float64)
        for each in set(total.tolist()):
            found[total == each] = chances(right[total == each], each, n)
        return found
    left = total - torch.arange(min(n, total), dtype=torch.float64)  # proposals that remain before each draw
    # (..., n) probability of the draw while none before it was a hit
    hit = (right.double()[..., None] / left).clamp(max=1)
    return 1 - (-hit).log1p().sum(dim=-1).exp()


def best_ious(found: Ranked, right: Right) -> Tensor:
    """(n,) float32: the temporal IoU of each moment of an answer with the nearest right one of its video, -1
    if there is none.
    """
    ious = temporal_iou(found.spans[:, None], right.spans[None])  # (n, r)
    return ious.masked_fill_(found.videos[:, None] != right.videos[None], -1).amax(dim=1)


def first_rank(is_hit: Tensor) -> float:
    """Rank, from 1, of the first hit of an answer, (n,) bool -> one number; inf where there is none."""
    where = is_hit.nonzero()
    return float(where[0, 0]) + 1 if len(where) else float("inf")


def average_precision(found: Ranked, is_hit: Tensor, right: Right) -> float:
    """Average precision of an answer, with one credit a video.

    A hit is credited if no better-ranked moment of its video was a hit. The sum of the precisions at the
    credited hits is divided by the number of videos with a right moment; what lies behind the end of the list
    counts as never found.

    Args:
        is_hit: (n,) bool, which moments of the answer are right.
    """
    credited: set[int] = set()
    total = 0.0
    for position in is_hit.nonzero()[:, 0].tolist():
        video = int(found.videos[position])
        if video not in credited:
            credited.add(video)
            total += len(credited) / (position + 1)
    return total / len(right.distinct)


def median_rank(ranks: Tensor) -> float:
    """The median of first ranks, (Q,) -> one number; inf where half of the queries have no hit in their
    lists.
    """
    return float(np.median(ranks.numpy()))


def intervals(
    values: Tensor, clusters: Tensor, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Tensor:
    """Bootstrap intervals of means over queries that come in clusters: percentiles over resampled clusters.

    Queries of one wording are answered alike, so they are drawn together: as single draws they would look
    like more evidence than they are.

    Args:
        values: (Q, n) float64, n measurements of each query.
        clusters: (Q,) int64, each query's cluster, numbered from 0 without gaps.

    Returns:
        (n, 2) float64: lower and upper end for each measurement.
    """
    count, generator = int(clusters.max()) + 1, np.random.default_rng(seed)
    sums = torch.zeros(count, values.shape[1] + 1, dtype=torch.float64)
    sums.index_add_(0, clusters, torch.cat([values, torch.ones(len(values), 1, dtype=torch.float64)], dim=1))
    means = torch.empty(resamples, values.shape[1], dtype=torch.float64)
    for number in range(resamples):
        # how often each cluster is in the sample
        drawn = np.bincount(generator.integers(count, size=count), minlength=count)
        total = torch.from_numpy(drawn).double() @ sums
        means[number] = total[:-1] / total[-1]
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    return means.quantile(ends, dim=0).T
