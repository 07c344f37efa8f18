"""A user's own columns about videos, from CSV or Parquet."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from mmn_index.errors import AnnotationError
from mmn_index.index.segment import VIDEO_COLUMNS

_KEY = "video_id"


def read_metadata(path: Path) -> pa.Table:
    """A table with a column `video_id` and columns of the user's.

    Raises:
        AnnotationError: it cannot be read, has no such column, names a video twice, or has a column that the index itself has.
    """
    try:
        table = pq.read_table(path) if path.suffix.lower() == ".parquet" else csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise AnnotationError(
            f"{path}: cannot be read as {path.suffix[1:] or 'csv'} ({reason}). Expected CSV with a header line, or Parquet."
        ) from error
    if _KEY not in table.column_names:
        raise AnnotationError(f"{path}: has no column '{_KEY}' (its columns: {', '.join(table.column_names)}).")
    table = table.set_column(table.column_names.index(_KEY), _KEY, table[_KEY].cast(pa.string()))
    if taken := [name for name in table.column_names if name in VIDEO_COLUMNS.names and name != _KEY]:
        raise AnnotationError(f"{path}: column '{taken[0]}' is one of the index's own. Call it otherwise.")
    ids = table[_KEY].to_pylist()
    if len(set(ids)) != len(ids):
        twice = next(name for number, name in enumerate(ids) if name in ids[:number])
        raise AnnotationError(f"{path}: names video '{twice}' more than once.")
    return table


def rows_for(table: pa.Table, video_ids: Sequence[str], path: Path) -> pa.Table:
    """The user's columns in the order of the videos, null for one that the table does not name.

    Raises:
        AnnotationError: it names none of them.
    """
    places = {name: number for number, name in enumerate(table[_KEY].to_pylist())}
    found = [places.get(video_id) for video_id in video_ids]
    if video_ids and all(place is None for place in found):
        raise AnnotationError(
            f"{path}: names none of the {len(video_ids):,} videos, e.g. '{video_ids[0]}' (it has '{next(iter(places), '')}')."
        )
    return table.drop_columns([_KEY]).take(pa.array(found, type=pa.int64()))
