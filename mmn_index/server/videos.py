"""The videos of an index as the API shows them."""

import os
from datetime import date, datetime, time
from typing import Any

import numpy as np

from ..index.segment_files import VIDEO_COLUMNS
from ..index.selection import fitting
from ..origin import path_of
from .files import number_of
from .library import Opened
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
        index=opened.name, version=opened.version, total=len(numbers), videos=[_video(row) for row in rows]
    )


def video_of(opened: Opened, video_id: str) -> VideoOut:
    """One video.

    Raises:
        RequestError: 404, the index has none of that id.
    """
    number = number_of(opened, video_id)
    return _video(opened.index.videos.take(np.array([number])).to_pylist()[0])


def _video(row: dict[str, Any]) -> VideoOut:
    uri = row["uri"]
    return VideoOut(
        video=row["video_id"],
        duration=row["duration"],
        metadata={name: _plain(value) for name, value in row.items() if name not in _OWN},
        playable=uri is not None and os.path.isfile(path_of(uri)),
    )


def _plain(value: Any) -> str | int | float | bool | None:
    """A value that JSON has."""
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
