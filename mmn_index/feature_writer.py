"""A file of snippet features, written so that a killed run loses nothing. It is read by features.py."""

import hashlib
import os
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from .errors import FeatureError, OutputError
from .features import FeatureFile, dataset_names

_PART = ".h5"


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
                self._done.update(dataset_names(held))

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
                            for name in dataset_names(old):
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
