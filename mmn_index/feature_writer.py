"""A file of snippet features, written so that a killed run loses nothing. It is read by features.py.

Beside `duration` and `source`, each dataset has the attributes `size` (bytes) and `modified` (nanoseconds
since 1970) of the file that was described, so that a later run knows whether it is still the same. It has
`stated` (seconds) where the file states much more than could be decoded, and what the file says of its
recording (`recorded`, `camera`, `width`, `height`, `fps`) with its `content_hash`.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from .errors import BusyError, FeatureError, OutputError
from .feature_part import NOTE, PartPlace, blocks, drop, sources
from .feature_shards import shard_files
from .features import FeatureFile
from .made_by import is_other, other_weights
from .origin import Origin, path_of
from .places import Hold, check_file, is_held

_PART = ".h5"
About = Mapping[str, str | int | float]


def check_free(path: Path) -> None:
    """Refuse a feature file into which another process writes, before any work.

    Raises:
        BusyError: one does.
    """
    if is_held(_all_parts(path)):
        raise BusyError(_busy(path))


def _all_parts(path: Path) -> Path:
    return path.with_name(f"{path.name}.parts")


def _busy(path: Path) -> str:
    return (
        f"{path}: another process extracts into this file. Wait until it has finished, or choose another "
        "file with -o."
    )


class FeatureWriter:
    """Write a file of snippet features so that a killed run loses nothing.

    Each video is first kept as a part of its own in the folder `<path>.parts`; `close` merges the
    parts (and what the file held before) into a new file that replaces the old one in one rename.
    Opened again after a crash, videos whose part is complete count as done. So do those in files of shares
    beside it (feature_shards.py), which `close` merges, too. The snippets of a video may come
    in blocks, also from another process (`part`, `finish`). One process writes parts into files at a time.

    Args:
        path: the HDF5 file to write or to extend.
        backbone: what makes the features. A file made by another one is refused.
        rate: snippets a second.
        weights: SHA-256 of the backbone's weights. Where both are known it decides, and not the name.
        whole: a file whose videos count as done, too; it is left as it is.

    Raises:
        OutputError: the place cannot be written.
        BusyError: another process writes there.
        FeatureError: the file exists and was made by another backbone or at another rate.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        backbone: str,
        rate: float,
        weights: str | None = None,
        whole: Path | None = None,
    ) -> None:
        self.path = Path(path)
        self.backbone = backbone
        self.rate = rate
        self.weights = weights
        self._origins: dict[str, Origin] = {}
        all_parts = _all_parts(self.path)
        # The backbone and rate are in the folder's name, so that parts of an earlier run with other ones stay
        # apart.
        tag = "".join(c if c.isalnum() else "-" for c in f"{backbone}@{rate:g}{(weights or '')[:16]}")[-80:]
        self._parts = all_parts / tag
        self._hold = Hold(all_parts, _busy(self.path))
        try:
            check_file(self.path)
            self._shares = self._complete_shares()
            for held in (*([] if whole is None else [whole]), *self._shares, self.path):
                self._origins |= self._read_file(held)
            self._origins |= self._read_parts()
        except BaseException:
            self._leave()
            raise

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # Whatever stopped the run, finished videos are kept as parts; only a clean end publishes them.
        try:
            if kind is None:
                self.close()
        finally:
            self._leave()

    @property
    def done(self) -> set[str]:
        """Ids of the videos that have features: in the file already, or complete parts of an earlier run."""
        return set(self._origins)

    def origin(self, video_id: str) -> Origin | None:
        """The file that a video's features were made of; None where it has none."""
        return self._origins.get(video_id)

    def add(
        self,
        video_id: str,
        snippets: np.ndarray,
        *,
        duration: float,
        source: str,
        size: int | None = None,
        modified: int | None = None,
        stated: float | None = None,
        about: About | None = None,
    ) -> None:
        """Keep one video's snippets, (S, D) float32, durably; those that it has already are replaced.

        Args:
            duration: seconds.
            source, size, modified, stated: see `Origin`.
            about: further attributes, which become columns of an index.

        Raises:
            FeatureError: the array is not (S, D) with S >= 1, or holds values that are not finite.
            OutputError: the disk refused.
        """
        if snippets.ndim != 2 or len(snippets) == 0 or not np.isfinite(snippets).all():
            raise FeatureError(
                f"{source}: made features of shape {snippets.shape} that are empty or not finite."
            )
        origin = Origin(source, size, modified, duration, stated)
        self._write(video_id, snippets.shape, [snippets], origin, about)

    def part(self, video_id: str, origin: Origin) -> PartPlace:
        """Where a `GrowingPart` collects the snippets of a video, in this process or another one. It goes on
        where an earlier run was killed.
        """
        return PartPlace(
            self._stem(video_id),
            origin.source,
            video_id,
            origin.size,
            origin.modified,
            self.backbone,
            self.rate,
        )

    def finish(
        self, video_id: str, rows: int, width: int, origin: Origin, about: About | None = None
    ) -> None:
        """Keep the first rows of a part as the video's snippets, durably.

        Args:
            origin: the file that they were made of, with its duration.
            about: see `add`.

        Raises:
            OutputError: the disk refused.
        """
        stem = self._stem(video_id)
        self._write(video_id, (rows, width), blocks(stem, rows, width), origin, about)
        drop(stem)

    def _stem(self, video_id: str) -> Path:
        # An id may hold "/" or be longer than a file name.
        return self._parts / hashlib.sha256(video_id.encode()).hexdigest()[:32]

    def _write(
        self,
        video_id: str,
        shape: tuple[int, ...],
        snippets: Iterable[np.ndarray],
        origin: Origin,
        about: About | None,
    ) -> None:
        aside, at = self._stem(video_id).with_suffix(".tmp"), 0
        try:
            with h5py.File(aside, "w") as part:
                part.attrs["backbone"] = self.backbone
                dataset = part.create_dataset(video_id, shape, np.float32)
                for block in snippets:
                    dataset[at : at + len(block)] = block
                    at += len(block)
                told = {**(about or {}), **asdict(origin)}
                dataset.attrs.update({key: value for key, value in told.items() if value is not None})
            if self._stem(video_id).with_suffix(NOTE).exists():  # hours of work
                with aside.open("rb") as written:
                    os.fsync(written.fileno())
            aside.replace(self._stem(video_id).with_suffix(_PART))
        except (OSError, RuntimeError) as error:  # h5py closes a file on a full disk with a RuntimeError
            aside.unlink(missing_ok=True)
            raise OutputError(
                f"{aside}: cannot be written ({_reason(error)}). Free some space and run the same "
                "command again."
            ) from error
        self._origins[video_id] = origin

    def close(self) -> None:
        """Merge all parts into the file and drop them.

        Raises:
            OutputError: the disk refused; the old file and the parts are kept.
        """
        parts = sorted(self._parts.glob(f"*{_PART}"))
        aside = self.path.with_name(f"{self.path.name}.tmp")
        try:
            if parts or self._shares:
                older = [*self._shares, *[self.path] * self.path.exists()]
                with h5py.File(aside, "w") as new:
                    new.attrs.update({"backbone": self.backbone, "rate": self.rate})
                    if self.weights is not None:
                        new.attrs["weights"] = self.weights
                    # A part is younger than what the file has of the same video.
                    for path in [*parts, *older]:
                        with h5py.File(path, "r") as old:
                            _copy(old, new)
                with aside.open("rb") as written:
                    os.fsync(written.fileno())
                aside.replace(self.path)
            for part in [*parts, *self._shares]:
                part.unlink()
            self._drop_unusable()
        except (OSError, RuntimeError) as error:
            aside.unlink(missing_ok=True)
            raise OutputError(
                f"{self.path}: cannot be written ({_reason(error)}). The finished videos are kept in "
                f"{self._parts}: run the same command again."
            ) from error

    def _complete_shares(self) -> list[Path]:
        """The files of shares, each with the parts that a killed process left of it.

        Raises:
            OutputError: another process extracts into one.
            FeatureError: one was made by another backbone or at another rate.
        """
        for path in shard_files(self.path):
            with FeatureWriter(path, backbone=self.backbone, rate=self.rate, weights=self.weights):
                pass  # merges them
        return [path for path in shard_files(self.path) if path.exists()]

    def _read_file(self, path: Path) -> dict[str, Origin]:
        if not path.exists():
            return {}
        with FeatureFile(path) as old:
            other = is_other(old.backbone, old.weights, self.backbone, self.weights)
            if other or old.rate != self.rate:
                raise FeatureError(
                    f"{path}: holds features of {old.backbone}{other_weights(old.weights)} at "
                    f"{old.rate} snippets a second, not of "
                    f"{self.backbone}{other_weights(self.weights)} at {self.rate}. Features of two "
                    "kinds do not mix: choose another file, or remove this one."
                )
            linked = {video_id: Origin(None) for video_id in old.video_ids}
        with h5py.File(path, "r") as file:
            return linked | _origins(file)

    def _read_parts(self) -> dict[str, Origin]:
        try:
            self._parts.mkdir(exist_ok=True)
            for leftover in self._parts.glob("*.tmp"):
                leftover.unlink()
            sources(self._parts)
            found: dict[str, Origin] = {}
            for part in self._parts.glob(f"*{_PART}"):
                try:
                    with h5py.File(part, "r") as held:
                        found |= _origins(held)
                except (OSError, RuntimeError):  # the machine failed before it was on the disk
                    part.unlink()
        except OSError as error:
            raise OutputError(
                f"{self._parts}: cannot be written ({error.strerror or error}). Choose another place with -o."
            ) from error
        return found

    def _drop_unusable(self) -> None:
        """Remove the unfinished parts that nobody can go on with; others wait for a run over their video."""
        for stem, note in sources(self._parts).items():
            source = note.get("source")
            now = Origin.of(path_of(source)) if isinstance(source, str) else None
            if now is None or (now.size, now.modified) != (note.get("size"), note.get("modified")):
                drop(stem)

    def _leave(self) -> None:
        """Let others write; folders that hold no parts are removed."""
        with suppress(OSError):
            self._parts.rmdir()
        with suppress(OSError):
            self._parts.parent.rmdir()
        self._hold.release()


def _reason(error: OSError | RuntimeError) -> str:
    """What the system says, where HDF5 adds addresses and times to it."""
    number = getattr(error, "errno", None)
    return str(error) if number is None else os.strerror(number)


def _origins(file: h5py.File) -> dict[str, Origin]:
    """Video id -> the file that its features were made of, for all datasets."""
    found: dict[str, Origin] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            about = dict(item.attrs)
            size, modified = (int(about[key]) if key in about else None for key in ("size", "modified"))
            duration, stated = (float(about[key]) if key in about else None for key in ("duration", "stated"))
            found[name] = Origin(about.get("source"), size, modified, duration, stated)

    file.visititems(visit)
    return found


def _copy(old: h5py.File, new: h5py.File) -> None:
    """Bring the datasets and links that the new file does not have yet into it."""

    def visit(name: str, link: Any) -> None:
        if not isinstance(link, h5py.HardLink):
            new[name] = link
        elif isinstance(old[name], h5py.Dataset) and name not in new:
            old.copy(old[name], new, name)

    old.visititems_links(visit)
