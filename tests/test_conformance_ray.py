"""The nodes of a Ray cluster do what every engine has to do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import conformance
import pytest
from conformance import Collection, Query
from test_conformance_local import Local

from mmn_index.cluster.remote_index import RemoteIndex
from mmn_index.cluster.searchers import Searchers
from mmn_index.cluster.session import _ray
from mmn_index.search import Answer, SearchOptions

SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20}


class OnRay(Local):
    """As on disk, but that the nodes search it."""

    def __init__(self, searchers: Searchers) -> None:
        self._searchers = searchers

    def put(self, root: Path) -> None:
        self._index = RemoteIndex(root, self._searchers)

    @contextmanager
    def reading(self, queries: Sequence[Query]) -> Iterator[Callable[[], list[Answer]]]:
        index = self._index
        yield lambda: self._ask(index, queries, SearchOptions())


@pytest.fixture(scope="module")
def searchers() -> Iterator[Searchers]:
    """On a head and a node, as processes of this machine."""
    _ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    cluster.add_node(**SMALL)
    with closing(Searchers(cluster.address)) as begun:
        yield begun
    cluster.shutdown()


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection(tmp_path_factory.mktemp("ray") / "c.mmn", asked=4)


@pytest.mark.parametrize("check", conformance.CHECKS)
def test_it_does_what_every_engine_has_to(searchers: Searchers, collection: Collection, check: str) -> None:
    engine = OnRay(searchers)
    engine.put(collection.root)
    conformance.CHECKS[check](engine, collection)


@pytest.mark.parametrize("check", conformance.CHANGING)
def test_it_follows_changes(searchers: Searchers, tmp_path: Path, check: str) -> None:
    made, engine = Collection(tmp_path / "c.mmn", seed=3, asked=4), OnRay(searchers)
    engine.put(made.root)
    conformance.CHANGING[check](engine, made)


def test_a_model_with_one_space(searchers: Searchers, tmp_path: Path) -> None:
    made, engine = Collection(tmp_path / "c.mmn", spaces=1, asked=4), OnRay(searchers)
    engine.put(made.root)
    conformance.check_one_space(engine, made)
