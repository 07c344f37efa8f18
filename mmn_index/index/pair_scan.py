"""What no pair of moments of a video can score above: all moments of a segment scanned for two sentences."""

import numpy as np
import torch
from torch import Tensor

from ..proposals import ProposalGrid
from ..scoring import Embeddings, Score
from .scan import Deadline, upper_bounds
from .segment import Segment
from .selection import Part

_BLOCK = 1 << 16  # moments that are scanned together


@torch.inference_mode()
def pair_bounds(
    segment: Segment,
    part: Part,
    grid: ProposalGrid,
    queries: Embeddings,
    score: Score,
    deadline: Deadline,
    *,
    in_order: bool,
) -> np.ndarray:
    """(videos of the segment,) float32: what no pair of a video is above; -inf for a video that has none.

    Args:
        part: whole videos, or some moments of them.
        queries: unit vectors of the two sentences, two of (2, C).
        in_order: whether the second moment has to begin when the first has ended, or later.

    Raises:
        QueryError: the deadline passed.
    """
    count, done = len(grid), 0
    step = max(1, _BLOCK // count)
    singles = np.full((2, segment.entry.videos), -np.inf, dtype=np.float32)  # of either sentence
    pairs = np.full(segment.entry.videos, -np.inf, dtype=np.float32)  # both in one window
    for begin, end in part.runs:
        for first in range(begin // count, end // count, step):
            deadline.check(done, part.count)
            last = min(first + step, end // count)
            rows = slice(first * count, last * count)
            hubs = None if segment.hubs is None else segment.hubs[rows]
            values = upper_bounds(segment.embeddings[rows], hubs, queries, score, segment.longest)
            if part.keep is not None:
                kept = torch.from_numpy(part.keep[done : done + values.shape[1]])
                values.masked_fill_(~kept, -torch.inf)
            done += values.shape[1]
            windows = values.view(2, last - first, count)
            videos = segment.window_videos[first:last]
            np.maximum.at(pairs, videos, _sums(grid, windows, in_order).amax(dim=1).numpy())
            for single, own in zip(singles, windows.amax(dim=2).numpy(), strict=True):
                np.maximum.at(single, videos, own)
    # Clips of a short tube share frames, so that clips that overlap may follow each other in time.
    several = (np.diff(segment.first_window) > 1) | (segment.tubes is not None)
    return np.where(several, singles.sum(axis=0), pairs)


def _sums(grid: ProposalGrid, values: Tensor, in_order: bool) -> Tensor:
    """(2, W, P) scores of both sentences -> (W, P) best sum of a pair of one window whose second moment is
    p.
    """
    if not in_order:
        return values[0].amax(dim=1, keepdim=True) + values[1]
    starts, lasts = grid.cells.T
    best = torch.full((values.shape[1], grid.num_clips), -torch.inf, dtype=values.dtype)
    best.scatter_reduce_(1, lasts.expand(values.shape[1], -1), values[0], "amax")
    # [c]: ends before clip c
    best = torch.cat([torch.full_like(best[:, :1], -torch.inf), best.cummax(dim=1).values], dim=1)
    return best[:, starts] + values[1]
