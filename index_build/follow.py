"""Videos whose moments an index has already: copied, under the names and places that they have now."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mmn_index.index import IndexWriter, Manifest, MomentIndex, PlannedVideo, SegmentEntry
from mmn_index.index.segment_files import VIDEO_COLUMNS
from mmn_index.origin import path_of, source_of

from .candidates import Wish
from .change import copy_videos
from .columns import FILE_COLUMNS, file_place, joined
from .metadata import rows_of
from .sync_plan import FoundFile, SyncPlan

_MOST = 8  # segments; every search visits each
_LARGE = 3  # of more, so many are left as they are, and the others merged


def crowded(entries: Sequence[SegmentEntry], more: int) -> list[SegmentEntry]:
    """Segments that are to be merged, as an index would have too many with some more: all but the largest."""
    if len(entries) + more <= _MOST:
        return []
    return sorted(entries, key=lambda entry: entry.videos - len(entry.removed))[:-_LARGE]


def relabelled(index: MomentIndex, staying: Sequence[str], own: pa.Table) -> set[str]:
    """Videos that stay as they are, but for the columns that a user's table gives them now."""
    named = set(own["video_id"].to_pylist())
    ids = [video_id for video_id in staying if video_id in named]
    numbers = _numbers(index)
    before = index.videos.take(pa.array([numbers[video_id] for video_id in ids], pa.int64()))
    after = joined(rows_of(own, ids), before)
    changed: set[str] = set()
    for name in own.column_names:
        if name != "video_id":
            old = before[name] if name in before.column_names else pa.nulls(len(ids))
            same = (
                a.as_py() == b.as_py() for a, b in zip(old.cast(after[name].type), after[name], strict=True)
            )
            changed |= {video_id for video_id, is_same in zip(ids, same, strict=True) if not is_same}
    return changed


def follow(
    writer: IndexWriter,
    manifest: Manifest,
    index: MomentIndex,
    plan: SyncPlan,
    again: set[str],
    merged: Sequence[SegmentEntry],
    own: pa.Table | None,
) -> SegmentEntry | None:
    """Copy the moments of followed files, and of the videos of segments that are to be merged.

    Args:
        again: further videos, which get other columns only.
        own: the user's columns, with `video_id`; they win over what the videos had.

    Returns:
        The new segment; None where there is nothing to copy.

    Raises:
        MomentIndexError: what would be copied is damaged.
    """
    numbers = _numbers(index)
    taken: dict[str, tuple[int, FoundFile | None]] = {
        video_id: (numbers[one.source], one.file) for video_id, one in plan.followed.items()
    }
    folders, staying = {entry.id for entry in merged}, set(plan.staying)
    for segment in index.segments:
        for name in segment.ids(segment.live):
            if name in again or (segment.entry.id in folders and name in staying):
                taken[name] = numbers[name], None
    if not taken:
        return None
    rows = np.array([number for number, _ in taken.values()])
    table = index.videos.take(pa.array(rows))
    videos = [
        PlannedVideo(
            video_id,
            row["uri"] if file is None else source_of(file.path),
            row["duration"],
            tuple(index.rows.windows_of(number)),
        )
        for (video_id, (number, file)), row in zip(
            taken.items(), table.select(["uri", "duration"]).to_pylist(), strict=True
        )
    ]
    columns = _moved(table, list(taken), [file for _, file in taken.values()])
    if own is not None:
        columns = joined(rows_of(own, list(taken)), columns)
    given = columns if columns.num_columns else None
    return copy_videos(writer, manifest, index, rows, videos, given, Wish())


def columns_before(index: MomentIndex, video_ids: Sequence[str]) -> pa.Table:
    """The user's columns as an index has them, in the order of some videos; null for new ones."""
    numbers = _numbers(index)
    rows = pa.array([numbers.get(video_id) for video_id in video_ids], pa.int64())
    strange = [name for name in index.videos.column_names if name not in FILE_COLUMNS.names]
    return index.videos.select([name for name in strange if name not in VIDEO_COLUMNS.names]).take(rows)


def known_columns(index: MomentIndex) -> pa.Schema:
    """All columns of an index."""
    return pa.unify_schemas([VIDEO_COLUMNS, *(segment.table.schema for segment in index.segments)])


def _numbers(index: MomentIndex) -> dict[str, int]:
    """The number of every video that was not removed."""
    return dict(zip(index.video_ids, np.flatnonzero(index.live).tolist(), strict=True))


def _moved(table: pa.Table, video_ids: Sequence[str], files: Sequence[FoundFile | None]) -> pa.Table:
    """Columns of videos of an index as they are with other ids and files; None leaves a row as it is.

    What a user wrote under the name of such a column stays.
    """
    columns = table.drop_columns(VIDEO_COLUMNS.names)
    for name in ("name", "folder", "size", "modified"):
        if (
            name not in columns.column_names
            or columns.schema.field(name).type != FILE_COLUMNS.field(name).type
        ):
            continue
        values = columns[name].to_pylist()
        for row, (video_id, file) in enumerate(zip(video_ids, files, strict=True)):
            if file is not None and _is_of_file(name, values[row], table.slice(row, 1)):
                values[row] = _value(name, video_id, file)
        place = columns.column_names.index(name)
        columns = columns.set_column(place, name, pa.array(values, FILE_COLUMNS.field(name).type))
    return columns


def _is_of_file(name: str, value: Any, row: pa.Table) -> bool:
    """Whether a video's value in a column is what its file gave, as far as that can be told."""
    if name not in ("name", "folder"):
        return value is not None
    uri = row["uri"][0].as_py()
    return uri is not None and file_place(row["video_id"][0].as_py(), path_of(uri))[name] == value


def _value(name: str, video_id: str, file: FoundFile) -> Any:
    values = {**file_place(video_id, file.path), "size": file.size, "modified": file.modified}
    return values[name]
