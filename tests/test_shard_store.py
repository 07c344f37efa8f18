"""Shards that are stored elsewhere, on S3 and on other storages that fsspec knows, become the same index."""

import os
import shlex
import shutil
import subprocess
import sys
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
from mmn_index.index_build.store_url import hidden
from mmn_index.index_build.verify import verify
from moto.server import ThreadedMotoServer
from test_faults import Killed, answers
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
        storage = fsspec.filesystem("s3", skip_instance_cache=True)
        storage.makedirs("bucket", exist_ok=True)  # one process keeps it for all servers
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
    assert "Remove this file there, and run the same `mmn-index build` with --shard 1/1" in told
    assert not (tmp_path / "here.mmn").exists()
    kept._files.rm_file(path)
    told = command.fails(*publish, says="embeddings.npy: is missing. Run the same `mmn-index build`").stderr
    own = tmp_path / "c.mmn.shards" / "1-of-1.mmn"
    (copy,) = own.glob("segments/*/embeddings.npy")
    copy.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    told = build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store).stderr
    assert f"embeddings.npy: is damaged or missing. Remove {own}, and run the same" in told
    shutil.rmtree(own)
    assert build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store).exit_code == 0
    command.ok(*publish)
    assert verify(tmp_path / "here.mmn") == []


@pytest.mark.parametrize("damage", ["size", "left-out", "manifest"])
def test_the_next_build_mends_what_is_stored(
    build: Any, command: Command, tmp_path: Path, store: str, damage: str
) -> None:
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    kept = ShardStore(store)
    name = {"size": "embeddings.npy", "left-out": "left-out.txt", "manifest": "1-of-1.json"}[damage]
    (path,) = (path for path in kept._files.find(kept._base) if path.endswith(name))
    if damage == "left-out":
        kept._files.rm_file(path)
    else:
        kept._files.pipe_file(path, kept._files.cat_file(path)[:-9])
    publish = ["publish", tmp_path / "here.mmn", "--store", store]
    assert "un the same `mmn-index build` with --shard 1/1" in command.fails(*publish, says=name).stderr
    assert build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store).exit_code == 0
    command.ok(*publish)
    assert verify(tmp_path / "here.mmn") == []
    assert kept._files.find(kept._base) == []


def test_a_shard_of_another_state_takes_the_place_of_the_earlier(
    build: Any, command: Command, tmp_path: Path, store: str
) -> None:
    """With its folder."""
    root = tmp_path / "c.mmn"
    build(root, "--shard", "1/1", "--store", store)
    build(root, "--shard", "1/1", "--store", store, "--window", "9")
    kept = ShardStore(store)
    assert len(kept._files.glob(f"{kept._base}/1-of-1.*")) == 2
    command.ok("publish", tmp_path / "here.mmn", "--store", store)
    assert kept._files.find(kept._base) == []


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


class Dying:
    """A storage of which the n-th call ends the command, as does the n-th change of a folder's name or end."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int) -> None:
        self.last, self.calls = last, list[str]()
        opened = shard_store.url_to_fs
        patch.setattr(shard_store, "url_to_fs", lambda url: (Counted(opened(url)[0], self), opened(url)[1]))
        for place, name in ((Path, "rename"), (shutil, "rmtree")):
            patch.setattr(place, name, self.counted(name, getattr(place, name)))

    def counted(self, name: str, does: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) == self.last:
                raise Killed
            return does(*arguments, **named)

        return call


class Counted:
    """A storage whose calls are counted."""

    def __init__(self, files: Any, counts: Dying) -> None:
        self._files, self._counts = files, counts

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._files, name)
        return self._counts.counted(name, found) if callable(found) and name != "invalidate_cache" else found


def test_publishing_that_was_killed_goes_on(
    build: Any, command: Command, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command tells what was published, and nothing is left of the shards."""
    kept = ShardStore(store)
    build(tmp_path / "whole.mmn")

    def published(last: int) -> tuple[Path, Dying, Any]:
        for number in (1, 2):
            built = build(tmp_path / str(number) / "c.mmn", "--shard", f"{number}/2", "--store", store)
            assert built.exit_code == 0
        root = tmp_path / f"run{last}" / "here.mmn"
        root.parent.mkdir()
        with monkeypatch.context() as patch:
            dying = Dying(patch, last)
            try:
                return root, dying, command.ok("publish", root, "--store", store)
            except Killed:
                pass
        return root, dying, command.ok("publish", root, "--store", store)

    calls = published(0)[1].calls
    first = calls.index("rename") + 1
    assert {"rm_file", "rm", "rmtree"} <= set(calls[first:])
    for last in [*range(1, first, first // 4), *range(first, len(calls) + 1)]:
        root, dying, result = published(last)
        assert len(dying.calls) == last, calls[last - 1]
        assert f"{root}: " in result.stderr
        assert "of 5 videos in 2 segments" in result.stderr
        assert bits(root) == bits(tmp_path / "whole.mmn")
        assert kept._files.find(kept._base) == []
        assert [path.name for path in root.parent.iterdir()] == ["here.mmn"]
    says = f"{root} is an index: an earlier run may have made it of them"
    command.fails("publish", root, "--store", store, says=says)


def test_shards_of_other_counts_are_not_fetched(
    build: Any, command: Command, tmp_path: Path, store: str
) -> None:
    for text in ("1/2", "2/2", "1/3"):
        build(tmp_path / "c.mmn", "--shard", text, "--store", store)
    root = tmp_path / "here.mmn"
    says = f"{store}: has shards of 2 (1/2, 2/2) and of 3 (1/3), which do not belong together. Remove the"
    command.fails("publish", root, "--store", store, says=says)
    assert not shards_of(root).exists()
    kept = ShardStore(store)
    kept._files.rm(f"{kept._base}/1-of-3.json")
    build(root, "--shard", "1/3")
    says = f"{shards_of(root)}: have shards of 2 (1/2, 2/2) and of 3 (1/3)"
    command.fails("publish", root, "--store", store, says=says)
    kept._files.rm(f"{kept._base}/2-of-2.json")
    shutil.rmtree(shards_of(root))
    command.fails("publish", root, "--store", store, says="1 of 2 shards are complete, 2/2 is not there")
    assert not shards_of(root).exists()
    build(root, "--shard", "2/2")  # which needs no storage here
    command.ok("publish", root, "--store", store)


def test_an_index_is_not_replaced_unasked(build: Any, command: Command, tmp_path: Path, store: str) -> None:
    """And nothing is fetched, unless it is of these shards."""
    root = tmp_path / "here.mmn"
    build(root, "--window", "9")
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    command.fails("publish", root, "--store", store, says="there is an index already")
    assert not shards_of(root).exists()
    before = bits(root)
    command.ok("publish", root, "--store", store, "--overwrite")
    assert bits(root) != before
    before = bits(root)
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    (tmp_path / "file.mmn").write_text("not ours")
    command.fails("publish", tmp_path / "file.mmn", "--store", store, says="exists and is no index")
    assert not shards_of(tmp_path / "file.mmn").exists()
    other = tmp_path / "other.mmn"
    command.ok("publish", other, "--store", store)
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    told = command.ok("publish", other, "--store", store).stderr  # again of the same
    assert "of 5 videos" in told
    assert (bits(other), bits(root)) == (before, before)


def test_what_is_cleared_is_what_was_published(
    build: Any, command: Command, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later shards of the same number stay, and so do all where the index is gone again."""
    root = tmp_path / "here.mmn"
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)

    def dies(self: ShardStore, folder: Path) -> None:
        raise OutputError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "clear", dies)
        command.fails("publish", root, "--store", store, says="killed")
    shutil.rmtree(root)
    command.ok("publish", root, "--store", store)
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store)
    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "clear", dies)
        command.fails("publish", root, "--store", store, "--overwrite", says="killed")
    build(tmp_path / "c.mmn", "--shard", "1/1", "--store", store, "--window", "9")
    command.fails("publish", root, "--store", store, says="there is an index already")
    assert ShardStore(store).shares() == [Share(1, 1)]
    build(tmp_path / "whole.mmn", "--window", "9")
    command.ok("publish", root, "--store", store, "--overwrite")
    assert bits(root) == bits(tmp_path / "whole.mmn")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("elsewhere", "expected a URL, such as s3://bucket/run1"),
        ("nothing://x/y", "Protocol not known: nothing"),
        ("s3://no-such-bucket/run", "has no complete shard"),
        ("memory://empty", "has no complete shard"),
        ("s3://", "--store s3://: expected a URL, such as s3://bucket/run1"),
        ("s3:///", "expected a URL, such as s3://bucket/run1"),
        ("ftp://me:secret@127.0.0.1:1/run", "ftp://***@127.0.0.1:1/run: cannot be reached ("),
        ("ftp://me:sec/ret@127.0.0.1:1/run", "ftp://***@127.0.0.1:1/run: write '/', '?', '#' and '@'"),
        ("http://me:secret@127.0.0.1:1/run?key=secret", "http://***@127.0.0.1:1/run?***: cannot be read ("),
        ("nothing://me:secret@x/y", "nothing://***@x/y: Protocol not known: nothing"),
        ("me:secret@x/y", "***@x/y: expected a URL"),
    ],
)
def test_storages_that_cannot_be(command: Command, tmp_path: Path, s3: str, url: str, said: str) -> None:
    told = command.fails("publish", tmp_path / "c.mmn", "--store", url, says=said)
    assert "sec" not in told.stderr
    assert "ret" not in told.stderr.replace("Errno", "")
    assert list(tmp_path.iterdir()) == []


def test_what_a_package_says_holds_no_secret() -> None:
    url = "https://anna:a%2Fb@host/run?sig=x%3Dy&token=z0z"
    said = hidden(url, f"401 for {url} ('anna', 'a/b'); sig 'x=y' or x%3Dy; tokens z0z of annabel")
    assert said == "401 for https://***@host/run?*** ('***', '***'); sig '***' or ***; tokens *** of annabel"


def test_no_bucket_is_made(build: Any, tmp_path: Path, s3: str) -> None:
    """And it is said before the work."""
    told = build(tmp_path / "c.mmn", "--shard", "1/1", "--store", "s3://no-such-bucket/run")
    assert told.exit_code == 1
    assert "there is no bucket 'no-such-bucket'" in told.stderr
    assert not shards_of(tmp_path / "c.mmn").exists()
    assert not fsspec.filesystem("s3", skip_instance_cache=True).exists("no-such-bucket")


def test_a_storage_that_refuses_connections(lively: Path, features: Path, tmp_path: Path, s3: str) -> None:
    """In processes of their own: nothing but one line, from no thread and at no end of a process."""
    store = ["--store", "s3://bucket/run"]
    environment = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
    for arguments in (
        ["publish", str(tmp_path / "c.mmn")],
        ["build", str(lively / "model"), str(features), "-o", str(tmp_path / "c.mmn"), "--shard", "1/1"],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", "from mmn_index.cli.main import main; main()", *arguments, *store],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert line.startswith("Error: s3://bucket/run: cannot be read (Could not connect to the endpoint")
    assert list(tmp_path.iterdir()) == []


def test_commands_are_quoted_for_a_shell(build: Any, command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "my 'own' $HOME"
    folder.mkdir()
    root, store = folder / "c.mmn", f"file://{folder}/stored"
    build(root)
    told = build(root, "--shard", "1/1", "--store", store, "--overwrite").stderr.splitlines()[-1]
    words = shlex.split(told.partition("Once all 1 are: ")[2])
    assert words == ["mmn-index", "publish", str(root), "--store", store, "--overwrite"]
    command.ok(*words[1:])
    told = command.fails(*words[1:], says="has no complete shard").stderr
    assert shlex.split(told.split("`")[1])[-2:] == ["--store", store]
    told = command.fails("publish", root, says="holds no shards").stderr
    assert shlex.split(told.split("`")[1])[-4:] == ["-o", str(root), "--shard", "1/N"]


def test_a_store_is_for_shards(build: Any, tmp_path: Path) -> None:
    told = build(tmp_path / "c.mmn", "--store", "memory://x")
    assert told.exit_code == 2
    assert "name which with --shard" in told.stderr
