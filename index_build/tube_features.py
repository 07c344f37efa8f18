"""Tubes of a video and what a backbone makes of them: of the pictures cut to a tube's boxes, and of the whole
pictures of the same time.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import VideoError
from ..tube_file import Footage, FoundTube
from ..tubes import Tube
from ..video.backbones import Backbone
from ..video.decode import FrameWalk, frames_at_rate
from ..video.picture import fitted
from .boxes import Boxes

_LONGEST = 60.0  # seconds of a tube; a longer one is cut evenly, for a map has few clips
_MARGIN = 0.15  # of a box's sides, that is cut out around it on each side
_NEAR, _FAR = 1.0, 0.1  # seconds, and share of the longer: what two lengths of one video may differ


def described_tubes(path: Path, given: Boxes, backbone: Backbone) -> list[FoundTube]:
    """A video's tubes with their features, in pieces (`pieces`); those without a picture are left out.

    Raises:
        VideoError: the video cannot be decoded or is of another length, or the backbone makes values of it
            that are not finite.
    """
    footage, rate = given.footage, backbone.rate * backbone.frames_per_snippet
    tubes = pieces(given)
    crops: dict[int, list[np.ndarray]] = {}  # of the tubes that have begun and not yet ended
    spans: dict[int, tuple[int, int]] = {}  # the first picture of each tube, and how many there are
    made: dict[int, Tensor] = {}

    def ended(place: int, first: int) -> None:
        cut = crops.pop(place)
        spans[place], made[place] = (first, len(cut)), _features(path, backbone, iter(cut))

    def pictures(walk: FrameWalk) -> Iterator[np.ndarray]:
        began: dict[int, int] = {}
        for number, picture in enumerate(walk):
            frame = math.floor((number + 0.5) / rate * footage.rate) + 1
            for place, (tube, _) in enumerate(tubes):
                if tube.first <= frame <= tube.last:
                    began.setdefault(place, number)
                    box = tube.boxes[frame - tube.first]
                    crops.setdefault(place, []).append(_cut_out(picture, box, backbone))
                elif place in crops:
                    ended(place, began[place])
            yield fitted(picture, backbone.size)
        for place in list(crops):
            ended(place, began[place])

    walk = frames_at_rate(path, rate, size=(footage.width, footage.height))
    try:
        whole = _features(path, backbone, pictures(walk))
    finally:
        walk.close()
    _check_length(path, footage, walk.duration)
    found, step = [], backbone.frames_per_snippet
    for place in sorted(made):
        (tube, score), (first, count) = tubes[place], spans[place]
        rows = slice(first // step, -(-(first + count) // step))
        found.append(FoundTube(tube, score, (made[place], whole[rows])))
    return found


def _features(path: Path, backbone: Backbone, pictures: Iterator[np.ndarray]) -> Tensor:
    made = np.concatenate(list(backbone(pictures)))
    if not np.isfinite(made).all():
        raise VideoError(f"{path}: {backbone.name} made values of it that are not finite.")
    return torch.from_numpy(made)


def _cut_out(picture: np.ndarray, box: Tensor, backbone: Backbone) -> np.ndarray:
    """What lies in and around a box, in the shape that the backbone takes, at its size."""
    left, top, right, bottom = box.tolist()
    width, height = (right - left) * (1 + 2 * _MARGIN), (bottom - top) * (1 + 2 * _MARGIN)
    shape = backbone.size.width / backbone.size.height
    width, height = max(width, height * shape), max(height, width / shape)
    across, down = (left + right) / 2, (top + bottom) / 2
    begin = max(0, round(across - width / 2)), max(0, round(down - height / 2))
    end = round(across + width / 2), round(down + height / 2)
    part = picture[begin[1] : max(end[1], 0), begin[0] : max(end[0], 0)]
    return fitted(part if part.size else picture, backbone.size)


def pieces(given: Boxes) -> list[tuple[Tube, float]]:
    """Tubes as they are described, with their scores: where a tube's boxes leave the picture it ends, and
    where they come back another one begins; long ones are cut into parts of equal length.
    """
    return [
        (part, score)
        for tube, score in given.tubes
        for inside in _inside(tube, given.footage)
        for part in _parts(inside, given.footage.rate)
    ]


def _inside(tube: Tube, footage: Footage) -> list[Tube]:
    left, top, right, bottom = tube.boxes.unbind(dim=1)
    out = (right <= 0) | (bottom <= 0) | (left >= footage.width) | (top >= footage.height)
    edges = [-1, *out.nonzero()[:, 0].tolist(), len(tube)]
    return [tube.rows(before + 1, end) for before, end in pairwise(edges) if before + 1 < end]


def _parts(tube: Tube, rate: float) -> list[Tube]:
    count = min(len(tube), max(1, math.ceil(len(tube) / (_LONGEST * rate))))
    edges = [round(number * len(tube) / count) for number in range(count + 1)]
    return [tube.rows(begin, end) for begin, end in pairwise(edges)]


def _check_length(path: Path, footage: Footage, seconds: float) -> None:
    """Frames of another copy would show other times of this one."""
    said = footage.frames / footage.rate
    if abs(said - seconds) > max(_NEAR, _FAR * max(said, seconds)):
        raise VideoError(
            f"{path}: lasts {seconds:,.1f} seconds, but the boxes are of {footage.frames:,} frames at "
            f"{footage.rate:g} a second, so {said:,.1f} seconds. Are they of another copy, or is the rate "
            "wrong?"
        )
