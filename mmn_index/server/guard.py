"""What every request passes before it is looked at: its size, its token, and what every answer carries."""

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .metrics import Metrics
from .problems import STOPPED_FOR, STOPPING, RequestError
from .session import PATH as SESSION
from .session import has_cookie
from .settings import is_local

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Nothing of a page comes from elsewhere, nothing runs that is written inside it, and nobody frames it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# What asks whether a server is up has no token; the page asks its reader for it, and holds no data.
OPEN = ("/v1/health/live", "/v1/health/ready", SESSION, "/")
OPEN_BELOW = "/static/"
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]*))(?::\d*)?")


class _Telling:
    """The answer to one request on its way out, with the headers that all have; it is counted."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics, head: bool) -> None:
        self._scope, self._send, self._metrics, self._head = scope, send, metrics, head
        self._began, self._noted = time.monotonic(), False
        self.status = 0  # of what was sent

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name.lower() for name, _ in message.get("headers", [])}
            more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
            message["headers"] = [*message.get("headers", []), *(one for one in more if one[0] not in own)]
        elif self._head and message["type"] == "http.response.body":
            if self._noted:
                return
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.note()  # before it is sent: whoever has the answer finds it counted
        await self._send(message)

    def note(self) -> None:
        """Count it, once."""
        if not self._noted:
            self._noted = True
            path = getattr(self._scope.get("route"), "path", "other").replace(":name}", "}")
            self._metrics.requests.labels(path, self.status or 500).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - self._began)


class Guard:
    """The outermost layer of a server.

    Args:
        token: that callers send; None lets everybody in.
        only_local: answer only requests that were meant for this machine by name. A page elsewhere can make
            its own name lead to 127.0.0.1 and would read the answers (DNS rebinding).
        max_body: bytes of a request's body.
        patience: seconds that each piece of a body may take to come.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None,
        only_local: bool,
        max_body: int,
        patience: float,
        metrics: Metrics,
    ) -> None:
        self._only_local = only_local
        self._app, self._max_body, self._patience, self._metrics = app, max_body, patience, metrics
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        if head:  # the same answer without its body
            scope = {**scope, "method": "GET"}
        tell = _Telling(scope, send, self._metrics, head)
        try:
            refused = self._refused(scope)
            if refused is not None:
                await _answer(refused, tell)
            else:
                await self._app(scope, self._limited(receive), tell)
        except asyncio.CancelledError:
            if not tell.status:
                await _answer(RequestError(503, STOPPING, retry=STOPPED_FOR), tell)
            raise
        finally:
            tell.note()

    def _refused(self, scope: Scope) -> RequestError | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._only_local and not is_local(host := _host(headers.get(b"host", b""))):
            return RequestError(
                403,
                f"the request is meant for '{host[:100]}', this server answers requests to localhost alone. "
                "Start it with --token, or with --no-auth to let everybody in.",
            )
        if not self._is_let_in(scope, headers):
            return RequestError(
                401, "the header `Authorization: Bearer TOKEN` is missing, or has another token."
            )
        if b"content-length" in headers and b"transfer-encoding" in headers:
            # Servers and proxies differ in where such a request ends and the next begins.
            return RequestError(400, "Content-Length and Transfer-Encoding exclude each other.")
        coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if coding.strip().lower() not in ("", "identity"):
            return RequestError(
                415, f"Content-Encoding: {coding[:100]}, this server reads bodies that are not compressed."
            )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return RequestError(400, "Content-Length is not a number.")
        if int(length) > self._max_body:
            return self._too_large()
        return None

    def _is_let_in(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        path = scope["path"]
        if self._token is None or path in OPEN or path.startswith(OPEN_BELOW):
            return True
        scheme, _, sent = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(sent.strip(), self._token.encode()):
            return True
        return has_cookie(headers.get(b"cookie", b""), self._token)

    def _too_large(self) -> RequestError:
        return RequestError(
            413, f"the body is larger than the {self._max_body:,} bytes that this server reads."
        )

    def _limited(self, receive: Receive) -> Receive:
        """A body without a length is counted while it comes; one that does not come is not waited for."""
        seen, whole = 0, False

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:  # from here on the client can only go, which an answer may take its time to wait for
                return await receive()
            try:
                async with asyncio.timeout(self._patience):
                    message = await receive()
            except TimeoutError as error:
                waited = f"the body did not come within {self._patience:g} seconds."
                raise RequestError(408, waited) from error
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > self._max_body:
                raise self._too_large()
            return message

        return counted


def _host(header: bytes) -> str:
    """The name in a `Host` header, without the port; all of it where it is none."""
    text = header.decode("latin-1").lower()
    found = _HOST.fullmatch(text)
    return text if found is None else str(found["v6"] or found["name"])


async def _answer(problem: RequestError, send: Send) -> None:
    headers = problem.headers
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status == 415:
        headers["Accept-Encoding"] = "identity"
    if problem.status == 400:
        headers["Connection"] = "close"
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": problem.body})
