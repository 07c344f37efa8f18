"""Boxes of tubes that any detector and tracker may have found, read from json:

    {"VIDEO": {"width": 640, "height": 360, "rate": 25.0, "frames": 500,
               "tubes": [{"first": 1, "boxes": [[x1, y1, x2, y2], ...], "score": 0.9}, ...]}}

Pixels of a picture of that width and height; a box a frame without gaps, frames counted from 1; `score` may
be missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import AnnotationError
from ..evaluation.row_files import read_keyed
from ..tube_file import Footage
from ..tubes import Tube

_WIDEST = 1 << 14  # pixels
_LARGEST = 10_000_000  # number of a frame, coordinate
_CONTENT = "{video: {width, height, rate, frames, tubes: [{first, boxes: [[x1, y1, x2, y2], ...]}]}}"
_FORM = f"Expected {_CONTENT}."


@dataclass(frozen=True)
class Boxes:
    """A video's pictures, and tubes with their scores."""

    footage: Footage
    tubes: Sequence[tuple[Tube, float]]


def read_boxes(path: Path) -> dict[str, Boxes]:
    """By video.

    Raises:
        AnnotationError: the file is missing or has another form; the message names the video.
    """
    return {
        name: _boxes(entry, f"{path}: video '{name}'") for name, entry in read_keyed(path, _CONTENT).items()
    }


def _boxes(entry: Any, where: str) -> Boxes:
    if not isinstance(entry, dict) or not isinstance(entry.get("tubes"), list):
        raise AnnotationError(f"{where}: has no list of tubes. {_FORM}")
    numbers: dict[str, Any] = {name: entry.get(name) for name in ("width", "height", "rate", "frames")}
    if not all(_number(value) for value in numbers.values()):
        raise AnnotationError(f"{where}: width, height, rate and frames are no numbers that can be. {_FORM}")
    width, height, rate, frames = (float(value) for value in numbers.values())
    fits = min(width, height, frames) >= 1 and max(width, height) <= _WIDEST and 0.01 <= rate <= 1000
    if not fits:
        raise AnnotationError(
            f"{where}: says {width:g} x {height:g} pixels, {frames:g} frames, {rate:g} a second; expected at "
            f"least 1, at most {_WIDEST} pixels, and 0.01 to 1000 frames a second. {_FORM}"
        )
    footage = Footage(round(width), round(height), rate, round(frames))
    return Boxes(footage, [_tube(tube, f"{where}: tube {n}") for n, tube in enumerate(entry["tubes"])])


def _tube(entry: Any, where: str) -> tuple[Tube, float]:
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: is {type(entry).__name__}. {_FORM}")
    first, boxes, score = entry.get("first"), entry.get("boxes"), entry.get("score", 1.0)
    if not isinstance(first, int) or not 0 <= first <= _LARGEST or not _number(score):
        raise AnnotationError(f"{where}: first is {first!r} and score {score!r}. {_FORM}")
    if not isinstance(boxes, list) or not boxes or not all(map(_is_box, boxes)):
        raise AnnotationError(f"{where}: has no boxes x1, y1, x2, y2 with x1 <= x2 and y1 <= y2. {_FORM}")
    return Tube(torch.arange(first, first + len(boxes)), torch.tensor(boxes, dtype=torch.float32)), float(
        score
    )


def _number(value: Any) -> bool:
    # Whole numbers of json have any size; what is compared here becomes no float first.
    return type(value) in (int, float) and abs(value) <= _LARGEST  # nan is no less than anything


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(map(_number, box))
        and box[0] <= box[2]
        and box[1] <= box[3]
    )
