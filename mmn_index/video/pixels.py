"""`pixels`: what a moment looks like and how it moves, read off the frames without any learned weights.

A snippet is two frames. Its description holds, each as a block that is square-rooted and brought to
unit length: the layout of the picture (edges and colours in coarse cells), the signed motion in those
cells, and, in one window around what moves most and in a smaller one at the heart of it, the look, the
motion, and what of the look comes and goes within 1.5 seconds. There it does not matter where in the
picture something happens, nor whether it is seen in a mirror. Motion is normal flow: where log-brightness
changes across an edge, along the edge's normal. A change of the whole picture's brightness (lights on,
lights off) is taken out of the motion and told by itself. Coloured things are followed over the whole
picture: of each hue, at which height it goes and comes, and whether it rises or sinks.

Frames are processed in blocks that always begin at the same frames of a video, so the result is the
same bit for bit however the frames arrive.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .decode import FrameSize

Array = np.ndarray

_WIDTH, _HEIGHT = 96, 72  # pixels
_CELL = 4  # pixels; what is added up before anything else happens
_ROWS, _COLUMNS = _HEIGHT // _CELL, _WIDTH // _CELL
_FRAMES = 2  # a snippet
_REACH = 6  # frames seen before and after a snippet
_STEP = 2  # frames before and after that motion is read off; slow motion is over _REACH
_BLOCK = 16  # snippets processed at once
_DIRECTIONS = 8
_NOISE = 0.06  # change of log-brightness that is noise, not motion
_HUES = 12
_BANDS = 6  # heights at which coloured things come and go
_DARK = 0.08  # added to brightness before the logarithm, so that noise in the dark stays small


class Pixels:
    """The backbone that needs no weights; see `mmn_index.video.backbones.Backbone`.

    `parts` says which columns of a snippet hold what.
    """

    name = "pixels"
    rate = 4.0
    frames_per_snippet = _FRAMES
    size = FrameSize(_WIDTH, _HEIGHT)

    def __init__(self) -> None:
        still = np.zeros((_FRAMES * _BLOCK + 2 * _REACH, _HEIGHT, _WIDTH, 3), np.uint8)
        self.parts: dict[str, slice] = {}
        self.dim = 0
        for name, part in _describe(still).items():
            self.parts[name] = slice(self.dim, self.dim + part.shape[1])
            self.dim += part.shape[1]

    def __call__(self, frames: Iterable[Array]) -> Iterator[Array]:
        """Yield (n, dim) float32 blocks of snippets, in time order; ceil(frames / 2) snippets in all."""
        for block, snippets in _blocks(frames):
            yield np.concatenate(list(_describe(block).values()), axis=1, dtype=np.float32)[:snippets]


def _blocks(frames: Iterable[Array]) -> Iterator[tuple[Array, int]]:
    """Blocks of frames with their surroundings, and the number of snippets that are really there.

    Before the first frame and after the last one, the video stands still.
    """
    step = _FRAMES * _BLOCK
    held: list[Array] = []
    for frame in frames:
        held.extend([frame] * (1 if held else _REACH + 1))
        if len(held) == step + 2 * _REACH:
            yield np.stack(held), _BLOCK
            held = held[step:]
    fresh = len(held) - (_REACH if held else 0)
    # The last _REACH frames were the surroundings of the block before; they are described only now.
    while fresh > 0:
        block = (held + [held[-1]] * (step + 2 * _REACH))[: step + 2 * _REACH]
        yield np.stack(block), min(_BLOCK, -(-fresh // _FRAMES))
        held, fresh = held[step:], fresh - step


def _describe(frames: Array) -> dict[str, Array]:
    """(2 B + 2 reach, H, W, 3) uint8 frames -> the parts of a description, each (B, width)."""
    rgb = np.moveaxis(frames, 3, 0).astype(np.float32) / 255  # (3, N, H, W)
    log = _smooth(np.log(0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] + _DARK))
    across, down = _gradients(log)
    edges = _cells(_by_direction(across, down))
    colours = _cells(np.concatenate([_by_direction(*_chroma(rgb)), _shades(log)]))
    change, flicker = _change(log, _STEP)
    motion = _cells(_motion(change, across, down))
    slow_change, slow_flicker = _change(log, _REACH)
    slow_motion = _cells(_motion(slow_change, across, down))

    edges_now, colours_now = _per_snippet(edges, 0), _per_snippet(colours, 0)
    motion_now, slow_now = _per_snippet(motion, 0), _per_snippet(slow_motion, 0)
    edges_turn, colours_turn = _turn(edges), _turn(colours)
    energy = _per_snippet(motion[-2:], _STEP + 1).sum(axis=1)  # (B, rows, columns)
    body, place = _window(energy, _BODY)
    hand, _ = _window(energy, _HAND)
    parts = {
        "edges of the layout": _coarse(edges_now),
        "colours of the layout": _coarse(colours_now),
        "motion of the layout": _coarse(motion_now),
        "edges in the window": _mirrored(_in_window(body, edges_now), _LEFT_RIGHT),
        "colours in the window": _mirrored(_in_window(body, colours_now)),
        "motion in the window": _mirrored(_in_window(body, motion_now), _LEFT_RIGHT),
        "slow motion in the window": _mirrored(_in_window(body, slow_now), _LEFT_RIGHT),
        "turn of edges in the window": _mirrored(_in_window(body, edges_turn), _LEFT_RIGHT_TURN),
        "turn of colours in the window": _mirrored(_in_window(body, colours_turn)),
        "motion near the hand": _mirrored(_in_window(hand, motion_now), _LEFT_RIGHT),
        "slow motion near the hand": _mirrored(_in_window(hand, slow_now), _LEFT_RIGHT),
        "turn of edges near the hand": _mirrored(_in_window(hand, edges_turn), _LEFT_RIGHT_TURN),
        "turn of colours near the hand": _mirrored(_in_window(hand, colours_turn)),
        "colours that move": _weighted(colours_now, energy),
    }
    hues = _cells(_hues(rgb))
    parts |= {"coloured things": _things(hues, _STEP), "slow coloured things": _things(hues, _REACH)}
    described = {name: _unit(part.reshape(len(part), -1)) for name, part in parts.items()}
    return described | {"flicker": _flicker(flicker, slow_flicker), "place": place}


def _smooth(images: Array) -> Array:
    """(..., H, W) blurred by 1-2-1 in both directions."""
    padded = np.pad(images, [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    blurred: Array = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
    return blurred


def _gradients(images: Array) -> tuple[Array, Array]:
    """Central differences of (N, H, W) across and down, zero at the border."""
    across, down = np.zeros_like(images), np.zeros_like(images)
    across[:, :, 1:-1] = (images[:, :, 2:] - images[:, :, :-2]) / 2
    down[:, 1:-1] = (images[:, 2:] - images[:, :-2]) / 2
    return across, down


def _by_direction(x: Array, y: Array) -> Array:
    """Lengths of (N, H, W) vectors, shared out softly over 8 directions: (8, N, H, W), all >= 0."""
    out = np.empty((_DIRECTIONS, *x.shape), np.float32)
    scale = 1 / np.sqrt(np.sqrt(x * x + y * y) + np.float32(1e-6))
    x, y = x * scale, y * scale
    half = _DIRECTIONS // 2
    for k in range(half):
        angle = np.pi * k / half
        along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        positive = np.maximum(along, 0)
        negative = along - positive
        np.multiply(positive, positive, out=out[k])
        np.multiply(negative, negative, out=out[k + half])
    return out


def _chroma(rgb: Array) -> tuple[Array, Array]:
    """Red against green and yellow against blue, relative to brightness."""
    red, green, blue = rgb
    brightness = (red + green + blue) / 3 + np.float32(0.1)
    return (red - green) / brightness, ((red + green) / 2 - blue) / brightness


def _hues(rgb: Array) -> Array:
    """How much a pixel is of each of 12 hues, white, or black: (14, N, H, W)."""
    red, green, blue = rgb
    brightness = (red + green + blue) / 3
    level = brightness.mean(axis=(1, 2), keepdims=True) + np.float32(0.05)
    x, y = _chroma(rgb)
    saturation = np.sqrt(x * x + y * y)
    angle = np.arctan2(y, x) * np.float32(_HUES / (2 * np.pi))
    strength = np.clip((saturation - np.float32(0.25)) * 2, 0, 1)
    out = np.empty((_HUES + 2, *x.shape), np.float32)
    for k in range(_HUES):
        distance = np.abs(angle - k)
        distance = np.minimum(distance, _HUES - distance)
        np.multiply(np.maximum(1 - distance, 0), strength, out=out[k])
    pale = 1 - strength
    out[_HUES] = pale * np.clip(brightness / level - np.float32(1.4), 0, 1)
    out[_HUES + 1] = pale * np.clip(np.float32(0.6) - brightness / level, 0, 1)
    return out


def _shades(log: Array) -> Array:
    """How far a pixel is brighter, darker, or neither, than its picture: (3, N, H, W)."""
    offset = log - log.mean(axis=(1, 2), keepdims=True)
    return np.stack([np.maximum(offset, 0), np.maximum(-offset, 0), np.exp(-4 * offset * offset)])


def _change(log: Array, reach: int) -> tuple[Array, Array]:
    """Change of log-brightness around each frame: of each pixel against the whole picture, and of that,
    (N,).
    """
    number = np.arange(len(log))
    change = log[np.minimum(number + reach, len(log) - 1)] - log[np.maximum(number - reach, 0)]
    flicker = np.median(change[:, ::3, ::3], axis=(1, 2))
    change -= flicker[:, None, None]
    return np.sign(change) * np.maximum(np.abs(change) - np.float32(_NOISE), 0), flicker


def _motion(change: Array, across: Array, down: Array) -> Array:
    """Normal flow by direction, then what became brighter and what darker: (10, N, H, W)."""
    steepness = np.sqrt(across * across + down * down) + np.float32(0.02)
    speed = -change / steepness
    brighter = np.maximum(change, 0)
    return np.concatenate(
        [_by_direction(speed * across, speed * down), np.stack([brighter, brighter - change])]
    )


def _cells(channels: Array) -> Array:
    """(C, N, H, W) pixels -> (C, N, rows, columns) means of cells."""
    rows: Array = sum((channels[:, :, k::_CELL] for k in range(1, _CELL)), channels[:, :, ::_CELL])
    return sum((rows[..., k::_CELL] for k in range(1, _CELL)), rows[..., ::_CELL]) / _CELL**2


def _per_snippet(channels: Array, reach: int) -> Array:
    """(C, N, rows, columns) frames -> (B, C, rows, columns) means over each snippet and `reach` frames around
    it.
    """
    span = _FRAMES + 2 * reach
    begin = _REACH - reach
    stop = begin + _FRAMES * (_BLOCK - 1) + 1
    frames = [channels[:, begin + k : stop + k : _FRAMES] for k in range(span)]
    total = sum(frames[1:], frames[0])
    return np.swapaxes(total, 0, 1) / span


def _turn(look: Array) -> Array:
    """(C, N, rows, columns) looks -> what of them comes and what goes around each snippet, (B, 2 C, rows,
    columns).
    """
    begin, end = look[:, : -2 * _REACH], look[:, 2 * _REACH :]  # N - 2 reach = 2 B frames each
    change = end - begin
    change = (change[:, ::_FRAMES] + change[:, 1::_FRAMES]) / 2
    coming = np.maximum(change, 0)
    return np.swapaxes(np.concatenate([coming, coming - change]), 0, 1)


@dataclass(frozen=True)
class _Scale:
    """How large the window around the motion is, in cells: half its side, and how far it looks for its
    middle.
    """

    smallest: float
    largest: float
    sight: float


_BODY = _Scale(2.5, 10.0, 4.5)
_HAND = _Scale(3.0, 3.0, 2.0)


def _window(energy: Array, scale: _Scale) -> tuple[tuple[Array, Array], Array]:
    """The square around the strongest motion: soft bins down (B, 4, rows) and across (B, 4, columns), and
    place (B, 6).
    """
    rows, columns = np.arange(_ROWS) + 0.5, np.arange(_COLUMNS) + 0.5
    total = energy.sum(axis=(1, 2))
    near = _around_the_top(energy + 1e-4, scale.sight)
    by_row, by_column = near.sum(axis=2), near.sum(axis=1)
    by_row /= by_row.sum(axis=1, keepdims=True)
    by_column /= by_column.sum(axis=1, keepdims=True)
    y, x = (by_row * rows).sum(axis=1), (by_column * columns).sum(axis=1)
    tall = np.sqrt((by_row * (rows - y[:, None]) ** 2).sum(axis=1))
    wide = np.sqrt((by_column * (columns - x[:, None]) ** 2).sum(axis=1))
    half = np.clip(1.8 * np.maximum(tall, wide), scale.smallest, scale.largest)
    place = np.stack(
        [x / _COLUMNS, y / _ROWS, half / 10, tall / 6, wide / 8, np.minimum(total / 10, 1)], axis=1
    )
    return (_bins(rows, y, half), _bins(columns, x, half)), place


def _around_the_top(energy: Array, sight: float) -> Array:
    """Motion energy, faded out around its strongest place, so that someone else who moves as well does not
    count.
    """
    rows, columns = np.arange(_ROWS) + 0.5, np.arange(_COLUMNS) + 0.5
    top = _smooth(_smooth(_smooth(energy))).reshape(len(energy), -1).argmax(axis=1)
    y, x = rows[top // _COLUMNS], columns[top % _COLUMNS]
    near = energy
    for _ in range(3):  # mean shift
        by_row = np.exp(-(((rows - y[:, None]) / sight) ** 2) / 2)
        by_column = np.exp(-(((columns - x[:, None]) / sight) ** 2) / 2)
        near = energy * by_row[:, :, None] * by_column[:, None]
        mass = near.sum(axis=(1, 2))
        y, x = (near.sum(axis=2) * rows).sum(axis=1) / mass, (near.sum(axis=1) * columns).sum(axis=1) / mass
    return near


def _bins(places: Array, centre: Array, half: Array) -> Array:
    """(B, 4, len(places)) weights of overlapping triangles that cover centre +- half."""
    middles = np.array([-0.75, -0.25, 0.25, 0.75])
    position = (places - centre[:, None]) / half[:, None]
    weights: Array = np.maximum(1 - np.abs(position[:, None] - middles[:, None]) / 0.5, 0).astype(np.float32)
    return weights


def _in_window(window: tuple[Array, Array], channels: Array) -> Array:
    """(B, C, rows, columns) -> (B, C, 4, 4), weighted means in the bins of the window."""
    down, across = window
    norm = down.sum(axis=2)[:, :, None] * across.sum(axis=2)[:, None] + np.float32(1e-3)
    means: Array = down[:, None] @ channels @ np.swapaxes(across, 1, 2)[:, None] / norm[:, None]
    return means


# Which channel a channel becomes in a mirror: directions turn from left to right, all else stays what it is.
_LEFT_RIGHT = tuple((_DIRECTIONS // 2 - k) % _DIRECTIONS for k in range(_DIRECTIONS))
_LEFT_RIGHT_TURN = _LEFT_RIGHT + tuple(k + _DIRECTIONS for k in _LEFT_RIGHT)


def _mirrored(window: Array, becomes: tuple[int, ...] = ()) -> Array:
    """(B, C, 4, 4) -> (B, F), the mean of the window and its mirror image, each number once.

    A door that opens to the left is an open door like one that opens to the right; what goes left and what
    goes right in the whole picture is told by the layout.
    """
    channels = window.shape[1]
    becomes += tuple(range(len(becomes), channels))
    mean = (window + window[:, list(becomes), :, ::-1]) / 2
    themselves = [k for k in range(channels) if becomes[k] == k]
    pairs = [k for k in range(channels) if becomes[k] > k]
    parts = [mean[:, pairs], mean[:, themselves, :, : mean.shape[3] // 2]]
    numbers: Array = np.concatenate([part.reshape(len(mean), -1) for part in parts], axis=1)
    return numbers


def _things(hues: Array, reach: int) -> Array:
    """(C, N, rows, columns) -> (B, C * (2 * bands + 3)): of each colour, where it comes and goes, down, up,
    sideways.
    """
    frames = hues.shape[1] - 2 * _REACH
    before, after = hues[:, _REACH - reach :][:, :frames], hues[:, _REACH + reach :][:, :frames]
    change = after - before
    change = (change[:, ::_FRAMES] + change[:, 1::_FRAMES]) / 2
    coming = np.maximum(change - np.float32(0.02), 0)  # less is noise
    going = np.maximum(-change - np.float32(0.02), 0)
    colours, snippets = coming.shape[:2]
    bands = [part.reshape(colours, snippets, _BANDS, -1).sum(axis=3) for part in (coming, going)]
    # What comes lower than it goes has moved down; the weight makes a thing's fall as large as its coming and
    # going.
    net = coming - going
    down = 3 * (net * (np.arange(_ROWS) / _ROWS)[:, None]).sum(axis=(2, 3))
    sideways = np.abs((net * (np.arange(_COLUMNS) / _COLUMNS)).sum(axis=(2, 3)))
    told = np.concatenate(
        [*bands, np.stack([np.maximum(down, 0), np.maximum(-down, 0), sideways], axis=2)], axis=2
    )
    return np.swapaxes(told, 0, 1).reshape(snippets, -1).astype(np.float32)


def _weighted(channels: Array, energy: Array) -> Array:
    """(B, C, rows, columns) -> (B, C), means weighted by motion."""
    weights = energy / (energy.sum(axis=(1, 2), keepdims=True) + np.float32(1e-3))
    means: Array = (channels * weights[:, None]).sum(axis=(2, 3))
    return means


def _coarse(channels: Array) -> Array:
    """(B, C, rows, columns) -> (B, C, 3, 4)."""
    b, c, _, _ = channels.shape
    means: Array = channels.reshape(b, c, 3, _ROWS // 3, 4, _COLUMNS // 4).mean(axis=(3, 5))
    return means


def _unit(part: Array) -> Array:
    """Square roots, brought to unit length; what is all but nothing stays small instead of blowing up
    noise.
    """
    unit: Array = np.sqrt(part) / np.sqrt(part.sum(axis=1, keepdims=True) + np.float32(0.05))
    return unit


def _flicker(short: Array, slow: Array) -> Array:
    """Brighter and darker as a whole, at once and over the second: (B, 4)."""
    now = _per_snippet(short[None, :, None, None], 0)[:, :, 0, 0]
    then = _per_snippet(slow[None, :, None, None], 0)[:, :, 0, 0]
    return np.concatenate(
        [np.clip(sign * 3 * value, 0, 1) for value in (now, then) for sign in (1, -1)], axis=1
    )
