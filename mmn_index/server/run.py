"""A server from its first to its last request, in one process or several."""

import errno
import logging
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ..errors import MmnIndexError, OutputError
from .app import create_app
from .connections import Config, Patient
from .metrics import SHARED
from .settings import Settings
from .workers import SILENT, Workers

_log = logging.getLogger(__name__)
_GRACE = 20  # seconds that requests have to end after the server was told to
_BACKLOG = 2048
_FILES = 256  # that a process has open beside its connections
_ADVICE = {
    errno.EADDRINUSE: "Another program uses the port: choose another one with --port (0 takes a free one).",
    errno.EACCES: "Ports below 1024 are for root: choose another one with --port.",
}


class _Server(uvicorn.Server):
    """Of uvicorn, which calls what a second Ctrl-C cuts off an error of the application."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit:
            logging.getLogger("uvicorn.error").disabled = True


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
        app = create_app(settings)  # with several workers, a mistake is found here and told once
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{listener.getsockname()[1]}"
        if settings.workers == 1:
            _allow_files(settings.max_connections)
            server = _Server(_config(app, settings))
            # Uvicorn passes the signal on once it has ended in peace; before it runs nothing has to end.
            with suppress(KeyboardInterrupt):
                started(url)
                server.run(sockets=[listener])
            return
        del app
        with tempfile.TemporaryDirectory(prefix="mmn-index-metrics-") as folder:
            os.environ[SHARED] = folder
            # The workers share the cores; torch and FAISS read this when they are imported.
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // settings.workers)))
            supervisor = Workers(_config(partial(_worker, settings), settings), [listener])
            started(url)
            supervisor.run()


def _config(app: Callable[..., object], settings: Settings) -> Config:
    config = Config(
        app,
        factory=settings.workers > 1,
        workers=settings.workers,
        http=Patient,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        timeout_worker_healthcheck=SILENT,
        h11_max_incomplete_event_size=1 << 16,
    )
    config.most = settings.max_connections
    return config


def _worker(settings: Settings) -> FastAPI:
    """The application of one of several processes."""
    _allow_files(settings.max_connections)
    try:
        return create_app(settings)
    except MmnIndexError as error:  # it could be opened when the server started, and may be again
        _log.error("a worker cannot start: %s", error)
        time.sleep(1)
        sys.exit(1)


def _allow_files(connections: int) -> None:
    """Each connection is an open file, and a video that is sent another one."""
    wanted, (soft, hard) = 2 * connections + _FILES, resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


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
        advice = _ADVICE.get(error.errno or 0, "--host takes an address of this machine, 0.0.0.0 for all.")
        raise OutputError(
            f"--host {host} --port {port}: cannot be listened on ({error.strerror}). {advice}"
        ) from error
    return listener
