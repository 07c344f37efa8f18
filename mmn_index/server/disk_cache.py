"""What was made of videos, kept on the disk for the next who asks, up to a size.

Several processes may share a folder: a file appears in it complete, by a rename, and is never changed. Which
was used last is told by its time of access. Only names of the cache's own form are ever touched.
"""

import hashlib
import json
import logging
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .._version import __version__
from ..errors import OutputError

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[0-9a-f]{64}")
_UNFINISHED, _ABANDONED = ".part", 3600.0  # the suffix, and seconds after which nobody writes it any more
_FULL = 0.9  # of the size is left after the oldest are removed
_LOOK = 8  # a look at the folder is due after an eighth of what was free was added


def default_folder() -> Path | None:
    """Where caches of a user are; None where the user has no home, as some services."""
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return caches / "mmn-index" / "clips"


def key_of(path: Path, about: os.stat_result, *parameters: str | float) -> str:
    """The name of what is made of a file, as the file is, with some parameters."""
    told = [os.fsencode(path).hex(), about.st_size, about.st_mtime_ns, __version__, *parameters]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class DiskCache:
    """Files by their keys.

    Where the folder cannot be written, everything is made anew and nothing is kept; that is logged once.

    Args:
        folder: made if it is not there, for this user alone; None where there is no place for one.
        size: bytes that are kept, at most; 0 keeps nothing.
    """

    def __init__(self, folder: Path | None, size: int) -> None:
        self._folder, self._size = folder or Path(os.devnull), size
        self._told = False
        self._lock = threading.Lock()
        self._until_look = 0  # bytes that may be added before the folder is looked at
        if folder is None and size > 0:
            _log.warning(
                "clips and pictures are not kept: this user has no home folder. Choose a folder: --cache-dir."
            )
        self._usable = folder is not None and size > 0 and self._is_safe()

    def find(self, key: str) -> BinaryIO | None:
        """An open file, whatever becomes of its name; None where there is none."""
        if not self._usable:
            return None
        path = self._folder / key
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except OSError:
            return None
        about = os.fstat(file.fileno())
        if (
            not stat.S_ISREG(about.st_mode) or not about.st_size
        ):  # an empty one is of a machine that fell over
            file.close()
            return None
        with suppress(OSError):
            os.utime(file.fileno(), ns=(time.time_ns(), about.st_mtime_ns))
        return file

    def make(self, key: str, write: Callable[[Path], None]) -> BinaryIO:
        """Write a file and keep it.

        Args:
            write: is told where to; what it raises is raised.

        Raises:
            OutputError: there is no room, here or in the folder for temporary files.
        """
        if self._usable:
            try:
                return self._kept(key, write)
            except (OutputError, OSError) as error:
                if not self._told:
                    _log.warning("%s: nothing is kept there (%s).", self._folder, error)
                self._told = True
        try:
            handle, name = tempfile.mkstemp(prefix="mmn-index-")
        except OSError as error:
            raise OutputError(f"no room for temporary files ({error.strerror}).") from error
        os.close(handle)
        try:
            write(Path(name))
            return open(name, "rb")
        finally:
            os.unlink(name)

    def _kept(self, key: str, write: Callable[[Path], None]) -> BinaryIO:
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=f"{key}.", suffix=_UNFINISHED)
        os.close(handle)
        unfinished = Path(name)
        try:
            write(unfinished)
            file = unfinished.open("rb")
            try:
                unfinished.replace(self._folder / key)
                self._added(os.fstat(file.fileno()).st_size)
            except BaseException:
                file.close()
                raise
            return file
        finally:
            unfinished.unlink(missing_ok=True)

    def _is_safe(self) -> bool:
        """Make the folder; whether nobody else can put something there."""
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self._folder.mkdir(mode=0o700)
            about = os.stat(self._folder)
        except OSError as error:
            _log.warning("%s: nothing is kept there (%s).", self._folder, error.strerror)
            return False
        if not stat.S_ISDIR(about.st_mode):
            why = "it is no folder. Choose one with --cache-dir."
        elif about.st_uid != os.geteuid():
            why = "it belongs to another user. Choose a folder of your own with --cache-dir."
        elif about.st_mode & 0o022:
            why = "other users may write to it. Run `chmod go-w` on it, or choose another with --cache-dir."
        else:
            return True
        _log.warning("%s: nothing is kept there: %s", self._folder, why)
        return False

    def _added(self, size: int) -> None:
        with self._lock:
            self._until_look -= size
            if self._until_look < 0:
                total = self._swept()
                self._until_look = max(0, self._size - total) // _LOOK

    def _swept(self) -> int:
        """Remove what was used longest ago where there is too much; the bytes that are left."""
        found: list[tuple[int, int, str]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(OSError):  # another process removed it
                    about = entry.stat(follow_symlinks=False)
                    if _NAME.fullmatch(entry.name):
                        found.append((about.st_atime_ns, about.st_size, entry.path))
                    elif self._is_abandoned(entry.name, about):
                        os.unlink(entry.path)
        total = sum(size for _, size, _ in found)
        if total <= self._size:
            return total
        for _, size, path in sorted(found):
            if total <= self._size * _FULL:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size
        return total

    def _is_abandoned(self, name: str, about: os.stat_result) -> bool:
        own = _NAME.match(name) and name.endswith(_UNFINISHED)
        return bool(own) and about.st_mtime < time.time() - _ABANDONED
