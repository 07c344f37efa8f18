"""What a search reads in Qdrant."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from .contract import Ask, Chosen, Drawn, Published, put_together
from .qdrant_query import EXACT, Formula, found_by, match
from .qdrant_server import Server

_SCORED = 30_000  # points that are scored together
_DEEPER = 4
_SHOWN = ["segment", "row", "video", "video_id", "uri", "start", "end", "tube", "hub"]


class QdrantReader:
    """One version of a collection."""

    def __init__(self, server: Server, published: Published) -> None:
        self._server, self.published = server, published
        self._places = {key: place for place, key in enumerate(published.keys)}

    def count(self, chosen: Chosen, seconds: float | None) -> int:
        """See contract.Reader."""
        return self._count(found_by(self.published, chosen), seconds)

    def _count(self, only: models.Filter, seconds: float | None) -> int:
        found = self._server.call("count", count_filter=only, exact=True, timeout=_whole(seconds))
        return int(found.count)

    def known(self, video_ids: Sequence[str]) -> set[str]:
        """See contract.Reader."""
        found = set()
        for video_id in video_ids:
            only = found_by(self.published, Chosen())
            only.must.append(match("video_id", video_id))  # type: ignore[union-attr]
            if self._server.call("count", count_filter=only, exact=True).count:
                found.add(video_id)
        return found

    def draw(
        self, ask: Ask, chosen: Chosen, limit: int, probes: int | None, seconds: float | None
    ) -> tuple[Drawn, float | None]:
        """See contract.Reader: all that may be found is scored; of very much, what is best in either
        space.
        """
        lists = None if probes is None else self._lists(ask, probes, seconds)
        only = found_by(self.published, chosen, lists)
        there = self._count(only, seconds)
        if there > _SCORED:
            # A point's h is not in its vector: more are looked at where it counts.
            ids = self._nearest(ask, only, limit * (_DEEPER if ask.score.hub else 1), seconds)
            only, there = models.Filter(must=[models.HasIdCondition(has_id=ids)]), len(ids)
        return self._drawn(self._scored(ask, only, there, limit, seconds, _SHOWN)), None

    def _lists(self, ask: Ask, probes: int, seconds: float | None) -> list[int]:
        only = models.Filter(must=[match("centre_of", self.published.generation)])
        found = self._scored(ask, only, self.published.lists, probes, seconds, ["list"])
        return [point.payload["list"] for point in found]

    def _nearest(self, ask: Ask, only: models.Filter, limit: int, seconds: float | None) -> list[Any]:
        spaces = {"contrastive": ask.contrastive, "iou": ask.iou}
        if ask.score.name in spaces:
            spaces = {ask.score.name: spaces[ask.score.name]}
        requests = [
            models.QueryRequest(
                query=vector.tolist(), using=name, filter=only, limit=limit, params=EXACT, with_payload=False
            )
            for name, vector in spaces.items()
        ]
        found = self._server.call("query_batch_points", requests=requests, timeout=_whole(seconds))
        return list(dict.fromkeys(point.id for one in found for point in one.points))

    def _scored(
        self, ask: Ask, only: models.Filter, count: int, limit: int, seconds: float | None, payload: list[str]
    ) -> list[Any]:
        """The best points of a filter, which leaves `count`."""
        if not count:
            return []
        formula = Formula(ask, only, count)
        found: list[Any] = self._server.call(
            "query_points",
            prefetch=formula.branches,
            query=formula.query,
            limit=min(count, limit),
            with_payload=payload,
            timeout=_whole(seconds),
        ).points
        return found

    def of_video(self, video_id: str) -> Drawn:
        """See contract.Reader."""
        only = found_by(self.published, Chosen())
        only.must.append(match("video_id", video_id))  # type: ignore[union-attr]
        points: list[Any] = []
        offset = None
        while True:
            found, offset = self._server.call(
                "scroll",
                scroll_filter=only,
                limit=1000,
                offset=offset,
                with_payload=_SHOWN,
                with_vectors=True,
            )
            points += found
            if offset is None:
                break
        names = ["contrastive", "iou"][: self.published.spaces]
        vectors = [np.concatenate([point.vector[name] for name in names]) for point in points]
        return self._drawn(points, np.array(vectors, dtype=np.float16))

    def _drawn(self, points: Sequence[Any], vectors: np.ndarray | None = None) -> Drawn:
        payloads = [point.payload for point in points]
        return put_together(
            segment=[self._places[one["segment"]] for one in payloads],
            row=[one["row"] for one in payloads],
            video=[one["video"] for one in payloads],
            video_id=[one["video_id"] for one in payloads],
            uri=[one.get("uri") for one in payloads],
            spans=[(one["start"], one["end"]) for one in payloads],
            tubes=[one.get("tube") for one in payloads],
            log=[getattr(point, "score", 0.0) for point in points],
            hubs=[one.get("hub", 0.0) for one in payloads],
            vectors=vectors,
        )


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds))
