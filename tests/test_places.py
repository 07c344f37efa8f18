"""Places where results are written: what cannot be is found first, and one process holds a place at a time."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmn_index.errors import OutputError
from mmn_index.origin import Known, Origin, path_of, source_of
from mmn_index.places import Hold, check_file, check_folder


@pytest.fixture
def full() -> Iterator[None]:
    """No file may grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_can_be_written_leaves_no_trace(tmp_path: Path) -> None:
    check_file(tmp_path / "new.html")
    check_folder(tmp_path / "new" / "deeper")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").write_text("kept")
    check_file(tmp_path / "old")
    assert (tmp_path / "old").read_text() == "kept"
    check_file(Path("/dev/stdout"), regular=False)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "p.html", "No such file or directory"),
        (tmp_path / "file" / "p.html", "Not a directory"),
        (tmp_path / ("x" * 255), "File name too long"),
        (tmp_path / "pipe", "is a device or a pipe"),
        (Path("/dev/null"), "is a device or a pipe"),
        (Path("/proc/p.html"), "cannot be written"),
    ):
        with pytest.raises(OutputError) as caught:
            check_file(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert says in str(caught.value)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("/nowhere")
    named = [tmp_path / name for name in ("file", "file/a", "dangling", "long" * 100)]
    for path in (*named, Path("/proc/a/b")):
        with pytest.raises(OutputError, match="cannot be written"):
            check_folder(path)


def test_a_full_disk_is_found(tmp_path: Path, full: None) -> None:
    for check in (check_file, check_folder):
        with pytest.raises(OutputError, match="File too large"):
            check(tmp_path / "x")


def test_a_folder_is_held_by_one_until_released_or_killed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    hold = Hold(folder, "busy")
    with pytest.raises(OutputError, match=r"^busy$"):
        Hold(folder, "busy")
    hold.release()
    Hold(folder, "busy").release()
    code = (
        "import sys, time; from pathlib import Path; from mmn_index.places import Hold\n"
        "hold = Hold(Path(sys.argv[1]), ''); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=r"^busy$"):
            Hold(folder, "busy")
        other.kill()
    Hold(folder, "busy")


def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    first = Hold(folder, "busy")
    folder.rmdir()
    second = Hold(folder, "busy")
    first.release()
    with pytest.raises(OutputError):
        Hold(folder, "busy")
    second.release()


def test_any_path_can_be_kept_as_text(tmp_path: Path) -> None:
    for name in (
        b"plain.mp4",
        b"caf\xe9 %41.mp4",
        "日本.mp4".encode(),
        b"line\nbreak.mp4",
        b"fold\xe9r/file://x",
    ):
        path = tmp_path / os.fsdecode(name)
        source_of(path).encode()
        assert path_of(source_of(path)) == path
    assert source_of(tmp_path / "日本%41.mp4") == f"{tmp_path}/日本%41.mp4"


def test_a_file_is_told_from_another_of_its_name(tmp_path: Path) -> None:
    here, there = tmp_path / "a" / "1.mp4", tmp_path / "b" / "1.mp4"
    for path in (here, there):
        path.parent.mkdir()
        path.write_text("as long")
        os.utime(path, ns=(5, 5))
    before, old = Origin.of(here), Origin(str(here))  # an earlier version kept no sizes
    assert before == Origin(str(here), 7, 5)
    assert before.compare(Origin.of(here)) is Known.SAME
    assert old.compare(Origin.of(here)) is Known.SAME
    assert Origin(None).compare(Origin.of(there)) is Known.SAME
    # Of equal size and time, and yet another file: cameras that record together.
    assert before.compare(Origin.of(there)) is Known.ANOTHER
    assert old.compare(Origin.of(there)) is Known.ANOTHER
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert before.compare(Origin.of(tmp_path / "link" / "1.mp4")) is Known.SAME
    os.utime(here, ns=(5, 6))
    assert before.compare(Origin.of(here)) is Known.CHANGED
    here.write_text("longer now")
    os.utime(here, ns=(5, 5))
    assert before.compare(Origin.of(here)) is Known.CHANGED
    assert old.compare(Origin.of(here)) is Known.SAME
    here.unlink()
    assert before.compare(Origin.of(there)) is Known.SAME  # as a collection that was moved
    os.utime(there, ns=(5, 6))
    assert before.compare(Origin.of(there)) is Known.ANOTHER
    assert old.compare(Origin.of(there)) is Known.UNCERTAIN
