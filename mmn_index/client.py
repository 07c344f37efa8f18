"""A client of `mmn-index serve`. It needs httpx, and neither torch nor an index."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from types import TracebackType
from typing import Any, Self

import httpx

from .errors import QueryError, ServerError
from .readable import reason

__all__ = ["Client", "Found", "FoundMoment", "FoundPair", "FoundPart", "OfTube", "Response"]

_TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class OfTube:
    """The person that a moment is of, in an index of tubes; None elsewhere.

    Attributes:
        tube: its number in the video.
        frame_size: width and height in pixels.
        frame_rate: frames per second.
        first_frame: the first frame of the moment, counted from 1.
        boxes: x1, y1, x2, y2 in pixels, a box for each frame of the moment.
    """

    tube: int | None = None
    frame_size: tuple[int, int] | None = None
    frame_rate: float | None = None
    first_frame: int | None = None
    boxes: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class FoundMoment(OfTube):
    """One moment of an answer. In an index of tubes it has the attributes of `OfTube`, too.

    Attributes:
        rank: from 1.
        video: the id of its video.
        start: seconds.
        end: seconds.
        score: by which the moments are ranked; scores of different sentences cannot be compared.
        confidence: the probability that it is right, if the index is calibrated.
        row: its number in this version of the index.
    """

    rank: int
    video: str
    start: float
    end: float
    score: float
    confidence: float | None
    row: int


@dataclass(frozen=True)
class Found:
    """What was found for one sentence.

    Attributes:
        query: the sentence.
        hits: best first.
        exact: whether a scan of all moments is guaranteed to give the same list.
        recall: if not exact, the measured share of the exact top 10 that is found.
        candidates: moments whose exact score was computed.
        moments: how many could have been found.
        refused: if `min_confidence` left nothing, the highest confidence that it ruled out.
        searched: share of `moments` that was searched; below 1 if nodes of a cluster are lost.
    """

    query: str
    hits: tuple[FoundMoment, ...]
    exact: bool
    recall: float | None
    candidates: int
    moments: int
    refused: float | None
    searched: float = 1.0


@dataclass(frozen=True)
class FoundPart(OfTube):
    """One moment of a pair. In an index of tubes it has the attributes of `OfTube`, too.

    Attributes:
        start: seconds.
        end: seconds.
        log_score: logarithmic score.
    """

    start: float
    end: float
    log_score: float


@dataclass(frozen=True)
class FoundPair:
    """Two moments of one video.

    Attributes:
        rank: from 1.
        video: the id of the video.
        score: the sum of both logarithmic scores.
        first: the moment of the first sentence.
        second: the moment of the second sentence.
        searched: share of the moments that was searched, as in `Found`.
    """

    rank: int
    video: str
    score: float
    first: FoundPart
    second: FoundPart
    searched: float = 1.0


@dataclass(frozen=True)
class Response:
    """All answers to one request, from one version of the index.

    Attributes:
        index: the name of the index.
        version: of the index.
        score: the name of the score that ranked the moments.
        answers: one per sentence.
        pairs: given if `and` or `then` was asked for.
        milliseconds: from the arrival of the request to its answer.
    """

    index: str
    version: int
    score: str
    answers: tuple[Found, ...]
    pairs: tuple[FoundPair, ...] | None
    milliseconds: float


class Client:
    """A connection to a server, to be used in a `with` block or closed.

    Args:
        url: of the server, such as http://localhost:8000.
        token: what the server was started with.
        timeout: seconds that an answer may take.
        transport: how requests are sent; tests give another one.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = _TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._url = url.rstrip("/")
        try:
            self._http = httpx.Client(
                base_url=self._url, headers=headers, timeout=timeout, transport=transport
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ServerError(
                f"{url}: is no address of a server ({error}); expected one such as http://localhost:8000."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def search(self, query: str | Sequence[str] | None = None, **options: Any) -> Response:
        """The moments that one sentence describes, or several.

        Args:
            options: the members of a search request, such as `k=5`; `without`, `also` and `then` for a second
                sentence, `like={"video": "porch", "start": 12.0, "end": 18.5}` in place of the query.

        Raises:
            QueryError: the server refuses the request.
            ServerError: there is no answer, or another server answers.
        """
        names = {"without": "not", "also": "and"}
        body = {names.get(name, name): value for name, value in options.items() if value is not None}
        if isinstance(query, str):
            body["query"] = query
        elif query is not None:
            body["queries"] = list(query)
        return _response(self._call("POST", "/v1/search", json=body))

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON of any other call, such as `get("/v1/videos", count=10)`.

        Raises:
            QueryError, ServerError: as `search`.
        """
        return self._call("GET", path, params=parameters)

    def _call(self, method: str, path: str, **content: Any) -> Any:
        try:
            answer = self._http.request(method, path, **content)
        except httpx.TimeoutException as error:
            raise ServerError(
                f"{self._url}: no answer within {self._http.timeout.read:g} seconds."
            ) from error
        except httpx.HTTPError as error:
            raise ServerError(
                f"{self._url}: cannot be reached ({error}). Is `mmn-index serve` running there?"
            ) from error
        try:
            body = answer.json()
        except ValueError as error:
            raise ServerError(f"{self._url}: answers with {answer.status_code}, and not in JSON.") from error
        if answer.is_success:
            return body
        said = body.get("detail", "no more is said") if isinstance(body, dict) else "no more is said"
        if 400 <= answer.status_code < 500 and answer.status_code not in (401, 403):
            raise QueryError(f"{self._url}: {said}")
        again = answer.headers.get("Retry-After")
        hint = f" Try again in {again} s." if again else ""
        raise ServerError(f"{self._url}: {answer.status_code}: {said}{hint}")


def _response(body: dict[str, Any]) -> Response:
    """Members that this client does not know are left out."""

    def of(kind: Any, given: dict[str, Any], **changed: Any) -> Any:
        left = [one for one in fields(kind) if one.name not in changed]
        needed = [one.name for one in left if one.default is MISSING or one.name in given]
        return kind(**{name: _fixed(given[name]) for name in needed}, **changed)

    try:
        answers = tuple(
            of(Found, one, hits=tuple(of(FoundMoment, hit) for hit in one["hits"])) for one in body["answers"]
        )
        pairs = body["pairs"]
        if pairs is not None:
            pairs = tuple(
                of(FoundPair, one, first=of(FoundPart, one["first"]), second=of(FoundPart, one["second"]))
                for one in pairs
            )
        found: Response = of(Response, body, answers=answers, pairs=pairs)
    except (KeyError, TypeError) as error:
        raise ServerError(f"the answer is not that of `mmn-index serve` ({reason(error)}).") from error
    return found


def _fixed(value: Any) -> Any:
    return tuple(map(_fixed, value)) if isinstance(value, list) else value
