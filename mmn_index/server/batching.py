"""Queries that arrive together are embedded and searched together, in one thread beside the server's loop.

While a batch is computed the next one gathers, so under load batches grow by themselves; a lone query waits
only for `wait` seconds. What is found is the same as one by one, but for the last digits of embeddings: the
scan of a batch reads the index once for all its queries.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ..errors import MmnIndexError, QueryError
from ..index.scan import Deadline
from ..scoring import Embeddings, Score
from ..search import Answer, SearchOptions, search_embeddings
from .library import Opened
from .metrics import Metrics
from .problems import RETRY, STOPPED_FOR, STOPPING, RequestError
from .query_cache import QueryCache

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """Sentences of one request that are searched alike.

    Attributes:
        without: what the moments should not be, one for all sentences.
    """

    opened: Opened
    sentences: tuple[str, ...]
    without: str | None
    score: Score
    options: SearchOptions

    def goes_with(self, other: "Wanted") -> bool:
        """Whether both can be searched in one pass."""
        return (
            self.opened is other.opened
            and self.score == other.score
            and (self.without is None) == (other.without is None)
            # An expression of pyarrow has no truth, so restrictions are not compared.
            and not self.options.restriction
            and not other.options.restriction
            and self.options == other.options
        )


@dataclass
class _Job:
    """Something to compute for one request: `Wanted`, or a call with the time it has."""

    what: Wanted | Callable[[Deadline], Any]
    done: "asyncio.Future[Any]"
    size: int
    timeout: float | None  # seconds from its arrival
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """The one thread that computes.

    Args:
        wait: seconds that the first query of a batch waits for others.
        most: sentences of a batch.
        waiting: sentences that may wait; who comes when there are more is turned away with 503.
    """

    def __init__(self, *, wait: float, most: int, waiting: int, cache: QueryCache, metrics: Metrics) -> None:
        self._wait, self._most, self._waiting = wait, most, waiting
        self._cache, self._metrics = cache, metrics
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._held = 0  # sentences of jobs that are not answered
        self._open: set[asyncio.Future[Any]] = set()  # their answers
        self._thread = ThreadPoolExecutor(1, "compute")
        self._task: asyncio.Task[None] | None = None
        self._deadline = Deadline(None)  # of what is computed
        self._stopping = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End, also where something is not answered yet."""
        self._stopping = True
        self._deadline.stop()
        for done in self._open:
            done.set_exception(RequestError(503, STOPPING, retry=STOPPED_FOR))
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def search(self, wanted: Wanted) -> list[Answer]:
        """One answer for each sentence.

        Raises:
            MmnIndexError: what `search` raises.
            RequestError: 503, too much waits.
        """
        found: list[Answer] = await self._submit(wanted, len(wanted.sentences), wanted.options.timeout)
        return found

    async def call(self, work: Callable[[Deadline], Any], timeout: float | None = None) -> Any:
        """Whatever else computes, in its turn.

        Args:
            work: is given the deadline that `timeout` makes, in seconds from now.
        """
        return await self._submit(work, 1, timeout)

    async def _submit(
        self, what: Wanted | Callable[[Deadline], Any], size: int, timeout: float | None
    ) -> Any:
        if self._held + size > self._waiting:
            raise RequestError(
                503,
                f"{self._held:,} sentences wait, {size:,} more are above the limit of {self._waiting:,}. "
                "Ask again in a moment.",
                retry=RETRY,
            )
        job = _Job(what, asyncio.get_running_loop().create_future(), size, timeout)
        job.done.add_done_callback(self._open.discard)
        self._open.add(job.done)
        self._held += size
        self._metrics.waiting.set(self._held)
        self._jobs.put_nowait(job)
        try:
            return await job.done
        finally:
            self._held -= size
            self._metrics.waiting.set(self._held)

    async def _run(self) -> None:
        while True:
            jobs = await self._gather()
            alive = [job for job in jobs if not job.done.done()]  # whose client has not gone
            if alive:
                results = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, alive)
                for job, result in zip(alive, results, strict=True):
                    if job.done.done():
                        continue
                    if isinstance(result, Exception):
                        job.done.set_exception(result)
                    else:
                        job.done.set_result(result)

    async def _gather(self) -> list[_Job]:
        """The next jobs: the first, and those that come within `wait` or wait already."""
        jobs = [await self._jobs.get()]
        until = time.monotonic() + self._wait
        while sum(job.size for job in jobs) < self._most:
            if not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
                continue
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                jobs.append(await asyncio.wait_for(self._jobs.get(), left))
            except TimeoutError:
                break
        return jobs

    def _compute(self, jobs: list[_Job]) -> list[Any]:
        """What each job is answered with: a result, or an exception."""
        began = time.monotonic()
        for job in jobs:
            self._metrics.stage("wait", began - job.arrived)
        results: dict[int, Any] = {}
        left = [number for number, job in enumerate(jobs) if isinstance(job.what, Wanted)]
        self._metrics.batch.observe(sum(jobs[number].size for number in left) or 1)
        while left:
            first = jobs[left[0]].what
            assert isinstance(first, Wanted)
            group = [n for n in left if n == left[0] or first.goes_with(jobs[n].what)]  # type: ignore[arg-type]
            left = [number for number in left if number not in group]
            results |= dict(zip(group, self._search([jobs[number] for number in group]), strict=True))
        for number, job in enumerate(jobs):
            if number not in results:
                assert not isinstance(job.what, Wanted)
                results[number] = _caught(partial(job.what, self._time_of([job])))
        return [results[number] for number in range(len(jobs))]

    def _time_of(self, jobs: Sequence[_Job]) -> Deadline:
        """What jobs of one timeout have left; from now on it is what `stop` ends."""
        spent = time.monotonic() - min(job.arrived for job in jobs)
        self._deadline = deadline = Deadline(jobs[0].timeout, (("to wait", spent),))
        if self._stopping:
            deadline.stop()
        return deadline

    def _search(self, jobs: Sequence[_Job]) -> list[Any]:
        """The answers of requests that go together, each by itself where one of them fails."""
        found = _caught(lambda: self._search_together(jobs))
        if not isinstance(found, Exception):
            return list(found)
        return [found] if len(jobs) == 1 else [self._search([job])[0] for job in jobs]

    def _search_together(self, jobs: Sequence[_Job]) -> list[list[Answer]]:
        wanted: list[Wanted] = [job.what for job in jobs]  # type: ignore[misc]
        first = wanted[0]
        index, options = first.opened.index, first.options
        deadline = self._time_of(jobs)
        deadline.check(0, index.num_moments)
        sentences = [sentence for one in wanted for sentence in one.sentences]
        began = time.monotonic()
        queries = self._embed(first.opened, sentences)
        against = None
        if first.without is not None:
            texts = [str(one.without) for one in wanted for _ in one.sentences]
            against = self._embed(first.opened, texts)
        embedded = time.monotonic()
        self._metrics.stage("embed", embedded - began)
        answers = iter(
            search_embeddings(index, queries, first.score, options, sentences, against, deadline=deadline)
        )
        self._metrics.stage("search", time.monotonic() - embedded)
        return [[next(answers) for _ in one.sentences] for one in wanted]

    def _embed(self, opened: Opened, sentences: Sequence[str]) -> Embeddings:
        fingerprint = opened.index.manifest.fingerprint
        hits, misses = self._cache.hits, self._cache.misses
        embedded = self._cache.embed(opened.model, fingerprint, sentences)
        self._metrics.hits.inc(self._cache.hits - hits)
        self._metrics.misses.inc(self._cache.misses - misses)
        for one in embedded:
            if isinstance(one, QueryError):
                raise one
        return Embeddings(*(torch.cat([one[space] for one in embedded]) for space in (0, 1)))  # type: ignore[index]


def _caught(work: Callable[[], Any]) -> Any:
    """What some work gives, or how it failed."""
    try:
        return work()
    except (MmnIndexError, RequestError) as error:
        return error
    except Exception as error:
        _log.exception("a request failed")
        return error
