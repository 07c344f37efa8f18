"""How quickly an index answers, and how much of the exact answer it finds, at 200 thousand to 5.4 million
moments.

    python benchmarks/search.py WORK RESULT.json --videos 181 --videos 906 --videos 4885

For each size an index of synthetic moments (synthetic.py: 1,104 moments a video, 2 x 256 dimensions) is built
in WORK, if it is not there yet, with the candidate index that `build` would choose (for 181 videos, which
would be scanned, ivf-pq as well). Then, all in one run, with the threads that torch has:

- a bare torch matmul + topk over float32 vectors of the same size in memory, as a reference (up to --bare
moments);
- the exact scan, and the candidate index with the number of lists that was recorded when it was built: one
  query (median of many) and 64 queries at once; recall@10 of the fused score after NMS against the exact
  scan;
- opening the index and the memory of a process that has opened it and answered 500 queries;
- looking up 100 rows;
- over the smallest index, 1,000 queries: the proven answer against brute force in float64.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import synthetic
import torch
from machine import about, copy_rate
from mmn_index.index_build.candidates import Wish, choose, tune

from mmn_index.index import CandidateAbout, IndexWriter, Manifest, MomentIndex, PlannedVideo
from mmn_index.moments import temporal_iou
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings

SCORE = Score("collection", tau=0.1)
TOP = 10


def build(root: Path, videos: int, vectors: str) -> dict[str, float]:
    """An index of synthetic videos; returns seconds."""
    (root.parent / "model").mkdir(parents=True, exist_ok=True)
    manifest = Manifest("f" * 64, None, synthetic.DIM, synthetic.GRID, SCORE, ())
    with IndexWriter(root) as writer:
        planned = [PlannedVideo(f"video{number:06d}", None, synthetic.SECONDS) for number in range(videos)]
        segment = writer.segment(synthetic.GRID, synthetic.DIM, planned, "synthetic")
        for moments in synthetic.embeddings(videos):
            segment.add(moments)
        factory, _ = choose(videos * len(synthetic.GRID), 2 * synthetic.DIM, Wish(vectors))
        started = time.perf_counter()
        entry = segment.finish(CandidateAbout(factory) if factory else None)
        finished = time.perf_counter()
        entry = tune(root, manifest, entry)
        writer.publish(replace(manifest, segments=(entry,)), root.parent / "model")
    return {
        "candidate index and tables, s": finished - started,
        "choosing nprobe, s": time.perf_counter() - finished,
    }


def part(queries: Embeddings, first: int, count: int) -> Embeddings:
    return Embeddings(*(x[first : first + count] for x in queries))


def ask(index: MomentIndex, queries: Embeddings, *, exact: bool) -> list[Answer]:
    options = SearchOptions(k=TOP, exact=exact)
    return search_embeddings(index, queries, SCORE, options, [""] * len(queries.iou))


def median_ms(run: Callable[[int], Any], times: int) -> float:
    """Milliseconds of run(0), run(1), ... after one for warming up."""
    return statistics.median(in_turn({"": run}, times)[""])


def in_turn(runs: dict[str, Callable[[int], Any]], times: int) -> dict[str, list[float]]:
    """Milliseconds of several things done by turns, so that other work on the machine slows all of them;
    warmed up once.
    """
    took: dict[str, list[float]] = {name: [] for name in runs}
    for number in [0, *range(times)]:
        for name, run in runs.items():
            started = time.perf_counter()
            run(number)
            took[name].append(1e3 * (time.perf_counter() - started))
    return {name: values[1:] for name, values in took.items()}


def against_scan(index: MomentIndex, queries: Embeddings, scan: dict[str, Any]) -> dict[str, Any]:
    """What the candidate index finds, and how long it takes beside the scan."""
    about = index.manifest.segments[0].candidates
    assert about is not None

    def ask_all(*, exact: bool) -> list[Answer]:
        firsts = range(0, 256, 64)
        return [answer for first in firsts for answer in ask(index, part(queries, first, 64), exact=exact)]

    truth, answers = ask_all(exact=True), ask_all(exact=False)
    rows = [
        ({hit.row for hit in a.hits}, {hit.row for hit in b.hits})
        for a, b in zip(truth, answers, strict=True)
    ]
    found: dict[str, Any] = {
        "candidate index, 1 query, ms": median_ms(
            lambda q: ask(index, part(queries, q, 1), exact=False), 500
        ),
        "candidate index, 64 queries, ms": median_ms(
            lambda q: ask(index, part(queries, 64 * q, 64), exact=False), 15
        ),
        "recall@10 after NMS": sum(len(a & b) for a, b in rows) / sum(len(a) for a, _ in rows),
        "recall that was measured at build": about.recall,
        "nprobe": about.nprobe,
        "depth": about.depth,
        "candidates scored, median": statistics.median(answer.candidates for answer in answers),
        "rounds, mean": statistics.mean(answer.rounds for answer in answers),
    }
    for kind in ("1 query", "64 queries"):
        times = scan[f"exact scan, {kind}, ms"] / found[f"candidate index, {kind}, ms"]
        found[f"times faster than the exact scan, {kind}"] = times
    return found


def measure(root: Path, bare: int, times: int) -> dict[str, Any]:
    """All figures of one index."""
    index = MomentIndex(root)
    queries = synthetic.queries(1024)
    n, about = index.num_moments, index.manifest.segments[0].candidates
    found: dict[str, Any] = {"moments": n, "candidate index": about.factory if about else None}
    if n <= bare:
        vectors = index.segments[0].embeddings.float()
        weights = torch.cat([10 * queries.contrastive, 1.2 * queries.iou], dim=1)
    for count, kind in ((1, "1 query"), (64, "64 queries")):
        runs = {"exact scan": lambda q, size=count: ask(index, part(queries, q * size, size), exact=True)}
        if n <= bare:
            runs["bare torch matmul + topk"] = lambda q, size=count: (
                weights[q * size :][:size] @ vectors.T
            ).topk(64)
        took = in_turn(runs, times if count == 1 else 10)
        found |= {f"{name}, {kind}, ms": statistics.median(values) for name, values in took.items()}
        if n <= bare:
            found[f"exact scan over bare, {kind}"] = statistics.median(
                a / b for a, b in zip(*took.values(), strict=True)
            )
    if n <= bare:
        del vectors
    if about:
        found |= against_scan(index, queries, found)
    hundred = np.random.default_rng(0).integers(0, n, size=(100, 100))
    found["looking up 100 rows, ms"] = median_ms(
        lambda q: (
            index.spans(hundred[q]),
            index.embeddings(hundred[q]),
            [index.video_id(v) for v in index.videos_of(hundred[q])],
        ),
        100,
    )
    found["bytes a moment"] = sum(size for size, _ in index.manifest.segments[0].files.values()) / n
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import search; "
        f"search.visit({str(root)!r})"
    )
    found.update(
        json.loads(
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        )
    )
    return found


def visit(root: str) -> None:
    """In a process of its own: open an index, answer 500 queries one by one, and print time and memory."""
    queries = synthetic.queries(500, seed=2)
    started = time.perf_counter()
    index = MomentIndex(root)
    opened = time.perf_counter() - started
    for number in range(500):
        ask(index, part(queries, number, 1), exact=False)
    status = {
        line.split(":")[0]: line.split()[1]
        for line in Path("/proc/self/status").read_text().splitlines()
        if "kB" in line
    }
    # Opened again at the end: the index that is left behind would count.
    memory = {f"{name}, MB": int(status[name]) / 1024 for name in ("VmRSS", "RssAnon", "RssFile")}
    again = median_ms(lambda _: MomentIndex(root), 5) / 1e3
    print(json.dumps({"open the first time, s": opened, "open again, s": again, **memory}))


def certificate(root: Path, count: int) -> dict[str, Any]:
    """Proven answers against brute force in float64, ties included."""
    index, queries = MomentIndex(root), synthetic.queries(count, seed=3)
    halves = [x.double() for x in index.embeddings(np.arange(index.num_moments))]
    spans, videos = (
        torch.from_numpy(index.spans(np.arange(index.num_moments))),
        index.videos_of(np.arange(index.num_moments)),
    )
    answers = [
        answer for first in range(0, count, 50) for answer in ask(index, part(queries, first, 50), exact=True)
    ]
    equal = 0
    for number, answer in enumerate(answers):
        c, i = (moments @ query[number].double() for moments, query in zip(halves, queries, strict=True))
        log = SCORE.log(c, i).numpy()
        kept: list[int] = []
        for row in np.lexsort((np.arange(len(log)), -log)).tolist():
            if all(videos[row] != videos[k] or temporal_iou(spans[row], spans[k]) <= 0.5 for k in kept):
                kept.append(row)
            if len(kept) == TOP:
                break
        equal += answer.exact and kept == [hit.row for hit in answer.hits]
    return {
        "queries": count,
        "moments": index.num_moments,
        "proven and equal to brute force": equal,
        "candidates scored, median": statistics.median(answer.candidates for answer in answers),
        "candidates scored, most": max(answer.candidates for answer in answers),
        "more than one round": sum(answer.rounds > 1 for answer in answers),
    }


@click.command(help=__doc__)
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--videos", multiple=True, type=int, required=True)
@click.option(
    "--bare",
    default=1_100_000,
    show_default=True,
    help="Most moments of the float32 reference, 2 KB each in memory.",
)
@click.option("--times", default=20, show_default=True, help="Single queries of an exact scan.")
@click.option("--proofs", default=1000, show_default=True)
def main(work: Path, result: Path, videos: tuple[int, ...], bare: int, times: int, proofs: int) -> None:
    found: dict[str, Any] = {
        "command": " ".join(["python", sys.argv[0], "WORK", "RESULT.json", *sys.argv[3:]]),
        "machine": about(),
        "copy, bytes a second": copy_rate(),
        "query cosine": synthetic.QUERY_COSINE,
        "sizes": [],
    }
    for count in videos:
        root = work / f"{count}.mmn"
        built = {} if (root / "manifest.json").exists() else build(root, count, "ivf-pq")
        figures = {**built, **measure(root, bare, times)}
        found["sizes"].append({key: round(x, 4) if isinstance(x, float) else x for key, x in figures.items()})
        for name, value in figures.items():
            click.echo(f"{name:45} {value:,.3f}" if isinstance(value, float) else f"{name:45} {value}")
    sizes = found["sizes"]
    if len(sizes) > 1:
        found["latency of the largest over the smallest, 1 query"] = round(
            sizes[-1]["candidate index, 1 query, ms"] / sizes[0]["candidate index, 1 query, ms"], 3
        )
    if proofs:
        found["certificate"] = certificate(work / f"{videos[0]}.mmn", proofs)
        click.echo(json.dumps(found["certificate"], indent=1))
    result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
