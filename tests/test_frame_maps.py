"""The maps of single frames leave out what is known to be zero: here everything is worked out."""

import numpy as np

from mmn_index.video import frame_maps
from mmn_index.video.frame_maps import CELL, CHUNK, DIRECTIONS, HEIGHT, HUES, WIDTH, FrameMaps


def pictures(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    shape = (CHUNK, HEIGHT, WIDTH, 3)
    if kind == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == "grey":
        return np.repeat(rng.integers(0, 256, (*shape[:3], 1), dtype=np.uint8), 3, axis=3)
    patches = rng.integers(0, 256, (CHUNK, HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    soft = patches.repeat(8, axis=1).repeat(8, axis=2) // 2
    return soft + rng.integers(0, 20, shape, dtype=np.uint8)


def cells(pixels: np.ndarray) -> np.ndarray:
    return pixels.sum(axis=0).sum(axis=0) / np.float32(CELL**2)


def shares_of_all_hues(angle: np.ndarray, strength: np.ndarray) -> np.ndarray:
    made = []
    for k in range(HUES):
        away = np.abs(angle - k)
        if k == HUES // 2:
            away = np.minimum(away, HUES - away)
        elif k > HUES // 2:
            away = HUES - away
        made.append(cells(np.maximum(1 - away, 0) * strength))
    return np.stack(made)


def test_hues_are_what_working_out_each_in_each_cell_gives() -> None:
    rng = np.random.default_rng(0)
    middles = rng.uniform(-6, 6, 300)
    middles[:40] = np.repeat([-6, -5, 0, 6], 10)
    for spread in (0.0, 0.4, 1.5, 12.0):
        angle = np.clip(middles + spread * rng.uniform(-1, 1, (CELL, CELL, 300)), -6, 6).astype(np.float32)
        strength = np.maximum(rng.uniform(-0.5, 1, angle.shape), 0).astype(np.float32)
        strength[0, 0] = np.maximum(strength[0, 0], 0.1)  # only cells with some colour are asked for
        assert np.array_equal(frame_maps._shares(angle, strength), shares_of_all_hues(angle, strength))


def test_directions_are_what_working_out_each_gives() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, CELL, CELL, 200)).astype(np.float32)
    x[..., :20], y[..., 10:30] = 0, 0
    x[..., 30:40] *= 1e-12
    made = np.empty((DIRECTIONS, 200), np.float32)
    length = frame_maps._by_direction(x, y, made)
    assert np.allclose(length, np.hypot(x, y), rtol=1e-6)
    for k in range(DIRECTIONS):
        turn = 2 * np.pi * k / DIRECTIONS
        along = np.maximum(x * np.cos(turn) + y * np.sin(turn), 0, dtype=np.float64)
        expected = cells(along**2 / (np.hypot(x, y).astype(np.float64) + 1e-6))
        assert np.allclose(made[k], expected, rtol=1e-5, atol=1e-9), k


def test_a_frame_does_not_depend_on_those_looked_at_with_it() -> None:
    for kind in ("noise", "grey", "patches"):
        frames = pictures(kind)
        together, alone = FrameMaps(CHUNK), FrameMaps(CHUNK)
        together.show(frames, 0)
        for n in range(CHUNK):
            alone.show(frames[n : n + 1], n)
        for part in ("log", "across", "down", "sample", "edges", "colours", "hues"):
            assert np.array_equal(getattr(together, part), getattr(alone, part)), (kind, part)
