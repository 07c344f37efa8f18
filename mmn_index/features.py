"""A video's snippets in HDF5: one dataset a video, (S, D), rows in time order.

The layout is the one that the benchmarks use: the dataset is called like the video, or lies one
level deeper under a common name (ActivityNet's `v_xyz/c3d_features`). Files written here carry
attributes as well: `backbone` and `rate` (snippets a second) on the file, `duration` (seconds) and
`source` (path of the video file) on each dataset. This is the only module that touches h5py.
"""

import hashlib
import math
import os
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from .errors import FeatureError, OutputError

_PART = ".h5"
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
            self._names = _dataset_names(self._file)
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


def _dataset_names(file: h5py.File) -> dict[str, str]:
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


class FeatureWriter:
    """Write a file of snippet features so that a killed run loses nothing.

    Each video is first kept as a part of its own in the folder `<path>.parts`; `close` merges the
    parts (and what the file held before) into a new file that replaces the old one in one rename.
    Opened again after a crash, videos whose part is complete count as done.

    Args:
        path: the HDF5 file to write or to extend.
        backbone: what makes the features. A file made by another one is refused.
        rate: snippets a second.

    Raises:
        OutputError: the place cannot be written.
        FeatureError: the file exists and was made by another backbone or at another rate.
    """

    def __init__(self, path: str | os.PathLike[str], *, backbone: str, rate: float) -> None:
        self.path = Path(path)
        self.backbone = backbone
        self.rate = rate
        self._done: set[str] = set()
        if self.path.exists():
            with FeatureFile(self.path) as old:
                if old.backbone != backbone or old.rate != rate:
                    raise FeatureError(
                        f"{self.path}: holds features of {old.backbone} at {old.rate} snippets a second, not "
                        f"of {backbone} "
                        f"at {rate}. Features of two kinds do not mix: choose another file."
                    )
                self._done = set(old.video_ids)
        # The backbone and rate are in the folder's name, so that parts of an earlier run with other ones stay
        # apart.
        tag = "".join(c if c.isalnum() else "-" for c in f"{backbone}@{rate:g}")[-80:]
        self._parts = self.path.with_name(f"{self.path.name}.parts") / tag
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written here ({error.strerror}). Choose another place with -o."
            ) from error
        for leftover in self._parts.glob("*.tmp"):
            leftover.unlink()
        for part in self._parts.glob(f"*{_PART}"):
            with h5py.File(part, "r") as held:
                self._done.update(_dataset_names(held))

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # Whatever stopped the run, finished videos are kept as parts; only a clean end publishes them.
        if kind is None:
            self.close()

    @property
    def done(self) -> set[str]:
        """Ids of the videos that need no work: in the file already, or complete parts of an earlier run."""
        return set(self._done)

    def add(self, video_id: str, snippets: np.ndarray, *, duration: float, source: str) -> None:
        """Keep one video's snippets, (S, D) float32, durably.

        Raises:
            FeatureError: the array is not (S, D) with S >= 1, or holds values that are not finite.
            OutputError: the disk refused.
        """
        if snippets.ndim != 2 or len(snippets) == 0 or not np.isfinite(snippets).all():
            raise FeatureError(
                f"{source}: made features of shape {snippets.shape} that are empty or not finite."
            )
        name = hashlib.sha256(video_id.encode()).hexdigest()[
            :32
        ]  # an id may hold "/" or be longer than a file name
        aside = self._parts / f"{name}.tmp"
        try:
            with h5py.File(aside, "w") as part:
                part.attrs["backbone"] = self.backbone
                dataset = part.create_dataset(video_id, data=snippets.astype(np.float32))
                dataset.attrs.update({"duration": float(duration), "source": source})
            aside.replace(self._parts / f"{name}{_PART}")
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise OutputError(
                f"{aside}: cannot be written ({error}). Free some space and run the same command again."
            ) from error
        self._done.add(video_id)

    def close(self) -> None:
        """Merge all parts into the file and drop them.

        Raises:
            OutputError: the disk refused; the old file and the parts are kept.
        """
        parts = sorted(self._parts.glob(f"*{_PART}"))
        aside = self.path.with_name(f"{self.path.name}.tmp")
        try:
            if parts:
                with h5py.File(aside, "w") as new:
                    new.attrs.update({"backbone": self.backbone, "rate": self.rate})
                    for path in [self.path, *parts] if self.path.exists() else parts:
                        with h5py.File(path, "r") as old:
                            for name in _dataset_names(old):
                                if name not in new:
                                    old.copy(old[name], new, name)
                aside.replace(self.path)
            for part in self._parts.iterdir():
                part.unlink()
            self._parts.rmdir()
            if not any(self._parts.parent.iterdir()):
                self._parts.parent.rmdir()
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise OutputError(
                f"{self.path}: cannot be written ({error}). The finished videos are kept in {self._parts}: "
                "run the same command again."
            ) from error
