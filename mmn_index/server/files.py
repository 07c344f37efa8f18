"""Which file a video is served from: one that the index names, and no other."""

import os
import stat
from pathlib import Path

from ..errors import QueryError
from ..origin import path_of
from .library import Opened
from .problems import RequestError

# What browsers are told a file is. Anything else is a download.
_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".ts": "video/mp2t",
}


def number_of(opened: Opened, video_id: str) -> int:
    """The number of a video.

    Raises:
        RequestError: 404, the index has none of that id.
    """
    try:
        return opened.index.number_of(video_id)
    except QueryError as error:
        raise RequestError(404, str(error)) from error


def file_of(opened: Opened, video_id: str) -> Path:
    """The file of a video, without links.

    An index may be older than its videos: what lies at a path by now need not be what was described. A link
    that leads out of the video's folder is not followed, so that nobody who may write there makes other files
    of the machine readable.

    Raises:
        RequestError: 404, the index has no such video, does not know its file, or the file is gone.
    """
    uri = opened.index.video(number_of(opened, video_id)).uri
    if not uri:
        raise RequestError(404, f"the index does not say which file '{video_id}' is.")
    path = path_of(uri).absolute()
    try:
        real = path.resolve(strict=True)
        regular = stat.S_ISREG(os.stat(real).st_mode)
        inside = real.is_relative_to(path.parent.resolve(strict=True))
    except (OSError, RuntimeError, ValueError):
        regular = inside = False
    if not (regular and inside):
        raise RequestError(404, f"the file of '{video_id}' is not there any more.")
    return real


def media_type(path: Path) -> str:
    """What a file is, by its suffix."""
    return _TYPES.get(path.suffix.lower(), "application/octet-stream")
