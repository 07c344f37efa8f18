"""Search on a Ray cluster of four nodes: the answers are those of one process, also while searchers die, hang
and come.
"""

import gc
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from conftest import Command
from fastapi.testclient import TestClient
from mmn_index.index_build.candidates import Wish
from mmn_index.index_build.change import compact, remove
from test_search import GRID, make_index, random_queries
from test_tube_index import make_index as make_tubes

from mmn_index.client import Client
from mmn_index.cluster import connect
from mmn_index.cluster.allotment import Allotment
from mmn_index.cluster.remote_index import RemoteIndex
from mmn_index.cluster.searchers import Searchers
from mmn_index.cluster.session import _ray, connected
from mmn_index.confidence import QUANTITIES, Calibration
from mmn_index.errors import ClusterError, ConfigError, QueryError
from mmn_index.index import CandidateAbout, MomentIndex, Restriction
from mmn_index.index.scan import Deadline
from mmn_index.negatives import Bank
from mmn_index.scoring import SCORES, Embeddings, Score
from mmn_index.search import Answer, SearchOptions, score_map, search_embeddings, search_like
from mmn_index.search.pairs import search_pair_embeddings
from mmn_index.server.app import create_app
from mmn_index.server.library import Library
from mmn_index.server.settings import Settings

NODES = 4
SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20}
PATIENCE = 4.0  # seconds until a searcher that hangs is given up
INVERTED = CandidateAbout("IVF4,SQ8", nprobe=2, depth=64, recall=0.75)
BANK = Bank(("a", "b", "c"), random_queries(5, 3).contrastive, "csls", 0.1)
SOME = random_queries(2, 7)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"replicas": 2}, "only nodes of a cluster hold copies"),
        ({"ray": "auto", "workers": 2}, "each process would begin searchers of its own"),
        ({"ray": "auto", "replicas": 0}, "--replicas is 0, expected at least 1"),
    ],
)
def test_settings_of_a_server_that_do_not_fit(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Settings((Path("films.mmn"),), **settings)


def test_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test's cluster may be open, and a process has one connection.
    monkeypatch.setattr(_ray(), "is_initialized", lambda: False)
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1: no Ray cluster answers there"):
        connect(tmp_path, "127.0.0.1:1")
    with pytest.raises(ClusterError, match="is no address of a Ray cluster"):
        connect(tmp_path, "head")
    assert time.monotonic() < began + 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and three nodes, as processes of this machine."""
    _ray()
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    for _ in range(NODES - 1):
        started.add_node(**SMALL)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def searchers(cluster: Any) -> Iterator[Searchers]:
    with closing(Searchers(cluster.address, patience=PATIENCE)) as begun:
        assert len(begun.there) == NODES
        yield begun


def plain(folder: Path) -> MomentIndex:
    """One segment, which is cut over all nodes; videos stand three times, so that scores tie."""
    return make_index(folder, 1, videos=60, copies=True)


def changed(folder: Path) -> MomentIndex:
    """Several segments with a bank and long videos, of which some were removed."""
    index = make_index(folder, 3, videos=40, segments=3, durations=(30.0, 400.0, 3.0), bank=BANK)
    remove(index.root, ["v03", "v04", "v20", "v39"])
    return MomentIndex(index.root)


def indexed(folder: Path) -> MomentIndex:
    """Two segments with a candidate index, one without."""
    return make_index(folder, 4, videos=60, segments=3, vectors=[INVERTED, None, INVERTED], bank=BANK)


def calibrated(folder: Path) -> MomentIndex:
    index = make_index(folder, 5, videos=30, segments=2, bank=BANK)
    sure = Calibration(-1.0, tuple(0.1 * n for n in range(len(QUANTITIES))), 100, 0.1)
    replace(index.manifest, calibration=sure).write(index.root)
    return MomentIndex(index.root)


@pytest.fixture(
    scope="module", params=[plain, changed, indexed, make_tubes], ids=["plain", "changed", "indexed", "tubes"]
)
def both(
    request: pytest.FixtureRequest, searchers: Searchers, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MomentIndex, RemoteIndex]:
    """An index here, and on the cluster."""
    local: MomentIndex = request.param(tmp_path_factory.mktemp("index"))
    return local, RemoteIndex(local.root, searchers)


def same(one: list[Answer], other: list[Answer]) -> None:
    """All of two answers. Of equal scores any may be among the candidates, and the rest is estimated: there two
    totals differ by less than what they may be off.
    """
    for here, there in zip(one, other, strict=True):
        if here.evidence is not None:
            assert there.evidence is not None
            off = here.evidence.error + there.evidence.error + 1e-5
            assert torch.allclose(here.evidence.quantities, there.evidence.quantities, rtol=1e-5, atol=off)
        assert replace(here, evidence=None) == replace(there, evidence=None)


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(),
        SearchOptions(k=60, nms=1.0),
        SearchOptions(k=1000, nms=0.9),
        SearchOptions(exact=True, per_video=1, evidence=True),
        SearchOptions(restriction=Restriction(exclude=("v5",), min_length=4.0), evidence=True),
        SearchOptions(restriction=Restriction(videos=("v5",), after=5.0, before=20.0)),
    ],
    ids=["default", "many", "nearly all", "exact", "excluding", "within"],
)
def test_answers_are_those_of_one_process(
    both: tuple[MomentIndex, RemoteIndex], options: SearchOptions
) -> None:
    local, _ = both
    if not local.manifest.tubes:  # whose ids have two digits
        videos = options.restriction.videos and ("v05",)
        exclude = options.restriction.exclude and ("v05",)
        options = replace(options, restriction=replace(options.restriction, videos=videos, exclude=exclude))
    for score in (Score(name) for name in SCORES):
        same(*(search_embeddings(index, SOME, score, options, [""] * 7) for index in both))
    if local.manifest.bank:
        same(*(search_embeddings(index, SOME, Score(hub=0.5), options, [""] * 7) for index in both))
    against = random_queries(9, 7)
    same(*(search_embeddings(index, SOME, Score(), options, [""] * 7, against) for index in both))


def test_other_questions_are_answered_as_by_one_process(both: tuple[MomentIndex, RemoteIndex]) -> None:
    local, remote = both
    assert remote.has_candidates == local.has_candidates
    name = local.video_ids[6]
    end = local.video(local.number_of(name)).duration
    like = [search_like(index, name, 0.0, end / 2) for index in both]
    assert like[0] == like[1]
    two = Embeddings(*(x[:2] for x in SOME))
    for in_order in (False, True):
        for restriction in (Restriction(), Restriction(max_length=9.0)):
            options = SearchOptions(k=6, restriction=restriction)
            pairs = [search_pair_embeddings(index, two, Score(), in_order, options) for index in both]
            assert pairs[0] == pairs[1]
    one = Embeddings(*(x[:1] for x in SOME))
    maps = [score_map(index, GRID, one, 7, Score()) for index in both]
    assert np.array_equal(maps[0], maps[1], equal_nan=True)
    rows = np.random.default_rng(0).integers(0, len(GRID) * len(local.rows.windows_of(0)), (3, 4))
    assert torch.equal(local.vectors(rows), remote.vectors(rows))
    assert torch.equal(local.hubs(rows), remote.hubs(rows))


def test_confidences_are_those_of_one_process(searchers: Searchers, tmp_path: Path) -> None:
    local = calibrated(tmp_path)
    remote = RemoteIndex(local.root, searchers)
    one, other = (
        search_embeddings(index, SOME, Score(), SearchOptions(), [""] * 7) for index in (local, remote)
    )
    sure = [[hit.confidence for answer in found for hit in answer.hits] for found in (one, other)]
    assert None not in sure[0]
    assert sure[1] == pytest.approx(sure[0], abs=1e-5)
    assert [answer.exact for answer in other] == [True] * 7


def test_each_node_has_its_part(both: tuple[MomentIndex, RemoteIndex], searchers: Searchers) -> None:
    local, remote = both
    allotment = remote._allotment
    assert allotment.plan.holders == searchers.there
    pieces = [row for piece in allotment.pieces for row in (piece.segment, piece.first, piece.last)]
    assert pieces[2] > 0
    owned = {
        name: sum(
            piece.size
            for piece, owners in zip(allotment.pieces, allotment.plan.scans, strict=True)
            if name in owners
        )
        for name in searchers.there
    }
    whole = sum(segment.entry.moments for segment in local.segments)
    assert sum(owned.values()) == whole
    assert max(owned.values()) <= whole / NODES + max(piece.size for piece in allotment.pieces)


def pid_of(searchers: Searchers, name: str) -> int:
    """The process of a searcher."""
    with connected("auto") as session:
        handle = searchers._roster.there[name].handle
        found: int = session.ray.get(handle.__ray_call__.remote(lambda searcher: os.getpid()))
        return found


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Callers:
    """Threads that search all the time, and look at each answer.

    Attributes:
        whole, partial: when each answer of either kind came.
        wrong: answers that should not be.
    """

    def __init__(self, local: MomentIndex, remote: RemoteIndex, threads: int = 2) -> None:
        self._remote, names = remote, sorted(remote._allotment.plan.holders)
        videos = {
            name: {local.video_id(int(n)) for n in local.videos_of(rows_of(remote, name))} for name in names
        }
        # By the searchers that are lost.
        self._right = []
        for lost in (some for count in range(len(names)) for some in combinations(names, count)):
            exclude = tuple(sorted(video for name in lost for video in videos[name]))
            options = SearchOptions(restriction=Restriction(exclude=exclude))
            found = search_embeddings(local, SOME, Score(), options, [""] * 7)
            self._right.append([hits(answer) for answer in found])
        self.whole, self.partial, self.wrong = list[float](), list[float](), list[Any]()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        self.some_whole()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        assert not self.wrong, self.wrong[0]

    def some_whole(self) -> None:
        """Wait for whole answers to what is asked from now on."""
        now = time.monotonic()
        until(lambda: sum(when > now + 0.5 for when in self.whole) > 2 or bool(self.wrong))

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                found = search_embeddings(self._remote, SOME, Score(), SearchOptions(), [""] * 7)
            except Exception as error:
                self.wrong.append(error)
                return
            part, told = found[0].searched, [hits(answer) for answer in found]
            (self.whole if part == 1 else self.partial).append(time.monotonic())
            right = told == self._right[0] if part == 1 else told in self._right[1:]
            if not right or any(answer.exact != (part == 1) or answer.searched != part for answer in found):
                self.wrong.append(found)


def hits(answer: Answer) -> tuple[Any, ...]:
    return tuple((hit.video_id, hit.start, hit.end, hit.score, hit.row) for hit in answer.hits)


def rows_of(remote: RemoteIndex, name: str) -> np.ndarray:
    """What a searcher scans."""
    allotment = remote._allotment
    own = [
        piece for piece, owners in zip(allotment.pieces, allotment.plan.scans, strict=True) if name in owners
    ]
    return np.concatenate(
        [np.zeros(0, np.int64)]
        + [np.arange(piece.first, piece.last) + remote.holding.first[piece.segment] for piece in own]
    )


@pytest.fixture(scope="module")
def under_load(
    searchers: Searchers, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MomentIndex, RemoteIndex]:
    local = make_index(tmp_path_factory.mktemp("load"), 1, videos=60, segments=2)
    return local, RemoteIndex(local.root, searchers)


def whole_again(remote: RemoteIndex, searchers: Searchers, count: int = NODES) -> None:
    until(
        lambda: (
            len(remote._allotment.plan.holders) == count and remote._allotment.plan.holders == searchers.there
        )
    )


def test_one_that_is_killed_under_load(
    searchers: Searchers, under_load: tuple[MomentIndex, RemoteIndex]
) -> None:
    local, remote = under_load
    victim = sorted(searchers.there)[1]
    pid = pid_of(searchers, victim)
    with Callers(local, remote) as callers:
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: victim not in searchers.there)
        callers.some_whole()  # by those that are left
        whole_again(remote, searchers)  # a new one on that node has its part
        callers.some_whole()
    assert victim not in remote._allotment.plan.holders
    assert max([killed, *callers.partial]) < killed + 10


def test_one_that_hangs_is_given_up(
    searchers: Searchers, under_load: tuple[MomentIndex, RemoteIndex]
) -> None:
    local, remote = under_load
    victim = sorted(searchers.there)[1]
    pid = pid_of(searchers, victim)
    with Callers(local, remote) as callers:
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        # A deadline ends the wait before the patience does.
        with pytest.raises(QueryError, match=r"no answer within 0\.5 s"):
            search_embeddings(remote, SOME, Score(), SearchOptions(timeout=0.5), [""] * 7)
        until(lambda: victim not in searchers.there)
        assert PATIENCE < time.monotonic() - stopped < PATIENCE + 8
        callers.some_whole()
    with pytest.raises(ProcessLookupError):  # nothing of it is left
        until(lambda: os.kill(pid, 0) is not None, 20)
    whole_again(remote, searchers)


def test_a_node_that_comes_gets_a_part_and_one_that_goes_loses_it(
    cluster: Any, searchers: Searchers, under_load: tuple[MomentIndex, RemoteIndex]
) -> None:
    local, remote = under_load
    before = remote._allotment.plan
    with Callers(local, remote) as callers:
        node = cluster.add_node(**SMALL)
        whole_again(remote, searchers, NODES + 1)
        callers.some_whole()
    assert not callers.partial
    plan = remote._allotment.plan
    (new,) = plan.holders - before.holders
    assert 0.15 < len(rows_of(remote, new)) / local.num_moments < 0.25
    stayed = sum(old == now for old, now in zip(before.scans, plan.scans, strict=True))
    assert stayed / len(plan.scans) > 0.7
    with Callers(local, remote) as callers:
        cluster.remove_node(node)
        whole_again(remote, searchers)
        callers.some_whole()


def test_all_are_lost(under_load: tuple[MomentIndex, RemoteIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    local, remote = under_load
    monkeypatch.setattr(Searchers, "there", frozenset())
    answer = search_embeddings(remote, random_queries(1, 1), Score(), SearchOptions(), ["q"])[0]
    assert (answer.hits, answer.exact, answer.searched) == ((), False, 0.0)
    with pytest.raises(ClusterError, match=r"only 0\.0% of the moments could be searched"):
        search_pair_embeddings(remote, random_queries(1, 2), Score(), False, SearchOptions())
    # What is known already is scored from the files.
    rows, three = np.arange(12).reshape(3, 4), random_queries(1, 3)
    assert torch.equal(remote.vectors(rows), local.vectors(rows))
    here, there = (
        index.cosines(rows, three, Score(), torch.float64, Deadline(None)) for index in (local, remote)
    )
    assert all(torch.equal(x, y) for x, y in zip(here, there, strict=True))


def test_a_new_version_is_opened_and_the_old_one_answers_on(
    searchers: Searchers, lively: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(lively / "collection.mmn", tmp_path / "films.mmn"))

    def found(index: MomentIndex) -> list[Answer]:
        width = index.manifest.joint_dim
        units = torch.nn.functional.normalize(torch.randn(2, 5, width, generator=seeded()), dim=2)
        return search_embeddings(index, Embeddings(*units), Score(), SearchOptions(), [""] * 5)

    library = Library([root], open_index=lambda root: RemoteIndex(root, searchers))
    (shelf,) = library.shelves.values()
    assert not shelf.refresh()
    versions = [(shelf.opened.index, found(MomentIndex(root)))]
    for change in (lambda: remove(root, ["v1"]), lambda: compact(root, Wish()), lambda: remove(root, ["v4"])):
        change()
        assert shelf.refresh()
        versions.append((shelf.opened.index, found(MomentIndex(root))))
    assert versions[0][1] != versions[1][1]
    for index, expected in versions:
        assert found(index) == expected
    keys = {*searchers._allotments}
    del versions, index
    gc.collect()
    assert len(keys - {*searchers._allotments}) == 3  # nobody asks for these any more


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


REQUESTS: list[dict[str, Any]] = [
    {"queries": ["a person opens the door", "a person sits down"], "k": 5},
    {"query": "a person opens the door", "and": "a person sits down"},
]


@pytest.fixture(scope="module")
def served(cluster: Any, lively: Path) -> Iterator[TestClient]:
    """A server that lets the cluster search, each moment on two nodes."""
    app = create_app(Settings((lively / "collection.mmn",), ray=cluster.address, replicas=2))
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def opened(served: TestClient) -> RemoteIndex:
    found: RemoteIndex = served.app.state.service.library.find(None).index  # type: ignore[attr-defined]
    return found


def searched(client: TestClient) -> list[dict[str, Any]]:
    answers = [client.post("/v1/search", json=body).json() for body in REQUESTS]
    for answer in answers:
        answer.pop("milliseconds"), answer.pop("index")
    return answers


def test_a_server_asks_the_cluster(served: TestClient, lively: Path) -> None:
    with TestClient(create_app(Settings((lively / "collection.mmn",))), base_url="http://localhost") as alone:
        expected = searched(alone)
    found, pairs = searched(served)
    assert [found, pairs] == expected
    assert [answer["searched"] for answer in found["answers"]] == [1, 1]
    assert pairs["pairs"][0]["searched"] == 1


def test_a_server_says_which_share_was_searched(
    served: TestClient, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    remote = opened(served)
    there, plan = remote._searchers.there, remote._allotment.plan
    lost = {*plan.scans[0]}
    assert len(lost) == 2
    monkeypatch.setattr(Searchers, "there", there - lost)
    pieces = zip(remote._allotment.pieces, plan.scans, strict=True)
    share = 1 - sum(piece.size for piece, owners in pieces if {*owners} <= lost) / remote.num_moments
    found, pairs = searched(served)
    assert [answer["searched"] for answer in found["answers"]] == [pytest.approx(share)] * 2
    assert [answer["exact"] for answer in found["answers"]] == [False, False]
    assert [pair["searched"] for pair in pairs["pairs"]] == [pytest.approx(share)] * len(pairs["pairs"])
    assert remote.video_id(0) not in {hit["video"] for answer in found["answers"] for hit in answer["hits"]}
    monkeypatch.setattr(httpx, "Client", lambda **_: served)
    monkeypatch.setattr(Client, "close", lambda self: None)
    url = ("--server", "http://localhost")
    said = f"not proven: {int(1000 * share) / 10:g} % of the moments were searched, nodes of the server's"
    for more in ([], ["--and", "a person sits down"]):
        assert said in command.ok("search", "a person opens the door", *more, *url).stderr
        lines = command.ok("search", "a person opens the door", *more, *url, "--json").stdout.splitlines()
        told = [json.loads(line) for line in lines]
        assert told
        assert all(not one["exact"] and one["searched"] == pytest.approx(share) for one in told)


def test_with_replicas_nobody_sees_one_die(served: TestClient, tmp_path: Path) -> None:
    searchers = opened(served)._searchers
    local = make_index(tmp_path, 1, videos=60, segments=2)
    remote = RemoteIndex(local.root, searchers)
    victim = sorted(searchers.there)[1]
    pid = pid_of(searchers, victim)
    with Callers(local, remote) as callers:
        os.kill(pid, signal.SIGKILL)
        until(lambda: victim not in searchers.there)
        callers.some_whole()
    assert not callers.partial


def test_an_index_that_nodes_do_not_see(
    searchers: Searchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, order = make_index(tmp_path, 1, videos=8), Allotment.order

    def elsewhere(self: Allotment, *args: Any) -> tuple[Any, ...]:
        key, _, *rest = order(self, *args)
        return key, tmp_path / "elsewhere", *rest

    monkeypatch.setattr(Allotment, "order", elsewhere)
    with pytest.raises(ClusterError, match=r"no node of the cluster can search it \(node .*: is missing"):
        RemoteIndex(local.root, searchers)
    assert len(searchers.there) == NODES
    with pytest.raises(ClusterError, match=r"is connected to the Ray cluster .* already, and can be to one"):
        connect(tmp_path, "127.0.0.1:1")
