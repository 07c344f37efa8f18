"""How long does the metric take: NMS and R@n,IoU=m of every sentence of a split, beside a slow evaluation of
some of them.

    python benchmarks/metrics.py RESULT.json ANNOTATIONS... [--dataset activitynet] [--oracle 400]
        [--repeats 3]

Scores are random, one for each proposal of each sentence's video; embedding is no part of the time. The fast
way is what `mmn-index eval` runs, video by video. The slow way is tests/oracle.py, sentence by sentence, for
the first sentences of each split. Where both were run, their best five moments and their hits must be equal
to the bit, or the script fails.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import torch
from mmn_index.train.settings import SETTINGS
from torch import Tensor

from mmn_index.evaluation.annotations import AnnotatedVideo, read_annotations
from mmn_index.evaluation.benchmarks import Benchmark
from mmn_index.evaluation.data_sets import BENCHMARKS
from mmn_index.evaluation.recall import chances, ranked_ious, recall
from mmn_index.evaluation.within_video import right_proposals
from mmn_index.moments import nms_top
from mmn_index.proposals import ProposalGrid

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import oracle

LIMIT = 5


def fast(
    videos: list[AnnotatedVideo], scores: list[Tensor], grid: ProposalGrid, benchmark: Benchmark
) -> tuple[Tensor, list[float]]:
    """(Q, 5) IoUs of the survivors, and each R@n,IoU=m from 0 to 1."""
    ious = torch.cat(
        [
            ranked_ious(s, grid.seconds(v.duration), v.moments, benchmark.nms, LIMIT)
            for v, s in zip(videos, scores, strict=True)
        ]
    )
    return ious, [recall(ious, n, m) for n, m in benchmark.recalls]


def chance(videos: list[AnnotatedVideo], grid: ProposalGrid, benchmark: Benchmark) -> list[float]:
    """The chance of each R@n,IoU=m, which `eval` prints as well."""
    right = torch.cat(
        [right_proposals(grid.iou_targets(v.moments, v.duration), benchmark.recalls) for v in videos]
    )
    return [
        float(chances(count, len(grid), n).mean())
        for (n, _), count in zip(benchmark.recalls, right.T, strict=True)
    ]


def slow(
    videos: list[AnnotatedVideo],
    scores: list[Tensor],
    cells: list[tuple[int, int]],
    num_clips: int,
    benchmark: Benchmark,
    queries: int,
) -> tuple[list[list[oracle.Span]], list[list[bool]]]:
    """Survivors and hits of the first sentences."""
    kept: list[list[oracle.Span]] = []
    hits: list[list[bool]] = []
    for video, rows in zip(videos, scores, strict=True):
        spans = [oracle.seconds(cell, video.duration, num_clips) for cell in cells]
        for row, moment in zip(rows.numpy(), video.moments.numpy(), strict=True):
            if len(kept) == queries:
                return kept, hits
            kept.append(oracle.best_moments(list(row), spans, benchmark.nms, LIMIT))
            hits.append([oracle.is_hit(kept[-1], tuple(moment), n, m) for n, m in benchmark.recalls])
    return kept, hits


def compare(
    kept: list[list[oracle.Span]],
    hits: list[list[bool]],
    videos: list[AnnotatedVideo],
    scores: list[Tensor],
    ious: Tensor,
    grid: ProposalGrid,
    benchmark: Benchmark,
) -> None:
    """Fail where the fast way differs from the slow one."""
    number = 0
    for video, rows in zip(videos, scores, strict=True):
        spans = grid.seconds(video.duration)
        for top in nms_top(rows, spans, benchmark.nms, LIMIT):
            if number == len(kept):
                return
            found = [tuple(span) for span in spans[top[top >= 0]].numpy()]
            assert found == kept[number], f"sentence {number}: {found} instead of {kept[number]}"
            fast_hits = [recall(ious[number : number + 1], n, m) == 1 for n, m in benchmark.recalls]
            assert fast_hits == hits[number], f"sentence {number}: hits {fast_hits} instead of {hits[number]}"
            number += 1


def timed(call: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


@click.command(help=__doc__)
@click.argument("result", type=click.Path(path_type=Path))
@click.argument("splits", metavar="ANNOTATIONS...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--dataset", type=click.Choice(list(BENCHMARKS)), default="activitynet", show_default=True)
@click.option(
    "--oracle",
    "queries",
    default=400,
    show_default=True,
    help="Sentences of each split that the slow way evaluates.",
)
@click.option("--repeats", default=3, show_default=True, help="Runs of the fast way; the median counts.")
@click.option("--seed", default=0, show_default=True, help="Of the scores.")
def main(result: Path, splits: tuple[Path, ...], dataset: str, queries: int, repeats: int, seed: int) -> None:
    benchmark = BENCHMARKS[dataset]
    model = SETTINGS[benchmark.setting].model
    grid = ProposalGrid(model.num_clips, model.pooling_counts)
    cells = oracle.valid_cells(model.num_clips, model.pooling_counts)
    rows = []
    for path in splits:
        videos = list(read_annotations(path).videos)
        generator = torch.Generator().manual_seed(seed)
        scores = [torch.rand(len(video.sentences), len(grid), generator=generator) for video in videos]
        ious, values = fast(videos, scores, grid, benchmark)
        seconds = timed(lambda v=videos, s=scores: fast(v, s, grid, benchmark), repeats)
        of_chance = timed(lambda v=videos: chance(v, grid, benchmark), repeats)
        start = time.perf_counter()
        kept, hits = slow(videos, scores, cells, model.num_clips, benchmark, queries)
        slow_seconds = time.perf_counter() - start
        compare(kept, hits, videos, scores, ious, grid, benchmark)
        fast_ms, slow_ms = 1000 * seconds / len(ious), 1000 * slow_seconds / len(kept)
        rows.append(
            {
                "split": path.stem,
                "videos": len(videos),
                "queries": len(ious),
                "seconds": round(seconds, 3),
                "chance_seconds": round(of_chance, 3),
                "ms_per_query": round(fast_ms, 4),
                "oracle_queries": len(kept),
                "oracle_ms_per_query": round(slow_ms, 3),
                "ratio": round(slow_ms / fast_ms, 1),
                "equal": True,
                "recalls": {
                    f"R@{n},IoU={m}": round(100 * x, 3)
                    for (n, m), x in zip(benchmark.recalls, values, strict=True)
                },
            }
        )
        click.echo(
            f"{path.stem}: {len(ious):,} queries x {len(grid):,} proposals in {seconds:.2f} s, chance in "
            f"{of_chance:.2f} s"
        )
        click.echo(
            f"  {fast_ms:.3f} ms a query; oracle {slow_ms:.3f} ms ({len(kept)} queries, equal), "
            f"{slow_ms / fast_ms:.1f} times"
        )
    names = " ".join(f"{path.parent.name}/{path.name}" for path in splits)
    options = f"--dataset {dataset} --oracle {queries} --repeats {repeats} --seed {seed}"
    about = {
        "command": f"python benchmarks/metrics.py {result.name} {names} {options}",
        "proposals": len(grid),
        "nms": benchmark.nms,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    result.write_text(json.dumps({**about, "splits": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
