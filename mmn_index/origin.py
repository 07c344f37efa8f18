"""Which file a video's features were made of: its path as text, and whether it is still the same file."""

import hashlib
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import unquote_to_bytes

MOVED = "`mmn-index sync FOLDER --index INDEX` finds moved files again."  # what to do where a file is gone
_URI = "file://"
_BLOCK = 1 << 16  # bytes that are read at the head, in the middle and at the tail of a file


class Known(Enum):
    """What a file is, compared with the one that features of the same id were made of."""

    SAME = "the same"
    CHANGED = "the same path, with other content"
    ANOTHER = "another file"
    UNCERTAIN = "perhaps the same: the first is gone, and only its path is known"


@dataclass(frozen=True)
class Origin:
    """A video file as it was when it was described, and how much of it was.

    Attributes:
        source: its path, see `source_of`; None where features do not say.
        size: bytes; None in feature files of earlier versions.
        modified: nanoseconds since 1970; None likewise.
        duration: seconds that were decoded.
        stated: seconds that the file states, where much of them could not be decoded; else None.
    """

    source: str | None
    size: int | None = None
    modified: int | None = None
    duration: float | None = None
    stated: float | None = None

    @classmethod
    def of(cls, path: Path) -> "Origin":
        """What a file is now; of one that is not there, its path alone."""
        try:
            stat = path.stat()
        except OSError:
            return cls(source_of(path))
        return cls(source_of(path), stat.st_size, stat.st_mtime_ns)

    def compare(self, now: "Origin") -> Known:
        """What another file of the same id is, compared with this one, of which features are there."""
        if self.source is None or now.source is None:
            return Known.SAME
        unchanged = (self.size, self.modified) == (now.size, now.modified)
        here, there = path_of(self.source), path_of(now.source)
        if here == there or _same_file(here, there):
            return Known.SAME if unchanged or self.size is None else Known.CHANGED
        if os.path.exists(here):
            return Known.ANOTHER
        if self.size is None:
            return Known.UNCERTAIN
        return Known.SAME if unchanged else Known.ANOTHER  # a collection that was moved keeps sizes and times


def source_of(path: Path) -> str:
    """A path as text for HDF5, Parquet and JSON: as it is, or as a file URI where its bytes are not UTF-8.

    >>> source_of(Path("/home/a.mp4")), source_of(Path("/home/caf\\udce9.mp4"))
    ('/home/a.mp4', 'file:///home/caf%E9.mp4')
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return path.absolute().as_uri()
    return text


def path_of(source: str) -> Path:
    """The path of a source.

    >>> path_of("file:///home/caf%E9.mp4") == Path("/home/caf\\udce9.mp4")
    True
    """
    if source.startswith(f"{_URI}/"):
        return Path(os.fsdecode(unquote_to_bytes(source.removeprefix(_URI))))
    return Path(source)


def quick_hash(path: Path) -> str:
    """A digest of a file's size and of some bytes of its head, middle and tail, read in milliseconds.

    Files of which it differs differ. Those of which it is equal are the same, but for one that was changed in
    place somewhere in between.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        found = hashlib.sha256(str(size).encode())
        for place in sorted({0, max(0, (size - _BLOCK) // 2), max(0, size - _BLOCK)}):
            file.seek(place)
            found.update(file.read(_BLOCK))
    return found.hexdigest()[:32]


def content_hash(path: Path) -> str:
    """What identifies a file's content: its quick hash, "-", and the SHA-256 of all of it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return f"{quick_hash(path)}-{hashlib.file_digest(file, 'sha256').hexdigest()}"


def same_content(path: Path, known: str) -> bool:
    """Whether a file has the content of a hash, from `content_hash`; all of it is read only where its quick
    hash is equal.

    Raises:
        OSError: the file cannot be read.
    """
    return quick_hash(path) == known.partition("-")[0] and content_hash(path) == known


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
