"""The calls of the API that give parts of videos, and hand moments on."""

import os
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.types import Receive, Scope, Send

from ..handoff.names import clip_name
from .clips import HEIGHTS, Made, Part, moment_of
from .export import attachment, export
from .files import FileAnswer
from .gone import while_there
from .library import Opened
from .live import live
from .routes import API, PART, IndexName, VideoName, problems
from .service import Served, Service
from .wire import ExportRequest

_MP4: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {}}}}
_FILES = ("text/csv", "application/json", "application/jsonl", "application/x-subrip", "text/vtt")
_PROJECTS = ("text/plain", "application/xml", "application/zip")
_EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {"description": "A file.", "content": {kind: {} for kind in (*_FILES, *_PROJECTS)}}
}
_LATEST = 1e6  # seconds
_ROWS = 1 << 62

Height = Annotated[int, Query(ge=HEIGHTS[0], le=HEIGHTS[1], description="Height in pixels, at most.")]
Start = Query(ge=0, le=_LATEST, allow_inf_nan=False, description="Seconds.", examples=[12.5])
End = Query(ge=0, le=_LATEST, allow_inf_nan=False, description="Seconds.", examples=[18.5])

clip_routes = APIRouter(prefix=API, tags=["videos"])


class _OpenFile(FileAnswer):
    """A file that is open already, whose name may be gone."""

    def __init__(self, made: Made, video: str, start: float, end: float) -> None:
        self._file = made.file
        name = clip_name(1, 1, video, start, end, ".mp4").removeprefix("1_")
        super().__init__(
            f"/dev/fd/{made.file.fileno()}",
            media_type="video/mp4",
            stat_result=os.fstat(made.file.fileno()),
            headers={
                "ETag": f'"{made.key}"',
                "Cache-Control": "private, max-age=3600",
            }
            | attachment(name, "inline"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


@clip_routes.get(
    "/videos/{video:name}/clip",
    response_class=FileAnswer,
    responses=_MP4 | PART | problems(401, 404, 422, 503),
)
async def clip(
    video: VideoName,
    start: Annotated[float, Start],
    end: Annotated[float, End],
    request: Request,
    service: Served,
    height: Height = 360,
    index: IndexName = None,
) -> Response:
    """A part of a video as an mp4 that every browser plays (H.264, AAC). Its second 0 is `start`."""
    opened = service.library.find(index)
    return await _clip(request, service, opened, Part(video, start, end, height))


@clip_routes.get(
    "/moments/{row}/clip",
    response_class=FileAnswer,
    responses=_MP4 | PART | problems(401, 404, 409, 422, 503),
)
async def moment_clip(
    row: Annotated[int, Path(ge=0, le=_ROWS, description="`row` of the hit.", examples=[1280])],
    version: Annotated[int, Query(ge=0, le=_ROWS, description="`version` of the answer.", examples=[3])],
    request: Request,
    service: Served,
    height: Height = 360,
    index: IndexName = None,
) -> Response:
    """A moment that a search found, as an mp4. Its `row` is valid for one version of the index."""
    opened = service.library.find(index)
    return await _clip(request, service, opened, Part(*moment_of(opened, row, version), height))


async def _clip(request: Request, service: Service, opened: Opened, part: Part) -> Response:
    made = await while_there(request, service.clips.clip(opened, part))
    return _OpenFile(made, part.video, part.start, part.end)


@clip_routes.get(
    "/videos/{video:name}/transcoded",
    response_class=Response,
    responses=_MP4 | problems(401, 404, 422, 503),
)
async def transcoded(
    video: VideoName,
    request: Request,
    service: Served,
    start: Annotated[float, Start] = 0.0,
    height: Height = 720,
    index: IndexName = None,
) -> Response:
    """A video from `start` on, as an mp4 that is sent while it is encoded. Its second 0 is `start`."""
    opened = service.library.find(index)
    return await while_there(
        request, live(opened, video, start, height, service.decoders, service.transcoders)
    )


@clip_routes.post(
    "/export",
    response_class=Response,
    responses=_EXPORTED | problems(400, 401, 404, 408, 413, 415, 422, 503),
)
async def exported(asked: ExportRequest, request: Request, service: Served) -> Response:
    """Moments as a file: a table, subtitles, a time line for editors, or clips.

    The header `X-Left-Out` counts moments that are not in it, because a file is gone or cannot be decoded.
    """
    opened = service.library.find(asked.index)
    making = export(asked, opened, service.settings, service.clips, service.decoders)
    return await while_there(request, making)
