"""The page: what a browser shows at the address of a server. Its files hold no data, and need no token."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
# A browser asks each time whether a file has changed: after an update of the server no old part stays.
_FRESH = {"Cache-Control": "no-cache"}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class _Files(StaticFiles):
    def file_response(self, full_path: Any, *args: Any, **more: Any) -> Response:
        response = super().file_response(full_path, *args, **more)
        response.headers.update(_FRESH)
        # The machine's own table of types may call a module something that browsers refuse to run.
        kind = _TYPES.get(Path(full_path).suffix)
        if kind is not None and "content-type" in response.headers:
            response.headers["content-type"] = f"{kind}; charset=utf-8"
        return response


def add_page(app: FastAPI) -> None:
    """The page at `/` and its parts below `/static`."""

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html", headers=_FRESH)

    app.mount("/static", _Files(directory=STATIC))
