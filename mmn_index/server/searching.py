"""A search request from its body to its answer."""

import asyncio
import time

from ..handoff.records import boxes_of
from ..index import MomentIndex, Restriction
from ..search import Answer, SearchOptions, search_like, search_pairs
from ..search.pairs import Pair
from .batching import Batcher, Wanted
from .library import Opened
from .problems import RequestError
from .settings import Settings
from .wire import AnswerOut, HitOut, PairOut, Part, SearchRequest, SearchResponse

_LARGE = 500  # hits that take their time to be written; other requests should not wait for it


async def answer(request: SearchRequest, opened: Opened, batcher: Batcher, settings: Settings) -> bytes:
    """What a request is answered with: a `SearchResponse` as JSON.

    Raises:
        RequestError: 422, more is asked for than the server allows; 503, too much waits.
        MmnIndexError: what the search raises.
    """
    began = time.monotonic()
    check_limits(request, settings)
    index = opened.index
    score, options = index.manifest.with_score(request.score, request.hub), _options(request, opened)
    answers: list[Answer] = []
    pairs: list[Pair] | None = None
    if request.like is not None:
        like = request.like
        answers = [
            await batcher.call(
                lambda deadline: search_like(
                    index,
                    like.video,
                    like.start,
                    like.end,
                    tube=like.tube,
                    score=request.score,
                    hub=request.hub,
                    options=options,
                    deadline=deadline,
                ),
                request.timeout,
            )
        ]
    elif request.also is not None or request.then is not None:
        both = str(request.query), str(request.also if request.then is None else request.then)
        pairs = await batcher.call(
            lambda deadline: search_pairs(
                index,
                opened.model,
                *both,
                in_order=request.then is not None,
                score=request.score,
                hub=request.hub,
                options=options,
                deadline=deadline,
            ),
            request.timeout,
        )
    else:
        answers = await batcher.search(Wanted(opened, request.sentences, request.without, score, options))

    def written() -> bytes:
        found = SearchResponse(
            index=opened.name,
            version=opened.version,
            score=score.name,
            answers=[_answer(index, one) for one in answers],
            pairs=None if pairs is None else [_pair(index, one) for one in pairs],
            milliseconds=round(1000 * (time.monotonic() - began), 2),
        )
        return found.model_dump_json(exclude_unset=True).encode()

    # The boxes of tubes are read from the disk.
    if sum(len(one.hits) for one in answers) <= _LARGE and not index.manifest.tubes:
        return written()
    return await asyncio.get_running_loop().run_in_executor(None, written)


def check_limits(request: SearchRequest, settings: Settings) -> None:
    """Refuse what would take a server for itself."""
    asked = {
        "k": (request.k, settings.max_k, "moments"),
        "queries": (len(request.sentences), settings.max_queries, "sentences"),
        "queries times k": (len(request.sentences) * request.k, settings.max_hits, "moments"),
        "the longest sentence": (
            max(map(len, request.all_sentences), default=0),
            settings.max_query_length,
            "characters",
        ),
    }
    for name, (value, most, unit) in asked.items():
        if value > most:
            raise RequestError(422, f"{name}: {value:,} {unit}, this server allows {most:,}.")


def _options(request: SearchRequest, opened: Opened) -> SearchOptions:
    where = opened.index.where(tuple(request.where)).where
    restriction = Restriction(
        None if request.videos is None else tuple(request.videos),
        tuple(request.exclude),
        where,
        request.after,
        request.before,
        request.min_length,
        request.max_length,
    )
    return SearchOptions(
        k=request.k,
        nms=request.nms,
        per_video=request.per_video,
        restriction=restriction,
        exact=request.exact,
        timeout=request.timeout,
        min_confidence=request.min_confidence,
    )


def _answer(index: MomentIndex, found: Answer) -> AnswerOut:
    return AnswerOut(
        query=found.query,
        hits=[
            HitOut(
                rank=hit.rank,
                video=hit.video_id,
                start=round(hit.start, 3),
                end=round(hit.end, 3),
                score=hit.score,
                confidence=hit.confidence,
                row=hit.row,
                **boxes_of(index, hit.row),
            )
            for hit in found.hits
        ],
        exact=found.exact,
        recall=found.recall,
        candidates=found.candidates,
        moments=found.moments,
        searched=found.searched,
        refused=found.refused,
    )


def _pair(index: MomentIndex, found: Pair) -> PairOut:
    first, second = (
        Part(start=round(start, 3), end=round(end, 3), log_score=round(log, 3), **boxes_of(index, row))
        for (start, end, log), row in zip((found.first, found.second), found.rows, strict=True)
    )
    return PairOut(
        rank=found.rank,
        video=found.video_id,
        score=found.score,
        first=first,
        second=second,
        searched=found.searched,
    )
