"""What single frames show, and what changes between them: maps of channels over coarse cells.

Frames come in chunks of `CHUNK`, small enough that a step of the work stays in a processor's cache. Each
pixel's numbers are laid out as (4, 4, M): first the pixel's place in its cell, then the cells of all frames
of the chunk, so that adding up a cell adds whole rows of memory. Where nothing moves and nothing is coloured,
which is most of most pictures, the numbers are known to be zero and are not worked out.
"""

import numpy as np

Array = np.ndarray

WIDTH, HEIGHT = 96, 72  # pixels
CELL = 4  # pixels; what is added up before anything else happens
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL
CHUNK = 4  # frames looked at together
_MOTION_CHUNK = 8  # frames whose motion is worked out together
DIRECTIONS = 8
HUES = 12
_CELLS = ROWS * COLUMNS
_NOISE = np.float32(0.06)  # change of log-brightness that is noise, not motion
_DARK = 0.08  # added to brightness before the logarithm, so that noise in the dark stays small


class FrameMaps:
    """What the N frames of a block show; filled in chunk by chunk, and used again for the next block.

    Attributes:
        log: (4, 4, N, cells), the logarithm of brightness.
        across, down: (4, 4, N, cells), its slopes.
        sample: (N, n), `log` at every third pixel of every third row.
        edges: (8, N, cells), slopes by direction.
        colours: (11, N, cells), colours by direction, brighter, darker, neither.
        hues: (14, N, cells), how much there is of each of 12 hues, of white and of black.
    """

    def __init__(self, frames: int) -> None:
        self.log = np.empty((CELL, CELL, frames, _CELLS), np.float32)
        self.across, self.down = np.empty_like(self.log), np.empty_like(self.log)
        self.sample = np.empty((frames, len(range(0, HEIGHT, 3)) * len(range(0, WIDTH, 3))), np.float32)
        self.edges = np.empty((DIRECTIONS, frames, _CELLS), np.float32)
        self.colours = np.empty((DIRECTIONS + 3, frames, _CELLS), np.float32)
        self.hues = np.empty((HUES + 2, frames, _CELLS), np.float32)
        self._moved: dict[int, Array] = {}

    def show(self, frames: Array, at: int) -> None:
        """Fill in what (n, 72, 96, 3) uint8 RGB frames show as the frames from `at` on."""
        now = slice(at, at + len(frames))
        rgb = np.moveaxis(frames, 3, 0).astype(np.float32)
        rgb /= 255
        red, green, blue = rgb
        log = smooth(np.log(0.299 * red + 0.587 * green + 0.114 * blue + _DARK))
        self.sample[now] = log[:, ::3, ::3].reshape(len(log), -1)
        across, down = (_by_place(slope) for slope in _slopes(log))
        by_place = _by_place(log)
        self.log[:, :, now], self.across[:, :, now], self.down[:, :, now] = by_place, across, down
        _by_direction(across, down, self.edges[:, now])

        brightness = red + green
        brightness += blue
        brightness /= 3
        red_green, yellow_blue = (_by_place(part) for part in _chroma(red, green, blue, brightness))
        _by_direction(red_green, yellow_blue, self.colours[:DIRECTIONS, now])
        _shades(by_place - log.mean(axis=(1, 2))[:, None], self.colours[DIRECTIONS:, now])
        brightness /= brightness.mean(axis=(1, 2), keepdims=True) + np.float32(0.05)
        _hues(red_green, yellow_blue, _by_place(brightness), self.hues[:, now])

    def repeat(self, at: int) -> None:
        """Fill in the frames from `at` on, all the same as the last one before."""
        for pixels in (self.log, self.across, self.down):
            pixels[:, :, at:] = pixels[:, :, at - 1 : at]
        self.sample[at:] = self.sample[at - 1]
        for maps in (self.edges, self.colours, self.hues):
            maps[:, at:] = maps[:, at - 1 : at]

    def move_on(self, frames: int) -> None:
        """Forget the first `frames` frames; the others move to their place."""
        kept = len(self.sample) - frames
        for pixels in (self.log, self.across, self.down):
            pixels[:, :, :kept] = pixels[:, :, frames:]
        self.sample[:kept] = self.sample[frames:]
        for maps in (self.edges, self.colours, self.hues):
            maps[:, :kept] = maps[:, frames:]

    def motion(self, first: int, last: int, reach: int) -> tuple[Array, Array]:
        """What moves from `reach` frames before to `reach` frames after each of the frames first .. last - 1.

        Returns:
            (10, N, cells): normal flow by direction, then what became brighter and what darker, zero for
            frames outside first .. last; and (N,), the change of the whole picture's log-brightness.
        """
        frames = len(self.sample)
        maps = self._moved.setdefault(reach, np.empty((DIRECTIONS + 2, frames, _CELLS), np.float32))
        maps[...] = 0
        flicker = np.zeros(frames, np.float32)
        sample = self.sample
        flicker[first:last] = np.median(
            sample[first + reach : last + reach] - sample[first - reach : last - reach], axis=1
        )
        for begin in range(first, last, _MOTION_CHUNK):
            end = min(begin + _MOTION_CHUNK, last)
            change = self.log[:, :, begin + reach : end + reach] - self.log[:, :, begin - reach : end - reach]
            change -= flicker[begin:end, None]
            _add_motion(change, self.across[:, :, begin:end], self.down[:, :, begin:end], maps[:, begin:end])
        return maps, flicker


def _add_motion(change: Array, across: Array, down: Array, out: Array) -> None:
    """(4, 4, n, cells) -> (10, n, cells), worked out for cells in which something changes only."""
    size = np.abs(change)
    size -= _NOISE
    moving = np.flatnonzero(size.max(axis=(0, 1)) > 0)
    change, size, across, down = (_taken(part, moving) for part in (change, size, across, down))
    np.maximum(size, 0, out=size)
    size *= np.sign(change)
    steepness = np.sqrt(across * across + down * down)
    steepness += np.float32(0.02)
    speed = -size / steepness
    across *= speed
    down *= speed
    moved = np.empty((len(out), len(moving)), np.float32)
    _by_direction(across, down, moved[:DIRECTIONS])
    brighter = np.maximum(size, 0)
    moved[DIRECTIONS] = _cells(brighter)
    brighter -= size
    moved[DIRECTIONS + 1] = _cells(brighter)
    _put(out, moving, moved)


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
    """(N, H, W) -> (4, 4, N, cells)."""
    cells = images.reshape(-1, ROWS, CELL, COLUMNS, CELL).transpose(2, 4, 0, 1, 3)
    return cells.reshape(CELL, CELL, -1, _CELLS)


def _taken(pixels: Array, cells: Array) -> Array:
    """(4, 4, n, cells) -> (4, 4, M), the cells of these numbers."""
    return pixels.reshape(CELL, CELL, -1).take(cells, axis=2)


def _put(out: Array, cells: Array, values: Array) -> None:
    """Set the cells of these numbers in (C, n, cells) to (C, M) values."""
    frame, cell = np.divmod(cells, _CELLS)
    out[:, frame, cell] = values


def _cells(pixels: Array) -> Array:
    """(4, 4, ...) pixels -> (...) means of cells."""
    means: Array = np.add.reduce(np.add.reduce(pixels, axis=0), axis=0)
    means /= CELL**2
    return means


def _by_direction(x: Array, y: Array, out: Array) -> None:
    """Lengths of (4, 4, ...) vectors, shared out softly over 8 directions: (8, ...) means of cells, >= 0."""
    length = x * x
    length += y * y
    np.sqrt(length, out=length)
    length += np.float32(1e-6)
    np.sqrt(length, out=length)
    scale = np.divide(1, length, out=length)
    x, y = x * scale, y * scale
    diagonal = np.float32(np.cos(np.pi / 4))
    x_part, y_part = x * diagonal, y * diagonal
    # y alone would do for the third one, but for the last bit of numbers that are all but zero
    alongs = (x, x_part + y_part, x * np.float32(np.cos(np.pi / 2)) + y, y_part - x_part)
    for k, along in enumerate(alongs):
        positive = np.maximum(along, 0)
        negative = along - positive
        out[k] = _cells(np.multiply(positive, positive, out=positive))
        out[k + len(alongs)] = _cells(np.multiply(negative, negative, out=negative))


def _chroma(red: Array, green: Array, blue: Array, brightness: Array) -> tuple[Array, Array]:
    """Red against green and yellow against blue, relative to brightness."""
    brightness = brightness + np.float32(0.1)
    across = red - green
    across /= brightness
    down = red + green
    down /= 2
    down -= blue
    down /= brightness
    return across, down


def _shades(offset: Array, out: Array) -> None:
    """How far a pixel is brighter, darker, or neither, than its picture: (3, ...) means of cells."""
    out[0] = _cells(np.maximum(offset, 0))
    out[1] = _cells(np.maximum(-offset, 0))
    near = -4 * offset
    near *= offset
    out[2] = _cells(np.exp(near, out=near))


def _hues(x: Array, y: Array, relative: Array, out: Array) -> None:
    """How much a pixel is of each of 12 hues, white, or black: (14, ...) means of cells.

    Args:
        x, y: chroma, (4, 4, ...).
        relative: brightness in relation to the whole picture's.
    """
    strength = x * x
    strength += y * y
    np.sqrt(strength, out=strength)
    strength -= np.float32(0.25)
    strength *= 2
    np.clip(strength, 0, 1, out=strength)
    coloured = np.flatnonzero(strength.max(axis=(0, 1)))
    angle = np.arctan2(_taken(y, coloured), _taken(x, coloured))
    angle *= np.float32(HUES / (2 * np.pi))
    strong = _taken(strength, coloured)
    shares = np.empty((HUES, len(coloured)), np.float32)
    for k in range(HUES):
        # How far the angle, which runs from -6 to 6, is from the hue the shorter way round.
        share = angle - k
        np.abs(share, out=share)
        if k == HUES // 2:
            np.minimum(share, HUES - share, out=share)
        elif k > HUES // 2:
            np.subtract(HUES, share, out=share)
        np.subtract(1, share, out=share)
        np.maximum(share, 0, out=share)
        share *= strong
        shares[k] = _cells(share)
    out[:HUES] = 0
    _put(out[:HUES], coloured, shares)
    pale = np.subtract(1, strength, out=strength)
    white = relative - np.float32(1.4)
    np.clip(white, 0, 1, out=white)
    white *= pale
    out[HUES] = _cells(white)
    black = np.float32(0.6) - relative
    np.clip(black, 0, 1, out=black)
    black *= pale
    out[HUES + 1] = _cells(black)
