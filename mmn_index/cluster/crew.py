"""Workers on the nodes of a Ray cluster that have a task each at a time.

A worker is a process of its own with a processor, or a GPU, to itself. Tasks of workers that are lost, with
their node or without, are given to others. They end with the process that hired them, however it ends.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..errors import ClusterError, MmnIndexError
from .nodes import places
from .session import Session

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Tell = Callable[[float], None]  # how far a worker is with its task
Job = Callable[
    [], Callable[[Task, Tell], Outcome]
]  # called once a worker, makes what is called for each task

_TRIES = 3  # workers that a task may cost
_PAUSE = 0.5  # seconds between two looks at how far the workers are
_LOOK = 2.0  # seconds between two looks at which nodes there are
_PATIENCE = 60.0  # seconds to wait for the first worker


@dataclass(frozen=True)
class Lost:
    """What comes of a task that no worker has survived."""

    workers: int


class RayCrew(Generic[Task, Outcome]):
    """Workers that do a job, over all nodes of a cluster; use `outcomes` once.

    Args:
        job: what they do; it is pickled, and what it refers to must be installed on all nodes.
        gpus: each worker has a GPU to itself.
    """

    def __init__(self, session: Session, job: Job[Task, Outcome], *, gpus: bool = False) -> None:
        self._session, self._gpus = session, gpus
        self._ray: Any = session.ray
        self._job = session.ray.put(job)  # once, however many workers there are
        self._waiting: deque[str] = deque()
        self._coming: dict[Any, Any] = {}  # what says that a worker is ready -> the worker
        self._busy: dict[Any, tuple[Any, str]] = {}  # an outcome that is to come -> worker, name of its task
        self._idle: list[Any] = []
        self._looks: dict[Any, str] = {}  # an answer on how far a worker is -> name of its task
        self._nodes: dict[Any, str] = {}  # of each worker
        self._names: dict[str, str] = {}  # of nodes, by their ids
        self._done: dict[str, str] = {}  # id of the node that did a task
        self._looked, self._failures = -_LOOK, 0

    def outcomes(
        self, todo: Mapping[str, Task], tell: Callable[[str, float], None]
    ) -> Iterator[tuple[str, Outcome | Lost]]:
        """(name, outcome) in the order in which tasks are finished.

        Args:
            todo: tasks by their names; they are pickled.
            tell: called with a task's name and how far it is.

        Raises:
            ClusterError: the cluster has no room for a worker.
            MmnIndexError: what a worker says, who cannot do the job at all.
        """
        self._waiting.extend(todo)
        losses, began = Counter[str](), time.monotonic()
        try:
            while self._waiting or self._busy:
                self._hire()
                self._give(todo)
                refs = [*self._coming, *self._busy, *self._looks]
                ready = self._ray.wait(refs, num_returns=1, timeout=_PAUSE)[0] if refs else []
                for ref in ready:
                    if ref in self._looks:
                        self._look(ref, tell)
                    elif ref in self._coming:
                        self._welcome(ref)
                    else:
                        yield from self._finished(ref, losses)
                if not ready:
                    self._ask()
                if not self._nodes and time.monotonic() - began > _PATIENCE:
                    what = "GPU" if self._gpus else "processor"
                    raise ClusterError(
                        f"{self._session.address}: no node had a {what} to spare for {_PATIENCE:g} seconds. "
                        "`ray status` says what is taken."
                    )
        finally:
            self._dismiss()

    def _hire(self) -> None:
        """As many workers as there are tasks, and room. Nodes may come and go meanwhile."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        self._names |= {node.node_id: node.name for node in self._session.nodes()}
        here = len(self._coming) + len(self._idle) + len(self._busy)
        wanted = min(len(self._waiting) + len(self._busy), places(self._session, gpus=self._gpus))
        actor = self._ray.remote(_Worker).options(
            num_cpus=1, num_gpus=int(self._gpus), max_concurrency=2, scheduling_strategy="SPREAD"
        )
        for _ in range(wanted - here):
            worker = actor.remote(self._job)
            self._coming[worker.begin.remote()] = worker

    def _welcome(self, ref: Any) -> None:
        worker = self._coming.pop(ref)
        try:
            self._nodes[worker] = _told(self._ray.get(ref))
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:  # lost before it had a task
            self._let_go(worker)
            self._failures += 1
            if self._failures >= _TRIES:
                raise ClusterError(
                    f"{self._session.address}: workers end before they have a task ({_last_line(error)}). Is "
                    "this version of mmn-index installed on all nodes, and is there enough memory?"
                ) from error
            return
        self._failures = 0
        self._idle.append(worker)

    def _give(self, todo: Mapping[str, Task]) -> None:
        while self._idle and self._waiting:
            worker, name = self._idle.pop(), self._waiting.popleft()
            self._busy[worker.work.remote(todo[name])] = worker, name

    def _finished(self, ref: Any, losses: Counter[str]) -> Iterator[tuple[str, Outcome | Lost]]:
        worker, name = self._busy.pop(ref)
        try:
            outcome: Outcome = _told(self._ray.get(ref))
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError:
            self._let_go(worker)
            losses[name] += 1
            if losses[name] < _TRIES:
                self._waiting.appendleft(name)
            else:
                yield name, Lost(_TRIES)
            return
        self._done[name] = self._nodes[worker]
        self._idle.append(worker)
        yield name, outcome

    def _ask(self) -> None:
        """Ask each worker how far it is that has not been asked."""
        asked = set(self._looks.values())
        for worker, name in self._busy.values():
            if name not in asked:
                self._looks[worker.how_far.remote()] = name

    def _look(self, ref: Any, tell: Callable[[str, float], None]) -> None:
        name = self._looks.pop(ref)
        with suppress(self._ray.exceptions.RayError):
            reached = self._ray.get(ref)
            if any(name == busy for _, busy in self._busy.values()):
                tell(name, reached)

    def _let_go(self, worker: Any) -> None:
        """Of a worker that does not answer: should it live, it lives no longer."""
        self._nodes.pop(worker, None)
        with suppress(Exception):
            self._ray.kill(worker, no_restart=True)

    def _dismiss(self) -> None:
        workers = [*self._coming.values(), *self._idle, *(worker for worker, _ in self._busy.values())]
        for worker in workers:
            self._let_go(worker)

    @property
    def doers(self) -> dict[str, str]:
        """Name of the node that did each task, by the task's name. Where several nodes have one name, it is
        followed by the beginning of their id.
        """
        names = list(self._names.values())
        label = {
            node: name if names.count(name) == 1 else f"{name} ({node[:6]})"
            for node, name in self._names.items()
        }
        return {task: label.get(node, node[:6]) for task, node in self._done.items()}


def _last_line(error: Exception) -> str:
    """What an error says in the end, where Ray puts the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _told(answer: tuple[bool, Any]) -> Any:
    """What a worker returned.

    Raises:
        MmnIndexError: what it raised.
    """
    fine, value = answer
    if not fine:
        raise value
    return value


class _Worker:
    """What runs in a process of the cluster. Errors that a user can act on are returned: Ray would wrap them
    in tracebacks.
    """

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job, self._reached = job, 0.0

    def begin(self) -> tuple[bool, Any]:
        """Make ready; returns the id of the node."""
        import ray
        import torch

        torch.set_num_threads(1)
        try:
            self._attempt = self._job()
        except MmnIndexError as error:
            return False, error
        return True, ray.get_runtime_context().get_node_id()

    def work(self, task: Any) -> tuple[bool, Any]:
        """Do a task."""
        self._reached = 0.0
        try:
            return True, self._attempt(task, self._tell)
        except MmnIndexError as error:
            return False, error

    def how_far(self) -> float:
        """How far it is with its task."""
        return self._reached

    def _tell(self, reached: float) -> None:
        self._reached = reached
