"""Open a file with FFmpeg, and find the stream of it that is the video.

A video file is input of strangers. It is opened as a Python file object with every protocol of
FFmpeg switched off, so that neither its name nor its content (playlists, `ffconcat` lists) can make
FFmpeg open another file or address.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ..errors import VideoError

# Demuxers of FFmpeg that make frames of what is no video: text, text-mode art, raw bytes, and lists of other
# files.
_NO_VIDEO = frozenset(
    ["tty", "bin", "xbin", "adf", "idf", "rawvideo", "hls", "concat", "dash", "image2", "sdp", "rtsp", "imf"]
)
_NO_MOTION = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_PICTURE_ALONE = 60.0  # seconds of another stream, after which a stream of one picture is believed to be one
# What PyAV raises: some of its errors are only the first. IndexError is for a packet of a stream that came
# after the file was opened, as in damaged transport streams.
BROKEN = (av.FFmpegError, OSError, ValueError, IndexError)

_check: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


@contextmanager
def checked(check: Callable[[], None]) -> Iterator[None]:
    """While files are read in here, by this thread, `check` is called again and again. What it raises, which
    must be none of BROKEN, ends the reading.
    """
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


class _Checked:
    """A file that asks before it reads."""

    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        self._file, self._check = file, check

    def read(self, size: int) -> bytes:
        self._check()
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """All streams of a file.

    Raises:
        VideoError: it cannot be read, or is nothing that FFmpeg knows.
    """
    if not path.exists():
        raise VideoError(f"{path}: no such file.")
    if not path.is_file():
        raise VideoError(
            f"{path}: is {'a folder' if path.is_dir() else 'no regular file'}, expected a video file."
        )
    try:
        file = path.open("rb")
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}).") from error
    with file:
        if not os.fstat(file.fileno()).st_size:
            raise VideoError(f"{path}: is empty (0 bytes). Did copying or downloading it fail?")
        check = _check.get()
        try:
            container = av.open(
                file if check is None else _Checked(file, check),
                "r",
                container_options={"protocol_whitelist": "none"},
                metadata_errors="replace",
            )
        except BROKEN as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(
                f"{path}: is no video that FFmpeg can read ({reason}). Is the file complete?"
            ) from error
        with container:
            yield container


def video_streams(path: Path, container: InputContainer) -> list[VideoStream]:
    """The streams that may be the video, the likeliest first."""
    formats = set(container.format.name.split(","))
    if formats & _NO_VIDEO:
        raise VideoError(
            f"{path}: is no video file (FFmpeg takes it for '{container.format.name}'), expected mp4, webm, "
            "mkv, ..."
        )
    if container.format.name.endswith("_pipe"):
        raise VideoError(f"{path}: is a still picture, expected a video.")
    # The cover picture of a song is a video stream, too.
    streams = [s for s in container.streams.video if not s.disposition & _NO_MOTION]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(f"{path}: holds no video ({kinds} only).")
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise VideoError(f"{path}: its video is coded in a way that this FFmpeg cannot decode.")
    return sorted(decodable, key=lambda s: not s.disposition & Disposition.default)


def moving_of(path: Path, candidates: list[VideoStream]) -> int:
    """The first of several streams that holds more than one picture; else the first that holds any.

    A thumbnail that is not marked as one is a stream of one picture, and a stream may be declared but empty.
    """
    places = {stream.index: place for place, stream in enumerate(candidates)}
    counts, begins = [0] * len(candidates), [math.inf] * len(candidates)
    with opened(path) as container:
        try:
            for packet in container.demux([s for s in container.streams if s.index in places]):
                if not packet.size or packet.dts is None or not packet.time_base:
                    continue
                place, time = places[packet.stream.index], float(packet.dts * packet.time_base)
                counts[place] += 1
                begins[place] = min(begins[place], time)
                if counts[0] > 1 or (counts[place] > 1 and time - begins[place] > _PICTURE_ALONE):
                    break
        except BROKEN:
            pass  # a broken tail: what came before it counts
    return next((n for least in (2, 1) for n, count in enumerate(counts) if count >= least), 0)


def fps_of(stream: VideoStream) -> float:
    """The average frame rate, 25 where the file does not say one that can be."""
    for rate in (stream.average_rate, stream.base_rate, stream.guessed_rate):
        if rate and 0.01 < rate <= 1000:
            return float(rate)
    return 25.0
