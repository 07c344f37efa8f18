"""Snippet features as a folder of NumPy files, an .npy or .npz for each video, called by its path in it."""

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import feature_names
from .errors import FeatureError

_SUFFIXES = (".npy", ".npz")


class FolderFeatures:
    """The arrays of a folder, by video; see Hdf5Features for what it has.

    Raises:
        FeatureError: there are none, or none of the chosen names.
    """

    def __init__(self, path: Path, kinds: Sequence[str]) -> None:
        self.path, self._chosen = path, tuple(kinds)
        self.remarks: list[str] = []
        self._last: tuple[tuple[str, ...], list[Any]] = ((), [])
        lost: dict[str, str] = {}
        self._files: dict[str, Path] = {}
        others: Counter[str] = Counter()
        for file in _files(path):
            name = file.relative_to(path).with_suffix("").as_posix()
            if file.suffix.lower() not in _SUFFIXES:
                others[file.suffix or file.name] += 1
            elif not _is_text(name):
                lost[ascii(name)] = "has a name that is not UTF-8. Rename it"
            elif name in self._files:
                self.remarks.append(f"{file}: is not read, {self._files[name]} has the same name.")
            else:
                self._files[name] = file
        if not self._files and not lost:
            found = ", ".join(f"{count:,} {suffix}" for suffix, count in others.most_common(3))
            raise FeatureError(
                f"{path}: holds no features, expected an .npy or .npz file of (snippets, width) floats for "
                f"each video, found {found or 'no file'}."
            )
        if others:
            named = ", ".join(f"{count:,} {suffix}" for suffix, count in others.most_common(3))
            self.remarks.append(f"{path}: only .npy and .npz files are read, not the others ({named}).")
        packed = {name for name, file in self._files.items() if file.suffix.lower() == ".npz"}
        single = self._files.keys() - packed
        layout = feature_names.Layout({name: (name,) for name in self._files})
        if kinds and single:
            layout = feature_names.chosen(single, kinds, str(path))
            layout.parts |= {name: (name,) for name in packed}
        self.parts, self.broken = layout.parts, layout.broken | lost
        self.kinds: tuple[str, ...] = ()
        if packed and not kinds:
            found_kinds = self._kinds(min(packed))
            self.kinds = found_kinds if len(found_kinds) > 1 else ()

    def attribute(self, video_id: str | None, name: str) -> None:
        """NumPy files say nothing of themselves."""

    def attributes(self, video_id: str) -> dict[str, object]:
        """Nothing, likewise."""
        return {}

    def arrays(self, video_id: str) -> list[Any]:
        """The arrays of a video; those of .npy files are read when they are looked at.

        Raises:
            FeatureError: a file cannot be read, or does not hold the one array that is looked for.
        """
        names = self.parts[video_id]
        if self._last[0] != names:  # shape, then values: a packed file is read once
            self._last = names, [array for name in names for array in self._load(name)]
        return self._last[1]

    @property
    def state(self) -> str:
        """A digest of names, sizes and times."""
        digest = hashlib.sha256()
        for name, file in sorted(self._files.items()):
            stat = file.stat()
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Nothing stays open."""

    def _load(self, name: str) -> list[Any]:
        file = self._files[name]
        try:
            if file.suffix.lower() == ".npy":
                return [np.load(file, mmap_mode="r", allow_pickle=False)]
            kinds = self._chosen or self._kinds(name)
            if len(kinds) > 1 and not self._chosen:
                raise FeatureError(f"{file}: video '{name}' {feature_names.several(kinds)}.")
            with np.load(file, allow_pickle=False) as packed:
                if not kinds or not set(kinds) <= set(packed.files):
                    wanted = f"called {', '.join(kinds)}" if kinds else "of two axes"
                    raise FeatureError(
                        f"{file}: has no array of floats {wanted}, only {', '.join(packed.files) or 'none'}."
                    )
                return [packed[kind] for kind in kinds]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
            raise FeatureError(
                f"{file}: cannot be read as a NumPy array ({error}). Is it complete?"
            ) from error

    def _kinds(self, name: str) -> tuple[str, ...]:
        """The arrays of an .npz file that may be features; its only array, whatever it is."""
        try:
            with np.load(self._files[name], allow_pickle=False) as packed:
                if len(packed.files) == 1:
                    return tuple(packed.files)
                shapes = {kind: _header(packed, kind) for kind in packed.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError):
            return ()
        return tuple(sorted(kind for kind, (axes, code) in shapes.items() if axes == 2 and code == "f"))


def _header(packed: Any, kind: str) -> tuple[int, str]:
    """Number of axes, and kind of number, of an array; of one that cannot be read, none."""
    try:
        array = packed[kind]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile):
        return 0, ""
    return array.ndim, array.dtype.kind


def _files(root: Path) -> Iterator[Path]:
    """Every file below a folder in the order of their names, linked folders entered once, hidden ones not."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
