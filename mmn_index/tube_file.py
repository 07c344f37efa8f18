"""Tubes of videos with their features, in HDF5.

    attributes           format = "mmn-index tubes", version = 1, backbone (name of the features, if known)
    VIDEO                a group; attributes width, height (pixels), rate (frames a second), frames; may
                         be missing: source, the path of its file (origin.py), and made_of, what tells whether
                         it would be made otherwise today
    VIDEO/0, VIDEO/1 ..  a group a tube; attributes first (number of its first frame, from 1 on), score
    VIDEO/0/boxes        (n, 4) float32, x1, y1, x2, y2 in pixels, one row a frame without gaps
    VIDEO/0/features     (S, D) floats, rows spread evenly over the tube; or features_0, features_1, ...:
                         streams that are averaged each by itself and then joined

In names of videos "/" is %2F and "%" is %25. Nothing but what lies in the file itself is read: links, and
values that lie in other files, are refused.
"""

import math
import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import h5py
import numpy as np
import torch
from torch import Tensor

from .config import ModelConfig
from .errors import FeatureError
from .feature_hdf5 import TUBES_FORMAT
from .tube_map import tube_pre_clips
from .tubes import Tube

VERSION = 1
_MADE_BY = "`mmn-index tubes` makes one of video files."
_LONGEST = 1 << 24  # frames of a tube
_RATES = 0.01, 1000.0  # frames a second
_SAMPLE = 16  # videos whose widths are compared
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")  # the name of a tube


@dataclass(frozen=True)
class Footage:
    """What is known of a video's pictures."""

    width: int  # pixels
    height: int
    rate: float  # frames a second
    frames: int


@dataclass(frozen=True)
class FoundTube:
    """A tube of a video with its features."""

    tube: Tube
    score: float
    streams: tuple[Tensor, ...]  # (S, D) float32 each

    def within(self, first: int, last: int) -> "FoundTube | None":
        """What of it lies on frames first .. last, with the rows of features that touch them; None where
        nothing does.
        """
        begin, end = max(first - self.tube.first, 0), min(last + 1 - self.tube.first, len(self.tube))
        if begin >= end:
            return None
        count = len(self.tube)
        rows = (slice(begin * len(s) // count, -(-end * len(s) // count)) for s in self.streams)
        cut = tuple(stream[row] for stream, row in zip(self.streams, rows, strict=True))
        return FoundTube(self.tube.rows(begin, end), self.score, cut)


class TubeFile:
    """A file of tubes, open for reading.

    Attributes:
        video_ids: all videos of the file, in the order of their names.
        backbone: what made the features, if the file says so.

    Raises:
        FeatureError: the file is missing, or is no file of tubes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            found = "is a folder" if self.path.is_dir() else "no such file"
            raise FeatureError(f"{self.path}: {found}, expected a file of tubes. {_MADE_BY}")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise FeatureError(
                f"{self.path}: cannot be read as HDF5 ({reason_of(error)}), expected a file of tubes. "
                f"{_MADE_BY}"
            ) from error
        try:
            about = dict(self._file.attrs)
            names = list(self._file)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            self._file.close()
            raise FeatureError(
                f"{self.path}: its table of contents cannot be read. Is it complete?"
            ) from error
        # A list may stand there, too.
        if not (
            np.array_equal(about.get("format", ""), TUBES_FORMAT)
            and np.array_equal(about.get("version", ""), VERSION)
        ):
            self._file.close()
            if "format" not in about:
                raise FeatureError(
                    f"{self.path}: is no file of tubes. Are these snippet features of whole videos "
                    f"(`mmn-index extract`)? {_MADE_BY}"
                )
            raise FeatureError(
                f"{self.path}: has the format {about.get('format')!r}, version {about.get('version')!r}, "
                f"expected '{TUBES_FORMAT}', version {VERSION}. Is it a file of tubes?"
            )
        backbone = about.get("backbone")
        self.backbone = backbone if isinstance(backbone, str) else None
        self._ids = frozenset(unquote(name) for name in names if isinstance(name, str))
        self.video_ids = tuple(sorted(self._ids))
        self._last: tuple[str, h5py.Group, list[str]] | None = None  # the video that was asked for last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._ids

    def footage(self, video_id: str) -> Footage:
        """What is known of a video's pictures.

        Raises:
            FeatureError: there is no such video, or it is damaged.
        """
        where = self._named(video_id)
        group = self._group(self._file, stored(video_id), where)
        numbers = {name: _attribute(group, name, where) for name in Footage.__annotations__}
        width, height, rate, frames = numbers.values()
        slow, fast = _RATES
        if min(width, height, frames) < 1 or not slow <= rate <= fast:
            raise FeatureError(
                f"{where}: says {width:g} x {height:g} pixels, {frames:g} frames, {rate:g} a second; "
                f"expected at least 1, and {slow:g} to {fast:g} frames a second."
            )
        return Footage(int(width), int(height), rate, int(frames))

    def made_of(self, video_id: str) -> str | None:
        """What the video's tubes were made of, if the file says so.

        Raises:
            FeatureError: there is no such video.
        """
        return self._text(video_id, "made_of")

    def source(self, video_id: str) -> str | None:
        """The path of the video's file as text (`origin.path_of` makes a path of it), if the file says so.

        Raises:
            FeatureError: there is no such video.
        """
        return self._text(video_id, "source")

    def tubes(self, video_id: str, *, features: bool = True) -> list[FoundTube]:
        """The tubes of a video, in the order of their numbers; there may be none.

        Args:
            features: read those, too; else the tubes have none.

        Raises:
            FeatureError: there is no such video, or a tube is damaged.
        """
        return [self.tube(video_id, place, features=features) for place in range(len(self.numbers(video_id)))]

    def numbers(self, video_id: str) -> list[int]:
        """The numbers of a video's tubes, ascending; some may be missing.

        Raises:
            FeatureError: there is no such video.
        """
        return [int(name) for name in self._numbers(video_id)[1]]

    def tube(self, video_id: str, place: int, *, features: bool = True) -> FoundTube:
        """One of the tubes of a video, in the order of their numbers, counted from 0.

        Raises:
            FeatureError: there is no such video, or the tube is damaged.
        """
        group, names = self._numbers(video_id)
        where = f"{self._named(video_id)}: tube {names[place]}"
        return self._tube(group, names[place], where, features=features)

    def pre_clips(self, video_id: str, found: FoundTube, config: ModelConfig) -> Tensor:
        """A tube's pre-clips, (M, D) float32.

        Raises:
            FeatureError: its features are of another width than the model's.
        """
        made = tube_pre_clips(found.streams, config.num_pre_clips)
        if made.shape[1] != config.input_dim:
            raise FeatureError(
                f"{self._named(video_id)}: has a tube with features of width {made.shape[1]}, the model "
                f"expects {config.input_dim}."
            )
        return made

    @cached_property
    def dim(self) -> int:
        """Width of the features, streams joined, of most of some videos; 0 where no tube can be read."""
        widths: Counter[int] = Counter()
        for video_id in self.video_ids:
            with suppress(FeatureError):  # whoever reads the video says it
                if self.numbers(video_id):
                    widths[sum(stream.shape[1] for stream in self.tube(video_id, 0).streams)] += 1
            if widths.total() == _SAMPLE:
                break
        return widths.most_common(1)[0][0] if widths else 0

    def _text(self, video_id: str, name: str) -> str | None:
        where = self._named(video_id)
        try:
            found = self._group(self._file, stored(video_id), where).attrs.get(name)
        except (OSError, RuntimeError) as error:
            raise FeatureError(f"{where}: {name} cannot be read ({reason_of(error)}).") from error
        return found if isinstance(found, str) else None

    def _numbers(self, video_id: str) -> tuple[h5py.Group, list[str]]:
        """The group of a video, and the names of its tubes in the order of their numbers."""
        if self._last is not None and self._last[0] == video_id:  # all of its tubes are asked for in turn
            return self._last[1:]
        where = self._named(video_id)
        group = self._group(self._file, stored(video_id), where)
        try:
            names = [str(name) for name in group]
        except (OSError, RuntimeError) as error:
            raise FeatureError(f"{where}: its tubes cannot be listed ({reason_of(error)}).") from error
        for name in names:
            if not _NUMBER.fullmatch(name):
                raise FeatureError(f"{where}: holds {name!r:.60}, expected tubes alone, '0', '1', and so on.")
        names.sort(key=int)
        self._last = video_id, group, names
        return group, names

    def _named(self, video_id: str) -> str:
        return f"{self.path}: video '{video_id}'"

    def _group(self, parent: h5py.Group, name: str, where: str) -> h5py.Group:
        try:
            link = parent.get(name, getlink=True)
            if link is None:
                raise FeatureError(f"{where}: is not there.")
            if not isinstance(link, h5py.HardLink):
                raise FeatureError(f"{where}: is a link. Links are not followed: copy what it leads to.")
            found = parent[name]
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise FeatureError(f"{where}: cannot be read ({reason_of(error)}).") from error
        if not isinstance(found, h5py.Group):
            raise FeatureError(f"{where}: is an array, expected a group.")
        return found

    def _tube(self, video: h5py.Group, name: str, where: str, *, features: bool) -> FoundTube:
        group = self._group(video, name, where)
        boxes = self._array(group, "boxes", where)
        first, score = _attribute(group, "first", where), _attribute(group, "score", where, 1.0)
        if boxes.shape[1] != 4 or not 0 <= first <= _LONGEST or first != int(first):
            raise FeatureError(
                f"{where}: boxes of shape {tuple(boxes.shape)} from frame {first:g} on, expected (n, 4) from "
                "a whole number on."
            )
        if bool((boxes[:, 2:] < boxes[:, :2]).any()):
            raise FeatureError(
                f"{where}: has boxes whose end is before their start; they are x1, y1, x2, y2."
            )
        tube = Tube(torch.arange(int(first), int(first) + len(boxes)), boxes)
        return FoundTube(tube, score, self._streams(group, where) if features else ())

    def _streams(self, group: h5py.Group, where: str) -> tuple[Tensor, ...]:
        """The features of a tube."""
        try:
            keys = [str(key) for key in group]
        except (OSError, RuntimeError) as error:
            raise FeatureError(f"{where}: cannot be read ({reason_of(error)}).") from error
        names = sorted(key for key in keys if key == "features" or key.startswith("features_"))
        if not names:
            raise FeatureError(f"{where}: has no features.")
        return tuple(self._array(group, key, where) for key in names)

    def _array(self, group: h5py.Group, name: str, where: str) -> Tensor:
        """A matrix of numbers, (n, m) float32, n at least 1."""
        try:
            link = group.get(name, getlink=True)
            found = group[name] if isinstance(link, h5py.HardLink) else None
            if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
                raise FeatureError(f"{where}: has no {name} of its own; links are not followed.")
            if found.ndim != 2 or not 0 < len(found) <= _LONGEST or found.dtype.kind not in "fiu":
                raise FeatureError(
                    f"{where}: {name} are {found.dtype} of shape {found.shape}, expected numbers, (n, m)."
                )
            with np.errstate(over="ignore"):  # what float32 cannot hold is not finite
                values = found[()].astype(np.float32)
        except (KeyError, OSError, RuntimeError, ValueError, MemoryError) as error:
            raise FeatureError(f"{where}: {name} cannot be read ({reason_of(error)}).") from error
        if not np.isfinite(values).all():
            raise FeatureError(f"{where}: {name} hold values that are not finite.")
        return torch.from_numpy(values)


def is_tube_file(path: Path) -> bool:
    """Whether it is a file of tubes, of whatever version."""
    try:
        with h5py.File(path, "r") as file:
            return np.array_equal(file.attrs.get("format"), TUBES_FORMAT)
    except (OSError, RuntimeError):
        return False


def stored(video_id: str) -> str:
    """A video's id as the name of a group: "/" would make a group in a group."""
    return video_id.replace("%", "%25").replace("/", "%2F")


def _attribute(group: h5py.Group, name: str, where: str, default: float | None = None) -> float:
    try:
        value = group.attrs.get(name, default)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise FeatureError(f"{where}: {name} cannot be read ({reason_of(error)}).") from error
    if isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value):
        return float(value)
    raise FeatureError(f"{where}: {name} is {value!r:.60}, expected a number.")


def reason_of(error: Exception) -> str:
    """What an error of HDF5 says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error.args[0] if error.args else error).strip("'\"").splitlines()[0]
