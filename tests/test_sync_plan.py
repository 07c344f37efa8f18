"""What a synchronisation decides to do, over any course of a folder."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.index_build.sync_plan import FoundFile, IndexedFile, SyncPlan, plan_sync

ROOT, OTHER = Path("/videos"), Path("/elsewhere")
NAMES = [f"{folder}{name}" for folder in ("", "porch/") for name in ("a.mp4", "a.mkv", "b.mp4", "c.mp4")]


def at(ticks: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=ticks)


@dataclass
class File:
    content: str
    modified: int
    settled: bool = True

    @property
    def size(self) -> int:
        return len(self.content)  # many contents of one size


@dataclass
class World:
    """A folder, and an index that is synchronised with it by plans alone: of each video, the content that was
    described.
    """

    hashes: bool = True
    files: dict[str, File] = field(default_factory=dict)
    index: dict[str, tuple[IndexedFile, str]] = field(default_factory=dict)
    clock: int = 0
    described: list[str] = field(default_factory=list)

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def found(self) -> list[FoundFile]:
        """As `find_videos` has it: of two files of one id, the first."""
        by_id: dict[str, FoundFile] = {}
        for name in sorted(self.files):
            file, video_id = self.files[name], str(Path(name).with_suffix(""))
            by_id.setdefault(
                video_id, FoundFile(video_id, ROOT / name, file.size, at(file.modified), file.settled)
            )
        return list(by_id.values())

    def same(self, path: Path, known: str, all_: bool) -> bool:
        return self.files[str(path.relative_to(ROOT))].content == known

    def sync(self, *, keep_missing: bool = False) -> SyncPlan:
        # Whether a file of the index is there: one whose id another one has taken is.
        indexed = [
            replace(one, there=one.path is not None and self.is_there(one.path))
            for one, _ in self.index.values()
        ]
        plan = plan_sync(indexed, self.found(), self.same, keep_missing=keep_missing)
        old, self.index = self.index, {}
        self.described = []
        for video_id in plan.staying:
            self.index[video_id] = old[video_id]
        for video_id, file in (plan.added | plan.changed).items():
            content = self.files[str(file.path.relative_to(ROOT))].content
            self.described.append(content)
            self.put(video_id, file, content)
        for video_id, follow in plan.followed.items():
            self.put(video_id, follow.file, old[follow.source][1])
        return plan

    def is_there(self, path: Path) -> bool:
        return path.is_relative_to(ROOT) and str(path.relative_to(ROOT)) in self.files

    def put(self, video_id: str, file: FoundFile, content: str) -> None:
        assert video_id not in self.index, "one id twice"
        known = content if self.hashes else None
        self.index[video_id] = (
            IndexedFile(video_id, file.path, file.size, file.modified, known),
            content,
        )

    def content_of_index(self) -> dict[Path | None, str]:
        return {one.path: content for one, content in self.index.values()}


CONTENTS = st.sampled_from(["x", "y", "xx", "yy", "zz"])
STEP = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), CONTENTS),
    st.tuples(st.just("touch"), st.sampled_from(NAMES), st.just("")),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just("")),
    st.tuples(st.just("move"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("swap"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("copy"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("sync"), st.just(""), st.just("")),
)


def do(world: World, verb: str, name: str, other: str) -> None:
    if verb == "write":
        world.files[name] = File(other, world.tick())
    elif name in world.files and verb == "touch":
        world.files[name] = File(world.files[name].content, world.tick())
    elif name in world.files and verb == "delete":
        del world.files[name]
    elif name in world.files and verb == "move":
        world.files[other] = world.files.pop(name)
    elif name in world.files and verb == "copy":
        world.files[other] = File(world.files[name].content, world.tick())
    elif name in world.files and other in world.files and verb == "swap":
        world.files[name], world.files[other] = world.files[other], world.files[name]


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(STEP, max_size=25), hashes=st.booleans())
def test_any_course_of_a_folder_ends_in_what_is_there(
    steps: list[tuple[str, str, str]], hashes: bool
) -> None:
    world = World(hashes)
    for verb, name, other in [*steps, ("sync", "", "")]:
        if verb != "sync":
            do(world, verb, name, other)
            continue
        known = {content for _, content in world.index.values()}
        plan = world.sync()
        found = {file.path: world.files[str(file.path.relative_to(ROOT))].content for file in world.found()}
        left_out = {Path(one.what) for one in plan.left_out}
        index = world.content_of_index()
        # A file that cannot be indexed for its id shares it with another one that is there.
        assert {path: content for path, content in found.items() if path not in left_out} == {
            path: content for path, content in index.items() if path in found
        }
        assert {path for path in index if path not in found} <= {ROOT / name for name in world.files}
        if hashes:
            assert not set(world.described) & known, "what the index knew was described again"
        again = world.sync()
        assert not (again.added)
        assert not (again.changed)
        assert not (again.followed)
        assert not (again.missing)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEP, max_size=20))
def test_what_is_missing_is_kept_where_one_wants_it(steps: list[tuple[str, str, str]]) -> None:
    world = World()
    for verb, name, other in [*steps, ("sync", "", "")]:
        if verb != "sync":
            do(world, verb, name, other)
            continue
        before = set(world.index)
        plan = world.sync(keep_missing=True)
        moved = {follow.source for follow in plan.followed.values() if follow.moved}
        assert before - set(world.index) <= moved
        assert {one.video_id for one in plan.missing} <= set(world.index)


def small(**files: File) -> World:
    """A world of files that are indexed."""
    world = World(files={f"{name}.mp4": file for name, file in files.items()}, clock=10)
    world.sync()
    return world


def kinds(plan: SyncPlan) -> tuple[list[str], list[str], list[str], list[str]]:
    return (
        sorted(plan.added),
        sorted(plan.changed),
        sorted(plan.renamed),
        sorted(one.video_id for one in plan.missing),
    )


def test_a_renamed_file_is_followed_and_a_copy_is_no_new_work() -> None:
    world = small(a=File("xx", 1), b=File("yy", 2))
    world.files["c.mp4"] = world.files.pop("a.mp4")
    world.files["d.mp4"] = File("yy", 9)
    plan = world.sync()
    assert kinds(plan) == ([], [], ["c"], [])
    assert {name: (one.source, one.moved) for name, one in plan.followed.items()} == {
        "c": ("a", True),
        "d": ("b", False),
    }
    assert sorted(world.index) == ["b", "c", "d"]


def test_swapped_names_are_followed_both() -> None:
    world = small(a=File("xx", 1), b=File("yy", 2))
    world.files["a.mp4"], world.files["b.mp4"] = world.files["b.mp4"], world.files["a.mp4"]
    plan = world.sync()
    assert sorted(plan.renamed) == ["a", "b"]
    assert not plan.added
    assert not plan.changed


def test_a_new_file_of_a_renamed_ones_name_is_new() -> None:
    world = small(a=File("xx", 1))
    world.files["b.mp4"] = world.files.pop("a.mp4")
    world.files["a.mp4"] = File("zz", 9)
    assert kinds(world.sync()) == (["a"], [], ["b"], [])


def test_a_file_that_was_only_touched_is_not_described_again() -> None:
    world = small(a=File("xx", 1))
    do(world, "touch", "a.mp4", "")
    plan = world.sync()
    assert kinds(plan) == ([], [], [], [])
    assert list(plan.followed) == ["a"]
    assert world.index["a"][0].modified == at(11)


def test_another_suffix_is_the_same_video_changed() -> None:
    world = small(a=File("xx", 1))
    del world.files["a.mp4"]
    world.files["a.mkv"] = File("yyy", 9)
    for keep in (False, True):
        assert kinds(replace_world(world).sync(keep_missing=keep)) == ([], ["a"], [], [])


def replace_world(world: World) -> World:
    return replace(world, files=dict(world.files), index=dict(world.index))


def test_a_file_that_is_being_written_waits_and_holds_what_it_may_replace() -> None:
    world = small(a=File("xx", 1), b=File("yyy", 2))
    world.files["a.mp4"] = File("zzzz", 9, settled=False)
    world.files["c.mp4"] = File("yyy", 2, settled=False)  # b, on its way from another disk
    del world.files["b.mp4"]
    plan = world.sync()
    assert kinds(plan) == ([], [], [], [])
    assert sorted(plan.waiting) == [ROOT / "a.mp4", ROOT / "c.mp4"]
    assert sorted(world.index) == ["a", "b"]
    world.files["c.mp4"].settled = world.files["a.mp4"].settled = True
    assert kinds(world.sync()) == ([], ["a"], ["c"], [])


def test_videos_of_other_places_are_left_alone_but_for_a_collection_that_was_moved() -> None:
    """And one whose file nobody knows."""
    moved = IndexedFile("a", OTHER / "a.mp4", 2, at(1), "xx", there=False, inside=False)
    files = [FoundFile("a", ROOT / "a.mp4", 2, at(5)), FoundFile("b", ROOT / "b.mp4", 2, at(5))]
    elsewhere = [
        moved,
        IndexedFile("b", OTHER / "b.mp4", 2, at(1), "yy", there=False, inside=False),
        IndexedFile("c", OTHER / "c.mp4", 2, at(1), "zz", there=False, inside=False),
        IndexedFile("d", None),
    ]
    plan = plan_sync(elsewhere, files, lambda path, known, all_: path.stem == "a" and known == "xx")
    assert plan.followed["a"].moved
    assert plan.staying == ["b", "c", "d"]
    assert [one.what for one in plan.left_out] == [str(ROOT / "b.mp4")]
    assert "the index has a video 'b' of /elsewhere/b.mp4" in plan.left_out[0].why
    assert plan.inside == 0
    # Where it is still there, this is another file of its name.
    plan = plan_sync([replace(moved, there=True)], files[:1], lambda *_: True)
    assert plan.staying == ["a"]
    assert len(plan.left_out) == 1


def test_a_file_that_nobody_can_see_is_not_missing() -> None:
    """One in a folder that cannot be read, or that was named itself for its suffix."""
    hidden = IndexedFile("a", ROOT / "locked" / "a.mp4", 2, at(1), "xx", there=True)
    plan = plan_sync([hidden], [], lambda *_: False)
    assert plan.staying == ["a"]
    assert plan.missing == []


def test_features_of_earlier_versions_are_taken_for_the_file_at_their_path() -> None:
    old = [IndexedFile("a", ROOT / "a.mp4"), IndexedFile("b", ROOT / "b.mp4", there=False)]
    files = [FoundFile("a", ROOT / "a.mp4", 7, at(3)), FoundFile("c", ROOT / "c.mp4", 7, at(3))]
    plan = plan_sync(old, files, lambda *_: False)
    assert (plan.staying, sorted(plan.added), [one.video_id for one in plan.missing]) == (["a"], ["c"], ["b"])


def test_all_of_a_file_is_read_only_where_its_time_leaves_a_doubt() -> None:
    asked: list[tuple[str, bool]] = []

    def same(path: Path, known: str, all_: bool) -> bool:
        asked.append((path.stem, all_))
        return True

    gone = [
        IndexedFile(name, ROOT / f"{name}.mp4", 2, at(n), name, there=False) for n, name in enumerate("ab")
    ]
    files = [FoundFile("x", ROOT / "x.mp4", 2, at(0)), FoundFile("y", ROOT / "y.mp4", 2, at(9))]
    plan = plan_sync(gone, files, same)
    assert asked == [("x", False), ("y", True)]
    assert {name: one.source for name, one in plan.followed.items()} == {"x": "a", "y": "b"}
