"""`pixels`: what a moment looks like and how it moves, read off the frames without any learned weights.

A snippet is two frames. Its description holds, each as a block that is square-rooted and brought to
unit length: the layout of the picture (edges and colours in coarse cells), the signed motion in those
cells, and, in one window around what moves most and in a smaller one at the heart of it, the look, the
motion, and what of the look comes and goes within 1.5 seconds. There it does not matter where in the
picture something happens, nor whether it is seen in a mirror. Motion is normal flow: where log-brightness
changes across an edge, along the edge's normal. A change of the whole picture's brightness (lights on,
lights off) is taken out of the motion and told by itself. Coloured things are followed over the whole
picture: of each hue, at which height it goes and comes, and whether it rises or sinks.

Maps of single frames are worked out once a frame, in chunks, and put together in blocks. Chunks and blocks
always begin at the same frames of a video, so the result is the same bit for bit however the frames arrive.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from .frame_maps import CHUNK, COLUMNS, HEIGHT, ROWS, WIDTH, Array, FrameMaps
from .motion_window import BODY, HAND, LEFT_RIGHT, LEFT_RIGHT_TURN, in_window, mirrored, window
from .picture import FrameSize

_FRAMES = 2  # a snippet
_REACH = 6  # frames seen before and after a snippet
_STEP = 2  # frames before and after that motion is read off; slow motion is over _REACH
_BLOCK = 16  # snippets put together at once
_FRESH = _FRAMES * _BLOCK  # frames of a block
_SEEN = _FRESH + 2 * _REACH  # with their surroundings
_BANDS = 6  # heights at which coloured things come and go


class Pixels:
    """The backbone that needs no weights; see `mmn_index.video.backbones.Backbone`.

    `parts` says which columns of a snippet hold what.
    """

    name = "pixels"
    weights: str | None = None
    rate = 4.0
    frames_per_snippet = _FRAMES
    block = _BLOCK
    reach = _REACH
    size = FrameSize(WIDTH, HEIGHT)

    def __init__(self) -> None:
        still = FrameMaps(_SEEN)
        still.show(np.zeros((CHUNK, HEIGHT, WIDTH, 3), np.uint8), 0)
        still.repeat(CHUNK)
        self.parts: dict[str, slice] = {}
        self.dim = 0
        for name, part in _describe(still).items():
            self.parts[name] = slice(self.dim, self.dim + part.shape[1])
            self.dim += part.shape[1]

    def __call__(self, frames: Iterable[Array], resumed: bool = False) -> Iterator[Array]:
        """Yield (n, dim) float32 blocks of snippets, in time order; ceil(frames / 2) snippets in all."""
        for shown, snippets in _blocks(frames, resumed):
            yield np.concatenate(list(_describe(shown).values()), axis=1, dtype=np.float32)[:snippets]


def _blocks(frames: Iterable[Array], resumed: bool) -> Iterator[tuple[FrameMaps, int]]:
    """Blocks of frames with their surroundings, and the number of snippets that are really there.

    Before the first frame and after the last one, the video stands still. Where a video is resumed, the first
    frames are the surroundings of its next block. The maps are the same object every time.
    """
    maps = FrameMaps(_SEEN)
    waiting: list[Array] = []
    at = 0  # the place of the next frame in the block
    seen, described = -_REACH if resumed else 0, 0  # frames of the video
    times = 1 if resumed else _REACH + 1
    for frame in frames:
        waiting.extend([frame] * times)
        seen, times = seen + 1, 1
        while len(waiting) >= CHUNK:
            maps.show(np.stack(waiting[:CHUNK]), at)
            waiting, at = waiting[CHUNK:], at + CHUNK
        if at == _SEEN:
            yield maps, _BLOCK
            maps.move_on(_FRESH)
            described, at = described + _FRESH, at - _FRESH
    if seen <= 0:
        return
    # The last _REACH frames were the surroundings of the block before; they are described only now.
    maps.show(np.stack((waiting + [frame] * CHUNK)[:CHUNK]), at)
    maps.repeat(at + CHUNK)
    while described < seen:
        yield maps, min(_BLOCK, -(-(seen - described) // _FRAMES))
        maps.move_on(_FRESH)
        maps.repeat(_SEEN - _FRESH)
        described += _FRESH


def _describe(shown: FrameMaps) -> dict[str, Array]:
    """The parts of a description of a block, each (B, width)."""
    begin, end = _REACH, _REACH + _FRESH
    moved, flicker = shown.motion(begin - _STEP - 1, end + _STEP + 1, _STEP)
    slow, slow_flicker = shown.motion(begin, end, _REACH)
    moved, slow = _as_maps(moved), _as_maps(slow)
    edges, colours, hues = (_as_maps(maps) for maps in (shown.edges, shown.colours, shown.hues))
    edges_now, colours_now = _per_snippet(edges, 0), _per_snippet(colours, 0)
    motion_now, slow_now = _per_snippet(moved, 0), _per_snippet(slow, 0)
    edges_turn, colours_turn = _turn(edges), _turn(colours)
    energy = _per_snippet(moved[-2:], _STEP + 1).sum(axis=1)  # (B, rows, columns)
    body, place = window(energy, BODY)
    hand, _ = window(energy, HAND)
    parts = {
        "edges of the layout": _coarse(edges_now),
        "colours of the layout": _coarse(colours_now),
        "motion of the layout": _coarse(motion_now),
        "edges in the window": mirrored(in_window(body, edges_now), LEFT_RIGHT),
        "colours in the window": mirrored(in_window(body, colours_now)),
        "motion in the window": mirrored(in_window(body, motion_now), LEFT_RIGHT),
        "slow motion in the window": mirrored(in_window(body, slow_now), LEFT_RIGHT),
        "turn of edges in the window": mirrored(in_window(body, edges_turn), LEFT_RIGHT_TURN),
        "turn of colours in the window": mirrored(in_window(body, colours_turn)),
        "motion near the hand": mirrored(in_window(hand, motion_now), LEFT_RIGHT),
        "slow motion near the hand": mirrored(in_window(hand, slow_now), LEFT_RIGHT),
        "turn of edges near the hand": mirrored(in_window(hand, edges_turn), LEFT_RIGHT_TURN),
        "turn of colours near the hand": mirrored(in_window(hand, colours_turn)),
        "colours that move": _weighted(colours_now, energy),
    }
    parts |= {
        "coloured things": _things(hues, _STEP),
        "slow coloured things": _things(hues, _REACH),
    }
    described = {name: _unit(part.reshape(len(part), -1)) for name, part in parts.items()}
    return described | {"flicker": _flicker(flicker, slow_flicker), "place": place}


def _as_maps(cells: Array) -> Array:
    """(C, N, cells) -> (C, N, rows, columns)."""
    return cells.reshape(len(cells), -1, ROWS, COLUMNS)


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


def _things(hues: Array, reach: int) -> Array:
    """(C, N, rows, columns) -> (B, C * (2 * bands + 3)): of each colour, where it comes and goes, down, up,
    sideways.
    """
    frames = hues.shape[1] - 2 * _REACH
    change = hues[:, _REACH + reach :][:, :frames] - hues[:, _REACH - reach :][:, :frames]
    change = (change[:, ::_FRAMES] + change[:, 1::_FRAMES]) / 2
    noise = np.float32(0.02)
    none = np.zeros_like(change)
    coming = np.maximum(change - noise, none)
    going = np.maximum(-change - noise, none)
    bands = [part.reshape(*part.shape[:2], _BANDS, -1).sum(axis=3) for part in (coming, going)]
    # What comes lower than it goes has moved down; the weight makes a thing's fall as large as its coming and
    # going.
    net = np.subtract(coming, going, dtype=np.float64)
    down = 3 * (net * (np.arange(ROWS) / ROWS)[:, None]).sum(axis=(2, 3))
    sideways = np.abs((net * (np.arange(COLUMNS) / COLUMNS)).sum(axis=(2, 3)))
    moved = np.stack([np.maximum(down, 0), np.maximum(-down, 0), sideways], axis=2)
    told = np.swapaxes(np.concatenate([*bands, moved], axis=2), 0, 1)
    return told.reshape(len(told), -1).astype(np.float32)


def _weighted(channels: Array, energy: Array) -> Array:
    """(B, C, rows, columns) -> (B, C), means weighted by motion."""
    weights = energy / (energy.sum(axis=(1, 2), keepdims=True) + np.float32(1e-3))
    means: Array = (channels * weights[:, None]).sum(axis=(2, 3))
    return means


def _coarse(channels: Array) -> Array:
    """(B, C, rows, columns) -> (B, C, 3, 4)."""
    b, c, _, _ = channels.shape
    cells = channels.reshape(b, c, 3, ROWS // 3, 4, COLUMNS // 4)
    rows = cells[..., 0] + cells[..., 1]  # numpy is slow on sums of so few numbers
    for k in range(2, cells.shape[5]):
        rows += cells[..., k]
    means: Array = np.add.reduce(rows, axis=3)
    means /= cells.shape[3] * cells.shape[5]
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
