"""Search on a Ray cluster of a head and three nodes, as processes of this machine, beside one process.

    python benchmarks/ray_search.py WORK OUT [--videos 181] [--queries 1000]

- answers: are those of all queries the ones of one process, certificate included?
- milliseconds of a query, with one process and with the cluster by turns, scanned and by a candidate index;
- one searcher killed under load: what callers see, and how long it takes until answers are whole again.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import synthetic
from machine import about
from search import build, in_turn, part

from mmn_index.cluster.remote_index import RemoteIndex
from mmn_index.cluster.searchers import Searchers
from mmn_index.cluster.session import connected
from mmn_index.index import MomentIndex, Restriction
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings

NODES = 4
SCORE = Score("collection", tau=0.1)
SMALL = {"num_cpus": 1, "object_store_memory": 256 << 20}
QUIET = 10.0  # seconds of load before and after


@contextmanager
def cluster() -> Iterator[str]:
    """Its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster  # the benchmark alone begins a cluster; users have one

    started = Cluster(initialize_head=True, head_node_args={**SMALL, "include_dashboard": False})
    for _ in range(NODES - 1):
        started.add_node(**SMALL)
    yield started.address
    started.shutdown()


def ask(index: MomentIndex, queries: Embeddings, options: SearchOptions) -> list[Answer]:
    return search_embeddings(index, queries, SCORE, options, [""] * len(queries.iou))


def equality(local: MomentIndex, remote: RemoteIndex, count: int, *, exact: bool) -> dict[str, Any]:
    queries, options = synthetic.queries(count, seed=3), SearchOptions(exact=exact)
    found: dict[str, Any] = {"queries": count, "equal": 0, "exact": 0, "exact here": 0}
    for first in range(0, count, 50):
        here, there = (ask(index, part(queries, first, 50), options) for index in (local, remote))
        for one, other in zip(here, there, strict=True):
            found["equal"] += one.hits == other.hits and (one.exact, one.recall) == (
                other.exact,
                other.recall,
            )
            found["exact"] += other.exact
            found["exact here"] += one.exact
    return found


def latency(local: MomentIndex, remote: RemoteIndex, times: int, *, exact: bool) -> dict[str, Any]:
    queries, options = synthetic.queries(64 * times, seed=4), SearchOptions(exact=exact)
    found = {}
    for count in (1, 64):
        runs = {
            name: lambda n, index=index, count=count: ask(index, part(queries, count * n, count), options)
            for name, index in (("one process", local), ("cluster", remote))
        }
        took = in_turn(runs, times)
        found[f"{count} queries, ms"] = {
            name: {"median": statistics.median(each), "90 %": sorted(each)[int(0.9 * len(each))]}
            for name, each in took.items()
        }
    return found


def killed(local: MomentIndex, remote: RemoteIndex, searchers: Searchers) -> dict[str, Any]:
    """Callers ask all the time; one searcher is killed."""
    queries = synthetic.queries(8, seed=5)
    victim = sorted(searchers.there)[0]
    whole = [answer.hits for answer in ask(local, queries, SearchOptions())]
    plan, pieces = remote._allotment.plan, remote._allotment.pieces
    lost = {  # of the one segment that there is
        local.video_id(int(number))
        for piece, owners in zip(pieces, plan.scans, strict=True)
        if victim in owners
        for number in range(
            int(local.videos_of(np.array(piece.first))), int(local.videos_of(np.array(piece.last - 1))) + 1
        )
    }
    restriction = Restriction(exclude=tuple(sorted(lost)))
    rest = [answer.hits for answer in ask(local, queries, SearchOptions(restriction=restriction))]
    seen: list[tuple[float, str]] = []
    end = threading.Event()

    def call() -> None:
        while not end.is_set():
            answers = ask(remote, queries, SearchOptions())
            is_whole, hits = answers[0].searched == 1, [answer.hits for answer in answers]
            kind = "whole" if is_whole else "partial"
            seen.append((time.monotonic(), kind if hits == (whole if is_whole else rest) else "wrong"))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(QUIET)
    with connected("auto") as session:
        handle = searchers._roster.there[victim].handle
        pid = session.ray.get(handle.__ray_call__.remote(lambda searcher: os.getpid()))
    at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while victim in remote._allotment.plan.holders or len(remote._allotment.plan.holders) < NODES:
        time.sleep(0.01)
    replaced = time.monotonic() - at
    time.sleep(QUIET)
    end.set()
    for thread in threads:
        thread.join()
    partial = [when - at for when, kind in seen if kind == "partial"]
    after = [when - at for when, kind in seen if kind == "whole" and when - at > max([0.0, *partial])]
    return {
        "answers of 8 queries": len(seen),
        "wrong": sum(kind == "wrong" for _, kind in seen),
        "partial, and said so": len(partial),
        "first partial answer, s after the kill": min(partial, default=None),
        "last partial answer, s": max(partial, default=None),
        "whole again, s": min(after),
        "a new searcher has its part, s": replaced,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=181)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--times", type=int, default=50)
    asked = parser.parse_args()
    found: dict[str, Any] = {
        "command": f"python benchmarks/ray_search.py WORK OUT --videos {asked.videos} --queries "
        f"{asked.queries}",
        "machine": about(),
        "nodes": NODES,
    }
    with cluster() as address, closing(Searchers(address)) as searchers:
        for vectors in ("exact", "ivf-sq8"):
            root = asked.work / vectors / "index"
            if not root.exists():
                shutil.rmtree(root.parent, ignore_errors=True)
                build(root, asked.videos, vectors)
            local, began = MomentIndex(root), time.monotonic()
            remote = RemoteIndex(root, searchers)
            exact = vectors == "exact"
            found[vectors] = {
                "moments": local.num_moments,
                "opened and shared out, s": time.monotonic() - began,
                "answers": equality(local, remote, asked.queries, exact=exact),
                **latency(local, remote, asked.times, exact=exact),
            }
            if exact:
                found["one searcher killed under load"] = killed(local, remote, searchers)
    text = json.dumps(found, indent=1)
    print(text)
    asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
