"""Seconds of film: how long videos are before they are decoded, what their features will weigh, and how far
an extraction is.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import VideoError
from ..video.decode import stated_length

Report = Callable[[float, float, str], None]

_BYTES = 4  # of a number of a snippet


@dataclass(frozen=True)
class Estimate:
    """What describing videos will come to.

    Attributes:
        seconds: of film, in all.
        size: bytes of features in the finished file. While it is put together they are on the disk twice.
    """

    seconds: float
    size: int


def estimate(videos: Mapping[str, Path], *, rate: float, dim: int, patience: float = math.inf) -> Estimate:
    """What describing videos will come to, without decoding them.

    Args:
        videos: files by id.
        rate: snippets a second.
        dim: width of a snippet.
        patience: see `lengths`.
    """
    seconds = lengths(videos, patience)
    snippets = sum(max(1, math.ceil(length * rate - 0.5)) for length in seconds.values())
    return Estimate(sum(seconds.values()), snippets * dim * _BYTES)


def lengths(videos: Mapping[str, Path], patience: float = math.inf) -> dict[str, float]:
    """Seconds of each video, as its file states or FFmpeg estimates them; 0 where it is no video.

    Args:
        patience: seconds to spend on opening files, the largest first. Those that are not opened, or do not
            say, count as long as the others a byte.
    """
    sizes = {video_id: _size(path) for video_id, path in videos.items()}
    found: dict[str, float | None] = dict.fromkeys(videos)
    begin = time.monotonic()
    for video_id in sorted(videos, key=lambda video_id: -sizes[video_id]):
        if time.monotonic() - begin > patience:
            break
        try:
            found[video_id] = stated_length(videos[video_id])
        except VideoError:
            found[video_id] = 0.0
    known = {video_id: length for video_id, length in found.items() if length}
    weight = sum(sizes[video_id] for video_id in known)
    a_byte = sum(known.values()) / weight if weight else 0.0
    return {
        video_id: sizes[video_id] * a_byte if length is None else length for video_id, length in found.items()
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class FilmProgress:
    """How far a run is, in seconds of film over all of its videos.

    Args:
        there: seconds of videos that were done before, each.
        todo: seconds of the others by their ids, as far as known; they are corrected as videos are finished.
        report: called with (seconds done, seconds in all, "2 of 12 files"), at once and after every change.
    """

    def __init__(self, there: list[float], todo: Mapping[str, float], report: Report | None) -> None:
        self._finished, self._files = len(there), len(there) + len(todo)
        self._behind = sum(there)  # seconds of finished videos
        self._ahead = dict(todo)
        self._reached: dict[str, float] = {}
        self._report = report
        self._tell()

    def reached(self, video_id: str, seconds: float) -> None:
        """A video that is being described has come this far."""
        self._reached[video_id] = seconds
        self._tell()

    def finished(self, video_id: str, seconds: float) -> None:
        """A video is done, and this long; 0 if it gave nothing."""
        self._reached.pop(video_id, None)
        self._ahead.pop(video_id)
        self._finished, self._behind = self._finished + 1, self._behind + seconds
        self._tell()

    def _tell(self) -> None:
        if self._report is None:
            return
        # A file may be longer than it states.
        ahead = sum(max(seconds, self._reached.get(name, 0.0)) for name, seconds in self._ahead.items())
        done = self._behind + sum(self._reached.values())
        self._report(done, self._behind + ahead, f"{self._finished:,} of {self._files:,} files")
