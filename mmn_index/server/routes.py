"""The calls of the API, version 1."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.convertors import PathConvertor, register_url_convertor

from .. import _version
from ..text_encoder import check_sentences
from .files import FileAnswer, file_of, media_type, number_of
from .gone import while_there
from .maps import boxes_between, maps_of
from .pictures import HEIGHTS
from .problems import MEDIA_TYPE
from .searching import answer, check_limits
from .service import Served
from .videos import video_of, videos_of
from .wire import (
    BoxesOut,
    HealthOut,
    IndexOut,
    MapsOut,
    ProblemOut,
    SearchRequest,
    SearchResponse,
    VersionOut,
    VideoOut,
    VideosOut,
)


class _Name(PathConvertor):
    """A video's name in a path: what names of files hold, so line breaks, too."""

    regex = r"[\s\S]*"


register_url_convertor("name", _Name())  # before the routes below are read

VideoName = Annotated[str, Path(description="Id of the video in the index.", examples=["porch/cam1"])]
IndexName = Annotated[str | None, Query(description="Name of the index, if the server has several.")]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Which errors a call is documented to answer with."""
    content = {MEDIA_TYPE: {"schema": ProblemOut.model_json_schema()}}
    said = {
        400: "The body is not JSON",
        401: "The token is missing or wrong",
        403: "The request names another host",
        404: "No such index, video or file",
        408: "The body arrives too slowly",
        409: "The index has changed since the search",
        413: "The body is too large",
        415: "The body is compressed",
        422: "A value cannot be used",
        503: "The server is busy; try again",
    }
    both = (*statuses, 403) if 401 in statuses else statuses
    return {status: {"description": said[status], "content": content} for status in both}


API = "/v1"
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
PART: dict[int | str, dict[str, Any]] = {
    206: {"description": "A part of the file"},
    416: {
        "description": "The file has no such part",
        "content": {MEDIA_TYPE: {"schema": ProblemOut.model_json_schema()}},
    },
}

search_routes, index_routes, status_routes = (
    APIRouter(prefix=API, tags=["search"]),
    APIRouter(prefix=API, tags=["videos"]),
    APIRouter(prefix=API, tags=["status"]),
)


@search_routes.post(
    "/search", response_model=SearchResponse, responses=problems(400, 401, 404, 408, 413, 415, 422, 503)
)
async def search(asked: SearchRequest, service: Served) -> Response:
    """Find the moments that sentences describe."""
    check_sentences(asked.all_sentences)
    opened = service.library.find(asked.index)
    found = await answer(asked, opened, service.batcher, service.settings)
    return Response(found, media_type="application/json")


@index_routes.get("/indexes", responses=problems(401))
def indexes(service: Served) -> list[IndexOut]:
    """The indexes of this server."""
    return [
        IndexOut(
            name=name,
            version=shelf.opened.version,
            videos=len(shelf.opened.index.video_ids),
            moments=shelf.opened.index.num_moments,
            score=shelf.opened.index.manifest.score.name,
            calibrated=shelf.opened.index.manifest.calibration is not None,
            tubes=shelf.opened.index.manifest.tubes,
            columns=list(shelf.opened.index.columns.names),
            max_k=service.settings.max_k,
        )
        for name, shelf in service.library.shelves.items()
    ]


@index_routes.get("/videos", responses=problems(401, 404, 422))
def videos(
    service: Served,
    index: IndexName = None,
    where: Annotated[
        list[str] | None,
        Query(description="Conditions on metadata. All have to hold.", examples=[["camera=porch"]]),
    ] = None,
    first: Annotated[int, Query(ge=0, le=1 << 40, description="How many to skip.")] = 0,
    count: Annotated[int, Query(ge=1, le=1000, description="How many to list, at most.")] = 100,
) -> VideosOut:
    """The videos of an index, page by page."""
    return videos_of(service.library.find(index), where or [], first, count)


@index_routes.get("/videos/{video:name}/moments", responses=problems(401, 404, 422, 503))
async def moments(
    video: VideoName,
    query: Annotated[
        str, Query(min_length=1, description="One sentence.", examples=["a person opens the door"])
    ],
    service: Served,
    index: IndexName = None,
    score: Annotated[str | None, Query(description="As in a search.")] = None,
    at: Annotated[
        float | None, Query(ge=0, allow_inf_nan=False, description="Only windows that contain this second.")
    ] = None,
    tube: Annotated[int | None, Query(ge=0, description="Only this tube.")] = None,
) -> MapsOut:
    """The score of a sentence for every candidate moment of a video, as 2D maps."""
    opened = service.library.find(index)
    check_sentences([query])
    check_limits(SearchRequest(query=query), service.settings)
    chosen, number = opened.index.manifest.with_score(score), number_of(opened, video)
    found: MapsOut = await service.batcher.call(
        lambda deadline: maps_of(opened, number, query, chosen, at, tube)
    )
    return found


@index_routes.get("/videos/{video:name}/boxes", responses=problems(401, 404, 422))
def boxes(
    video: VideoName,
    tube: Annotated[int, Query(ge=0, description="Number of the tube in the video.")],
    service: Served,
    index: IndexName = None,
    start: Annotated[float, Query(ge=0, le=1e9, allow_inf_nan=False, description="From this second.")] = 0.0,
    end: Annotated[float, Query(ge=0, le=1e9, allow_inf_nan=False, description="To this second.")] = 1e9,
) -> BoxesOut:
    """Where the person of a tube is, in an index of tubes."""
    opened = service.library.find(index)
    return boxes_between(opened, number_of(opened, video), tube, start, end)


@index_routes.get(
    "/videos/{video:name}/stream",
    response_class=FileAnswer,
    responses={200: {"description": "The file"}} | PART | problems(401, 404, 422),
)
def stream(video: VideoName, service: Served, index: IndexName = None) -> FileAnswer:
    """The file of a video. The header `Range` asks for a part of it."""
    path = file_of(service.library.find(index), video)
    return FileAnswer(path, media_type=media_type(path), content_disposition_type="inline")


@index_routes.get(
    "/videos/{video:name}/thumbnail",
    response_class=Response,
    responses=_JPEG | problems(401, 404, 422, 503),
)
async def thumbnail(
    video: VideoName,
    request: Request,
    service: Served,
    t: Annotated[
        float, Query(ge=0, le=1e6, allow_inf_nan=False, description="Seconds.", examples=[12.5])
    ] = 0.0,
    height: Annotated[int, Query(ge=HEIGHTS[0], le=HEIGHTS[1], description="Height in pixels.")] = 180,
    index: IndexName = None,
) -> Response:
    """The picture of a video at a given second."""
    making = service.clips.picture(service.library.find(index), video, t, height)
    picture = await while_there(request, making)
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


@index_routes.get("/videos/{video:name}", responses=problems(401, 404, 422))
@index_routes.get("/videos/{video:name}/", include_in_schema=False)  # looked at first
async def video(video: VideoName, service: Served, index: IndexName = None) -> VideoOut:
    """One video, its metadata, and how a browser plays it.

    If the id ends like another call, as `holiday/clip` does, put a slash after it.
    """
    return await video_of(service.library.find(index), video, service.decoders)


@status_routes.get("/health/live")
async def live() -> dict[str, str]:
    """Whether the server runs. Needs no token."""
    return {"status": "live"}


@status_routes.get("/health/ready")
async def ready(service: Served) -> HealthOut:
    """Which version of each index is searched. Needs no token."""
    shelves = service.library.shelves
    said = service.library.without_paths
    trouble = {name: said(shelf.trouble) for name, shelf in shelves.items() if shelf.trouble is not None}
    return HealthOut(
        status="degraded" if trouble else "ready",
        indexes={name: shelf.opened.version for name, shelf in shelves.items()},
        trouble=trouble,
    )


@status_routes.get("/version", responses=problems(401))
async def version() -> VersionOut:
    """The version of mmn-index."""
    return VersionOut(version=_version.__version__, api="v1")


@status_routes.get("/metrics", response_class=Response, responses=_TEXT | problems(401))
async def metrics(service: Served) -> Response:
    """Metrics for Prometheus, as text."""
    return Response(service.metrics.as_text(), media_type="text/plain; version=0.0.4; charset=utf-8")
