"""Convolution over the live positions of a map alone, for processors.

A position of the map is live where the window of the layer before holds a cell of the mask; every other one
is zero by the masked-weight rule. Live positions are rows here, in row-major order of the map.

There are three ways to compute them, and each layer takes the cheapest: a plain convolution over the whole
map, where few positions are dead; each tap of the kernel as one matrix product over the rows that it reads,
where few are live; and tiles in the frequency domain (tiled_conv.py), where kernel and channels are large.

Shapes: V videos, R live positions read, R' written, C channels read, C' written, K kernel.
"""

import math
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from .tiled_conv import TiledConv, Workspace

# A multiplication of these forms takes so many times as long as one of a product of large matrices (measured
# with 128 and with 512 channels), of a plain convolution in the number formats that it has fast code for.
_TAPS, _PLAIN = 1.8, 1.2
_NARROW = 32  # channels below which tiles are not looked at: their transforms cost more than they save

Form = Literal["plain", "taps", "tiles"]


class SparseConv:
    """Which rows one layer reads and writes.

    Args:
        source: (h + K - 1, w + K - 1) bool: the live positions that are read.
        target: (h, w) bool: those that are written.
        kernel: K.

    Attributes:
        only: the form that all layers take, whatever it costs; None lets each take the cheapest.
    """

    only: ClassVar[Form | None] = None

    def __init__(self, source: Tensor, target: Tensor, kernel: int) -> None:
        self._shape, self._kernel = source.shape, kernel
        self._source_mask, self._target_mask = source, target
        self._source, self._target = source.flatten().nonzero()[:, 0], target.flatten().nonzero()[:, 0]
        number = torch.full(source.shape, -1)
        number[source] = torch.arange(len(self._source))
        row, column = target.nonzero().T
        taps = []
        for down in range(kernel):
            for right in range(kernel):
                read = number[row + down, column + right]
                written = (read >= 0).nonzero()[:, 0]
                taps.append((read[written], written))
        self.taps = tuple(taps)  # for each of the K * K taps: rows that are read, rows that they are added to
        self.rows = len(self._target)  # R'
        self.dead = target.numel() - self.rows
        self._pairs = sum(len(read) for read, _ in taps)

    def __call__(self, x: Tensor, weight: Tensor, space: Workspace | None = None) -> Tensor:
        """The convolution without bias: (R, V, C) -> (R', V, C').

        Args:
            weight: (C', C, K, K), as that of a Conv2d.
            space: what layers that are computed one after the other share.
        """
        form, tiled = self.form(x.shape[2], len(weight), x.shape[1], x.dtype)
        if tiled is not None:
            return tiled(x, weight, space)
        return self._plain(x, weight) if form == "plain" else self._by_taps(x, weight)

    def form(
        self, channels: int, width: int, videos: int, dtype: torch.dtype = torch.float32
    ) -> tuple[Form, TiledConv | None]:
        """How so many videos are computed, and on which tiles."""
        costs = self.products(channels, width, videos)
        if dtype is torch.float64:  # for which no plain convolution is fast
            del costs["plain"]
        form = min(costs, key=costs.__getitem__) if self.only is None else self.only
        return form, self._tiling(channels, width, videos) if form == "tiles" else None

    def products(self, channels: int, width: int, videos: int) -> dict[Form, float]:
        """What each form costs, in multiplications of products of large matrices."""
        plain = _PLAIN * self._target_mask.numel() * self._kernel**2
        costs: dict[Form, float] = {"plain": plain, "taps": _TAPS * self._pairs}
        costs = {form: cost * channels * width * videos for form, cost in costs.items()}
        if min(channels, width) >= _NARROW:
            costs["tiles"] = self._tiling(channels, width, videos).products(channels, width, videos)
        return costs

    def _tiling(self, channels: int, width: int, videos: int) -> TiledConv:
        return min(self._tilings, key=lambda one: one.products(channels, width, videos))

    @cached_property
    def _tilings(self) -> list[TiledConv]:
        kernel = self._kernel
        sides = range(kernel + 3, 3 * kernel + 4, 2)
        return [self.tiling(side) for side in sides]

    def tiling(self, tile: int) -> TiledConv:
        """The layer on tiles of T x T."""
        return TiledConv(self._source_mask, self._target_mask, self._kernel, tile)

    def _by_taps(self, x: Tensor, weight: Tensor) -> Tensor:
        out: Tensor = _ByTaps.apply(x, weight, self)  # type: ignore[no-untyped-call]
        return out

    def _plain(self, x: Tensor, weight: Tensor) -> Tensor:
        videos, channels = x.shape[1:]
        whole = x.new_zeros(videos, self._shape.numel(), channels).index_copy(
            1, self._source, x.transpose(0, 1)
        )
        made = functional.conv2d(whole.view(videos, *self._shape, channels).permute(0, 3, 1, 2), weight)
        return made.flatten(2).permute(2, 0, 1).index_select(0, self._target)


class _ByTaps(torch.autograd.Function):
    """The same on single taps. Of all videos, a position is one row, which is copied or added in one go; the
    weights and their gradient are transposed as matrices, for which torch has a fast way.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, conv: SparseConv) -> Tensor:
        width, channels = weight.shape[:2]
        weights = weight.reshape(width * channels, -1).T.contiguous().view(-1, width, channels)
        ctx.save_for_backward(x, weights)
        ctx.conv = conv
        out = x.new_zeros(conv.rows, x.shape[1] * width)
        for (read, written), tap in zip(conv.taps, weights, strict=True):
            out.index_add_(0, written, (_rows(x, read) @ tap.T).view(len(read), out.shape[1]))
        return out.view(conv.rows, x.shape[1], width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weights = ctx.saved_tensors
        of_x = torch.zeros_like(x).flatten(1) if ctx.needs_input_grad[0] else None
        of_weights = torch.empty_like(weights)
        for (read, written), tap, of_tap in zip(ctx.conv.taps, weights, of_weights, strict=True):
            part = _rows(gradient, written)
            if of_x is not None:
                of_x.index_add_(0, read, (part @ tap).view(len(read), of_x.shape[1]))
            torch.mm(part.T, _rows(x, read), out=of_tap)
        kernel = math.isqrt(len(weights))
        of_weight = of_weights.flatten(1).T.contiguous().view(*weights.shape[1:], kernel, kernel)
        return None if of_x is None else of_x.view_as(x), of_weight, None


def _rows(x: Tensor, numbers: Tensor) -> Tensor:
    """(R, V, C) -> (n * V, C), a view where that is all of them: rows are read in order."""
    return (x if len(numbers) == len(x) else x.index_select(0, numbers)).flatten(0, 1)
