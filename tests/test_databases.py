"""Databases as people use them: URLs, what goes wrong, what is refused, and the commands."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import conformance
import psycopg
import pyarrow as pa
import pytest
from conformance import Collection
from conftest import Command
from database_engine import DatabaseEngine, content, in_index, left_behind, make_small
from edge_client import EdgeClient, Shared
from mmn_index.index_build.change import remove
from mmn_index.index_build.push import push
from qdrant_client import QdrantClient, models

from mmn_index.databases import postgres_writer, qdrant_writer
from mmn_index.databases.columns import columns_of
from mmn_index.databases.connect import open_database
from mmn_index.databases.contract import Database, Published, Rows
from mmn_index.databases.postgres import Postgres
from mmn_index.databases.qdrant import Qdrant
from mmn_index.databases.target import is_target, parse_target
from mmn_index.errors import ConfigError, DatabaseError, DependencyError
from mmn_index.index import IndexWriter, MomentIndex, Restriction
from mmn_index.search import SearchOptions

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "engine", "asked", "collection"),
    [
        ("qdrant://host/porch", "qdrant", "http://host:6333", "porch"),
        ("qdrants://host:443/porch", "qdrant", "https://host:443", "porch"),
        ("qdrant://[::1]:7/porch", "qdrant", "http://[::1]:7", "porch"),
        ("qdrant://host", "qdrant", "http://host:6333", "moments"),
        ("postgresql://me@host/films", "postgres", "postgresql://me@host/films", "moments"),
        ("postgresql://me@host/films#a.b-c", "postgres", "postgresql://me@host/films", "a.b-c"),
        ("postgres:///films?host=/run#x", "postgres", "postgres:///films?host=/run", "x"),
        ("postgresql://a:1,b:2/films#x", "postgres", "postgresql://a:1,b:2/films", "x"),
    ],
)
def test_urls_name_a_collection(url: str, engine: str, asked: str, collection: str) -> None:
    found = parse_target(url)
    assert (found.engine, found.url, found.collection) == (engine, asked, collection)


def test_a_password_is_not_shown() -> None:
    for url in (
        f"postgresql://me:{SECRET}@host/films?sslpassword={SECRET}#x",
        f"postgresql://me@host/films?password={SECRET}&sslmode=require",
        f"postgresql://:{SECRET}@host/films",
    ):
        target = parse_target(url)
        assert SECRET in target.url
        assert SECRET not in target.shown
        assert SECRET not in repr(target)
    assert "sslmode=require" in parse_target("postgresql://h/f?sslmode=require").shown


@pytest.mark.parametrize(
    "url",
    [
        "qdrant:///porch",
        "qdrant://host/a/b",
        f"qdrant://me:{SECRET}@host/a",
        f"qdrant://host/a?api_key={SECRET}",
        "qdrant://host:port/a",
        "qdrant:/host/a",
        f"postgresql://me:{SECRET}@host/films#drop table",
        f"postgresql://host/films#{'x' * 31}",
        f"postgresql://me:{SECRET}/x@host/films",
        f"qdrant://me:{SECRET}/x@host/films",
        "mysql://host/films",
        "postgres:films",
    ],
)
def test_urls_that_name_none_are_told(url: str) -> None:
    assert is_target(url) or url == "postgres:films"
    with pytest.raises(ConfigError, match=r"[Ee]xpected") as told:
        parse_target(url)
    assert SECRET not in str(told.value)


def test_what_a_client_says_is_shown_without_a_password() -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1/films?{SECRET}"
    with pytest.raises(DatabaseError) as told:  # libpq quotes what it cannot read
        open_database(parse_target(url))
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("path", ["collection.mmn", "/a/qdrant://x", "C:/index", "./postgres.mmn"])
def test_paths_are_no_urls(path: str) -> None:
    assert not is_target(path)


@pytest.mark.parametrize("url", [f"postgresql://me:{SECRET}@127.0.0.1:1/films", "qdrant://127.0.0.1:1/films"])
def test_a_server_that_is_not_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", SECRET)
    began = time.monotonic()
    with pytest.raises(DatabaseError, match=r"127\.0\.0\.1:1/films.* cannot be reached") as told:
        open_database(parse_target(url))
    assert time.monotonic() - began < 5
    assert SECRET not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("package", "extra", "url"),
    [("psycopg", "postgres", "postgresql://h/f"), ("qdrant_client", "qdrant", "qdrant://h/f")],
)
def test_a_package_that_is_missing(
    package: str, extra: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"mmn_index.databases.{extra}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"mmn-index\[{extra}\]"):
        open_database(parse_target(url))


def test_names_of_columns_are_kept_where_a_database_takes_them() -> None:
    names = ["camera", "video", "Camera", "a b", "", "x" * 70, "ctid", "column_3", "_x", "größe"]
    schema = pa.schema([(name, pa.string()) for name in names])
    columns = columns_of(schema)
    assert [column.name for column in columns] == names
    keys = [column.key for column in columns]
    assert [keys[0], keys[2], keys[7], keys[8]] == ["camera", "Camera", "column_3", "_x"]
    assert len({*keys}) == len(keys)
    assert not {*keys} & {"video", "ctid", "", "a b"}
    more = columns_of(pa.schema([("new", pa.int8()), *schema]), columns)
    assert more[: len(columns)] == columns
    assert [column.kind for column in more[len(columns) :]] == ["int"]
    other = columns_of(pa.schema([("camera", pa.int8())]), columns[:1])
    assert [(column.name, column.kind) for column in other] == [("camera", "int")]
    assert other[0].key != "camera"
    odd = pa.schema([("list", pa.list_(pa.int8())), ("null", pa.null()), ("bytes", pa.binary())])
    assert columns_of(odd) == ()


@pytest.fixture(params=["postgres", "qdrant"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DatabaseEngine]:
    """An empty collection; lists for few moments."""
    make_small(monkeypatch, lists=True)
    if request.param == "postgres":
        place = request.getfixturevalue("postgres_server")
        name = f"t{abs(hash(tmp_path)) % 10**9}"
        target = parse_target(f"postgresql://postgres@/postgres?host={place}#{name}")
        made = DatabaseEngine(lambda: open_database(target), digits=9, approximate=True)
        yield made
        made.close()
        return
    monkeypatch.setattr(qdrant_writer, "_PATIENCE", 1.0)
    monkeypatch.setattr(qdrant_writer, "_BEAT", 0.1)
    shared = Shared(client := EdgeClient(tmp_path / "shard"))
    yield DatabaseEngine(
        lambda: Qdrant(parse_target("qdrant://nowhere/x"), shared), digits=5, approximate=True
    )
    client.close()


def told(work: Database, index: Path, *, overwrite: bool = False) -> object:
    return push(MomentIndex(index), work, lambda *_, **__: None, overwrite=overwrite)


def test_only_what_changed_is_sent(database: DatabaseEngine, tmp_path: Path) -> None:
    collection = Collection(tmp_path / "c.mmn", videos=20)
    with pytest.raises(DatabaseError, match="holds no moments"):
        database.find(collection.queries(1), SearchOptions())
    database.put(collection.root)
    first = database.pushed
    assert (first.sent, first.segments, first.unchanged) == (20 * 29, 1, False)
    database.put(collection.root)
    assert (database.pushed.sent, database.pushed.unchanged) == (0, True)
    collection.remove(["v1"])
    database.put(collection.root)
    assert (database.pushed.sent, database.pushed.removed) == (0, 1)
    collection.add(["v2", "new"])
    database.put(collection.root)
    assert (database.pushed.sent, database.pushed.removed) == (2 * 29, 1)
    assert content(database._database) == in_index(collection.root)
    assert left_behind(database._database) == 0


def test_another_index_is_refused(database: DatabaseEngine, tmp_path: Path) -> None:
    one = Collection(tmp_path / "one.mmn", videos=12)
    other = Collection(tmp_path / "other.mmn", seed=5, videos=14)
    database.put(one.root)
    with pytest.raises(DatabaseError, match="--overwrite"):
        told(database._database, other.root)
    with IndexWriter(other.root) as writer:
        assert writer.manifest is not None
        writer.publish(replace(writer.manifest, fingerprint="a" * 64), other.root.parent / "model")
    with pytest.raises(DatabaseError, match=r"model f{16}, not .* model a{16}"):
        told(database._database, other.root)
    assert content(database._database) == in_index(one.root)
    told(database._database, other.root, overwrite=True)
    assert content(database._database) == in_index(other.root)
    assert left_behind(database._database) == 0


def test_an_earlier_version_is_refused(database: DatabaseEngine, tmp_path: Path) -> None:
    made = Collection(tmp_path / "c.mmn", videos=12)
    shutil.copytree(made.root, tmp_path / "earlier.mmn")
    made.remove(["v1"])
    database.put(made.root)
    with pytest.raises(DatabaseError, match=r"version 2 .* version 1"):
        told(database._database, tmp_path / "earlier.mmn")


def test_vectors_of_another_width_take_the_place(database: DatabaseEngine, tmp_path: Path) -> None:
    database.put(Collection(tmp_path / "two.mmn", videos=12).root)
    one = Collection(tmp_path / "one.mmn", videos=12, spaces=1)
    told(database._database, one.root, overwrite=True)
    assert content(database._database) == in_index(one.root)
    two = Collection(tmp_path / "again.mmn", videos=12)
    told(database._database, two.root, overwrite=True)
    assert content(database._database) == in_index(two.root)


class KilledError(Exception):
    """Where a push is made to end."""


def killed_after(database: DatabaseEngine, root: Path, batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that ends when some batches have arrived, and all that it says with it."""
    left, work = batches, database._opened()
    writer = postgres_writer.PostgresWriter if isinstance(work, Postgres) else qdrant_writer.QdrantWriter
    add = writer.add

    def counted(self: Any, key: str, rows: Rows) -> None:
        nonlocal left
        if not left:
            raise KilledError
        left -= 1
        add(self, key, rows)

    with monkeypatch.context() as patched:
        patched.setattr(writer, "add", counted)
        patched.setattr("mmn_index.index_build.push.BATCH", 50)
        with pytest.raises(KilledError):
            told(work, root)
    work.close()


@pytest.mark.parametrize("when", ["never sent", "deleted"])
def test_a_copy_that_still_has_a_video_brings_it_back(
    database: DatabaseEngine, tmp_path: Path, when: str
) -> None:
    collection = Collection(tmp_path / "c.mmn", videos=20)
    copy = tmp_path / "copy.mmn"
    shutil.copytree(collection.root, copy)
    if when == "deleted":
        database.put(collection.root)
    collection.remove(["v1"])
    database.put(collection.root)
    for name in ("v2", "v3"):
        remove(copy, [name])
    database.put(copy)
    assert content(database._database) == in_index(copy)
    assert left_behind(database._database) == 0
    assert database.find(collection.queries(1), SearchOptions(restriction=Restriction(videos=("v1",))))[
        0
    ].hits
    remove(copy, ["v1"])  # nothing is missing of what is there: nothing is sent
    database.put(copy)
    assert (database.pushed.sent, database.pushed.removed) == (0, 1)
    assert content(database._database) == in_index(copy)


@pytest.mark.parametrize("first", ["nothing is there", "something is there"])
def test_a_killed_push_is_continued_from_another_copy(
    database: DatabaseEngine, tmp_path: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = Collection(tmp_path / "c.mmn", videos=20)
    if first == "something is there":
        database.put(collection.root)
        collection.add(["new"])
        collection.add([f"v{number}" for number in range(20, 40)])
    copies = [tmp_path / f"{number}.mmn" for number in range(3)]
    for copy, names in zip(copies, (["v31", "v3"], ["v32", "v4"], ["v31", "v3", "v39", "v5"]), strict=True):
        shutil.copytree(collection.root, copy)
        remove(copy, [name for name in names if name in collection.videos])
    killed_after(database, copies[0], 5, monkeypatch)
    killed_after(database, copies[1], 3, monkeypatch)  # has what the first left out: from the first moment
    killed_after(database, copies[0], 5, monkeypatch)
    database.put(copies[2])  # lacks what the first left out, and more: continued
    assert 0 < database.pushed.sent < MomentIndex(copies[2]).num_moments
    assert content(database._database) == in_index(copies[2])
    collection.remove(["v0"])
    collection.remove(["v1"])  # a later version, in which others are live
    killed_after(database, collection.root, 2, monkeypatch)
    database.put(collection.root)
    assert 0 < database.pushed.sent < MomentIndex(collection.root).num_moments
    assert content(database._database) == in_index(collection.root)
    assert left_behind(database._database) == 0


def test_columns_of_another_kind_take_the_place(
    database: DatabaseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[tuple[str, list[Any], pa.DataType]] = [
        ("whole numbers", [1, 2, 3], pa.int32()),
        ("text", ["1", "2", "3"], pa.string()),
        ("fractions", [1.0, 2.0, 3.0], pa.float32()),
        ("a dictionary", ["1", "2", "3"], pa.dictionary(pa.int8(), pa.string())),
        ("whole numbers", [1, 2, 3], pa.int64()),
    ]
    for place, (name, values, kind) in enumerate(kinds):
        monkeypatch.setitem(conformance._TYPES, "level", kind)
        video = Collection._video
        level = lambda self, values=values, video=video: changed(video(self), values)  # noqa: E731
        with monkeypatch.context() as patched:
            patched.setattr(Collection, "_video", level)
            collection = Collection(tmp_path / f"{place}.mmn", videos=20)
        if place == 0:
            killed_after(database, collection.root, 2, monkeypatch)
            continue
        told(database._database, collection.root, overwrite=True)
        found = database.find(collection.queries(2), SearchOptions(k=50), where=["level=2"])
        assert {hit.video_id for answer in found for hit in answer.hits} <= {
            video for video, one in collection.videos.items() if one["metadata"]["level"] == values[1]
        }, name
        assert all(len(answer.hits) == 50 for answer in found)


def changed(video: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    level = values[video["metadata"]["level"] % 3]
    return {**video, "metadata": {**video["metadata"], "level": level}}


def test_a_record_that_cannot_be_read_is_replaced_by_overwriting(
    database: DatabaseEngine, tmp_path: Path
) -> None:
    collection = Collection(tmp_path / "c.mmn", videos=12)
    database.put(collection.root)
    with database._database.pushing() as writer:
        assert writer.published is not None
        text = Published.text
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Published, "text", lambda self: text(self).replace('"format": 1', '"format": 9'))
            writer.stage(writer.published)
            writer.publish(writer.published)
    with pytest.raises(DatabaseError, match="--overwrite"):
        told(database._database, collection.root)
    with pytest.raises(DatabaseError, match="of another format"):
        content(database._database)
    told(database._database, collection.root, overwrite=True)
    assert content(database._database) == in_index(collection.root)
    assert left_behind(database._database) == 0


def test_what_somebody_else_keeps_there_is_left_alone(
    postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Collection(tmp_path / "c.mmn", videos=5)
    address = f"postgresql://postgres@/postgres?host={postgres_server}"
    for table in ("moments", "films_videos"):
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE {table} (note text)")
            opened = open_database(parse_target(f"{address}#{table.removesuffix('_videos')}"))
            with pytest.raises(DatabaseError, match=f"did not make.*{table}"):
                told(opened, made.root)
            assert connection.execute(f"TABLE {table}").fetchall() == []
            opened.close()
    client = QdrantClient(":memory:")
    client.create_collection("x", models.VectorParams(size=3, distance=models.Distance.COSINE))
    client.upsert("x", [models.PointStruct(id=1, vector=[1, 2, 3])])
    with pytest.raises(DatabaseError, match="not filled by"):
        told(Qdrant(parse_target("qdrant://nowhere/x"), client), made.root)
    assert client.count("x").count == 1
    client.close()


def test_a_second_push_at_the_same_time_is_refused(
    database: DatabaseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmn_index.databases.postgres._LOCK_WAIT", 0.5)
    collection = Collection(tmp_path / "c.mmn", videos=12)
    database.put(collection.root)
    other = database._opened()
    with other.pushing(), pytest.raises(DatabaseError, match="another push is under way"):
        told(database._database, collection.root)
    told(database._database, collection.root)  # it has ended
    other.close()


def test_a_push_that_slept_does_not_wake_up_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Shared(client := EdgeClient(tmp_path / "shard"))
    engine = DatabaseEngine(
        lambda: Qdrant(parse_target("qdrant://nowhere/x"), shared), digits=5, approximate=True
    )
    monkeypatch.setattr(qdrant_writer, "_PATIENCE", 0.3)
    monkeypatch.setattr(qdrant_writer, "_BEAT", 0.5)  # too seldom: as one that sleeps
    collection = Collection(tmp_path / "c.mmn", videos=8)
    engine.put(collection.root)

    def sleeping() -> None:
        with engine._opened().pushing() as writer:
            before = writer.published
            assert before is not None
            writer.stage(before)
            collection.remove(["v1"])
            engine.put(collection.root)
            time.sleep(1)  # and wakes up
            writer.publish(before)

    with pytest.raises(DatabaseError, match="took over"):
        sleeping()
    assert content(engine._database) == in_index(collection.root)
    client.close()


def test_a_push_that_waited_builds_upon_what_was_published_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_writer, "_PATIENCE", 10.0)  # it looks once a second
    monkeypatch.setattr(qdrant_writer, "_BEAT", 100.0)
    shared = Shared(client := EdgeClient(tmp_path / "shard"))
    first, second = (Qdrant(parse_target("qdrant://nowhere/x"), shared) for _ in range(2))
    made = Collection(tmp_path / "c.mmn", videos=8).root
    waited = threading.Thread(target=lambda: found.append(told(second, made)))
    found: list[Any] = []
    publish = qdrant_writer.QdrantWriter.publish

    def slow(self: Any, published: Published) -> None:
        if not waited.ident:
            waited.start()
            time.sleep(0.5)
        publish(self, published)

    monkeypatch.setattr(qdrant_writer.QdrantWriter, "publish", slow)
    told(first, made)
    waited.join()
    assert found[0].unchanged
    assert content(first) == in_index(made)
    client.close()


def test_two_first_pushes_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_writer, "_PATIENCE", 0.3)
    shared = Shared(client := EdgeClient(tmp_path / "shard"))
    first, second = (Qdrant(parse_target("qdrant://nowhere/x"), shared) for _ in range(2))
    made = Collection(tmp_path / "c.mmn", videos=8).root
    stage = qdrant_writer.QdrantWriter.stage

    def staged(self: Any, goal: Published) -> None:
        monkeypatch.setattr(qdrant_writer.QdrantWriter, "stage", stage)
        with second.pushing() as other:  # neither saw the other
            other.stage(goal)
            stage(self, goal)

    monkeypatch.setattr(qdrant_writer.QdrantWriter, "stage", staged)
    with pytest.raises(DatabaseError, match="another push"):
        told(first, made)
    told(second, made)
    assert content(first) == in_index(made)
    client.close()


def test_a_connection_that_breaks_is_told_once(
    postgres_server: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collection = Collection(tmp_path / "c.mmn", videos=4)
    address = f"postgresql://postgres@/postgres?host={postgres_server}"
    opened = open_database(parse_target(f"{address}#broken"))
    told(opened, collection.root)

    def broken() -> None:
        with opened.reading() as reader, psycopg.connect(address, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE pid <> pg_backend_pid()")
            reader.known(["v1"])

    with pytest.raises(DatabaseError, match="cannot be reached"):
        broken()
    opened.close()
    assert not caplog.records


def test_a_search_that_takes_long_holds_up_a_push(
    postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"postgresql://postgres@/postgres?host={postgres_server}#slow"
    pushing, searching = open_database(parse_target(name)), open_database(parse_target(name))
    told(pushing, Collection(tmp_path / "c.mmn", videos=4).root)
    monkeypatch.setitem(conformance._TYPES, "level", pa.string())
    video = Collection._video
    monkeypatch.setattr(Collection, "_video", lambda self: changed(video(self), ["a", "b", "c"]))
    other = Collection(tmp_path / "other.mmn", videos=4)  # a column is added, which waits for readers
    with searching.reading() as reader:
        reader.known(["v1"])
        with pytest.raises(DatabaseError, match="kept its tables"):
            told(pushing, other.root, overwrite=True)
    told(pushing, other.root, overwrite=True)
    pushing.close()
    searching.close()


def test_collections_of_one_server_keep_apart(postgres_server: str, tmp_path: Path) -> None:
    for name, videos in (("part", 4), ("part_moments", 5), ('odd.-"'.replace('"', "x"), 6)):
        made = Collection(tmp_path / f"{name}.mmn", seed=videos, videos=videos)
        target = parse_target(f"postgresql://postgres@/postgres?host={postgres_server}#{name}")
        opened = open_database(target)
        if name == "part_moments":  # the table of another collection
            with pytest.raises(DatabaseError):
                told(opened, made.root)
        else:
            told(opened, made.root)
            assert content(opened) == in_index(made.root)
        opened.close()


def test_a_setting_that_the_search_needs_takes(postgres_server: str) -> None:
    """The server is PostgreSQL with halfvec, and `<#>` is the negative inner product."""
    with psycopg.connect(f"postgresql://postgres@/postgres?host={postgres_server}") as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        found = connection.execute("SELECT '[1,2]'::halfvec <#> '[3,4]'::halfvec").fetchone()
    assert found == (-11.0,)


def test_the_commands(lively: Path, command: Command, postgres_server: str, tmp_path: Path) -> None:
    index = tmp_path / "c.mmn"
    shutil.copytree(lively / "collection.mmn", index)
    url = f"postgresql://postgres@/postgres?host={postgres_server}#lively"
    command.fails("search", "a person", "--index", url, says="holds no moments")
    pushed = json.loads(command.ok("push", index, url, "--json").stdout)
    assert pushed["sent"] == pushed["moments"] == MomentIndex(index).num_moments
    assert "nothing was sent" in command.ok("push", index, url).stderr

    def asked(*options: object) -> tuple[list[object], list[object]]:
        both = []
        for place in (index, url):
            lines = command.ok("search", *options, "--index", place, "--json").stdout.splitlines()
            both.append([json.loads(line) for line in lines])
        for ours, theirs in zip(*both, strict=True):
            assert ours.pop("score") == pytest.approx(theirs.pop("score"), abs=1e-9)
        return both[0], both[1]

    (tmp_path / "sentences.txt").write_text("a person reads a book\na person sits down\n")
    for options in (
        ["a person opens the door"],
        ["a person opens the door", "-k", "3", "--nms", "0.2", "--score", "product"],
        ["a person opens the door", "--not", "a person closes the door", "--exact"],
        ["a person opens the door", "--video", "v1", "--after", "3", "--max-length", "9"],
        ["a person opens the door", "--where", "duration>=22", "--per-video", "1"],
        ["--like", "v2@4-9"],
        ["--queries", tmp_path / "sentences.txt"],
    ):
        ours, theirs = asked(*options)
        assert ours
        assert ours == theirs
    for options in (("-k", "9" * 20), ("--timeout", "1e300"), ("--timeout", "inf")):
        ours, theirs = asked("a person opens the door", *options)
        assert ours == theirs
    table = command.ok("search", "a person reads a book", "--index", url, "-k", "2")
    assert "proven exact" in table.stderr
    assert len(table.stdout.splitlines()) == 3
    ours = command.ok("search", "a person reads a book", "--index", url, "--model", lively / "model")
    assert ours.stdout == command.ok("search", "a person reads a book", "--index", url).stdout
    for wrong, says in (
        (["--and", "a person"], "needs the index itself"),
        (["--min-confidence", "0.5"], "needs the index itself"),
        (["--where", "camera=porch"], "no column"),
        (["--video", "nobody"], "nobody"),
        (["--timeout", "0.000001"], "no answer"),
    ):
        result = command.run("search", "a person", "--index", url, *wrong)
        assert result.exit_code
        assert says in result.stderr
        assert "Traceback" not in result.stderr
    index.rename(tmp_path / "away.mmn")
    command.fails("search", "a person", "--index", url, says="--model")
    command.ok("search", "a person", "--index", url, "--model", tmp_path / "away.mmn")
    shutil.copytree(lively / "collection.mmn", index, ignore=shutil.ignore_patterns("model-*"))
    command.fails("search", "a person", "--index", url, says="--model")
    refused = command.run("info", "--index", f"postgresql://me:{SECRET}@host/db")
    assert refused.exit_code == 2
    assert SECRET not in refused.output


def test_pgvector_in_a_schema_of_its_own(lively: Path, command: Command, postgres_server: str) -> None:
    with psycopg.connect(
        f"postgresql://postgres@/postgres?host={postgres_server}", autocommit=True
    ) as connection:
        connection.execute("CREATE DATABASE apart")
    url = f"postgresql://postgres@/apart?host={postgres_server}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
    index = lively / "collection.mmn"
    command.fails("push", index, url, says="search_path")
    path = "options=-csearch_path%3Dpublic,extensions"
    command.ok("push", index, f"{url}&{path}")
    command.ok("search", "a person", "--index", f"{url}&{path}")
    command.fails("search", "a person", "--index", url, says="search_path")
