"""Threads for work that neither the loop nor the thread that searches should do, such as decoding."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .problems import RequestError

Result = TypeVar("Result")


class Pool:
    """Threads with a bound on what waits.

    Args:
        threads: that work at the same time.
        waiting: calls that may wait or run; who comes when there are more is turned away with 503.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads, self._waiting = ThreadPoolExecutor(threads, "decode"), waiting
        self._held = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """What some work gives.

        Raises:
            RequestError: 503, too much waits.
        """
        if self._held >= self._waiting:
            raise RequestError(503, f"{self._held} pictures are being made already.", retry=1)
        self._held += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._held -= 1

    def stop(self) -> None:
        """Wait for what runs, and forget what waits."""
        self._threads.shutdown(wait=True, cancel_futures=True)
