"""What lies in the places that an index is synchronised with, and whether what is missing there can be
believed to be gone: an unmounted disk looks like an empty folder.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from mmn_index.errors import MissingError, VideoError
from mmn_index.index import MomentIndex
from mmn_index.left_out import SHOWN, LeftOut
from mmn_index.origin import content_hash, path_of, quick_hash

from .columns import CONTENT_HASH, instant
from .sync_plan import FoundFile, IndexedFile, SyncPlan
from .video_files import look_for_videos

_CONSENT = (
    "Nothing was changed: --keep-missing keeps them in the index, --remove-missing removes them from it."
)
_SEVERAL = 2  # videos of a folder inside a place, from which on its being empty looks like a disk


@dataclass(frozen=True)
class Survey:
    """What is in some places, beside what an index has.

    Attributes:
        places: absolute paths.
        left_out: files and folders that cannot be read or have no id.
        remarks: lines on what was passed over by rule.
    """

    places: list[Path]
    indexed: list[IndexedFile]
    found: list[FoundFile]
    left_out: list[LeftOut]
    remarks: list[str]


def survey(
    index: MomentIndex,
    places: Sequence[Path],
    prefix: str,
    follow_links: bool,
    settled: Callable[[FoundFile], bool],
) -> Survey:
    """Look at the files of some places, and at those that an index was made of.

    Args:
        places, prefix, follow_links: see `find_videos`.
        settled: whether a file may be described now.

    Raises:
        VideoError: a place is not there, and the index has nothing of it either.
        ConfigError: the prefix makes no ids.
    """
    absolute = [Path(os.path.abspath(place)) for place in places]
    table = index.videos.filter(index.live).select(["video_id", "uri"])
    known = {path_of(row["uri"]): row["video_id"] for row in table.to_pylist() if row["uri"] is not None}
    files = look_for_videos(absolute, prefix=prefix, follow_links=follow_links, known=known)
    found, left_out = [], list(files.left_out)
    for video_id, path in files.videos.items():
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            left_out.append(LeftOut(str(path), f"{path}: cannot be read ({error.strerror})."))
            continue
        file = FoundFile(video_id, path, stat.st_size, instant(stat.st_mtime_ns))
        found.append(file if settled(file) else replace(file, settled=False))
    indexed = _indexed(index, absolute, {file.path for file in found})
    for place in absolute:
        if not os.path.lexists(place) and not any(_is_in(one.path, place) for one in indexed):
            raise VideoError(f"{place}: no such file or folder, and the index has no video of it.")
    return Survey(absolute, indexed, found, left_out, files.remarks)


def strays(plan: SyncPlan, here: Survey, root: Path) -> list[str]:
    """A line on videos of other places whose files are gone, which nobody would notice."""
    staying = set(plan.staying)
    apart = [one for one in here.indexed if not one.inside and one.video_id in staying]
    paths = [one.path for one in apart if one.path is not None and not one.there]
    if not paths:
        return []
    line = (
        f"{root}: the files of {len(paths):,} videos of other places are gone, such as {_some(paths)}. They "
        "stay in the index. Name their folders too, or take them out with `mmn-index remove`."
    )
    return [line]


def check_loss(plan: SyncPlan, here: Survey, root: Path) -> None:
    """Refuse to remove videos where their files are likelier out of reach than deleted.

    Raises:
        MissingError: a place, or a folder inside one, is empty or not there; or more than half are gone.
    """
    missing = [one.path for one in plan.missing if one.path is not None]
    found = [file.path for file in here.found]
    for place in here.places:
        gone = [path for path in missing if _is_in(path, place)]
        if gone and not any(_is_in(path, place) for path in found):
            what = "holds no video any more" if os.path.lexists(place) else "is not there any more"
            raise MissingError(_refusal(place, what, gone))
        folders = Counter(
            folder for path in gone for folder in path.parents if folder != place and _is_in(folder, place)
        )
        for folder, count in folders.most_common():
            if count >= _SEVERAL and _is_empty(folder):
                raise MissingError(
                    _refusal(folder, "is empty now", [path for path in gone if _is_in(path, folder)])
                )
    if 2 * len(missing) > plan.inside:
        raise MissingError(
            f"{root}: the files of {len(missing):,} of its {plan.inside:,} videos of these places are gone, "
            f"such as {_some(missing)}. Is a disk not mounted? {_CONSENT}"
        )


class Contents:
    """Compares files with content hashes; each file is read once."""

    def __init__(self) -> None:
        self._quick: dict[Path, str] = {}
        self._whole: dict[Path, str] = {}

    def same(self, path: Path, known: str, whole: bool) -> bool:
        """Whether a file has the content of a hash from `content_hash`; if not `whole`, as far as its head,
        middle and tail tell. A file that cannot be read has none.
        """
        try:
            if path not in self._quick:
                self._quick[path] = quick_hash(path)
            if self._quick[path] != known.partition("-")[0] or not whole:
                return self._quick[path] == known.partition("-")[0]
            if path not in self._whole:
                self._whole[path] = content_hash(path)
            return self._whole[path] == known
        except OSError:
            return False


def _indexed(index: MomentIndex, places: Sequence[Path], found: set[Path]) -> list[IndexedFile]:
    known = {"size": int, "modified": datetime, CONTENT_HASH: str}
    table = index.videos.filter(index.live)
    columns = ["video_id", "uri", *(name for name in known if name in table.column_names)]
    both = [*places, *(Path(os.path.realpath(place)) for place in places)]
    indexed = []
    for row in table.select(columns).to_pylist():
        path = None if row["uri"] is None else path_of(row["uri"])
        # A user's column may have the name of one of these.
        size, modified, content = (
            row[name] if isinstance(row.get(name), kind) else None for name, kind in known.items()
        )
        there = path is None or path in found or _is_there(path)
        inside = any(_is_in(path, place) for place in both)
        indexed.append(IndexedFile(row["video_id"], path, size, modified, content, there, inside))
    return indexed


def _is_there(path: Path) -> bool:
    """Whether anything lies at a path, or nobody can say."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _is_in(path: Path | None, place: Path) -> bool:
    return path is not None and (path == place or place in path.parents)


def _is_empty(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _refusal(place: Path, what: str, gone: Sequence[Path]) -> str:
    return (
        f"{place}: {what}, and the index has {len(gone):,} videos of it, such as {_some(gone)}. Is its disk "
        f"mounted? {_CONSENT}"
    )


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - SHOWN:,} more" if len(paths) > SHOWN else ""
    return ", ".join(str(path) for path in paths[:SHOWN]) + more
