"""Search on a Ray cluster of four nodes: the answers are those of one process, also while searchers die, hang
and come.
"""

import gc
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from mmn_index.index_build.candidates import Wish
from mmn_index.index_build.change import compact, remove
from test_search import GRID, make_index, random_queries
from test_tube_index import make_index as make_tubes

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
PATIENCE = 2.0  # seconds until a searcher that hangs is given up
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


def test_no_cluster(tmp_path: Path) -> None:
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
        self._remote = remote
        self._expected = search_embeddings(local, SOME, Score(), SearchOptions(), [""] * 7)
        # Of each searcher: the answers without the videos that it has.
        self._without: list[list[tuple[Any, ...]]] = []
        for name in remote._allotment.plan.holders:
            videos = tuple(sorted({local.video_id(int(n)) for n in local.videos_of(rows_of(remote, name))}))
            options = SearchOptions(restriction=Restriction(exclude=videos))
            found = search_embeddings(local, SOME, Score(), options, [""] * 7)
            self._without.append([hits(answer) for answer in found])
        self.whole, self.partial, self.wrong = list[float](), list[float](), list[Any]()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                found = search_embeddings(self._remote, SOME, Score(), SearchOptions(), [""] * 7)
            except Exception as error:
                self.wrong.append(error)
                return
            if all(answer.searched == 1 for answer in found):
                self.whole.append(time.monotonic())
                if [replace(answer, rounds=0) for answer in found] != [
                    replace(answer, rounds=0) for answer in self._expected
                ]:
                    self.wrong.append(found)
            else:
                self.partial.append(time.monotonic())
                right = [hits(answer) for answer in found] in self._without
                if not right or any(answer.exact or not 0.5 < answer.searched < 1 for answer in found):
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


@contextmanager
def apart(cluster: Any, local: MomentIndex, replicas: int = 1) -> Iterator[tuple[Searchers, RemoteIndex]]:
    """Searchers that a test may do away with."""
    with closing(Searchers(cluster.address, replicas=replicas, patience=PATIENCE)) as searchers:
        until(lambda: len(searchers.there) == NODES)
        yield searchers, RemoteIndex(local.root, searchers)


def test_one_that_is_killed_under_load(cluster: Any, tmp_path: Path) -> None:
    local = make_index(tmp_path, 1, videos=60, segments=2)
    with apart(cluster, local) as (searchers, remote), Callers(local, remote) as callers:
        until(lambda: len(callers.whole) > 3)
        victim = sorted(searchers.there)[1]
        os.kill(pid_of(searchers, victim), signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: victim not in searchers.there)
        until(lambda: any(when > killed + 1 for when in callers.whole) or bool(callers.wrong))
        until(lambda: len(remote._allotment.plan.holders) == NODES)  # a new one on that node has its part
        again = time.monotonic()
        until(lambda: sum(when > again for when in callers.whole) > 2 or bool(callers.wrong))
    assert not callers.wrong, callers.wrong[0]
    assert victim not in remote._allotment.plan.holders
    assert max([killed, *callers.partial]) < killed + 10


def test_with_replicas_nobody_sees_one_die(cluster: Any, tmp_path: Path) -> None:
    local = make_index(tmp_path, 1, videos=60, segments=2)
    with apart(cluster, local, replicas=2) as (searchers, remote), Callers(local, remote) as callers:
        until(lambda: len(callers.whole) > 3)
        victim = sorted(searchers.there)[1]
        os.kill(pid_of(searchers, victim), signal.SIGKILL)
        until(lambda: victim not in searchers.there)
        count = len(callers.whole)
        until(lambda: len(callers.whole) > count + 5 or bool(callers.wrong))
    assert not callers.wrong, callers.wrong[0]
    assert not callers.partial


def test_one_that_hangs_is_given_up(cluster: Any, tmp_path: Path) -> None:
    local = make_index(tmp_path, 1, videos=60, segments=2)
    with apart(cluster, local) as (searchers, remote):
        victim = sorted(searchers.there)[1]
        pid = pid_of(searchers, victim)
        with Callers(local, remote) as callers:
            until(lambda: len(callers.whole) > 3)
            os.kill(pid, signal.SIGSTOP)
            stopped = time.monotonic()
            # A deadline ends the wait before the patience does.
            with pytest.raises(QueryError, match=r"no answer within 0\.5 s"):
                search_embeddings(remote, SOME, Score(), SearchOptions(timeout=0.5), [""] * 7)
            until(lambda: victim not in searchers.there)
            assert PATIENCE < time.monotonic() - stopped < PATIENCE + 8
            given_up = time.monotonic()
            until(lambda: sum(when > given_up + 1 for when in callers.whole) > 2 or bool(callers.wrong))
        assert not callers.wrong, callers.wrong[0]
    with pytest.raises(ProcessLookupError):  # nothing of it is left
        until(lambda: os.kill(pid, 0) is not None, 20)


def test_a_node_that_comes_gets_a_part_and_one_that_goes_loses_it(cluster: Any, tmp_path: Path) -> None:
    local = make_index(tmp_path, 1, videos=60, segments=2)
    with apart(cluster, local) as (searchers, remote):
        before = remote._allotment.plan
        with Callers(local, remote) as callers:
            node = cluster.add_node(**SMALL)
            until(lambda: len(remote._allotment.plan.holders) == NODES + 1)
            count = len(callers.whole)
            until(lambda: len(callers.whole) > count + 3 or bool(callers.wrong))
        assert not callers.wrong, callers.wrong[0]
        assert not callers.partial
        plan = remote._allotment.plan
        (new,) = plan.holders - before.holders
        assert 0.15 < len(rows_of(remote, new)) / local.num_moments < 0.25
        stayed = sum(old == now for old, now in zip(before.scans, plan.scans, strict=True))
        assert stayed / len(plan.scans) > 0.7
        cluster.remove_node(node)
        until(lambda: remote._allotment.plan.holders == searchers.there and new not in searchers.there)
        found = search_embeddings(remote, SOME, Score(), SearchOptions(), [""] * 7)
        assert found == search_embeddings(local, SOME, Score(), SearchOptions(), [""] * 7)


def test_all_are_lost(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = make_index(tmp_path, 1, videos=20)
    with apart(cluster, local) as (_, remote):
        monkeypatch.setattr(Searchers, "there", frozenset())
        answer = search_embeddings(remote, random_queries(1, 1), Score(), SearchOptions(), ["q"])[0]
        assert (answer.hits, answer.exact, answer.searched) == ((), False, 0.0)
        two = random_queries(1, 2)
        with pytest.raises(ClusterError, match=r"only 0\.0% of the moments could be searched"):
            search_pair_embeddings(remote, two, Score(), False, SearchOptions())
        # What is known already is scored from the files.
        rows = np.arange(12).reshape(3, 4)
        assert torch.equal(remote.vectors(rows), local.vectors(rows))
        three = random_queries(1, 3)
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


def test_a_server_asks_the_cluster(cluster: Any, lively: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(lively / "collection.mmn", tmp_path / "films.mmn"))
    request = {"queries": ["a person opens the door", "a person sits down"], "k": 5}
    two = {"query": "a person opens the door", "and": "a person sits down"}
    answers = []
    for ray in (None, cluster.address):
        with TestClient(create_app(Settings((root,), ray=ray)), base_url="http://localhost") as client:
            answers.append([client.post("/v1/search", json=body).json() for body in (request, two)])
            if ray is not None:
                remote = client.app.state.service.library.find(None).index  # type: ignore[attr-defined]
                partial(client, remote, request, two)
    for found in (one for each in answers for one in each):
        found.pop("milliseconds")
    assert answers[0] == answers[1]
    assert [one["searched"] for one in answers[1][0]["answers"]] == [1, 1]
    assert answers[1][1]["pairs"][0]["searched"] == 1


def partial(client: TestClient, remote: RemoteIndex, *requests: dict[str, Any]) -> None:
    """What is said when nobody has a part, everywhere."""
    there = remote._searchers.there
    one = min(name for name in there if len(rows_of(remote, name)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Searchers, "there", there - {one})
        found, pairs = (client.post("/v1/search", json=body).json() for body in requests)
    share = 1 - len(rows_of(remote, one)) / remote.num_moments
    assert [answer["searched"] for answer in found["answers"]] == [pytest.approx(share)] * 2
    assert [answer["exact"] for answer in found["answers"]] == [False, False]
    assert [pair["searched"] for pair in pairs["pairs"]] == [pytest.approx(share)] * len(pairs["pairs"])
    videos = {hit["video"] for answer in found["answers"] for hit in answer["hits"]}
    lost = {remote.video_id(int(n)) for n in remote.videos_of(rows_of(remote, one))}
    assert videos
    assert not videos & lost


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
    with pytest.raises(ClusterError, match="is connected to the Ray cluster .* already, and can be to one"):
        connect(tmp_path, "127.0.0.1:1")
