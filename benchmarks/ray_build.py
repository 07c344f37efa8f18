"""How much quicker do the workers of a Ray cluster build an index than one process, and is it the same index
when a node is lost half-way?

    OMP_NUM_THREADS=1 python benchmarks/ray_build.py WORK OUT.json [--videos 500] [--workers 2]

Videos of the sample world are described by `pixels` and embedded by a model of a paper's size with random
weights, by one process with one thread; by as many workers, on nodes of one processor each (processes of this
machine); and again with a node more, that is killed when half of its work is done. The start of processes
and workers is part of every figure. The three indexes are compared byte for byte in videos and embeddings,
and answer by answer for random queries.

Few videos are rendered, and each has many names: the work on it is the same.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import about
from mmn_index.train.settings import load_setting
from small_model import text_model

from mmn_index import checkpoint
from mmn_index.index import MomentIndex
from mmn_index.model import MMN
from mmn_index.pretrained import load_pretrained
from mmn_index.scoring import Embeddings
from mmn_index.search import SearchOptions, search_embeddings
from mmn_index.video.pixels import Pixels

COMMAND = [sys.executable, "-c", "from mmn_index.cli.main import main; main()"]
STORE = 100_000_000  # bytes of a node's object store
RENDERED = 25
TOGETHER = 50  # queries that are answered together
SETTING = "charades"


def prepare(work: Path, videos: int) -> tuple[Path, Path, float]:
    """A folder of films and a model; and how many seconds of film it is."""
    world, films, model = work / "world", work / "films", work / "model"
    subprocess.run(
        [*COMMAND, "playhouse", str(world), "--train", str(RENDERED), "--val", "0", "--test", "0"], check=True
    )
    shutil.rmtree(films, ignore_errors=True)
    films.mkdir()
    rendered = sorted((world / "train").glob("*.mp4"))
    for number in range(videos):
        os.link(rendered[number % RENDERED], films / f"{number:04}.mp4")
    annotated = json.loads((world / "train.json").read_text())
    lengths = [annotated[path.stem]["duration"] for path in rendered]
    torch.manual_seed(0)
    text = text_model(work / "text-model")
    config = replace(load_setting(SETTING).model, input_dim=Pixels().dim, text_model=str(text))
    shutil.rmtree(model, ignore_errors=True)
    checkpoint.save(MMN(config, *load_pretrained(str(text))).eval(), model, features="pixels")
    return films, model, sum(lengths[number % RENDERED] for number in range(videos))


def build(films: Path, model: Path, root: Path, *more: str) -> "subprocess.Popen[bytes]":
    clean(root)
    arguments = ["build", films, "--model", model, "-o", root, "-y", *more]
    return subprocess.Popen([*COMMAND, *map(str, arguments)], env={**os.environ, "OMP_NUM_THREADS": "1"})


def clean(root: Path) -> None:
    for path in root.parent.glob(f"{root.stem}.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def timed(process: "subprocess.Popen[bytes]", meanwhile: Callable[[], None] = lambda: None) -> float:
    began = time.perf_counter()
    meanwhile()
    if process.wait():
        raise SystemExit("a build has failed")
    return time.perf_counter() - began


def asked_of(index: MomentIndex, queries: int) -> list[tuple[bool, list[Any]]]:
    """Whether the answers of random queries are exact, and their hits."""
    dim = index.manifest.joint_dim
    numbers = torch.randn(2, queries, dim, generator=torch.Generator().manual_seed(0))
    units = torch.nn.functional.normalize(numbers, dim=2)
    found: list[tuple[bool, list[Any]]] = []
    for first in range(0, queries, TOGETHER):
        part = Embeddings(*units[:, first : first + TOGETHER])
        names = [""] * len(part.iou)
        for answer in search_embeddings(index, part, index.manifest.score, SearchOptions(k=10), names):
            hits = [(hit.video_id, hit.row, hit.start, hit.end, hit.score) for hit in answer.hits]
            found.append((answer.exact, hits))
    return found


def same(one: Path, other: Path, first: list[tuple[bool, list[Any]]]) -> dict[str, Any]:
    """What of two indexes is equal.

    Args:
        first: answers of the first one.
    """
    indexes = MomentIndex(one), MomentIndex(other)
    rows = np.arange(indexes[0].num_moments)
    second = asked_of(indexes[1], len(first))
    parts = [[x.vectors(rows).numpy().tobytes(), x.spans(rows).tobytes()] for x in indexes]
    return {
        "videos": indexes[0].video_ids == indexes[1].video_ids,
        "embeddings": parts[0][0] == parts[1][0],
        "spans": parts[0][1] == parts[1][1],
        "answers": sum(a == b for a, b in zip(first, second, strict=True)),
        "queries": len(first),
        "exact": sum(exact for exact, _ in (*first, *second)) == 2 * len(first),
        "moments": len(rows),
        "segments": [len(index.segments) for index in indexes],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1000)
    asked = parser.parse_args()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from ray.cluster_utils import Cluster

    work: Path = asked.work.resolve()
    films, model, seconds = prepare(work, asked.videos)
    roots = [work / f"{name}.mmn" for name in ("one", "cluster", "lost")]
    one = timed(build(films, model, roots[0], "--workers", "1"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    for _ in range(asked.workers):
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    many = timed(build(films, model, roots[1], "--ray", cluster.address))
    more = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]

    def lose_two() -> None:
        for node, what, count in (
            (more[0], "lost.features.h5.parts/*/*.h5", asked.videos // 2),
            (more[1], "lost.mmn.shards/*/segments/*/embeddings.npy", asked.workers + 1),
        ):
            while len([*work.glob(what)]) < count:
                time.sleep(0.05)
            cluster.remove_node(node, allow_graceful=False)

    lost = timed(build(films, model, roots[2], "--ray", cluster.address), lose_two)
    cluster.shutdown()
    print(f"one process {one:.1f} s, cluster {many:.1f} s, with nodes killed {lost:.1f} s", flush=True)
    answers = asked_of(MomentIndex(roots[0]), asked.queries)
    found = {
        "command": f"OMP_NUM_THREADS=1 python benchmarks/ray_build.py WORK OUT.json --videos {asked.videos} "
        f"--workers {asked.workers} --queries {asked.queries}",
        "machine": about(),
        "setting": SETTING,
        "videos": asked.videos,
        "film_seconds": round(seconds, 1),
        "one_process": {"seconds": round(one, 1), "videos_a_second": round(asked.videos / one, 2)},
        "cluster": {
            "workers": asked.workers,
            "seconds": round(many, 1),
            "videos_a_second": round(asked.videos / many, 2),
            "times_one_process": round(one / many, 2),
            "same": same(roots[0], roots[1], answers),
        },
        "nodes_killed": {
            "workers": asked.workers + 2,
            "left": asked.workers,
            "seconds": round(lost, 1),
            "same": same(roots[0], roots[2], answers),
        },
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
