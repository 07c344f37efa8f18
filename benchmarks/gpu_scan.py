"""The exact scan on a GPU: queries a second, bytes scanned a second against the card's own copy bandwidth,
equality with the CPU.

    python benchmarks/gpu_scan.py INDEX RESULT.json --device cuda

INDEX is one that benchmarks/search.py made. (`--device cpu` runs the same code, for a look at the script.) If
its candidate index has codes that FAISS searches on GPUs (build it with --vectors ivf-sq8), that is timed on
both as well.
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
from mmn_index.index.vectors import HUB_WIDTH
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings


@click.command(help=__doc__)
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--device", default="cuda", show_default=True)
@click.option("--times", default=20, show_default=True)
def main(root: Path, result: Path, device: str, times: int) -> None:
    queries, score = synthetic.queries(64), Score("collection")
    options = SearchOptions(exact=True)

    def seconds(run: Callable[[], Any]) -> float:
        run()
        took = []
        for _ in range(times):
            started = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            took.append(time.perf_counter() - started)
        return statistics.median(took)

    def ask(index: MomentIndex, count: int) -> list[Answer]:
        return search_embeddings(
            index, Embeddings(*(x[:count] for x in queries)), score, options, [""] * count
        )

    on_cpu, index = MomentIndex(root), MomentIndex(root, device)
    size = sum(segment.embeddings.numel() * 2 for segment in index.segments)
    source = torch.empty(1 << 28, dtype=torch.float16, device=device)
    target = torch.empty_like(source)
    found: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "moments": index.num_moments,
        "copy bandwidth, GB/s (read and written)": 4
        * source.numel()
        / seconds(lambda: target.copy_(source))
        / 1e9,
    }
    for count in (1, 64):
        took = seconds(lambda count=count: ask(index, count))
        found[f"{count} queries, ms"] = 1e3 * took
        found[f"{count} queries, queries/s"] = count / took
        found[f"{count} queries, embeddings scanned, GB/s"] = size / took / 1e9
    pairs = zip(ask(on_cpu, 64), ask(index, 64), strict=True)
    found["answers equal to the CPU's"] = sum(
        [a.row for a in one.hits] == [b.row for b in other.hits] for one, other in pairs
    )
    found["of"] = 64
    vectors = index.segments[0].vectors
    if device != "cpu" and vectors is not None and vectors.suits_gpus:
        found["candidate index"] = vectors.about.factory
        wide = torch.cat([queries.contrastive / score.tau, queries.iou], dim=1).numpy()
        if index.manifest.bank is not None:
            wide = np.pad(wide, ((0, 0), (0, HUB_WIDTH)))
        depth, rows = min(vectors.about.depth, 2048), []
        for place in ("CPU", "GPU"):
            for count in (1, 64):
                took = seconds(lambda count=count: vectors.best(wide[:count], depth))
                found[f"candidate index on the {place}, {count} queries, ms"] = 1e3 * took
            rows.append(vectors.best(wide, depth)[1])
            vectors.to(find_devices(device))
        same = [len(np.intersect1d(one, other)) / depth for one, other in zip(*rows, strict=True)]
        found["candidates on the GPU that the CPU finds as well"] = statistics.mean(same)
    result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
