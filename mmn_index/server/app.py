"""The HTTP application: its routes, its errors, and its life from the first to the last request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from .._version import __version__
from ..errors import ClusterError, ConfigError, MmnIndexError, QueryError
from .batching import Batcher
from .clip_routes import clip_routes
from .guard import Guard
from .library import Library
from .metrics import Metrics
from .page import add_page
from .problems import RETRY, RequestError
from .query_cache import QueryCache
from .routes import API, index_routes, search_routes, status_routes
from .service import Service
from .session import session_routes
from .settings import Settings

_log = logging.getLogger(__name__)
_MOST_ERRORS = 10  # of one request that are told
_MOST_NAME = 100  # characters of a name in a request that are told
_UNEXPECTED = "something went wrong here; the server's log has more."
_ABOUT = """Sentences in, moments out: start and end in seconds, across every video of an index.

What is under /v1 stays. New members may be added; none changes its meaning or goes away, so ignore those
that you do not know. Errors are problem details (RFC 9457)."""


def create_app(settings: Settings) -> FastAPI:
    """An application that serves some indexes.

    Raises:
        MmnIndexError: an index cannot be opened.
    """
    metrics = Metrics()
    library, cluster = _opened(settings)
    service = Service(settings, library, metrics)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.batcher = Batcher(
            wait=settings.batch_wait,
            most=settings.batch,
            waiting=settings.max_waiting,
            cache=QueryCache(settings.cache),
            metrics=metrics,
        )
        service.batcher.start()
        service.start()
        follow = asyncio.create_task(_follow(library, metrics, settings.refresh))
        yield
        follow.cancel()
        with suppress(asyncio.CancelledError):
            await follow
        service.stop()
        await service.batcher.stop()
        await asyncio.get_running_loop().run_in_executor(None, cluster.close)

    app = api(life)
    app.state.service = service
    add_page(app)
    _handle_errors(app, service)
    app.add_middleware(
        Guard,
        token=settings.token,
        only_local=settings.only_local,
        max_body=settings.max_body,
        patience=settings.body_wait,
        metrics=metrics,
    )
    if settings.origins:
        from fastapi.middleware.cors import CORSMiddleware

        # Around the guard: a page may read why it was refused.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Content-Disposition", "Content-Range", "Retry-After", "X-Left-Out"],
        )
    return app


def _opened(settings: Settings) -> tuple[Library, ExitStack]:
    """The indexes, and what is to be closed at the end: the searchers of a cluster, if one searches."""
    with ExitStack() as opened:
        if settings.ray is None:
            library = Library(settings.indexes, settings.device)
        else:
            from ..cluster.remote_index import RemoteIndex
            from ..cluster.searchers import Searchers

            searchers = Searchers(settings.ray, replicas=settings.replicas, device=settings.device)
            opened.callback(searchers.close)
            # The device is one of the nodes; sentences are embedded here.
            library = Library(settings.indexes, open_index=lambda root: RemoteIndex(root, searchers))
        return library, opened.pop_all()


def api(life: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    """The calls and their description, without an index to answer from."""
    app = FastAPI(
        title="mmn-index",
        version=__version__,
        description=_ABOUT,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    for router in (search_routes, clip_routes, index_routes, status_routes, session_routes):
        app.include_router(router)
    return app


async def _follow(library: Library, metrics: Metrics, pause: float) -> None:
    """Take up newer versions of the indexes as they appear."""
    loop = asyncio.get_running_loop()
    while True:
        for shelf in library.shelves.values():
            try:
                await loop.run_in_executor(None, shelf.refresh)
            except Exception:  # whatever it is, the next look may succeed, and requests are answered
                _log.exception("%s: looking for a newer version failed", shelf.name)
            metrics.version.labels(shelf.name).set(shelf.opened.version)
        await asyncio.sleep(pause)


def _handle_errors(app: FastAPI, service: Service) -> None:
    def told(problem: RequestError, headers: Mapping[str, str] | None = None) -> Response:
        return Response(problem.body, problem.status, headers={**(headers or {}), **problem.headers})

    @app.exception_handler(RequestError)
    async def problem(request: Request, error: RequestError) -> Response:
        return told(error)

    @app.exception_handler(MmnIndexError)
    async def own(request: Request, error: MmnIndexError) -> Response:
        if isinstance(error, (QueryError, ConfigError)):
            return told(RequestError(422, service.library.without_paths(str(error))))
        _log.error("%s %s: %s", request.method, request.url.path, error)
        if isinstance(error, ClusterError):
            return told(RequestError(503, service.library.without_paths(str(error)), retry=RETRY))
        return told(RequestError(500, _UNEXPECTED))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return told(_refused(request, error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return told(_invalid(error))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return told(RequestError(500, _UNEXPECTED))


def _refused(request: Request, error: HTTPException) -> RequestError:
    """What is wrong with a request that no call was asked with."""
    if isinstance(error.__cause__, RequestError):  # while the body was read
        return error.__cause__
    if error.status_code == 400:  # FastAPI read the body, and does not say what is wrong with it
        return RequestError(400, "the body is not JSON in UTF-8.")
    said = str(error.detail)
    if error.status_code == 404:
        said = f"there is nothing at this path; {API}/openapi.json lists the calls."
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        said = f"this path takes {allowed}, not {request.method}."
    return RequestError(error.status_code, said)


def _invalid(error: RequestValidationError) -> RequestError:
    """What is wrong with the members of a request."""
    found = error.errors()[:_MOST_ERRORS]
    if any(one["type"] == "json_invalid" for one in found):
        first = found[0]
        where = f"at character {first['loc'][-1]}: {first.get('ctx', {}).get('error', '')}"
        return RequestError(422, f"the body is not JSON, {where}.")
    if any(one["loc"] == ("body",) and one["type"] == "missing" for one in found):
        return RequestError(422, "the body is empty, expected JSON.")
    if found[0]["loc"] == ("body",) and found[0]["type"] == "model_attributes_type":
        if isinstance(found[0]["input"], bytes):
            return RequestError(422, "the header `Content-Type: application/json` is missing.")
        return RequestError(422, "the body is JSON, but not an object ({...}).")
    errors: list[dict[str, Any]] = [
        {"field": ".".join(str(part)[:_MOST_NAME] for part in one["loc"][1:]), "detail": one["msg"]}
        for one in found
    ]
    said = "; ".join(f"{one['field']}: {one['detail']}" if one["field"] else one["detail"] for one in errors)
    return RequestError(422, said, errors=errors)
