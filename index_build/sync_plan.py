"""What has to be done so that an index holds what is in some folders: a pure function of what it knows of its
files and what is there now.

A file is known by its path, and by its size and time of change. Where these leave a doubt, its content
decides: a file that was moved, renamed, copied or only touched is not described again.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mmn_index.left_out import LeftOut
from mmn_index.readable import typed

# Whether a file has the content of a hash; where `all` is false, its head, middle and tail are enough.
SameContent = Callable[[Path, str, bool], bool]


@dataclass(frozen=True)
class IndexedFile:
    """A video of an index, and the file that it was made of as it was then.

    Attributes:
        path: None where the index does not know it; such a video is left alone.
        size: bytes; None where the index does not know it, and then what lies at the path is taken for it.
        modified: in UTC, to the microsecond.
        content: its content hash.
        there: whether anything lies at the path now, or nobody can say: its folder cannot be read.
        inside: whether it belongs to the places that are synchronised.
    """

    video_id: str
    path: Path | None
    size: int | None = None
    modified: datetime | None = None
    content: str | None = None
    there: bool = True
    inside: bool = True


@dataclass(frozen=True)
class FoundFile:
    """A video file that is there now.

    Attributes:
        video_id: what it would be called as a new one.
        settled: whether it may be described now; it may be one that is still being written.
    """

    video_id: str
    path: Path
    size: int
    modified: datetime | None
    settled: bool = True


@dataclass(frozen=True)
class Follow:
    """A file whose content an indexed video has already: that one's moments become its own.

    Attributes:
        source: id of the indexed video.
        moved: whether the indexed video ends with it; else there are two of them now.
    """

    source: str
    file: FoundFile
    moved: bool


@dataclass
class SyncPlan:
    """What is to be done, by the id that a video has afterwards.

    Attributes:
        added: files to describe, of new videos.
        changed: files to describe, of videos that the index has by the same id.
        followed: files whose content the index knows.
        missing: videos of the index whose files are gone.
        staying: videos whose rows stay as they are; all others' end.
        waiting: files that are not settled.
        left_out: files that cannot be in the index, as another video has their name.
        inside: how many videos of the index belong to these places.
    """

    added: dict[str, FoundFile] = field(default_factory=dict)
    changed: dict[str, FoundFile] = field(default_factory=dict)
    followed: dict[str, Follow] = field(default_factory=dict)
    missing: list[IndexedFile] = field(default_factory=list)
    staying: list[str] = field(default_factory=list)
    waiting: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    inside: int = 0

    @property
    def ended(self) -> list[IndexedFile]:
        """Missing videos that do not stay."""
        staying = set(self.staying)
        return [one for one in self.missing if one.video_id not in staying]

    @property
    def renamed(self) -> list[str]:
        """Ids of the videos whose file was moved or renamed."""
        return [name for name, follow in self.followed.items() if follow.moved and follow.source != name]


def plan_sync(
    indexed: Sequence[IndexedFile],
    found: Sequence[FoundFile],
    same: SameContent,
    *,
    keep_missing: bool = False,
) -> SyncPlan:
    """Compare an index with what is there.

    Args:
        found: files of different paths and ids.
        keep_missing: videos whose files are gone stay, unless another file has their id now.
    """
    return _Comparison(indexed, found, same).plan(keep_missing)


class _Comparison:
    """Which indexed videos stay, and what becomes of each file that is none of theirs."""

    def __init__(self, indexed: Sequence[IndexedFile], found: Sequence[FoundFile], same: SameContent) -> None:
        self._indexed, self._found, self._same = indexed, found, same
        self._by_id = {one.video_id: one for one in indexed}
        self._by_path = {one.path: one for one in indexed if one.path is not None}
        self._by_size: dict[int, list[IndexedFile]] = defaultdict(list)
        for one in indexed:
            if one.size is not None and one.path is not None:
                self._by_size[one.size].append(one)
        self._placed = self._places()
        self._stays = set(self._staying())
        self._moved: dict[str, str] = {}  # indexed video -> its new id

    def plan(self, keep_missing: bool) -> SyncPlan:
        plan = SyncPlan(inside=sum(one.inside and one.path is not None for one in self._indexed))
        plan.waiting = [file.path for file in self._found if not file.settled]
        described: dict[str, FoundFile] = {}
        # Files that lie where they lay come first: they keep their ids.
        for file in sorted(self._found, key=lambda file: file.path not in self._placed):
            before = self._placed.get(file.path)
            if not file.settled or (before is not None and before.video_id in self._stays):
                continue
            source = self._source(file, before)
            video_id = file.video_id if before is None else before.video_id
            if before is None and not self._is_free(video_id, source, {*described, *plan.followed}):
                plan.left_out.append(self._name_taken(file))
            elif source is None:
                described[video_id] = file
            else:
                plan.followed[video_id] = Follow(source.video_id, file, self._move(source, video_id))
        for video_id, file in described.items():
            is_new = video_id not in self._by_id or video_id in self._moved
            (plan.added if is_new else plan.changed)[video_id] = file
        ended = self._moved.keys() | described.keys() | plan.followed.keys()
        # A file that is being moved from another disk is there in full for a while before it is settled.
        arriving = {file.size for file in self._found if not file.settled}
        for one in self._indexed:
            if one.video_id in ended:
                continue
            if one.video_id not in self._stays and one.size not in arriving:
                plan.missing.append(one)
                if not keep_missing:
                    continue
            plan.staying.append(one.video_id)
        return plan

    def _places(self) -> dict[Path, IndexedFile]:
        """The indexed video at each file's path; a folder may have two paths, and then the id tells."""
        places, paths = {}, {file.path for file in self._found}
        for file in self._found:
            here = self._by_path.get(file.path)
            named = self._by_id.get(file.video_id)
            if here is None and named is not None and named.path not in paths and _is_one(named, file.path):
                here = named
            if here is not None:
                places[file.path] = here
        return places

    def _staying(self) -> Iterator[str]:
        """Videos whose file is as it was, or not to be judged: it may be half written, lie elsewhere, or be
        there without being looked for.
        """
        for file in self._found:
            before = self._placed.get(file.path)
            if before is not None and (not file.settled or _is_unchanged(before, file)):
                yield before.video_id
        placed = {one.video_id for one in self._placed.values()}
        for one in self._indexed:
            if one.video_id not in placed and (one.path is None or one.there or not one.inside):
                yield one.video_id

    def _source(self, file: FoundFile, before: IndexedFile | None) -> IndexedFile | None:
        """An indexed video of the same content: the one at its path first, then those whose file is gone."""
        known: dict[tuple[str, bool], bool] = {}
        bare: list[IndexedFile] = []
        near = sorted(
            self._by_size.get(file.size, ()), key=lambda one: _distance(one, file, before, self._ends)
        )
        for one in near:
            if one.content is not None:
                key = one.content, one.modified != file.modified
                if key not in known:
                    known[key] = self._same(file.path, *key)
                if known[key]:
                    return one
            elif one.modified is not None and one.modified == file.modified and self._ends(one):
                bare.append(one)
        # Of an earlier version's features no content is known, but a time to the microsecond.
        return bare[0] if len(bare) == 1 else None

    def _ends(self, one: IndexedFile) -> bool:
        """Whether a video's own file is no longer there with its content, and no other file has it yet."""
        return one.video_id not in self._stays and one.video_id not in self._moved

    def _move(self, source: IndexedFile, video_id: str) -> bool:
        moves = self._ends(source) or self._has_moved_here(source, video_id)
        if moves:
            self._moved[source.video_id] = video_id
            self._stays.discard(source.video_id)
        return moves

    def _is_free(self, video_id: str, source: IndexedFile | None, taken: Collection[str]) -> bool:
        """Whether a new file can have its id."""
        old = self._by_id.get(video_id)
        if old is None or video_id in taken:
            return video_id not in taken
        if any(one is old for one in self._placed.values()):
            return False
        return video_id not in self._stays or (
            self._has_moved_here(old, video_id) and (old is source or old.size is None)
        )

    @staticmethod
    def _has_moved_here(one: IndexedFile, video_id: str) -> bool:
        """Whether a video of other places is to be found at these: its collection was moved as a whole."""
        return one.video_id == video_id and one.path is not None and not one.there

    def _name_taken(self, file: FoundFile) -> LeftOut:
        other = self._by_id.get(file.video_id)
        where = f" of {other.path}" if other is not None and other.path is not None else ""
        return LeftOut(
            str(file.path),
            f"{file.path}: would be called '{file.video_id}', but the index has a video '{file.video_id}'"
            f"{where}. Name it apart with --prefix, such as --prefix "
            f"{typed(f'{file.path.parent.name}/')}, or rename the file.",
        )


def _distance(
    one: IndexedFile, file: FoundFile, before: IndexedFile | None, ends: Callable[[IndexedFile], bool]
) -> tuple[bool | str, ...]:
    """Of several videos of one content, which is a file's likeliest origin: the least."""
    return (
        one is not before,
        not ends(one),
        one.modified != file.modified,
        one.video_id != file.video_id,
        one.path is None or one.path.name != file.path.name,
        one.video_id,
    )


def _is_unchanged(before: IndexedFile, file: FoundFile) -> bool:
    return before.size is None or (before.size, before.modified) == (file.size, file.modified)


def _is_one(one: IndexedFile, path: Path) -> bool:
    try:
        return one.path is not None and one.path.samefile(path)
    except OSError:
        return False
