"""8 processes and 16 threads search an index while another process changes it; see test_concurrency.py.

python worker_concurrency.py WORLD FOLDER TURNS

Embeddings are random numbers whose seed is a video's id and its generation, which rises with every update and
shows in the video's duration; the writer notes what the next version will hold before it makes it. So a
reader knows all that a version may answer. Prints JSON: what was done, and whatever went wrong.
"""

import json
import multiprocessing
import os
import random
import sys
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import faiss
import h5py
import numpy as np
import torch
from forks import forked
from mmn_index.index_build import build, candidates, change, embed
from mmn_index.index_build.candidates import Wish
from mmn_index.index_build.source import Source

from mmn_index import checkpoint
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex, Restriction
from mmn_index.moments import temporal_iou
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings
from mmn_index.windows import WindowOf, WindowRule

PROCESSES, THREADS, VIDEOS = 8, 16, 20
VERSIONS = 40  # what the writer makes at least while the others read
READ = "read"  # a file that says that nobody reads any more
State = dict[str, int]  # generation of every live video


def seconds(generation: int) -> float:
    return 30.0 + generation


@cache
def made(video_id: str, generation: int, moments: int, dim: int) -> np.ndarray:
    """(moments, 2 dim) float16."""
    halves = np.random.default_rng([zlib.crc32(video_id.encode()), generation]).normal(size=(moments, 2, dim))
    return (
        (halves / np.linalg.norm(halves, axis=2, keepdims=True)).reshape(moments, 2 * dim).astype(np.float16)
    )


class Writer:
    """Adds, updates, removes and compacts at random, and notes every state before it is published."""

    def __init__(self, world: Path, folder: Path) -> None:
        self.root, self.notes, self.random = folder / "collection.mmn", folder / "notes", random.Random(0)
        self.state: State = {}
        self.version, self.done = 0, Counter[str]()
        self.names = [f"m{number:02d}" for number in range(VIDEOS)]
        self.notes.mkdir(parents=True)
        with h5py.File(folder / "features.h5", "w") as file:
            for name in self.names:
                file[name] = np.zeros((4, 12), dtype=np.float32)
        self.features = FeatureFile(folder / "features.h5")
        model = checkpoint.load(world / "run" / "model")
        build.load_model = lambda *_: model  # loaded once is enough

        def encode(_: Any, __: Any, windows: Sequence[WindowOf]) -> Iterator[list[np.ndarray]]:
            names = [window.video_id for window in windows]
            yield [made(name, self.state[name], len(model.grid), model.config.joint_dim) for name in names]

        embed.encode = encode
        self._next(dict.fromkeys(self.names[: VIDEOS // 2], 0))
        build.build(world / "run" / "model", self._source(self.state), self.root)

    def _source(self, names: Sequence[str] | State) -> Source:
        durations: dict[str, float | None] = {name: seconds(self.state[name]) for name in names}
        return Source(self.features, durations, windows=WindowRule())

    def _next(self, state: State) -> None:
        self.state, self.version = state, self.version + 1
        aside = self.notes / "aside"
        aside.write_text(json.dumps(state))
        aside.replace(self.notes / f"{self.version}.json")

    def change(self) -> None:
        time.sleep(
            0.03
        )  # readers try to open ten versions; on a slow machine each could be gone before it is open
        gone = [name for name in self.names if name not in self.state]
        some = self.random.sample(sorted(self.state), min(len(self.state), self.random.randint(1, 3)))
        kind = self.random.choice(["add", "update", "remove", "compact"])
        if kind == "add" and gone:
            new = {
                name: self.random.randrange(1000)
                for name in self.random.sample(gone, min(len(gone), self.random.randint(1, 3)))
            }
            self._next({**self.state, **new})
            build.add(self.root, self._source(new))
        elif kind == "update":
            self._next({**self.state, **{name: self.state[name] + 1 for name in some}})
            build.add(self.root, self._source(some), update=True)
        elif kind == "remove" and len(self.state) > 6:
            self._next({name: generation for name, generation in self.state.items() if name not in some})
            change.remove(self.root, some)
        elif kind == "compact":
            self._next(self.state)
            change.compact(self.root, Wish(self.random.choice(["exact", "IVF4,SQ8"])))
        else:
            return
        self.done[kind] += 1


class Reader:
    """Searches versions new and old, and compares with what they may answer."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.root, self.notes, self.random = folder / "collection.mmn", folder / "notes", random.Random(seed)
        self.old: list[MomentIndex] = []
        self.done, self.versions = Counter[str](), set[int]()

    def read(self) -> None:
        """Open the newest version, search it and the older ones that are still open."""
        self.old = [*self.old[-3:], MomentIndex(self.root)]
        for _ in range(self.random.randint(1, 12)):
            self.search(self.old[-1] if self.random.random() < 0.6 else self.random.choice(self.old))

    def search(self, index: MomentIndex) -> None:
        state: State = json.loads((self.notes / f"{index.version}.json").read_text())
        dim, count = index.manifest.joint_dim, self.random.randint(1, 6)
        numbers = torch.from_numpy(
            np.random.default_rng(self.random.getrandbits(32)).normal(size=(2, count, dim)).astype(np.float32)
        )
        queries = Embeddings(*torch.nn.functional.normalize(numbers, dim=2))
        only = tuple(self.random.sample(sorted(state), 2)) if self.random.random() < 0.3 else None
        options = SearchOptions(
            k=self.random.choice([1, 5, 20]),
            nms=self.random.choice([0.5, 1.0]),
            exact=self.random.random() < 0.3,
            restriction=Restriction(videos=only),
        )
        score = Score("collection")
        assert sorted(index.video_ids) == sorted(state)
        answers = search_embeddings(index, queries, score, options, [""] * count)
        chosen = {name: state[name] for name in only or state}
        for q, answer in enumerate(answers):
            check(answer, chosen, index.manifest.grid, Embeddings(*(x[q] for x in queries)), score, options)
            self.done["proven" if answer.exact else "not proven"] += 1
        self.versions.add(index.version)
        self.done["answers"] += count
        self.done["from deleted files"] += count * any(
            not segment.folder.exists() for segment in index.segments
        )


def check(
    answer: Answer, state: State, grid: ProposalGrid, query: Embeddings, score: Score, options: SearchOptions
) -> None:
    """An answer against all moments of a version; if it is not proven to be complete, at least nothing in it
    may be wrong.
    """
    names, moments, dim = sorted(state), len(grid), len(query.contrastive)
    all_of_them = torch.from_numpy(
        np.concatenate([made(name, state[name], moments, dim) for name in names])
    ).double()
    values = score.log(
        all_of_them[:, :dim] @ query.contrastive.double(), all_of_them[:, dim:] @ query.iou.double()
    )
    spans = torch.cat([grid.seconds(seconds(state[name])) for name in names])
    if not answer.exact:
        for hit in answer.hits:
            row = names.index(hit.video_id) * moments + hit.row % moments
            assert [hit.start, hit.end] == spans[row].tolist(), (hit, spans[row])
            assert abs(hit.score - float(values[row])) < 1e-9, (hit, float(values[row]))
        assert answer.hits
        return
    kept: list[int] = []
    for row in torch.argsort(-values).tolist():
        same = [other for other in kept if other // moments == row // moments]
        if all(float(temporal_iou(spans[row], spans[other])) <= options.nms for other in same):
            kept.append(row)
        if len(kept) == options.k:
            break
    right = [(names[row // moments], *spans[row].tolist()) for row in kept]
    assert [(hit.video_id, hit.start, hit.end) for hit in answer.hits] == right, (answer.hits, right)
    assert np.allclose([hit.score for hit in answer.hits], values[kept].numpy(), rtol=0, atol=1e-9)


def report(reader: Reader | Writer, wrong: list[str]) -> dict[str, Any]:
    return {"done": dict(reader.done), "versions": sorted(getattr(reader, "versions", [])), "wrong": wrong}


def repeat(work: Callable[[], None], enough: Callable[[int], bool]) -> list[str]:
    """Work until a number of turns is enough, or until the first error."""
    try:
        for turn in count():
            if enough(turn):
                break
            work()
    except Exception:
        return [traceback.format_exc()]
    return []


def enough_read(folder: Path, turns: int) -> Callable[[int], bool]:
    """So many turns, however long they take, and the writer has made its versions, unless it is stuck."""
    made = folder / "notes" / f"{VERSIONS}.json"
    return lambda turn: turn >= turns and (made.exists() or turn >= 100 * turns)


def read_alone(folder: Path, seed: int, turns: int) -> list[dict[str, Any]]:
    reader = Reader(folder, seed)
    return [report(reader, repeat(reader.read, enough_read(folder, turns)))]


def read_in_threads(folder: Path, seed: int, turns: int) -> list[dict[str, Any]]:
    """Threads open versions of their own, and search one that all share as well."""
    shared, found = [MomentIndex(folder / "collection.mmn")], []

    def work(reader: Reader) -> None:
        def both() -> None:
            reader.read()
            shared[0] = reader.old[-1]
            for _ in range(10):
                reader.search(shared[0])

        found.append(report(reader, repeat(both, enough_read(folder, turns))))

    threads = [
        threading.Thread(target=work, args=(Reader(folder, seed + number),)) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def write(world: Path, folder: Path, started: Connection) -> list[dict[str, Any]]:
    """Changes until nobody reads any more."""
    candidates._QUERIES = 8
    writer = Writer(world, folder)
    started.send(None)
    return [report(writer, repeat(writer.change, lambda _: (folder / READ).exists()))]


def main(world: Path, folder: Path, turns: int) -> None:
    """Nothing is computed here: forks of a process in which torch or FAISS has worked hang."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    here, there = multiprocessing.Pipe(duplex=False)
    writer = forked(write, world, folder, there)
    here.recv()
    os.nice(5)  # readers must not keep the writer from writing
    children = {"threads": forked(read_in_threads, folder, 1000, max(1, turns // 8))}
    for number in range(PROCESSES):
        children[f"process {number}"] = forked(read_alone, folder, number, turns)
    children["writer"] = writer  # its report comes last: it writes until the others have read
    found = {}
    for name, (child, results) in children.items():
        if name == "writer":
            (folder / READ).touch()
        try:
            found[name] = results.recv()
        except EOFError:
            found[name] = [{"done": {}, "versions": [], "wrong": ["it died"]}]
        _, status = os.waitpid(child, 0)
        if status:
            found[name].append({"done": {}, "versions": [], "wrong": [f"it ended with status {status}"]})
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
