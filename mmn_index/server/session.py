"""A session of the page: a cookie in place of the token, because `<video>` and `<img>` send no header."""

import hashlib
import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from .problems import RequestError
from .routes import API, problems
from .service import Served

PATH = f"{API}/session"
_YEAR = 365 * 24 * 3600

session_routes = APIRouter(prefix=API, tags=["status"])


class SessionRequest(BaseModel):
    """The token that the server was started with."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"token": "TOKEN"}]})

    token: Annotated[str, Field(max_length=4096)]


def cookie_of(token: str) -> tuple[str, str]:
    """The name and the value of the cookie that lets in who knows a token.

    Neither tells the token. The name differs from token to token: browsers send cookies to all ports of a
    host, and two servers of one machine should not end each other's sessions.
    """
    name, value = (
        hmac.new(token.encode(), purpose, hashlib.sha256).hexdigest()
        for purpose in (b"mmn-index cookie name", b"mmn-index session")
    )
    return f"mmn_index_{name[:8]}", value


def has_cookie(header: bytes, token: str) -> bool:
    """Whether a request's `Cookie` header holds the cookie of a token."""
    name, value = (part.encode() for part in cookie_of(token))
    sent = [pair.strip().partition(b"=") for pair in header.split(b";")]
    return any(key == name and hmac.compare_digest(given, value) for key, _, given in sent)


def _where(request: Request) -> dict[str, Any]:
    secure = request.url.scheme == "https"
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": secure}


@session_routes.post(
    "/session", status_code=204, response_class=Response, responses=problems(400, 401, 408, 413, 415, 422)
)
def begin(asked: SessionRequest, request: Request, service: Served) -> Response:
    """Exchange the token for a cookie, which the browser then sends with every request."""
    answer, token = Response(status_code=204), service.settings.token
    if token is not None:
        if not hmac.compare_digest(asked.token.encode(errors="replace"), token.encode()):
            raise RequestError(401, "that is not the token of this server.")
        name, value = cookie_of(token)
        answer.set_cookie(name, value, max_age=_YEAR, **_where(request))
    return answer


@session_routes.delete("/session", status_code=204, response_class=Response)
def end(request: Request, service: Served) -> Response:
    """Delete the cookie."""
    answer, token = Response(status_code=204), service.settings.token
    if token is not None:
        answer.delete_cookie(cookie_of(token)[0], **_where(request))
    return answer
