"""Backbones are checked on frames drawn here and on tiny networks with random weights."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmn_index.errors import ConfigError
from mmn_index.video.backbones import Backbone, load_backbone
from mmn_index.video.pixels import Pixels

SIDE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 60,
}
CROP = {
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}


def snippets(backbone: Backbone, frames: np.ndarray) -> np.ndarray:
    return np.concatenate(list(backbone(iter(frames))))


def noise(count: int, backbone: Backbone, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, backbone.size.height, backbone.size.width, 3)).astype(np.uint8)


def scene(
    count: int, x: float = 30, y: float = 20, step: float = 1.5, light: float = 1.0, seed: int = 0
) -> np.ndarray:
    """A red box moves to the right over a still, textured wall."""
    rng = np.random.default_rng(seed)
    wall = np.kron(rng.uniform(90, 130, (9, 12, 3)), np.ones((8, 8, 1)))
    frames = np.repeat(wall[None], count, axis=0)
    for n in range(count):
        left = round(x + step * n)
        frames[n, round(y) : round(y) + 16, left : left + 12] = (200, 40, 30)
    return np.clip(frames * light, 0, 255).astype(np.uint8)


def test_pixels_gives_two_frames_a_snippet() -> None:
    pixels = Pixels()
    assert 400 <= pixels.dim <= 2000
    for count in (1, 2, 3, 31, 32, 33, 36, 37, 40, 41, 73):
        blocks = list(pixels(iter(noise(count, pixels))))
        assert sum(len(block) for block in blocks) == (count + 1) // 2
        assert all(block.shape[1] == pixels.dim and block.dtype == np.float32 for block in blocks)


def test_pixels_does_not_hold_a_video_in_memory() -> None:
    given = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal given
        for frame in scene(400, step=0.1):
            given += 1
            yield frame

    next(iter(Pixels()(frames())))
    assert given < 64


def test_a_snippet_of_pixels_depends_on_near_frames_only() -> None:
    pixels = Pixels()
    frames = noise(100, pixels)
    # Away from both ends, and wherever the blocks lie, a snippet is a function of the frames around it.
    whole, part = snippets(pixels, frames), snippets(pixels, frames[10:90])
    np.testing.assert_allclose(part[3:-3], whole[8:42], atol=1e-5)


def test_pixels_is_the_same_bit_for_bit_every_time() -> None:
    frames = noise(80, Pixels())
    assert np.array_equal(snippets(Pixels(), frames), snippets(Pixels(), frames.copy()))
    # The end of the video changes only what is near it.
    assert np.array_equal(snippets(Pixels(), frames)[:30], snippets(Pixels(), frames[:70])[:30])


@pytest.mark.parametrize("value", [0, 255])
def test_pixels_is_finite_where_nothing_is_to_be_seen(value: int) -> None:
    pixels = Pixels()
    found = snippets(pixels, np.full((20, 72, 96, 3), value, np.uint8))
    assert np.isfinite(found).all()
    assert np.abs(snippets(pixels, noise(20, pixels))).max() < 5


def test_every_number_of_pixels_can_change() -> None:
    pixels = Pixels()
    made = np.concatenate(
        [snippets(pixels, noise(40, pixels)), snippets(pixels, scene(40)), snippets(pixels, scene(40)[::-1])]
    )
    made = np.concatenate([made, snippets(pixels, noise(80, pixels)[:40] // 8)])
    assert (made.std(axis=0) > 1e-6).mean() > 0.98


def test_played_backwards_the_look_stays_and_the_motion_turns_round() -> None:
    pixels = Pixels()
    forward = snippets(pixels, scene(40))[4:-4]
    backward = snippets(pixels, scene(40)[::-1])[4:-4][::-1]
    for name in ("edges in the window", "colours of the layout"):
        np.testing.assert_allclose(
            forward[:, pixels.parts[name]], backward[:, pixels.parts[name]], atol=0.3, err_msg=name
        )
    layout = pixels.parts["motion of the layout"]
    for played, right, left in ((forward, 0, 4), (backward, 4, 0)):
        channels = np.square(played[:, layout]).reshape(-1, 10, 12).sum(axis=2)
        assert (channels[:, right] > 2 * channels[:, left]).all()


def test_up_and_down_differ_in_the_window() -> None:
    pixels = Pixels()
    down = snippets(pixels, np.stack([scene(1, y=4 + 1.5 * n)[0] for n in range(24)]))[4:-4]
    up = snippets(pixels, np.stack([scene(1, y=4 + 1.5 * n)[0] for n in range(24)][::-1]))[4:-4]
    for name in ("motion in the window", "slow motion in the window", "motion near the hand"):
        part = pixels.parts[name]
        # Three pairs of slanted or level directions of 16 numbers come first, then down and up of 8 each.
        for played, more, less in ((down, slice(48, 56), slice(56, 64)), (up, slice(56, 64), slice(48, 56))):
            found = np.square(played[:, part])
            assert (found[:, more].sum(axis=1) > 1.5 * found[:, less].sum(axis=1)).all(), name


def test_what_comes_and_what_goes_are_told_apart() -> None:
    pixels = Pixels()
    empty, ball = scene(20, step=0), scene(20, step=0)
    ball[:, 30:40, 60:70] = (20, 40, 220)
    appears = snippets(pixels, np.concatenate([empty, ball]))[10]
    vanishes = snippets(pixels, np.concatenate([ball, empty]))[10]
    for name in ("turn of colours in the window", "turn of colours near the hand"):
        coming, going = np.split(appears[pixels.parts[name]].reshape(22, 8), 2)
        other_coming, other_going = np.split(vanishes[pixels.parts[name]].reshape(22, 8), 2)
        np.testing.assert_allclose(coming, other_going, atol=0.05)
        np.testing.assert_allclose(going, other_coming, atol=0.05)
        assert np.linalg.norm(coming - going) > 0.5


def test_the_window_is_the_same_in_a_mirror() -> None:
    pixels = Pixels()
    seen, mirrored = snippets(pixels, scene(40)), snippets(pixels, scene(40)[:, :, ::-1])
    for name, part in pixels.parts.items():
        if "window" in name or "hand" in name:
            np.testing.assert_allclose(seen[:, part], mirrored[:, part], atol=2e-3, err_msg=name)
    layout = pixels.parts["motion of the layout"]
    assert np.abs(seen[:, layout] - mirrored[:, layout]).max() > 0.1


def test_light_switched_on_and_off_is_told_apart_and_is_no_motion() -> None:
    pixels = Pixels()
    dark, bright = scene(20, step=0, light=0.5), scene(20, step=0)
    on = snippets(pixels, np.concatenate([dark, bright]))
    off = snippets(pixels, np.concatenate([bright, dark]))
    flicker = pixels.parts["flicker"]
    brighter, darker = on[10, flicker], off[10, flicker]
    assert brighter[0] > 0.5 > 0.1 > brighter[1]
    assert darker[1] > 0.5 > 0.1 > darker[0]
    assert np.abs(on[3, flicker]).max() < 0.05
    motion = pixels.parts["motion in the window"]
    moving = snippets(pixels, scene(40))[10, motion]
    assert np.linalg.norm(on[10, motion]) < 0.5 * np.linalg.norm(moving)


def test_the_window_follows_the_motion_wherever_it_is() -> None:
    pixels = Pixels()
    here = snippets(pixels, scene(12, x=8, y=8))[2:4]
    there = snippets(pixels, scene(12, x=48, y=44))[2:4]
    window, layout = pixels.parts["motion in the window"], pixels.parts["motion of the layout"]
    assert cosine(here[:, window], there[:, window]) > 0.65
    assert cosine(here[:, layout], there[:, layout]) < 0.4


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_darker_pictures_are_described_alike() -> None:
    pixels = Pixels()
    a, b = snippets(pixels, scene(20)), snippets(pixels, scene(20, light=0.7))
    c = snippets(pixels, scene(20, seed=1)[:, ::-1])
    assert cosine(a, b) > 0.95 > cosine(a, c)


def test_pixels_needs_no_torch() -> None:
    code = (
        "import sys, mmn_index.video.backbones as b; b.load_backbone('pixels'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def save(model: Any, folder: Path, settings: dict[str, Any]) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Folders with tiny networks of random weights."""
    torch = pytest.importorskip("torch")
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel, VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other cost more than such small sums
    folder = tmp_path_factory.mktemp("networks")
    side = {**SIDE, "patch_size": 16}
    text = {**TEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=side, projection_dim=24))
    siglip = SiglipModel(SiglipConfig(text_config=text, vision_config=side))
    yield {
        "clip": save(clip, folder / "clip", CROP),
        "siglip": save(siglip, folder / "siglip", {"size": {"height": 32, "width": 32}}),
        "videomae": save(VideoMAEModel(VideoMAEConfig(**side, num_frames=16)), folder / "videomae", CROP),
    }
    torch.set_num_threads(threads)


def reference(kind: str, folder: Path, frames: np.ndarray) -> np.ndarray:
    """One snippet at a time, straight with transformers."""
    import torch
    from transformers import CLIPModel, SiglipModel, VideoMAEModel

    settings = json.loads((folder / "preprocessor_config.json").read_text())
    mean, std = (np.array(settings.get(key, [0.5] * 3)) for key in ("image_mean", "image_std"))
    pixels = torch.tensor(((frames / 255 - mean) / std).transpose(0, 3, 1, 2), dtype=torch.float32)
    with torch.inference_mode():
        if kind == "videomae":
            model = VideoMAEModel.from_pretrained(folder).eval()
            padded = torch.cat([pixels, pixels[-1:].repeat(-len(pixels) % 16, 1, 1, 1)])
            rows = [model(pixel_values=w[None]).last_hidden_state[0].mean(0) for w in padded.split(16)]
        elif kind == "clip":
            tower = CLIPModel.from_pretrained(folder).eval()
            rows = [
                tower.visual_projection(tower.vision_model(pixel_values=p[None]).pooler_output)[0]
                for p in pixels
            ]
        else:
            both = SiglipModel.from_pretrained(folder).eval()
            rows = [both.vision_model(pixel_values=p[None]).pooler_output[0] for p in pixels]
    return np.stack([row.numpy() for row in rows])


@pytest.mark.parametrize(
    ("kind", "dim", "window", "short_side", "name"),
    [
        ("clip", 24, 1, 40, "clip#image_embeds"),
        ("siglip", 32, 1, None, "siglip#pooler_output"),
        ("videomae", 32, 16, 40, "videomae#mean"),
    ],
)
def test_a_network_gives_what_transformers_gives(
    networks: dict[str, Path], kind: str, dim: int, window: int, short_side: int | None, name: str
) -> None:
    backbone = load_backbone(str(networks[kind]))
    assert (backbone.name, backbone.dim, backbone.frames_per_snippet) == (name, dim, window)
    assert (backbone.size.width, backbone.size.height, backbone.size.short_side) == (32, 32, short_side)
    assert backbone.rate > 0
    frames = noise(40, backbone)
    found = snippets(backbone, frames)
    assert found.dtype == np.float32
    assert found.shape == (-(-40 // window), dim)
    assert found.std(axis=0).min() > 1e-4
    np.testing.assert_allclose(found, reference(kind, networks[kind], frames), atol=2e-5)
    assert np.array_equal(found, np.concatenate(list(backbone(list(frames)))))


def test_networks_load_in_silence(networks: dict[str, Path]) -> None:
    code = "import sys; from mmn_index.video.backbones import load_backbone; load_backbone(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(networks["clip"])], capture_output=True, text=True, check=True
    )
    assert done.stdout == done.stderr == ""


def test_what_is_no_backbone_is_a_clear_error(
    networks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    (other / "preprocessor_config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name, word in [
        ("pixel", "expected 'pixels'"),
        (str(tmp_path / "nowhere"), "a folder that exists"),
        (str(other), "'bert'"),
        (str(tmp_path / "empty"), "the folder of a model?"),
    ]:
        with pytest.raises(ConfigError) as error:
            load_backbone(name)
        assert word in str(error.value)
        assert str(error.value).startswith(name)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="nowhere:9"):
        load_backbone(str(networks["clip"]), device="nowhere:9")


def test_weights_that_are_not_all_there_are_refused(networks: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(networks["siglip"] / "model.safetensors")
    removed = next(
        name for name in weights if name.startswith("vision_model") and name.endswith("q_proj.weight")
    )
    del weights[removed]
    folder = tmp_path / "holed"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((networks["siglip"] / name).read_bytes())
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 of the tensors.*q_proj"):
        load_backbone(str(folder))
