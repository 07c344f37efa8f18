"""The SHA-256 of a model's weights, remembered: what did not change since is not read again.

A search has to know that its text encoder is the one of the index. To hash it takes a second for a large one
and reads all of it from the disk, of which a sentence needs little. The digest is kept in the user's cache
folder under the path, size, inode and times of each file that it was computed from. A file cannot be changed
without a new change time (ctime), which no program can set back.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from .encoder_source import EncoderSource

_MOST = 200  # digests that are kept
_SETTLED = (
    2.0  # seconds; a file that changed later may change again within one tick of its file system's clock
)


def source_of(
    name: str, folder: Path, part: str, tensors: Callable[[], Mapping[str, Tensor]]
) -> EncoderSource:
    """That of weights which were loaded from a folder.

    Args:
        name: hub id, or absolute path of a folder.
        part: which of the folder's weights, if not all.
        tensors: the weights.
    """
    key = _key(folder, part)
    held = _read().get(key) if key else None
    if isinstance(held, list) and len(held) == 2 and isinstance(held[0], str) and isinstance(held[1], int):
        return EncoderSource(name, held[0], held[1])
    found = EncoderSource.of(name, tensors())
    if key and _key(folder, part) == key:
        _write(key, [found.sha256, found.bytes])
    return found


def folder_sha256(folder: Path) -> str | None:
    """SHA-256 over the safetensors files of a folder, whatever it is called; None where there are none."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        return None
    key = _key(folder, "files")
    held = _read().get(key) if key else None
    if isinstance(held, list) and len(held) == 1 and isinstance(held[0], str):
        return held[0]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder)} ".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    if key and _key(folder, "files") == key:
        _write(key, [digest.hexdigest()])
    return digest.hexdigest()


def _key(folder: Path, part: str) -> str:
    """What a digest is kept under; empty if a file changed just now."""
    files = []  # the package's version, for another one may load other tensors
    for path in sorted({*folder.rglob("*.safetensors"), *folder.rglob("*.json")}):
        about = path.stat()
        if max(about.st_ctime, about.st_mtime) > time.time() - _SETTLED:
            return ""
        numbers = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        files.append([str(path.resolve()), *numbers])
    return hashlib.sha256(json.dumps([version("transformers"), part, files]).encode()).hexdigest()


def _place() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mmn-index" / "weights.json"


def _read() -> dict[str, Any]:
    try:
        held = json.loads(_place().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return {}
    return held if isinstance(held, dict) else {}


def _write(key: str, value: list[Any]) -> None:
    """Without a place to write to, nothing is remembered."""
    with suppress(OSError, RuntimeError):
        place = _place()
        place.parent.mkdir(parents=True, exist_ok=True)
        kept = dict([*_read().items(), (key, value)][-_MOST:])
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False, encoding="utf-8") as file:
            json.dump(kept, file)
        Path(file.name).replace(place)
