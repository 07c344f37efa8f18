"""Convolution in the frequency domain against torch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmn_index.config import PAPER
from mmn_index.proposals import ProposalGrid
from mmn_index.sparse_conv import SparseConv
from mmn_index.tiled_conv import TiledConv
from mmn_index.video_encoder import masked_counts


def masks(kernel: int, side: int, kind: str) -> tuple[Tensor, Tensor]:
    """Positions that are read, and those that are written."""
    made = torch.Generator().manual_seed(3)
    around = side + kernel - 1
    source = torch.rand(around, around, generator=made) > 0.3
    if kind == "triangle":
        return source, torch.ones(side, side, dtype=torch.bool).triu()
    if kind == "few":
        return source, torch.rand(side, side, generator=made) > 0.9
    return source, torch.ones(side, side, dtype=torch.bool)


def dense(x: Tensor, weight: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """torch's convolution of the whole map: (R, V, C) -> (R', V, C')."""
    whole = x.new_zeros(x.shape[1], source.numel(), x.shape[2])
    whole = whole.index_copy(1, source.flatten().nonzero()[:, 0], x.transpose(0, 1))
    made = functional.conv2d(whole.view(-1, *source.shape, x.shape[2]).permute(0, 3, 1, 2), weight)
    return made.flatten(2).permute(2, 0, 1)[target.flatten()]


@pytest.mark.parametrize("kind", ["triangle", "few", "all"])
@pytest.mark.parametrize(("kernel", "tile"), [(1, 2), (3, 4), (3, 8), (5, 6), (5, 7), (5, 16), (9, 24)])
def test_values_and_gradients_are_those_of_the_plain_convolution(kernel: int, tile: int, kind: str) -> None:
    torch.manual_seed(0)
    source, target = masks(kernel, 13, kind)
    conv = TiledConv(source, target, kernel, tile)
    x = torch.randn(int(source.sum()), 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 5, kernel, kernel, dtype=torch.float64, requires_grad=True)
    made, expected = conv(x, weight), dense(x, weight, source, target)
    assert torch.allclose(made, expected, rtol=1e-11, atol=1e-12)
    given = torch.randn_like(made)
    ours, theirs = (torch.autograd.grad((y * given).sum(), [x, weight]) for y in (made, expected))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-11)


def test_gradients_by_differences() -> None:
    source, target = masks(3, 5, "triangle")
    conv = TiledConv(source, target, 3, 4)
    x = torch.randn(int(source.sum()), 2, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, (x, weight))


@pytest.mark.parametrize("at_once", [1, 3000, 1 << 24])
def test_videos_of_several_passes_are_those_of_one(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two passes of three and two videos, and frequencies one by one, some or all together."""
    source, target = masks(3, 9, "triangle")
    conv = TiledConv(source, target, 3, 6)
    monkeypatch.setattr("mmn_index.tiled_conv._AT_ONCE", at_once)
    torch.manual_seed(0)
    x = torch.randn(int(source.sum()), 5, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr("mmn_index.tiled_conv._ROWS", 2 * conv.tiles)
    assert [len(range(5)[part]) for part in conv.parts(5)] == [3, 2]
    made, expected = conv(x, weight), dense(x, weight, source, target)
    assert torch.allclose(made, expected, rtol=1e-11, atol=1e-12)
    given = torch.randn_like(made)
    ours, theirs = (torch.autograd.grad((y * given).sum(), [x, weight]) for y in (made, expected))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings_take_tiles_and_are_as_precise_as_float32(name: str) -> None:
    """A layer from the middle, 32 channels instead of 512, in float32 against float64."""
    config = PAPER[name]
    grid = ProposalGrid(config.num_clips, config.pooling_counts)
    counts = masked_counts(grid.mask, config.conv_kernel, config.conv_layers)
    source, target = (counts[config.conv_layers // 2 + step] > 0 for step in (-1, 0))
    layer = SparseConv(source, target, config.conv_kernel)
    form, tiled = layer.form(512, 512, 16)
    assert form == "tiles"
    assert tiled is not None
    torch.manual_seed(0)
    x = torch.randn(layer_rows := int(source.sum()), 1, 32)
    assert layer_rows > 100
    weight = torch.randn(32, 32, config.conv_kernel, config.conv_kernel) / (32 * config.conv_kernel**2) ** 0.5
    expected = dense(x.double(), weight.double(), source, target)
    assert float((tiled(x, weight) - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_few_channels_and_small_kernels_stay_as_they_are() -> None:
    live = torch.ones(10, 10, dtype=torch.bool)
    layer = SparseConv(live, torch.ones(8, 8, dtype=torch.bool), 3)
    assert layer.form(16, 16, 4) == ("plain", None)
    one = torch.zeros(8, 8, dtype=torch.bool)
    one[3, 4] = True
    assert SparseConv(live, one, 3).form(16, 16, 4) == ("taps", None)
