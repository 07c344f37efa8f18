"""Convolution of live positions in the frequency domain, tile by tile.

A K x K convolution of many channels costs K * K products of matrices a position. Cut into tiles of T x T,
which give V x V positions each, V = T - K + 1, it costs one complex product a frequency of a tile: T (T / 2 +
1) of them, so that for the kernels of the paper a position takes an eighth to a twenty-fifth. Tiles lie only
where positions are live.

The transforms are products with small matrices, an axis at a time: no complex number is ever stored. Real and
imaginary parts (a, b) of a frequency meet those of the weights (r, s) in three real products,

    p = (a + b) r,  q = a (s - r),  t = b (r + s);  p - t is the real part, p + q the imaginary one,

and the sums on both sides are part of the transforms.

Shapes: V videos, R live positions read, R' written, C channels read, C' written, n tiles of all videos.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

_AT_ONCE = 1 << 24  # numbers: many calls of little work wait for each other where processes share cores
_ROWS = 256  # tiles that are multiplied together: fewer leave the processor waiting for the weights


@dataclass(frozen=True)
class _Transforms:
    """The matrices of one tile size, float64; F = T // 2 + 1.

    Attributes:
        rows: (2 F, T), along the columns of a tile: real and imaginary part of each frequency.
        columns: (3 T, 2 T), along its rows: a + b, a and b of each frequency.
        weight_rows, weight_columns: (2 F, K) and (3 T, 2 K), the same for the conjugate of the weights: r,
            s - r, r + s.
        back_columns: (2 V, 3 T), from p, q, t to the V valid rows.
        back_rows: (V, 2 F), to the V valid columns.
    """

    rows: Tensor
    columns: Tensor
    weight_rows: Tensor
    weight_columns: Tensor
    back_columns: Tensor
    back_rows: Tensor

    @staticmethod
    @lru_cache(maxsize=64)
    def of(tile: int, kernel: int, dtype: torch.dtype) -> "_Transforms":
        """The matrices of a tile size, in a number format."""
        valid, half = tile - kernel + 1, tile // 2 + 1
        place = torch.arange(tile, dtype=torch.float64, device="cpu")
        angle = 2 * math.pi / tile * place[:, None] * place
        cos, sin = angle.cos(), angle.sin()
        rows = torch.stack([cos[:half], -sin[:half]], dim=1).flatten(0, 1)
        real, imaginary = torch.cat([cos, sin], dim=1), torch.cat([-sin, cos], dim=1)
        conjugate = torch.stack([cos[:half], sin[:half]], dim=1).flatten(0, 1)
        r, s = torch.cat([cos, -sin], dim=1), torch.cat([sin, cos], dim=1)
        short = (torch.arange(2 * tile, device="cpu") % tile) < kernel
        down, right = cos[:valid] / tile, sin[:valid] / tile
        back = [
            torch.cat([down - right, right + down]),
            torch.cat([-right, down]),
            torch.cat([-down, -right]),
        ]
        twice = torch.full((half,), 2.0 / tile, dtype=torch.float64, device="cpu")
        twice[0] = 1 / tile
        if tile % 2 == 0:
            twice[-1] = 1 / tile
        across = torch.stack([twice * cos[:valid, :half], -twice * sin[:valid, :half]], dim=2).flatten(1)
        found = (
            rows,
            torch.cat([real + imaginary, real, imaginary]),
            conjugate[:, :kernel],
            torch.cat([r, s - r, r + s])[:, short],
            torch.cat(back, dim=1),
            across,
        )
        return _Transforms(*(each.to(dtype).contiguous() for each in found))


class Workspace:
    """Memory that is used again: to get a page from the system takes longer than to fill it."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Uninitialised, and the caller's until the name is taken again."""
        count, held = math.prod(shape), self._held.get(name)
        if held is None or len(held) < count or held.dtype != like.dtype:
            self._held[name] = held = like.new_empty(count)
        return held[:count].view(shape)


class TiledConv:
    """Which positions the tiles of one layer read and write.

    Args:
        source: (h + K - 1, w + K - 1) bool: the live positions that are read.
        target: (h, w) bool: those that are written.
        kernel: K.
        tile: T, at least K.
    """

    def __init__(self, source: Tensor, target: Tensor, kernel: int, tile: int) -> None:
        self.kernel, self.tile, self.valid = kernel, tile, tile - kernel + 1
        self.half = tile // 2 + 1  # F
        self._source, self._target = source, target
        self._corners = _cover(target, self.valid)
        self.tiles = len(self._corners)

    def products(self, channels: int, width: int, videos: int, *, thin: float | None = None) -> float:
        """What the layer costs, in multiplications of a product of large matrices, for so many videos.

        Args:
            thin: how many of them one of a transform counts as; None for what was measured.
        """
        tile, valid, half = self.tile, self.valid, self.half
        into = channels * half * (2 * tile * tile + 6 * tile * tile)
        back = width * half * (6 * tile * valid + 2 * valid * valid)
        weights = channels * width * half * (2 * self.kernel**2 + 6 * tile * self.kernel)
        core = 3 * half * tile * channels * width
        thin = _THIN if thin is None else thin
        return videos * self.tiles * (core + thin * (into + back)) + thin * weights

    @cached_property
    def reads(self) -> tuple[Tensor, Tensor]:
        """(T * T * tiles,) rows of the source, columns of a tile first; and which of them are none."""
        number = torch.full((self._source.shape[0] + self.tile, self._source.shape[1] + self.tile), -1)
        number[: self._source.shape[0], : self._source.shape[1]][self._source] = torch.arange(
            int(self._source.sum())
        )
        reach = torch.arange(self.tile)
        down, right = self._corners.T
        found = number[down + reach[:, None], (right + reach[:, None])[:, None]].flatten()
        return found.clamp(min=0), (found < 0).nonzero()[:, 0]

    @cached_property
    def writes(self) -> Tensor:
        """(R',) where each row of the target is among the V * V * tiles positions of all tiles."""
        side = self.valid
        number = torch.full((self._target.shape[0] + side, self._target.shape[1] + side), -1)
        inside = torch.arange(side)
        for tile, (down, right) in enumerate(self._corners.tolist()):
            own = (inside * side + inside[:, None]) * self.tiles + tile
            number[down : down + side, right : right + side] = own
        return number[: self._target.shape[0], : self._target.shape[1]][self._target]

    def __call__(self, x: Tensor, weight: Tensor, space: Workspace | None = None) -> Tensor:
        """The convolution without bias: (R, V, C) -> (R', V, C').

        Args:
            weight: (C', C, K, K), as that of a Conv2d.
            space: what layers that are computed one after the other share.
        """
        out: Tensor = _Tiled.apply(x, weight, self, space or Workspace())  # type: ignore[no-untyped-call]
        return out

    def parts(self, videos: int) -> list[slice]:
        """Videos that go through together, evenly many."""
        passes = max(1, round(videos * self.tiles / _ROWS))
        step = -(-videos // passes)
        return [slice(first, first + step) for first in range(0, videos, step)]

    def groups(self, channels: int, width: int, tiles: int) -> list[slice]:
        """Frequencies along the rows that are multiplied together, for so many tiles of all videos."""
        each = 3 * self.tile * max(tiles * channels, tiles * width, channels * width)
        step = max(1, _AT_ONCE // each)
        return [slice(first, first + step) for first in range(0, self.half, step)]

    def spectra(self, weight: Tensor, space: Workspace, *, keep: bool) -> "_Spectra":
        """The transformed weights, (C', C, K, K); `keep` where they are asked for several times."""
        return _Spectra(weight, self._transforms(weight), space, keep=keep)

    def across(self, x: Tensor, space: Workspace) -> Tensor:
        """(R, v, C) -> (F, 2 T, n C): the tiles, transformed along their rows."""
        with_, (reads, none) = self._transforms(x), self.reads
        tiles = space.take("tiles", x, len(reads), *x.shape[1:])
        torch.index_select(x, 0, reads, out=tiles)
        tiles = tiles.index_fill_(0, none, 0).view(self.tile, -1)
        found = space.take("across", x, 2 * self.half, tiles.shape[1])
        return torch.mm(with_.rows, tiles, out=found).view(self.half, 2 * self.tile, -1)

    def across_transposed(self, across: Tensor, rows: int, videos: int, space: Workspace) -> Tensor:
        """The gradient of what `across` takes, (R, v, C)."""
        with_, (reads, none) = self._transforms(across), self.reads
        flat = across.view(2 * self.half, -1)
        tiles = torch.mm(with_.rows.T, flat, out=space.take("tiles", across, self.tile, flat.shape[1])).view(
            len(reads), videos, -1
        )
        tiles.index_fill_(0, none, 0)
        return tiles.new_zeros(rows, *tiles.shape[1:]).index_add_(0, reads, tiles)

    def back(self, across: Tensor, videos: int, space: Workspace) -> Tensor:
        """(F, 2 V, n C') -> (R', v, C')."""
        with_, flat = self._transforms(across), across.view(2 * self.half, -1)
        tiles = space.take("tiles", across, self.valid, flat.shape[1])
        torch.mm(with_.back_rows, flat, out=tiles)
        tiles = tiles.view(self.valid**2 * self.tiles, videos, -1)
        found = space.take("written", across, len(self.writes), *tiles.shape[1:])
        return torch.index_select(tiles, 0, self.writes, out=found)

    def back_transposed(self, x: Tensor, space: Workspace) -> Tensor:
        """The gradient of what `back` takes, (F, 2 V, n C')."""
        with_ = self._transforms(x)
        tiles = space.take("tiles", x, self.valid**2 * self.tiles, *x.shape[1:]).zero_()
        tiles = tiles.index_copy_(0, self.writes, x).view(self.valid, -1)
        found = space.take("back", x, 2 * self.half, tiles.shape[1])
        return torch.mm(with_.back_rows.T, tiles, out=found).view(self.half, 2 * self.valid, -1)

    def _transforms(self, like: Tensor) -> _Transforms:
        return _Transforms.of(self.tile, self.kernel, like.dtype)


class _Spectra:
    """The weights of a layer in the frequency domain, some frequencies along the rows at a time."""

    def __init__(self, weight: Tensor, with_: _Transforms, space: Workspace, *, keep: bool) -> None:
        self._with, self._space = with_, space
        self.width, self.channels, kernel, _ = weight.shape
        flat = space.take("weights", weight, kernel, kernel, self.channels, self.width)
        flat = flat.copy_(weight.permute(3, 2, 1, 0)).view(kernel, -1)
        across = space.take("weights across", weight, len(with_.weight_rows), flat.shape[1])
        torch.mm(with_.weight_rows, flat, out=across)
        self._across = across.view(-1, 2 * kernel, flat.shape[1] // kernel)
        self._kept: dict[int, Tensor] | None = {} if keep else None

    def at(self, group: slice) -> Tensor:
        """(g 3 T, C, C'): r, s - r and r + s of g frequencies."""
        if self._kept is not None and group.start in self._kept:
            return self._kept[group.start]
        name = "spectrum" if self._kept is None else f"spectrum {group.start}"
        across, columns = self._across[group], self._with.weight_columns
        found = self._space.take(name, across, len(across), len(columns), across.shape[2])
        found = torch.matmul(columns, across, out=found).view(-1, self.channels, self.width)
        if self._kept is not None:
            self._kept[group.start] = found
        return found


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, conv: TiledConv, space: Workspace) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.conv, ctx.space = conv, space
        parts, with_ = conv.parts(x.shape[1]), _Transforms.of(conv.tile, conv.kernel, x.dtype)
        spectra = conv.spectra(weight, space, keep=len(parts) > 1)
        groups = conv.groups(x.shape[2], len(weight), conv.tiles * x[:, parts[0]].shape[1])
        out = x.new_empty(len(conv.writes), x.shape[1], len(weight))
        for part in parts:
            own = x[:, part]
            tiles = own.shape[1] * conv.tiles
            across = conv.across(own, space)
            back = space.take("back", x, conv.half, 2 * conv.valid, tiles * len(weight))
            for group in groups:
                count = len(across[group])
                into = space.take("into", x, count, 3 * conv.tile, across.shape[2])
                products = space.take("products", x, count * 3 * conv.tile, tiles, len(weight))
                torch.matmul(with_.columns, across[group], out=into)
                torch.bmm(into.view(len(products), tiles, -1), spectra.at(group), out=products)
                torch.matmul(with_.back_columns, products.view(count, 3 * conv.tile, -1), out=back[group])
            out[:, part] = conv.back(back, own.shape[1], space)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (x, weight), conv, space = ctx.saved_tensors, ctx.conv, ctx.space
        parts, with_ = conv.parts(x.shape[1]), _Transforms.of(conv.tile, conv.kernel, x.dtype)
        spectra = conv.spectra(weight, space, keep=len(parts) > 1)
        groups = conv.groups(x.shape[2], len(weight), conv.tiles * x[:, parts[0]].shape[1])
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_weights = x.new_zeros(conv.half, 2 * conv.kernel, weight.shape[0] * weight.shape[1])
        for part in parts:
            own = x[:, part]
            tiles = own.shape[1] * conv.tiles
            back = conv.back_transposed(gradient[:, part], space)
            across = conv.across(own, space)
            for group in groups:
                count = len(across[group])
                into = space.take("into", x, count, 3 * conv.tile, across.shape[2])
                products = space.take("products", x, count, 3 * conv.tile, back.shape[2])
                torch.matmul(with_.columns, across[group], out=into)
                torch.matmul(with_.back_columns.T, back[group], out=products)
                spectrum = spectra.at(group)
                given = into.view(len(spectrum), tiles, -1)
                of_products = products.view(len(spectrum), tiles, -1)
                of_spectrum = space.take("of spectrum", x, *spectrum.shape)
                torch.bmm(given.transpose(1, 2), of_products, out=of_spectrum)
                of_group = of_spectrum.view(count, 3 * conv.tile, -1)
                columns = with_.weight_columns.T.expand(count, -1, -1)
                of_weights[group].baddbmm_(columns, of_group)
                if of_x is not None:
                    torch.bmm(of_products, spectrum.transpose(1, 2), out=given)
                    torch.matmul(with_.columns.T, into, out=across[group])
            if of_x is not None:
                of_x[:, part] = conv.across_transposed(across, len(x), own.shape[1], space)
        flat = with_.weight_rows.T @ of_weights.view(len(with_.weight_rows), -1)
        of_weight = flat.view(conv.kernel, conv.kernel, *weight.shape[1::-1]).permute(3, 2, 1, 0)
        return of_x, of_weight, None, None


# A multiplication of a transform, by its small matrix, takes so many times as long as one by the weights: to
# read and to write takes the time there (fitted to 26 layers of 128 to 512 channels and 2 to 32 videos).
_THIN = 7.0


def _cover(target: Tensor, valid: int) -> Tensor:
    """Corners (tiles, 2), row and column, of squares of `valid` positions that hold all live ones: stripes of
    rows, and in each squares from its first live position on. The first stripe may begin above the map.
    """
    best: list[tuple[int, int]] = []
    for above in range(valid):
        found = []
        for top in range(-above, target.shape[0], valid):
            live = target[max(0, top) : top + valid].any(dim=0).nonzero()[:, 0].tolist()
            end = -1
            for column in live:
                if column >= end:
                    found.append((top, column))
                    end = column + valid
        if not best or len(found) < len(best):
            best = found
    return torch.tensor([(max(0, top), column) for top, column in best]).view(-1, 2)
