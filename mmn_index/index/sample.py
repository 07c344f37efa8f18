"""A random sample of all moments of an index, joined from the samples of its segments."""

from collections.abc import Sequence

import numpy as np

from .segment import Segment


def joined_samples(
    segments: Sequence[Segment], counts: Sequence[int], width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The samples of segments as one.

    Args:
        counts: moments of each segment that may be found.
        width: of the embeddings, 2 C.

    Returns:
        Rows (s,) int64, embeddings (s, width) float16, and weights (s,) float64: how many moments each stands
        for.

    Raises:
        MomentIndexError: a segment's sample is damaged.
    """
    rows, embeddings, weights = [np.empty(0, np.int64)], [np.empty((0, width), np.float16)], [np.empty(0)]
    first = 0
    for segment, count in zip(segments, counts, strict=True):
        own, vectors = segment.sample()
        rows.append(own + first)
        embeddings.append(vectors)
        weights.append(np.full(len(own), count / max(1, len(own))))
        first += segment.entry.moments
    return np.concatenate(rows), np.concatenate(embeddings), np.concatenate(weights)
