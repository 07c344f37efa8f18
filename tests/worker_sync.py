"""Runs courses of a folder with synchronisations that are killed, and compares the index with one that is
built anew; see test_sync_kills.py.

python worker_sync.py MODEL FILMS FOLDER

Each line of stdin is a course, a JSON list of steps; each line of stdout is JSON, what is wrong at its end and
how many runs were killed. Nothing is computed in this process (see worker_kills.py).
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
import worker_kills
from mmn_index.index_build import build, candidates, embed
from mmn_index.index_build.change import remove
from mmn_index.index_build.extract import extract
from mmn_index.index_build.source import Source
from mmn_index.index_build.sync import Places, sync
from mmn_index.index_build.verify import verify
from worker_kills import Steps, in_child, leftovers

from mmn_index import checkpoint, embedding
from mmn_index.errors import VideoError
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.index.manifest import read_manifest
from mmn_index.search import SearchOptions, search_embeddings

worker_kills.TRACED = (
    *worker_kills.TRACED,
    "sync.py",
    "follow.py",
    "extract.py",
    "describe.py",
    "feature_writer.py",
)
SENTENCES = ["a person opens the door", "a person runs"]


class Countdown(Steps):
    """Dies at a step by its number among all."""

    def __init__(self, kind: str, number: int) -> None:
        super().__init__(kind, None)
        self.left = number

    def _step(self, name: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def synchronised(root: Path, place: Path) -> None:
    sync(root, Places([place], remove_missing=True))


def killed(kind: str, number: int, root: Path, place: Path) -> None:
    steps = Countdown(kind, number)
    steps.arm()
    synchronised(root, place)
    steps.disarm()


def do(step: list[Any], films: Path, place: Path) -> None:
    """A step of a course that is none of the index."""
    verb, path, other = step[0], place / step[1], step[2]
    path.parent.mkdir(exist_ok=True)
    if verb == "write":
        shutil.copy(films / f"{other}.mp4", path)
    elif verb == "break":
        path.write_bytes(b"no video" * (other + 1))
    elif not path.exists():
        return
    elif verb == "delete":
        path.unlink()
    elif verb == "touch":
        os.utime(path)
    elif verb in ("move", "swap", "copy"):
        target, aside = place / other, place / "aside.bin"
        target.parent.mkdir(exist_ok=True)
        if verb == "copy" and path != target:
            shutil.copy(path, target)
        elif verb == "move":
            path.rename(target)
        elif verb == "swap" and target.exists() and path != target:
            for old, new in ((path, aside), (target, path), (aside, target)):
                old.rename(new)


def course(steps: list[list[Any]], films: Path, base: Path, folder: Path, ask: Any) -> dict[str, Any]:
    """Go through a course, and say what is wrong at its end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    root, place = folder / "c.mmn", folder / "videos"
    place.mkdir()
    shutil.copytree(base, root)
    kills, wrong = 0, []
    for step in steps:
        if step[0] == "sync":
            wrong += ask("synchronised", root, place)
        elif step[0] == "kill":
            version = read_manifest(root).version
            status, _ = in_child(killed, step[1], step[2], root, place)
            if status not in (0, signal.SIGKILL):
                wrong.append(f"{step} ended with status {status}")
            if read_manifest(root).version not in (version, version + 1):
                wrong.append(f"{step} made version {read_manifest(root).version} of {version}")
            kills += status == signal.SIGKILL
        else:
            do(step, films, place)
    wrong += ask("compared", root, place)
    return {"wrong": wrong, "kills": kills}


def rows(index: MomentIndex) -> dict[str, Any]:
    """Everything about each video."""
    table, found = index.videos.to_pylist(), {}
    for number in np.flatnonzero(index.live).tolist():
        at = index.rows_of(number)
        columns = {name: str(value) for name, value in table[number].items() if name != "first_moment"}
        # Where no video has a value, there is no column.
        row = {name: value for name, value in columns.items() if value != "None"}
        content = b"".join(x.numpy().tobytes() for x in index.embeddings(at)) + index.spans(at).tobytes()
        found[str(table[number]["video_id"])] = {**row, "moments": hashlib.sha256(content).hexdigest()}
    return found


def answers(index: MomentIndex, model: Any) -> list[Any]:
    """All moments for each sentence, with their scores."""
    options = SearchOptions(k=1000, nms=1.0)
    if not index.num_moments:
        return []
    queries = model.embed_sentences(SENTENCES)
    found = search_embeddings(index, queries, index.manifest.score, options, SENTENCES)
    return [sorted((hit.score, hit.video_id, hit.start, hit.end) for hit in answer.hits) for answer in found]


def compared(root: Path, place: Path) -> list[str]:
    """What of an index is otherwise than in one that is built anew."""
    synchronised(root, place)
    wrong = verify(root)
    wrong += [str(path) for path in root.parent.iterdir() if path.name not in ("c.mmn", "videos")]
    index, model = MomentIndex(root), checkpoint.load(next(root.glob("model-*")))
    fresh, features = root.with_name("fresh.mmn"), root.with_name("fresh.h5")
    try:
        extract([place], features)
    except VideoError:  # there is none
        return wrong + [f"still there: {video_id}" for video_id in index.video_ids]
    with FeatureFile(features) as opened:
        build.build(index.model_path, Source(opened), fresh)
    expected = MomentIndex(fresh)
    if rows(index) != rows(expected):
        wrong.append(f"has {rows(index)}, expected {rows(expected)}")
    with torch.inference_mode():
        if answers(index, model) != answers(expected, model):
            wrong.append("answers otherwise than an index that is built anew")
    # What a kill left behind goes with the next change, and the last synchronisation may have made none.
    remove(root, index.video_ids[:1])
    return wrong + [f"left over or missing: {path}" for path in leftovers(root)]


def made(model: Path, films: Path, base: Path) -> list[str]:
    """The index that every course begins with, of videos that are no longer there."""
    (base.parent / "videos").mkdir()
    shutil.copy(films / "0.mp4", base.parent / "videos" / "a.mp4")
    extract([base.parent / "videos"], base.with_suffix(".h5"))
    with FeatureFile(base.with_suffix(".h5")) as features:
        build.build(model, Source(features), base)
    sync(base, Places([base.parent / "videos"]))
    shutil.rmtree(base.parent / "videos")
    sync(base, Places([base.parent / "videos"], remove_missing=True))
    return []


def answer(requests: Connection) -> None:
    """A child that lives on, so that only its first work is slow."""
    while True:
        name, *arguments = requests.recv()
        try:
            requests.send(globals()[name](*arguments) or [])
        except Exception:
            requests.send([traceback.format_exc()])


def main(model: Path, films: Path, folder: Path) -> None:
    here, there = multiprocessing.Pipe()
    if os.fork() == 0:
        here.close()
        try:
            answer(there)
        finally:
            os._exit(1)
    there.close()

    def ask(*request: Any) -> list[str]:
        here.send(request)
        found: list[str] = here.recv()
        return found

    base = folder / "base" / "c.mmn"
    base.parent.mkdir(parents=True)
    assert ask("made", model, films, base) == []
    for line in sys.stdin:
        began = time.monotonic()
        found = course(json.loads(line), films, base, folder / "trial", ask)
        sys.stdout.write(json.dumps({**found, "seconds": time.monotonic() - began}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    embedding._BATCH, embed._KEPT, candidates._QUERIES = 1, 1, 8
    main(*(Path(argument) for argument in sys.argv[1:]))
