"""A video's snippets, (S, D), rows in time order: read from HDF5 or a folder of NumPy files.

The layout is the one that the benchmarks use: the dataset is called like the video, or lies one
level deeper under a common name (ActivityNet's `v_xyz/c3d_features`); see feature_names.py. Files that
`extract` writes carry attributes as well: see feature_writer.py.
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FeatureError
from .feature_folder import FolderFeatures
from .feature_hdf5 import Hdf5Features

_SAMPLE = 100  # videos
_HUGE = 1e15  # the square of a value that is larger does not leave room for a sum
_BLOCK = 4096  # snippets that are checked at once
_MOST = 1e9  # seconds, or snippets a second: a number that is larger means something else


class FeatureFile:
    """Read access to the snippet features of many videos.

    Args:
        path: an HDF5 file, or a folder with an .npy or .npz file a video.
        names: of several arrays below each video's name, such as rgb and flow, the ones to read, side by
        side.
        rate: snippets a second, where the file does not say so.

    Attributes:
        broken: ids of videos that are there and cannot be read, with why.
        remarks: what a user should know of the file.

    Raises:
        FeatureError: the file is missing, is not HDF5, or holds no features.
    """

    def __init__(
        self, path: str | os.PathLike[str], names: Sequence[str] = (), rate: float | None = None
    ) -> None:
        self.path = Path(path)
        self._names, self._rate = tuple(names), rate
        if not (self.path.is_dir() or self.path.is_file()):
            raise FeatureError(
                f"{self.path}: no such feature file. `mmn-index extract` makes one from video files."
            )
        kind = FolderFeatures if self.path.is_dir() else Hdf5Features
        self._stored: FolderFeatures | Hdf5Features = kind(self.path, names)
        self.broken, self.remarks = self._stored.broken, self._stored.remarks
        if not self._stored.parts and not self.broken:
            raise FeatureError(
                f"{self.path}: holds no features, expected one (snippets, width) dataset a video."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, it is opened again, by another process or machine that sees the file."""
        return (FeatureFile, (os.path.abspath(self.path), self._names, self._rate))

    def __enter__(self) -> "FeatureFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._stored.close()

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._stored.parts

    def __len__(self) -> int:
        return len(self._stored.parts)

    @property
    def video_ids(self) -> list[str]:
        """Ids of all videos that can be looked for, sorted."""
        return sorted(self._stored.parts)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of arrays below each video's, where there are several and none was chosen."""
        return self._stored.kinds

    @property
    def state(self) -> str:
        """Changes when the file does."""
        return self._stored.state

    @property
    def backbone(self) -> str | None:
        """What made the features, where the file says so."""
        return _text(self._stored.attribute(None, "backbone"))

    @property
    def weights(self) -> str | None:
        """SHA-256 of the weights of what made the features, where the file says so."""
        return _text(self._stored.attribute(None, "weights"))

    @property
    def rate(self) -> float | None:
        """Snippets a second, where the file says so, or whoever opened it.

        Raises:
            FeatureError: what it says is no number above 0.
        """
        value = self._stored.attribute(None, "rate")
        if value is None:
            return self._rate
        return self._positive(value, "the file's attribute 'rate'", "snippets a second")

    @cached_property
    def dim(self) -> int:
        """Width D that most videos have, of a sample; `read` checks every video's own.

        Raises:
            FeatureError: no video has features.
        """
        widths: Counter[int] = Counter()
        first: FeatureError | None = None
        ids = self.video_ids
        for video_id in ids[:: max(1, len(ids) // _SAMPLE)]:
            try:
                widths[self.shape(video_id)[1]] += 1
            except FeatureError as error:
                first = first or error
        if not widths:
            raise first or FeatureError(f"{self.path}: none of its videos can be read. {self._why_broken()}")
        return widths.most_common(1)[0][0]

    def duration(self, video_id: str) -> float | None:
        """Seconds of the video: its attribute, else snippets / rate, else None.

        Raises:
            FeatureError: what the file says is no number above 0.
        """
        self._check_known(video_id)
        value = self._stored.attribute(video_id, "duration")
        if value is not None:
            return self._positive(value, f"the attribute 'duration' of video '{video_id}'", "seconds")
        return None if self.rate is None else self.shape(video_id)[0] / self.rate

    def stated(self, video_id: str) -> float | None:
        """Seconds of the video; None where the file does not have it, or does not say it in a way that can be
        used.
        """
        try:
            return self.duration(video_id)
        except FeatureError:
            return None

    def source(self, video_id: str) -> str | None:
        """Path of the video file that the features were made of, where the file says so."""
        self._check_known(video_id)
        return _text(self._stored.attribute(video_id, "source"))

    def about(self, video_id: str) -> dict[str, object]:
        """What the file says of a video, by attribute; feature_writer.py has those of `extract`."""
        self._check_known(video_id)
        return self._stored.attributes(video_id)

    def shape(self, video_id: str) -> tuple[int, int]:
        """Number of snippets and width of a video's features, which are not read.

        Raises:
            FeatureError: unknown video, or features of another form.
        """
        arrays = self._arrays(video_id)
        for array in arrays:
            shape = array.shape or ()  # of an empty dataset there is none
            if len(shape) != 2 or 0 in shape:
                raise FeatureError(
                    f"{self.path}: video '{video_id}' has features of shape {shape}, expected (snippets, "
                    "width)."
                )
            if array.dtype.kind != "f":
                raise FeatureError(
                    f"{self.path}: video '{video_id}' holds {array.dtype} values, expected floats. "
                    "Convert them to float32."
                )
        if len({array.shape[0] for array in arrays}) > 1:
            counts = " and ".join(str(array.shape[0]) for array in arrays)
            raise FeatureError(
                f"{self.path}: the features of video '{video_id}' have {counts} snippets; side by side they "
                "need the same number."
            )
        return int(arrays[0].shape[0]), sum(int(array.shape[1]) for array in arrays)

    def read(
        self, video_id: str, dim: int | None = None, first: int | None = None, last: int | None = None
    ) -> np.ndarray:
        """The snippets of one video, or some of them, which alone are read.

        Args:
            dim: the width D that the model expects; None takes any.
            first, last: snippets first .. last - 1; None is the first one, and the end.

        Returns:
            (S, D) float32, or float64 where that is stored; S >= 1, all finite.

        Raises:
            FeatureError: unknown video, wrong shape or width, snippets that are not there, or values that are
                not finite.
        """
        count = self._check_width(video_id, dim)
        begin, end = 0 if first is None else first, count if last is None else last
        if not 0 <= begin < end <= count:
            raise FeatureError(
                f"{self.path}: video '{video_id}' has {count:,} snippets, and those from {begin:,} to before "
                f"{end:,} were asked for, expected some that are there."
            )
        values = self._values(video_id, begin, end)
        self._refuse(video_id, np.abs(values).max(axis=1), begin)
        return values

    def check(self, video_id: str, dim: int | None = None) -> None:
        """Read one video to find out whether `read` would refuse it, a block at a time, and whether what the
        file says of it can be read.

        Raises:
            FeatureError: as `read`, or its attributes cannot be read.
        """
        count = self._check_width(video_id, dim)
        self._stored.attributes(video_id)
        largest = [
            np.abs(self._values(video_id, begin, min(begin + _BLOCK, count))).max(axis=1)
            for begin in range(0, count, _BLOCK)
        ]
        self._refuse(video_id, np.concatenate(largest), 0)

    def _check_width(self, video_id: str, dim: int | None) -> int:
        """Number of snippets of a video of the right width."""
        count, width = self.shape(video_id)
        if dim is not None and width != dim:
            raise FeatureError(
                f"{self.path}: video '{video_id}' has features of width {width}, expected {dim}. "
                "Was the model trained on other features?"
            )
        return count

    def _values(self, video_id: str, begin: int, end: int) -> np.ndarray:
        try:
            return np.concatenate([_native(array[begin:end]) for array in self._arrays(video_id)], axis=1)
        except (OSError, MemoryError) as error:
            raise FeatureError(
                f"{self.path}: video '{video_id}' cannot be read ({error}). Is the file complete?"
            ) from error

    def _refuse(self, video_id: str, largest: np.ndarray, begin: int) -> None:
        """Refuse values, of which this is the largest of each snippet from `begin` on."""
        if np.isfinite(largest).all() and largest.max() > _HUGE:
            raise FeatureError(
                f"{self.path}: video '{video_id}' has values up to {largest.max():.3g}, too large to be "
                "features. Extract this video again."
            )
        bad = np.flatnonzero(~np.isfinite(largest))
        if len(bad):
            raise FeatureError(
                f"{self.path}: video '{video_id}' has NaN or infinite values in {len(bad)} of {len(largest)} "
                f"snippets (first: snippet {begin + bad[0]}). Extract this video again."
            )

    def _positive(self, value: object, what: str, unit: str) -> float:
        try:
            number = float(np.asarray(value).item())  # one number, in an array or not
        except (TypeError, ValueError):
            number = math.nan
        if not 0 < number < _MOST:
            raise FeatureError(
                f"{self.path}: {what} is {value!s:.60}, expected {unit}, a number above 0 and below "
                f"{_MOST:,.0f}."
            )
        return number

    def _check_known(self, video_id: str) -> None:
        if video_id in self.broken:
            raise FeatureError(f"{self.path}: video '{video_id}' {self.broken[video_id]}.")
        if video_id not in self._stored.parts:
            raise FeatureError(
                f"{self.path}: no features of video '{video_id}' (the file holds {len(self)} videos"
                f"{f', e.g. {self.video_ids[0]!r}' if len(self) else ''}). Do annotations and features "
                "belong together?"
            )

    def _arrays(self, video_id: str) -> list[Any]:
        self._check_known(video_id)
        return self._stored.arrays(video_id)

    def _why_broken(self) -> str:
        video_id, why = next(iter(self.broken.items()))
        return f"Video '{video_id}' {why}."


def _text(value: object) -> str | None:
    """An attribute's text, which some programs keep as bytes."""
    if value is None:
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _native(values: np.ndarray) -> np.ndarray:
    """Floats as torch takes them: in this machine's byte order, of 4 or 8 bytes. Half precision is too short
    to
    sum squares in.
    """
    return values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64, copy=False)
