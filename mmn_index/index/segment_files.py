"""The files of a segment: their names and columns, and what its writer and its reader share."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import MomentIndexError

MOMENTS, VIDEOS, WINDOWS, EMBEDDINGS = (
    "moments.parquet",
    "videos.parquet",
    "windows.parquet",
    "embeddings.npy",
)
HUBS, BACKGROUND, VECTORS = "hubs.npy", "background.npy", "vectors.faiss"
TUBES, BOXES = "tubes.parquet", "boxes.parquet"  # of an index of tubes
PROGRESS = "progress"  # how many windows are on the disk; of no use once the segment is published
_SAMPLE = 1 << 12  # moments of background.npy
MOMENT_COLUMNS = pa.schema(
    [
        ("video", pa.int32()),  # row in videos.parquet
        ("video_id", pa.dictionary(pa.int32(), pa.string())),
        ("start", pa.float32()),  # seconds
        ("end", pa.float32()),
        ("first_clip", pa.int16()),
        ("last_clip", pa.int16()),  # included
        ("window", pa.int32()),  # row in windows.parquet
    ]
)
WINDOW_COLUMNS = pa.schema(
    [
        ("video", pa.int32()),  # row in videos.parquet
        ("start", pa.float64()),  # seconds
        ("length", pa.float64()),
    ]
)
TUBE_COLUMNS = pa.schema(  # a row a window, which is the time that a tube takes
    [
        ("tube", pa.int32()),  # number in its video
        ("first_frame", pa.int32()),  # counted from 1
        ("frames", pa.int32()),
        ("rate", pa.float64()),  # frames a second
        ("width", pa.int32()),  # of a frame, pixels
        ("height", pa.int32()),
        ("score", pa.float32()),  # of whatever found it
    ]
)
BOX_COLUMNS = pa.schema(  # a row a frame of a tube, those of each window in turn
    [
        ("window", pa.int32()),  # row in windows.parquet and tubes.parquet
        ("frame", pa.int32()),
        ("x1", pa.float32()),  # pixels
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
    ]
)
VIDEO_COLUMNS = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),  # where the video file was when its features were made; null if unknown
        ("duration", pa.float64()),  # seconds
        ("first_moment", pa.int64()),
        ("num_moments", pa.int32()),
    ]
)


def read_table(path: Path, columns: pa.Schema) -> pa.Table:
    """A table of a segment, the user's columns behind its own included.

    Args:
        columns: those that it must have.

    Raises:
        OSError, pa.ArrowException: it cannot be read.
        ValueError: it has no row, lacks a column, has one of another type, or one with an empty cell where
            only `uri` may have any.
    """
    table = pq.read_table(path)
    table.validate(full=True)  # texts that are not UTF-8, too
    if not len(table):
        raise ValueError("it has no row")
    for field in columns:
        places = table.schema.get_all_field_indices(field.name)
        if len(places) != 1 or table.schema.field(places[0]).type != field.type:
            raise ValueError(f"expected one column '{field.name}' of type {field.type}")
        if field.name != "uri" and table.column(places[0]).null_count:
            raise ValueError(f"column '{field.name}' has cells without a value")
    return table


def shared_columns(root: Path, tables: Sequence[pa.Schema]) -> pa.Schema:
    """The columns that the videos of an index have, without those that count rows.

    Args:
        tables: the columns of videos.parquet in each segment.

    Raises:
        MomentIndexError: segments disagree about the type of one.
    """
    try:
        known = pa.unify_schemas([VIDEO_COLUMNS, *tables])
    except pa.ArrowException as error:
        raise damaged(root, f"segments with other columns: {error}") from error
    return pa.schema([field for field in known if field.name not in ("first_moment", "num_moments")])


def draw(rows: np.ndarray) -> np.ndarray:
    """At most _SAMPLE of some rows, each as likely as any other, always the same; in rising order."""
    return np.sort(np.random.default_rng(0).choice(rows, min(_SAMPLE, len(rows)), replace=False))


def background_type(width: int) -> np.dtype[np.void]:
    """Of background.npy, for embeddings of so many numbers."""
    return np.dtype([("row", np.int64), ("embedding", np.float16, (width,))])


def damaged(path: Path, why: object) -> MomentIndexError:
    """What is said of a file of an index that cannot be used, in one line."""
    told = " ".join(str(why).split())
    return MomentIndexError(f"{path}: cannot be read ({told}). The index is damaged; build it again.")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def on_disk(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file that has been written, once it has reached the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path.stat().st_size, digest(path)


def text_of(path: Path) -> str:
    """The text in a file; none of a file that is not there."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""
