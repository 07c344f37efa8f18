"""The exact scan on a GPU: queries a second, bytes scanned a second against the card's own copy bandwidth,
equality with the CPU.

    python benchmarks/gpu_scan.py RESULT.json INDEX... --device cuda

An INDEX is one that benchmarks/search.py made. (`--device cpu` runs the same code, for a look at the script.)
If its candidate index has codes that FAISS searches on GPUs (build it with --vectors ivf-sq8), that is timed
on both as well. The bare product is torch's alone: float16 vectors times one float16 query, or 64, and the
best 512 of each.
"""

import json
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

from mmn_index.device import find_devices
from mmn_index.index import MomentIndex
from mmn_index.index.scan import Deadline, best_of_all
from mmn_index.index.vectors import HUB_WIDTH
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings

SCORE = Score("collection")
CANDIDATES = 512  # that a search draws first
COUNTS = (1, 64)


class Stopwatch:
    """Median seconds of something on a device, warmed up once."""

    def __init__(self, device: str, times: int) -> None:
        self._device, self._times = device, times

    def __call__(self, run: Callable[[], Any]) -> float:
        took = []
        for _ in range(self._times + 1):
            started = time.perf_counter()
            run()
            if self._device != "cpu":
                torch.cuda.synchronize()
            took.append(time.perf_counter() - started)
        return statistics.median(took[1:])


def first(queries: Embeddings, count: int) -> Embeddings:
    return Embeddings(*(x[:count] for x in queries))


def ask(index: MomentIndex, queries: Embeddings) -> list[Answer]:
    return search_embeddings(index, queries, SCORE, SearchOptions(exact=True), [""] * len(queries.iou))


def bandwidth(device: str, seconds: Stopwatch) -> float:
    """GB/s of a copy on the device, read and written."""
    source = torch.empty(1 << 28, dtype=torch.float16, device=device)
    target = torch.empty_like(source)
    return 4 * source.numel() / seconds(lambda: target.copy_(source)) / 1e9


def scans(root: Path, device: str, seconds: Stopwatch) -> dict[str, Any]:
    """The exact search, its scan alone and the bare product, and whether the answers are the CPU's."""
    queries, on_cpu = synthetic.queries(64), MomentIndex(root)
    started = time.perf_counter()
    index = MomentIndex(root, device)
    found: dict[str, Any] = {"moments": index.num_moments, "opening, s": time.perf_counter() - started}
    rows = torch.cat([segment.embeddings for segment in index.segments]).to(device)
    for count in COUNTS:
        some = first(queries, count)
        half = torch.cat(some, dim=1).half().to(device)
        runs = {
            "search": lambda some=some: ask(index, some),
            "scan alone": lambda some=some: best_of_all(
                rows, None, [(0, len(rows))], None, some, SCORE, CANDIDATES, Deadline(None)
            ),
            "bare product": lambda half=half: (half @ rows.T).topk(CANDIDATES, dim=1).values.cpu(),
        }
        for name, run in runs.items():
            took = seconds(run)
            found[f"{name}, {count} queries, ms"] = 1e3 * took
            found[f"{name}, {count} queries, embeddings, GB/s"] = 2 * rows.numel() / took / 1e9
    pairs = zip(ask(on_cpu, queries), ask(index, queries), strict=True)
    same = sum([a.row for a in one.hits] == [b.row for b in other.hits] for one, other in pairs)
    return {**found, "answers equal to the CPU's, of 64": same}


def codes(root: Path, device: str, seconds: Stopwatch) -> dict[str, Any]:
    """The candidate index on the CPU and on the GPU."""
    index, queries = MomentIndex(root), synthetic.queries(64)
    vectors = index.segments[0].vectors
    if device == "cpu" or vectors is None or not vectors.suits_gpus:
        return {}
    about = vectors.about
    found: dict[str, Any] = {"candidate index": about.factory, "nprobe": about.nprobe, "depth": about.depth}
    wide = torch.cat([queries.contrastive / SCORE.tau, queries.iou], dim=1).numpy()
    if index.manifest.bank is not None:
        wide = np.pad(wide, ((0, 0), (0, HUB_WIDTH)))
    depth, rows = min(about.depth, 2048), []
    for place in ("CPU", "GPU"):
        for count in COUNTS:
            took = seconds(lambda count=count: vectors.best(wide[:count], depth))  # type: ignore[misc]
            found[f"candidate index on the {place}, {count} queries, ms"] = 1e3 * took
        rows.append(vectors.best(wide, depth)[1])
        if place == "CPU":
            vectors.to(find_devices(device))
    same = [len(np.intersect1d(one, other)) / depth for one, other in zip(*rows, strict=True)]
    found["candidates on the GPU that the CPU finds as well"] = statistics.mean(same)
    return found


@click.command(help=__doc__)
@click.argument("result", type=click.Path(path_type=Path))
@click.argument("roots", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--device", default="cuda", show_default=True)
@click.option("--times", default=20, show_default=True)
def main(result: Path, roots: tuple[Path, ...], device: str, times: int) -> None:
    seconds = Stopwatch(device, times)
    found = {
        "command": " ".join(
            ["python", sys.argv[0], "RESULT.json", *("INDEX" for _ in roots), "--device", device]
        ),
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "copy bandwidth, GB/s (read and written)": bandwidth(device, seconds),
        "indexes": [{**scans(root, device, seconds), **codes(root, device, seconds)} for root in roots],
    }
    result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
