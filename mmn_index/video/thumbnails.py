"""Small pictures of given times of a video, found by seeking."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import QueryError
from .container import VideoFile, open_video
from .picture import FrameSize, Picture, Scaler, shown_size

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
    asked = sorted(set(times))
    found = None if _starts_again(path) else _pictures(path, asked, height, seek=True)
    # Where a file cannot be searched by time, its frames are decoded from the first one on.
    found = _pictures(path, asked, height, seek=False) if found is None else found
    assert found is not None
    return [found[time] for time in times]


def _pictures(path: Path, times: list[float], height: int, seek: bool) -> dict[float, np.ndarray] | None:
    """The pictures of ascending times; None if a seek failed."""
    pictures = {}
    with open_video(path) as video:
        cursor = _Cursor(video, height)
        for time in times:
            if seek and cursor.is_far_from(time) and not cursor.seek(time):
                return None
            pictures[time] = cursor.shown_at(time).image()
    return pictures


def _starts_again(path: Path) -> bool:
    """Whether the clock of the file starts again, so that a time cannot be found by its stamp."""
    with open_video(path) as video:
        return video.may_start_again and video.measured()[1]


class _Cursor:
    """A place in a video that can be moved on to any second."""

    def __init__(self, video: VideoFile, height: int) -> None:
        self._video = video
        self._height = height
        self._clock = video.clock(settle=Picture.image)
        self._pictures = self._clock.in_order(_frames(self._video, self._height))
        self._next = next(self._pictures, None)
        if self._next is None:
            raise video.nothing_decodes()
        self._shown = self._next[1]

    def is_far_from(self, time: float) -> bool:
        """Whether decoding on would take long to reach `time`."""
        return self._next is not None and time > self._next[0] + _SEEK_AHEAD

    def seek(self, time: float) -> bool:
        """Go to the last key frame before `time`; False if the file cannot do that."""
        if not self._video.seek(time + self._clock.zero):
            return False
        self._pictures = self._clock.in_order(_frames(self._video, self._height))
        self._next = next(self._pictures, None)
        return self._next is not None and self._next[0] <= time and self._next[1].time is not None

    def shown_at(self, time: float) -> Picture:
        """The picture shown at a time not before the one asked for last."""
        while self._next is not None and self._next[0] <= time + _SAME:
            self._shown = self._next[1]
            self._next = next(self._pictures, None)
        return self._shown


def _frames(video: VideoFile, height: int) -> Iterator[Picture]:
    """No method of the cursor, which holds it: a circle would keep the decoder and its threads."""
    scaler = Scaler()
    for frame in video.frames():
        wide, high = shown_size(frame, video.aspect)
        size = FrameSize(max(1, round(wide * height / high)), height)
        yield Picture(frame, size, video.aspect, scaler)
