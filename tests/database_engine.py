"""A database as an engine of conformance.py."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import conformance
import numpy as np
import pytest
from conformance import Query
from mmn_index.index_build import push as pushing
from psycopg.sql import SQL
from qdrant_client import models

from mmn_index.databases.contract import Database
from mmn_index.databases.postgres import Postgres
from mmn_index.databases.search import Like, search_database
from mmn_index.index import MomentIndex
from mmn_index.index.selection import parse_conditions
from mmn_index.scoring import Embeddings
from mmn_index.search import Answer, SearchOptions

SMALL = 300  # moments that are scanned, where lists are tested


def make_small(monkeypatch: pytest.MonkeyPatch, *, lists: bool) -> None:
    """Fewer queries that are measured with; and lists for few moments, where they are tested."""
    monkeypatch.setattr(pushing, "_TUNING", 32 if lists else 4)
    monkeypatch.setattr(pushing, "_MEASURING", 4)
    monkeypatch.setattr(pushing, "_LEAST", SMALL // 2)
    if lists:
        for place in ("mmn_index.databases.search.SCANNED", "mmn_index.index_build.push_plan.SCANNED"):
            monkeypatch.setattr(place, SMALL)


class DatabaseEngine:
    """A database that is opened anew by a function, as others would."""

    def __init__(self, opened: Callable[[], Database], *, digits: int, approximate: bool) -> None:
        self._opened, self._database = opened, opened()
        self.digits, self.proves, self.approximate = digits, self._database.proves, approximate

    def close(self) -> None:
        self._database.close()

    def put(self, root: Path) -> None:
        self.pushed = pushing.push(MomentIndex(root), self._database, lambda *_, **__: None)

    def find(
        self,
        queries: Sequence[Query],
        options: SearchOptions,
        *,
        where: Sequence[str] = (),
        score: str | None = None,
        hub: float | None = None,
        without: Query | None = None,
    ) -> list[Answer]:
        with self._database.reading() as reader:
            about = reader.published
        both = conformance.both_spaces(queries, about.spaces)
        against = None if without is None else conformance.both_spaces([without], about.spaces)
        found = search_database(
            self._database,
            [("", Embeddings(*(x[n] for x in both))) for n in range(len(queries))],
            options,
            conditions=parse_conditions(where, about.arrow),
            score=score,
            hub=hub,
            against=None if against is None else Embeddings(*(x[0] for x in against)),
        )
        assert all(uri == f"/films/{hit.video_id}.mp4" for one in found for hit, uri in _hits(one))
        return [one.answer for one in found]

    def like(self, video_id: str, start: float, end: float, options: SearchOptions) -> Answer:
        return search_database(self._database, Like(video_id, start, end), options)[0].answer

    @contextmanager
    def reading(self, queries: Sequence[Query]) -> Iterator[Callable[[], list[Answer]]]:
        other = DatabaseEngine(self._opened, digits=self.digits, approximate=self.approximate)
        try:
            yield lambda: other.find(queries, SearchOptions())
        finally:
            other.close()


def _hits(found: Any) -> Any:
    return zip(found.answer.hits, found.uris, strict=True)


def content(database: Database) -> dict[tuple[str, int], bytes]:
    """Everything that can be found, by segment and row: vectors, times and h of every moment, once each."""
    found: dict[tuple[str, int], bytes] = {}
    with database.reading() as reader:
        about = reader.published
        for name in _all_videos(reader):
            drawn = reader.of_video(name)
            assert drawn.vectors is not None
            for n, (segment, row) in enumerate(zip(drawn.segment.tolist(), drawn.row.tolist(), strict=True)):
                key = about.segments[segment].id, row
                assert key not in found, f"{key} is there twice"
                found[key] = b"".join(
                    x.tobytes() for x in (drawn.vectors[n], drawn.spans[n], np.float32(drawn.hubs[n]))
                )
        assert len(found) == about.moments
    return found


def _all_videos(reader: Any) -> list[str]:
    wanted = [f"v{number}" for number in range(conformance.VIDEOS)] + ["new"]
    return [name for name in wanted if name in reader.known(wanted)]


def in_index(root: Path) -> dict[tuple[str, int], bytes]:
    """The same of an index on disk."""
    index, found = MomentIndex(root), {}
    for segment, first in zip(index.segments, index.rows.first, strict=False):
        rows = np.flatnonzero(segment.moments_of(segment.live))
        vectors, spans = index.vectors(rows + first).numpy(), index.spans(rows + first)
        hubs = index.hubs(rows + first).numpy()
        for n, row in enumerate(rows.tolist()):
            found[segment.entry.id, row] = b"".join(x.tobytes() for x in (vectors[n], spans[n], hubs[n]))
    return found


def left_behind(database: Any) -> int:
    """Rows or points that are stored and that no reader needs, once a push is complete."""
    with database.reading() as reader:
        about = reader.published
    needed = about.moments + about.lists
    if isinstance(database, Postgres):
        tables = database._names
        counted = "SELECT (SELECT count(*) FROM {}) + (SELECT count(*) FROM {})"
        found = database._connection.execute(SQL(counted).format(tables.moments, tables.lists)).fetchone()
        stray = "SELECT count(*) FROM {} WHERE segment <> ALL(%s)"
        more = database._connection.execute(SQL(stray).format(tables.videos), [about.keys]).fetchone()
        return int(found[0]) + int(more[0]) - needed
    everything = models.Filter(must=[])
    return int(database._server.call("count", count_filter=everything, exact=True).count) - needed - 1
