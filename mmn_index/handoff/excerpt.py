"""A hit as it is handed on: which seconds of which file, and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import VideoError
from ..index import MomentIndex
from ..left_out import LeftOut
from ..origin import path_of
from ..readable import clock
from ..search import Answer
from ..video.media import Media, describe

_ROUNDING = 0.001  # seconds


@dataclass(frozen=True)
class Excerpt:
    """One hit of one query.

    Attributes:
        query: the sentence; for a search by example, the example.
        start, end: seconds of the video.
        number: of the query among several, from 1.
    """

    query: str
    rank: int
    video_id: str
    uri: str | None
    start: float
    end: float
    number: int = 1

    def padded(self, seconds: float, media: Media) -> "Excerpt":
        """With some seconds before and after, within its video."""
        end = min(self.end + seconds, max(media.info.duration, self.end))
        return replace(self, start=max(0.0, self.start - seconds), end=end)


@dataclass(frozen=True)
class Take:
    """An excerpt and the file that it is taken of."""

    excerpt: Excerpt
    media: Media


def excerpts(index: MomentIndex, answers: Sequence[Answer]) -> list[Excerpt]:
    """All hits, query by query and best first."""
    return [
        Excerpt(answer.query, hit.rank, hit.video_id, index.video(hit.video).uri, hit.start, hit.end, number)
        for number, answer in enumerate(answers, 1)
        for hit in answer.hits
    ]


def takes(found: Iterable[Excerpt]) -> tuple[list[Take], list[LeftOut]]:
    """The excerpts whose files can be read, and the videos whose files cannot."""
    made: list[Take] = []
    left_out: dict[str, LeftOut] = {}
    for excerpt in found:
        try:
            made.append(Take(excerpt, media_of(excerpt)))
        except VideoError as error:
            left_out.setdefault(f"{excerpt.video_id}: {error}", LeftOut(excerpt.video_id, str(error)))
    return made, list(left_out.values())


def media_of(excerpt: Excerpt) -> Media:
    """The file that a moment is taken of.

    Raises:
        VideoError: it is not known, gone, no video, or ends before the moment.
    """
    if excerpt.uri is None:
        raise VideoError(
            f"{excerpt.video_id}: the features do not say which file this video is. Those of "
            "`mmn-index extract` do."
        )
    media = describe(path_of(excerpt.uri))
    if excerpt.start >= media.info.duration - _ROUNDING:
        raise VideoError(
            f"{media.path}: ends at {clock(media.info.duration)}, before the moment at "
            f"{clock(excerpt.start)}. It has changed since it was indexed; `mmn-index update` takes its "
            "new content."
        )
    return media


def most_common(values: Iterable[Any]) -> Any:
    """The first of the most frequent values."""
    return Counter(values).most_common(1)[0][0]
