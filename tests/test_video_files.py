"""Which files of a folder are videos, what each is called, and what is said of the others."""

import os
import socket
from pathlib import Path

import pytest
from mmn_index.index_build.video_files import Names, find_videos

from mmn_index.errors import ConfigError, VideoError
from mmn_index.video.suffixes import SUFFIXES


def make(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_old_and_rare_suffixes_are_videos_and_pictures_are_not(tmp_path: Path) -> None:
    known = [
        "mp4",
        "MP4",
        "mov",
        "qt",
        "mkv",
        "webm",
        "avi",
        "divx",
        "wmv",
        "asf",
        "mpg",
        "mpe",
        "m2v",
        "mod",
        "tod",
        "dv",
        "3g2",
        "f4v",
        "flv",
        "rmvb",
        "ogm",
        "mts",
        "vob",
    ]
    make(*(tmp_path / f"{number}.{suffix}" for number, suffix in enumerate(known)))
    make(
        *(tmp_path / f"x{n}.jpg" for n in range(3)),
        tmp_path / "a.gif",
        tmp_path / "a.GIF",
        tmp_path / "notes",
    )
    found = find_videos([tmp_path])
    assert sorted(found.videos) == sorted(str(number) for number in range(len(known)))
    assert found.left_out == []
    assert found.remarks == [
        (
            f"{tmp_path}: 6 files of other suffixes left out (.jpg 3, .gif 2, none 1). A file that is named "
            "itself is tried whatever its suffix."
        )
    ]
    assert not SUFFIXES & {".jpg", ".png", ".gif", ".webp", ".mp3", ".srt", ".txt", ".json", ".h5"}


def test_many_suffixes_take_one_line(tmp_path: Path) -> None:
    make(tmp_path / "a.mp4", *(tmp_path / f"a.{n:03}" for n in range(250)))
    (remark,) = find_videos([tmp_path]).remarks
    assert remark.startswith(f"{tmp_path}: 250 files of other suffixes left out (.000 1, .001 1,")
    assert " and 242 more suffixes)" in remark


def test_hidden_files_and_folders_are_counted(tmp_path: Path) -> None:
    make(tmp_path / "a.mp4", tmp_path / "._a.mp4", tmp_path / ".trash" / "b.mp4", tmp_path / ".nomedia")
    found = find_videos([tmp_path])
    assert list(found.videos) == ["a"]
    assert found.remarks == [f"{tmp_path}: 2 hidden files and folders left out (the names begin with a dot)."]
    assert list(find_videos([tmp_path / ".trash"]).videos) == ["b"]  # named, it is searched


def test_a_folder_without_videos_says_what_it_has(tmp_path: Path) -> None:
    make(tmp_path / "a.gif", tmp_path / ".b.mp4")
    with pytest.raises(VideoError, match=r"no video found.*\.gif 1.*1 hidden file or folder"):
        find_videos([tmp_path])


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder with links: out of it, into it, to itself, to nothing, and between files."""
    videos, disk = tmp_path / "videos", tmp_path / "disk"
    make(videos / "a.mp4", videos / "in" / "b.mp4", disk / "c.mp4", disk / "deep" / "d.mp4")
    (videos / "0_to_in").symlink_to("in")  # sorts before what it leads to
    (videos / "disk").symlink_to(disk)
    (videos / "in" / "up").symlink_to("..")
    (videos / "self").symlink_to("self")
    (disk / "deep" / "back").symlink_to(videos)
    (disk / "again").symlink_to(disk)
    (videos / "0_a.mp4").symlink_to("a.mp4")
    (videos / "gone.mp4").symlink_to("/nowhere/gone.mp4")
    (videos / "gone.txt").symlink_to("/nowhere/gone.txt")
    return videos


def test_linked_folders_are_not_entered_and_said(linked: Path) -> None:
    found = find_videos([linked])
    assert found.videos == {"0_a": linked / "0_a.mp4", "a": linked / "a.mp4", "in/b": linked / "in" / "b.mp4"}
    assert [one.why for one in found.left_out] == [
        f"{linked / 'gone.mp4'}: is a link to /nowhere/gone.mp4, which is not there."
    ]
    other, links = found.remarks
    assert "2 files of other suffixes left out" in other  # "self" and "gone.txt"
    assert links == (
        f"{linked}: 3 linked folders not entered ({linked / '0_to_in'}, {linked / 'disk'}, "
        f"{linked / 'in' / 'up'}); --follow-links enters them."
    )


def test_links_are_followed_without_end_and_without_a_file_twice(linked: Path) -> None:
    found = find_videos([linked], follow_links=True)
    assert {video_id: path.relative_to(linked).as_posix() for video_id, path in found.videos.items()} == {
        "a": "a.mp4",
        "in/b": "in/b.mp4",
        "disk/c": "disk/c.mp4",
        "disk/deep/d": "disk/deep/d.mp4",
    }
    assert not any("not entered" in remark for remark in found.remarks)
    both = find_videos([linked, linked.parent / "disk"], follow_links=True)
    assert both.videos == found.videos


def test_what_is_no_file_is_told_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a.mp4", tmp_path / "folder.mp4" / "b.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door.mkv")
        found = find_videos([tmp_path])
    assert list(found.videos) == ["a", "folder.mp4/b"]
    assert sorted(one.why for one in found.left_out) == [
        f"{tmp_path / name}: is no regular file, expected a video file." for name in ("door.mkv", "pipe.mp4")
    ]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a.mp4", tmp_path / "secret" / "b.mp4")
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find_videos([tmp_path])
    assert list(found.videos) == ["a"]
    assert [one.why for one in found.left_out] == [
        f"{tmp_path / 'secret'}: the folder cannot be read (Permission denied)."
    ]


def test_names_that_are_not_utf8_are_kept_readable_and_apart(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    os.mkdir(folder + b"/fold\xe9r")
    for name in (b"caf\xe9.mp4", b"caf\xe8.mp4", "café.mp4".encode(), b"fold\xe9r/\xff.mp4"):
        with open(folder + b"/" + name, "wb"):
            pass
    found = find_videos([tmp_path])
    assert sorted(found.videos) == ["caf\\xe8", "caf\\xe9", "café", "fold\\xe9r/\\xff"]
    assert all(path.is_file() for path in found.videos.values())
    with open(folder + b"/caf\\xe9.mp4", "wb"):  # the escape, written out
        pass
    clash = find_videos([tmp_path])
    assert len(clash.videos) == 4
    assert len(clash.left_out) == 1
    assert "would be called 'caf\\xe9'" in clash.left_out[0].why


def test_a_prefix_keeps_folders_of_the_same_names_apart(tmp_path: Path) -> None:
    make(tmp_path / "camB" / "0001.mp4")
    assert list(find_videos([tmp_path / "camB"], prefix="camB/").videos) == ["camB/0001"]
    assert list(find_videos([tmp_path / "camB" / "0001.mp4"], prefix="b-").videos) == ["b-0001"]
    assert list(find_videos([tmp_path / "camB"], prefix="caf\udce9/").videos) == ["caf\\xe9/0001"]
    for prefix in ("/", "/b/", "b//", "./", "b/../"):
        with pytest.raises(ConfigError, match="makes no ids"):
            find_videos([tmp_path / "camB"], prefix=prefix)


def test_a_name_that_is_only_a_dot_is_no_id(tmp_path: Path) -> None:
    make(tmp_path / "..mp4", tmp_path / "a.mp4")
    found = find_videos([tmp_path / "..mp4", tmp_path / "a.mp4"])
    assert list(found.videos) == ["a"]
    assert "has no name before its suffix" in found.left_out[0].why


def test_ids_that_cannot_stand_side_by_side() -> None:
    names = Names(["a/b", "c"])
    assert [names.in_the_way(name) for name in ("a", "a/b", "a/b/x", "c/x", "a/x", "ab", "d")] == [
        *("a/b", "a/b", "a/b", "c"),
        *(None, None, None),
    ]
