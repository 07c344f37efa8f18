"""Pretrained dual encoders give what their own libraries give, on tiny models of each kind."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_dual_encoders as tiny
import torch
import transformers as hf
from torch.nn.functional import normalize

from mmn_index import encoder_lookup, hub, weights_digest
from mmn_index.dual_encoder import TextSide, find_text_side, open_text_side
from mmn_index.errors import CheckpointError, ConfigError, DependencyError, QueryError
from mmn_index.video.backbones import load_backbone

SENTENCES = ["a person", "a Person opens the door", "the book", "A person reads a book of the door of video"]
MASKED = {"padding": True}
WHOLE = {"padding": "max_length", "max_length": 20}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    root = tmp_path_factory.mktemp("duals")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other cost more than such small sums
    yield {kind: tiny.save(kind, root / kind) for kind in tiny.KINDS}
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pooled(given: Any) -> torch.Tensor:
    found: torch.Tensor = given if isinstance(given, torch.Tensor) else given.pooler_output
    return found


def texts_of_the_library(kind: str, folder: Path, sentences: list[str]) -> torch.Tensor:
    """What the model's authors' own example does."""
    processor = hf.AutoProcessor.from_pretrained(folder)
    padding = {"siglip": WHOLE, "siglip2": {}, "align": {}}.get(kind, MASKED)
    model = hf.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    given = {"text": sentences} if kind != "x-clip" else {"text": sentences}
    with torch.inference_mode():
        return normalize(pooled(model.get_text_features(**processor(**given, return_tensors="pt", **padding))))


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_texts_are_those_of_the_library(kind: str, folders: dict[str, Path]) -> None:
    side = open_text_side(str(folders[kind]))
    found = side.embed(SENTENCES)
    expected = texts_of_the_library(kind, folders[kind], SENTENCES)
    assert found.dtype == torch.float32
    assert found.shape == (4, side.dim)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert float((found @ found.T).fill_diagonal_(-1).max()) < 0.99999  # they differ
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    alone = torch.cat([side.embed([sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(alone, found, atol=1e-5, rtol=0)
    many = side.embed(SENTENCES * 40)
    torch.testing.assert_close(many[-4:], found, atol=1e-5, rtol=0)
    assert side.embed([]).shape == (0, side.dim)


def frames_for(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames as they are, and as the decoder gives them for the backbone."""
    size = load_backbone(str(folder)).size
    height, width = (size.short_side, size.short_side) if size.short_side else (size.height, size.width)
    frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)
    top, left = (height - size.height) // 2, (width - size.width) // 2
    return frames, frames[:, top : top + size.height, left : left + size.width]


def pictures_of_the_library(kind: str, folder: Path, frames: np.ndarray) -> torch.Tensor:
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    model = hf.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        if kind == "x-clip":
            windows = [list(frames[n : n + 4]) for n in range(0, len(frames), 4)]
            rows = [model.get_video_features(**processor(window, return_tensors="pt")) for window in windows]
        else:
            rows = [model.get_image_features(**processor(frame, return_tensors="pt")) for frame in frames]
    return torch.cat([pooled(row) for row in rows])


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_frames_are_those_of_the_library(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind]))
    frames, decoded = frames_for(folders[kind], 36)
    found = np.concatenate(list(backbone(iter(decoded))))
    expected = pictures_of_the_library(kind, folders[kind], frames).numpy()
    assert found.dtype == np.float32
    assert found.shape == (36 // backbone.frames_per_snippet, backbone.dim)
    assert found.std(axis=0).min() > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
    side = open_text_side(str(folders[kind]))
    assert (side.features, side.dim) == (backbone.name, backbone.dim)
    windows = kind == "x-clip"
    assert (backbone.frames_per_snippet, backbone.rate) == ((4, 1.0) if windows else (1, 2.0))


def test_names_in_feature_files(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    names = {kind: open_text_side(str(folder)).features for kind, folder in folders.items()}
    assert (names["clip"], names["siglip"]) == ("clip#image_embeds", "siglip#pooler_output")
    assert (names["siglip2"], names["x-clip"]) == ("siglip2#image_features", "x-clip#video_features")
    # A repository's name is that of the Hub, wherever the cache is.
    monkeypatch.setattr("mmn_index.dual_encoder.model_folder", lambda name: folders["clip"])
    side = open_text_side("owner/model")
    assert side.features == "owner/model#image_embeds"
    assert side.source.name == "owner/model"
