"""One index, several processes: one writes, the others read what they opened."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Command, write_features
from mmn_index.index_build import build

from mmn_index import checkpoint
from mmn_index.errors import MomentIndexError, OutputError
from mmn_index.index import IndexWriter, Manifest, MomentIndex, store

WORKERS = Path(__file__).parent


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    """An index that a test may change."""
    return Path(shutil.copytree(world / "collection.mmn", tmp_path / "collection.mmn"))


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """Features of videos that are in no index."""
    write_features(tmp_path / "more.h5", 2, prefix="w", seed=5)
    return tmp_path / "more.h5"


@pytest.fixture
def holder(copy: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the index for writing."""
    with subprocess.Popen(
        [sys.executable, WORKERS / "worker_holder.py", copy], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_writer_at_a_time_and_no_lock_is_stale(
    world: Path, copy: Path, more: Path, command: Command, holder: subprocess.Popen[str]
) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    for arguments in (
        ["add", more, "--index", copy],
        ["update", more, "--index", copy],
        ["remove", "v1", "--index", copy],
        ["compact", "--index", copy],
        ["build", world / "run" / "model", more, "-o", copy, "--overwrite"],
    ):
        command.fails(*arguments, says="another process is writing to this index")
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert len(MomentIndex(copy).video_ids) == 6  # readers need no lock
    holder.kill()
    holder.wait()
    command.ok("add", more, "--index", copy)
    assert len(MomentIndex(copy).video_ids) == 8


def test_a_lock_on_a_folder_that_was_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first build that fails removes its folder: who waits at the door must not hold what is gone."""
    flock, root = fcntl.flock, tmp_path / "new.mmn"

    def late(handle: int, what: int) -> None:
        root.rename(tmp_path / "removed")
        (root / "segments").mkdir(parents=True)
        flock(handle, what)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(OutputError, match="another process"), IndexWriter(root):
        pass


def test_an_index_that_was_built_anew_with_another_model_meanwhile(
    world: Path, copy: Path, more: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`add` loads the model before it holds the index."""
    load = checkpoint.load
    other = load(world / "run" / "model")
    with torch.no_grad():
        other.video_encoder.featpool.conv.bias[0] += 1
    checkpoint.save(other, tmp_path / "other", features="random")

    def slow(path: Path, device: str, **how: bool) -> object:
        model = load(path, device, **how)
        monkeypatch.setattr(build.checkpoint, "load", load)
        command.ok("build", tmp_path / "other", world / "features.h5", "-o", copy, "--overwrite")
        return model

    monkeypatch.setattr(build.checkpoint, "load", slow)
    command.fails("add", more, "--index", copy, says="was built with model")
    assert MomentIndex(copy).video_ids == [f"v{number}" for number in range(6)]
    command.ok("verify", "--index", copy, "--features", world / "features.h5")


def test_a_reader_that_is_slower_than_the_writer(
    copy: Path, more: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments that were replaced while it opened them: it opens the newer ones, until its patience ends."""
    real, left, writing = MomentIndex._open, 12, False

    def overtaken(self: MomentIndex, root: Path, manifest: Manifest, devices: list[torch.device]) -> None:
        nonlocal left, writing
        if left and not writing:  # the writer opens the index, too
            left, writing = left - 1, True
            command.ok(*(("remove", "w0") if left % 2 else ("update", more)), "--index", copy)
            command.ok("compact", "--index", copy)
            writing = False
        real(self, root, manifest, devices)

    command.ok("add", more, "--index", copy)
    monkeypatch.setattr(MomentIndex, "_open", overtaken)
    assert "w0" in MomentIndex(copy).video_ids
    assert left == 0
    left = 3
    monkeypatch.setattr(store, "_PATIENCE", 0.0)
    with pytest.raises(MomentIndexError, match="changed for 0 seconds while it was opened"):
        MomentIndex(copy)


def test_readers_see_whole_versions_while_a_writer_changes_them(world: Path, memory: Path) -> None:
    """8 processes and 16 threads; every answer is compared with what its version holds."""
    result = subprocess.run(
        [sys.executable, WORKERS / "worker_concurrency.py", world, memory, "16"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    reports = json.loads(result.stdout)
    wrong = [f"{name}: {text}" for name, parts in reports.items() for part in parts for text in part["wrong"]]
    assert not wrong, "\n".join(wrong)
    assert len(reports) == 1 + 1 + 8
    assert len(reports["threads"]) == 16
    (written,) = reports.pop("writer")
    assert set(written["done"]) == {"add", "update", "remove", "compact"}
    done: Counter[str] = Counter()
    versions: set[int] = set()
    for part in (part for parts in reports.values() for part in parts):
        assert part["done"]["answers"] > 0
        done.update(part["done"])
        versions.update(part["versions"])
    assert len(versions) > 5
    # Proven and approximate answers, and answers of versions whose files were gone.
    assert min(done["proven"], done["not proven"], done["from deleted files"]) > 20, done
