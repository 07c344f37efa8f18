"""The video side on live positions alone against the same on the whole map, in training and afterwards."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmn_index.config import ModelConfig
from mmn_index.proposals import ProposalGrid
from mmn_index.sparse_conv import Form, SparseConv
from mmn_index.video_encoder import ProposalConv, VideoEncoder

# Of the last one, most taps read no position that is live.
GRIDS = [(16, (7,), 3, 2), (16, (7, 4), 5, 3), (8, (3, 2), 5, 1), (12, (11,), 3, 4), (3, (), 5, 1)]


@pytest.fixture(params=GRIDS, ids=str)
def conv(request: pytest.FixtureRequest) -> ProposalConv:
    clips, counts, kernel, layers = request.param
    config = ModelConfig(
        input_dim=5,
        num_pre_clips=clips,
        num_clips=clips,
        pooling_counts=counts,
        featpool_dim=6,
        featpool_kernel=1,
        conv_dim=7,
        conv_kernel=kernel,
        conv_layers=layers,
        joint_dim=4,
    )
    torch.manual_seed(0)
    made = ProposalConv(config, ProposalGrid(clips, counts)).double()
    with torch.no_grad():
        for norm in made.norms:
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return made


@pytest.fixture(params=[None, "taps", "plain", "tiles"])
def engine(
    request: pytest.FixtureRequest, conv: ProposalConv, monkeypatch: pytest.MonkeyPatch
) -> ProposalConv:
    monkeypatch.setattr(SparseConv, "only", request.param)
    return conv


def cells_of(conv: ProposalConv, videos: int) -> Tensor:
    """Maps that are 0 where there is no proposal."""
    size, made = int(conv.cells.max()) + 1, torch.Generator().manual_seed(1)
    cells = torch.zeros(videos, 6, size, size, dtype=torch.float64)
    cells[:, :, conv.cells[:, 0], conv.cells[:, 1]] = torch.randn(
        videos, 6, len(conv.cells), dtype=torch.float64, generator=made
    )
    return cells


def everything(conv: ProposalConv, cells: Tensor, *, live: bool, update: bool = True) -> list[Tensor]:
    """Features, gradients of all parameters and of the cells, and the running statistics that are left."""
    start = {name: value.clone() for name, value in conv.state_dict().items()}
    for norm in conv.norms:
        norm.track_running_stats = update
    cells = cells.clone().requires_grad_()
    features = conv.of_live_positions(cells) if live else conv.of_the_whole_map(cells)
    weights = torch.linspace(-1, 1, features.numel(), dtype=torch.float64).reshape(features.shape)
    inside = [p for layer in (*conv.convs, *conv.norms) for p in layer.parameters()]
    gradients = torch.autograd.grad((features * weights).sum(), [cells, *inside])
    # A cell without a proposal is never read; on the whole map it has a gradient all the same.
    of_cells = gradients[0][:, :, conv.cells[:, 0], conv.cells[:, 1]]
    left = [value.clone() for norm in conv.norms for value in norm.buffers()]
    conv.load_state_dict(start)
    return [features.detach(), of_cells, *gradients[1:], *left]


@pytest.mark.parametrize("videos", [1, 3])
@pytest.mark.parametrize("update", [True, False])
def test_training_on_live_positions_is_training_on_the_whole_map(
    engine: ProposalConv, videos: int, update: bool
) -> None:
    cells = cells_of(engine, videos)
    live, whole = (everything(engine.train(), cells, live=live, update=update) for live in (True, False))
    largest = max(float(x.double().abs().max()) for x in whole)
    for ours, theirs in zip(live, whole, strict=True):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-9, atol=1e-12 * largest)


def test_embedding_on_live_positions_is_embedding_on_the_whole_map(engine: ProposalConv) -> None:
    with torch.inference_mode():
        cells = cells_of(engine.eval(), 2)
        assert torch.allclose(engine.of_live_positions(cells), engine.of_the_whole_map(cells), rtol=1e-9)


def test_each_layer_leaves_out_what_is_dead(conv: ProposalConv) -> None:
    """Every position that no cell of the mask can reach, counted again by dilation."""
    size = int(conv.cells.max()) + 1
    kernel, layers = conv.convs[0].kernel_size[0], len(conv.convs)
    for layer, sparse in enumerate(conv.sparse, 1):
        reach, side = layer * (kernel - 1) // 2, size + (layers - layer) * (kernel - 1)
        shift = (layers - layer) * (kernel - 1) // 2  # the map begins so far inside
        live = {
            (row, column)
            for i, j in conv.cells.tolist()
            for row in range(i + shift - reach, i + shift + reach + 1)
            for column in range(j + shift - reach, j + shift + reach + 1)
            if 0 <= row < side and 0 <= column < side
        }
        assert (sparse.rows, sparse.dead) == (len(live), side**2 - len(live))


@pytest.mark.parametrize("form", ["taps", "plain", "tiles"])
def test_weights_learn_where_the_input_asks_for_no_gradient(
    form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SparseConv, "only", form)
    live = torch.eye(5, dtype=torch.bool)
    layer = SparseConv(live, torch.ones(3, 3, dtype=torch.bool), 3)
    x, weight = torch.randn(5, 1, 4), torch.randn(2, 4, 3, 3, requires_grad=True)
    whole = torch.zeros(1, 4, 5, 5)
    whole[:, :, range(5), range(5)] = x.permute(1, 2, 0)
    expected = functional.conv2d(whole, weight).flatten(2).permute(2, 0, 1)
    made = layer(x, weight)
    assert torch.allclose(made, expected, atol=1e-5)
    gradients = [torch.autograd.grad(y.square().sum(), weight)[0] for y in (made, expected)]
    assert torch.allclose(*gradients, atol=1e-4)


def test_wide_layers_take_the_live_positions_and_mixed_precision_the_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    monkeypatch.setattr(ProposalConv, "of_live_positions", lambda self, cells: taken.append("live"))
    monkeypatch.setattr(ProposalConv, "of_the_whole_map", lambda self, cells: taken.append("map"))
    for width, dtype in ((64, torch.float32), (32, torch.float32), (32, torch.float64)):
        config = ModelConfig(
            input_dim=5,
            num_pre_clips=8,
            num_clips=8,
            pooling_counts=(3,),
            featpool_dim=6,
            featpool_kernel=1,
            conv_dim=width,
            conv_kernel=3,
            conv_layers=1,
            joint_dim=4,
        )
        made = ProposalConv(config, ProposalGrid(8, (3,)))
        made.features(torch.zeros(1, 6, 8, 8, dtype=dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made.features(torch.zeros(1, 6, 8, 8, dtype=dtype))
    assert taken == ["live", "map", "map", "map", "live", "map"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # PyTorch asks itself while it compiles
def test_a_compiled_video_encoder_computes_the_same() -> None:
    config = ModelConfig(
        input_dim=12,
        num_pre_clips=16,
        featpool_kernel=2,
        num_clips=8,
        pooling_counts=(7,),
        featpool_dim=64,
        conv_dim=64,
        conv_kernel=3,
        conv_layers=2,
        joint_dim=16,
    )
    encoder = VideoEncoder(config)
    pre_clips = torch.randn(2, 16, 12)
    plain = encoder(pre_clips)
    encoder.compile(backend="eager")  # captures the graph, which needs no compiler of C++
    compiled = encoder(pre_clips)
    assert torch.equal(compiled.iou, plain.iou)
    assert torch.equal(compiled.contrastive, plain.contrastive)
    compiled.iou.sum().backward()
    assert encoder.proposal_conv.convs[0].weight.grad is not None


def test_a_search_does_not_load_the_compiler() -> None:
    """It would take a second of every start."""
    code = "import mmn_index.search.engine, sys; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
