"""The form of the video side that GPUs embed with, on a processor: against the whole map."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmn_index import checkpoint
from mmn_index.config import ModelConfig
from mmn_index.embedding import embed_in_batches
from mmn_index.half_tiles import HalfTiles
from mmn_index.model import MMN, unit
from mmn_index.video_encoder import VideoEncoder


def with_life(encoder: VideoEncoder) -> VideoEncoder:
    """Weights and statistics by which embeddings of different proposals differ, as after a training."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.normal_(std=0.1)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.02, 2)
    return encoder.eval()


def encoder_of(clips: int, counts: tuple[int, ...], kernel: int, layers: int, map_type: str) -> VideoEncoder:
    config = ModelConfig(
        input_dim=24,
        num_pre_clips=clips,
        num_clips=clips,
        pooling_counts=counts,
        featpool_dim=24,
        featpool_kernel=1,
        conv_dim=32,
        conv_kernel=kernel,
        conv_layers=layers,
        joint_dim=16,
        map_type=map_type,
    )
    return with_life(VideoEncoder(config))


def off(found: Tensor, expected: Tensor) -> float:
    """The largest error, in shares of what differs between proposals."""
    spread = (expected - expected.mean(dim=(0, 1))).square().mean().sqrt()
    return float((found - expected).abs().max() / spread)


GRIDS = [(16, (7, 4), 5, 3), (16, (15,), 3, 2), (8, (3, 2), 1, 2), (20, (9, 4), 9, 2), (3, (), 5, 1)]


@pytest.mark.parametrize("map_type", ["pool", "conv"])
@pytest.mark.parametrize(("clips", "counts", "kernel", "layers"), GRIDS, ids=str)
@torch.inference_mode()
def test_tiles_give_what_the_whole_map_gives(
    clips: int, counts: tuple[int, ...], kernel: int, layers: int, map_type: str
) -> None:
    encoder = encoder_of(clips, counts, kernel, layers, map_type)
    videos = torch.randn(3, clips, 24)
    cells = encoder.proposal_map(encoder.featpool(videos))
    expected = encoder.proposal_conv.heads(encoder.proposal_conv.of_the_whole_map(cells))
    for dtype, most in ((torch.float32, 5e-5), (torch.float16, 4e-2)):
        for one, other in zip(HalfTiles(encoder, dtype)(videos), expected, strict=True):
            assert off(one, other) < most
    for one, other in zip(unit(HalfTiles(encoder)(videos)), unit(expected), strict=True):
        assert (one * other).sum(dim=2).min() > 0.999


@pytest.fixture
def in_half(monkeypatch: pytest.MonkeyPatch) -> list[HalfTiles]:
    """A processor embeds as a GPU does, narrow layers as well; what was made for that."""
    made: list[HalfTiles] = []
    monkeypatch.setattr("mmn_index.model._IN_HALF", ("cpu",))
    monkeypatch.setattr("mmn_index.half_tiles._WIDE", 1)
    before: Callable[..., None] = HalfTiles.__init__

    def start(self: HalfTiles, *arguments: object) -> None:
        before(self, *arguments)
        made.append(self)

    monkeypatch.setattr(HalfTiles, "__init__", start)
    return made


@pytest.fixture
def model(lively: Path) -> MMN:
    made = checkpoint.load(lively / "model")
    with_life(made.video_encoder)
    return made


def embedded(model: MMN, videos: Tensor) -> np.ndarray:
    numbers = list(range(len(videos)))
    return np.concatenate(list(embed_in_batches(model, videos.__getitem__, numbers)))


def videos_for(model: MMN) -> Tensor:
    made = torch.Generator().manual_seed(1)
    return torch.randn(5, model.config.num_pre_clips, model.config.input_dim, generator=made)


def test_batches_are_embedded_in_half_with_the_weights_of_the_moment(
    model: MMN, in_half: list[HalfTiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = videos_for(model)
    found, expected = embedded(model, videos), []
    with torch.inference_mode():
        expected.append(torch.cat(model.embed_videos(videos), dim=2).numpy())
        model.video_encoder.proposal_conv.convs[0].weight.neg_()
        expected.append(torch.cat(model.embed_videos(videos), dim=2).numpy())
    changed = embedded(model, videos)
    assert len(in_half) == 2
    for one, other in zip((found, changed), expected, strict=True):
        assert one.dtype == np.float32
        assert 0 < np.abs(one - other).max() < 0.02
    assert np.abs(found - changed).max() > 0.1


def test_numbers_that_half_precision_does_not_hold_are_embedded_all_the_same(
    model: MMN, in_half: list[HalfTiles]
) -> None:
    videos = videos_for(model)
    videos[2] *= 1e7
    with torch.inference_mode():
        expected = torch.cat(model.embed_videos(videos), dim=2).numpy()
    assert np.isfinite(expected).all()
    assert np.array_equal(embedded(model, videos), expected)
    assert in_half


def test_a_processor_and_narrow_layers_stay_as_they_are(
    model: MMN, in_half: list[HalfTiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmn_index.half_tiles._WIDE", 256)
    assert model.video_embedder() == model.embed_videos
    monkeypatch.undo()
    assert model.video_embedder() == model.embed_videos
    assert not in_half
