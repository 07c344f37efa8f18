"""Small pictures of given times of a video, found by seeking."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import QueryError
from .container import VideoFile, open_video
from .picture import FrameSize, Picture, shown_size

_SAME = 1e-6  # seconds; times closer than this are one time, told with different rounding
_SEEK_AHEAD = 2.0  # seconds; a thumbnail closer than this is reached faster by decoding on than by a seek


def thumbnails(path: str | os.PathLike[str], times: Sequence[float], height: int) -> list[np.ndarray]:
    """Small pictures of what is shown at the given seconds, found by seeking.

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
    with open_video(path) as video:
        cursor = _Cursor(video, height, can_seek=not _starts_again(path))
        for time in sorted(set(times)):
            pictures[time] = cursor.shown_at(time).image()
    return [pictures[time] for time in times]


def _starts_again(path: Path) -> bool:
    """Whether the clock of the file starts again, so that a time cannot be found by its stamp."""
    with open_video(path) as video:
        return video.may_start_again and video.measured()[1]


class _Cursor:
    """A place in a video that can be moved on to any second."""

    def __init__(self, video: VideoFile, height: int, can_seek: bool) -> None:
        self._video = video
        self._height = height
        self._can_seek = can_seek
        self._start()

    def shown_at(self, time: float) -> Picture:
        """The picture shown at a time not before the one asked for last."""
        if self._can_seek and self._next is not None and time > self._next[0] + _SEEK_AHEAD:
            self._seek(time)
        while self._next is not None and self._next[0] <= time + _SAME:
            self._advance()
        return self._shown

    def _start(self) -> None:
        self._clock = self._video.clock(settle=Picture.image)
        self._pictures = self._clock.in_order(self._frames())
        self._next = next(self._pictures, None)
        if self._next is None:
            raise self._video.nothing_decodes()
        self._shown = self._next[1]

    def _frames(self) -> Iterator[Picture]:
        for frame in self._video.frames():
            wide, high = shown_size(frame, self._video.aspect)
            size = FrameSize(max(1, round(wide * self._height / high)), self._height)
            yield Picture(frame, size, self._video.aspect)

    def _advance(self) -> None:
        if self._next is not None:
            self._shown = self._next[1]
            self._next = next(self._pictures, None)

    def _seek(self, time: float) -> None:
        """Go to the last key frame before `time`. Where the file cannot do that, start from the first frame
        and decode on.
        """
        if not self._video.seek(time + self._clock.zero):
            self._can_seek = False
            return
        self._pictures = self._clock.in_order(self._frames())
        self._next = next(self._pictures, None)
        if self._next is None or self._next[0] > time or self._next[1].time is None:
            self._can_seek = False
            self._video.seek(self._clock.zero)
            self._start()
