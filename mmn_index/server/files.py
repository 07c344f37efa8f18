"""Which file a video is served from: one that the index names, and no other."""

import os
import re
import stat
from pathlib import Path

from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from ..errors import QueryError
from ..origin import MOVED, path_of
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

UNSERVED = f"is not there any more, or is a link out of its folder. {MOVED}"
_MOST_RANGES = 100  # of one request; players ask for one
_RANGE = re.compile(rb"\s*(?:(\d+)\s*-\s*(\d*)|-\s*\d+)\s*")


class FileAnswer(FileResponse):
    """A file, or the parts of it that `Range` asks for; a range that makes no sense is as none (RFC 9110)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] != b"range" or _is_range(pair[1])]
        replaced = False

        async def tell(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 416:
                replaced = True
                told = next(value for name, value in message["headers"] if name == b"content-range")
                size = told.rpartition(b"/")[2]  # before it, a version of Starlette names no unit
                problem = RequestError(416, f"no such part, there are {size.decode()} bytes.")
                pairs = [(k.lower().encode(), v.encode()) for k, v in problem.headers.items()]
                await send({**message, "headers": [*pairs, (b"content-range", b"bytes */" + size)]})
                await send({"type": "http.response.body", "body": problem.body})
            elif not replaced:
                await send(message)

        await super().__call__({**scope, "headers": headers}, receive, tell)


def _is_range(header: bytes) -> bool:
    unit, _, ranges = header.partition(b"=")
    found = [_RANGE.fullmatch(one) for one in ranges.split(b",")]
    return (
        unit.strip().lower() == b"bytes"
        and len(found) <= _MOST_RANGES
        and all(one is not None and (not one[2] or int(one[1]) <= int(one[2])) for one in found)
    )


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
    path = file_at(uri)
    if path is None:
        raise RequestError(404, f"the file of '{video_id}' {UNSERVED}")
    return path


def file_at(uri: str) -> Path | None:
    """The file that may be served for what an index names, without links; None where there is none."""
    path = path_of(uri).absolute()
    try:
        real = path.resolve(strict=True)
        regular = stat.S_ISREG(os.stat(real).st_mode)
        return real if regular and real.is_relative_to(path.parent.resolve(strict=True)) else None
    except (OSError, RuntimeError, ValueError):
        return None


def media_type(path: Path) -> str:
    """What a file is, by its suffix."""
    return _TYPES.get(path.suffix.lower(), "application/octet-stream")
