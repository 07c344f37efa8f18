"""Who searches on a cluster: one searcher on each node, begun, pinged, ended."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .._version import __version__
from ..errors import ClusterError, MmnIndexError
from .session import Node, Session

_log = logging.getLogger(__name__)
LOST = object()  # in place of an answer: who was asked is dead, or does not answer
_BEGIN = 120.0  # seconds that a searcher may take to begin: it imports torch, perhaps over a network
_PING = 1.0  # seconds between two pings
_LOOK = 0.05  # seconds between two looks whether all have begun
_AGAIN = 30.0  # seconds until a node on which no searcher could begin is tried again


@dataclass(eq=False)
class Worker:
    """A searcher as it is seen from here."""

    name: str
    node: Node
    handle: Any
    asked: float  # when its last ping was sent, or when it was begun
    answer: Any  # to that ping; of one that was just begun, its version
    ready: bool = False
    lost: str | None = None  # why it is

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of it; what will be its answer."""
        return getattr(self.handle, method).remote(*arguments)


class Roster:
    """The searchers of all nodes that have a CPU.

    Args:
        device: "cuda" scans on the GPUs of those nodes that have some.
        patience: seconds that a searcher may leave a ping unanswered.
        changed: is called when somebody came or was lost.
    """

    def __init__(self, session: Session, device: str, patience: float, changed: Callable[[], None]) -> None:
        self._session, self._device, self._patience, self._changed = session, device, patience, changed
        from .actor import GROUPS, SearchActor  # needs Ray, which is there

        self._actor = session.ray.remote(max_restarts=0, concurrency_groups=GROUPS)(SearchActor)
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}  # by name; none that is lost
        self._refused: dict[str, tuple[float, str]] = {}  # nodes on which none could begin: when, and why
        self._begun, self._closed = 0, False

    @property
    def there(self) -> dict[str, Worker]:
        """The searchers that can be asked, by name."""
        with self._lock:
            return {name: worker for name, worker in self._workers.items() if worker.ready}

    def node_of(self, name: str) -> str:
        """The node of a searcher, as people know it."""
        with self._lock:
            return self._workers[name].node.name if name in self._workers else name

    def begin(self) -> None:
        """Begin a searcher on each node, and wait for all of them.

        Raises:
            ClusterError: none could be begun.
        """
        until = time.monotonic() + _BEGIN
        self.look_after()
        while time.monotonic() < until and any(not worker.ready for worker in self._all()):
            time.sleep(_LOOK)
            self._hear()
        if not self.there:
            said = "; ".join(why for _, why in self._refused.values()) or "none has a CPU"
            raise ClusterError(
                f"{self._session.address}: no node of this Ray cluster can search ({said}). The same version "
                "of mmn-index has to be installed on all of them."
            )

    def look_after(self) -> None:
        """Hear whether each searcher lives, and begin one on each node that has none.

        Raises:
            ClusterError: the cluster does not answer.
        """
        self._hear()
        now = time.monotonic()
        busy = {worker.node.node_id for worker in self._all()}
        busy |= {node for node, (when, _) in self._refused.items() if now - when < _AGAIN}
        for node in self._session.nodes():
            if node.cpus and node.node_id not in busy:
                self._begin(node)

    def answer(self, worker: Worker, call: Any) -> Any:
        """What a call that is done gave; LOST where the searcher is."""
        exceptions = self._session.ray.exceptions
        try:
            return self._session.ray.get(call)
        except exceptions.RayTaskError:
            raise  # a mistake of ours
        except exceptions.RayError as error:
            self._lose(worker, _line(error))
            return LOST

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        for worker in self._all():
            self._lose(worker, "closed")

    def _all(self) -> list[Worker]:
        with self._lock:
            return list(self._workers.values())

    def _begin(self, node: Node) -> None:
        on_gpu = self._device != "cpu" and node.gpus > 0
        strategy = self._session.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        handle = self._actor.options(
            num_cpus=0,  # a node that is busy with something else searches all the same
            num_gpus=node.gpus if on_gpu else 0,
            scheduling_strategy=strategy(node.node_id, soft=False),
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(node.cpus)}},
        ).remote(self._device if on_gpu else "cpu", node.cpus)
        self._begun += 1
        name = f"{node.node_id}/{self._begun}"
        worker = Worker(name, node, handle, time.monotonic(), handle.ready.remote())
        with self._lock:
            self._workers[name] = worker

    def _hear(self) -> None:
        now = time.monotonic()
        for worker in self._all():
            done, _ = self._session.ray.wait([worker.answer], timeout=0)
            silent = now - worker.asked
            if not done and silent > (self._patience if worker.ready else _BEGIN):
                self._lose(worker, f"it has not answered for {silent:.0f} seconds")
            elif done and not worker.ready:
                self._welcome(worker)
            elif done and silent > _PING and self.answer(worker, worker.answer) is not LOST:
                worker.asked, worker.answer = now, worker.call("ping")

    def _welcome(self, worker: Worker) -> None:
        """One that has begun, if it could."""
        try:
            found = self.answer(worker, worker.answer)
        except Exception as error:  # its class cannot be imported there
            found = ClusterError(_line(error))
        if found is LOST:
            found = ClusterError(f"it ended while it began: {worker.lost}")
        elif not isinstance(found, MmnIndexError) and found != __version__:
            found = ClusterError(f"it has mmn-index {found}, expected {__version__} as here")
        if isinstance(found, MmnIndexError):
            said = f"node {worker.node.name}: {found}"
            self._refused[worker.node.node_id] = time.monotonic(), said
            self._lose(worker, str(found))
            return
        worker.ready = True
        self._changed()

    def _lose(self, worker: Worker, reason: str) -> None:
        with self._lock:
            if worker.lost is not None:
                return
            worker.lost = reason
            self._workers.pop(worker.name, None)
        if not self._closed:
            _log.warning("the searcher on node %s is lost: %s", worker.node.name, reason)
        with suppress(Exception):  # it is dead already
            self._session.ray.kill(worker.handle)
        self._changed()


def _line(error: Exception) -> str:
    """What an error says, on one line; of what happened elsewhere the last one, without Ray's advice."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].partition(" Some common causes")[0].strip().rstrip(".")
