"""Which moments may answer: restrictions by video, metadata, time and length, as rows of each segment.

What a restriction leaves is scanned, whatever its share and whether the segment has a candidate index or not:
    a candidate index that is asked for few of its rows finds fewer than there are.
"""

import difflib
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import QueryError
from .segment import Segment
from .segment_files import VIDEO_COLUMNS

_OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


_MOST_CONDITIONS = 100  # Arrow walks an expression by recursion, and ends the process where it is too deep
_FORMS = {
    "instant": "2026-01-31 or 2026-01-31T18:00:00Z",
    "local": "2026-01-31 or 2026-01-31T18:00:00, without a zone",
    "date": "2026-01-31",
    "time": "18:00 or 18:00:30",
    "null": "another column: no video has a value there",
}


@dataclass(frozen=True)
class Condition:
    """One condition on a column of videos.parquet; a video without a value there does not fit it."""

    text: str  # as it was written
    column: str
    sign: str  # one of _OPERATORS
    value: pa.Scalar

    @property
    def expression(self) -> pc.Expression:
        """In pyarrow's form of filters."""
        return _OPERATORS[self.sign](pc.field(self.column), self.value)


@dataclass(frozen=True)
class Restriction:
    """What a moment has to be like; all conditions hold together. Times are seconds from the beginning of the
    video.

    Attributes:
        videos: ids; None is all.
        exclude: ids that are left out.
        where: over the columns of videos.parquet, in pyarrow's form of filters; `MomentIndex.where` makes it.
        after: it starts at this second or later.
        before: it ends at this second or earlier.
        min_length: seconds.
        max_length: seconds.

    Raises:
        QueryError: a time or a length that is not a number of seconds from 0.
    """

    videos: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    where: pc.Expression | None = None
    after: float | None = None
    before: float | None = None
    min_length: float | None = None
    max_length: float | None = None

    def __post_init__(self) -> None:
        for name in ("after", "before", "min_length", "max_length"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise QueryError(f"{name.replace('_', '-')} is {value:g}, expected seconds, 0 or more.")

    def __bool__(self) -> bool:
        columns = self.where is not None  # an expression of pyarrow has no truth
        return self.videos is not None or bool(self.exclude) or columns or self.bounds_moments

    @property
    def bounds_moments(self) -> bool:
        """Whether moments of one video differ in whether they may answer."""
        return any(bound is not None for bound in (self.after, self.before, self.min_length, self.max_length))

    def allows(self, spans: np.ndarray) -> np.ndarray:
        """Which moments the times and lengths leave, (n, 2) float32 seconds -> (n,) bool."""
        length, allowed = spans[:, 1] - spans[:, 0], np.ones(len(spans), dtype=bool)
        for least, values in ((self.after, spans[:, 0]), (self.min_length, length)):
            if least is not None:
                allowed &= values >= np.float32(least)
        for most, values in ((self.before, spans[:, 1]), (self.max_length, length)):
            if most is not None:
                allowed &= values <= np.float32(most)
        return allowed


@dataclass(frozen=True)
class Part:
    """The rows of one segment that may answer."""

    runs: list[tuple[int, int]]  # stretches [first, last), in rising order
    keep: np.ndarray | None  # bool, one for every row of all runs in turn; None keeps all
    count: int  # rows that may answer
    videos: int  # of how many videos, at most

    def within(self, first: int, last: int) -> "Part":
        """What of it lies in rows [first, last), which are numbered from 0."""
        runs, kept, before = [], [], 0
        for begin, end in self.runs:
            low, high = max(begin, first), min(end, last)
            if low < high:
                runs.append((low - first, high - first))
                kept.append(slice(before + low - begin, before + high - begin))
            before += end - begin
        if self.keep is None:
            return Part(runs, None, sum(high - low for low, high in runs), self.videos)
        keep = np.concatenate([np.zeros(0, dtype=bool), *(self.keep[rows] for rows in kept)])
        return Part(runs, keep, int(keep.sum()), self.videos)

    def only(self, ranges: Sequence[tuple[int, int]]) -> "Part":
        """What of it lies in some stretches [first, last) of rows, in rising order; numbers stay."""
        cut = [(first, self.within(first, last)) for first, last in ranges]
        runs = [(first + low, first + high) for first, part in cut for low, high in part.runs]
        keep = None
        if self.keep is not None:
            kept = [part.keep for _, part in cut if part.keep is not None]
            keep = np.concatenate([np.zeros(0, dtype=bool), *kept])
        return Part(runs, keep, sum(part.count for _, part in cut), self.videos)


def all_live(segment: Segment) -> Part:
    """Every moment of every video that was not removed."""
    return _part(segment, segment.live, None)


def select(segments: Sequence[Segment], restriction: Restriction) -> list[Part]:
    """The rows of every segment that a restriction leaves.

    Raises:
        QueryError: a video that is not in the index, or a condition that does not fit the columns.
    """
    for wanted in (*(restriction.videos or ()), *restriction.exclude):
        if not any(wanted in segment.places for segment in segments):
            named = [video for segment in segments for video in segment.places]
            near = difflib.get_close_matches(wanted, named, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise QueryError(f"the index has no video '{wanted}' ({len(named):,} videos).{hint}")
    schema = pa.unify_schemas([VIDEO_COLUMNS, *(segment.table.schema for segment in segments)])
    return [_select(segment, schema, restriction) for segment in segments]


def parse_where(conditions: Sequence[str], schema: pa.Schema) -> pc.Expression | None:
    """Conditions such as `camera=porch` or `recorded>=2026-01-01` as one expression; they hold together.

    Raises:
        QueryError: as `parse_conditions`.
    """
    terms = [condition.expression for condition in parse_conditions(conditions, schema)]
    return reduce(operator.and_, terms) if terms else None


def parse_conditions(conditions: Sequence[str], schema: pa.Schema) -> list[Condition]:
    """Conditions such as `camera=porch` or `recorded>=2026-01-01`, one by one.

    A date compared with times is its midnight. Times without a zone are UTC where the column has one.

    Args:
        schema: of the columns that there are: a value is read in the type of its column.

    Raises:
        QueryError: no such column, a value of another type, or too many conditions.
    """
    if len(conditions) > _MOST_CONDITIONS:
        raise QueryError(f"{len(conditions):,} conditions on metadata, expected at most {_MOST_CONDITIONS}.")
    found = []
    for condition in conditions:
        # Blanks are taken off apart: a pattern that does it as well takes minutes for a thousand of them.
        match = re.fullmatch(r"([^=!<>]+)(!=|>=|<=|==?|>|<)(.*)", condition.strip())
        name, sign, text = ("", "", "") if match is None else (part.strip() for part in match.groups())
        if not name:
            raise QueryError(
                f"'{condition}' is no condition, expected COLUMN, one of {' '.join(_OPERATORS)}, and a value."
            )
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, 1)
            raise QueryError(
                f"videos have no column '{name}'{f', did you mean {near[0]!r}' if near else ''}; there are "
                f"{', '.join(schema.names)}."
            )
        value = _value(condition, name, schema.field(name).type, text)
        found.append(Condition(condition, name, sign.replace("==", "="), value))
    return found


def _value(condition: str, name: str, kind: pa.DataType, text: str) -> pa.Scalar:
    """The value of a condition in the type of its column."""
    try:
        if pa.types.is_timestamp(kind):
            return pa.scalar(_instant(text, zoned=kind.tz is not None), pa.timestamp("us", kind.tz))
        if pa.types.is_date(kind):
            return pa.scalar(date.fromisoformat(text)).cast(kind)
        if pa.types.is_time(kind):
            return pa.scalar(time.fromisoformat(text), pa.time64("us"))
        return pa.scalar(text).cast(kind)
    except (ValueError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        form = _FORMS.get(_name_of(kind))
        expected = f" Expected {form}." if form else ""
        raise QueryError(
            f"'{condition}': column '{name}' holds {kind}, '{text}' is not one.{expected}"
        ) from error


def _instant(text: str, *, zoned: bool) -> datetime:
    """A time with its day; a date is its midnight. Without a zone it is UTC, where one is needed.

    Raises:
        ValueError: the text is neither, or has a zone that cannot be compared with.
    """
    value = datetime.fromisoformat(text)
    if value.tzinfo is not None and not zoned:
        raise ValueError("the column's times have no zone")
    return value.replace(tzinfo=value.tzinfo or UTC) if zoned else value


def _name_of(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "instant" if kind.tz else "local"
    for name in ("date", "time", "null"):
        if getattr(pa.types, f"is_{name}")(kind):
            return name
    return ""


def _select(segment: Segment, schema: pa.Schema, restriction: Restriction) -> Part:
    videos = segment.live.copy()
    if restriction.videos is not None:
        videos &= segment.mask(restriction.videos)
    if restriction.exclude:
        videos &= ~segment.mask(restriction.exclude)
    if restriction.where is not None:
        videos &= fitting(segment.table, schema, restriction.where)
    if not restriction.bounds_moments or not videos.any():
        return _part(segment, videos, None)
    spans = segment.spans(
        np.concatenate([np.arange(*segment.rows_of(n)) for n in np.flatnonzero(videos).tolist()])
    )
    return _part(segment, videos, restriction.allows(spans))


def _part(segment: Segment, videos: np.ndarray, keep: np.ndarray | None) -> Part:
    """Neighbouring videos become one run; what is no moment is left out."""
    if segment.filled is not None:
        filled = segment.filled[np.repeat(videos[segment.window_videos], segment.per_window)]
        keep = filled if keep is None else keep & filled
    edges = np.flatnonzero(np.diff(np.concatenate([[0], videos.astype(np.int8), [0]])))
    bounds = (segment.first_window * segment.per_window)[edges]
    runs = [(first, last) for first, last in bounds.reshape(-1, 2).tolist()]
    count = int(keep.sum()) if keep is not None else sum(last - first for first, last in runs)
    return Part(runs, keep, count, int(videos.sum()))


def fitting(table: pa.Table, schema: pa.Schema, expression: pc.Expression) -> np.ndarray:
    """Which rows of videos.parquet an expression selects; a row whose value is null is none."""
    chosen = np.zeros(len(table), dtype=bool)
    try:
        # A segment that was added without some column has it as null.
        full = pa.concat_tables([table, schema.empty_table()], promote_options="default")
        numbered = full.append_column("", pa.array(np.arange(len(table))))
        chosen[numbered.filter(expression)[""].to_numpy()] = True
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        raise QueryError(
            f"the condition does not fit the columns of the videos ({', '.join(table.column_names)}): {error}"
        ) from error
    return chosen
