"""What single frames show, and what changes between them: maps of channels over coarse cells.

Frames come in chunks of `CHUNK`, small enough that a step of the work stays in a processor's cache. Each
pixel's numbers are laid out as (4, 4, M): first the pixel's place in its cell, then the cells of all frames
of the chunk, so that adding up a cell adds whole rows of memory. Where nothing moves and nothing is coloured,
which is most of most pictures, the numbers are known to be zero and are not worked out.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

WIDTH, HEIGHT = 96, 72  # pixels
CELL = 4  # pixels; what is added up before anything else happens
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL
CHUNK = 4  # frames
DIRECTIONS = 8
HUES = 12
_CELLS = ROWS * COLUMNS
_NOISE = np.float32(0.06)  # change of log-brightness that is noise, not motion
_DARK = 0.08  # added to brightness before the logarithm, so that noise in the dark stays small


@dataclass(frozen=True)
class FrameMaps:
    """What N frames show.

    Attributes:
        log: (4, 4, N, cells), the logarithm of brightness.
        across, down: (4, 4, N, cells), its slopes.
        sample: (N, n), `log` at every third pixel of every third row.
        edges: (8, N, rows, columns), slopes by direction.
        colours: (11, N, rows, columns), colours by direction, brighter, darker, neither.
        hues: (14, N, rows, columns), how much there is of each of 12 hues, of white and of black.
    """

    log: Array
    across: Array
    down: Array
    sample: Array
    edges: Array
    colours: Array
    hues: Array


def show(frames: Array) -> FrameMaps:
    """What (N, 72, 96, 3) uint8 RGB frames show."""
    rgb = np.moveaxis(frames, 3, 0).astype(np.float32)
    rgb /= 255
    red, green, blue = rgb
    log = smooth(np.log(0.299 * red + 0.587 * green + 0.114 * blue + _DARK))
    across, down = (_by_place(slope) for slope in _slopes(log))
    brightness = (red + green + blue) / 3
    level = brightness.mean(axis=(1, 2), keepdims=True) + np.float32(0.05)
    chroma = tuple(_by_place(part) for part in _chroma(red, green, blue, brightness))
    by_place = _by_place(log)
    offset = by_place - log.mean(axis=(1, 2)).repeat(_CELLS)
    return FrameMaps(
        by_place.reshape(CELL, CELL, -1, _CELLS),
        across.reshape(CELL, CELL, -1, _CELLS),
        down.reshape(CELL, CELL, -1, _CELLS),
        log[:, ::3, ::3].reshape(len(log), -1),
        _maps(_by_direction(across, down)),
        _maps(np.concatenate([_by_direction(*chroma), _shades(offset)])),
        _maps(_hues(*chroma, _by_place(brightness / level))),
    )


def join(chunks: list[FrameMaps]) -> FrameMaps:
    """The maps of all frames of the chunks, in their order."""
    pixels = (
        np.concatenate([getattr(c, name) for c in chunks], axis=2) for name in ("log", "across", "down")
    )
    sample = np.concatenate([c.sample for c in chunks])
    maps = (
        np.concatenate([getattr(c, name) for c in chunks], axis=1) for name in ("edges", "colours", "hues")
    )
    return FrameMaps(*pixels, sample, *maps)


def motion(shown: FrameMaps, first: int, last: int, reach: int) -> tuple[Array, Array]:
    """What moves between `reach` frames before and `reach` frames after each of the frames first .. last - 1.

    Returns:
        (10, N, rows, columns): normal flow by direction, then what became brighter and what darker, zero for
        frames outside first .. last; and (N,), the change of the whole picture's log-brightness.
    """
    frames = len(shown.sample)
    maps = np.zeros((DIRECTIONS + 2, frames, _CELLS), np.float32)
    flicker = np.zeros(frames, np.float32)
    flicker[first:last] = np.median(
        shown.sample[first + reach : last + reach] - shown.sample[first - reach : last - reach], axis=1
    )
    for begin in range(first, last, CHUNK):
        now = slice(begin, min(begin + CHUNK, last))
        after, before = (slice(now.start + shift, now.stop + shift) for shift in (reach, -reach))
        change = shown.log[:, :, after] - shown.log[:, :, before]
        change -= flicker[now, None]
        _add_motion(maps[:, now], change, shown.across[:, :, now], shown.down[:, :, now])
    return maps.reshape(-1, frames, ROWS, COLUMNS), flicker


def _add_motion(maps: Array, change: Array, across: Array, down: Array) -> None:
    """Fill in (10, n, cells) from (4, 4, n, cells), working on cells in which something changes only."""
    size = np.abs(change)
    size -= _NOISE
    np.maximum(size, 0, out=size)
    moving = np.flatnonzero(size.max(axis=(0, 1)))
    change, size, across, down = (
        part.reshape(CELL, CELL, -1).take(moving, axis=2) for part in (change, size, across, down)
    )
    change = np.sign(change) * size
    steepness = np.sqrt(across * across + down * down) + np.float32(0.02)
    speed = -change / steepness
    brighter = np.maximum(change, 0)
    frame, cell = np.divmod(moving, _CELLS)
    maps[:DIRECTIONS, frame, cell] = _by_direction(speed * across, speed * down)
    maps[DIRECTIONS, frame, cell] = _cells(brighter)
    maps[DIRECTIONS + 1, frame, cell] = _cells(brighter - change)


def smooth(images: Array) -> Array:
    """(N, H, W) blurred by 1-2-1 in both directions."""
    n, height, width = images.shape
    padded = np.empty((n, height + 2, width + 2), images.dtype)
    padded[:, 1:-1, 1:-1] = images
    padded[:, 0, 1:-1], padded[:, -1, 1:-1] = images[:, 0], images[:, -1]
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, 1], padded[:, :, -2]
    rows = 2 * padded[:, 1:-1]
    rows += padded[:, :-2]
    rows += padded[:, 2:]
    blurred: Array = 2 * rows[:, :, 1:-1]
    blurred += rows[:, :, :-2]
    blurred += rows[:, :, 2:]
    blurred /= 16
    return blurred


def _slopes(images: Array) -> tuple[Array, Array]:
    """Central differences of (N, H, W) across and down, zero at the border."""
    across, down = np.zeros_like(images), np.zeros_like(images)
    np.subtract(images[:, :, 2:], images[:, :, :-2], out=across[:, :, 1:-1])
    np.subtract(images[:, 2:], images[:, :-2], out=down[:, 1:-1])
    across /= 2
    down /= 2
    return across, down


def _by_place(images: Array) -> Array:
    """(N, H, W) -> (4, 4, N * cells)."""
    cells = images.reshape(-1, ROWS, CELL, COLUMNS, CELL).transpose(2, 4, 0, 1, 3)
    return cells.reshape(CELL, CELL, -1)


def _cells(pixels: Array) -> Array:
    """(4, 4, M) pixels -> (M,) means of cells."""
    means: Array = np.add.reduce(np.add.reduce(pixels, axis=0), axis=0)
    means /= CELL**2
    return means


def _maps(channels: Array) -> Array:
    """(C, N * cells) -> (C, N, rows, columns)."""
    return channels.reshape(len(channels), -1, ROWS, COLUMNS)


def _by_direction(x: Array, y: Array) -> Array:
    """Lengths of (4, 4, M) vectors, shared out softly over 8 directions: (8, M) means of cells, all >= 0."""
    out = np.empty((DIRECTIONS, x.shape[2]), np.float32)
    scale = 1 / np.sqrt(np.sqrt(x * x + y * y) + np.float32(1e-6))
    x, y = x * scale, y * scale
    half = DIRECTIONS // 2
    for k in range(half):
        angle = np.pi * k / half
        along = x * np.float32(np.cos(angle))
        along += y * np.float32(np.sin(angle))
        positive = np.maximum(along, 0)
        along -= positive
        out[k] = _cells(np.multiply(positive, positive, out=positive))
        out[k + half] = _cells(np.multiply(along, along, out=along))
    return out


def _chroma(red: Array, green: Array, blue: Array, brightness: Array) -> tuple[Array, Array]:
    """Red against green and yellow against blue, relative to brightness."""
    brightness = brightness + np.float32(0.1)
    return (red - green) / brightness, ((red + green) / 2 - blue) / brightness


def _shades(offset: Array) -> Array:
    """How far a pixel is brighter, darker, or neither, than its picture: (3, M) means of cells."""
    parts = np.maximum(offset, 0), np.maximum(-offset, 0), np.exp(-4 * offset * offset)
    return np.stack([_cells(part) for part in parts])


def _hues(x: Array, y: Array, relative: Array) -> Array:
    """How much a pixel is of each of 12 hues, white, or black: (14, M) means of cells.

    Args:
        x, y: chroma, (4, 4, M).
        relative: brightness in relation to the whole picture's, (4, 4, M).
    """
    strength = np.clip((np.sqrt(x * x + y * y) - np.float32(0.25)) * 2, 0, 1)
    out = np.zeros((HUES + 2, x.shape[2]), np.float32)
    coloured = np.flatnonzero(strength.max(axis=(0, 1)))
    angle = np.arctan2(y.take(coloured, axis=2), x.take(coloured, axis=2)) * np.float32(HUES / (2 * np.pi))
    strong = strength.take(coloured, axis=2)
    for k in range(HUES):
        distance = np.abs(angle - k)
        np.minimum(distance, HUES - distance, out=distance)
        np.subtract(1, distance, out=distance)
        np.maximum(distance, 0, out=distance)
        distance *= strong
        out[k, coloured] = _cells(distance)
    pale = 1 - strength
    out[HUES] = _cells(pale * np.clip(relative - np.float32(1.4), 0, 1))
    out[HUES + 1] = _cells(pale * np.clip(np.float32(0.6) - relative, 0, 1))
    return out
