"""One segment: the moments of some videos, never changed once it is written.

A moment is a row number: row n of embeddings.npy is row n of moments.parquet and vector n of vectors.faiss.
Every video has all P proposals of the grid, so row n is proposal n % P of video n // P: that is how a search
knows what a row means. There is no second table that could disagree with the first; moments.parquet says the
same to other programs.
"""

import hashlib
import mmap
import os
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..errors import MomentIndexError
from ..proposals import ProposalGrid
from .manifest import CandidateAbout, SegmentEntry, sync_folder
from .vectors import HUB_WIDTH, Vectors, write_vectors

MOMENTS, VIDEOS, EMBEDDINGS = "moments.parquet", "videos.parquet", "embeddings.npy"
HUBS, BACKGROUND, VECTORS = "hubs.npy", "background.npy", "vectors.faiss"
PROGRESS = "progress"  # how many videos are on the disk; of no use once the segment is published
_SAMPLE, _LEAST = 1 << 12, 1 << 8  # moments of background.npy, and of them after videos were removed
_GROUP = 1 << 16  # rows of a row group of moments.parquet, about
_MOMENT_COLUMNS = pa.schema(
    [
        ("video", pa.int32()),  # row in videos.parquet
        ("video_id", pa.dictionary(pa.int32(), pa.string())),
        ("start", pa.float32()),  # seconds
        ("end", pa.float32()),
        ("first_clip", pa.int16()),
        ("last_clip", pa.int16()),  # included
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


@dataclass(frozen=True)
class PlannedVideo:
    """One video that a segment will hold."""

    video_id: str
    uri: str | None
    duration: float  # seconds


class SegmentWriter:
    """Write one segment into `folder`, video by video, in the order of the plan; memory stays bounded.

    What `keep` has brought to the disk is still there after a crash: a writer in the same folder goes on
    behind it, so a folder must belong to one plan (see IndexWriter.segment).

    Args:
        folder: is created; it is not part of an index before a manifest names it.
        grid: the proposals of every video.
        joint_dim: C.
        videos: all that will come.
        metadata: columns of the user's, a row a video, in the order of `videos`.

    Raises:
        OSError: the disk refused; at once where there is no room for the embeddings.
    """

    def __init__(
        self,
        folder: Path,
        grid: ProposalGrid,
        joint_dim: int,
        videos: Sequence[PlannedVideo],
        metadata: pa.Table | None = None,
    ) -> None:
        self.folder = folder
        self._grid, self._videos, self._metadata = grid, list(videos), metadata
        self._shape = (len(videos) * len(grid), 2 * joint_dim)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / EMBEDDINGS
        # A process that was killed while it removed the folder may have left the one file without the other.
        self.done = int(_text(folder / PROGRESS) or 0) if path.is_file() else 0  # videos
        if self.done:
            self._embeddings = np.lib.format.open_memmap(path, mode="r+")
            return
        self._embeddings = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=self._shape)
        # Claimed at once: a memory-mapped file that finds the disk full in the middle would end the process.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def add(self, embeddings: np.ndarray) -> None:
        """Append the next video's (P, 2 C) embeddings: row p is proposal p of the grid."""
        count = len(self._grid)
        if embeddings.shape != (count, self._shape[1]):
            raise ValueError(f"embeddings of shape {embeddings.shape}, expected {(count, self._shape[1])}")
        self._embeddings[self.done * count : (self.done + 1) * count] = embeddings
        self.done += 1

    def keep(self, done: int | None = None) -> None:
        """Bring the first `done` videos to the disk, or all so far; others may be added meanwhile."""
        done = self.done if done is None else done
        self._embeddings.flush()
        aside = self.folder / f"{PROGRESS}.tmp"
        aside.write_text(str(done), encoding="utf-8")
        aside.replace(self.folder / PROGRESS)

    @property
    def embeddings(self) -> Tensor:
        """(n, 2 C) float16, on disk: what was added so far, zeros behind it."""
        return torch.from_numpy(self._embeddings)

    def finish(
        self, candidates: CandidateAbout | None = None, hubs: np.ndarray | None = None
    ) -> SegmentEntry:
        """Write the tables and the candidate index, bring everything to the disk, and return the manifest's
        entry.

        Args:
            candidates: the candidate index to make; None for a segment that is scanned.
            hubs: (n,) float32, h of every moment, in an index with a bank.
        """
        if self.done != len(self._videos):
            raise ValueError(f"{self.done} videos came, {len(self._videos)} were announced")
        self._embeddings.flush()
        self._write_videos()
        self._write_moments()
        np.save(self.folder / BACKGROUND, self._background())
        names = [MOMENTS, VIDEOS, EMBEDDINGS, BACKGROUND]
        for name in (HUBS, VECTORS):
            (self.folder / name).unlink(missing_ok=True)  # of a killed process that was to make one
        if hubs is not None:
            np.save(self.folder / HUBS, hubs)
            names.append(HUBS)
        if candidates is not None:
            write_vectors(self.folder / VECTORS, self._embeddings, candidates.factory, hubs)
            names.append(VECTORS)
        files = {}
        for name in names:
            with (self.folder / name).open("rb") as file:
                os.fsync(file.fileno())
            files[name] = ((self.folder / name).stat().st_size, digest(self.folder / name))
        sync_folder(self.folder)
        return SegmentEntry(self.folder.name, len(self._videos), self._shape[0], files, candidates)

    def _write_videos(self) -> None:
        count = len(self._grid)
        columns = [
            [video.video_id for video in self._videos],
            [video.uri for video in self._videos],
            [video.duration for video in self._videos],
            [number * count for number in range(len(self._videos))],
            [count] * len(self._videos),
        ]
        table = pa.table(dict(zip(VIDEO_COLUMNS.names, columns, strict=True)), schema=VIDEO_COLUMNS)
        if self._metadata is not None:
            for name in self._metadata.column_names:
                table = table.append_column(name, self._metadata[name])
        pq.write_table(table, self.folder / VIDEOS)

    def _background(self) -> np.ndarray:
        """Some rows, drawn evenly, with their embeddings: (s,) structured."""
        count, width = self._shape
        rows = draw(np.arange(count))
        found = np.empty(len(rows), dtype=_background_type(width))
        found["row"], found["embedding"] = rows, self._embeddings[rows]
        return found

    def _write_moments(self) -> None:
        count, cells = len(self._grid), self._grid.cells.numpy().astype(np.int16)
        step = max(1, _GROUP // count)
        with pq.ParquetWriter(self.folder / MOMENTS, _MOMENT_COLUMNS) as writer:
            for first in range(0, len(self._videos), step):
                part = self._videos[first : first + step]
                spans = np.concatenate([self._grid.seconds(video.duration).numpy() for video in part])
                local = np.repeat(np.arange(len(part), dtype=np.int32), count)
                names = pa.DictionaryArray.from_arrays(
                    pa.array(local), pa.array([video.video_id for video in part])
                )
                clips = np.tile(cells, (len(part), 1))
                columns = [local + np.int32(first), names, spans[:, 0], spans[:, 1], clips[:, 0], clips[:, 1]]
                writer.write_table(
                    pa.table(dict(zip(_MOMENT_COLUMNS.names, columns, strict=True)), schema=_MOMENT_COLUMNS)
                )


class Segment:
    """Read access to one segment; sizes and counts are compared with the manifest at once, its candidate
    index is read when needed.

    Raises:
        MomentIndexError: a file is missing, truncated, or disagrees with the others.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, grid: ProposalGrid, joint_dim: int) -> None:
        self.entry, self.folder, self.per_video = entry, folder, len(grid)
        for name, (expected, _) in entry.files.items():
            path = folder / name
            try:
                size = path.stat().st_size
            except OSError:
                raise MomentIndexError(f"{path}: is missing. The index is damaged; build it again.") from None
            if size != expected:
                raise MomentIndexError(
                    f"{path}: has {size} bytes, expected {expected}. The index is damaged; build it again."
                )
        path = folder / EMBEDDINGS
        try:
            # Mapped privately: torch takes no read-only memory, and nothing here writes.
            array = np.load(path, mmap_mode="c", allow_pickle=False)
            path = folder / HUBS
            hubs = np.load(path, mmap_mode="c", allow_pickle=False) if HUBS in entry.files else None
            path = folder / BACKGROUND
            self.drawn = np.load(path, mmap_mode="r", allow_pickle=False)
            path = folder / MOMENTS
            counted = pq.read_metadata(path).num_rows
            path = folder / VIDEOS
            self.table = pq.read_table(path)
            firsts = self.table["first_moment"].to_numpy()
            self._duration = self.table["duration"].to_numpy().astype(np.float32)
        except (OSError, ValueError, KeyError, SyntaxError, tokenize.TokenError, pa.ArrowException) as error:
            raise MomentIndexError(
                f"{path}: cannot be read ({error}). The index is damaged; build it again."
            ) from error
        width = 2 * joint_dim + (0 if hubs is None else HUB_WIDTH)
        self.vectors = (
            Vectors(folder / VECTORS, entry.candidates, entry.moments, width) if entry.candidates else None
        )
        self._edges = (grid.cells.numpy() + np.array([0, 1])).astype(np.float32)
        self._clips = np.float32(grid.num_clips)
        counts = {EMBEDDINGS: len(array), MOMENTS: counted, VIDEOS: len(firsts) * self.per_video}
        if self.drawn.dtype != _background_type(2 * joint_dim):
            raise MomentIndexError(
                f"{folder / BACKGROUND}: holds {self.drawn.dtype}, expected rows and embeddings. The index "
                "is damaged; build it again."
            )
        self._check(counts | ({} if hubs is None else {HUBS: len(hubs)}), array, 2 * joint_dim)
        if not np.array_equal(firsts, np.arange(len(firsts)) * self.per_video) or not set(
            entry.removed
        ) <= set(range(len(firsts))):
            raise MomentIndexError(
                f"{folder / VIDEOS}: disagrees with the manifest on rows. The index is damaged; build it "
                "again."
            )
        self.embeddings: Tensor = torch.from_numpy(array)  # (n, 2 C) float16, on disk
        # (n,) float32: h of every moment
        self.hubs: Tensor | None = None if hubs is None else torch.from_numpy(hubs)
        self._map: mmap.mmap = array._mmap
        self.live: np.ndarray = np.ones(len(firsts), dtype=bool)  # videos that were not removed
        self.live[list(entry.removed)] = False

    @cached_property
    def names(self) -> np.ndarray:
        """Id of every video, removed ones too."""
        found: np.ndarray = self.table["video_id"].to_numpy()
        return found

    def ids(self, videos: np.ndarray) -> list[str]:
        """Ids of the videos of a mask."""
        found: list[str] = self.names[videos].tolist()
        return found

    def rows_of(self, video: int) -> tuple[int, int]:
        """First row of a video, and the one behind its last."""
        return video * self.per_video, (video + 1) * self.per_video

    def spans(self, rows: np.ndarray) -> np.ndarray:
        """(n,) rows -> (n, 2) float32 seconds, in the arithmetic of ProposalGrid.seconds."""
        video, proposal = np.divmod(rows, self.per_video)
        spans: np.ndarray = self._edges[proposal] * self._duration[video][:, None] / self._clips
        return spans

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (s,) int64 of videos that were not removed, drawn evenly, and their embeddings (s, 2 C)
        float16.

        Raises:
            MomentIndexError: background.npy names rows that there are not.
        """
        rows, left = self.drawn["row"], int(self.live.sum()) * self.per_video
        if rows.min() < 0 or rows.max() >= self.entry.moments:
            raise MomentIndexError(
                f"{self.folder / BACKGROUND}: has rows from {rows.min()} to {rows.max()}, expected 0 to "
                f"{self.entry.moments - 1}. The index is damaged; build it again."
            )
        live = self.live[rows // self.per_video]
        if live.sum() >= min(_LEAST, left):
            return rows[live], self.drawn["embedding"][live]
        # Most that were drawn are removed: they are drawn anew among those that are left.
        rows = draw(np.flatnonzero(np.repeat(self.live, self.per_video)))
        return rows, self.embeddings[torch.from_numpy(rows)].numpy()

    def release(self) -> None:
        """Give mapped pages back, so that a process does not grow to the size of its index; the disk cache
        keeps them.
        """
        self._map.madvise(mmap.MADV_DONTNEED)

    def _check(self, counts: dict[str, int], array: np.ndarray, width: int) -> None:
        counts["manifest.json"] = self.entry.moments
        if len(set(counts.values())) != 1:
            raise MomentIndexError(
                f"{self.folder}: its files count moments differently ({counts}). The index is damaged; build "
                "it again."
            )
        if array.shape[1] != width or array.dtype != np.float16:
            raise MomentIndexError(
                f"{self.folder}: embeddings are {array.shape} {array.dtype}, expected {width} float16. "
                "The index is damaged; build it again."
            )


def draw(rows: np.ndarray) -> np.ndarray:
    """At most _SAMPLE of some rows, each as likely as any other, always the same; in rising order."""
    return np.sort(np.random.default_rng(0).choice(rows, min(_SAMPLE, len(rows)), replace=False))


def _background_type(width: int) -> np.dtype[np.void]:
    return np.dtype([("row", np.int64), ("embedding", np.float16, (width,))])


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
