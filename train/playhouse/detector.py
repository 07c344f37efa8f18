"""What a detector and a tracker would have given in place of the true boxes: imitated faults.

Boxes shake slowly by a few pixels. People are missed for some frames, or while somebody stands in front of
them. Tubes break at such gaps unless the tracker bridges them. People who come near each other may swap their
tubes. Now and then there is a tube where nobody is.
"""

from itertools import combinations

import numpy as np
import numpy.typing as npt

from .boxes import Boxes, Track, runs, visible
from .render import FRAME_HEIGHT, FRAME_WIDTH

_KEPT = 0.85  # of the error of a box in the next frame
_SHIFT, _STRETCH = 1.5, 0.04  # standard deviations: of the middle in pixels, of the logarithm of the sides
_MISSES, _MISSED = 1 / 80, (4.0, 20.0)  # how often a frame begins a gap; mean lengths of short and long ones
_LONG_MISS = 0.15
_COVERED, _LOST = 0.6, 0.7  # someone covered by more than this share is missed so often
_NEAR, _SWAPPED = 0.15, 0.25  # people whose boxes have this IoU swap tubes so often
_BRIDGED, _LONGEST_BRIDGE = 0.6, 5  # how often a gap of at most so many frames is filled
_SHORTEST = 3  # frames of a tube
_FALSE_TUBES = 1.2  # of a video, on average
_SMALLEST = 4.0  # pixels of a side


def detect(boxes: Boxes, rng: np.random.Generator) -> list[Track]:
    """Tubes of a video, by first frame, with scores below 1.

    Args:
        boxes: the true ones, (people, frames, 4), NaN where someone is not visible.
        rng: where the faults are drawn from.
    """
    found = np.stack([_shaken(person, rng) for person in boxes])
    found[_missed(boxes, rng)] = np.nan
    _swap(found, boxes, rng)
    tracks = [track for line in found for track in _tracks(line, rng)]
    tracks += [_false_track(boxes.shape[1], rng) for _ in range(rng.poisson(_FALSE_TUBES))]
    return sorted(tracks, key=lambda track: track.first)


def _shaken(person: Boxes, rng: np.random.Generator) -> Boxes:
    """Boxes (n, 4) with errors that change slowly, inside the picture."""
    fresh = rng.standard_normal((len(person), 4))
    error = fresh.copy()
    for i in range(1, len(error)):
        error[i] = _KEPT * error[i - 1] + np.sqrt(1 - _KEPT**2) * fresh[i]
    middle = (person[:, :2] + person[:, 2:]) / 2 + _SHIFT * error[:, :2]
    half = (person[:, 2:] - person[:, :2]) / 2 * np.exp(_STRETCH * error[:, 2:])
    size = np.array([FRAME_WIDTH, FRAME_HEIGHT], float)
    corner = np.clip(middle - half, 0.0, size - _SMALLEST)
    return np.concatenate([corner, np.clip(middle + half, corner + _SMALLEST, size)], axis=1)


def _missed(boxes: Boxes, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which of the true boxes (people, frames, 4) are not found: (people, frames)."""
    missed = rng.random(boxes.shape[:2]) < _MISSES
    for i, number in np.argwhere(missed):
        mean = _MISSED[int(rng.random() < _LONG_MISS)]
        missed[i, number : number + rng.geometric(1 / mean)] = True
    for i, j in combinations(range(len(boxes)), 2):
        for hidden, front in ((i, j), (j, i)):
            behind = boxes[hidden, :, 3] < boxes[front, :, 3]  # who is nearer to the camera stands lower
            covered = _shared(boxes[hidden], boxes[front]) > _COVERED * _areas(boxes[hidden])
            for first, end in runs(behind & covered):
                missed[hidden, first:end] |= bool(rng.random() < _LOST)
    return missed


def _swap(found: Boxes, boxes: Boxes, rng: np.random.Generator) -> None:
    """Swap the rest of two lines of `found` at some of the times at which two people are near each other."""
    meetings = []
    for i, j in combinations(range(len(boxes)), 2):
        shared = _shared(boxes[i], boxes[j])
        near = shared > _NEAR * (_areas(boxes[i]) + _areas(boxes[j]) - shared)
        meetings += [((first + end) // 2, i, j) for first, end in runs(near)]
    line = list(range(len(boxes)))  # where each person's boxes are by now
    for number, i, j in sorted(meetings):
        if rng.random() < _SWAPPED:
            found[[line[i], line[j]], number:] = found[[line[j], line[i]], number:]
            line[i], line[j] = line[j], line[i]


def _tracks(line: Boxes, rng: np.random.Generator) -> list[Track]:
    """The tubes of a line of boxes (frames, 4), of which some gaps are filled."""
    there = visible(line)
    for first, end in runs(~there):
        inside = first > 0 and end < len(line)
        if inside and end - first <= _LONGEST_BRIDGE and rng.random() < _BRIDGED:
            weight = np.arange(1, end - first + 1)[:, None] / (end - first + 1)
            line[first:end] = (1 - weight) * line[first - 1] + weight * line[end]
            there[first:end] = True
    lengths = [(first, end) for first, end in runs(there) if end - first >= _SHORTEST]
    return [Track(first + 1, line[first:end], _score(end - first, rng)) for first, end in lengths]


def _score(frames: int, rng: np.random.Generator) -> float:
    sure = 0.92 - 0.3 * np.exp(-frames / 10)  # short tubes are less certain
    return float(np.clip(sure + 0.05 * rng.standard_normal(), 0.3, 0.99))


def _false_track(frames: int, rng: np.random.Generator) -> Track:
    length = int(rng.integers(_SHORTEST, 21))
    first = int(rng.integers(max(1, frames - length)))
    height = rng.uniform(30.0, 110.0)
    width = height * rng.uniform(0.3, 0.8)
    left, top = rng.uniform(0.0, FRAME_WIDTH - width), rng.uniform(0.0, FRAME_HEIGHT - height)
    still = np.tile([left, top, left + width, top + height], (min(length, frames), 1))
    return Track(first + 1, _shaken(still, rng), float(rng.uniform(0.2, 0.55)))


def _areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _shared(a: Boxes, b: Boxes) -> npt.NDArray[np.float64]:
    """Area that boxes have in common, elementwise; NaN where one is not there."""
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None)
    shared: npt.NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return shared
