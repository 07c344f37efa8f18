"""The processes of a server that has several: each is replaced if it dies or hangs, and all of them end."""

import logging
import time
from socket import socket

import uvicorn
from uvicorn.supervisors import Multiprocess

_log = logging.getLogger(__name__)
_ASK = 1.0  # seconds that a worker has to answer each time it is asked
SILENT = 60  # seconds after which one that does not answer is replaced; it may be busy, or starting
_LAST = 26.0  # seconds that workers have to end
_KILLED = 1.0  # seconds until one that was killed is gone, unless its disk hangs


class Workers(Multiprocess):
    """Of uvicorn, which hears no signal while it asks a worker that hangs, and waits for its end for ever."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._heard: dict[int | None, float] = {}  # process -> when it last answered

    def keep_subprocess_alive(self) -> None:
        """Replace what has died, or was silent for too long."""
        ended = False
        for process in self.processes:
            now = time.monotonic()
            if process.is_alive(timeout=_ASK):
                self._heard[process.pid] = now
                continue
            if now - self._heard.setdefault(process.pid, now) > SILENT:
                _log.error("a worker has not answered for %g seconds: it is replaced.", SILENT)
                process.process.kill()
                process.process.join(_KILLED)
            ended = ended or not process.process.is_alive()
        if ended:
            super().keep_subprocess_alive()

    def join_all(self) -> None:
        """Wait for the end of all; what hangs is killed."""
        until = time.monotonic() + _LAST
        for process in self.processes:
            process.process.join(max(0.0, until - time.monotonic()))
            if process.process.is_alive():
                _log.error("a worker did not end within %g seconds: it is killed.", _LAST)
                process.process.kill()
                process.process.join(_KILLED)
