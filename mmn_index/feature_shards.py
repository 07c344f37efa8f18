"""Feature files of which several processes or machines write one each: their names, and where they belong."""

import re
from glob import escape
from pathlib import Path


def shard_file(path: Path, number: int, of: int) -> Path:
    """What the file of a share is called whose videos belong into a file."""
    return path.with_name(f"{path.stem}.{number}-of-{of}{path.suffix}")


def shard_files(path: Path) -> list[Path]:
    """The files of shares beside a file that are there, or have been begun."""
    name = re.compile(rf"{re.escape(path.stem)}\.(\d+)-of-(\d+){re.escape(path.suffix)}(\.parts)?")
    found = {
        there.with_name(there.name.removesuffix(".parts"))
        for there in path.parent.glob(f"{escape(path.stem)}.*")
        if name.fullmatch(there.name)
    }
    return sorted(found)
