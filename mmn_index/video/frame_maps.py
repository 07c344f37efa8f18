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
_MOTION_CHUNK = 20  # frames whose motion is worked out together
DIRECTIONS = 8
HUES = 12
_CELLS = ROWS * COLUMNS
_NOISE = np.float32(0.06)  # change of log-brightness that is noise, not motion
_DARK = 0.08  # added to brightness before the logarithm, so that noise in the dark stays small
# numpy compares two arrays three times as fast as an array and a number.
_ZEROS = np.zeros(DIRECTIONS // 2 * _MOTION_CHUNK * HEIGHT * WIDTH, np.float32)


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
        _keep_memory()
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
        rgb = np.empty((3, *frames.shape[:3]), np.float32)  # numpy is slow on one channel in three
        rgb[...] = np.moveaxis(frames, 3, 0)
        rgb /= 255
        red, green, blue = rgb
        log = smooth(_log_brightness(red, green, blue))
        self.sample[now] = log[:, ::3, ::3].reshape(len(log), -1)
        by_place, across, down = (pixels[:, :, now] for pixels in (self.log, self.across, self.down))
        _to_places(log, by_place)
        for slope, out in zip(_slopes(log), (across, down), strict=True):
            _to_places(slope, out)
        _by_direction(across, down, self.edges[:, now])

        brightness = red + green
        yellow = brightness / 2
        brightness += blue
        brightness /= 3
        chroma = np.empty((2, CELL, CELL, len(frames), _CELLS), np.float32)
        for part, out in zip(_chroma(red, green, blue, yellow, brightness), chroma, strict=True):
            _to_places(part, out)
        red_green, yellow_blue = chroma
        strength = _by_direction(red_green, yellow_blue, self.colours[:DIRECTIONS, now])
        _shades(by_place - log.mean(axis=(1, 2))[:, None], self.colours[DIRECTIONS:, now])
        brightness /= brightness.mean(axis=(1, 2), keepdims=True) + np.float32(0.05)
        relative = np.empty_like(strength)
        _to_places(brightness, relative)
        _hues(red_green, yellow_blue, strength, relative, self.hues[:, now])

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


def _keep_memory() -> None:
    """Make the C library keep freed memory of some size. By default glibc gives it back to the system after
    each step of the work and takes it again, which is a fifth of the time; it does no more once such a piece
    was freed.
    """
    np.empty(16 * 2**20, np.uint8)


def _add_motion(change: Array, across: Array, down: Array, out: Array) -> None:
    """(4, 4, n, cells) -> (10, n, cells), worked out for cells in which something changes only."""
    size = np.abs(change)
    size -= _NOISE
    moving = np.flatnonzero(np.maximum.reduce(size.reshape(CELL**2, -1)) > 0)
    change, size, across, down = (_taken(part, moving) for part in (change, size, across, down))
    size = _positive(size)
    np.copysign(size, change, out=size)
    steepness = across * across
    steepness += down * down
    np.sqrt(steepness, out=steepness)
    steepness += np.float32(0.02)
    speed = np.divide(size, steepness, out=steepness)
    np.negative(speed, out=speed)
    across *= speed
    down *= speed
    moved = np.empty((len(out), len(moving)), np.float32)
    _by_direction(across, down, moved[:DIRECTIONS])
    brighter = _positive(size)
    moved[DIRECTIONS] = _cells(brighter)
    brighter -= size
    moved[DIRECTIONS + 1] = _cells(brighter)
    _put(out, moving, moved)


def _log_brightness(red: Array, green: Array, blue: Array) -> Array:
    brightness: Array = 0.299 * red
    part = 0.587 * green
    brightness += part
    brightness += np.multiply(0.114, blue, out=part)
    brightness += _DARK
    np.log(brightness, out=brightness)
    return brightness


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
    across, down = np.empty_like(images), np.empty_like(images)
    across[:, :, 0] = across[:, :, -1] = 0
    down[:, 0] = down[:, -1] = 0
    np.subtract(images[:, :, 2:], images[:, :, :-2], out=across[:, :, 1:-1])
    np.subtract(images[:, 2:], images[:, :-2], out=down[:, 1:-1])
    across /= 2
    down /= 2
    return across, down


def _to_places(images: Array, out: Array) -> None:
    """(N, H, W) -> (4, 4, N, cells)."""
    n = len(images)
    cells = images.reshape(n, ROWS, CELL, COLUMNS, CELL).transpose(2, 4, 0, 1, 3)
    out.reshape(CELL, CELL, n, ROWS, COLUMNS)[...] = cells


def _positive(pixels: Array) -> Array:
    positive: Array = np.maximum(pixels, _ZEROS[: pixels.size].reshape(pixels.shape))
    return positive


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


def _cells_of_squares(pixels: Array, out: Array) -> None:
    """(C, 4, 4, ...) pixels -> (C, ...) means of their squares in cells."""
    pixels = pixels.reshape(*pixels.shape[:3], -1)
    np.add.reduce(np.einsum("cijm,cijm->cjm", pixels, pixels), axis=1, out=out.reshape(len(out), -1))
    out /= CELL**2


def _by_direction(x: Array, y: Array, out: Array) -> Array:
    """Share lengths of (4, 4, ...) vectors out softly over 8 directions: (8, ...) means of cells, >= 0.

    Returns:
        The lengths.
    """
    length: Array = x * x
    part = y * y
    length += part
    np.sqrt(length, out=length)
    scale = length + np.float32(1e-6)
    np.sqrt(scale, out=scale)
    np.divide(1, scale, out=scale)
    alongs = np.empty((DIRECTIONS // 2, *x.shape), np.float32)
    np.multiply(x, scale, out=alongs[0])
    np.multiply(y, scale, out=part)
    diagonal = np.float32(np.cos(np.pi / 4))
    x_part, y_part = np.multiply(alongs[0], diagonal, out=scale), part * diagonal
    np.add(x_part, y_part, out=alongs[1])
    np.subtract(y_part, x_part, out=alongs[3])
    # y alone would do for the third one, but for the last bit of numbers that are all but zero
    np.multiply(alongs[0], np.float32(np.cos(np.pi / 2)), out=alongs[2])
    alongs[2] += part
    positive = _positive(alongs)
    _cells_of_squares(positive, out[: DIRECTIONS // 2])
    _cells_of_squares(np.subtract(positive, alongs, out=positive), out[DIRECTIONS // 2 :])
    return length


def _chroma(red: Array, green: Array, blue: Array, yellow: Array, brightness: Array) -> tuple[Array, Array]:
    """Red against green and yellow against blue, relative to brightness."""
    brightness = brightness + np.float32(0.1)
    across = red - green
    across /= brightness
    down = yellow - blue
    down /= brightness
    return across, down


def _shades(offset: Array, out: Array) -> None:
    """How far a pixel is brighter, darker, or neither, than its picture: (3, ...) means of cells."""
    brighter = _positive(offset)
    out[0] = _cells(brighter)
    brighter -= offset
    out[1] = _cells(brighter)
    near = np.multiply(-4, offset, out=brighter)
    near *= offset
    out[2] = _cells(np.exp(near, out=near))


def _hues(x: Array, y: Array, strength: Array, relative: Array, out: Array) -> None:
    """How much a pixel is of each of 12 hues, white, or black: (14, ...) means of cells.

    Args:
        x, y: chroma, (4, 4, ...).
        strength: its lengths; used up.
        relative: brightness in relation to the whole picture's.
    """
    strength -= np.float32(0.25)
    strength *= 2
    np.clip(strength, 0, 1, out=strength)
    coloured = np.flatnonzero(np.maximum.reduce(strength.reshape(CELL**2, -1)))
    angle = np.arctan2(_taken(y, coloured), _taken(x, coloured))
    angle *= np.float32(HUES / (2 * np.pi))
    out[:HUES] = 0
    _put(out[:HUES], coloured, _shares(angle, _taken(strength, coloured)))
    pale = np.subtract(1, strength, out=strength)
    white = relative - np.float32(1.4)
    np.clip(white, 0, 1, out=white)
    white *= pale
    out[HUES] = _cells(white)
    black = np.subtract(np.float32(0.6), relative, out=white)
    np.clip(black, 0, 1, out=black)
    black *= pale
    out[HUES + 1] = _cells(black)


def _shares(angle: Array, strength: Array) -> Array:
    """Share strengths (4, 4, M) of hues, from -6 to 6, out: (12, M) means of cells.

    Most cells have three or four hues; nothing else is worked out. Hues from 7 on are counted by how far the
    angle lies before their end, so all that is before them counts.
    """
    of_cell = np.where(strength > 0, angle, np.float32(np.nan)).reshape(CELL**2, -1)
    least, most = np.fmin.reduce(of_cell), np.fmax.reduce(of_cell)
    shares = np.zeros((HUES, len(least)), np.float32)

    half = HUES // 2
    numbers = np.arange(half + 1, dtype=np.float32)[:, None]
    touched = (most > numbers - 1) & (least < numbers + 1)
    touched[half] |= least < 1 - half  # the one at which the angle goes from 6 to -6
    hue, cell = np.nonzero(touched)
    away = _taken(angle, cell)
    away -= hue.astype(np.float32)
    np.abs(away, out=away)
    turn = away[..., np.searchsorted(hue, half) :]
    np.minimum(turn, HUES - turn, out=turn)
    share = _positive(np.subtract(1, away, out=away))
    share *= _taken(strength, cell)
    shares[hue, cell] = _cells(share)

    cool = np.flatnonzero(least < 0)
    angle, strength = _taken(angle, cool), _taken(strength, cool)
    for k in range(half + 1, HUES):
        share = k - angle
        share -= HUES - 1
        share = _positive(share)
        share *= strength
        shares[k, cool] = _cells(share)
    return shares
