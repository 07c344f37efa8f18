"""What a caller is told when a request cannot be answered: problem details (RFC 9457)."""

import json
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"
STOPPING, STOPPED_FOR = "the server is being stopped.", 5  # seconds after which it may be there again
RETRY = 1  # seconds after which a server that is too busy may be asked again
GONE = 499  # what servers note where nobody is there to be told


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        status: of the HTTP response.
        detail: where, what is, what was expected.
        retry: seconds after which the same request may succeed; None where it will not.
        more: further members of the problem details, such as `errors` of single fields.
    """

    def __init__(self, status: int, detail: str, retry: int | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry, self.more = status, detail, retry, more

    @property
    def title(self) -> str:
        """Of its status."""
        return "Client Closed Request" if self.status == GONE else HTTPStatus(self.status).phrase

    @property
    def headers(self) -> dict[str, str]:
        """Of an answer that tells it."""
        again = {} if self.retry is None else {"Retry-After": str(self.retry)}
        return {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(self.body)), **again}

    @property
    def body(self) -> bytes:
        """The problem details as JSON; `type` is left out, which means about:blank."""
        told = {"title": self.title, "status": self.status, "detail": self.detail, **self.more}
        return json.dumps(told, ensure_ascii=False).encode(errors="replace")
