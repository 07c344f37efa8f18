"""The columns of videos.parquet in a database: their names, kinds and values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,50}")
# What tables and payloads call something of ours, and what PostgreSQL calls something of its own.
_TAKEN = {
    *("segment", "number", "video", "video_id", "uri", "duration", "metadata"),
    *("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"),
}
OWN = ("video_id", "uri", "duration")


@dataclass(frozen=True)
class Column:
    """One column of videos.parquet.

    Attributes:
        name: in the index.
        key: in the database; the name where it can be that.
        kind: int, large (a whole number beyond 64 bits with sign), float, bool, text, decimal, instant (UTC),
            local (a time without a zone), date or time.
    """

    name: str
    key: str
    kind: str


def columns_of(schema: pa.Schema, known: Sequence[Column] = ()) -> tuple[Column, ...]:
    """How columns are stored; those that are known stay as they are, but for one that holds something else
    now.

    A column without any value, and one of lists, structures or bytes, is not stored: no condition can
    name it.
    """
    found = {column.name: column for column in known}
    used = {column.key for column in known} | _TAKEN
    for place, column in enumerate(schema):
        name, kind = column.name, kind_of(column.type)
        if kind is None or name in ("first_moment", "num_moments"):
            continue
        if name in found and found[name].kind == kind:
            continue
        key = name
        if name not in OWN and (not _PLAIN.fullmatch(name) or name in used):
            number = place
            while (key := f"column_{number}") in used or key in schema.names:
                number += 1
        used.add(key)
        found[name] = Column(name, key, kind)
    return tuple(found.values())


def kind_of(kind: pa.DataType) -> str | None:
    """What a column holds; None for what is not stored."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if pa.types.is_uint64(kind):
        return "large"
    if pa.types.is_timestamp(kind):
        return "instant" if kind.tz else "local"
    for test, name in (
        (pa.types.is_integer, "int"),
        (pa.types.is_floating, "float"),
        (pa.types.is_boolean, "bool"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_date, "date"),
        (pa.types.is_time, "time"),
    ):
        if test(kind):
            return name
    return None


def values_of(table: pa.Table, column: Column) -> list[Any]:
    """The values of a column as Python has them, times to the microsecond; None where there is none."""
    if column.name not in table.column_names:
        return [None] * len(table)
    values = table[column.name]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz), safe=False)
    elif pa.types.is_time(kind):
        values = values.cast(pa.time64("us"), safe=False)
    elif pa.types.is_date(kind):
        values = values.cast(pa.date32())
    elif pa.types.is_floating(kind):
        values = values.cast(pa.float64())
    found: list[Any] = [_value(value) for value in values.to_pylist()]
    return found


def value_of(scalar: pa.Scalar) -> Any:
    """The value of a condition as Python has it."""
    return _value(scalar.as_py())


def _value(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")  # PostgreSQL stores no such character
    return value


def microseconds(value: time) -> int:
    """Of a time of day, since midnight."""
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


def moment_text(value: datetime | date) -> str:
    """A time or a date as RFC 3339 writes an instant; what has no zone as if it was UTC."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value.replace(tzinfo=value.tzinfo or UTC).isoformat().replace("+00:00", "Z")


def user_columns(columns: Sequence[Column]) -> list[Column]:
    """Those that are not the index's own."""
    return [column for column in columns if column.name not in OWN]
