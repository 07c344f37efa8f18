"""Convolution over the live positions of a map alone, for processors.

A position of the map is live where the window of the layer before holds a cell of the mask; every other one
is zero by the masked-weight rule. Live positions are rows here, in row-major order of the map, and each tap
of the kernel is one matrix product over the rows that it reads. Where few positions are dead, a plain
convolution over the whole map is faster, and is taken.

Shapes: V videos, R live positions read, R' written, C channels read, C' written, K kernel.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# A plain convolution multiplies so much faster than single taps do (measured with 128 and with 512 channels),
# in the number formats that it has fast code for.
_PLAIN_IS_FASTER = 1.5


class SparseConv:
    """Which rows one layer reads and writes.

    Args:
        source: (h + K - 1, w + K - 1) bool: the live positions that are read.
        target: (h, w) bool: those that are written.
        kernel: K.
    """

    def __init__(self, source: Tensor, target: Tensor, kernel: int) -> None:
        self._shape = source.shape
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
        pairs = sum(len(read) for read, _ in taps)
        self.plain = pairs * _PLAIN_IS_FASTER > target.numel() * kernel**2

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution without bias: (V, R, C) -> (V, R', C').

        Args:
            weight: (C', C, K, K), as that of a Conv2d.
        """
        if not self.plain or x.dtype is torch.float64:
            out: Tensor = _ByTaps.apply(x, weight.flatten(2).permute(2, 1, 0).contiguous(), self)  # type: ignore[no-untyped-call]
            return out
        whole = x.new_zeros(len(x), self._shape.numel(), x.shape[2]).index_copy(1, self._source, x)
        made = functional.conv2d(whole.view(len(x), *self._shape, x.shape[2]).permute(0, 3, 1, 2), weight)
        return made.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, self._target)


class _ByTaps(torch.autograd.Function):
    """weight: (K * K, C, C')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, conv: SparseConv) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.conv = conv
        out = x.new_zeros(len(x), conv.rows, weight.shape[2])
        for (read, written), tap in zip(conv.taps, weight, strict=True):
            out.index_add_(1, written, x.index_select(1, read) @ tap)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = ctx.saved_tensors
        of_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight)
        for (read, written), tap, of_tap in zip(ctx.conv.taps, weight, of_weight, strict=True):
            part = gradient.index_select(1, written)
            if of_x is not None:
                of_x.index_add_(1, read, part @ tap.T)
            torch.mm(x.index_select(1, read).flatten(0, 1).T, part.flatten(0, 1), out=of_tap)
        return of_x, of_weight, None
