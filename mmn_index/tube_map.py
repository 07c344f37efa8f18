"""The sparse 2D map over a tube: which rows of boxes a proposal spans, how well it meets a true tube, and
what a video's answer is.

A tube's frames are cut into N clips, as a video is. Of a tube shorter than N frames some proposals hold no
frame at all; they are empty, match nothing and are never an answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .clips import pool_to_pre_clips
from .proposals import ProposalGrid
from .scoring import IOU_SCALE
from .tubes import Tube, box_iou


class Answer(NamedTuple):
    """A stretch of one of a video's tubes: rows first .. end - 1 of its boxes."""

    tube: int
    first: int
    end: int


def rows_of(cells: Tensor, num_clips: int, frames: int | Tensor) -> Tensor:
    """The rows of a tube's boxes that proposals span.

    Args:
        cells: (..., 2) first and last clip of each.
        num_clips: N.
        frames: how many rows there are; of several tubes (..., 1).

    Returns:
        (..., 2) int64: the first, and the one behind the last; not above the first where there is none.
    """
    # float32 and halves to even, as officially: a boundary in the middle of two rows is common.
    edges = ((cells + cells.new_tensor([0, 1])).float() / num_clips * frames).round()
    return edges.long()


def iou_targets(grid: ProposalGrid, tube: Tube, truth: Tube, extra: float = 0) -> Tensor:
    """IoU in space and time of every proposal of a tube with a true tube, (P,) in the boxes' precision; 0 of
    empty ones.

    Args:
        extra: see `tubes.box_iou`.
    """
    rows = rows_of(grid.cells, grid.num_clips, len(tube))
    common = torch.isin(tube.frames, truth.frames)
    each = torch.zeros(
        len(tube) + 1, dtype=torch.float64
    )  # sums in float64: differences of them are exact enough
    each[1:][common] = box_iou(
        tube.boxes[common], truth.boxes[torch.isin(truth.frames, tube.frames)], extra
    ).double()
    sums = each.cumsum(0)
    first, end = rows.unbind(1)
    full = first < end
    first, last = first.clamp(max=len(tube) - 1), (end - 1).clamp(min=0)
    frames = torch.maximum(tube.frames[last], truth.frames[-1])
    frames = frames - torch.minimum(tube.frames[first], truth.frames[0]) + 1
    found = (sums[last + 1] - sums[first]) / frames
    return torch.where(full, found, 0).to(tube.boxes.dtype)


def tube_score(contrastive: Tensor, iou: Tensor) -> Tensor:
    """MMN-STVG's score of a proposal, elementwise: its contrastive cosine with the sentence times the
    probability of a match; it may be negative.
    """
    return contrastive * torch.sigmoid(IOU_SCALE * iou)


def best_answer(
    scores: Tensor, frames: Sequence[int], grid: ProposalGrid, *, official: bool = False
) -> Answer:
    """The proposal of the best score that is not empty; of equal ones the first.

    Args:
        scores: (T, P) of each tube's proposals.
        frames: of each tube.
        official: what is no proposal competes with a score of 0, above the diagonal of the map as well: as
            the official code has it, where a sparse map and negative scores lead to an answer that is no
            proposal.
    """
    if official:
        cells = torch.cartesian_prod(*[torch.arange(grid.num_clips)] * 2)
        whole = scores.new_zeros(len(scores), len(cells))
        whole[:, grid.mask.flatten()] = scores
        scores = whole
    else:
        cells = grid.cells
    rows = torch.stack([rows_of(cells, grid.num_clips, count) for count in frames])
    empty = rows[..., 0] >= rows[..., 1]
    place = int(scores.masked_fill(empty, -torch.inf).argmax())
    tube, cell = divmod(place, len(cells))
    first, end = rows[tube, cell].tolist()
    return Answer(tube, first, end)


def tube_pre_clips(streams: Sequence[Tensor], num_pre_clips: int) -> Tensor:
    """A tube's pre-clips out of one or several streams of features, which need not have equally many rows.

    Each row is brought to length 1 (zero rows stay), runs of rows are averaged, and the streams are joined.

    Args:
        streams: (S, D) each, in time order.

    Returns:
        (M, sum of D).

    Raises:
        FeatureError: a stream has no rows.
    """
    return torch.cat([pool_to_pre_clips(stream, num_pre_clips, to_the_end=True) for stream in streams], dim=1)
