"""One request, answered without a socket."""

import asyncio
import os
from typing import Any
from urllib.parse import unquote_to_bytes

from ..errors import ConfigError
from .app import create_app
from .settings import Settings


def get(settings: Settings, path: str) -> tuple[int, str, bytes]:
    """The status, the type and the body that a GET request is answered with; the caller is let in.

    Raises:
        ConfigError: the path does not begin with a slash.
        MmnIndexError: an index cannot be opened.
    """
    if not path.startswith("/"):
        raise ConfigError(f"--get '{path}': expected a path that begins with /, such as /v1/indexes.")
    return asyncio.run(_get(settings, path))


async def _get(settings: Settings, path: str) -> tuple[int, str, bytes]:
    app = create_app(settings)
    where, _, query = os.fsencode(path).partition(b"#")[0].partition(b"?")
    headers = [(b"host", b"localhost")]
    if settings.token is not None:
        headers.append((b"authorization", f"Bearer {settings.token}".encode()))
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote_to_bytes(where).decode(errors="replace"),
        "raw_path": where,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
        "app": app,
    }
    status, kind, body = 500, "", b""

    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:  # for whether the client has gone, which it never does
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, kind, body
        if message["type"] == "http.response.start":
            status = message["status"]
            kind = dict(message["headers"]).get(b"content-type", b"").decode()
        body += message.get("body", b"")

    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    return status, kind, body
