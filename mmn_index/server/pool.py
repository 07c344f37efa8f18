"""Threads for work that neither the loop nor the thread that searches should do, such as decoding.

Videos are files of strangers on disks that may hang. So each piece of work has some seconds, and is asked to
end when they are over or when nobody waits for it any more. What does not obey, because the system does not
return from a read, is left behind: its place is given to others.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from .problems import RETRY, RequestError

Result = TypeVar("Result")
_GRACE = 5.0  # seconds that work has to end after it was asked to


class StoppedError(Exception):
    """Work ends because nobody waits for it any more, or its seconds are over."""


class Watch:
    """What work asks, again and again, whether it should end.

    Args:
        seconds: that it may take.
    """

    def __init__(self, seconds: float) -> None:
        self._until, self._stopped = time.monotonic() + seconds, False

    @property
    def over(self) -> bool:
        return self._stopped or time.monotonic() > self._until

    def stop(self) -> None:
        self._stopped = True

    def check(self) -> None:
        """Raises:
        StoppedError: it should end.
        """
        if self.over:
            raise StoppedError


class Pool:
    """Threads with a bound on what waits, and on how long each piece of work takes.

    Args:
        threads: that work at the same time.
        waiting: calls that may wait or run; who comes when there are more is turned away with 503.
        seconds: that a call may run.
        what: is made, in the plural, for messages.
    """

    def __init__(self, threads: int, waiting: int, seconds: float, what: str) -> None:
        self._places, self._waiting = asyncio.Semaphore(threads), waiting
        self._seconds, self._what = seconds, what
        self._held = 0
        self._running: dict[threading.Thread, Watch] = {}

    async def run(self, work: Callable[[Watch], Result]) -> Result:
        """What some work gives. If the caller is cancelled, the work is told to end, or never begins.

        Raises:
            RequestError: 503, too much waits, or it took too long.
        """
        if self._held >= self._waiting:
            raise RequestError(503, f"{self._held} {self._what} are being made already.", retry=RETRY)
        self._held += 1
        try:
            await self._places.acquire()
            return await self._in_thread(work)
        finally:
            self._held -= 1

    async def _in_thread(self, work: Callable[[Watch], Result]) -> Result:
        loop, watch = asyncio.get_running_loop(), Watch(self._seconds)
        done: asyncio.Future[Result] = loop.create_future()
        kept = True

        def give_place() -> None:
            nonlocal kept
            if kept:
                kept = False
                self._places.release()

        def settle(result: Any, error: BaseException | None) -> None:
            self._running.pop(thread, None)
            give_place()
            if done.done():
                _discard(result)
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        def body() -> None:
            result, error = None, None
            try:
                result = work(watch)
            except BaseException as raised:  # whatever it is, it belongs to who asked
                error = raised
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, result, error)

        thread = threading.Thread(target=body, name=self._what, daemon=True)
        self._running[thread] = watch
        thread.start()
        taken = False
        try:
            async with asyncio.timeout(self._seconds + _GRACE):
                result = await done
            taken = True
            return result
        except (TimeoutError, StoppedError) as error:
            raise RequestError(
                503,
                f"it took longer than the {self._seconds:g} seconds that this server gives to {self._what}. "
                "Ask for less, or later.",
                retry=RETRY,
            ) from error
        finally:
            watch.stop()
            if not taken and done.done() and not done.cancelled() and done.exception() is None:
                _discard(done.result())  # it came in the moment in which the caller went
            if thread in self._running:  # the caller has gone: the place is free when the work has ended
                loop.call_later(_GRACE, give_place)

    def stop(self) -> None:
        """Tell what runs to end, and wait for it a little."""
        running = dict(self._running)
        for watch in running.values():
            watch.stop()
        until = time.monotonic() + _GRACE
        for thread in running:
            thread.join(max(0.0, until - time.monotonic()))


def _discard(result: Any) -> None:
    """Close what nobody is there to close."""
    if (close := getattr(result, "close", None)) is not None:
        close()
