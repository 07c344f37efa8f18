"""What a search reads in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from psycopg.sql import SQL

from . import postgres_sql as statements
from .contract import Ask, Chosen, Drawn, Published, put_together


class PostgresReader:
    """One version of a collection, in one transaction."""

    def __init__(
        self, connection: "psycopg.Connection[Any]", names: statements.Names, published: Published
    ) -> None:
        self._connection, self._names, self.published = connection, names, published
        self._places = {key: place for place, key in enumerate(published.keys)}

    def count(self, chosen: Chosen, seconds: float | None) -> int:
        """See contract.Reader."""
        return int(self._rows(statements.count(self._names, self.published, chosen), seconds)[0][0])

    def known(self, video_ids: Sequence[str]) -> set[str]:
        """See contract.Reader."""
        statement = SQL(
            "SELECT video_id FROM {} WHERE segment = ANY(%s::text[]) AND video_id = ANY(%s::text[])"
        ).format(self._names.videos)
        return {
            row[0]
            for row in self._connection.execute(statement, [self.published.keys, list(video_ids)]).fetchall()
        }

    def draw(
        self, ask: Ask, chosen: Chosen, limit: int, probes: int | None, seconds: float | None
    ) -> tuple[Drawn, float | None]:
        """See contract.Reader."""
        found = self._drawn(
            self._rows(
                statements.best(self._names, self.published, ask, chosen, limit, probes),
                seconds,
            )
        )
        if probes is not None:
            return found, None
        if len(found.row) < limit:
            return found, float("-inf")
        return found, statements.bound_of_others(ask, float(found.log.min()), self.published.longest)

    def of_video(self, video_id: str) -> Drawn:
        """See contract.Reader."""
        return self._drawn(self._rows(statements.of_video(self._names, self.published, video_id), None))

    def _rows(self, statement: statements.Statement, seconds: float | None) -> list[Any]:
        with self._connection.cursor(binary=True) as cursor:
            if seconds is not None:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [str(max(1, round(1000 * seconds)))]
                )
            return cursor.execute(*statement).fetchall()

    def _drawn(self, rows: list[Any]) -> Drawn:
        keys, row, video, names, uris, starts, ends, tubes, scores, hubs, *halves = (
            list(column) for column in (zip(*rows, strict=True) if rows else [()] * 12)
        )
        vectors = [
            np.frombuffer(b"".join(bytes(one)[4:] for one in half), dtype=">f2").reshape(len(rows), -1)
            for half in halves
            if half and half[0] is not None
        ]
        width = self.published.spaces * self.published.joint_dim
        return put_together(
            segment=[self._places[key] for key in keys],
            row=row,
            video=video,
            video_id=names,
            uri=uris,
            spans=list(zip(starts, ends, strict=True)),
            tubes=tubes,
            log=scores,
            hubs=hubs,
            vectors=np.concatenate(vectors, axis=1).astype(np.float16)
            if vectors
            else np.empty((0, width), np.float16),
        )
