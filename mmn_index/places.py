"""Places where results are written: tried before the work begins, and held by one process at a time."""

import fcntl
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import BusyError, OutputError

_PROBE = b"\0" * 4096  # bytes; a full disk refuses them
_LONGEST = ".left-out.txt"  # what may be added to a file's name
_TRIES = 10


def check_file(path: Path, *, regular: bool = True) -> None:
    """Find out whether a file can be written, without a trace.

    Args:
        regular: it will be put in place by renaming, which would replace a device such as /dev/null.

    Raises:
        OutputError: its folder is not there or refuses, the disk is full, or the path is a folder.
    """
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, expected the name of a file to write.")
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"{path}: cannot be written (it is read-only). Choose another file.")
        if path.exists() and not path.is_file():
            if regular:
                raise OutputError(f"{path}: is a device or a pipe, expected the name of a file to write.")
        else:
            with suppress(FileNotFoundError):
                path.with_name(f"{path.name}{_LONGEST}").lstat()  # a name that is too long is an error
            _probe(path.parent)
    except OSError as error:
        raise _refused(path, error) from error


def check_folder(path: Path) -> None:
    """Find out whether files can be written into a folder, which need not be there yet, without a trace.

    Raises:
        OutputError: it or the folder that it will be made in refuses, or the disk is full.
    """
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # a name that is too long is an error
        there = path.absolute()
        while not os.path.lexists(there):
            there = there.parent
        _probe(there)
    except OSError as error:
        raise _refused(path, error) from error


def beside(path: Path, suffix: str) -> Path:
    """The place of something that belongs to a path and lies in the same folder: its name and a suffix. Of
    ".", which has no name, that of the current folder.
    """
    whole = path if path.name not in ("", "..") else path.resolve()
    return whole.parent / f"{whole.name}{suffix}"


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A name beside a file to write it under; it gets its own name once it is complete.

    Raises:
        OutputError: it cannot get it.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        yield unfinished
        try:
            unfinished.replace(path)
        except OSError as error:
            raise _refused(path, error) from error
    finally:
        unfinished.unlink(missing_ok=True)


class Hold:
    """Keeps a folder, which is made, for this process until `release`, or until it ends, however it ends.

    The folder itself is locked (flock), and the kernel drops a lock with its process: none is ever stale.
    Where a file system knows no locks, nothing is kept.

    Args:
        busy: what to say where another process has the folder.

    Raises:
        BusyError: another process has it.
        OutputError: it cannot be made.
    """

    def __init__(self, folder: Path, busy: str) -> None:
        try:
            self.release = weakref.finalize(self, os.close, _locked(folder))
        except BlockingIOError:
            raise BusyError(busy) from None
        except OSError as error:
            raise _refused(folder, error) from error


def is_held(folder: Path) -> bool:
    """Whether another process has a folder (`Hold`) now; without a trace."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _locked(folder: Path) -> int:
    for _ in range(_TRIES):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:
            return handle
        # Whoever had it may have removed it before this process held it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                return handle
        os.close(handle)
    raise BlockingIOError


def _probe(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(_PROBE)


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror or error}). Choose another place.")
