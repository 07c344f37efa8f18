"""R@n,IoU=m: a query counts if one of its first n moments has a temporal IoU of at least m with a right one.

(Retrieval at large calls this Success@n; the field of temporal grounding calls it recall, and so do we.)
Within a video each query has one right moment. Across a collection it has its own one, and where
annotations carry labels every moment of the same label is right as well.
"""

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
    return float(chances(torch.tensor(right), total, n))


def chances(right: Tensor, total: int, n: int) -> Tensor:
    """The same for many numbers of right proposals among `total`: (...) integers -> (...) float64."""
    left = total - torch.arange(min(n, total), dtype=torch.float64)  # proposals that remain before each draw
    hit = (right.double()[..., None] / left).clamp(max=1)  # (..., n) probability of the draw while none before it was a hit
    return 1 - (-hit).log1p().sum(dim=-1).exp()


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

    def hit(self, found: Found, m: float) -> bool:
        """Whether a moment has an IoU of at least m with a right one of its video; float32, m too, as within a video."""
        spans = self.moments.get(found.video_id)
        if not spans:
            return False
        ious = temporal_iou(torch.tensor(spans), torch.tensor([found.start, found.end]))
        return bool((ious >= torch.tensor(m, dtype=ious.dtype)).any())


def first_hit(answer: Sequence[Found], right: Right, m: float) -> int | None:
    """Rank, from 1, of the first moment that has an IoU of at least m with a right one."""
    for rank, found in enumerate(answer, 1):
        if right.hit(found, m):
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
        if found.video_id not in credited and right.hit(found, m):
            credited.add(found.video_id)
            total += len(credited) / rank
    return total / len(right.moments) if right.moments else 0.0
