"""Frames of video files, on the clock of players.

Second 0 is where the file begins for a player, with whichever stream is first: if sound comes first, the
first picture has a later time (`clock` has the rules). A frame is shown from its own time until the next
frame's: the frame at time t is the last one whose time is <= t. Before the first frame there is nothing to
show, and the first frame is given. The video ends when its last frame has been shown for as long as the file
says (else for one average frame). Frames come upright and in the shape that players show (`picture`).
"""

import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ConfigError
from .container import open_video
from .picture import FrameSize, Picture, orientation, shown_size
from .thumbnails import thumbnails

__all__ = ["FrameSize", "FrameWalk", "VideoInfo", "frames_at_rate", "num_ticks", "probe", "thumbnails"]

_SAME = 1e-6  # seconds; times closer than this are one time, told with different rounding


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
        shown: Picture | None = None
        with open_video(path) as video:
            self.stated = video.stated
            clock = video.clock(settle=Picture.image)
            pictures = (Picture(frame, size, video.aspect) for frame in video.frames())
            for time, picture in clock.in_order(pictures):
                while shown is not None and (tick + 0.5) / rate < time - _SAME:
                    yield shown.image()
                    tick += 1
                shown = picture
                self.duration = max(time, 0.0)
            if shown is None:
                raise video.nothing_decodes()
            self.duration = clock.end(self.duration, shown.length, video.end_of_decoding)
            self.stated = video.stated
            while tick < num_ticks(self.duration, rate):
                yield shown.image()
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
    with open_video(path) as video:
        first = next(video.frames(), None)
        if first is None:
            raise video.nothing_decodes()
        transposed, flip_x, flip_y = orientation(first)
        # A quarter turn counterclockwise is a transposition, then a flip of the rows.
        rotation = (90 if flip_y else 270) if transposed else (180 if flip_x and flip_y else 0)
        width, height = shown_size(first, video.aspect)
    return VideoInfo(_duration(path), round(width), round(height), video.fps, rotation)


def _duration(path: Path) -> float:
    with open_video(path) as video:
        if video.of_video and video.stated:
            return video.stated
        end, _ = video.measured()
        return video.stated or end
