"""Boxes of single pictures become tubes: linked by overlap and by look, gaps filled, short ones dropped.

Pictures come at a steady rate. A box belongs to the tube whose box, moved on at the speed that it had, it
overlaps most; where people meet, colours help to decide. The best pairs are taken first. A tube that found no
box for a while has ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from ..tubes import Tube, box_iou

_OVERLAP = 0.3  # a pair with less is none
_LOOK = 0.5  # what the same colours are worth beside an overlap of 1
_GAP = 1.0  # seconds without a box
_SHORT = 1.0  # seconds of a tube that is dropped
_GRID = 4  # cells across and down whose mean colours are a box's look


@dataclass(frozen=True)
class Seen:
    """What a detector found in one picture."""

    boxes: np.ndarray  # (n, 4) x1, y1, x2, y2 in pixels
    scores: np.ndarray  # (n,)
    looks: np.ndarray  # (n, w) unit vectors


@dataclass
class _Track:
    look: np.ndarray
    pictures: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    speed: np.ndarray = field(default_factory=lambda: np.zeros(4, np.float32))  # pixels a picture

    def at(self, number: int) -> np.ndarray:
        """Where its box should be in a picture."""
        found: np.ndarray = self.boxes[-1] + self.speed * (number - self.pictures[-1])
        return found


def look_of(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Mean colours of the cells of a box, (w,) of length 1."""
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(x)) for x in box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)].astype(np.float32)
    rows, columns = (np.array_split(np.arange(side), _GRID) for side in part.shape[:2])
    cells = [part[np.ix_(r, c)].mean(axis=(0, 1)) for r in rows for c in columns if len(r) and len(c)]
    full = np.zeros(_GRID**2 * 3 + 1, np.float32)
    found = np.concatenate(cells)
    full[: len(found)] = found
    full[-1] = 1.0  # of a black box as well
    return full / np.linalg.norm(full)


def linked(pictures: Iterable[Seen], rate: float, frame_rate: float) -> list[tuple[Tube, float]]:
    """Tubes and their mean scores.

    Args:
        rate: pictures a second; picture k shows the time (k + 0.5) / rate.
        frame_rate: of the frames that tubes are numbered by, from 1 on.
    """
    tracks: list[_Track] = []
    active: list[_Track] = []
    for number, seen in enumerate(pictures):
        active = [track for track in active if number - track.pictures[-1] <= _GAP * rate]
        taken = set()
        for place, track in _pairs(active, seen, number):
            _add(track, number, seen, place)
            taken.add(place)
        for place in range(len(seen.boxes)):
            if place not in taken:
                track = _Track(seen.looks[place])
                _add(track, number, seen, place)
                tracks.append(track)
                active.append(track)
    long = [track for track in tracks if track.pictures[-1] + 1 - track.pictures[0] >= _SHORT * rate]
    return [(_tube(track, rate, frame_rate), float(np.mean(track.scores))) for track in long]


def _pairs(active: list[_Track], seen: Seen, number: int) -> list[tuple[int, _Track]]:
    """Boxes and the tubes that they belong to, the best pairs first."""
    if not active or not len(seen.boxes):
        return []
    last = torch.from_numpy(np.stack([track.at(number) for track in active]))
    overlap = box_iou(last[:, None], torch.from_numpy(seen.boxes)[None]).numpy()
    alike = np.stack([track.look for track in active]) @ seen.looks.T
    merit = np.where(overlap >= _OVERLAP, overlap + _LOOK * alike, -np.inf)
    found = []
    while np.isfinite(best := merit.max()) and best > 0:
        track, place = np.unravel_index(int(merit.argmax()), merit.shape)
        found.append((int(place), active[int(track)]))
        merit[track], merit[:, place] = -np.inf, -np.inf
    return found


def _add(track: _Track, number: int, seen: Seen, place: int) -> None:
    if track.boxes:
        moved = (seen.boxes[place] - track.boxes[-1]) / (number - track.pictures[-1])
        track.speed = moved if len(track.boxes) == 1 else 0.7 * track.speed + 0.3 * moved
    track.pictures.append(number)
    track.boxes.append(seen.boxes[place])
    track.scores.append(float(seen.scores[place]))
    track.look = 0.9 * track.look + 0.1 * seen.looks[place]


def _tube(track: _Track, rate: float, frame_rate: float) -> Tube:
    """A box for every frame from the first picture to the last, between pictures in proportion."""
    times = (np.array(track.pictures) + 0.5) / rate
    first = int(times[0] * frame_rate) + 1
    last = max(first, int(times[-1] * frame_rate) + 1)
    frames = np.arange(first, last + 1)
    boxes = np.stack(track.boxes)
    shown = (frames - 0.5) / frame_rate
    filled = np.stack([np.interp(shown, times, boxes[:, side]) for side in range(4)], axis=1)
    return Tube(torch.from_numpy(frames), torch.from_numpy(filled.astype(np.float32)))
