"""A video's snippets in HDF5: one dataset a video, (S, D), rows in time order.

The layout is the one that the benchmarks use: the dataset is called like the video, or lies one
level deeper under a common name (ActivityNet's `v_xyz/c3d_features`). Files written here carry
attributes as well: `backbone` and `rate` (snippets a second) on the file, `duration` (seconds) and
`source` (path of the video file) on each dataset; see feature_writer.py.
"""

import math
import os
from pathlib import Path

import h5py
import numpy as np

from .errors import FeatureError

_MOST = 1e9  # seconds, or snippets a second: a number that is larger means something else


class FeatureFile:
    """Read access to a file of snippet features.

    Args:
        path: the HDF5 file.

    Raises:
        FeatureError: the file is missing, is not HDF5, or holds no features.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FeatureError(
                f"{self.path}: no such feature file. `mmn-index extract` makes one from video files."
            )
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise FeatureError(f"{self.path}: cannot be read as HDF5 ({error}). Is it complete?") from error
        try:
            self._names = dataset_names(self._file)
        except (OSError, RuntimeError) as error:
            raise FeatureError(
                f"{self.path}: its table of contents cannot be read ({error}). Is it complete?"
            ) from error
        if not self._names:
            raise FeatureError(
                f"{self.path}: holds no features, expected one (snippets, width) dataset a video."
            )

    def __enter__(self) -> "FeatureFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._file.close()

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._names

    def __len__(self) -> int:
        return len(self._names)

    @property
    def video_ids(self) -> list[str]:
        """Ids of all videos, sorted."""
        return sorted(self._names)

    @property
    def backbone(self) -> str | None:
        """What made the features, where the file says so."""
        value = self._file.attrs.get("backbone")
        return None if value is None else str(value)

    @property
    def rate(self) -> float | None:
        """Snippets a second, where the file says so.

        Raises:
            FeatureError: what it says is no number above 0.
        """
        value = self._file.attrs.get("rate")
        return (
            None
            if value is None
            else self._positive(value, "the file's attribute 'rate'", "snippets a second")
        )

    @property
    def dim(self) -> int:
        """Width D of the first video's features; `read` checks every video's own."""
        return self._shape(self.video_ids[0])[1]

    def duration(self, video_id: str) -> float | None:
        """Seconds of the video: its attribute, else snippets / rate, else None.

        Raises:
            FeatureError: what the file says is no number above 0.
        """
        dataset = self._dataset(video_id)
        if "duration" in dataset.attrs:
            return self._positive(
                dataset.attrs["duration"], f"the attribute 'duration' of video '{video_id}'", "seconds"
            )
        return None if self.rate is None else self._shape(video_id)[0] / self.rate

    def source(self, video_id: str) -> str | None:
        """Path of the video file that the features were made of, where the file says so."""
        value = self._dataset(video_id).attrs.get("source")
        return None if value is None else str(value)

    def read(self, video_id: str, dim: int | None = None) -> np.ndarray:
        """The snippets of one video.

        Args:
            dim: the width D that the model expects; None takes any.

        Returns:
            (S, D) floats as stored, S >= 1, all finite.

        Raises:
            FeatureError: unknown video, wrong shape or width, or values that are not finite.
        """
        shape = self._shape(video_id)
        if dim is not None and shape[1] != dim:
            raise FeatureError(
                f"{self.path}: video '{video_id}' has features of width {shape[1]}, expected {dim}. "
                "Was the model trained on other features?"
            )
        try:
            values: np.ndarray = self._dataset(video_id)[()]
        except OSError as error:
            raise FeatureError(
                f"{self.path}: video '{video_id}' cannot be read ({error}). Is the file complete?"
            ) from error
        if not np.issubdtype(values.dtype, np.floating):
            raise FeatureError(
                f"{self.path}: video '{video_id}' holds {values.dtype} values, expected floats."
            )
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise FeatureError(
                f"{self.path}: video '{video_id}' has NaN or infinite values in {len(bad)} of {len(values)} "
                f"snippets (first: snippet {bad[0]}). Extract this video again."
            )
        return values

    def _positive(self, value: object, what: str, unit: str) -> float:
        try:
            number = float(value) if np.ndim(value) == 0 else math.nan  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not 0 < number < _MOST:
            raise FeatureError(f"{self.path}: {what} is {value!r:.60}, expected {unit}, a number above 0.")
        return number

    def _dataset(self, video_id: str) -> h5py.Dataset:
        if video_id not in self._names:
            raise FeatureError(
                f"{self.path}: no features of video '{video_id}' (the file holds {len(self._names)} videos, "
                f"e.g. '{self.video_ids[0]}'). Do annotations and features belong together?"
            )
        return self._file[self._names[video_id]]

    def _shape(self, video_id: str) -> tuple[int, int]:
        shape: tuple[int, ...] = self._dataset(video_id).shape or ()  # of an empty dataset there is none
        if len(shape) != 2 or shape[0] == 0 or shape[1] == 0:
            raise FeatureError(
                f"{self.path}: video '{video_id}' has features of shape {shape}, expected (snippets, width)."
            )
        return int(shape[0]), int(shape[1])


def dataset_names(file: h5py.File) -> dict[str, str]:
    """Video id -> name of its dataset.

    In files from elsewhere, a last name that all datasets share (`v_1/c3d_features`) is no part of the id. In
    files written here it is: `porch/cam1` is a video of its own even where no other is called otherwise.
    """
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    last = {name.rpartition("/")[2] for name in names}
    if "backbone" not in file.attrs and len(last) == 1 and all("/" in name for name in names):
        return {name.rpartition("/")[0]: name for name in names}
    return {name: name for name in names}
