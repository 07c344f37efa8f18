"""The columns of videos.parquet beside the index's own: what files say of themselves, what a user adds."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmn_index.errors import AnnotationError
from mmn_index.features import FeatureFile
from mmn_index.index.segment_files import VIDEO_COLUMNS
from mmn_index.origin import path_of
from mmn_index.tube_videos import TubeVideos

from .metadata import read_metadata, rows_for

CONTENT_HASH = "content_hash"
_INSTANT = pa.timestamp("us", "UTC")
FILE_COLUMNS = pa.schema(
    [
        ("name", pa.string()),  # of the file, with its suffix
        ("folder", pa.string()),  # of the video's id: the one below the place that was given
        ("recorded", _INSTANT),
        ("camera", pa.string()),
        ("width", pa.int64()),  # pixels, as shown
        ("height", pa.int64()),
        ("fps", pa.float64()),
        ("size", pa.int64()),  # bytes
        ("modified", _INSTANT),
        (CONTENT_HASH, pa.string()),
    ]
)
_LARGEST = 2**63


def columns_of(
    features: FeatureFile | TubeVideos,
    video_ids: Sequence[str],
    metadata: Path | None,
    known: pa.Schema = VIDEO_COLUMNS,
) -> tuple[pa.Table | None, list[str]]:
    """The columns of some videos, None where there are none; and what is to be said of the user's.

    Args:
        metadata: the user's own, a CSV or Parquet file. They win over what the files say.
        known: the columns of the index that they are for; each keeps its type.

    Raises:
        AnnotationError: the user's columns cannot be read, or have other types than in the index.
    """
    records = [file_record(features, video_id) for video_id in video_ids]
    own = columns_from(records, known)
    remarks: list[str] = []
    if metadata is not None:
        given, remarks = rows_for(read_own(metadata, known), video_ids, metadata)
        own = joined(given, own)
    return own if own is not None and own.num_columns else None, remarks


def read_own(metadata: Path, known: pa.Schema) -> pa.Table:
    """A user's columns, with `video_id`, that fit into an index of certain columns.

    Raises:
        AnnotationError: they cannot be read, or do not fit.
    """
    table = read_metadata(metadata, known)
    if CONTENT_HASH in table.column_names:
        raise AnnotationError(
            f"{metadata}: column '{CONTENT_HASH}' is one of the index's own. Call it otherwise."
        )
    # A column has one type in all segments, or it could not be searched.
    for column in table.schema:
        kind = known.field(column.name).type if column.name in known.names else pa.null()
        if pa.null() not in (kind, column.type) and kind != column.type:
            raise AnnotationError(
                f"{metadata}: column '{column.name}' holds {column.type}, in the index {kind}. Write it as "
                f"{kind} (Parquet keeps types, CSV is guessed), or call it otherwise."
            )
    return table


def file_record(features: FeatureFile | TubeVideos, video_id: str) -> dict[str, Any]:
    """FILE_COLUMNS of one video, as `extract` wrote them down; empty for features of another program."""
    about = features.about(video_id)
    source, modified = features.source(video_id), _whole(about.get("modified"))
    if source is None or modified is None:
        return {}
    texts = {name: str(about[name]) for name in ("camera", CONTENT_HASH) if isinstance(about.get(name), str)}
    wholes = {name: _whole(about.get(name)) for name in ("width", "height", "size")}
    rate = about.get("fps")
    return {
        **file_place(video_id, path_of(source)),
        **texts,
        **wholes,
        "fps": float(rate) if isinstance(rate, float | np.floating) else None,
        "recorded": _time(about.get("recorded")),
        "modified": instant(modified),
    }


def file_place(video_id: str, path: Path) -> dict[str, str]:
    """The columns that a file's place gives."""
    name = str(path.name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    folder = str(PurePosixPath(video_id).parent)
    return {"name": name, "folder": "" if folder == "." else folder}


def columns_from(records: Sequence[Mapping[str, Any]], known: pa.Schema) -> pa.Table | None:
    """FILE_COLUMNS out of records, without those that are empty; where the index has another type under a
    name, in that type, or not at all.
    """
    found = {}
    for field in FILE_COLUMNS:
        column = pa.array([record.get(field.name) for record in records], field.type)
        kind = known.field(field.name).type if field.name in known.names else field.type
        if kind not in (field.type, pa.null()):
            column = _converted(column, kind)
        if column is not None and column.null_count < len(column):
            found[field.name] = column
    return pa.table(found) if found else None


def joined(first: pa.Table, second: pa.Table | None) -> pa.Table:
    """Columns side by side. Of those that both have, the first's, and the second's where the first is empty
    and can be kept in one type with it.
    """
    if second is None or not first.num_columns:
        return first if second is None else second
    for name in second.column_names:
        if name not in first.column_names:
            first = first.append_column(name, second[name])
            continue
        place, given = first.column_names.index(name), first[name]
        more = second[name]
        wider = given if given.type == more.type else _converted(given, more.type)
        if wider is not None:
            if pa.types.is_string(wider.type):  # what CSV makes of an empty cell
                wider = pc.if_else(pc.equal(wider, ""), pa.scalar(None, pa.string()), wider)
            first = first.set_column(place, name, pc.coalesce(wider, more))
    return first


def instant(nanoseconds: int) -> datetime | None:
    """A time since 1970 as it is kept, to the microsecond; None where no calendar has it."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None


def _converted(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """A column in another type, where each of its values means the same in it."""
    here = column.type
    days = (pa.types.is_date(here) or (pa.types.is_timestamp(here) and here.tz is None)) and kind == _INSTANT
    numbers = pa.types.is_integer(here) and (pa.types.is_float64(kind) or pa.types.is_integer(kind))
    if not (days or numbers or pa.types.is_null(here)):
        return None
    try:
        return column.cast(pa.timestamp("us")).cast(kind) if days else column.cast(kind)
    except pa.ArrowInvalid:
        return None


def _whole(value: object) -> int | None:
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if is_whole and -_LARGEST <= int(value) < _LARGEST else None  # type: ignore[call-overload]


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time and time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
