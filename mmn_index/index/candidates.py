"""Moments that may be the best of some queries, with upper bounds of their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..scoring import Embeddings, Score, Tangent
from .segment import Segment
from .vectors import HUB_WIDTH


@dataclass(frozen=True)
class Candidates:
    """Moments that may be the best of some queries."""

    values: (
        np.ndarray
    )  # (Q, n) float32 upper bounds of the logarithmic score, best first; -inf where fewer were found
    rows: np.ndarray  # (Q, n) int64; -1 there
    total: int  # moments that could have been found, had all been searched
    recall: (
        float | None
    )  # measured recall of the candidate index that took part; None: all moments were scanned
    missing: int = 0  # of `total`, those that could not be searched: who holds them on a cluster is lost

    @property
    def searched(self) -> int:
        """Moments that were searched."""
        return self.total - self.missing

    @classmethod
    def joined(
        cls,
        found: Sequence[tuple[np.ndarray, np.ndarray]],
        queries: int,
        limit: int,
        total: int,
        recall: float | None,
        missing: int = 0,
    ) -> "Candidates":
        """The best of what was found in several places: values and rows, each (Q, n)."""
        if not found:
            empty = np.empty((queries, 0))
            return cls(empty.astype(np.float32), empty.astype(np.int64), total, None, missing)
        if len(found) == 1:
            return cls(*found[0], total, recall, missing)
        values, rows = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
        order = np.argsort(-values, axis=1, kind="stable")[:, :limit]
        values, rows = (np.take_along_axis(part, order, axis=1) for part in (values, rows))
        return cls(values, rows, total, recall, missing)


def nearest(
    segment: Segment, queries: Embeddings, score: Score, planes: Sequence[Tangent], wanted: int
) -> tuple[np.ndarray, np.ndarray]:
    """What a segment's candidate index finds: upper bounds (Q, wanted) and the segment's rows, -1 for none.

    Args:
        planes: a tangent plane of the score for each query; the inner product that is looked for.
    """
    assert segment.vectors is not None
    whole = segment.live.all() and segment.filled is None
    allowed = None if whole else segment.moments_of(segment.live)
    slopes = np.array([[plane.contrastive, plane.iou] for plane in planes], dtype=np.float32)
    wide = [slopes[:, :1] * queries.contrastive.cpu().numpy(), slopes[:, 1:] * queries.iou.cpu().numpy()]
    if segment.hubs is not None:
        wide += [-score.hub * slopes[:, :1], np.zeros((len(slopes), HUB_WIDTH - 1), np.float32)]
    values, rows = segment.vectors.best(np.concatenate(wide, axis=1), wanted, allowed=allowed)
    values += np.array([[plane.constant] for plane in planes], dtype=np.float32)
    return values, rows
