"""Sentences with the tube that each describes, in HC-STVG's form:

    {"video.mp4": {"bbox": [[x, y, w, h], ...], "st_frame": 31, "ed_frame": 74, "English": "he sits down"}}

A box a frame from st_frame to ed_frame, both included, frames counted from 1. A video has one sentence.
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ..errors import AnnotationError
from ..tubes import Tube
from .annotation_forms import read_json

_FORM = "Expected HC-STVG's {video: {bbox: [[x, y, w, h], ...], st_frame, ed_frame, English}}, a box a frame."

_MOST = 1 << 31  # frames


@dataclass(frozen=True)
class TubeTruth:
    """A video's sentence and the tube that it describes."""

    video_id: str
    sentence: str
    tube: Tube

    @property
    def sentences(self) -> tuple[str, ...]:
        """Its only one, as an annotated video has several."""
        return (self.sentence,)


@dataclass(frozen=True)
class TubeTruths:
    """One split, videos in the order of their ids."""

    path: Path
    videos: tuple[TubeTruth, ...]
    cut: int = 0  # sentences that were cut to what a text encoder reads

    @property
    def cut_remark(self) -> str:
        """How many sentences are cut, for people; empty where none is."""
        if not self.cut:
            return ""
        return f"{self.path}: {self.cut:,} sentences are longer than the text encoder reads, and are cut."

    @property
    def digest(self) -> str:
        """Of all that it says of its videos."""
        found = hashlib.sha256()
        for video in self.videos:
            found.update(repr((video.video_id, video.sentence)).encode("utf-8", "surrogatepass"))
            found.update(video.tube.frames.numpy().tobytes() + video.tube.boxes.numpy().tobytes())
        return found.hexdigest()[:16]

    def worded(self, shortened: Callable[[Sequence[str]], list[str]]) -> "TubeTruths":
        """The same with sentences that a text encoder can read, see SentenceTokenizer.shortened."""
        sentences = shortened([video.sentence for video in self.videos])
        pairs = zip(self.videos, sentences, strict=True)
        videos = tuple(replace(video, sentence=sentence) for video, sentence in pairs)
        cut = sum(a.sentence != b.sentence for a, b in zip(self.videos, videos, strict=True))
        return replace(self, videos=videos, cut=cut)


def read_truths(path: str | os.PathLike[str]) -> TubeTruths:
    """Read one split. A video's id is its file's name without the extension.

    Raises:
        AnnotationError: the file is missing or has another form; the message names the video.
    """
    path = Path(path)
    found: dict[str, TubeTruth] = {}
    for name, entry in sorted(read_json(path).items()):
        video_id = str(PurePosixPath(name).with_suffix("")) if name else ""
        where = f"{path}: video '{name}'"
        if not video_id or video_id in found:
            raise AnnotationError(f"{where}: has an empty name, or one that another video has too.")
        if not isinstance(entry, dict):
            raise AnnotationError(f"{where}: is {type(entry).__name__}. {_FORM}")
        sentence = entry.get("English")
        if not isinstance(sentence, str) or not sentence.strip():
            raise AnnotationError(f"{where}: has no sentence (English is {sentence!r}). {_FORM}")
        found[video_id] = TubeTruth(video_id, sentence.strip(), _tube(entry, where))
    if not found:
        raise AnnotationError(f"{path}: holds no video. {_FORM}")
    return TubeTruths(path, tuple(found.values()))


def _tube(entry: dict[str, Any], where: str) -> Tube:
    first, last, boxes = (entry.get(key) for key in ("st_frame", "ed_frame", "bbox"))
    if not (isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < _MOST):
        raise AnnotationError(
            f"{where}: st_frame is {first!r} and ed_frame {last!r}, expected two frames in order. {_FORM}"
        )
    if not isinstance(boxes, list) or not all(map(_is_box, boxes)):
        raise AnnotationError(f"{where}: bbox is no list of x, y, w, h with w and h of 0 or more. {_FORM}")
    if len(boxes) != last - first + 1:
        raise AnnotationError(
            f"{where}: has {len(boxes)} boxes for the frames {first} to {last}, expected "
            f"{last - first + 1}. {_FORM}"
        )
    corners = torch.tensor(boxes, dtype=torch.float32)
    corners[:, 2:] += corners[:, :2]
    return Tube(torch.arange(first, last + 1), corners)


def _is_box(box: Any) -> bool:
    numbers = isinstance(box, list) and len(box) == 4
    if not numbers or any(isinstance(x, bool) or not isinstance(x, (int, float)) for x in box):
        return False
    return all(map(math.isfinite, box)) and min(box[2:]) >= 0
