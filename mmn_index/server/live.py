"""The rest of a video, encoded while it is watched."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..video.encode import Coding
from ..video.media import describe
from ..video.opening import checked
from ..video.transcode import transcode
from .clips import told
from .files import file_of
from .library import Opened
from .pool import Pool, StoppedError, Watch

_log = logging.getLogger(__name__)
_AHEAD = 2 << 20  # bytes that are made before the client takes them
_PATIENCE = 120.0  # seconds that a client may take nothing, as where the player is paused
_LOOK = 0.5  # seconds between looks whether the client has gone
_CODING = Coding(23, threads=2, live=True)


class _Pipe:
    """Bytes on their way from the thread that encodes to the loop that sends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: Watch) -> None:
        self._loop, self._watch = loop, watch
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._came = asyncio.Event()
        self._ended = self._refused = False

    def write(self, data: bytes) -> int:
        """In the thread; waits where the client is slow.

        Raises:
            StoppedError: the client has gone, or takes nothing.
        """
        with self._changed:
            if self._refused:  # said already; the encoder writes what it still holds, to nobody
                return len(data)
            waited = 0.0
            while self._held > _AHEAD:
                if self._watch.over or waited >= _PATIENCE:
                    self._watch.stop()
                    self._refused = True
                    raise StoppedError
                if not self._changed.wait(_LOOK):
                    waited += _LOOK
                else:
                    waited = 0.0
            self._chunks.append(bytes(data))
            self._held += len(data)
        self._wake()
        return len(data)

    def end(self) -> None:
        """In the thread or the loop: no more will come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._came.set)

    async def read(self) -> bytes:
        """In the loop: what came since, nothing at the end."""
        while True:
            self._came.clear()
            with self._changed:
                found, self._held = b"".join(self._chunks), 0
                self._chunks.clear()
                self._changed.notify()
            if found or self._ended:
                return found
            await self._came.wait()


class LiveResponse(StreamingResponse):
    """An answer that is made while it is sent, and no longer."""

    def __init__(self, pipe: "_Pipe", first: bytes, task: "asyncio.Task[None]") -> None:
        self._task = task
        headers = {"Cache-Control": "no-store", "Accept-Ranges": "none"}
        super().__init__(_rest(pipe, first), media_type="video/mp4", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.cancel()


async def _rest(pipe: _Pipe, first: bytes) -> AsyncIterator[bytes]:
    chunk = first
    while chunk:
        yield chunk
        chunk = await pipe.read()


async def live(
    opened: Opened, video: str, start: float, height: int, looks: Pool, transcoders: Pool
) -> LiveResponse:
    """A video from a second on as mp4 that is sent while it is made.

    Raises:
        RequestError: 404, no such video or file; 422, nothing of it can be shown from there on; 503, too many
            are watched.
    """
    path = await looks.run(lambda watch: file_of(opened, video))
    loop = asyncio.get_running_loop()
    pipe: asyncio.Future[_Pipe] = loop.create_future()

    def work(watch: Watch) -> None:
        made = _Pipe(loop, watch)
        loop.call_soon_threadsafe(pipe.set_result, made)
        try:
            with told(video, path), checked(watch.check):
                _encode(path, start, height, made, watch)
        finally:
            made.end()

    task = asyncio.ensure_future(transcoders.run(work))
    task.add_done_callback(_note)
    try:
        await asyncio.wait((task, pipe), return_when=asyncio.FIRST_COMPLETED)
        if not pipe.done():
            await task  # which says why it did not begin
        first = await pipe.result().read()
        if not first:
            await task
        return LiveResponse(pipe.result(), first, task)
    except BaseException:
        task.cancel()
        raise


def _note(task: "asyncio.Task[None]") -> None:
    """Of what goes wrong in the middle the client only sees an early end."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.warning("%s", error)


def _encode(path: Path, start: float, height: int, out: _Pipe, watch: Watch) -> None:
    media = describe(path)
    transcode(media, start, media.info.duration, out, height=height, coding=_CODING, check=watch.check)
