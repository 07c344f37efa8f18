"""One segment: the moments of some videos, never changed once it is written.

A moment is a row number: row n of embeddings.npy is row n of moments.parquet and vector n of vectors.faiss.
Every window of a video has all P proposals of the grid, so row n is proposal n % P of window n // P: with
windows.parquet that is how a search knows what a row means. The windows of a video follow each other.
moments.parquet says the same to other programs.
"""

import mmap
import tokenize
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..errors import MomentIndexError
from ..windows import Window
from .manifest import Manifest, SegmentEntry
from .segment_files import (
    BACKGROUND,
    EMBEDDINGS,
    HUBS,
    MOMENTS,
    TUBES,
    VECTORS,
    VIDEO_COLUMNS,
    VIDEOS,
    WINDOW_COLUMNS,
    WINDOWS,
    background_type,
    damaged,
    draw,
    read_table,
)
from .segment_tubes import SegmentTubes
from .vectors import HUB_WIDTH, Vectors

_LEAST = 1 << 8  # moments of background.npy after videos were removed


class Segment:
    """Read access to one segment; sizes and counts are compared with the manifest at once, its candidate
    index is read when needed.

    Raises:
        MomentIndexError: a file is missing, truncated, or disagrees with the others.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, manifest: Manifest) -> None:
        grid, stored = manifest.grid, manifest.width
        self.entry, self.folder, self.per_window, self.longest = entry, folder, len(grid), manifest.longest
        _check_sizes(folder, entry)
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
            self.table = read_table(path, VIDEO_COLUMNS)
            firsts = self.table["first_moment"].to_numpy()
            path = folder / WINDOWS
            windows = read_table(path, WINDOW_COLUMNS)
            self.window_videos = windows["video"].to_numpy()  # (W,) rows of videos.parquet
            self.starts, self.lengths = windows["start"].to_numpy(), windows["length"].to_numpy()
            path = folder / TUBES
            if manifest.tubes != (TUBES in entry.files):
                raise ValueError(f"the manifest says {'' if manifest.tubes else 'no '}tubes")
            self.tubes = SegmentTubes(folder, grid) if manifest.tubes else None
        except (OSError, ValueError, KeyError, SyntaxError, tokenize.TokenError, pa.ArrowException) as error:
            raise damaged(path, error) from error
        width = stored + (0 if hubs is None else HUB_WIDTH)
        self.vectors = (
            Vectors(folder / VECTORS, entry.candidates, entry.moments, width) if entry.candidates else None
        )
        self._edges = (grid.cells.numpy() + np.array([0, 1])).astype(np.float32)
        self._clips = np.float32(grid.num_clips)
        counts = {EMBEDDINGS: len(array), MOMENTS: counted, WINDOWS: len(windows) * self.per_window}
        if self.drawn.dtype != background_type(stored):
            raise MomentIndexError(
                f"{folder / BACKGROUND}: holds {self.drawn.dtype}, expected rows and embeddings. The index "
                "is damaged; build it again."
            )
        counts |= {} if hubs is None else {HUBS: len(hubs)}
        counts |= {} if self.tubes is None else {TUBES: len(self.tubes.frames) * self.per_window}
        self._check(counts, array, stored)
        # (V + 1,): the first window of each video, and the end
        self.first_window = np.searchsorted(self.window_videos, np.arange(len(firsts) + 1))
        self._check_order(firsts)
        self.embeddings: Tensor = torch.from_numpy(array)  # (n, spaces * C) float16, on disk
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

    @cached_property
    def places(self) -> dict[str, int]:
        """Row of every video that was not removed, by its id."""
        return dict(zip(self.ids(self.live), np.flatnonzero(self.live).tolist(), strict=True))

    def mask(self, ids: Iterable[str]) -> np.ndarray:
        """Which videos have one of some ids; none that was removed."""
        found = np.zeros(len(self.live), dtype=bool)
        found[[self.places[name] for name in ids if name in self.places]] = True
        return found

    def ids(self, videos: np.ndarray) -> list[str]:
        """Ids of the videos of a mask."""
        found: list[str] = self.names[videos].tolist()
        return found

    def rows_of(self, video: int) -> tuple[int, int]:
        """First row of a video, and the one behind its last."""
        first, last = self.first_window[video : video + 2].tolist()
        return first * self.per_window, last * self.per_window

    @property
    def filled(self) -> np.ndarray | None:
        """(n,) bool: which rows are moments; None where all are. Of a short tube some span no frame."""
        return None if self.tubes is None else self.tubes.filled

    @property
    def moments(self) -> int:
        """How many there are, those of removed videos too."""
        return self.entry.moments if self.filled is None else int(self.filled.sum())

    def moments_of(self, videos: np.ndarray) -> np.ndarray:
        """Which rows are moments of the videos of a mask: (n,) bool."""
        rows = np.repeat(videos[self.window_videos], self.per_window)
        return rows if self.filled is None else rows & self.filled

    def windows_of(self, video: int) -> list[Window]:
        """The windows of a video."""
        part = slice(*self.first_window[video : video + 2].tolist())
        return [
            Window(*pair)
            for pair in zip(self.starts[part].tolist(), self.lengths[part].tolist(), strict=True)
        ]

    def spans(self, rows: np.ndarray) -> np.ndarray:
        """(n,) rows -> (n, 2) float32 seconds, in the arithmetic of ProposalGrid.seconds; of tubes the times
        of whole frames.
        """
        window, proposal = np.divmod(rows, self.per_window)
        if self.tubes is not None:
            return self.tubes.spans(window, proposal)
        within = self._edges[proposal] * self.lengths[window].astype(np.float32)[:, None] / self._clips
        spans: np.ndarray = within + self.starts[window].astype(np.float32)[:, None]
        return spans

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (s,) int64 of videos that were not removed, drawn evenly, and their embeddings (s, width)
        float16.

        Raises:
            MomentIndexError: background.npy names rows that there are not.
        """
        rows = self.drawn["row"]
        if rows.min() < 0 or rows.max() >= self.entry.moments:
            raise MomentIndexError(
                f"{self.folder / BACKGROUND}: has rows from {rows.min()} to {rows.max()}, expected 0 to "
                f"{self.entry.moments - 1}. The index is damaged; build it again."
            )
        live = self.live[self.window_videos[rows // self.per_window]]
        if live.sum() >= _LEAST or live.all():
            return rows[live], self.drawn["embedding"][live]
        # Most that were drawn are removed: they are drawn anew among those that are left.
        rows = draw(np.flatnonzero(self.moments_of(self.live)))
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

    def _check_order(self, firsts: np.ndarray) -> None:
        """Windows of each video stand together, where the table of videos says."""
        numbers = np.arange(len(firsts))
        in_order = np.array_equal(np.unique(self.window_videos), numbers)
        if (
            not in_order
            or len(firsts) != self.entry.videos
            or (np.diff(self.window_videos) < 0).any()
            or not np.array_equal(firsts, self.first_window[:-1] * self.per_window)
            or not set(self.entry.removed) <= set(numbers.tolist())
        ):
            raise MomentIndexError(
                f"{self.folder / VIDEOS}: disagrees with the manifest on rows. The index is damaged; build "
                "it again."
            )


def _check_sizes(folder: Path, entry: SegmentEntry) -> None:
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
