"""From video files to a feature file.

A video is called by its file name without the suffix, or, found in a given folder, by its path in
there without the suffix ("porch/cam1"). A run can be killed at any time and started again: finished
videos stay. A file that cannot be decoded is told of and passed over.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import ConfigError, VideoError
from ..feature_writer import FeatureWriter
from ..video.backbones import Backbone, load_backbone
from ..video.decode import frames_at_rate, num_ticks

SUFFIXES = frozenset(
    {
        ".3gp",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
    }
    | {".vob", ".webm", ".wmv"}
)
Report = Callable[[int, int, str], None]
_Outcome = tuple[np.ndarray, float] | str  # snippets and seconds, or why there are none


@dataclass(frozen=True)
class ExtractResult:
    """What a run did: numbers of videos, and each file that gave nothing with one line why."""

    extracted: int
    skipped: int
    failed: list[tuple[Path, str]] = field(default_factory=list)
    out: Path = Path()


def extract(
    videos: Sequence[Path],
    out: Path,
    *,
    backbone: str = "pixels",
    rate: float | None = None,
    device: str = "cpu",
    workers: int = 1,
    report: Report | None = None,
) -> ExtractResult:
    """Describe videos and keep their snippets in a feature file, which is made or extended.

    Args:
        videos: files, tried whatever their suffix, and folders, searched for files with a video's suffix.
        out: the feature file; videos that it holds already are skipped.
        backbone: see `load_backbone`.
        rate: snippets a second; None takes the backbone's own.
        device: where a network runs.
        workers: processes that decode. Networks always run in this one, whatever the number.
        report: called after each video, decoded or not, with (videos done, videos in all, the video's id).

    Raises:
        VideoError: no video was found.
        ConfigError: no such backbone or device, or a rate or number of workers that is not positive.
        OutputError: the feature file cannot be written.
        FeatureError: the feature file was made by another backbone or at another rate.
    """
    if workers < 1 or (rate is not None and not 0 < rate < float("inf")):
        raise ConfigError(
            f"A rate of {rate} snippets a second with {workers} workers was asked for, expected more than 0."
        )
    found, failed = find_videos(videos)
    model = load_backbone(backbone, device)
    rate = model.rate if rate is None else float(rate)
    extracted = 0
    with FeatureWriter(out, backbone=model.name, rate=rate) as writer:
        done = writer.done
        todo = {video_id: path for video_id, path in found.items() if video_id not in done}
        skipped = len(found) - len(todo)
        for number, (video_id, outcome) in enumerate(
            _outcomes(todo, model, rate, workers), start=skipped + 1
        ):
            path = todo[video_id]
            if isinstance(outcome, str):
                failed.append((path, outcome))
            else:
                snippets, duration = outcome
                writer.add(video_id, snippets, duration=duration, source=str(path))
                extracted += 1
            if report is not None:
                report(number, len(found), video_id)
    return ExtractResult(extracted, skipped, failed, Path(out))


def find_videos(videos: Sequence[Path]) -> tuple[dict[str, Path], list[tuple[Path, str]]]:
    """Video id -> absolute path of every video among files and folders, and the files whose id is taken.

    Raises:
        VideoError: there is none.
    """
    found: dict[str, Path] = {}
    inside: dict[str, str] = {}  # folder of ids -> the first video in it
    clashes: list[tuple[Path, str]] = []
    for video_id, path in _named(videos):
        # HDF5 keeps "a/b" in a group "a", so there cannot be a video "a" as well.
        folders = [parent.as_posix() for parent in PurePosixPath(video_id).parents]
        taken = next((i for i in (video_id, *folders) if i in found), inside.get(video_id))
        if taken is None:
            found[video_id] = path
            inside |= {folder: video_id for folder in folders if folder not in inside}
        elif found[taken] != path:
            clashes.append(
                (
                    path,
                    (
                        f"{path}: would be called '{video_id}', but {found[taken]} is called '{taken}'. "
                        "Rename one."
                    ),
                )
            )
    if not found:
        places = ", ".join(str(path) for path in videos) or "no place given"
        raise VideoError(
            f"{places}: no video found, expected video files, or folders with files such as .mp4, .webm or "
            ".mkv."
        )
    return found, clashes


def describe(path: Path, backbone: Backbone, rate: float) -> tuple[np.ndarray, float]:
    """One video's snippets, (S, D) float32, and its duration in seconds.

    Snippet k stands for the time (k + 0.5) / rate; S is the number of these before the end, at least 1.

    Raises:
        VideoError: the video cannot be decoded.
    """
    frames = frames_at_rate(path, rate * backbone.frames_per_snippet, size=backbone.size)
    try:
        snippets = np.concatenate(list(backbone(frames)))
    finally:
        frames.close()
    # A last snippet of which less than half is there has frames, but its middle lies past the end.
    return snippets[: num_ticks(frames.duration, rate)], frames.duration


def _named(videos: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for given in videos:
        place = Path(os.path.abspath(given))
        if not place.is_dir():
            yield place.stem, place
            continue
        inside = (path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        for path in sorted(inside):
            if not path.name.startswith("."):  # macOS leaves "._name.mp4" beside "name.mp4"
                yield path.relative_to(place).with_suffix("").as_posix(), path


def _outcomes(
    todo: dict[str, Path], model: Backbone, rate: float, workers: int
) -> Iterator[tuple[str, _Outcome]]:
    """(video id, outcome) of every video, in the order in which they are finished."""
    if workers > 1 and len(todo) > 1 and model.name == "pixels":
        yield from _Crew(min(workers, len(todo)), model.name, rate).outcomes(todo)
        return
    for video_id, path in todo.items():
        yield video_id, _attempt(path, model, rate)


def _attempt(path: Path, model: Backbone, rate: float) -> _Outcome:
    try:
        snippets, duration = describe(path, model, rate)
    except VideoError as error:
        return str(error)
    if not np.isfinite(snippets).all():
        return f"{path}: {model.name} made values of it that are not finite."
    return snippets, duration


class _Crew:
    """Worker processes, each with one video at a time.

    They are spawned, because a process forked after FAISS or torch ran may hang. One that dies costs its
    video only. They end with this process, however it ends.
    """

    def __init__(self, size: int, backbone: str, rate: float) -> None:
        self._size = size
        self._job = (backbone, rate)
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, SpawnProcess] = {}
        self._busy: dict[Connection, str] = {}  # the id of the video that the worker has

    def outcomes(self, todo: dict[str, Path]) -> Iterator[tuple[str, _Outcome]]:
        waiting = iter(todo.items())
        try:
            for _ in range(self._size):
                self._give(self._hire(), waiting)
            while self._busy:
                for ready in wait(list(self._busy)):
                    assert isinstance(ready, Connection)
                    video_id = self._busy.pop(ready)
                    try:
                        outcome: _Outcome = ready.recv()
                    except (EOFError, OSError):
                        outcome = self._lost(ready, todo[video_id])
                        ready = self._hire()
                    yield video_id, outcome
                    self._give(ready, waiting)
        finally:
            self._dismiss()

    def _hire(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, *self._job), daemon=True)
        process.start()
        theirs.close()  # only the worker holds it now, so that its death is seen here
        self._workers[ours] = process
        return ours

    def _give(self, worker: Connection, waiting: Iterator[tuple[str, Path]]) -> None:
        video = next(waiting, None)
        if video is not None:
            self._busy[worker], path = video
            with suppress(OSError):  # a worker that is dead already is seen when its answer is read
                worker.send(path)

    def _lost(self, worker: Connection, path: Path) -> str:
        process = self._workers.pop(worker)
        worker.close()
        process.join()
        return (
            f"{path}: the process that decoded it died (exit code {process.exitcode}). Is the file damaged, "
            "or memory short?"
        )

    def _dismiss(self) -> None:
        for connection, process in self._workers.items():
            connection.close()
            process.terminate()
        for process in self._workers.values():
            process.join()


def _work(videos: Connection, backbone: str, rate: float) -> None:
    """What a worker process does: answer each path with an outcome, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    model = load_backbone(backbone)
    with suppress(EOFError, OSError):
        while True:
            videos.send(_attempt(videos.recv(), model, rate))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
