"""PostgreSQL with pgvector, a real server, does what every engine has to do."""

from pathlib import Path

import conformance
import pytest
from conformance import Collection
from database_engine import DatabaseEngine, make_small

from mmn_index.databases.connect import open_database
from mmn_index.databases.target import parse_target

URL = "postgresql://postgres@/postgres?host={}#{}"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection(tmp_path_factory.mktemp("postgres") / "c.mmn")


def engine(server: str, name: str, monkeypatch: pytest.MonkeyPatch, *, lists: bool) -> DatabaseEngine:
    make_small(monkeypatch, lists=lists)
    target = parse_target(URL.format(server, name))
    return DatabaseEngine(lambda: open_database(target), digits=9, approximate=lists)


@pytest.mark.parametrize("lists", [False, True], ids=["scanned", "lists"])
@pytest.mark.parametrize("check", conformance.CHECKS)
def test_it_does_what_every_engine_has_to(
    collection: Collection, postgres_server: str, monkeypatch: pytest.MonkeyPatch, check: str, lists: bool
) -> None:
    made = engine(postgres_server, f"all{lists}", monkeypatch, lists=lists)
    made.put(collection.root)
    conformance.CHECKS[check](made, collection)
    made.close()


@pytest.mark.parametrize("lists", [False, True], ids=["scanned", "lists"])
@pytest.mark.parametrize("check", conformance.CHANGING)
def test_it_follows_changes(
    tmp_path: Path, postgres_server: str, monkeypatch: pytest.MonkeyPatch, check: str, lists: bool
) -> None:
    collection = Collection(tmp_path / "c.mmn", seed=3)
    made = engine(postgres_server, f"{check}{lists}", monkeypatch, lists=lists)
    made.put(collection.root)
    conformance.CHANGING[check](made, collection)
    made.close()


def test_a_model_with_one_space(
    tmp_path: Path, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = Collection(tmp_path / "c.mmn", spaces=1)
    made = engine(postgres_server, "one", monkeypatch, lists=True)
    made.put(collection.root)
    conformance.check_one_space(made, collection)
    made.close()
