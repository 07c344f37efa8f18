"""The searchers of a cluster, one a node: begun, watched, replaced, and given their parts of indexes.

Who dies is known by the next call to it; who does not answer pings for `patience` seconds is taken for dead,
and ended. What the lost ones had is given to those that are left, and a new one is begun on each node that is
there and has none.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from ..errors import ClusterError, MmnIndexError, MomentIndexError
from ..index.manifest import read_manifest
from ..index.scan import Deadline
from .allotment import Allotment
from .roster import LOST, Roster
from .session import connected

_log = logging.getLogger(__name__)
PATIENCE = 10.0  # seconds that a searcher may leave a ping unanswered
_HOLD = 600.0  # seconds that opening a part of an index may take: GPUs are filled with it
_PAUSE = 0.5  # seconds between two looks at all searchers
_SLICE = 0.25  # seconds after which a caller that waits looks whether somebody was lost
_AGAIN = 30.0  # seconds until it is tried again what went wrong


class Searchers:
    """The searchers of all nodes of a cluster.

    Args:
        address: of the cluster; see `session.connected`.
        replicas: how many searchers have each part of an index.
        device: "cuda" scans on the GPUs of those nodes that have some.
        patience: seconds that a searcher may be silent.

    Raises:
        DependencyError: Ray is not installed.
        ClusterError: there is no cluster, or none of its nodes can search.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        replicas: int = 1,
        device: str = "cpu",
        patience: float = PATIENCE,
    ) -> None:
        if replicas < 1:
            raise ClusterError(f"{replicas} replicas, expected at least 1: how many nodes hold each moment.")
        self._replicas, self._lock = replicas, threading.Lock()
        self._allotments: dict[str, Allotment] = {}
        self._changed, self._end = threading.Event(), threading.Event()
        with ExitStack() as opened:
            session = opened.enter_context(connected(address))
            self._ray = session.ray
            self._roster = Roster(session, device, patience, self._changed.set)
            opened.callback(self._roster.close)
            self._roster.begin()
            self._opened = opened.pop_all()
        self._threads = [
            threading.Thread(target=self._repeat, args=work, daemon=True)
            for work in ((self._roster.look_after, _PAUSE), (self._follow, None))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End all searchers, and the connection if nobody else uses it."""
        if not self._end.is_set():
            self._end.set()
            self._changed.set()
            for thread in self._threads:
                thread.join()
            self._opened.close()

    @property
    def there(self) -> frozenset[str]:
        """Names of the searchers that can be asked."""
        return frozenset(self._roster.there)

    def allot(self, allotment: Allotment) -> None:
        """Give all searchers their part of one version of an index, and follow their changes until `forget`.

        Raises:
            ClusterError: no searcher can open it.
            MomentIndexError: its files are gone, because there is a newer version.
        """
        self._share_out(allotment)
        with self._lock:
            self._allotments[allotment.key] = allotment
        self._changed.set()  # somebody may have come or gone meanwhile

    def forget(self, key: str) -> None:
        """Nobody asks for this version any more."""
        with self._lock:
            self._allotments.pop(key, None)
        if not self._end.is_set():
            for worker in self._roster.there.values():
                with suppress(Exception):  # it is lost
                    worker.call("forget", key)

    def ask(
        self,
        method: str,
        asked: Mapping[str, tuple[Any, ...]],
        deadline: Deadline,
        total: int,
    ) -> Iterator[tuple[str, Any]]:
        """Call a method of some searchers, all at the same time.

        Args:
            asked: the arguments of each, by the names of the searchers.
            total: moments that are searched, for what the deadline says.

        Yields:
            Name and answer as they come: what the method gives, an MmnIndexError, or LOST.

        Raises:
            QueryError: the deadline passed.
        """
        there, calls = self._roster.there, dict[Any, str]()
        for name, arguments in asked.items():
            if name in there:
                calls[there[name].call(method, *arguments)] = name
            else:
                yield name, LOST
        while calls:
            deadline.check(0, total)
            done, waiting = self._ray.wait(list(calls), num_returns=len(calls), timeout=_SLICE)
            for call in done:
                name = calls.pop(call)
                yield name, self._roster.answer(there[name], call)
            for call in waiting:
                if there[calls[call]].lost is not None:
                    yield calls.pop(call), LOST

    def _repeat(self, work: Callable[[], None], pause: float | None) -> None:
        """Work until the end: every so many seconds, or whenever something has changed."""
        while not self._end.is_set():
            if pause is None:
                self._changed.wait(_AGAIN)
                self._changed.clear()
            else:
                self._end.wait(pause)
            try:
                work()
            except ClusterError as error:
                _log.error("%s", error)
                self._end.wait(_AGAIN)
            except Exception:  # the next time it may succeed, and queries are answered
                _log.exception("looking after the searchers of a cluster failed")

    def _follow(self) -> None:
        """Share out anew what was shared out to others than those that are there."""
        with self._lock:
            waiting = list(self._allotments.values())
        for allotment in waiting:
            if not self._end.is_set() and allotment.plan.holders != self._able(allotment):
                try:
                    self._share_out(allotment)
                except (MomentIndexError, ClusterError) as error:
                    _log.warning("%s: cannot be shared out anew: %s", allotment.root, error)

    def _able(self, allotment: Allotment) -> frozenset[str]:
        return self.there - {*allotment.refused}

    def _share_out(self, allotment: Allotment) -> None:
        began = time.monotonic()
        while True:
            names = sorted(self._able(allotment))
            if not names:
                said = "; ".join(allotment.refused.values()) or "all nodes are lost"
                raise ClusterError(f"{allotment.root}: no node of the cluster can search it ({said}).")
            plan = allotment.shared_out(names, self._replicas)
            held: dict[str, dict[int, bool]] = {}
            orders = {name: allotment.order(plan, name) for name in names}
            for name, answer in self.ask("hold", orders, Deadline(_HOLD), 0):
                if isinstance(answer, MmnIndexError):
                    self._refuse(allotment, name, answer)
                elif answer is not LOST:
                    held[name] = answer
            if {*held} == {*names}:
                allotment.take(plan, held)
                took, count = time.monotonic() - began, len(names)
                _log.info("%s: shared out to %d nodes in %.2f s", allotment.root, count, took)
                return

    def _refuse(self, allotment: Allotment, name: str, error: MmnIndexError) -> None:
        """A searcher cannot open an index: others get its part, unless nobody can."""
        if read_manifest(allotment.root).version != allotment.manifest.version:
            raise error
        node = self._roster.node_of(name)
        allotment.refused[name] = f"node {node}: {error}"
        _log.error(
            "%s: node %s cannot search it; all nodes have to see it under this path: %s",
            allotment.root,
            node,
            error,
        )
