"""The window around what moves most: where it is, and what is to be seen in it.

It is square, follows the motion and is read off in 4 x 4 soft bins, so that it does not matter where in the
picture something happens. B is a number of snippets, C one of channels.
"""

from dataclasses import dataclass

import numpy as np

from .frame_maps import COLUMNS, DIRECTIONS, ROWS, Array, smooth


@dataclass(frozen=True)
class Scale:
    """How large the window around the motion is, in cells: half its side, and how far it looks for its
    middle.
    """

    smallest: float
    largest: float
    sight: float


BODY = Scale(2.5, 10.0, 4.5)
HAND = Scale(3.0, 3.0, 2.0)


def window(energy: Array, scale: Scale) -> tuple[tuple[Array, Array], Array]:
    """The square around the strongest motion: soft bins down (B, 4, rows) and across (B, 4, columns), and
    place (B, 6).
    """
    rows, columns = np.arange(ROWS) + 0.5, np.arange(COLUMNS) + 0.5
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
        [x / COLUMNS, y / ROWS, half / 10, tall / 6, wide / 8, np.minimum(total / 10, 1)], axis=1
    )
    return (_bins(rows, y, half), _bins(columns, x, half)), place


def _around_the_top(energy: Array, sight: float) -> Array:
    """Motion energy, faded out around its strongest place, so that someone else who moves as well does not
    count.
    """
    rows, columns = np.arange(ROWS) + 0.5, np.arange(COLUMNS) + 0.5
    top = smooth(smooth(smooth(energy))).reshape(len(energy), -1).argmax(axis=1)
    y, x = rows[top // COLUMNS], columns[top % COLUMNS]
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


def in_window(window: tuple[Array, Array], channels: Array) -> Array:
    """(B, C, rows, columns) -> (B, C, 4, 4), weighted means in the bins of the window."""
    down, across = window
    norm = down.sum(axis=2)[:, :, None] * across.sum(axis=2)[:, None] + np.float32(1e-3)
    means: Array = down[:, None] @ channels @ np.swapaxes(across, 1, 2)[:, None] / norm[:, None]
    return means


# Which channel a channel becomes in a mirror: directions turn from left to right, all else stays what it is.
LEFT_RIGHT = tuple((DIRECTIONS // 2 - k) % DIRECTIONS for k in range(DIRECTIONS))
LEFT_RIGHT_TURN = LEFT_RIGHT + tuple(k + DIRECTIONS for k in LEFT_RIGHT)


def mirrored(window: Array, becomes: tuple[int, ...] = ()) -> Array:
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
