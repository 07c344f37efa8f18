"""What a caller is told when a request cannot be answered: problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"
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
    def headers(self) -> dict[str, str]:
        return {} if self.retry is None else {"Retry-After": str(self.retry)}

    def as_json(self) -> dict[str, Any]:
        """The members of the problem details; `type` is left out, which means about:blank."""
        title = "Client Closed Request" if self.status == GONE else HTTPStatus(self.status).phrase
        return {"title": title, "status": self.status, "detail": self.detail, **self.more}
