"""R@n,IoU=m: a query counts if one of its first n moments has a temporal IoU of at least m with a right one.

(Retrieval at large calls this Success@n; the field of temporal grounding calls it recall, and so do we.)
Within a video each query has one right moment. Across a collection it has its own one, and where
annotations carry labels every moment of the same label is right as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .moments import nms_top, temporal_iou


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
    return float((ious[:, :n] >= torch.tensor(m, dtype=ious.dtype)).any(dim=1).double().mean())


def chance(right: int, total: int, n: int) -> float:
    """Probability that n proposals drawn at random without replacement hold one of the right ones."""
    if right == 0:
        return 0.0
    if n > total - right:
        return 1.0
    return 1.0 - math.exp(sum(math.log1p(-right / (total - drawn)) for drawn in range(n)))


@dataclass(frozen=True)
class Found:
    """One moment of an answer."""

    video_id: str
    start: float  # seconds
    end: float


@dataclass(frozen=True)
class Right:
    """What counts as a right answer: moments by video, each (start, end) in seconds."""

    moments: Mapping[str, Sequence[tuple[float, float]]]

    def ious(self, found: Found) -> list[float]:
        """IoU with each right moment of the same video, in float32 as everywhere."""
        spans = self.moments.get(found.video_id)
        if not spans:
            return []
        span = torch.tensor([found.start, found.end])
        return [float(x) for x in temporal_iou(torch.tensor(spans), span)]


def first_hit(answer: Sequence[Found], right: Right, m: float) -> int | None:
    """Rank, from 1, of the first moment that has an IoU of at least m with a right one."""
    for rank, found in enumerate(answer, 1):
        if any(iou >= m for iou in right.ious(found)):
            return rank
    return None


def average_precision(answer: Sequence[Found], right: Right, m: float = 0.5) -> float:
    """Average precision of a ranked answer, with one credit a video.

    A moment is a hit if it has an IoU of at least m with a right moment of its video and no better-ranked moment of
    that video was a hit. The sum of the precisions at the hits is divided by the number of videos with a right moment.
    """
    credited: set[str] = set()
    total = 0.0
    for rank, found in enumerate(answer, 1):
        if found.video_id not in credited and any(iou >= m for iou in right.ious(found)):
            credited.add(found.video_id)
            total += len(credited) / rank
    return total / len(right.moments) if right.moments else 0.0
