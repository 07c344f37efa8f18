"""A server from its first to its last request."""

import socket
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn

from ..errors import OutputError
from .app import create_app
from .settings import Settings

_GRACE = 30  # seconds that requests have to end after the server was told to
_BACKLOG = 2048


def run(settings: Settings, started: Callable[[str], None]) -> None:
    """Serve until the process is told to end; what has arrived is answered before.

    Args:
        started: is told the address once connections are accepted.

    Raises:
        OutputError: the address is in use, or is none of this machine.
        MmnIndexError: an index cannot be opened.
    """
    listener = _listen(settings.host, settings.port)
    with listener:
        app = create_app(settings)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
                h11_max_incomplete_event_size=1 << 16,
            )
        )
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        started(f"http://{host}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, before anything is loaded: an address that is taken is found at once."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with ExitStack() as opened:
            listener = opened.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            opened.pop_all()
    except OSError as error:
        raise OutputError(
            f"--host {host} --port {port}: cannot be listened on ({error.strerror}). Another program may use "
            "the port: choose another one."
        ) from error
    return listener
