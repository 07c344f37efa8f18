"""The convolution stack in float16 on tiles in the frequency domain: how a GPU embeds videos.

Two facts are those of sparse_conv.py and tiled_conv.py: only positions that a proposal reaches are computed,
and a K x K convolution is one product of matrices a frequency of a tile. The rest is for matrix units that
multiply float16 and add in float32: a tile is transformed by one product with the matrix of the whole 2D
transform; real and imaginary parts meet those of the weights in four products, not three, for sums of two
halves would be rounded once more; weights are transformed once for all videos; and one gather leads from the
tiles of a layer to those of the next. BatchNorm is folded into weights and bias, so it is for embedding
alone.

Entries of both transforms are of size 1 / T, so numbers stay within float16's range; where they do not, the
caller finds embeddings that are not finite (model.py) and computes the whole map instead.

Shapes: V videos, F = T (T // 2 + 1) frequencies, n tiles of all videos, C channels read, C' written.
"""

import torch
from torch import Tensor, nn

from .scoring import Embeddings
from .tiled_conv import TiledConv
from .video_encoder import ProposalConv, VideoEncoder

_WIDE = 256  # channels from which it was seen to pay
_OPERATIONS_A_BYTE = 160  # that matrix units make in the time of a byte of memory (H200: 650 T/s, 4.1 TB/s)


class HalfTiles:
    """A video encoder's proposal map and heads with fixed weights, convolutions in `dtype`.

    Args:
        encoder: in eval mode; its weights are copied, transformed, to where they are.
    """

    def __init__(self, encoder: VideoEncoder, dtype: torch.dtype = torch.float16) -> None:
        self._encoder, conv = encoder, encoder.proposal_conv
        device = conv.rows.device
        self._layers: list[_Layer] = []
        before = None  # where the rows of a layer's input lie in what the layer before has made
        for number in range(len(conv.sparse)):
            layer = _Layer(conv, number, before, dtype, device)
            self._layers.append(layer)
            before = layer.written
        assert before is not None
        self._cells = before[conv.rows.cpu()].to(device)

    @staticmethod
    def suits(encoder: VideoEncoder) -> bool:
        """Whether an encoder's layers are so wide that this is the quickest form on a GPU."""
        convs = encoder.proposal_conv.convs
        return all(isinstance(conv, nn.Conv2d) and min(conv.weight.shape[:2]) >= _WIDE for conv in convs)

    @property
    def operations(self) -> int:
        """Of the convolutions' products, for one video; a multiplication and an addition are two."""
        return sum(layer.operations for layer in self._layers)

    @torch.inference_mode()
    def __call__(self, pre_clips: Tensor) -> Embeddings:
        """Embeddings of all proposals, not yet normalised: (V, M, D) -> two of (V, P, C) float32."""
        rows = self._encoder.proposal_map.rows(self._encoder.featpool(pre_clips))
        for layer in self._layers:
            rows = layer(rows)
        features = rows.index_select(0, self._cells).transpose(0, 1).float()
        return self._encoder.proposal_conv.heads(features)


class _Layer:
    """One convolution, BatchNorm, ReLU and the masked-weight rule.

    Args:
        before: (R,) where each live position that is read lies among the rows given; None: they are in order.
    """

    def __init__(
        self,
        stack: ProposalConv,
        number: int,
        before: Tensor | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        conv, norm = stack.convs[number], stack.norms[number]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        tiling = _tiling(stack, number, conv)
        reads, none = tiling.reads
        reads = reads if before is None else before[reads]
        self._reads, self._none = reads.to(device), none.to(device)
        self.written = tiling.writes
        self.operations = tiling.tiles * _operations(tiling, conv.in_channels, conv.out_channels)
        self._tile, self._valid = tiling.tile, tiling.valid
        into, back, of_weights = _transforms(tiling.tile, tiling.kernel, device)
        self._into, self._back = into.to(dtype), back.to(dtype)
        weight, self._bias = _folded(conv, norm)
        flat = weight.permute(3, 2, 1, 0).reshape(tiling.kernel**2, -1)  # columns first, as in a tile
        shape = len(into) // 2, conv.in_channels, conv.out_channels
        self._weights = [(part @ flat).to(dtype).view(shape) for part in of_weights]
        count = stack.get_buffer(f"count_{number}").cpu()
        # Of what a tile writes beside the live positions nothing is read.
        share = torch.zeros(tiling.valid**2 * tiling.tiles)
        share[tiling.writes] = (1 / count[count > 0]).float()
        self._share = share.view(tiling.valid**2, tiling.tiles, 1, 1).to(device, dtype)
        self._bias = self._bias.to(dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """(R, V, C) -> (V' * V' * tiles, V, C'), V' x V' positions a tile."""
        videos, channels = rows.shape[1:]
        tiles = rows.to(self._into.dtype).index_select(0, self._reads).index_fill_(0, self._none, 0)
        across = (self._into @ tiles.view(self._tile**2, -1)).view(2, len(self._into) // 2, -1, channels)
        width = self._weights[0].shape[2]
        products = across.new_empty(2, 2, across.shape[1], across.shape[2], width)
        for part, mine in enumerate(across):
            for other, weights in enumerate(self._weights):
                torch.bmm(mine, weights, out=products[part, other])
        made = (self._back @ products.view(self._back.shape[1], -1)).view(
            *self._share.shape[:2], videos, width
        )
        return made.add_(self._bias).relu_().mul_(self._share).flatten(0, 1)


def _tiling(stack: ProposalConv, number: int, conv: nn.Conv2d) -> TiledConv:
    """The tile size that takes the least time, of operations and of memory."""
    kernel = conv.kernel_size[0]
    sizes = range(kernel + 3, 3 * kernel + 2, 4) if kernel > 1 else (4,)
    tilings = [stack.sparse[number].tiling(size) for size in sizes]
    return min(tilings, key=lambda one: _time(one, conv.in_channels, conv.out_channels))


def _time(tiling: TiledConv, channels: int, width: int) -> float:
    """What a video costs, in operations."""
    area, written, frequencies = tiling.tile**2, tiling.valid**2, tiling.tile * tiling.half
    numbers = 2 * area * channels + 6 * frequencies * channels + 8 * frequencies * width + 7 * written * width
    memory = 2 * _OPERATIONS_A_BYTE * numbers
    return tiling.tiles * (_operations(tiling, channels, width) + memory)


def _operations(tiling: TiledConv, channels: int, width: int) -> int:
    """Of the products of one tile."""
    area, written, frequencies = tiling.tile**2, tiling.valid**2, tiling.tile * tiling.half
    return 2 * frequencies * (2 * area * channels + 4 * channels * width + 4 * written * width)


def _transforms(tile: int, kernel: int, device: torch.device) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """(2 F, T * T) from a tile to real and imaginary parts; (V' * V', 4 F) from the products real by real,
    real by imaginary, imaginary by real, imaginary by imaginary to the valid positions; two of (F, K * K),
    from weights to both parts of their conjugate's frequencies. Float32.
    """
    valid, half = tile - kernel + 1, tile // 2 + 1
    places = torch.eye(tile**2, dtype=torch.float64, device="cpu").view(-1, tile, tile)
    forward = torch.fft.rfft2(places).reshape(tile**2, -1).T
    single = torch.eye(tile * half, dtype=torch.complex128, device="cpu").view(-1, tile, half)
    real, imaginary = (
        torch.fft.irfft2(each, s=(tile, tile))[:, :valid, :valid].reshape(tile * half, -1).T
        for each in (single, 1j * single)
    )
    short = (torch.arange(tile, device="cpu") < kernel).outer(torch.arange(tile, device="cpu") < kernel)
    of_weights = forward[:, short.flatten()].conj()
    into = torch.cat([forward.real, forward.imag]) / tile
    back = torch.cat([real, imaginary, imaginary, -real], dim=1) * tile
    parts = of_weights.real.float().to(device), of_weights.imag.float().to(device)
    return into.float().to(device), back.float().to(device), parts


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weights and bias of a convolution with its BatchNorm in eval mode, detached."""
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale[:, None, None, None]
    return weight.detach(), (norm.bias + (conv.bias - norm.running_mean) * scale).detach()
