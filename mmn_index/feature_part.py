"""The snippets of one video while it is being described: rows in a file that grows, and a note beside it.

The note says how many rows are on the disk for sure, and where the walk over the video was then. A process
that is killed leaves both, and the next one continues after those rows, if the video file is still the same.
Rows are plain float32: an HDF5 file may be unreadable after a kill in the middle of writing.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import OutputError

ROWS, NOTE = ".rows", ".note"
_BLOCK = 1 << 22  # bytes that are copied at once
_OFTEN_ROWS, _OFTEN_SECONDS = 256, 10.0  # a note is written after both


@dataclass(frozen=True)
class PartPlace:
    """Where the snippets of a video are collected, and what must be the same for a later run to go on.

    Attributes:
        stem: path of the files, without a suffix.
        source: path of the video file, as text.
        video_id, size, modified, backbone, rate: what they are made of, and how.
    """

    stem: Path
    source: str | None
    video_id: str
    size: int | None
    modified: int | None
    backbone: str
    rate: float

    def same(self, note: dict[str, Any]) -> bool:
        """Whether a note is of the same video, described in the same way."""
        own = asdict(self)
        return all(note.get(key) == own[key] for key in own if key not in ("stem", "source"))


class GrowingPart:
    """A part that one process adds to. What an earlier process left is taken over, or thrown away.

    Attributes:
        rows: number of snippets so far.
        width: of a snippet; 0 before the first one.
        mark: what an earlier process noted with its rows; None without one.

    Raises:
        OutputError: the disk refuses.
    """

    def __init__(self, place: PartPlace) -> None:
        self._place = place
        self._path = place.stem.with_suffix(ROWS)
        self._note = place.stem.with_suffix(NOTE)
        self.rows, self.width, self.mark = _read_note(place)
        try:
            self._file: BinaryIO = self._path.open("r+b" if self._path.exists() else "w+b")
            with suppress(
                OSError
            ):  # the last process that wrote may be about to end; some disks know no locks
                fcntl.flock(self._file, fcntl.LOCK_EX)
            length = 4 * self.rows * self.width
            if os.fstat(self._file.fileno()).st_size < length:
                self.rows, self.width, self.mark, length = 0, 0, None, 0
            if not self.rows:
                self._note.unlink(missing_ok=True)
            self._file.truncate(length)
            self._file.seek(length)
        except OSError as error:
            raise self._refused(error) from error
        self._noted, self._last = self.rows, time.monotonic()

    def __enter__(self) -> "GrowingPart":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, snippets: np.ndarray) -> None:
        """Add (n, D) float32 snippets.

        Raises:
            OutputError: the disk refuses.
        """
        try:
            self._file.write(np.ascontiguousarray(snippets, np.float32).data)
        except OSError as error:
            raise self._refused(error) from error
        self.rows, self.width = self.rows + len(snippets), snippets.shape[1]

    def keep(self, mark: Callable[[], dict[str, Any] | None]) -> None:
        """Make sure now and then that what is there outlives this process, and the machine.

        Args:
            mark: says what the next process needs to go on from here.

        Raises:
            OutputError: the disk refuses.
        """
        if self.rows - self._noted < _OFTEN_ROWS or time.monotonic() - self._last < _OFTEN_SECONDS:
            return
        own = {key: value for key, value in asdict(self._place).items() if key != "stem"}
        note = {**own, "rows": self.rows, "width": self.width, "mark": mark()}
        aside = self._note.with_suffix(".tmp")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            with aside.open("w", encoding="utf-8") as file:
                json.dump(note, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._note)
        except OSError as error:
            raise self._refused(error) from error
        self._noted, self._last = self.rows, time.monotonic()

    def close(self) -> None:
        """Close the file; what is there stays.

        Raises:
            OutputError: the disk refuses.
        """
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def discard(self) -> None:
        """Throw away what is there."""
        with suppress(OSError):
            self._file.close()
        drop(self._place.stem)

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path}: cannot be written ({error.strerror or error}). Free some space and run the same "
            "command again."
        )


def blocks(stem: Path, rows: int, width: int) -> Iterator[np.ndarray]:
    """The first rows of a part, (n, width) float32 at a time."""
    at_once = max(1, _BLOCK // (4 * width))
    with stem.with_suffix(ROWS).open("rb") as file:
        for begin in range(0, rows, at_once):
            count = min(at_once, rows - begin)
            yield np.fromfile(file, np.float32, count * width).reshape(count, width)


def drop(stem: Path) -> None:
    """Remove a part, its note first: rows without one count for nothing."""
    for suffix in (NOTE, ROWS):
        stem.with_suffix(suffix).unlink(missing_ok=True)


def sources(folder: Path) -> dict[Path, dict[str, Any]]:
    """The notes in a folder by the stems of their parts; rows without a note are removed."""
    found = {}
    for rows in folder.glob(f"*{ROWS}"):
        note = _load(rows.with_suffix(NOTE))
        if note is None:
            drop(rows.with_suffix(""))
        else:
            found[rows.with_suffix("")] = note
    return found


def _load(path: Path) -> dict[str, Any] | None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _read_note(place: PartPlace) -> tuple[int, int, dict[str, Any] | None]:
    note = _load(place.stem.with_suffix(NOTE))
    if note is None or not place.same(note):
        return 0, 0, None
    rows, width, mark = note.get("rows"), note.get("width"), note.get("mark")
    if not (isinstance(rows, int) and isinstance(width, int) and rows > 0 and width > 0):
        return 0, 0, None
    return rows, width, mark if isinstance(mark, dict) else None
