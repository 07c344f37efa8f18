"""How each part grows with the collection: 100 to 100,000 videos, and the exponents.

    python benchmarks/scaling.py WORK OUT.json [--most 100000]

A video has the 136 moments of Charades-STA's grid, a moment 2 x 64 float16 numbers by synthetic.py; 100,000
videos are 13.6 million moments. Each size has a candidate index, also where `build` would scan, so that one
thing is measured at all sizes. Three processes a size: one builds, one searches and evaluates, one searches
alone and tells its memory; then the index is changed: synchronised with a folder of as many empty, unchanged
files, one video added with a small model and removed again, verified, compacted. Everything in WORK is
removed as it goes. The full size takes about 10 GB of disk.

An exponent is the slope of log(figure) over log(videos) in the last four sizes, by least squares, with its
standard error: 1 means twice the videos, twice the figure.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import small_model
import synthetic
import torch
from growth import exponents, rounded
from machine import about, copy_rate, product_rate
from mmn_index.index_build.build import add
from mmn_index.index_build.candidates import Wish, choose, tune
from mmn_index.index_build.change import compact, remove
from mmn_index.index_build.columns import instant
from mmn_index.index_build.source import Source
from mmn_index.index_build.sync import Places, sync
from mmn_index.index_build.verify import verify

from mmn_index.config import CHARADES
from mmn_index.evaluation.corpus import TASKS, IndexRank, measure, search_tasks
from mmn_index.evaluation.queries import Queries, indexed
from mmn_index.features import FeatureFile
from mmn_index.index import CandidateAbout, IndexWriter, Manifest, MomentIndex, PlannedVideo, segment_writer
from mmn_index.origin import source_of
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings

GRID, DIM = ProposalGrid(CHARADES.num_clips, CHARADES.pooling_counts), 64
SCORE = Score("collection", tau=0.1)
SIZES = (100, 316, 1_000, 3_162, 10_000, 31_623, 100_000)
CAMERAS = 16
SENTENCES = 64  # that an evaluation asks
STAGES = {
    "tables": (segment_writer.SegmentWriter, ("_write_moments", "_write_videos", "_write_windows")),
    "candidate index": (segment_writer, ("write_vectors",)),
    "checksums": (segment_writer, ("digest",)),
}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def typical(work: Callable[[int], object], times: int) -> float:
    """Median seconds of work(1), work(2), ... after work(0) has warmed up."""
    return median([seconds(lambda n=n: work(n)) for n in range(times + 1)][1:])  # type: ignore[misc]


@contextmanager
def stages(spent: dict[str, float]) -> Iterator[None]:
    """Adds the seconds of the stages of a build to `spent`."""

    def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - began

        return measured

    with ExitStack() as patches:
        for stage, (owner, names) in STAGES.items():
            for name in names:
                wrapped = timed(stage, getattr(owner, name))
                patches.enter_context(mock.patch.object(owner, name, wrapped))
        yield


def resident() -> dict[str, int]:
    """MiB of this process: its own, and all with the files that it has mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.endswith("kB")}
    return {"own": held["RssAnon"], "with mapped files": held["VmRSS"]}


@contextmanager
def memory(found: dict[str, int]) -> Iterator[None]:
    """The most that this process holds meanwhile."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            for kind, size in resident().items():
                found[kind] = max(size, found.get(kind, 0))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def files_in(folder: Path, videos: int) -> list[Path]:
    """As many empty files, a thousand in a folder."""
    found = [folder / f"{number // 1000:03d}" / f"v{number:06d}.mp4" for number in range(videos)]
    for path in found:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return found


def columns(files: Sequence[Path]) -> pa.Table:
    """What a build would keep of the files, and two columns to filter by."""
    stats, count = [path.stat() for path in files], len(files)
    moment = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "camera": [f"c{number % CAMERAS:02d}" for number in range(count)],
            "tape": [number // 10 for number in range(count)],
            "size": pa.array([stat.st_size for stat in stats], pa.int64()),
            "modified": pa.array([instant(stat.st_mtime_ns) for stat in stats], moment),
        }
    )


def build(work: Path, videos: int) -> dict[str, Any]:
    """The index of a size, and what making it takes; making the embeddings is not counted."""
    root, files = work / "index.mmn", files_in(work / "videos", videos)
    lengths = np.random.default_rng(0).uniform(30, 210, videos).round(2).tolist()
    planned = [
        PlannedVideo(path.stem, source_of(path), length) for path, length in zip(files, lengths, strict=True)
    ]
    fingerprint = small_model.write(work / "model", GRID, DIM)
    manifest = Manifest(fingerprint, None, DIM, GRID, SCORE, ())
    factory, _ = choose(videos * len(GRID), manifest.width, Wish("ivf-pq"))
    assert factory is not None
    spent, most = {"embeddings": 0.0}, dict[str, int]()
    with memory(most), stages(spent), IndexWriter(root) as writer:
        segment = writer.segment(GRID, DIM, planned, "synthetic", columns(files))
        for number, moments in enumerate(synthetic.embeddings(videos, grid=GRID, dim=DIM)):
            began = time.perf_counter()
            segment.add(moments)
            if number % 1024 == 0:
                segment.keep()
            spent["embeddings"] += time.perf_counter() - began
        whole = seconds(lambda: setattr(segment, "entry", segment.finish(CandidateAbout(factory))))
        began = time.perf_counter()
        entry = tune(root, manifest, segment.entry)  # type: ignore[attr-defined]
        spent["lists and depth chosen"] = time.perf_counter() - began
        writer.publish(replace(manifest, segments=(entry,)), work / "model")
    moments = entry.moments
    return {
        "moments": moments,
        "lists": int(factory.split(",")[0].removeprefix("IVF")),
        "building, s": {
            **spent,
            "all": whole + spent["embeddings"] + spent["lists and depth chosen"],
        },
        "bytes a moment": {
            **{name: size / moments for name, (size, _) in entry.files.items()},
            "manifest.json": (root / "manifest.json").stat().st_size / moments,
        },
        "memory of building, MiB": most,
    }


def ask(index: MomentIndex, queries: Embeddings, first: int, count: int, **options: Any) -> list[Answer]:
    given = Embeddings(*(x[first : first + count] for x in queries))
    return search_embeddings(index, given, SCORE, SearchOptions(**options), [""] * count)


def search(work: Path, videos: int) -> dict[str, Any]:
    """Everything that reads."""
    root, queries = work / "index.mmn", synthetic.queries(1024, dim=DIM)
    opening = typical(lambda _: MomentIndex(root), 5)
    index = MomentIndex(root)
    entry = index.manifest.segments[0]
    assert entry.candidates is not None
    truth, answers = (
        [answer for first in range(0, 256, 64) for answer in ask(index, queries, first, 64, exact=exact)]
        for exact in (True, False)
    )
    rows = [[{hit.row for hit in one.hits} for one in both] for both in zip(truth, answers, strict=True)]
    found = {
        "opening": opening,
        "exact scan, 1 query": typical(lambda n: ask(index, queries, n, 1, exact=True), 20),
        "exact scan, 64 queries": typical(lambda n: ask(index, queries, 64 * n, 64, exact=True), 7),
        "candidate index, 1 query": typical(lambda n: ask(index, queries, n, 1, exact=False), 200),
        "candidate index, 64 queries": typical(lambda n: ask(index, queries, 64 * n, 64, exact=False), 15),
        "filter that leaves one in 16": typical(lambda n: index.parts(index.where([f"camera=c{n:02d}"])), 15),
        "filter that leaves ten videos": typical(lambda n: index.parts(index.where([f"tape={n}"])), 9),
        "number of an id": typical(lambda n: index.number_of(f"v{(n * videos) // 20:06d}"), 19),
        "all ids, the first time": median(listing(MomentIndex(root)) for _ in range(3)),
    }
    return {
        "searching, s": found,
        "evaluating 64 sentences, s": evaluate(index, queries),
        "recall@10 after NMS": sum(len(a & b) for a, b in rows) / sum(len(a) for a, _ in rows),
        "lists visited": entry.candidates.nprobe,
        "candidates asked for": entry.candidates.depth,
        "scan, bytes a second": entry.moments * 4 * DIM / found["exact scan, 1 query"],
    }


def listing(index: MomentIndex) -> float:
    return seconds(lambda: index.video_ids)


def evaluate(index: MomentIndex, queries: Embeddings) -> dict[str, float]:
    """Each task of a collection with and without NMS, without the text encoder."""
    found = {"reading the videos": seconds(lambda: indexed(index))}
    corpus = indexed(index)
    chosen = np.random.default_rng(0).choice(len(corpus.ids), SENTENCES)
    asked = Queries(
        tuple(f"sentence {number}" for number in range(SENTENCES)),
        tuple(range(SENTENCES)),
        torch.from_numpy(np.sort(chosen)),
        torch.tensor([[10.0, 40.0]]).expand(SENTENCES, 2),
        None,
    )
    rank = IndexRank(index, queries, SCORE)
    for task in TASKS:
        began = time.perf_counter()
        lists = search_tasks(asked, corpus, rank, tasks=[task])
        assert all(measure(one, asked, corpus) for one in lists)
        found[task] = time.perf_counter() - began
    return found


def visit(work: Path, videos: int) -> dict[str, Any]:
    """The memory of a process that answers 200 queries with the candidate index."""
    index, queries, most = MomentIndex(work / "index.mmn"), synthetic.queries(200, dim=DIM), dict[str, int]()
    with memory(most):
        for number in range(200):
            ask(index, queries, number, 1, exact=False)
    return {"memory of searching, MiB": most}


def change(work: Path, videos: int) -> dict[str, Any]:
    """Everything that writes to an index that is there."""
    root = work / "index.mmn"
    took, places = {}, Places([work / "videos"])

    def unchanged() -> None:
        result = sync(root, places)
        assert (len(result.plan.staying), result.described, len(result.left_out)) == (videos, 0, 0)

    took["sync of unchanged files"] = seconds(unchanged)
    small_model.write_features(work / "one.h5", synthetic.SECONDS)
    with FeatureFile(work / "one.h5") as features:
        took["add of one video"] = seconds(lambda: add(root, Source(features)))
    took["remove of one video"] = seconds(lambda: remove(root, ["one"]))
    wrong = list[str]()
    took["verify"] = seconds(lambda: wrong.extend(verify(root)))
    assert not wrong, wrong
    took["compact, without a candidate index"] = seconds(lambda: compact(root, Wish("exact")))
    return {"changing, s": took}


def alone(part: Callable[[Path, int], dict[str, Any]], work: Path, videos: int) -> dict[str, Any]:
    """A part in a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(part, work, videos).result()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="videos of the largest collection")
    asked = parser.parse_args()
    found: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/scaling.py", "WORK", "OUT.json", *sys.argv[3:]]),
        "machine": about(),
        "products, multiplications a second": product_rate(),
        "copy, bytes a second": copy_rate(),
        "moments a video": len(GRID),
        "numbers a moment": 2 * DIM,
        "sizes": [],
    }
    work = asked.work / "scaling"
    for videos in (size for size in SIZES if size <= asked.most):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        size: dict[str, Any] = {"videos": videos}
        for part in (build, search, visit, change):
            began = time.perf_counter()
            size |= alone(part, work, videos)
            print(f"{videos:,} videos, {part.__name__}: {time.perf_counter() - began:.1f} s", flush=True)
        found["sizes"].append(rounded(size))
        shutil.rmtree(work)
        found["exponents"] = exponents(found["sizes"])
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
