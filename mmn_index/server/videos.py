"""The videos of an index as the API shows them."""

import os
from datetime import date, datetime, time
from typing import Any

import numpy as np

from ..index.segment_files import VIDEO_COLUMNS
from ..index.selection import fitting
from ..origin import path_of
from ..video.browser import Playback, playback
from ..video.opening import checked
from .files import UNSERVED, file_at, file_of, number_of
from .library import Opened
from .pool import Pool, Watch
from .problems import RequestError
from .wire import VideoOut, VideosOut

_OWN = frozenset(VIDEO_COLUMNS.names)  # columns of every index; the others are metadata


def videos_of(opened: Opened, where: list[str], first: int, count: int) -> VideosOut:
    """A page of the videos that some conditions leave.

    Raises:
        QueryError: a condition that does not fit the columns.
    """
    index = opened.index
    condition, chosen = index.where(tuple(where)).where, index.live
    if condition is not None:
        chosen = chosen & fitting(index.videos, index.columns, condition)
    numbers = np.flatnonzero(chosen)
    shown = numbers[first : first + count]
    rows = index.videos.take(shown).to_pylist()
    return VideosOut(
        index=opened.name,
        version=opened.version,
        total=len(numbers),
        videos=[_video(row, _playable(row["uri"])) for row in rows],
    )


async def video_of(opened: Opened, video_id: str, looks: Pool) -> VideoOut:
    """One video, and how a browser plays it.

    Raises:
        RequestError: 404, the index has none of that id.
    """
    number = number_of(opened, video_id)
    row = opened.index.videos.take(np.array([number])).to_pylist()[0]

    def look(watch: Watch) -> tuple[bool, Playback]:
        with checked(watch.check):
            return _playable(row["uri"]), _playback(opened, video_id)

    try:
        playable, how = await looks.run(look)
    except RequestError:  # too much waits, or the file takes too long: the rest can be said
        return _video(row, row["uri"] is not None)
    return _video(row, playable).model_copy(update={"playback": how.way, "reason": how.reason})


def _playback(opened: Opened, video_id: str) -> Playback:
    try:
        return playback(file_of(opened, video_id))
    except RequestError:
        return Playback("none", f"The file {UNSERVED}")


def _playable(uri: str | None) -> bool:
    if not uri:
        return False
    path = path_of(uri)  # a page lists a thousand: only links are followed step by step
    return os.path.isfile(path) and (not os.path.islink(path) or file_at(uri) is not None)


def _video(row: dict[str, Any], playable: bool) -> VideoOut:
    return VideoOut(
        video=row["video_id"],
        duration=row["duration"],
        metadata={name: _plain(value) for name, value in row.items() if name not in _OWN},
        playable=playable,
    )


def _plain(value: Any) -> str | int | float | bool | None:
    """A value that JSON has."""
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
