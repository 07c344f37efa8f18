"""The video side of MMN: pre-clips -> clips -> sparse 2D map -> an embedding pair for every proposal.

Shapes: V videos, M pre-clips, N clips, D input width, H featpool width, H' map width, P proposals, C joint
width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import ModelConfig
from .proposals import ProposalGrid
from .scoring import Embeddings
from .sparse_conv import SparseConv
from .tiled_conv import Workspace

_WIDE = 64  # channels from which it pays on a processor to leave out dead positions


class FeatPool(nn.Module):
    """Pre-clips to clips: a linear layer, ReLU, then average pooling; (V, M, D) -> (V, H, N)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conv = nn.Conv1d(config.input_dim, config.featpool_dim, kernel_size=1)
        self.pool = nn.AvgPool1d(config.featpool_kernel, stride=config.num_pre_clips // config.num_clips)

    def forward(self, pre_clips: Tensor) -> Tensor:
        # ReLU comes before pooling (the order matters).
        clips: Tensor = self.pool(self.conv(pre_clips.transpose(1, 2)).relu())
        return clips


class ProposalMap(nn.Module):
    """Clips to the 2D map: (V, H, N) -> (V, H, N, N), 0 on invalid cells (MMN section 3.2; 2D-TAN).

    Both kinds walk down the diagonals in a chain: one more clip a step (window 2, stride 1), and at
    the start of a coarser group twice the stride (window 3, stride 2). "pool" takes the maximum, so
    a cell is the maximum over its clips i..j; "conv" a learned convolution without activation.
    """

    def __init__(self, config: ModelConfig, grid: ProposalGrid) -> None:
        super().__init__()
        self.num_clips = grid.num_clips
        steps: list[nn.Module] = []
        for diagonal in grid.diagonals[1:]:
            window, stride = (3, 2) if diagonal.starts_group else (2, 1)
            if config.map_type == "pool":
                steps.append(nn.MaxPool1d(window, stride))
            else:
                steps.append(nn.Conv1d(config.featpool_dim, config.featpool_dim, window, stride))
        self.convs = nn.ModuleList(steps)
        chain = []
        for diagonal in grid.diagonals:
            first = torch.arange(0, grid.num_clips - diagonal.offset, diagonal.stride, device="cpu")
            chain.append(first * grid.num_clips + first + diagonal.offset)
        self.positions: Tensor  # in the flattened map, chain order
        self.register_buffer("positions", torch.cat(chain), persistent=False)
        self.order: Tensor  # of the chain in row-major order of the map
        self.register_buffer("order", torch.cat(chain).argsort(), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        cells = clips.new_zeros(*clips.shape[:2], self.num_clips**2)
        cells[:, :, self.positions] = self._chain(clips)
        return cells.view(*clips.shape[:2], self.num_clips, self.num_clips)

    def rows(self, clips: Tensor) -> Tensor:
        """The valid cells alone, in row-major order: (V, H, N) -> (P, V, H)."""
        return self._chain(clips).permute(2, 0, 1).index_select(0, self.order)

    def _chain(self, clips: Tensor) -> Tensor:
        diagonals = [clips]
        for step in self.convs:
            diagonals.append(step(diagonals[-1]))
        return torch.cat(diagonals, dim=2)


class ProposalConv(nn.Module):
    """Convolutions over the sparse map, then the two heads: (V, H, N, N) -> two of (V, P, C).

    All padding is in the first layer, so the map starts (K - 1) * L / 2 cells wider on each side and
    shrinks back. After each layer a position is multiplied by 1 / (number of mask cells under the
    window), 0 where there is none, and the mask grows to every position with one: the official
    masked-weight rule, together with statistics of BatchNorm over all positions of the padded map.

    A GPU computes just that, and so does a processor where the layers are narrow. Else a processor leaves out
    the dead positions, those that are multiplied by 0: before that each is the bias of its convolution, and
    so they enter the statistics by their number.
    """

    def __init__(self, config: ModelConfig, grid: ProposalGrid) -> None:
        super().__init__()
        kernel, layers = config.conv_kernel, config.conv_layers
        padding = (kernel - 1) * layers // 2
        widths = [config.featpool_dim] + [config.conv_dim] * layers
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[layer], widths[layer + 1], kernel, padding=padding if layer == 0 else 0)
            for layer in range(layers)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(config.conv_dim) for _ in range(layers))
        self.contrastive_head = nn.Linear(config.conv_dim, config.joint_dim)
        self.iou_head = nn.Linear(config.conv_dim, config.joint_dim)
        self._wide = config.conv_dim >= _WIDE
        self.cells: Tensor
        self.register_buffer("cells", grid.cells, persistent=False)
        self.sparse = []
        with torch.device("cpu"):  # a model of shapes alone, on the meta device, has positions as well
            live = functional.pad(grid.mask, (padding,) * 4)
            for layer, count in enumerate(masked_counts(grid.mask, kernel, layers)):
                self.register_buffer(f"count_{layer}", count, persistent=False)
                self.sparse.append(SparseConv(live, count > 0, kernel))
                live = count > 0
        # Of the last layer's live positions, the heads read the cells.
        self.rows: Tensor
        self.register_buffer("rows", grid.mask[live].nonzero()[:, 0], persistent=False)

    def leaves_out_the_dead(self, x: Tensor) -> bool:
        """Whether maps of this kind are computed on their live positions alone."""
        narrow = x.dtype == torch.float32 and not self._wide
        return x.device.type == "cpu" and not narrow and not torch.is_autocast_enabled("cpu")

    def features(self, cells: Tensor) -> Tensor:
        """What both heads read: (V, H, N, N) -> (V, P, H')."""
        return (
            self.of_live_positions(cells) if self.leaves_out_the_dead(cells) else self.of_the_whole_map(cells)
        )

    def of_the_whole_map(self, cells: Tensor) -> Tensor:
        """The features, all positions computed."""
        # Channels last is faster on CPU, by a third in the forward pass; only gradients of few videos take it
        # badly (8 s instead of 0.1 s for two of a small ActivityNet model; how few, depends on threads).
        few = self.training and len(cells) < 4
        x = cells if few else cells.contiguous(memory_format=torch.channels_last)
        for layer, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            count = self.get_buffer(f"count_{layer}").to(x.dtype)
            x = conv(x)
            if self.training and x.device.type == "cpu":
                # torch sums the statistics of a channels-last map so coarsely there that a loss is off by
                # 1e-4 of itself; of a contiguous one it takes them as precisely as the official code's.
                x = x.contiguous()
            x = norm(x).relu() * torch.where(count > 0, 1 / count, 0)
        return x[:, :, self.cells[:, 0], self.cells[:, 1]].transpose(1, 2)

    def of_live_positions(self, cells: Tensor) -> Tensor:
        """The features, dead positions left out."""
        positions = self.cells[:, 0] * cells.shape[3] + self.cells[:, 1]
        return self.of_rows(cells.flatten(2).permute(2, 0, 1).index_select(0, positions))

    def of_rows(self, x: Tensor) -> Tensor:
        """The features from the valid cells alone, in row-major order: (P, V, H) -> (V, P, H')."""
        space = Workspace()
        for layer, (conv, norm, sparse) in enumerate(zip(self.convs, self.norms, self.sparse, strict=True)):
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            assert conv.bias is not None
            count = self.get_buffer(f"count_{layer}").to(x.dtype)
            x = live_batch_norm(sparse(x, conv.weight, space), conv.bias, norm, sparse.dead)
            share = (1 / count[count > 0])[:, None, None]
            # To get new memory takes longer than to write it.
            x = x.relu() * share if torch.is_grad_enabled() else x.relu_().mul_(share)
        return x.index_select(0, self.rows).transpose(0, 1)

    def heads(self, features: Tensor) -> Embeddings:
        """(V, P, H') -> two of (V, P, C)."""
        return Embeddings(self.contrastive_head(features), self.iou_head(features))

    def forward(self, cells: Tensor) -> Embeddings:
        return self.heads(self.features(cells))


def live_batch_norm(x: Tensor, bias: Tensor, norm: nn.BatchNorm2d, dead: int) -> Tensor:
    """BatchNorm of a map whose convolution has this bias, on its live positions.

    Args:
        x: (R, V, C) what the convolution makes of the live positions, without the bias.
        dead: positions of each map that are the bias alone.

    Returns:
        (R, V, C), where no gradient is wanted in the memory of x.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    if norm.training:
        live = x.shape[0] / (x.shape[0] + dead)
        rows, count = x.shape[0] * x.shape[1], (x.shape[0] + dead) * x.shape[1]
        mean = _precise_sum(x) / rows
        variance = _precise_sum((x - mean).square()) / rows
        variance, mean = live * (variance + (1 - live) * mean.square()), live * mean + bias
        if norm.track_running_stats:
            with torch.no_grad():
                norm.num_batches_tracked.add_(1)
                share = norm.momentum or 1 / int(norm.num_batches_tracked)
                norm.running_mean.lerp_(mean, share)
                norm.running_var.lerp_(variance * (count / (count - 1)), share)
    else:
        variance, mean = norm.running_var, norm.running_mean
    scale = norm.weight * (variance + norm.eps).rsqrt()
    # The bias makes no difference in training; it stays in the sum so that its gradient is 0, not none.
    shift = norm.bias + (bias - mean) * scale
    return torch.addcmul(shift, x, scale) if torch.is_grad_enabled() else x.mul_(scale).add_(shift)


def _precise_sum(x: Tensor) -> Tensor:
    """(R, V, C) -> (C,): summed in float64, as torch's own BatchNorm does it on a processor."""
    return x.sum(dim=(0, 1), dtype=torch.float64).to(x.dtype)


def masked_counts(mask: Tensor, kernel: int, layers: int) -> list[Tensor]:
    """How many mask cells lie under each window, layer by layer; the mask grows to where there is one.

    Args:
        mask: (N, N) bool.

    Returns:
        One (h, w) float tensor of whole numbers a layer.
    """
    counts = []
    alive = mask[None, None].float()
    ones = torch.ones(1, 1, kernel, kernel, device=mask.device)
    for layer in range(layers):
        count = functional.conv2d(
            alive, ones, padding=(kernel - 1) * layers // 2 if layer == 0 else 0
        ).round()
        counts.append(count[0, 0])
        alive = (count > 0).float()
    return counts


class VideoEncoder(nn.Module):
    """Pre-clips to the embeddings of all proposals, not yet normalised: (V, M, D) -> two of (V, P, C)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        grid = ProposalGrid(config.num_clips, config.pooling_counts)
        self.featpool = FeatPool(config)
        self.proposal_map = ProposalMap(config, grid)
        self.proposal_conv = ProposalConv(config, grid)

    def compile(self, *arguments: Any, **options: Any) -> None:
        """As that of a Module, without the sparse convolutions: lists of rows are nothing to compile.

        They are told here, for a decorator of theirs would load the compiler with every command: a second.
        """
        conv = self.proposal_conv
        conv.of_rows = torch.compiler.disable(conv.of_rows)  # type: ignore[method-assign,no-untyped-call]
        super().compile(*arguments, **options)

    def forward(self, pre_clips: Tensor) -> Embeddings:
        conv, clips = self.proposal_conv, self.featpool(pre_clips)
        if conv.leaves_out_the_dead(clips):
            return conv.heads(conv.of_rows(self.proposal_map.rows(clips)))
        embeddings: Embeddings = conv(self.proposal_map(clips))
        return embeddings
