"""The playhouse on disk: video files, annotation files, worker processes.

OUT/{split}/{video_id}.mp4, OUT/{split}.json (Charades-STA json: duration, timestamps, sentences; and the
labels) and OUT/opposites.json. Every file is written aside and renamed, and a finished video is kept, so
that an interrupted run can be taken up again. The bytes of a video depend on (seed, split, number) alone,
never on the number of processes.
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
from itertools import islice
from pathlib import Path

from ...errors import ConfigError, OutputError
from .actions import OPPOSITES
from .plan import SPLITS, video_id
from .render import write_video
from .script import make_plan

SEED_FILE = "playhouse.json"

_Task = tuple[int, str, int, str]  # seed, split, number, path


def make_playhouse(
    out: Path,
    *,
    counts: Mapping[str, int],
    seed: int = 0,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Render the splits of a playhouse, and write their annotations.

    Args:
        out: folder for everything; made if missing. Finished videos of the same seed in it are kept.
        counts: number of videos a split, by the split's name ("train", "val", "test").
        seed: seed of the whole world, at least 0.
        workers: worker processes, at least 1; 1 renders in this process.
        report: called with (videos done, videos in all) after each video.

    Raises:
        ConfigError: an unknown split, or a count, seed or number of workers that is out of range.
        OutputError: something cannot be written, or `out` holds a playhouse of another seed.
    """
    _check(counts, seed, workers)
    _claim(out, seed)
    for split in counts:
        _make_folder(out / split)
    tasks = [
        (seed, split, number, str(out / split / f"{video_id(split, number)}.mp4"))
        for split, count in counts.items()
        for number in range(count)
    ]
    missing = [task for task in tasks if not Path(task[3]).is_file()]
    done = len(tasks) - len(missing)
    if report is not None and done:
        report(done, len(tasks))
    for _ in _rendered(missing, min(workers, len(missing))):
        done += 1
        if report is not None:
            report(done, len(tasks))
    for split, count in counts.items():
        plans = (make_plan(seed, split, number) for number in range(count))
        _write_json(out / f"{split}.json", {plan.video_id: plan.annotation() for plan in plans})
    _write_json(out / "opposites.json", dict(OPPOSITES))


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


def _claim(out: Path, seed: int) -> None:
    """Note the seed in `out`, so that videos of two seeds are never mixed."""
    _make_folder(out)
    path = out / SEED_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path}: cannot be read ({error}). Remove the folder or choose another one."
        ) from error
    if found is None:
        _write_json(path, {"seed": seed})
    elif not isinstance(found, dict) or found.get("seed") != seed:
        raise OutputError(
            f"{out}: holds another playhouse ({found}), expected seed {seed}. Choose another folder."
        )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: the folder cannot be made ({error.strerror}). Choose another place."
        ) from error


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    aside = path.with_name(path.name + ".tmp")
    try:
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def _render(task: _Task) -> None:
    seed, split, number, path = task
    write_video(make_plan(seed, split, number), Path(path))


def _rendered(tasks: list[_Task], workers: int) -> Iterator[None]:
    """Render every task; yields once for each one that is done."""
    if workers <= 1:
        for task in tasks:
            _render(task)
            yield
        return
    with _pool(workers) as pool:
        todo = iter(tasks)
        # Few tasks wait in the pool at a time, so that an interrupted run ends soon.
        running: set[Future[None]] = {pool.submit(_render, task) for task in islice(todo, 2 * workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                yield
                running.update(pool.submit(_render, task) for task in islice(todo, 1))


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
