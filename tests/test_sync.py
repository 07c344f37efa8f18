"""An index that is kept in step with a folder; sync_plan has its own tests, and worker_sync.py kills it."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from folders import films, indexed_folder, rows
from mmn_index.index_build import describe as describing
from mmn_index.index_build import follow
from mmn_index.index_build.sync import Places, Recipe, sync
from mmn_index.index_build.verify import verify
from tiny_dual_encoders import save

from mmn_index import origin
from mmn_index.errors import (
    AnnotationError,
    ConfigError,
    MissingError,
    MmnIndexError,
    OutputError,
    VideoError,
)
from mmn_index.index import IndexWriter, MomentIndex
from mmn_index.index.manifest import read_manifest


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def place(reel: Path, pixel_model: Path, tmp_path: Path) -> Path:
    """A folder with four videos, beside its index c.mmn."""
    folder = tmp_path / "videos"
    (folder / "porch").mkdir(parents=True)
    for number, name in enumerate(["a", "b", "porch/c", "porch/d"]):
        shutil.copy2(reel / f"{number}.mp4", folder / f"{name}.mp4")
    indexed_folder(folder, pixel_model, tmp_path / "c.mmn")
    return folder


def test_a_folder_that_changed_is_followed_in_one_change(
    place: Path, reel: Path, pixel_model: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    assert "4 videos; 0 were described" in command.ok("sync", place, "--index", root).stderr
    assert MomentIndex(root).version == 1
    (place / "a.mp4").rename(place / "porch" / "moved.mp4")
    (place / "b.mp4").unlink()
    shutil.copy(reel / "4.mp4", place / "new.mp4")
    shutil.copy(reel / "5.mp4", place / "porch" / "c.mp4")
    os.utime(place / "porch" / "d.mp4")
    said = command.ok("sync", place, "--index", root).stderr
    assert "Videos: 1 new, 1 changed, 1 renamed, 1 copied or touched, 1 gone." in said
    assert "Removed from the index, as their files are gone: b." in said
    assert said.index("Removed") < said.index("4 videos; 2 were described")
    index = MomentIndex(root)
    assert index.version == 2
    assert rows(index) == rows(indexed_folder(place, pixel_model, tmp_path / "fresh.mmn"))
    assert verify(root) == []
    assert "0 were described" in command.ok("sync", place, "--index", root).stderr
    assert MomentIndex(root).version == 2
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["c.h5", "c.mmn", "fresh.h5", "fresh.mmn", "videos"]


def test_a_renamed_video_is_not_described_and_its_moments_are_the_same_bytes(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "c.mmn"
    before = MomentIndex(root)
    old = [x.numpy().tobytes() for x in before.embeddings(before.rows_of(before.number_of("a")))]
    monkeypatch.setattr("mmn_index.index_build.sync.describe", None)  # would fail
    monkeypatch.setattr("mmn_index.checkpoint.load", None)
    place.rename(tmp_path / "moved")
    (tmp_path / "moved" / "a.mp4").rename(tmp_path / "moved" / "z.mp4")
    result = sync(root, Places([tmp_path / "moved"]))
    after = MomentIndex(root)
    assert sorted(after.video_ids) == ["a", "b", "porch/c", "porch/d", "z"]
    number = after.number_of("z")
    assert [x.numpy().tobytes() for x in after.embeddings(after.rows_of(number))] == old
    assert after.video(number).uri == str(tmp_path / "moved" / "z.mp4")
    assert after.videos.to_pylist()[number]["name"] == "z.mp4"
    assert result.described == 0
    # Of a file elsewhere that has another name now, nobody knows that it is gone for good.
    assert f"the files of 1 videos of other places are gone, such as {place / 'a.mp4'}" in result.remarks[-1]
    with pytest.raises(MissingError, match="is not there any more"):
        sync(root, Places([tmp_path / "moved", place]))
    assert sync(root, Places([tmp_path / "moved", place], remove_missing=True)).videos == 4


LOST: Mapping[str, tuple[list[str], str]] = {
    "all": (["a.mp4", "b.mp4", "porch/c.mp4", "porch/d.mp4"], "holds no video any more"),
    "most": (["a.mp4", "b.mp4", "porch/c.mp4"], "3 of its 4 videos of these places are gone"),
    "a folder": (["porch/c.mp4", "porch/d.mp4"], "porch: is empty now, and the index has 2 videos of it"),
}


@pytest.mark.parametrize("what", LOST)
def test_what_looks_like_a_disk_that_is_not_mounted_is_refused(
    place: Path, tmp_path: Path, command: Command, what: str
) -> None:
    root, (names, says) = tmp_path / "c.mmn", LOST[what]
    for name in names:
        (place / name).unlink()
    before = (root / "manifest.json").read_bytes()
    command.fails("sync", place, "--index", root, says=says)
    assert (root / "manifest.json").read_bytes() == before
    said = command.ok("sync", place, "--index", root, "--keep-missing").stderr
    assert f"{len(names)} gone." in said
    assert "Kept in the index, though their files are gone: a" in said or what == "a folder"
    assert (root / "manifest.json").read_bytes() == before
    command.ok("sync", place, "--index", root, "--remove-missing")
    assert len(MomentIndex(root).video_ids) == 4 - len(names)


def test_a_place_that_is_not_there_is_refused(
    place: Path, reel: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    place.rename(tmp_path / "hidden")
    command.fails("sync", place, "--index", root, says=f"{place}: is not there any more, and the index has 4")
    command.fails("sync", tmp_path / "x", "--index", root, says=f"{tmp_path / 'x'}: no such file or folder")
    # One of two disks.
    (tmp_path / "other").mkdir()
    for number in (4, 5, 6):
        shutil.copy(reel / f"{number}.mp4", tmp_path / "other")
    command.fails("sync", place, tmp_path / "other", "--index", root, says="is not there any more")
    command.ok("sync", place, tmp_path / "other", "--index", root, "--keep-missing")
    assert len(MomentIndex(root).video_ids) == 7
    (tmp_path / "hidden").rename(place)
    assert sync(root, Places([place, tmp_path / "other"])).described == 0
    assert "exclude each other" in command.run("sync", place, "--keep-missing", "--remove-missing").stderr


def test_one_deleted_video_of_a_folder_is_no_lost_disk(place: Path, tmp_path: Path) -> None:
    (place / "porch" / "c.mp4").unlink()
    assert sync(tmp_path / "c.mmn", Places([place])).videos == 3
    (place / "porch" / "d.mp4").unlink()
    (place / "porch").rmdir()
    assert sync(tmp_path / "c.mmn", Places([place])).videos == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_loses_nothing(place: Path, tmp_path: Path) -> None:
    (place / "porch").chmod(0)
    try:
        result = sync(tmp_path / "c.mmn", Places([place]))
    finally:
        (place / "porch").chmod(0o755)
    assert result.videos == 4
    assert [one.what for one in result.left_out] == [str(place / "porch")]


def test_a_folder_that_fails_to_read_loses_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk that breaks, or a server that is away."""
    scandir, lstat = os.scandir, Path.lstat

    def broken(path: Any) -> Any:
        if str(path).endswith("porch"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    def stat(path: Path) -> Any:
        if path.parent.name == "porch":
            raise OSError(5, "Input/output error")
        return lstat(path)

    monkeypatch.setattr(os, "scandir", broken)
    monkeypatch.setattr(Path, "lstat", stat)
    result = sync(tmp_path / "c.mmn", Places([place]))
    assert result.videos == 4
    assert "Input/output error" in result.left_out[0].why


def test_videos_of_other_places_stay(place: Path, reel: Path, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(reel / "5.mp4", tmp_path / name / f"{name}.mp4")
    assert sync(root, Places([tmp_path / "one"])).videos == 5
    shutil.copy(reel / "6.mp4", tmp_path / "two" / "a.mp4")
    result = sync(root, Places([tmp_path / "two"]))
    assert (result.videos, result.described) == (6, 0)  # two.mp4 is a copy of one.mp4
    assert [one.what for one in result.left_out] == [str(tmp_path / "two" / "a.mp4")]
    assert f"the index has a video 'a' of {place / 'a.mp4'}" in result.left_out[0].why
    assert sync(root, Places([tmp_path / "two"], prefix="two/")).videos == 7
    assert "two/a" in MomentIndex(root).video_ids
    # Known by its path, a video keeps the id that it has.
    assert sync(root, Places([tmp_path / "two"])).left_out == []


def test_known_videos_keep_their_ids_beside_others_of_the_same_name(
    place: Path, reel: Path, tmp_path: Path
) -> None:
    root, other = tmp_path / "c.mmn", tmp_path / "other"
    other.mkdir()
    shutil.copy(reel / "4.mp4", other / "a.mp4")
    sync(root, Places([other], prefix="other/"))
    shutil.copy(reel / "5.mp4", other / "a.mp4")
    shutil.copy(reel / "6.mp4", other / "b.mp4")
    result = sync(root, Places([other, place]))
    assert list(result.plan.changed) == ["other/a"]
    assert [one.what for one in result.left_out] == [str(other / "b.mp4")]
    assert sorted(MomentIndex(root).video_ids) == ["a", "b", "other/a", "porch/c", "porch/d"]


def test_ids_that_cannot_lie_in_one_feature_file_come_one_after_the_other(
    place: Path, reel: Path, tmp_path: Path
) -> None:
    root = tmp_path / "c.mmn"
    shutil.copy(reel / "4.mp4", place / "porch" / "a.mp4")
    sync(root, Places([place / "porch" / "a.mp4"], prefix="a/"))  # beside "a"
    shutil.copy(reel / "5.mp4", place / "porch" / "a.mp4")
    shutil.copy(reel / "6.mp4", place / "a.mp4")
    first, then = sync(root, Places([place])), sync(root, Places([place]))
    assert (first.described, len(first.left_out)) == (1, 1)
    assert (then.described, then.left_out) == (1, [])
    assert len(MomentIndex(root).video_ids) == 5


def test_a_file_of_two_places_is_one_video(place: Path, reel: Path, tmp_path: Path) -> None:
    shutil.copy(reel / "4.mp4", place / "porch" / "new.mp4")
    sync(tmp_path / "c.mmn", Places([place / "porch", place]))
    assert sorted(MomentIndex(tmp_path / "c.mmn").video_ids) == ["a", "b", "new", "porch/c", "porch/d"]


def test_a_broken_file_is_left_out_and_tried_again(
    place: Path, reel: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    (place / "new.mp4").write_bytes(b"no video")
    (place / "a.mp4").write_bytes((reel / "0.mp4").read_bytes()[:100])
    before = (root / "manifest.json").read_bytes()
    command.fails("sync", place, "--index", root, "--strict", says="Without --strict they are left out")
    assert (root / "manifest.json").read_bytes() == before
    result = command.run("sync", place, "--index", root)
    assert result.exit_code == 3
    assert "2 left out in all" in result.stderr
    assert sorted(MomentIndex(root).video_ids) == ["b", "porch/c", "porch/d"]
    shutil.copy(reel / "4.mp4", place / "new.mp4")
    shutil.copy(reel / "0.mp4", place / "a.mp4")
    command.ok("sync", place, "--index", root)
    assert sorted(MomentIndex(root).video_ids) == ["a", "b", "new", "porch/c", "porch/d"]
    assert not (tmp_path / "c.mmn.left-out.txt").exists()


def test_a_file_that_changes_while_it_is_described_waits_for_the_next_run(
    place: Path, reel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(reel / "4.mp4", place / "new.mp4")
    describe = describing.describe

    def slow(path: Path, *more: Any) -> Any:
        found = describe(path, *more)
        shutil.copy(reel / "5.mp4", path)
        return found

    monkeypatch.setattr(describing, "describe", slow)
    result = sync(tmp_path / "c.mmn", Places([place]))
    assert [one.why for one in result.left_out] == [
        f"{place / 'new.mp4'}: has changed while it was described. The next run describes it again."
    ]
    assert result.videos == 4
    monkeypatch.undo()
    assert sync(tmp_path / "c.mmn", Places([place])).videos == 5
    row = rows(MomentIndex(tmp_path / "c.mmn"))["new"]
    assert origin.same_content(reel / "5.mp4", row["content_hash"])


def test_columns_of_a_user_follow_their_video(
    place: Path, reel: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    table = tmp_path / "m.csv"
    table.write_text("video_id,who,name\na,Ann,Ann's door\nb,Bob,\nnew,Zoe,\n")
    command.ok("update", tmp_path / "c.h5", "--index", root, "--metadata", table)
    (place / "a.mp4").rename(place / "z.mp4")
    shutil.copy(reel / "5.mp4", place / "b.mp4")
    shutil.copy(reel / "6.mp4", place / "new.mp4")
    command.ok("sync", place, "--index", root)
    found = {name: (row["who"] or None, row["name"]) for name, row in rows(MomentIndex(root)).items()}
    assert found["z"] == ("Ann", "Ann's door")
    assert found["b"] == ("Bob", "b.mp4")
    assert found["new"] == (None, "new.mp4")
    (place / "z.mp4").rename(place / "a.mp4")
    (place / "new.mp4").rename(place / "newer.mp4")
    table.write_text("video_id,who\nnewer,Zoe\n")
    command.ok("sync", place, "--index", root, "--metadata", table)
    found = {name: (row["who"] or None, row["name"]) for name, row in rows(MomentIndex(root)).items()}
    assert found["a"] == ("Ann", "Ann's door")
    assert found["newer"] == ("Zoe", "newer.mp4")
    version = MomentIndex(root).version
    table.write_text("video_id,who,seen\na,7,1\nb,,2\n")
    for _ in range(2):
        command.ok("sync", place, "--index", root, "--metadata", table)  # text, as in the index
        found = {name: (row["who"], row["seen"]) for name, row in rows(MomentIndex(root)).items()}
        assert (found["a"], found["b"], found["newer"]) == (("7", 1), ("Bob", 2), ("Zoe", None))
        assert MomentIndex(root).version == version + 1
    table.write_text("video_id,size\na,big\n")
    (place / "b.mp4").rename(place / "y.mp4")
    with pytest.raises(AnnotationError, match="column 'size' holds string, in the index int64"):
        sync(root, Places([place], metadata=table))


def test_many_small_changes_do_not_make_many_segments(place: Path, reel: Path, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    for number in range(12):
        shutil.copy(reel / f"{number % 7}.mp4", place / f"n{number}.mp4")
        if number % 3 == 2:
            (place / f"n{number - 1}.mp4").unlink()
        sync(root, Places([place]))
        assert len(MomentIndex(root).segments) <= follow._MOST
    assert sorted(MomentIndex(root).video_ids) == sorted(
        str(path.relative_to(place).with_suffix("")) for path in place.rglob("*.mp4")
    )
    assert verify(root) == []


def test_how_the_index_was_made_has_to_be_known(
    place: Path, reel: Path, tmp_path: Path, lively: Path, command: Command
) -> None:
    shutil.copy(reel / "4.mp4", place / "new.mp4")
    strange = Path(shutil.copytree(lively / "collection.mmn", tmp_path / "strange.mmn"))
    command.fails(
        "sync",
        place,
        "--index",
        strange,
        says="its features are of backbone 'random', which is not found here",
    )
    command.fails(
        "sync",
        place,
        "--index",
        strange,
        "--backbone",
        "pixels",
        says="its features are of backbone 'random', --backbone pixels is 'pixels'",
    )
    with IndexWriter(strange) as writer:
        assert writer.manifest is not None
        writer.publish(replace(writer.manifest, features=None))
    with pytest.raises(ConfigError, match="does not say with which backbone"):
        sync(strange, Places([place]))
    with pytest.raises(ConfigError, match="more than 0"):
        sync(tmp_path / "c.mmn", Places([place]), Recipe(rate=-1.0))
    command.fails("sync", place, "--index", tmp_path / "none.mmn", says="none.mmn: does not exist")
    assert not (tmp_path / "none.mmn").exists()
    with IndexWriter(tmp_path / "c.mmn"), pytest.raises(OutputError, match="another process is writing"):
        sync(tmp_path / "c.mmn", Places([place]))


def test_an_index_of_a_dual_encoder_in_a_folder_is_followed(
    place: Path, reel: Path, tmp_path: Path, command: Command
) -> None:
    """Built of videos in one command; windows of a second, so that each video has several."""
    encoder, root, options = save("clip", tmp_path / "encoder"), tmp_path / "dual.mmn", ("--window", 1, "-y")
    command.ok("build", place, "--model", encoder, "-o", root, *options)
    assert MomentIndex(root).manifest.spaces == 1
    (place / "b.mp4").rename(place / "z.mp4")
    before = rows(MomentIndex(root))
    command.ok("sync", place, "--index", root)
    after = rows(MomentIndex(root))
    assert after["z"]["embeddings"] == before["b"]["embeddings"]
    assert after["z"]["spans"] == before["b"]["spans"]
    assert len(after["z"]["spans"]) > len(MomentIndex(root).manifest.grid)
    shutil.copy(reel / "4.mp4", place / "new.mp4")
    assert "1 was described" in command.ok("sync", place, "--index", root).stderr
    assert sorted(MomentIndex(root).video_ids) == ["a", "new", "porch/c", "porch/d", "z"]
    assert verify(root) == []
    encoder.rename(tmp_path / "moved")
    shutil.copy(reel / "5.mp4", place / "last.mp4")
    command.fails("sync", place, "--index", root, says="Name its folder with --backbone")
    said = command.ok("sync", place, "--index", root, "--backbone", tmp_path / "moved").stderr
    assert "1 was described" in said


def test_what_a_killed_run_left_is_used_only_where_it_fits(place: Path, reel: Path, tmp_path: Path) -> None:
    """Features of a file that has another place now, or whose id is in the way, are dropped."""
    from mmn_index.index_build.extract import extract

    root, left = tmp_path / "c.mmn", tmp_path / "c.mmn.sync.h5"
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(reel / "4.mp4", tmp_path / "elsewhere" / "new.mp4")
    shutil.copy(reel / "5.mp4", tmp_path / "elsewhere" / "far.mp4")
    extract([tmp_path / "elsewhere"], left)
    shutil.copy(reel / "6.mp4", place / "new.mp4")
    (place / "far").mkdir()
    shutil.copy(reel / "0.mp4", place / "far" / "x.mp4")
    assert sync(root, Places([place])).left_out == []
    row = rows(MomentIndex(root))["new"]
    assert origin.same_content(reel / "6.mp4", row["content_hash"])
    extract([tmp_path / "elsewhere"], left, rate=9)
    shutil.copy(reel / "4.mp4", place / "newer.mp4")
    assert sync(root, Places([place])).left_out == []
    assert not left.exists()


def test_a_name_that_is_not_utf8_is_followed(place: Path, reel: Path, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    odd = Path(os.fsdecode(os.fsencode(place) + b"/caf\xe9.mp4"))
    (place / "a.mp4").rename(odd)
    assert sync(root, Places([place])).described == 0
    assert rows(MomentIndex(root))["caf\\xe9"]["name"] == "caf\\xe9.mp4"
    odd.rename(place / "b2.mp4")
    assert sync(root, Places([place])).plan.renamed == ["b2"]


def test_nothing_of_the_kind_is_an_index_or_a_video(place: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file or folder"):
        sync(tmp_path / "c.mmn", Places([tmp_path / "nothing"]))
    (tmp_path / "empty").mkdir()
    assert sync(tmp_path / "c.mmn", Places([tmp_path / "empty"])).videos == 4
    with pytest.raises(MmnIndexError, match="does not exist"):
        sync(tmp_path / "x.mmn", Places([place]))
    assert issubclass(MissingError, VideoError)
    assert read_manifest(tmp_path / "c.mmn").version == 1


def test_a_watch_that_cannot_be_says_so_before_anything(
    place: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    failed = command.fails(
        "sync", place, "--index", tmp_path / "c.mmn", "--watch", says="needs the package watchfiles"
    )
    assert len(failed.stderr.splitlines()) == 1
