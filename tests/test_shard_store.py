"""Shards that are stored elsewhere, on S3 and on other storages that fsspec knows, become the same index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from conftest import Command, write_features
from mmn_index.index_build import shard_store
from mmn_index.index_build.shard_store import ShardStore
from mmn_index.index_build.shards import shards_of
from mmn_index.index_build.share import Share
from mmn_index.index_build.verify import verify
from moto.server import ThreadedMotoServer
from test_faults import answers
from test_shards import bits

from mmn_index.errors import OutputError


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3, with an empty bucket."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["s3", "memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty storage of each kind."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/stored"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "features.h5"
    write_features(path, 5)
    return path


@pytest.fixture
def build(lively: Path, features: Path, command: Command) -> Any:
    def run(root: Path, *more: object) -> Any:
        return command.run("build", lively / "model", features, "-o", root, *more)

    return run


def test_stored_shards_equal_the_build_at_once(
    build: Any, command: Command, tmp_path: Path, store: str
) -> None:
    """Every shard is made on a machine of its own, and the index on another."""
    build(tmp_path / "whole.mmn")
    for number in (3, 1, 2):
        told = build(tmp_path / f"machine{number}" / "c.mmn", "--shard", f"{number}/3", "--store", store)
        assert told.exit_code == 0, told.stderr
        assert f"shard {number}/3 is stored at {store}" in told.stderr
    root = tmp_path / "here.mmn"
    told = command.ok("publish", root, "--store", store).stderr
    assert "3 segments" in told
    assert bits(root) == bits(tmp_path / "whole.mmn")
    assert answers(root) == answers(tmp_path / "whole.mmn")
    assert verify(root) == []
    assert ShardStore(store).shares() == []
    assert not shards_of(root).exists()


def test_what_was_interrupted_is_stored_again(
    build: Any, command: Command, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, opened, count = tmp_path / "c.mmn", shard_store.url_to_fs, 0

    class Breaking:
        """A storage whose connection breaks at every fourth file."""

        def __init__(self, files: Any) -> None:
            self._files = files

        def __getattr__(self, name: str) -> Any:
            return getattr(self._files, name)

        def put_file(self, *arguments: Any) -> None:
            nonlocal count
            count += 1
            if count % 4 == 0:
                raise ConnectionResetError("the line is dead")
            self._files.put_file(*arguments)

    def breaking(url: str) -> tuple[Any, str]:
        files, path = opened(url)
        return Breaking(files), path

    with monkeypatch.context() as patch:
        patch.setattr(shard_store, "url_to_fs", breaking)
        while (told := build(root, "--shard", "1/1", "--store", store)).exit_code:
            assert f"{store}: cannot be written (the line is dead)" in told.stderr
            assert "the same command resumes" in told.stderr
            assert ShardStore(store).shares() == []
    assert 8 < count < 20
    assert ShardStore(store).shares() == [Share(1, 1)]
    assert not ShardStore(store).put(root, Share(1, 1))  # there already
    build(tmp_path / "whole.mmn")
    command.ok("publish", tmp_path / "other.mmn", "--store", store)
    assert bits(tmp_path / "other.mmn") == bits(tmp_path / "whole.mmn")


def test_damaged_files_are_told_and_nothing_is_published(
    build: Any, command: Command, tmp_path: Path, store: str
) -> None:
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    kept = ShardStore(store)
    (path,) = (path for path in kept._files.find(kept._base) if path.endswith("embeddings.npy"))
    good = kept._files.cat_file(path)
    kept._files.pipe_file(path, good[:-1] + bytes([good[-1] ^ 1]))
    publish = ["publish", tmp_path / "here.mmn", "--store", store]
    told = command.fails(*publish, says="embeddings.npy: is damaged").stderr
    assert "Remove 1-of-1.json there" in told
    assert not (tmp_path / "here.mmn").exists()
    kept._files.pipe_file(path, good[:-9])  # the next `build` sees that
    assert build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store).exit_code == 0
    command.ok("publish", tmp_path / "here.mmn", "--store", store)
    assert verify(tmp_path / "here.mmn") == []


def test_a_manifest_that_names_other_places_is_refused(
    build: Any, command: Command, tmp_path: Path, store: str
) -> None:
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    kept = ShardStore(store)
    content = kept._files.cat_file(f"{kept._base}/1-of-1.json")
    kept._files.pipe_file(
        f"{kept._base}/1-of-1.json", content.replace(b"embeddings.npy", b"../../../evil.py")
    )
    says = f"{store}/1-of-1.json: is damaged"
    command.fails("publish", tmp_path / "here.mmn", "--store", store, says=says)
    assert [path.name for path in tmp_path.rglob("evil*")] == []


def test_publishing_that_was_killed_clears_the_storage(
    build: Any, command: Command, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    root = tmp_path / "here.mmn"

    def dies(self: ShardStore) -> None:
        raise OutputError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "clear", dies)
        command.fails("publish", root, "--store", store, says="killed")
    before = bits(root)
    command.ok("publish", root, "--store", store)
    assert bits(root) == before
    assert ShardStore(store).shares() == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("elsewhere", "expected a URL, such as s3://bucket/run1"),
        ("nothing://x/y", "Protocol not known: nothing"),
        ("s3://no-such-bucket/run", "has no complete shard"),
        ("memory://empty", "has no complete shard"),
    ],
)
def test_storages_that_cannot_be(command: Command, tmp_path: Path, s3: str, url: str, said: str) -> None:
    command.fails("publish", tmp_path / "c.mmn", "--store", url, says=said)
    assert not (tmp_path / "c.mmn").exists()


def test_a_store_is_for_shards(build: Any, tmp_path: Path) -> None:
    told = build(tmp_path / "c.mmn", "--store", "memory://x")
    assert told.exit_code == 2
    assert "name which with --shard" in told.stderr
