"""Parts of videos as files that every browser plays: made when they are asked for, each once, and kept."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import OutputError, VideoError
from ..video.browser import sentence
from ..video.encode import Coding
from ..video.media import describe
from ..video.opening import checked
from ..video.transcode import transcode
from .disk_cache import DiskCache, key_of
from .files import file_of
from .library import Opened
from .pictures import thumbnail
from .pool import Pool, Watch
from .problems import RequestError

_log = logging.getLogger(__name__)
HEIGHTS = (64, 1080)  # pixels, least and most
_QUALITY = 23  # of clips to watch, as x264 counts
_BUSY = 5  # seconds after which a disk that is full may have room again


@dataclass(frozen=True)
class Part:
    """What is asked for.

    Attributes:
        start, end: seconds of the video.
        height: pixels, at most.
        crf: of the encoder; less is finer.
    """

    video: str
    start: float
    end: float
    height: int
    crf: int = _QUALITY


@dataclass
class _Making:
    """A file that is being made, and how many wait for it."""

    task: "asyncio.Future[BinaryIO]"
    waiting: int = 0


@dataclass(frozen=True)
class _Found:
    """A video's file, and what was made of it already, open."""

    path: Path
    key: str
    file: BinaryIO | None

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


@dataclass(frozen=True)
class Made:
    """A file that is open already; its name may be gone."""

    file: BinaryIO
    key: str


class Clips:
    """What is made of the videos of a server's indexes.

    Args:
        looks: threads that look at files and make pictures.
        encoders: threads that make clips.
        longest: seconds of a clip, at most.
        cached: is told of each request whether the file was there already.
    """

    def __init__(
        self,
        cache: DiskCache,
        looks: Pool,
        encoders: Pool,
        longest: float,
        cached: Callable[[bool], None] = lambda hit: None,
    ) -> None:
        self._cache, self._looks, self._encoders, self._longest = cache, looks, encoders, longest
        self._cached = cached
        self._making: dict[str, _Making] = {}

    async def clip(self, opened: Opened, part: Part) -> Made:
        """A clip as mp4, whose second 0 is the start.

        Raises:
            RequestError: 404, no such video or file; 422, times that cannot be, or a file that cannot be
                decoded; 503, too much waits, or it took too long.
        """
        part = replace(part, start=round(part.start, 3), end=round(part.end, 3))
        self.check(part)

        def write(path: Path, place: Path, watch: Watch) -> None:
            media = describe(path)
            coding = Coding(part.crf, threads=1)
            transcode(
                media, part.start, part.end, place, height=part.height, coding=coding, check=watch.check
            )

        parameters = ("clip", part.start, part.end, part.height, part.crf)
        return await self._made(opened, part.video, parameters, self._encoders, write)

    def check(self, part: Part) -> None:
        """Refuse times that no clip has.

        Raises:
            RequestError: 422.
        """
        if part.end <= part.start:
            raise RequestError(422, f"end: {part.end:g} s is not after the start at {part.start:g} s.")
        if part.end - part.start > self._longest:
            raise RequestError(
                422,
                f"end: {part.end - part.start:,.1f} seconds, this server makes clips of at most "
                f"{self._longest:g}. `transcoded` has no end.",
            )

    async def picture(self, opened: Opened, video: str, time: float, height: int) -> bytes:
        """The picture that is shown at a second, as JPEG.

        Raises:
            RequestError: as `clip`.
        """

        def write(path: Path, place: Path, watch: Watch) -> None:
            place.write_bytes(thumbnail(path, time, height))

        parameters = ("picture", round(time, 3), height)
        made = await self._made(opened, video, parameters, self._looks, write)
        with made.file as file:
            return file.read()

    async def _made(
        self,
        opened: Opened,
        video: str,
        parameters: tuple[str | float, ...],
        pool: Pool,
        write: Callable[[Path, Path, Watch], None],
    ) -> Made:
        """What was made of a video with some parameters; made if it is not there."""

        def look(watch: Watch) -> _Found:
            path = file_of(opened, video)
            try:
                key = key_of(path, os.stat(path), *parameters)
            except OSError as error:
                raise RequestError(404, f"the file of '{video}' is not there any more.") from error
            return _Found(path, key, self._cache.find(key))

        # The disk is asked in a pool as well: a share that hangs must not hold up the others.
        found = await self._looks.run(look)
        self._cached(found.file is not None)
        if found.file is not None:
            return Made(found.file, found.key)
        work = partial(self._write, video, found.path, found.key, write)
        return Made(await self._once(found.key, lambda: pool.run(work)), found.key)

    async def _once(self, key: str, make: Callable[[], Coroutine[Any, Any, BinaryIO]]) -> BinaryIO:
        """What is made for a key, for all who ask meanwhile; it is given up when all of them have gone."""
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = _Making(asyncio.ensure_future(make()))
        making.waiting += 1
        try:
            return reopened(await asyncio.shield(making.task))
        finally:
            making.waiting -= 1
            if not making.waiting:
                self._making.pop(key)
                making.task.cancel()
                making.task.add_done_callback(_close)

    def _write(
        self, video: str, path: Path, key: str, write: Callable[[Path, Path, Watch], None], watch: Watch
    ) -> BinaryIO:
        with told(video, path), checked(watch.check):
            return self._cache.make(key, lambda place: write(path, place, watch))


@contextmanager
def told(video: str, path: Path) -> Iterator[None]:
    """What goes wrong with a file, as callers are told: without its place on this machine."""
    try:
        yield
    except VideoError as error:
        raise RequestError(422, f"'{video}': {sentence(error, path)}") from error
    except OutputError as error:
        _log.error("%s", error)
        raise RequestError(503, "the disk of this server is full, or cannot be written.", _BUSY) from error
    except OSError as error:
        raise RequestError(404, f"the file of '{video}' cannot be read ({error.strerror}).") from error


def reopened(file: BinaryIO) -> BinaryIO:
    """The same file with a place of its own, whatever became of its name."""
    return open(f"/dev/fd/{file.fileno()}", "rb")


def _close(task: "asyncio.Future[BinaryIO]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def moment_of(opened: Opened, row: int, version: int) -> tuple[str, float, float]:
    """The video, start and end of a row.

    Raises:
        RequestError: 404, the index has no such row; 409, it is of another version by now.
    """
    if version != opened.version:
        raise RequestError(
            409, f"version: {version}, but the index has version {opened.version} by now. Search again."
        )
    index = opened.index
    total = int(index.rows.first[-1])
    rows = np.array([row])
    if not 0 <= row < total or not index.live[video := int(index.videos_of(rows)[0])]:
        raise RequestError(404, f"the index has no moment {row}.")
    start, end = index.spans(rows)[0].tolist()
    return index.video_id(video), start, end
