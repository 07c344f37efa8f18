"""The video files among files and folders, and what each is called.

A video is called by its file name without the suffix, or, found in a given folder, by its path in there
without the suffix ("porch/cam1"). Bytes that are not UTF-8 are written as escapes ("caf\\xe9").
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from ..errors import ConfigError, VideoError
from ..left_out import SHOWN, LeftOut
from ..readable import typed
from ..video.suffixes import SUFFIXES

_KINDS = 8  # suffixes that a line names

# How a file comes in beside another one of its name: out of the file and the prefix that it needs.
Apart = Callable[[Path, str], str]


def by_itself(_: Path, prefix: str) -> str:
    """What to say where the same command can be given one more file."""
    return f"run the same command for this file alone, with --prefix {typed(prefix)}"


@dataclass
class VideoFiles:
    """What was found.

    Attributes:
        videos: absolute path by the video's id.
        left_out: files and folders that should have been described and cannot be.
        remarks: lines on what was passed over by rule: other suffixes, hidden files, linked folders.
    """

    videos: dict[str, Path] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def find_videos(
    places: Sequence[Path], *, prefix: str = "", follow_links: bool = False, apart: Apart = by_itself
) -> VideoFiles:
    """The videos among files, which are taken whatever their suffix, and folders, which are searched.

    Args:
        prefix: put before each id.
        follow_links: enter folders that are linked. Then each folder is entered and each file taken once, by
            its own path rather than by a link's.
        apart: what to do about a file whose name another one has.

    Raises:
        VideoError: there is none.
        ConfigError: the prefix makes no ids.
    """
    found = look_for_videos(places, prefix=prefix, follow_links=follow_links, apart=apart)
    if not found.videos:
        where = ", ".join(str(place) for place in places) or "no place given"
        expected = "expected video files, or folders with files such as .mp4, .webm or .mkv."
        rest = [one.why for one in found.left_out[:SHOWN]] + found.remarks
        raise VideoError(" ".join([f"{where}: no video found, {expected}", *rest]))
    return found


def look_for_videos(
    places: Sequence[Path],
    *,
    prefix: str = "",
    follow_links: bool = False,
    known: Mapping[Path, str] | None = None,
    apart: Apart = by_itself,
) -> VideoFiles:
    """As `find_videos`; perhaps there is none.

    Args:
        known: files that have an id already, which they keep.
    """
    _check_prefix(prefix)
    found, seen, ids = VideoFiles(), set[str](), known or {}
    named: dict[Path, str] = {}  # a file that is reached by two places counts once
    for place in (Path(os.path.abspath(given)) for given in places):
        if not os.path.isdir(place):
            named.setdefault(place, prefix + place.stem)
            continue
        folder = _Folder(place, seen if follow_links else None)
        for path in folder.videos:
            named.setdefault(path, prefix + path.relative_to(place).with_suffix("").as_posix())
        found.left_out += folder.left_out
        found.remarks += folder.remarks()
    found.videos = {ids[path]: path for path in named if path in ids}
    _claim({path: name for path, name in named.items() if path not in ids}, found, apart)
    return found


class Names:
    """Ids that can stand side by side in an HDF5 file: where there is "a/b", there is no "a"."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._ids: set[str] = set()
        self._inside: dict[str, str] = {}  # folder of ids -> the first one in it
        for video_id in ids:
            self.add(video_id)

    def add(self, video_id: str) -> None:
        self._ids.add(video_id)
        for folder in _folders(video_id):
            self._inside.setdefault(folder, video_id)

    def in_the_way(self, video_id: str) -> str | None:
        """The id that this one cannot stand beside, or that is the same."""
        taken = (name for name in (video_id, *_folders(video_id)) if name in self._ids)
        return next(taken, self._inside.get(video_id))


def _folders(video_id: str) -> list[str]:
    parts = video_id.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


def _claim(named: Mapping[Path, str], found: VideoFiles, apart: Apart) -> None:
    """Give files their ids, the first one that comes."""
    names = Names()
    twins: list[tuple[str, Path, str]] = []
    for path, name in named.items():
        video_id = os.fsencode(name).decode("utf-8", "backslashreplace")
        taken = video_id if video_id in found.videos else names.in_the_way(video_id)
        if video_id.rpartition("/")[2] in (".", ".."):
            found.left_out.append(LeftOut(str(path), f"{path}: has no name before its suffix. Rename it."))
        elif taken is None:
            found.videos[video_id] = path
            names.add(video_id)
        else:
            twins.append((video_id, path, taken))
    for video_id, path, taken in twins:
        other = found.videos[taken]
        prefix = _prefix_for(video_id, path, other, names)
        names.add(f"{prefix}{path.stem}")
        why = (
            f"{path}: would be called '{video_id}', but {other} is called '{taken}'. Rename one, or "
            f"{apart(path, prefix)}."
        )
        found.left_out.append(LeftOut(str(path), why))


def _prefix_for(video_id: str, path: Path, other: Path, names: Names) -> str:
    """A prefix under which a file, named alone, has an id of its own: what tells it from another one."""
    inside = video_id.rpartition("/")[0]
    kind = path.suffix[1:] or "other"
    word = kind if path.parent == other.parent else path.parent.name or kind
    words = [f"{inside}/{word}" if inside else word, word]
    prefixes = (f"{one}/" for one in chain(words, (f"{kind}{number}" for number in count(2))))
    return next(prefix for prefix in prefixes if names.in_the_way(f"{prefix}{path.stem}") is None)


def _check_prefix(prefix: str) -> None:
    if any(part in ("", ".", "..") for part in prefix.split("/")[:-1]):
        raise ConfigError(
            f"The prefix '{prefix}' makes no ids: expected a text such as 'camB/', without empty or dotted "
            "parts between slashes."
        )


class _Folder:
    """The files below a folder, each sorted into what is described and what is not."""

    def __init__(self, place: Path, seen: set[str] | None) -> None:
        self.videos: list[Path] = []
        self.left_out: list[LeftOut] = []
        self._place = place
        self._suffixes: Counter[str] = Counter()
        self._hidden = 0
        self._links: deque[Path] = deque()  # to folders
        self._seen = seen  # real paths of folders and files; None where links are not followed
        self._walk(place)
        while seen is not None and self._links:
            self._walk(self._links.popleft())

    def remarks(self) -> list[str]:
        """A line on each kind of thing that was passed over."""
        lines = []
        if self._suffixes:
            common = sorted(self._suffixes.items(), key=lambda item: (-item[1], item[0]))[:_KINDS]
            kinds = ", ".join(f"{suffix or 'none'} {count:,}" for suffix, count in common)
            more = len(self._suffixes) - len(common)
            lines.append(
                f"{self._place}: {_count(self._suffixes.total(), 'file')} of other suffixes left out ({kinds}"
                f"{f' and {more:,} more suffixes' if more else ''}). A file that is named itself is tried "
                "whatever its suffix."
            )
        if self._hidden:
            hidden = _count(self._hidden, "hidden file or folder", "hidden files and folders")
            lines.append(f"{self._place}: {hidden} left out (the names begin with a dot).")
        if self._links:
            shown = ", ".join(str(path) for path in list(self._links)[:SHOWN])
            more = len(self._links) - SHOWN
            lines.append(
                f"{self._place}: {_count(len(self._links), 'linked folder')} not entered ({shown}"
                f"{f' and {more:,} more' if more > 0 else ''}); --follow-links enters them."
            )
        return lines

    def _walk(self, top: Path) -> None:
        """Look through a folder and the folders in it that are no links."""
        videos: list[Path] = []
        links: list[Path] = []
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if not self._is_new(folder):
                continue
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        self._sort(Path(entry.path), entry, waiting, links, videos)
            except OSError as error:
                self._leave_out(folder, f"the folder cannot be read ({error.strerror})")
        self._links += sorted(links)
        if self._seen is not None:
            videos.sort(key=Path.is_symlink)
        self.videos += sorted(path for path in videos if self._is_new(path))

    def _sort(
        self,
        path: Path,
        entry: "os.DirEntry[str]",
        folders: list[Path],
        links: list[Path],
        videos: list[Path],
    ) -> None:
        is_folder, is_video = entry.is_dir(follow_symlinks=False), path.suffix.lower() in SUFFIXES
        if entry.name.startswith("."):
            self._hidden += is_folder or is_video
        elif is_folder:
            folders.append(path)
        elif entry.is_symlink() and os.path.isdir(path):
            links.append(path)
        elif not is_video:
            self._suffixes[path.suffix.lower()] += 1
        elif entry.is_file(follow_symlinks=False) or os.path.isfile(path):
            videos.append(path)
        elif entry.is_symlink() and not os.path.exists(path):
            self._leave_out(path, f"is a link to {os.readlink(path)}, which is not there")
        else:
            self._leave_out(path, "is no regular file, expected a video file")

    def _is_new(self, path: Path) -> bool:
        """Whether a file or folder was not reached before by another way, which only links make."""
        if self._seen is None:
            return True
        real = os.path.realpath(path)
        new = real not in self._seen
        self._seen.add(real)
        return new

    def _leave_out(self, path: Path, why: str) -> None:
        self.left_out.append(LeftOut(str(path), f"{path}: {why}."))


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
