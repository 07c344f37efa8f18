"""Worker processes, each with one video at a time.

They are spawned, because a process forked after FAISS or torch ran may hang. One that dies costs its video
only. They end with the process that hired them, however it ends.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Tell = Callable[[float], None]  # how far a worker is with its video
Job = Callable[
    [], Callable[[Task, Tell], Outcome]
]  # called once a worker, makes what is called for each video


@dataclass(frozen=True)
class Died:
    """What comes of a video whose worker died."""

    exitcode: int | None


class Crew(Generic[Task, Outcome]):
    """Workers that do a job on videos; use `outcomes` once.

    Args:
        size: how many.
        job: what they do; it is pickled.
    """

    def __init__(self, size: int, job: Job[Task, Outcome]) -> None:
        self._size = size
        self._job = job
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, SpawnProcess] = {}
        self._busy: dict[Connection, str] = {}  # the id of the video that the worker has

    def outcomes(
        self, todo: dict[str, Task], tell: Callable[[str, float], None]
    ) -> Iterator[tuple[str, Outcome | Died]]:
        """(video id, outcome) in the order in which videos are finished.

        Args:
            todo: what each video's job is, by its id; it is pickled.
            tell: called with a video's id and how far it is.
        """
        waiting = iter(todo.items())
        try:
            for _ in range(self._size):
                self._give(self._hire(), waiting)
            while self._busy:
                for ready in wait(list(self._busy)):
                    assert isinstance(ready, Connection)
                    video_id = self._busy[ready]
                    try:
                        finished, answer = ready.recv()
                        outcome: Outcome | Died = answer
                    except (EOFError, OSError):
                        finished, outcome = True, self._lost(ready)
                    if not finished:
                        tell(video_id, answer)
                        continue
                    del self._busy[ready]
                    if isinstance(outcome, Died):
                        ready = self._hire()
                    self._give(ready, waiting)  # before the outcome is kept, so that no worker waits for that
                    yield video_id, outcome
        finally:
            self._dismiss()

    def _hire(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._job), daemon=True)
        process.start()
        theirs.close()  # only the worker holds it now, so that its death is seen here
        self._workers[ours] = process
        return ours

    def _give(self, worker: Connection, waiting: Iterator[tuple[str, Task]]) -> None:
        video = next(waiting, None)
        if video is not None:
            self._busy[worker], task = video
            with suppress(OSError):  # a worker that is dead already is seen when its answer is read
                worker.send(task)

    def _lost(self, worker: Connection) -> Died:
        process = self._workers.pop(worker)
        worker.close()
        process.join()
        return Died(process.exitcode)

    def _dismiss(self) -> None:
        for connection, process in self._workers.items():
            connection.close()
            process.terminate()
        for process in self._workers.values():
            process.join()


def _work(videos: Connection, job: Job[Task, Outcome]) -> None:
    """What a worker process does: answer each task with (True, outcome), and before that any number of times
    with (False, how far), until there are no more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    attempt = job()
    with suppress(EOFError, OSError):
        while True:
            outcome = attempt(videos.recv(), lambda reached: videos.send((False, reached)))
            videos.send((True, outcome))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
