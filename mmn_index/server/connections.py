"""Connections of clients that are slow, or too many."""

import asyncio

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .problems import RETRY, RequestError

HEAD_WAIT = 15.0  # seconds that the head of a request may take to come, from its connection or first byte


class Config(uvicorn.Config):
    """What uvicorn is told.

    Attributes:
        most: connections at the same time; the next one is answered with 503 and closed.
    """

    most = 1000


class Patient(H11Protocol):
    """HTTP/1.1 of uvicorn, which waits for the head of a request for ever, with an end to its patience."""

    config: Config

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head: asyncio.TimerHandle | None = None
        if len(self.connections) > self.config.most:
            said = f"{self.config.most:,} connections are open already, which is what this server allows."
            self._turn_away(RequestError(503, said, retry=RETRY))
        else:
            self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._wait_for_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_head(again=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _should_upgrade(self) -> bool:
        """Nothing here speaks WebSocket; uvicorn would log how to install it."""
        return False

    def send_400_response(self, msg: str) -> None:
        """What arrives is not HTTP; uvicorn says so in plain text, also into an answer that is on its way."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._turn_away(RequestError(400, "what was sent is not HTTP/1.1."))
        else:
            self.transport.close()

    def _wait_for_head(self, *, again: bool = False) -> None:
        """Waits while a head is on its way; between two requests, the time for kept connections runs."""
        coming = self.conn.their_state is h11.IDLE and not (again and not self.conn.trailing_data[0])
        if not coming:
            self._stop_waiting()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_WAIT, self._lost_patience)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _lost_patience(self) -> None:
        self._head = None
        self._turn_away(
            RequestError(408, f"the head of the request did not come within {HEAD_WAIT:g} seconds.")
        )

    def _turn_away(self, problem: RequestError) -> None:
        """An answer without a request."""
        headers = {**problem.headers, "Connection": "close"}
        lines = [
            f"HTTP/1.1 {problem.status} {problem.title}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + problem.body)
        self.transport.close()
