"""Qdrant does what every engine has to do: its real engine in this process, and the client's own small one."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import conformance
import pytest
from conformance import Collection
from database_engine import DatabaseEngine, make_small
from edge_client import EdgeClient, Shared
from qdrant_client import QdrantClient

from mmn_index.databases.qdrant import Qdrant
from mmn_index.databases.target import parse_target

TARGET = parse_target("qdrant://nowhere/moments")
DIGITS = 5  # scores are sums in float32


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client's own engine warns that it is no server."""
    monkeypatch.setattr("mmn_index.databases.qdrant_writer._PATIENCE", 0.3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        yield


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection(tmp_path_factory.mktemp("qdrant") / "c.mmn")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection(tmp_path_factory.mktemp("qdrant") / "c.mmn", **FEW)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Clients whose collections were filled by the first test that needs them."""
    found: dict[str, Any] = {}
    yield found
    for client in found.values():
        client.close()


def client_of(kind: str, folder: Path) -> Any:
    return EdgeClient(folder) if kind == "edge" else QdrantClient(":memory:")


def engine(client: Any, monkeypatch: pytest.MonkeyPatch, *, lists: bool) -> DatabaseEngine:
    make_small(monkeypatch, lists=lists)
    shared = Shared(client)
    return DatabaseEngine(lambda: Qdrant(TARGET, shared), digits=DIGITS, approximate=True)


KINDS = [("edge", False), ("edge", True), ("local", False)]
FEW = {"videos": 10, "asked": 2}  # for the client's own engine, which is Python: 0.2 ms a moment
NAMES = ["edge, scanned", "edge, lists", "local"]


@pytest.mark.parametrize(("kind", "lists"), KINDS, ids=NAMES)
@pytest.mark.parametrize("check", conformance.CHECKS)
def test_it_does_what_every_engine_has_to(
    collection: Collection,
    few: Collection,
    clients: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    lists: bool,
    check: str,
) -> None:
    name, chosen = f"{kind}{lists}", few if kind == "local" else collection
    if name not in clients:
        clients[name] = client_of(kind, tmp_path / name)
    made = engine(clients[name], monkeypatch, lists=lists)
    made.put(chosen.root)
    conformance.CHECKS[check](made, chosen)


@pytest.mark.parametrize(("kind", "lists"), KINDS, ids=NAMES)
@pytest.mark.parametrize("check", conformance.CHANGING)
def test_it_follows_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, lists: bool, check: str
) -> None:
    collection = Collection(tmp_path / "c.mmn", seed=3, **(FEW if kind == "local" else {}))
    client = client_of(kind, tmp_path / "shard")
    made = engine(client, monkeypatch, lists=lists)
    made.put(collection.root)
    conformance.CHANGING[check](made, collection)
    client.close()


def test_a_model_with_one_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection, client = Collection(tmp_path / "c.mmn", spaces=1), client_of("edge", tmp_path / "shard")
    made = engine(client, monkeypatch, lists=True)
    made.put(collection.root)
    conformance.check_one_space(made, collection)
    client.close()
