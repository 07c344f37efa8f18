"""A user's own columns about videos, from CSV or Parquet.

Every column is of a type that a search can compare, or is refused here.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from mmn_index.errors import AnnotationError
from mmn_index.ids import likely_cause
from mmn_index.index.segment_files import VIDEO_COLUMNS

_KEY = "video_id"
_NONE = pa.schema([])
_AS_THEY_ARE = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
)
_LONG = pa.decimal128(38, 0)  # whole numbers that int64 has no room for


def read_metadata(path: Path, known: pa.Schema = _NONE) -> pa.Table:
    """A table with a column `video_id` and columns of the user's.

    Types in CSV are guessed, but ids are text ("007"), and columns that are known as text, as fractions or as
    times in UTC stay so. Blanks around names and around text count for nothing.

    Args:
        known: the columns of the index that it is for.

    Raises:
        AnnotationError: it cannot be read, has no such column, names a video twice, has columns that cannot
            be told apart or that the index itself has, or values that cannot be compared.
    """
    kind = path.suffix[1:] or "csv"
    try:
        table = pq.read_table(path) if kind.lower() == "parquet" else _read_csv(path, known)
        table.validate(full=True)  # texts that are not UTF-8, too
        names = [name.strip() for name in table.column_names]
        table = table.rename_columns(names)
        if names.count(_KEY) == 1:
            table = table.set_column(names.index(_KEY), _KEY, table[_KEY].cast(pa.string()))
    except (OSError, UnicodeError, csv.Error, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise AnnotationError(
            f"{path}: cannot be read as {kind} ({reason}). Expected CSV with a header line, or Parquet."
        ) from error
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise AnnotationError(f"{path}: two columns are called '{twice[0]}'. Rename one.")
    if "" in names:
        raise AnnotationError(f"{path}: column {names.index('') + 1} has no name. Name it, or remove it.")
    if _KEY not in names:
        raise AnnotationError(f"{path}: has no column '{_KEY}' (its columns: {', '.join(names)}).")
    if taken := [name for name in names if name in VIDEO_COLUMNS.names and name != _KEY]:
        raise AnnotationError(f"{path}: column '{taken[0]}' is one of the index's own. Call it otherwise.")
    wanted = {field.name: field.type for field in known}
    columns = {name: _comparable(table[name], name, wanted.get(name), path) for name in names}
    ids = columns[_KEY].to_pylist()
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        again = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise AnnotationError(f"{path}: names video '{again}' more than once.")
    return pa.table(columns)


def _read_csv(path: Path, known: pa.Schema) -> pa.Table:
    """CSV without blanks around values; whole numbers beyond int64 stay whole."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnicodeError(f"line {line} is not UTF-8: save the file as UTF-8") from error
    lines = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    rows = [[value.strip() for value in line] for line in lines if any(value.strip() for value in line)]
    cleaned = io.StringIO()
    csv.writer(cleaned).writerows(rows)
    types = {_KEY: pa.string()} | {
        field.name: field.type for field in known if pa.types.is_string(field.type)
    }
    for place, name in enumerate(rows[0] if rows else ()):
        digits = _long_digits([row[place] for row in rows[1:] if place < len(row)])
        if digits and name not in types:
            types[name] = _LONG if digits <= _LONG.precision else pa.string()
    return arrow_csv.read_csv(
        pa.BufferReader(cleaned.getvalue().encode()),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=types),
    )


def _long_digits(values: Sequence[str]) -> int:
    """Most digits of whole numbers of which one has no room in 64 bits: as fractions they would be rounded.
    Else
    0.
    """
    given = [value for value in values if value]
    digits = [value.removeprefix("-") for value in given]
    if not all(value.isdecimal() and value.isascii() for value in digits):
        return 0
    most = max(map(len, digits), default=0)
    fits = most < 19 or (most == 19 and all(-(2**63) <= int(value) < 2**63 for value in given))
    return 0 if fits else most


def _comparable(column: pa.ChunkedArray, name: str, known: pa.DataType | None, path: Path) -> pa.ChunkedArray:
    """A column in the one type that its kind is kept in, so that segments agree.

    Raises:
        AnnotationError: a search cannot compare such values.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _comparable(column.cast(kind.value_type), name, known, path)
    try:
        if _is_text(kind):
            return pc.utf8_trim_whitespace(column.cast(pa.string()))
        if pa.types.is_integer(kind):
            if known is not None and (pa.types.is_float64(known) or known == _LONG):
                return column.cast(known)
            large = pa.types.is_uint64(kind) and (pc.max(column).as_py() or 0) >= 2**63
            return column.cast(_LONG if large else pa.int64())
        if pa.types.is_floating(kind):
            return column.cast(pa.float64())
        if pa.types.is_decimal(kind):
            return column.cast(pa.decimal128(38, kind.scale))
        if known is not None and pa.types.is_timestamp(known) and known.tz and _without_zone(kind):
            return column.cast(pa.timestamp(known.unit)).cast(known)
        if any(known_kind(kind) for known_kind in _AS_THEY_ARE):
            return column
    except pa.ArrowInvalid as error:
        raise AnnotationError(f"{path}: column '{name}' holds {kind}: {error}.") from error
    raise AnnotationError(
        f"{path}: column '{name}' holds {kind}, which a search cannot compare. Write it as text, numbers, "
        "dates or times, or leave it out."
    )


def _without_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def rows_for(table: pa.Table, video_ids: Sequence[str], path: Path) -> tuple[pa.Table, list[str]]:
    """The user's columns in the order of the videos, null for one that the table does not name; and what does
    not match, for people.

    Raises:
        AnnotationError: it names none of them.
    """
    places = dict.fromkeys(table[_KEY].to_pylist())
    known = set(video_ids)
    strangers = [name for name in places if name not in known]
    without = [name for name in video_ids if name not in places]
    cause = f" {likely_cause(strangers, without)}".rstrip()
    if video_ids and len(without) == len(video_ids):
        raise AnnotationError(
            f"{path}: names none of the {len(video_ids):,} videos, e.g. '{video_ids[0]}' (it has "
            f"'{next(iter(places), '')}').{cause}"
        )
    remarks = []
    if strangers:
        remarks.append(
            f"{path}: {len(strangers):,} of its {len(places):,} rows name no video, e.g. "
            f"'{strangers[0]}'.{cause}"
        )
    if without:
        remarks.append(
            f"{path}: has no row for {len(without):,} of the {len(video_ids):,} videos, e.g. "
            f"'{without[0]}': their columns are empty."
        )
    return rows_of(table, video_ids), remarks


def rows_of(table: pa.Table, video_ids: Sequence[str]) -> pa.Table:
    """The user's columns in the order of the videos, null for one that the table does not name."""
    places = {name: number for number, name in enumerate(table[_KEY].to_pylist())}
    found = [places.get(video_id) for video_id in video_ids]
    return table.drop_columns([_KEY]).take(pa.array(found, type=pa.int64()))
