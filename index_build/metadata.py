"""A user's own columns about videos, from CSV or Parquet."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from mmn_index.errors import AnnotationError
from mmn_index.index.segment import VIDEO_COLUMNS

_KEY = "video_id"
_NONE = pa.schema([])


def read_metadata(path: Path, known: pa.Schema = _NONE) -> pa.Table:
    """A table with a column `video_id` and columns of the user's.

    Types in CSV are guessed, but ids are text ("007"), and columns that are known as text or as fractions
    stay so.

    Args:
        known: the columns of the index that it is for.

    Raises:
        AnnotationError: it cannot be read, has no such column, names a video twice, or has columns that
            cannot be told apart or that the index itself has.
    """
    kind = path.suffix[1:] or "csv"
    text = {_KEY: pa.string()} | {field.name: field.type for field in known if pa.types.is_string(field.type)}
    try:
        table = (
            pq.read_table(path)
            if kind.lower() == "parquet"
            else csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=text))
        )
        names = table.column_names
        if names.count(_KEY) == 1:
            table = table.set_column(names.index(_KEY), _KEY, table[_KEY].cast(pa.string()))
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
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
    fractions = {field.name for field in known if pa.types.is_float64(field.type)}
    table = table.cast(
        pa.schema(
            (
                field.name,
                pa.float64()
                if field.name in fractions and pa.types.is_integer(field.type)
                else _plain(field.type),
            )
            for field in table.schema
        )
    )
    if taken := [name for name in table.column_names if name in VIDEO_COLUMNS.names and name != _KEY]:
        raise AnnotationError(f"{path}: column '{taken[0]}' is one of the index's own. Call it otherwise.")
    ids = table[_KEY].to_pylist()
    if len(set(ids)) != len(ids):
        again = next(name for number, name in enumerate(ids) if name in ids[:number])
        raise AnnotationError(f"{path}: names video '{again}' more than once.")
    return table


def _plain(kind: pa.DataType) -> pa.DataType:
    """One type for all that strings are stored as, so that segments agree."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def rows_for(table: pa.Table, video_ids: Sequence[str], path: Path) -> pa.Table:
    """The user's columns in the order of the videos, null for one that the table does not name.

    Raises:
        AnnotationError: it names none of them.
    """
    places = {name: number for number, name in enumerate(table[_KEY].to_pylist())}
    found = [places.get(video_id) for video_id in video_ids]
    if video_ids and all(place is None for place in found):
        raise AnnotationError(
            f"{path}: names none of the {len(video_ids):,} videos, e.g. '{video_ids[0]}' (it has "
            f"'{next(iter(places), '')}')."
        )
    return table.drop_columns([_KEY]).take(pa.array(found, type=pa.int64()))
