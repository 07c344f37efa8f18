"""Frames of video files, on the clock that every time in this project is told by.

Second 0 is the first frame that decodes, and a frame is shown from its own timestamp until the next
frame's: the frame at time t is the last one whose timestamp is <= t. The video ends when its last
frame has been shown for as long as the file says (else for one average frame). Frames come upright
(the display matrix of phones is applied), as RGB uint8 arrays (H, W, 3).

A video file is input of strangers. It is opened as a Python file object with every protocol of
FFmpeg switched off, so that neither its name nor its content (playlists, `ffconcat` lists) can make
FFmpeg open another file or address. This is the only module that touches PyAV.
"""

import heapq
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from ..errors import ConfigError, QueryError, VideoError

# Demuxers of FFmpeg that make frames of what is no video: text, text-mode art, raw bytes, and lists of other
# files.
_NO_VIDEO = frozenset(
    ["tty", "bin", "xbin", "adf", "idf", "rawvideo", "hls", "concat", "dash", "image2", "sdp", "rtsp", "imf"]
)
_REORDER = 4  # frames held back so that neighbours stored out of order come out in order
_JUMP_BACK = 1.0  # seconds; a larger step back is a clock that started again, not a frame out of order
_JUMP_AHEAD = 60.0  # seconds; a larger gap is believed only if the file's own length has room for it
_SEEK_AHEAD = 2.0  # seconds; a thumbnail closer than this is reached faster by decoding on than by a seek
_SAME = 1e-6  # seconds; times closer than this are one time, told with different rounding
_SMALL = 320 * 240  # pixels; below, starting decoder threads costs more than they save


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of its video, without decoding it.

    `duration` in seconds is the file's own statement; a damaged file may decode to less. `width` and
    `height` are pixels as shown, after the rotation by `rotation` degrees counterclockwise (0, 90, 180, 270).
    """

    duration: float
    width: int
    height: int
    fps: float
    rotation: int


@dataclass(frozen=True)
class FrameSize:
    """The size that frames are scaled to.

    With `short_side` None, frames are squeezed to width x height whatever their shape. Otherwise they keep
    their shape: the short side becomes `short_side`, and the middle width x height is cut out.
    """

    width: int
    height: int
    short_side: int | None = None

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise ConfigError(f"A frame size of {self.width}x{self.height} pixels is empty.")
        if self.short_side is not None and self.short_side < max(self.width, self.height):
            raise ConfigError(
                f"{self.width}x{self.height} pixels cannot be cut out of frames whose short side is "
                f"{self.short_side}."
            )


class FrameWalk(Iterator[np.ndarray]):
    """One walk over a video's frames at a uniform rate; iterate it once.

    `duration` is the time decoded so far in seconds, and after the last frame the duration of the video.
    `stated` is the video's length in seconds as the file itself states it, known from the first frame on;
    None where the file states none. A file that was cut short decodes to less.
    """

    def __init__(self, path: Path, rate: float, size: FrameSize) -> None:
        self.duration = 0.0
        self.stated: float | None = None
        self._frames = self._walk(path, rate, size)

    def __next__(self) -> np.ndarray:
        return next(self._frames)

    def close(self) -> None:
        """Close the file before the end is reached."""
        self._frames.close()

    def _walk(self, path: Path, rate: float, size: FrameSize) -> Generator[np.ndarray]:
        tick = 0
        shown: VideoFrame | None = None
        image: np.ndarray | None = None  # of `shown`, scaled once however often it is shown
        with _opened(path) as (container, stream):
            self.stated = _stated_duration(container, stream)
            clock = _Clock(container, stream)
            for time, frame in clock.in_order(_decoded(container, stream)):
                while shown is not None and (tick + 0.5) / rate < time - _SAME:
                    image = _image(shown, size) if image is None else image
                    yield image
                    tick += 1
                shown, image = frame, None
                self.duration = time
            if shown is None:
                raise VideoError(
                    f"{path}: no frame of its video can be decoded. Is the file damaged, or cut short?"
                )
            self.duration += clock.shown_for(shown)
            while tick < num_ticks(self.duration, rate):
                image = _image(shown, size) if image is None else image
                yield image
                tick += 1


def num_ticks(duration: float, rate: float) -> int:
    """How many of the times (k + 0.5) / rate, k = 0, 1, ..., lie before the end; at least 1, however short
    the video.

    >>> num_ticks(2.0, 4.0), num_ticks(0.04, 4.0)
    (8, 1)
    """
    return max(1, math.ceil((duration - _SAME) * rate - 0.5))


def frames_at_rate(
    path: str | os.PathLike[str], rate: float, *, size: FrameSize | tuple[int, int]
) -> FrameWalk:
    """Walk a video once and yield the frame shown at (k + 0.5) / rate seconds, k = 0, 1, ... before its end.

    There is at least one frame. Timestamps decide, so the frame rate may vary; a missing timestamp counts as
    one average frame after the one before; a clock that starts again in the middle of the file goes on.
    A broken tail, or packets broken in between, give the frames that do decode.

    Args:
        rate: frames a second.
        size: a `FrameSize`, or (width, height) to squeeze to.

    Returns:
        An iterator of (H, W, 3) uint8 RGB arrays, not to be written to (a repeated frame is the same array);
        its `duration` is the decoded video's in seconds once it is exhausted.

    Raises:
        VideoError: not a regular file, not a video, or no frame decodes (at the first frame).
        ConfigError: the rate is not a positive number, or the size is empty.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"A rate of {rate} frames a second is no rate, expected a number above 0.")
    return FrameWalk(Path(path), rate, size if isinstance(size, FrameSize) else FrameSize(*size))


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """What the file says of its video; decodes one frame.

    Raises:
        VideoError: as `frames_at_rate`.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream), None)
        if first is None:
            raise VideoError(
                f"{path}: no frame of its video can be decoded. Is the file damaged, or cut short?"
            )
        fps = _fps(stream)
        duration = _stated_duration(container, stream) or _measured_duration(container, stream, first)
        transposed, flip_x, flip_y = _orientation(first)
        width, height = (first.height, first.width) if transposed else (first.width, first.height)
        # A quarter turn counterclockwise is a transposition, then a flip of the rows.
        rotation = (90 if flip_y else 270) if transposed else (180 if flip_x and flip_y else 0)
        return VideoInfo(duration or 1 / fps, width, height, fps, rotation)


def thumbnails(path: str | os.PathLike[str], times: Sequence[float], height: int) -> list[np.ndarray]:
    """Small pictures of the frames nearest to the given seconds, found by seeking.

    Args:
        times: seconds, in any order; before the start gives the first frame, past the end the last.
        height: of the pictures in pixels; their width follows the video's shape.

    Returns:
        One (height, W, 3) uint8 RGB array a time, in the order asked for.

    Raises:
        VideoError: as `frames_at_rate`.
        QueryError: a time is not finite, or the height is not positive.
    """
    path = Path(path)
    if height < 1 or not all(math.isfinite(time) for time in times):
        raise QueryError(
            f"{path}: thumbnails at {list(times)} s and {height} pixels high were asked for, expected finite "
            "ones."
        )
    pictures: dict[float, np.ndarray] = {}
    with _opened(path) as (container, stream):
        cursor = _Cursor(container, stream)
        for time in sorted(set(times)):
            frame = cursor.nearest(time)
            if frame is None:
                raise VideoError(
                    f"{path}: no frame of its video can be decoded. Is the file damaged, or cut short?"
                )
            pictures[time] = _image(frame, _thumbnail_size(frame, stream, height))
    return [pictures[time] for time in times]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its video stream, ready to be decoded."""
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
        try:
            container = av.open(
                file, "r", container_options={"protocol_whitelist": "none"}, metadata_errors="replace"
            )
        except (OSError, ValueError) as error:  # PyAV's errors derive from these two
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(
                f"{path}: is no video that FFmpeg can read ({reason}). Is the file complete?"
            ) from error
        with container:
            stream = _video_stream(path, container)
            small = 0 < stream.codec_context.width * stream.codec_context.height <= _SMALL
            stream.thread_type = "NONE" if small else "AUTO"
            yield container, stream


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    formats = set(container.format.name.split(","))
    if formats & _NO_VIDEO:
        raise VideoError(
            f"{path}: is no video file (FFmpeg takes it for '{container.format.name}'), expected mp4, webm, "
            "mkv, ..."
        )
    if container.format.name.endswith("_pipe"):
        raise VideoError(f"{path}: is a still picture, expected a video.")
    # The cover picture of a song is a video stream, too.
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise VideoError(f"{path}: holds no video ({kinds} only).")
    stream = streams[0]
    if stream.codec_context is None:
        raise VideoError(f"{path}: its video is coded in a way that this FFmpeg cannot decode.")
    return stream


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame that decodes. A broken packet is passed over; where the container breaks off, the video
    ends.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (OSError, ValueError):
            break
        try:
            yield from packet.decode()
        except (OSError, ValueError):
            continue
    try:
        yield from stream.codec_context.decode(None)  # what the decoder still holds
    except (OSError, ValueError):
        return


class _Clock:
    """Gives each decoded frame its time in seconds from the first one's, never decreasing."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._period = 1 / _fps(stream)
        self._stated = _stated_duration(container, stream)

    def in_order(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[float, VideoFrame]]:
        """(seconds, frame) in the order shown."""
        held: list[tuple[float, int, VideoFrame]] = []
        last = -math.inf
        zero: float | None = None
        for number, (time, frame) in enumerate(self._timed(frames)):
            heapq.heappush(held, (time, number, frame))
            if len(held) > _REORDER:
                time, _, frame = heapq.heappop(held)
                zero = time if zero is None else zero
                last = max(last, time - zero)
                yield last, frame
        while held:
            time, _, frame = heapq.heappop(held)
            zero = time if zero is None else zero
            last = max(last, time - zero)
            yield last, frame

    def shown_for(self, frame: VideoFrame) -> float:
        """Seconds that the last frame stays."""
        length = float((frame.duration or 0) * (frame.time_base or 0))
        return length if 0 < length <= _JUMP_AHEAD else self._period

    def _timed(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[float, VideoFrame]]:
        shift = 0.0
        first = latest = None
        for frame in frames:
            expected = 0.0 if latest is None else latest + self._period
            time = expected if frame.time is None else frame.time + shift
            if latest is not None and first is not None and self._is_jump(time - latest, time - first):
                shift += expected - time
                time = expected
            first = time if first is None else first
            latest = time if latest is None else max(latest, time)
            yield time, frame

    def _is_jump(self, step: float, position: float) -> bool:
        if step < -_JUMP_BACK:
            return True
        return step > _JUMP_AHEAD and (self._stated is None or position > self._stated + 1)


class _Cursor:
    """A place in a video that can be moved to any second."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._frames = _decoded(container, stream)
        self._before: tuple[float, VideoFrame] | None = None  # the last frame at or before the place
        self._after: tuple[float, VideoFrame] | None = None  # the next one, decoded already
        self._latest = 0.0
        self._zero: float | None = None
        self._advance()

    def nearest(self, time: float) -> VideoFrame | None:
        """The frame whose timestamp is nearest to `time` seconds; None if nothing decodes."""
        if self._after is not None and time > self._after[0] + _SEEK_AHEAD:
            self._seek(time)
        while self._after is not None and self._after[0] <= time:
            self._advance()
        near = [place for place in (self._before, self._after) if place is not None]
        return min(near, key=lambda place: abs(place[0] - time))[1] if near else None

    def _advance(self) -> "tuple[float, VideoFrame] | None":
        """Go on by one frame; returns the new `_after`."""
        self._before = self._after or self._before
        frame = next(self._frames, None)
        if frame is None:
            self._after = None
            return None
        raw = frame.time if frame.time is not None else self._latest + 1 / _fps(self._stream)
        self._latest = raw
        self._zero = raw if self._zero is None else self._zero
        self._after = (raw - self._zero, frame)
        return self._after

    def _seek(self, time: float) -> None:
        """Go to the last key frame before `time`; stay where the file cannot do that, and decode on."""
        resume = (self._before, self._after, self._latest)
        base = self._stream.time_base
        try:
            self._container.seek(int((time + (self._zero or 0)) / base) if base else 0, stream=self._stream)
        except (OSError, ValueError):
            return
        self._frames = _decoded(self._container, self._stream)
        self._after = None
        reached = self._advance()
        if reached is None or reached[0] > time or reached[1].pts is None:
            self._rewind(resume)

    def _rewind(
        self, resume: "tuple[tuple[float, VideoFrame] | None, tuple[float, VideoFrame] | None, float]"
    ) -> None:
        """A seek that landed too late is undone by starting from the first frame."""
        self._before, self._after, self._latest = resume
        try:
            self._container.seek(0)
        except (OSError, ValueError):
            return
        self._frames = _decoded(self._container, self._stream)
        self._after, self._latest = None, self._zero or 0.0
        self._advance()


def _fps(stream: VideoStream) -> float:
    for rate in (stream.average_rate, stream.base_rate, stream.guessed_rate):
        if rate and 0.01 < rate <= 1000:
            return float(rate)
    return 25.0


def _stated_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video as the file states them."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0:
        start = max(container.start_time or 0, 0) / av.time_base
        own = float((stream.start_time or 0) * (stream.time_base or 0))
        # The container's length counts from its earliest stream, ours from the first frame.
        return max(container.duration / av.time_base - max(own - start, 0.0), 0.0) or None
    return None


def _measured_duration(container: InputContainer, stream: VideoStream, first: VideoFrame) -> float:
    """Seconds from the first frame to the end of the last packet, for files that state no length."""
    end = first.time or 0.0
    try:
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    except (OSError, ValueError):
        pass  # a broken tail: what came before it counts
    return end - (first.time or 0.0)


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How a stored frame becomes upright: (transpose, then flip columns, then flip rows)."""
    held: Any = frame.side_data  # PyAV's stubs take it for a mapping of names
    side_data = next((data for data in held if data.type == SideDataType.DISPLAYMATRIX), None)
    if side_data is None:
        return False, False, False
    # 3 x 3 fixed-point numbers a b u, c d v, x y w: a point goes to x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), dtype=np.int32, count=5))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _image(frame: VideoFrame, size: FrameSize) -> np.ndarray:
    """The upright frame at a size, (H, W, 3) uint8."""
    transposed, flip_x, flip_y = _orientation(frame)
    stored = (frame.height, frame.width) if transposed else (frame.width, frame.height)
    width, height = _scaled(stored, size)
    across, down = (height, width) if transposed else (width, height)
    scaled = frame.reformat(across, down, "rgb24", interpolation=_INTERPOLATION, threads=1).to_ndarray()
    image = scaled.transpose(1, 0, 2) if transposed else scaled
    image = image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    top, left = (height - size.height) // 2, (width - size.width) // 2
    return np.ascontiguousarray(image[top : top + size.height, left : left + size.width])


# Without BITEXACT, the same frame may scale to other bytes on a processor with other instructions.
_INTERPOLATION = Interpolation.BICUBIC | Interpolation.BITEXACT | Interpolation.ACCURATE_RND


def _scaled(stored: tuple[int, int], size: FrameSize) -> tuple[int, int]:
    """Width and height to scale to before cutting out the middle."""
    if size.short_side is None:
        return size.width, size.height
    short = min(stored)
    width, height = (max(size.short_side, round(side * size.short_side / short)) for side in stored)
    return width, height


def _thumbnail_size(frame: VideoFrame, stream: VideoStream, height: int) -> FrameSize:
    aspect = stream.sample_aspect_ratio or 1  # pixels of old formats are not square
    wide, high = frame.width * (float(aspect) if 0.2 < aspect < 5 else 1.0), float(frame.height)
    if _orientation(frame)[0]:
        wide, high = high, wide
    return FrameSize(max(1, round(wide * height / high)), height)
