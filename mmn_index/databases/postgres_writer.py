"""A push to PostgreSQL: moments are copied in binary form, into a partition that nobody reads yet."""

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import errors
from psycopg.sql import SQL, Identifier

from . import postgres_sql as statements
from .columns import OWN, Column, values_of
from .contract import Published, Rows
from .postgres_reader import PostgresReader

_HEAD, _TAIL = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0), struct.pack("!h", -1)


class PostgresWriter:
    """A push; the lock is held as long as the connection."""

    def __init__(
        self,
        connection: "psycopg.Connection[Any]",
        names: statements.Names,
        published: Published | None,
        staging: Published | None,
    ) -> None:
        self._connection, self._names = connection, names
        self.published, self.staging = published, staging
        self._numbers: np.ndarray = np.empty(0, dtype=np.int64)  # of the videos of the segment that is sent
        self._spaces = 2

    def discard(self, keys: Sequence[str], generation: int | None) -> None:
        """See contract.Writer."""
        with self._connection.transaction():
            for key in keys:
                if self._exists(self._names.partition(key)):
                    self._connection.execute(
                        SQL("DELETE FROM {}").format(Identifier(self._names.partition(key)))
                    )
            for table, column, values in (
                (self._names.videos, "segment", list(keys)),
                (self._names.lists, "generation", [] if generation is None else [generation]),
            ):
                statement = SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(table, Identifier(column))
                self._connection.execute(statement, [values])

    def stage(self, goal: Published) -> None:
        """See contract.Writer."""
        known = [
            column for one in (self.published, self.staging) if one is not None for column in one.columns
        ]
        with self._connection.transaction():
            for statement in statements.make_columns(self._names, goal.columns, known):
                self._connection.execute(statement)
            self._connection.execute(
                SQL("UPDATE {} SET staging = %s").format(self._names.about), [goal.text()]
            )
        self.staging, self._spaces = goal, goal.spaces

    def lists(self, generation: int) -> np.ndarray | None:
        """See contract.Writer."""
        statement = SQL("SELECT contrastive, iou, hub FROM {} WHERE generation = %s ORDER BY list").format(
            self._names.lists
        )
        with self._connection.cursor(binary=True) as cursor:
            rows = cursor.execute(statement, [generation]).fetchall()
        if not rows:
            return None
        halves = [[bytes(one)[4:] for one in half] for half in list(zip(*rows, strict=True))[:2] if half[0]]
        parts = [np.frombuffer(b"".join(half), ">f2").reshape(len(rows), -1) for half in halves]
        hubs = np.array([[row[2]] for row in rows])
        return np.concatenate([*parts, hubs], axis=1).astype(np.float32)

    def write_lists(self, generation: int, centres: np.ndarray) -> None:
        """See contract.Writer."""
        halves = self._halves(centres[:, :-1])
        statement = SQL("INSERT INTO {} VALUES (%s, %s, %s::halfvec, %s::halfvec, %s)").format(
            self._names.lists
        )
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(
                statement,
                [
                    (generation, number, *(half[number] for half in halves), hub)
                    for number, hub in enumerate(centres[:, -1].tolist())
                ],
            )

    def _halves(self, centres: np.ndarray) -> list[list[str | None]]:
        halves: list[list[str | None]] = [
            [statements.vector_text(one) for one in half] for half in np.split(centres, self._spaces, axis=1)
        ]
        return halves + [[None] * len(centres)] * (2 - self._spaces)

    def begin(self, key: str, videos: pa.Table, skipped: Sequence[int], columns: Sequence[Column]) -> int:
        """See contract.Writer."""
        if not self._exists(self._names.partition(key)):
            with self._connection.transaction():
                for statement in statements.make_partition(self._names, key):
                    self._connection.execute(statement)
        there = SQL("SELECT number, video FROM {} WHERE segment = %s").format(self._names.videos)
        if not (numbers := dict(self._connection.execute(there, [key]).fetchall())):
            self._write_videos(key, videos, set(skipped), columns)
            numbers = dict(self._connection.execute(there, [key]).fetchall())
        self._numbers = np.full(len(videos), -1, dtype=np.int64)
        self._numbers[list(numbers)] = list(numbers.values())
        count = SQL("SELECT count(*) FROM {}").format(Identifier(self._names.partition(key)))
        found = self._connection.execute(count).fetchone()
        return int(found[0]) if found else 0

    def _write_videos(self, key: str, videos: pa.Table, skipped: set[int], columns: Sequence[Column]) -> None:
        names = ["segment", "number", *OWN, *(column.key for column in columns if column.name not in OWN)]
        ordered = [Column(name, name, "text") for name in OWN]
        ordered += [column for column in columns if column.name not in OWN]
        values = [values_of(videos, column) for column in ordered]
        copy = SQL("COPY {} ({}) FROM STDIN").format(
            self._names.videos, SQL(", ").join(Identifier(name) for name in names)
        )
        with self._connection.transaction(), self._connection.cursor() as cursor, cursor.copy(copy) as into:
            for number, row in enumerate(zip(*values, strict=True)):
                if number not in skipped:
                    into.write_row((key, number, *row))

    def add(self, key: str, rows: Rows) -> None:
        """See contract.Writer."""
        copy = SQL(
            'COPY {} (segment, "row", video, "window", tube, start, "end", hub, list, contrastive, iou) '
            "FROM STDIN "
            "(FORMAT binary)"
        ).format(Identifier(self._names.partition(key)))
        content = _binary(key, rows, self._numbers[rows.video], self._spaces)
        with self._connection.transaction(), self._connection.cursor() as cursor, cursor.copy(copy) as into:
            into.write(_HEAD + content + _TAIL)

    def finish(self, key: str) -> None:
        """See contract.Writer."""
        for statement in statements.make_indexes(self._names, key):
            self._connection.execute(statement)
        self._connection.execute(SQL("ANALYZE {}").format(Identifier(self._names.partition(key))))

    def reader(self, published: Published) -> PostgresReader:
        """See contract.Writer."""
        return PostgresReader(self._connection, self._names, published)

    def publish(self, published: Published) -> None:
        """See contract.Writer: in one transaction, with what is deleted of segments that stay."""
        with self._connection.transaction():
            for segment in published.segments:
                if segment.dead:
                    self._delete(segment.key, list(segment.dead))
            self._connection.execute(
                SQL("UPDATE {} SET published = %s, staging = NULL").format(self._names.about),
                [published.text()],
            )
        self.published = published

    def _delete(self, key: str, videos: list[int]) -> None:
        chosen = SQL("SELECT video FROM {} WHERE segment = %s AND number = ANY(%s::integer[])").format(
            self._names.videos
        )
        self._connection.execute(
            SQL("DELETE FROM {} WHERE video = ANY(ARRAY({}))").format(
                Identifier(self._names.partition(key)), chosen
            ),
            [key, videos],
        )
        self._connection.execute(
            SQL("DELETE FROM {} WHERE segment = %s AND number = ANY(%s::integer[])").format(
                self._names.videos
            ),
            [key, videos],
        )

    def sweep(self, published: Published) -> None:
        """See contract.Writer."""
        keep = {self._names.partition(key): key for key in published.keys}
        partitions = self._connection.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = "
            "to_regclass(%s)",
            [self._names.moments.as_string(self._connection)],
        ).fetchall()
        prefix = f"{self._names.collection}_"
        for (table,) in partitions:
            if table not in keep:
                with suppress(errors.LockNotAvailable), self._connection.transaction():  # next time, then
                    self._connection.execute(SQL("DROP TABLE {}").format(Identifier(table)))
                    self._connection.execute(
                        SQL("DELETE FROM {} WHERE segment = %s").format(self._names.videos),
                        [table.removeprefix(prefix)],
                    )
        self._connection.execute(
            SQL("DELETE FROM {} WHERE generation <> %s").format(self._names.lists), [published.generation]
        )

    def _exists(self, table: str) -> bool:
        found = self._connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL", [Identifier(table).as_string(self._connection)]
        ).fetchone()
        return bool(found and found[0])


def _binary(key: str, rows: Rows, videos: np.ndarray, spaces: int) -> bytes:
    """Rows of a COPY in binary form; all are equally long."""
    name = key.encode()
    half = np.split(rows.vectors, spaces, axis=1)
    dim = half[0].shape[1]
    vector = np.dtype([("dim", ">i2"), ("unused", ">i2"), ("values", ">f2", (dim,))])
    fields: list[tuple[str, Any, Any]] = [
        ("segment", np.dtype(f"S{len(name)}"), name),
        ("row", np.dtype(">i4"), rows.row),
        ("video", np.dtype(">i8"), videos),
        ("window", np.dtype(">i4"), rows.row // rows.per_window),
        ("tube", np.dtype(">i4"), rows.tubes),
        ("start", np.dtype(">f4"), rows.spans[:, 0]),
        ("end", np.dtype(">f4"), rows.spans[:, 1]),
        ("hub", np.dtype(">f4"), rows.hubs),
        ("list", np.dtype(">i4"), rows.lists),
        ("contrastive", vector, half[0]),
        ("iou", vector, half[1] if spaces == 2 else None),
    ]
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    for label, kind, values in fields:
        layout.append((f"{label} size", ">i4"))
        if values is not None:
            layout.append((label, kind))
    table = np.zeros(len(rows.row), dtype=layout)
    table["fields"] = len(fields)
    for label, kind, values in fields:
        table[f"{label} size"] = -1 if values is None else kind.itemsize
        if values is not None and kind == vector:
            table[label]["dim"], table[label]["values"] = dim, values
        elif values is not None:
            table[label] = values
    return table.tobytes()
