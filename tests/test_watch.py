"""A folder that is watched: what happens there is in the index a little later."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from folders import films, indexed_folder, rows
from mmn_index.index_build.sync import Places
from mmn_index.index_build.sync_plan import FoundFile, SyncPlan
from mmn_index.index_build.watch import Listener, Settling, watch

from mmn_index.index import IndexWriter, MomentIndex

pytest.importorskip("watchfiles")
STILL = 0.4  # seconds
LONG = 240.0


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films(tmp_path_factory.mktemp("films"))


@pytest.fixture
def place(reel: Path, pixel_model: Path, tmp_path: Path) -> Path:
    """A folder with two videos, beside its index c.mmn."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate("ab"):
        shutil.copy2(reel / f"{number}.mp4", folder / f"{name}.mp4")
    indexed_folder(folder, pixel_model, tmp_path / "c.mmn")
    return folder


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def ids(root: Path) -> list[str]:
    return sorted(MomentIndex(root).video_ids)


@contextmanager
def watched(
    root: Path, place: Path, said: list[str], tell: Callable[[SyncPlan], None] = lambda plan: None
) -> Iterator[None]:
    """A watch of a folder in a thread."""
    stop, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            listener = Listener(tell, trouble=said.append)
            watch(root, Places([place]), listener=listener, still=STILL, stop=stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LONG)
    assert not failed, failed
    assert not thread.is_alive()


def test_what_happens_in_a_folder_is_in_the_index(
    place: Path, reel: Path, tmp_path: Path, pixel_model: Path
) -> None:
    root, said = tmp_path / "c.mmn", list[str]()
    shutil.copy(reel / "2.mp4", place / "before.mp4")
    with watched(root, place, said):
        until(lambda: ids(root) == ["a", "b", "before"], "the first synchronisation")
        version = MomentIndex(root).version
        shutil.copy(reel / "3.mp4", place / "c.mp4")
        (place / "a.mp4").rename(place / "z.mp4")
        (place / "new").mkdir()
        shutil.copy(reel / "4.mp4", place / "new" / "d.mp4")
        until(lambda: ids(root) == ["b", "before", "c", "new/d", "z"], "a group of changes")
        assert MomentIndex(root).version <= version + 2  # the renamed file is settled before the others
        (place / "b.mp4").unlink()
        until(lambda: ids(root) == ["before", "c", "new/d", "z"], "a deletion")
    assert said == []
    assert rows(MomentIndex(root)) == rows(indexed_folder(place, pixel_model, tmp_path / "fresh.mmn"))


def test_a_file_is_described_once_it_is_complete(place: Path, reel: Path, tmp_path: Path) -> None:
    root, said = tmp_path / "c.mmn", list[str]()
    content = (reel / "6.mp4").read_bytes()
    with watched(root, place, said):
        with (place / "slow.mp4").open("wb", buffering=0) as file:
            for first in range(0, len(content), len(content) // 8 + 1):
                file.write(content[first : first + len(content) // 8 + 1])
                time.sleep(STILL / 2)
                assert ids(root) == ["a", "b"]
        until(lambda: ids(root) == ["a", "b", "slow"], "a file that took its time")
        # One that is no video is tried once, and again when it has changed.
        (place / "half.mp4").write_bytes(content[:200])
        shutil.copy(reel / "5.mp4", place / "c.mp4")
        until(lambda: ids(root) == ["a", "b", "c", "slow"], "the others")
        version = MomentIndex(root).version
        time.sleep(4 * STILL)
        assert MomentIndex(root).version == version
        (place / "half.mp4").write_bytes(content + b"\0")
        until(lambda: "half" not in ids(root) or MomentIndex(root).version > version, "tried again")
    assert said == []


def test_a_file_that_cannot_be_read_is_not_said_to_be_written(
    place: Path, reel: Path, tmp_path: Path
) -> None:
    root, plans = tmp_path / "c.mmn", list[SyncPlan]()
    (place / "corrupt.mp4").write_bytes(b"no video")
    with watched(root, place, [], plans.append):
        until(lambda: len(plans) == 1, "the first synchronisation")
        shutil.copy(reel / "2.mp4", place / "c.mp4")
        until(lambda: len(plans) == 2, "a change")
        until(lambda: ids(root) == ["a", "b", "c"], "its end")
    assert [[*plan.added] for plan in plans][-1] == ["c"]
    assert [plan.waiting for plan in plans][-1] == []


def test_a_disk_that_goes_and_comes_back_loses_nothing(place: Path, reel: Path, tmp_path: Path) -> None:
    root, said = tmp_path / "c.mmn", list[str]()
    with watched(root, place, said):
        until(lambda: ids(root) == ["a", "b"], "the first synchronisation")
        place.rename(tmp_path / "away")
        until(lambda: bool(said), "a word on it")
        assert "is not there any more" in said[0]
        assert ids(root) == ["a", "b"]
        shutil.copy(reel / "2.mp4", tmp_path / "away" / "c.mp4")
        (tmp_path / "away").rename(place)
        until(lambda: ids(root) == ["a", "b", "c"], "a new video after that")
    assert len(said) == 1


def test_another_process_that_writes_is_waited_for(place: Path, reel: Path, tmp_path: Path) -> None:
    root, said = tmp_path / "c.mmn", list[str]()
    with watched(root, place, said):
        until(lambda: ids(root) == ["a", "b"], "the first synchronisation")
        time.sleep(2 * STILL)
        with IndexWriter(root):
            shutil.copy(reel / "2.mp4", place / "c.mp4")
            until(lambda: bool(said), "a word on it")
        until(lambda: ids(root) == ["a", "b", "c"], "a change after that")
    assert ["another process is writing" in text for text in said] == [True]


def test_a_watch_that_is_killed_is_started_again(place: Path, reel: Path, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    # A shell lets what runs in the background ignore SIGINT.
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += "from mmn_index.cli.main import main; main()"
    line = [sys.executable, "-c", start, "sync", str(place), "--index", str(root), "--watch"]
    for number, name in enumerate(["c", "d"], start=2):
        with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "Watching" in process.stderr.readline()
            shutil.copy(reel / f"{number}.mp4", place / f"{name}.mp4")
            if name == "d":
                until(lambda: ids(root) == ["a", "b", "c", "d"], "both")
            process.send_signal(signal.SIGINT if name == "d" else signal.SIGKILL)
            try:
                _, said = process.communicate(timeout=LONG)
            finally:
                process.kill()
            assert process.returncode == (0 if name == "d" else -signal.SIGKILL), said
    assert "Traceback" not in said
    assert "not watched any more" in said


def test_a_file_settles_when_it_has_not_changed_for_some_seconds() -> None:
    now, clock = datetime.now(UTC), [100.0]
    settling = Settling(3.0, lambda: clock[0])

    def look(seconds: float, size: int, age: float = 0.0, name: str = "a") -> bool:
        clock[0] = 100 + seconds
        return settling(FoundFile(name, Path(name), size, now - timedelta(seconds=age)))

    assert not look(0, 5)
    assert not look(2, 5)
    assert not look(2.5, 6)
    assert not look(5, 6)
    assert look(5.6, 6)
    assert not look(9, 6, age=1)  # touched
    assert look(12.1, 6, age=1)
    # Seen for the first time, a file that is older than that is complete; not so one of the future.
    assert look(20, 5, age=9, name="old")
    assert not look(21, 7, age=8, name="old")
    assert not look(20, 5, age=-999, name="future")
    assert look(23.1, 5, age=-999, name="future")
    broken = FoundFile("old", Path("old"), 7, now - timedelta(seconds=8))
    settling.give_up(broken)
    assert not look(99, 7, age=8, name="old")
    assert not settling.may_settle(Path("old"))
    assert not look(99, 8, age=8, name="old")
    assert settling.may_settle(Path("old"))
    assert look(103, 8, age=8, name="old")
