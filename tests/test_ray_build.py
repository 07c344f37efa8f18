"""A build over a Ray cluster equals the build by one process, whatever is lost while it runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import Command, write_features
from mmn_index.index_build import candidates
from mmn_index.index_build.shards import place_of, shards_of
from mmn_index.index_build.share import Share
from mmn_index.index_build.verify import verify
from runs import one_thread
from test_extract import make_video
from test_faults import answers
from test_shards import bits

from mmn_index.cluster.crew import Lost, RayCrew
from mmn_index.cluster.session import Session, connected
from mmn_index.errors import ClusterError
from mmn_index.features import FeatureFile
from mmn_index.index import IndexWriter, MomentIndex
from mmn_index.index.manifest import read_manifest

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

STORE = 80_000_000  # bytes, the least that Ray takes
WINDOW = "5"  # seconds; the videos last 20 and more
PATIENCE = 120.0  # seconds


def deadly() -> Callable[[int, Callable[[float], None]], int]:
    """A job that some tasks kill."""

    def double(task: int, tell: Callable[[float], None]) -> int:
        if not task:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * task

    return double


@pytest.fixture(scope="module")
def cluster() -> "Iterator[Cluster]":
    """One head without processors, and two nodes with one each."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns without it
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE)
    yield made
    made.shutdown()


@contextmanager
def by_value(session: Session) -> Iterator[None]:
    """Functions of this file travel as they are; the nodes cannot import it."""
    here = sys.modules[__name__]
    session.ray.cloudpickle.register_pickle_by_value(here)
    yield
    session.ray.cloudpickle.unregister_pickle_by_value(here)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many videos that a node can be killed half-way."""
    path = tmp_path_factory.mktemp("many") / "features.h5"
    write_features(path, 100)
    return path


@pytest.fixture(scope="module")
def whole(lively: Path, many: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of them."""
    root = tmp_path_factory.mktemp("whole") / "collection.mmn"
    with one_thread():
        command.ok("build", lively / "model", many, "--window", WINDOW, "-o", root)
    return root


def begin(*arguments: object) -> "subprocess.Popen[str]":
    """A command in a process of its own."""
    program = "from mmn_index.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < PATIENCE
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def half_way(root: Path) -> bool:
    """Whether embeddings of a shard have reached the disk."""
    return any(shards_of(root).glob("*-of-*.mmn/segments/*/progress"))


def check(root: Path, whole: Path) -> None:
    assert bits(root) == bits(whole)
    assert answers(root) == answers(whole)
    assert verify(root) == []
    assert not shards_of(root).exists()


def test_a_build_equals_that_of_one_process(
    lively: Path, many: Path, whole: Path, cluster: "Cluster", command: Command, tmp_path: Path
) -> None:
    root = tmp_path / "c.mmn"
    told = command.ok(
        "build", lively / "model", many, "--window", WINDOW, "-o", root, "--ray", cluster.address
    )
    check(root, whole)
    assert len(MomentIndex(root).segments) == 2
    nodes = [line for line in told.stderr.splitlines() if re.search(" shards?, ", line)]
    assert sum(int(line.split(": ")[1].split()[0]) for line in nodes) == 2
    command.fails("build", lively / "model", many, "-o", root, "--ray", cluster.address, says="is an index")


def test_one_candidate_index_is_trained_and_every_worker_fills(
    lively: Path, cluster: "Cluster", command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_QUERIES", 8)
    write_features(tmp_path / "features.h5", 12)
    arguments = [lively / "model", tmp_path / "features.h5", "--vectors", "IVF4,SQ8"]
    with one_thread():
        command.ok("build", *arguments, "-o", tmp_path / "whole.mmn")
    root = tmp_path / "c.mmn"
    command.ok("build", *arguments, "-o", root, "--ray", cluster.address)
    entries = read_manifest(root).segments
    (alone,) = read_manifest(tmp_path / "whole.mmn").segments
    assert alone.candidates is not None
    assert len(entries) == 2
    for entry in entries:
        assert entry.candidates is not None
        assert entry.candidates.trained == alone.candidates.trained
    check(root, tmp_path / "whole.mmn")


def test_a_node_that_is_lost(
    lively: Path, many: Path, whole: Path, cluster: "Cluster", tmp_path: Path
) -> None:
    """Its shard is continued by a worker of another node."""
    root = tmp_path / "c.mmn"
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    process = begin("build", lively / "model", many, "--window", WINDOW, "-o", root, "--ray", cluster.address)
    wait_for(lambda: half_way(root), process)
    cluster.remove_node(node, allow_graceful=False)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    check(root, whole)
    assert len(MomentIndex(root).segments) == 3


def test_a_driver_that_is_killed(
    lively: Path, many: Path, whole: Path, cluster: "Cluster", tmp_path: Path
) -> None:
    """The same command resumes what its workers have left."""
    root = tmp_path / "c.mmn"
    arguments = ["build", lively / "model", many, "--window", WINDOW, "-o", root, "--ray", cluster.address]
    process = begin(*arguments)
    wait_for(lambda: half_way(root), process)
    process.kill()
    process.communicate()
    kept = sum(int(path.read_text()) for path in shards_of(root).glob("*/segments/*/progress"))
    assert kept
    process = begin(*arguments)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    check(root, whole)


def test_videos_are_described_and_embedded(
    pixel_model: Path, cluster: "Cluster", command: Command, tmp_path: Path
) -> None:
    """One of them is no video, and costs only itself. Then the index follows the folder."""
    films = tmp_path / "films"
    films.mkdir()
    for seed in range(5):
        make_video(films / f"{seed}.mp4", seed, seconds=1 + 0.2 * seed)
    (films / "bad.mp4").write_bytes(b"no video")
    arguments = [films, "--model", pixel_model, "-y"]
    with one_thread():
        assert command.run("build", *arguments, "-o", tmp_path / "whole.mmn").exit_code == 3
    root = tmp_path / "c.mmn"
    told = command.run("build", *arguments, "-o", root, "--ray", cluster.address)
    assert told.exit_code == 3
    assert "left out: " in told.stderr
    check(root, tmp_path / "whole.mmn")
    with (
        FeatureFile(tmp_path / "c.features.h5") as made,
        FeatureFile(tmp_path / "whole.features.h5") as expected,
    ):
        assert made.video_ids == expected.video_ids
        assert all(np.array_equal(made.read(name), expected.read(name)) for name in made.video_ids)
    (films / "bad.mp4").unlink()
    make_video(films / "new.mp4", 6)
    told = command.ok("sync", films, "--index", root, "--ray", cluster.address)
    assert "1 video, " in told.stderr
    assert "new" in MomentIndex(root).video_ids
    assert verify(root) == []


def test_a_task_that_kills_its_workers(cluster: "Cluster") -> None:
    """It is given up after three of them; the others are done."""
    with connected(cluster.address) as session, by_value(session):
        crew: RayCrew[int, int] = RayCrew(session, deadly)
        found = dict(crew.outcomes({"a": 1, "b": 0, "c": 3}, lambda name, done: None))
    assert found == {"a": 2, "b": Lost(3), "c": 6}
    assert set(crew.doers) == {"a", "c"}


def test_a_shard_that_a_lost_worker_still_writes(lively: Path, cluster: "Cluster", tmp_path: Path) -> None:
    """Who has it next waits until it is free, and then finds what there is to be done."""
    write_features(tmp_path / "features.h5", 4)
    root = tmp_path / "c.mmn"
    with IndexWriter(place_of(root, Share(1, 2))):
        process = begin(
            "build", lively / "model", tmp_path / "features.h5", "-o", root, "--ray", cluster.address
        )
        wait_for((place_of(root, Share(2, 2)) / "manifest.json").is_file, process)
        time.sleep(1.5)
        assert process.poll() is None
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert verify(root) == []
    assert len(MomentIndex(root).segments) == 2


def stop_at_work(folder: Path, stopped: set[int]) -> None:
    """Hold the processes that write snippets below a folder."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # of a process that has ended
            path = Path(os.readlink(link))
            if path.suffix == ".rows" and path.is_relative_to(folder):
                pid = int(link.parts[2])
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)


def test_an_extraction_that_loses_a_node(cluster: "Cluster", command: Command, tmp_path: Path) -> None:
    """Of three workers in the middle of a video each, one loses its node; another describes what it had."""
    films, stopped = tmp_path / "films", set[int]()
    films.mkdir()
    for number in range(3):
        make_video(films / f"{number}.mp4", number, seconds=20)
    command.ok("extract", films, "-o", tmp_path / "whole.h5", "--workers", "1")
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    out = tmp_path / "features.h5"
    process = begin("extract", films, "-o", out, "--ray", cluster.address)

    def all_at_work() -> bool:
        stop_at_work(tmp_path, stopped)
        return len(stopped) == 3

    try:
        wait_for(all_at_work, process)
        cluster.remove_node(node, allow_graceful=False)
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert "3 videos extracted" in told
    with FeatureFile(out) as made, FeatureFile(tmp_path / "whole.h5") as expected:
        assert made.video_ids == expected.video_ids
        assert all(np.array_equal(made.read(name), expected.read(name)) for name in made.video_ids)
        assert all(made.about(name) == expected.about(name) for name in made.video_ids)
    assert not (tmp_path / "features.h5.parts").exists()


def test_workers_without_the_program(cluster: "Cluster") -> None:
    """A job that the nodes cannot import is told at once."""
    with connected(cluster.address) as session:
        crew: RayCrew[int, int] = RayCrew(session, deadly)
        with pytest.raises(
            ClusterError, match=r"workers end before .*No module named '(conftest|test_ray_build)'"
        ):
            list(crew.outcomes({"a": 1}, lambda name, done: None))


def test_what_a_worker_says_is_said(
    lively: Path, cluster: "Cluster", command: Command, tmp_path: Path
) -> None:
    """As one line, as if it had happened here."""
    write_features(tmp_path / "features.h5", 3)
    model = shutil.copytree(lively / "model", tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    arguments = [model, tmp_path / "features.h5", "-o", tmp_path / "c.mmn"]
    told = command.run("build", *arguments)
    line = told.stderr.splitlines()[-1]
    assert "model.safetensors" in line
    command.fails("build", *arguments, "--ray", cluster.address, says=line)


def test_a_cluster_that_is_not_there(
    command: Command, many: Path, lively: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    arguments = ["build", lively / "model", many, "-o", tmp_path / "c.mmn", "--ray"]
    command.fails(*arguments, "127.0.0.1:1", says="127.0.0.1:1: no Ray cluster answers there")
    told = command.fails(*arguments, "ray://me:secret@127.0.0.1:1", says="no user name and no password")
    assert "secret" not in told.stderr
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    command.fails(*arguments, says="127.0.0.1:1: no Ray cluster answers there")
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_asks_for_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says no more than that it could not connect."""
    import ray

    def refused(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster.")

    monkeypatch.setattr(ray, "init", refused)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    for there in (False, True):
        with pytest.raises(ClusterError, match="Failed to connect") as told, connected("local"):
            pass
        assert ("set RAY_AUTH_MODE=token" in str(told.value)) is there
        (tmp_path / ".ray").mkdir(exist_ok=True)
        (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
