"""One segment: the moments of some videos, never changed once it is written.

A moment is the same row number in all three row files: moments.parquet, embeddings.npy, vectors.faiss.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import MomentIndexError
from ..proposals import ProposalGrid
from .manifest import SegmentEntry
from .vectors import Vectors, VectorWriter

FILES = ("moments.parquet", "videos.parquet", "embeddings.npy", "vectors.faiss")
_MOMENTS = pa.schema([
    ("video", pa.int32()),  # row in videos.parquet
    ("video_id", pa.dictionary(pa.int32(), pa.string())),
    ("start", pa.float32()),  # seconds
    ("end", pa.float32()),
    ("first_clip", pa.int16()),
    ("last_clip", pa.int16()),  # included
])  # fmt: skip
_VIDEOS = pa.schema([
    ("video_id", pa.string()),
    ("uri", pa.string()),  # where the video file was when its features were made; null if unknown
    ("duration", pa.float64()),  # seconds
    ("first_moment", pa.int64()),
    ("num_moments", pa.int32()),
])  # fmt: skip


@dataclass(frozen=True)
class IndexedVideo:
    """One video of an index."""

    video_id: str
    uri: str | None
    duration: float  # seconds
    first_moment: int  # row of its first moment in the segment
    num_moments: int


class SegmentWriter:
    """Write one segment into `folder`, video by video; memory stays bounded but for the candidate index.

    Args:
        folder: is created; it is not part of an index before a manifest names it.
        grid: the proposals of every video.
        joint_dim: C.
        videos: how many videos will come.
    """

    def __init__(self, folder: Path, grid: ProposalGrid, joint_dim: int, videos: int) -> None:
        self.folder = folder
        self._grid = grid
        folder.mkdir(parents=True)
        shape = (videos * len(grid), 2 * joint_dim)
        self._embeddings = np.lib.format.open_memmap(folder / "embeddings.npy", mode="w+", dtype=np.float16, shape=shape)
        self._vectors = VectorWriter(2 * joint_dim)
        self._moments = pq.ParquetWriter(folder / "moments.parquet", _MOMENTS)
        self._videos: list[IndexedVideo] = []
        self._capacity = videos

    def add(self, video_id: str, uri: str | None, duration: float, embeddings: np.ndarray) -> None:
        """Append one video: (P, 2 C) embeddings, row p is proposal p of the grid."""
        count = len(self._grid)
        number, first = len(self._videos), len(self._videos) * count
        if embeddings.shape != (count, self._embeddings.shape[1]):
            raise ValueError(f"embeddings of shape {embeddings.shape}, expected {(count, self._embeddings.shape[1])}")
        half = embeddings.astype(np.float16)
        self._embeddings[first : first + count] = half
        self._vectors.add(half)
        spans = self._grid.seconds(duration).numpy()
        cells = self._grid.cells.numpy().astype(np.int16)
        names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([video_id]))
        columns = [np.full(count, number, np.int32), names, spans[:, 0], spans[:, 1], cells[:, 0], cells[:, 1]]
        self._moments.write_table(pa.table(dict(zip(_MOMENTS.names, columns, strict=True)), schema=_MOMENTS))
        self._videos.append(IndexedVideo(video_id, uri, duration, first, count))

    def finish(self) -> SegmentEntry:
        """Write what is left, bring everything to the disk, and return the manifest's entry."""
        if len(self._videos) != self._capacity:
            raise ValueError(f"{len(self._videos)} videos came, {self._capacity} were announced")
        self._moments.close()
        self._embeddings.flush()
        rows = [[getattr(video, name) for video in self._videos] for name in _VIDEOS.names]
        pq.write_table(pa.table(dict(zip(_VIDEOS.names, rows, strict=True)), schema=_VIDEOS), self.folder / "videos.parquet")
        self._vectors.write(self.folder / "vectors.faiss")
        files = {name: (os.path.getsize(self.folder / name), digest(self.folder / name)) for name in FILES}
        return SegmentEntry(self.folder.name, len(self._videos), len(self._videos) * len(self._grid), files)


class Segment:
    """Read access to one segment; sizes and counts are compared with the manifest at once.

    Raises:
        MomentIndexError: a file is missing, truncated, or disagrees with the others.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, joint_dim: int) -> None:
        self.entry = entry
        for name in FILES:
            path = folder / name
            if not path.is_file():
                raise MomentIndexError(f"{path}: is missing. The index is damaged; build it again.")
            expected = entry.files[name][0]
            if path.stat().st_size != expected:
                raise MomentIndexError(
                    f"{path}: has {path.stat().st_size} bytes, expected {expected}. The index is damaged; build it again."
                )
        try:
            self.embeddings: np.ndarray = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
            moments = pq.read_table(folder / "moments.parquet", columns=["video", "start", "end"])
            videos = pq.read_table(folder / "videos.parquet").to_pylist()
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            raise MomentIndexError(f"{folder}: cannot be read ({error}). The index is damaged; build it again.") from error
        self.vectors = Vectors(folder / "vectors.faiss")
        self.video_of = moments["video"].to_numpy()
        self.spans = np.stack([moments["start"].to_numpy(), moments["end"].to_numpy()], axis=1)  # (n, 2) float32 seconds
        self.videos = [IndexedVideo(**{name: row[name] for name in _VIDEOS.names}) for row in videos]
        self._check(folder, 2 * joint_dim)

    def _check(self, folder: Path, width: int) -> None:
        counts = {
            "manifest.json": self.entry.moments,
            "moments.parquet": len(self.spans),
            "embeddings.npy": len(self.embeddings),
            "vectors.faiss": self.vectors.count,
            "videos.parquet": sum(video.num_moments for video in self.videos),
        }
        if len(set(counts.values())) != 1 or len(self.videos) != self.entry.videos:
            raise MomentIndexError(
                f"{folder}: its files count moments differently ({counts}). The index is damaged; build it again."
            )
        if self.embeddings.shape[1] != width or self.vectors.width != width or self.embeddings.dtype != np.float16:
            raise MomentIndexError(
                f"{folder}: embeddings are {self.embeddings.shape} {self.embeddings.dtype}, vectors {self.vectors.width} wide, "
                f"expected {width} float16. The index is damaged; build it again."
            )


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
