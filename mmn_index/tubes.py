"""Tubes: a box on each of some frames of a video; their IoU in space and time.

A tube of a truth or an answer has every frame from its first to its last; frames are compared by their
numbers, so one with gaps meets another on the frames that both have. Which pixels a box covers is a
convention: in plain boxes x2 - x1 is the width, with `extra` 1 it is x2 - x1 + 1, as if x2 were the last
pixel inside (MMN-STVG).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tube:
    """Boxes on frames.

    Raises:
        ValueError: shapes do not fit, there is no frame, or frames do not ascend.
    """

    frames: Tensor  # (n,) int64 numbers, ascending
    boxes: Tensor  # (n, 4) float32 x1, y1, x2, y2 in pixels; float64 where an evaluator computes in it

    def __post_init__(self) -> None:
        if self.frames.shape != (len(self.boxes),) or self.boxes.shape[1:] != (4,) or not len(self.frames):
            raise ValueError(
                f"frames of shape {tuple(self.frames.shape)} and boxes of {tuple(self.boxes.shape)}, "
                "expected (n,) and (n, 4) with n of at least 1"
            )
        if not bool((self.frames[1:] > self.frames[:-1]).all()):
            raise ValueError("frames do not ascend")

    @property
    def first(self) -> int:
        """Number of the first frame."""
        return int(self.frames[0])

    @property
    def last(self) -> int:
        """Number of the last frame."""
        return int(self.frames[-1])

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, first: int, end: int) -> "Tube":
        """Its boxes first .. end - 1."""
        return Tube(self.frames[first:end], self.boxes[first:end])


def box_iou(a: Tensor, b: Tensor, extra: float = 0) -> Tensor:
    """IoU of boxes, elementwise, broadcast over leading dimensions.

    Args:
        a, b: (..., 4) x1, y1, x2, y2.
        extra: pixels that each side is longer than the difference of its coordinates.

    Returns:
        (...) in [0, 1]; 0 where both boxes are empty.
    """
    corner = torch.minimum(a[..., 2:], b[..., 2:]) + extra - torch.maximum(a[..., :2], b[..., :2])
    inner = corner.clamp(min=0).prod(dim=-1)
    union = _area(a, extra) + _area(b, extra) - inner
    return torch.where(union > 0, inner / union, torch.zeros_like(union))


def _area(boxes: Tensor, extra: float) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2] + extra).prod(dim=-1)


def common_boxes(a: Tube, b: Tube) -> tuple[Tensor, Tensor]:
    """The boxes of both tubes on the frames that both have: two of (m, 4)."""
    return a.boxes[torch.isin(a.frames, b.frames)], b.boxes[torch.isin(b.frames, a.frames)]


def hull(a: Tube, b: Tube) -> int:
    """Frames from the first of either to the last of either."""
    return max(a.last, b.last) - min(a.first, b.first) + 1


def tube_iou(a: Tube, b: Tube, extra: float = 0) -> Tensor:
    """IoU in space and time (vIoU): the IoUs of boxes on common frames, summed, over the frames of the hull.

    Args:
        extra: as in `box_iou`.

    Returns:
        One number of the boxes' precision.
    """
    return box_iou(*common_boxes(a, b), extra).sum() / hull(a, b)
