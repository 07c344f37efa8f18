"""Does the evaluation of a collection give chance for random vectors, and how long does it take?

    python benchmarks/chance.py WORK RESULT.json activitynet test.json --every 8

Writes an index of random float16 unit vectors for all videos of a benchmark's split (all proposals of its
grid, --dim numbers in each space) into WORK, searches the split's sentences with random query vectors in all
three tasks, by exact scan, without NMS, and compares every R@k with its computed chance in standard errors.
--every N takes one sentence in N; the collection stays whole. Fails if a number lies further off than four
standard errors. tests/test_chance.py does the same for the smaller benchmarks.
"""

import json
import platform
import sys
import time
from math import isnan
from pathlib import Path

import click
import torch

from mmn_index.config import PAPER
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.corpus import TASKS, IndexRank, measure, search_tasks
from mmn_index.evaluation.queries import indexed, queries_of
from mmn_index.index import MomentIndex
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Score

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import random_index


@click.command(help=__doc__)
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Choice(list(PAPER)))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--every", default=1, show_default=True)
@click.option("--dim", default=8, show_default=True)
def main(work: Path, result: Path, dataset: str, annotations: Path, every: int, dim: int) -> None:
    split = read_annotations(annotations)
    grid = ProposalGrid(PAPER[dataset].num_clips, PAPER[dataset].pooling_counts)
    work.mkdir(parents=True, exist_ok=True)
    random_index.write_index(work / "random.mmn", split, grid, dim)
    index = MomentIndex(work / "random.mmn")
    corpus = indexed(index)
    queries = queries_of(random_index.every(split, every), corpus)
    rank = IndexRank(index, random_index.queries(len(queries), dim), Score())
    rows, seconds = [], {}
    for task in TASKS:
        started = time.perf_counter()
        lists = search_tasks(queries, corpus, rank, nms=1.0, tasks=[task])
        searched = time.perf_counter()
        for outcome in (outcome for one in lists for outcome in measure(one, queries, corpus)):
            away = [None if isnan(x) else round(x, 2) for x in random_index.deviations(outcome)]
            about = {"task": task, "right": outcome.right, "iou": outcome.iou, "proven exact": outcome.exact}
            rows.append(
                {**about, "found": outcome.table(), "chance": outcome.chance(), "standard errors": away}
            )
            print(task, outcome.right, outcome.iou, *away, flush=True)
        seconds[task] = {
            "search": round(searched - started, 1),
            "measure": round(time.perf_counter() - searched, 1),
        }
        print(task, seconds[task], flush=True)
    content = {
        "dataset": dataset,
        "videos": len(corpus.ids),
        "moments": index.num_moments,
        "queries": len(queries),
        "every": every,
        "dim": dim,
        "seconds": seconds,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "rows": rows,
    }
    result.write_text(json.dumps(content, indent=1).replace("Infinity", '">100"') + "\n", encoding="utf-8")
    if any(abs(x) > 4 for row in rows for x in row["standard errors"] if x is not None):
        raise click.ClickException("a number lies further than four standard errors from chance.")


if __name__ == "__main__":
    main()
