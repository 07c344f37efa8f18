"""The sparse 2D map: which moments of a video are candidate proposals.

A video is cut into N equal clips. Cell (i, j), i <= j, of the N x N map is the proposal that
starts with clip i and ends with clip j, both included; in seconds [i * duration / N,
(j + 1) * duration / N). Long proposals are sampled more coarsely (2D-TAN, Zhang et al., AAAI 2020),
so the map is sparse. This module alone knows how clips and seconds belong together.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .errors import ConfigError
from .moments import temporal_iou

MOST_CLIPS = 4096  # the map has their square; the papers have 16 to 200


@dataclass(frozen=True)
class Diagonal:
    """The cells (i, i + offset) for i = 0, stride, 2 * stride, ... that fit into the map."""

    offset: int
    stride: int
    starts_group: bool  # its stride is twice that of the diagonal before


@dataclass(frozen=True)
class ProposalGrid:
    """The valid cells of an N x N map.

    Args:
        num_clips: N.
        pooling_counts: how many diagonals follow with stride 1, then 2, 4, 8, ...

    >>> len(ProposalGrid(64, (15, 8, 8)))
    1104
    """

    num_clips: int
    pooling_counts: tuple[int, ...]

    def __post_init__(self) -> None:
        # Before any diagonal is made: a damaged file may say anything.
        if not 0 < self.num_clips <= MOST_CLIPS or any(count < 0 for count in self.pooling_counts):
            raise ConfigError(
                f"model.num_clips {self.num_clips} and model.pooling_counts {self.pooling_counts} make no "
                f"map, expected 1 to {MOST_CLIPS:,} clips, and counts from 0 on."
            )
        reach = sum(count * 2**group for group, count in enumerate(self.pooling_counts))
        if reach >= self.num_clips:
            raise ConfigError(
                f"model.pooling_counts {self.pooling_counts} reach proposals of {reach + 1} clips, but a "
                f"video has {self.num_clips} (model.num_clips)."
            )

    def __len__(self) -> int:
        return len(self.cells)

    @cached_property
    def diagonals(self) -> tuple[Diagonal, ...]:
        """All diagonals, shortest proposals first; the main diagonal is the clips themselves."""
        found, offset = [Diagonal(0, 1, False)], 0
        for group, count in enumerate(self.pooling_counts):
            stride = 2**group
            for number in range(count):
                offset += stride
                found.append(Diagonal(offset, stride, group > 0 and number == 0))
        return tuple(found)

    @cached_property
    def mask(self) -> Tensor:
        """(N, N) bool: True on valid cells."""
        mask = torch.zeros(self.num_clips, self.num_clips, dtype=torch.bool, device="cpu")
        for diagonal in self.diagonals:
            first = torch.arange(0, self.num_clips - diagonal.offset, diagonal.stride, device="cpu")
            mask[first, first + diagonal.offset] = True
        return mask

    @cached_property
    def cells(self) -> Tensor:
        """(P, 2) int64: first and last clip of each proposal, in row-major order of the map."""
        return self.mask.nonzero()

    def seconds(self, duration: float) -> Tensor:
        """(P, 2) float32: start and end of each proposal in a video of `duration` seconds.

        Evaluated as float32(clip) * float32(duration) / N, in this order: temporal IoUs of
        proposals are often exactly one half, and the rounding decides what NMS keeps.
        """
        edges = self.cells + torch.tensor([0, 1])
        return edges.to(torch.float32) * torch.tensor(duration, dtype=torch.float32) / self.num_clips

    def iou_targets(self, moments: Tensor, duration: float) -> Tensor:
        """Temporal IoU of moments with every proposal.

        Args:
            moments: (Q, 2) seconds.

        Returns:
            (Q, P), dtype of `moments`.
        """
        return temporal_iou(moments[:, None], self.seconds(duration).to(moments.dtype)[None])
