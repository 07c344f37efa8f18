"""The playhouse on disk: video files, annotation files, worker processes.

OUT/{split}/{video_id}.mp4, OUT/{split}.json (Charades-STA json: duration, timestamps, sentences; and the
labels) and OUT/opposites.json. With people, OUT/{split}.json has HC-STVG's form, OUT/{split}-every.json
VidSTG's as TubeDETR prepares it, and OUT/{split}-boxes.json and OUT/{split}-detected.json are tubes. Every
file is written aside and renamed, and finished videos are kept, so that an interrupted run can be taken up
again. The bytes of a video depend on (seed, split, number) and the kind of world alone, never on the number
of processes.
"""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ...errors import ConfigError, OutputError
from ...readable import reason
from .actions import OPPOSITES
from .people import make_people_plan
from .people_files import PeopleEntries, people_entries
from .plan import SPLITS, Plan, video_id
from .render import write_video
from .script import make_plan

SEED_FILE = "playhouse.json"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Video:
    """A video to be made: of which plan, and where."""

    seed: int
    split: str
    number: int
    people: bool
    path: Path

    def plan(self) -> Plan:
        make = make_people_plan if self.people else make_plan
        return make(self.seed, self.split, self.number)


def make_playhouse(
    out: Path,
    *,
    counts: Mapping[str, int],
    seed: int = 0,
    people: bool = False,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Render the splits of a playhouse, and write their annotations.

    Args:
        out: folder for everything; made if missing. Finished videos of the same seed in it are kept.
        counts: number of videos a split, by the split's name ("train", "val", "test").
        seed: seed of the whole world, at least 0.
        people: two or three people in each video, one sentence about one of them, and files of boxes.
        workers: worker processes, at least 1; 1 renders in this process.
        report: called with (videos done, videos in all) after each video.

    Raises:
        ConfigError: an unknown split, or a count, seed or number of workers that is out of range.
        OutputError: something cannot be written, or `out` holds a playhouse of another seed or kind.
    """
    _check(counts, seed, workers)
    _claim(out, seed, people)
    for split in counts:
        _make_folder(out / split)
    videos = [
        _Video(seed, split, number, people, out / split / f"{video_id(split, number)}.mp4")
        for split, count in counts.items()
        for number in range(count)
    ]
    missing = [video for video in videos if not video.path.is_file()]
    done = len(videos) - len(missing)
    if report is not None and done:
        report(done, len(videos))
    for _ in _worked(_render, missing, workers):
        done += 1
        if report is not None:
            report(done, len(videos))
    for split in counts:
        _annotate(out, split, [video for video in videos if video.split == split], people, workers)
    _write_json(out / "opposites.json", dict(OPPOSITES))


def _annotate(out: Path, split: str, videos: list[_Video], people: bool, workers: int) -> None:
    """Write the annotation files of a split."""
    if not people:
        plans = (video.plan() for video in videos)
        _write_json(out / f"{split}.json", {plan.video_id: plan.annotation() for plan in plans})
        return
    found = dict(_worked(_describe, videos, workers))
    entries = [(name, found[name]) for name in sorted(found)]
    truths = {f"{name}.mp4": entry.truth for name, entry in entries}
    _write_json(out / f"{split}.json", truths, indent=None)
    _write_json(out / f"{split}-boxes.json", {name: entry.boxes for name, entry in entries}, indent=None)
    detected = {name: entry.detected for name, entry in entries}
    _write_json(out / f"{split}-detected.json", detected, indent=None)
    every = {
        "videos": [sentence for _, entry in entries for sentence in entry.every],
        "trajectories": {name: entry.trajectories for name, entry in entries},
    }
    _write_json(out / f"{split}-every.json", every, indent=None)


def _check(counts: Mapping[str, int], seed: int, workers: int) -> None:
    unknown = sorted(set(counts) - set(SPLITS))
    if unknown:
        raise ConfigError(f"counts: unknown split {unknown[0]!r}, expected some of {', '.join(SPLITS)}.")
    for split, count in counts.items():
        if count < 0:
            raise ConfigError(f"counts: {split} is {count}, expected 0 or more videos.")
    if seed < 0:
        raise ConfigError(f"seed: is {seed}, expected 0 or more.")
    if workers < 1:
        raise ConfigError(f"workers: is {workers}, expected 1 or more.")


def _claim(out: Path, seed: int, people: bool) -> None:
    """Note in `out` what its videos are made of, so that those of two worlds are never mixed."""
    world: dict[str, object] = {"seed": seed, "people": True} if people else {"seed": seed}
    _make_folder(out)
    path = out / SEED_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path}: cannot be read ({reason(error)}). Remove the folder or choose another one."
        ) from error
    if found is None:
        _write_json(path, world)
    elif found != world:
        raise OutputError(
            f"{out}: holds another playhouse ({found}), expected {world}. Choose another folder."
        )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: the folder cannot be made ({error.strerror}). Choose another place."
        ) from error


def _write_json(path: Path, content: Mapping[str, object], indent: int | None = 1) -> None:
    aside = path.with_name(path.name + ".tmp")
    try:
        aside.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def _render(video: _Video) -> None:
    write_video(video.plan(), video.path)


def _describe(video: _Video) -> tuple[str, PeopleEntries]:
    plan = video.plan()
    return plan.video_id, people_entries(plan)


def _worked(work: Callable[[_Video], _Result], videos: list[_Video], workers: int) -> Iterator[_Result]:
    """Do `work` for every video; yields the results as they come, in any order."""
    workers = min(workers, len(videos))
    if workers <= 1:
        yield from map(work, videos)
        return
    with _pool(workers) as pool:
        todo = iter(videos)
        # Few tasks wait in the pool at a time, so that an interrupted run ends soon.
        running: set[Future[_Result]] = {pool.submit(work, video) for video in islice(todo, 2 * workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
                running.update(pool.submit(work, video) for video in islice(todo, 1))


def _end_with_parent(parent: int) -> None:
    """In a worker: leave an interrupt to the main process, and leave soon after it is gone, even when it was
    killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned worker processes that do not outlive the block, however it ends."""
    before, parent = set(multiprocessing.active_children()), os.getpid()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent, initargs=(parent,))
    try:
        yield pool
    except BaseException:
        processes = [p for p in multiprocessing.active_children() if p not in before]
        for process in processes:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            process.join()
        raise
    pool.shutdown(wait=True)
