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
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import ConfigError, VideoError
from .bookmark import LOOKED_BACK_AT, Bookmark, Marks
from .clock import Clock
from .container import VideoFile, open_video
from .picture import FrameSize, Picture, Scaler, orientation, shown_size
from .thumbnails import thumbnails

__all__ = ["FrameSize", "FrameWalk", "VideoInfo", "frames_at_rate", "num_ticks", "probe", "thumbnails"]

_SEEK_BEFORE = (1.0, 12.0, 60.0)  # seconds; some files seek to no key frame, and the next one comes too late
_SAME = 1e-6  # seconds; times closer than this are one time, told with different rounding


_Ticks = Iterator[tuple[int, Picture]]


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

    def __init__(
        self, path: Path, rate: float, size: FrameSize, begin: int = 0, bookmark: Bookmark | None = None
    ) -> None:
        self.duration = 0.0
        self.stated: float | None = None
        self._path, self._rate, self._size = path, rate, size
        self._marks = Marks()
        self._frames = self._walk(begin, bookmark)

    def __next__(self) -> np.ndarray:
        return next(self._frames)

    def close(self) -> None:
        """Close the file before the end is reached."""
        self._frames.close()

    def bookmark(self, tick: int) -> Bookmark | None:
        """The place of one of the last ticks whose frames came, or of the next one, for a later walk to begin
        at; None where it could not seek there.
        """
        return self._marks.at(tick)

    def _walk(self, begin: int, bookmark: Bookmark | None) -> Generator[np.ndarray]:
        if bookmark is not None and bookmark.tick == begin:
            for before in _SEEK_BEFORE:
                with open_video(self._path) as video:
                    clock = video.clock(settle=Picture.image)
                    ticks = self._ticks(video, clock, begin - len(bookmark.images))
                    if self._leads_to(bookmark, before, video, clock, ticks):
                        yield from self._images(video, clock, ticks)
                        return
        self._marks = Marks()
        with open_video(self._path) as video:
            clock = video.clock(settle=Picture.image)
            ticks = self._ticks(video, clock, 0)
            passed = begin - LOOKED_BACK_AT  # frames before are decoded, but not made images of
            for _ in islice(ticks, max(passed, 0)):
                pass
            for _ in islice(self._images(video, clock, ticks), min(begin, LOOKED_BACK_AT)):
                pass
            yield from self._images(video, clock, ticks)

    def _leads_to(
        self, bookmark: Bookmark, before: float, video: VideoFile, clock: Clock, ticks: "_Ticks"
    ) -> bool:
        """Whether a seek to some seconds before it leads to the bookmark; then all ticks before are taken."""
        if not video.seek(bookmark.begin - before, bookmark.progress):
            return False
        self._marks = Marks()
        clock.resume(bookmark.clock)
        try:
            checked = islice(self._images(video, clock, ticks), len(bookmark.images))
            found = len(list(checked)) == len(bookmark.images)
        except VideoError:  # no frame comes after the seek
            return False
        return found and self._marks.at(bookmark.tick) == bookmark

    def _images(self, video: VideoFile, clock: Clock, ticks: "_Ticks") -> Iterator[np.ndarray]:
        for tick, shown in ticks:
            image = shown.image()
            self._marks.add(tick, shown, image, video, clock)
            yield image

    def _ticks(self, video: VideoFile, clock: Clock, tick: int) -> "_Ticks":
        """Ticks from the given one on, and the picture that is shown at each."""
        shown: Picture | None = None
        self.stated = video.stated
        scaler = Scaler()
        pictures = (Picture(frame, self._size, video.aspect, scaler) for frame in video.frames())
        for time, picture in clock.in_order(pictures):
            while shown is not None and (tick + 0.5) / self._rate < time - _SAME:
                yield tick, shown
                tick += 1
            shown = picture
            self.duration = max(time, 0.0)
        if shown is None:
            raise video.nothing_decodes()
        self.duration = clock.end(self.duration, shown.length, video.end_of_decoding)
        self.stated = video.stated
        while tick < num_ticks(self.duration, self._rate):
            yield tick, shown
            tick += 1


def num_ticks(duration: float, rate: float) -> int:
    """How many of the times (k + 0.5) / rate, k = 0, 1, ..., lie before the end; at least 1, however short
    the video.

    >>> num_ticks(2.0, 4.0), num_ticks(0.04, 4.0)
    (8, 1)
    """
    return max(1, math.ceil((duration - _SAME) * rate - 0.5))


def frames_at_rate(
    path: str | os.PathLike[str],
    rate: float,
    *,
    size: FrameSize | tuple[int, int],
    begin: int = 0,
    bookmark: Bookmark | None = None,
) -> FrameWalk:
    """Walk a video once and yield the frame shown at (k + 0.5) / rate seconds, k = 0, 1, ... before its end.

    There is at least one frame. Timestamps decide, so the frame rate may vary; a missing timestamp counts as
    one average frame after the one before; a clock that starts again in the middle of the file goes on.
    A broken tail, or packets broken in between, give the frames that do decode.

    Args:
        rate: frames a second.
        size: a `FrameSize`, or (width, height) to squeeze to.
        begin: the first k whose frame is given. Frames are the same as without it.
        bookmark: the place of `begin` by an earlier walk over this file, at this rate and size. Where a seek
            leads there (`Bookmark` says how that is known), what lies before is not decoded. Otherwise, and
            without a bookmark, it is decoded, but frames are not scaled.

    Returns:
        An iterator of (H, W, 3) uint8 RGB arrays, not to be written to (a repeated frame is the same array);
        its `duration` is the decoded video's in seconds once it is exhausted.

    Raises:
        VideoError: not a regular file, not a video, or no frame decodes (at the first frame).
        ConfigError: the rate is not a positive number, the size is empty, or `begin` is negative.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"A rate of {rate} frames a second is no rate, expected a number above 0.")
    if begin < 0:
        raise ConfigError(f"Frame {begin} of a video was asked for, expected 0 or more.")
    frame_size = size if isinstance(size, FrameSize) else FrameSize(*size)
    return FrameWalk(Path(path), rate, frame_size, begin, bookmark)


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


def stated_length(path: str | os.PathLike[str]) -> float | None:
    """Seconds of a video as its header states them, or as FFmpeg estimates them; decodes nothing. None where
    there is neither.

    Raises:
        VideoError: not a regular file, or not a video.
    """
    with open_video(Path(path)) as video:
        return video.stated or video.estimated


def _duration(path: Path) -> float:
    with open_video(path) as video:
        if video.of_video and video.stated:
            return video.stated
        end, _ = video.measured()
        return video.stated or end
