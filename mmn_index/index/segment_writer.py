"""Write a segment, window by window; a killed process is taken up where it stopped."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..proposals import ProposalGrid
from ..windows import Window
from .codes import Codebook, write_vectors
from .manifest import CandidateAbout, SegmentEntry, sync_folder
from .segment_files import (
    BACKGROUND,
    BOXES,
    EMBEDDINGS,
    HUBS,
    MOMENT_COLUMNS,
    MOMENTS,
    PROGRESS,
    TUBE_COLUMNS,
    TUBES,
    VECTORS,
    VIDEO_COLUMNS,
    VIDEOS,
    WINDOW_COLUMNS,
    WINDOWS,
    background_type,
    draw,
    on_disk,
    text_of,
)
from .segment_tubes import PlannedTube, SegmentTubes, write_tables

_GROUP = 1 << 16  # rows of a row group of moments.parquet, about


@dataclass(frozen=True)
class PlannedVideo:
    """One video that a segment will hold."""

    video_id: str
    uri: str | None
    duration: float  # seconds
    windows: tuple[Window, ...] = ()  # that have a map each; none given: one window, the whole video
    tubes: tuple[PlannedTube, ...] = ()  # of an index of tubes: the windows are the times that they take

    def __post_init__(self) -> None:
        if self.tubes:
            object.__setattr__(self, "windows", tuple(Window(each.start, each.length) for each in self.tubes))
        if not self.windows:
            object.__setattr__(self, "windows", (Window(0.0, self.duration),))


class SegmentWriter:
    """Write one segment into `folder`, window by window, in the order of the plan; memory stays bounded.

    What `keep` has brought to the disk is still there after a crash: a writer in the same folder goes on
    behind it, so a folder must belong to one plan (see IndexWriter.segment).

    Args:
        folder: is created; it is not part of an index before a manifest names it.
        grid: the proposals of every video.
        joint_dim: C.
        videos: all that will come.
        metadata: columns of the user's, a row a video, in the order of `videos`.
        spaces: joint spaces of the model: 2, or 1.

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
        *,
        spaces: int = 2,
    ) -> None:
        self.folder = folder
        self._grid, self._videos, self._metadata = grid, list(videos), metadata
        self.windows = sum(len(video.windows) for video in videos)
        self._shape = (self.windows * len(grid), spaces * joint_dim)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / EMBEDDINGS
        # A process that was killed while it removed the folder may have left the one file without the other.
        self.done = int(text_of(folder / PROGRESS) or 0) if path.is_file() else 0  # windows
        if self.done:
            self._embeddings = np.lib.format.open_memmap(path, mode="r+")
            return
        self._embeddings = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=self._shape)
        # Claimed at once: a memory-mapped file that finds the disk full in the middle would end the process.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def add(self, embeddings: np.ndarray) -> None:
        """Append the next window's (P, spaces * C) embeddings: row p is proposal p of the grid."""
        count = len(self._grid)
        if embeddings.shape != (count, self._shape[1]):
            raise ValueError(f"embeddings of shape {embeddings.shape}, expected {(count, self._shape[1])}")
        self._embeddings[self.done * count : (self.done + 1) * count] = embeddings
        self.done += 1

    def keep(self, done: int | None = None) -> None:
        """Bring the first `done` windows to the disk, or all so far; others may be added meanwhile."""
        done = self.done if done is None else done
        self._embeddings.flush()
        aside = self.folder / f"{PROGRESS}.tmp"
        aside.write_text(str(done), encoding="utf-8")
        aside.replace(self.folder / PROGRESS)

    @property
    def embeddings(self) -> Tensor:
        """(n, spaces * C) float16, on disk: what was added so far, zeros behind it."""
        return torch.from_numpy(self._embeddings)

    def finish(
        self,
        candidates: CandidateAbout | None = None,
        hubs: np.ndarray | None = None,
        boxes: Iterable[np.ndarray] | None = None,
        codebook: Codebook | None = None,
    ) -> SegmentEntry:
        """Write the tables and the candidate index, bring everything to the disk, and return the manifest's
        entry.

        Args:
            candidates: the candidate index to make; None for a segment that is scanned.
            hubs: (n,) float32, h of every moment, in an index with a bank.
            boxes: (frames, 4) pixels of each window in turn, in an index of tubes.
            codebook: what the candidate index shares with other segments; None trains one for this segment.
        """
        if self.done != self.windows:
            raise ValueError(f"{self.done} windows came, {self.windows} were announced")
        self._embeddings.flush()
        self._write_videos()
        self._write_windows()
        names = [MOMENTS, VIDEOS, WINDOWS, EMBEDDINGS, BACKGROUND]
        tubes = None
        if boxes is not None:
            write_tables(self.folder, [tube for video in self._videos for tube in video.tubes], boxes)
            tubes = SegmentTubes(self.folder, self._grid)
            names += [TUBES, BOXES]
        self._write_moments(tubes)
        np.save(self.folder / BACKGROUND, self._background(None if tubes is None else tubes.filled))
        for name in (HUBS, VECTORS):
            (self.folder / name).unlink(missing_ok=True)  # of a killed process that was to make one
        if hubs is not None:
            np.save(self.folder / HUBS, hubs)
            names.append(HUBS)
        if candidates is not None:
            trained = write_vectors(
                self.folder / VECTORS, self._embeddings, candidates.factory, hubs, codebook
            )
            candidates = replace(candidates, trained=trained)
            names.append(VECTORS)
        files = {name: on_disk(self.folder / name) for name in names}
        sync_folder(self.folder)
        return SegmentEntry(self.folder.name, len(self._videos), self._shape[0], files, candidates)

    def _write_videos(self) -> None:
        counts = [len(video.windows) * len(self._grid) for video in self._videos]
        columns = [
            [video.video_id for video in self._videos],
            [video.uri for video in self._videos],
            [video.duration for video in self._videos],
            [0, *accumulate(counts)][:-1],
            counts,
        ]
        table = pa.table(dict(zip(VIDEO_COLUMNS.names, columns, strict=True)), schema=VIDEO_COLUMNS)
        if self._metadata is not None:
            for name in self._metadata.column_names:
                table = table.append_column(name, self._metadata[name])
        pq.write_table(table, self.folder / VIDEOS)

    def _write_windows(self) -> None:
        columns = [
            [number for number, video in enumerate(self._videos) for _ in video.windows],
            [window.start for video in self._videos for window in video.windows],
            [window.length for video in self._videos for window in video.windows],
        ]
        table = pa.table(dict(zip(WINDOW_COLUMNS.names, columns, strict=True)), schema=WINDOW_COLUMNS)
        pq.write_table(table, self.folder / WINDOWS)

    def _background(self, filled: np.ndarray | None) -> np.ndarray:
        """Some rows, drawn evenly, with their embeddings: (s,) structured."""
        count, width = self._shape
        rows = draw(np.arange(count) if filled is None else np.flatnonzero(filled))
        found = np.empty(len(rows), dtype=background_type(width))
        found["row"], found["embedding"] = rows, self._embeddings[rows]
        return found

    def _write_moments(self, tubes: SegmentTubes | None) -> None:
        count, cells = len(self._grid), self._grid.cells.numpy().astype(np.int16)
        names = [video.video_id for video in self._videos]
        windows = [(number, window) for number, video in enumerate(self._videos) for window in video.windows]
        step = max(1, _GROUP // count)
        schema = MOMENT_COLUMNS if tubes is None else MOMENT_COLUMNS.append(TUBE_COLUMNS.field("tube"))
        with pq.ParquetWriter(self.folder / MOMENTS, schema) as writer:
            for first in range(0, len(windows), step):
                part = windows[first : first + step]
                numbers = np.repeat(np.arange(first, first + len(part), dtype=np.int32), count)
                if tubes is None:
                    spans = np.concatenate(
                        [np.float32(w.start) + self._grid.seconds(w.length).numpy() for _, w in part]
                    )
                else:
                    spans = tubes.spans(numbers, np.tile(np.arange(count), len(part)))
                videos = np.repeat(np.array([number for number, _ in part], dtype=np.int32), count)
                here = names[part[0][0] : part[-1][0] + 1]
                ids = pa.DictionaryArray.from_arrays(pa.array(videos - videos[0]), pa.array(here))
                clips = np.tile(cells, (len(part), 1))
                columns = [videos, ids, spans[:, 0], spans[:, 1], clips[:, 0], clips[:, 1], numbers]
                if tubes is not None:
                    columns.append(tubes.numbers[numbers])
                writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema))
