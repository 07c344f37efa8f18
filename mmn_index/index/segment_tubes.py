"""The tubes of a segment: a window is the time that a tube takes, and each of its frames has a box.

A proposal of a tube spans whole frames (tube_map.py). Of a tube with fewer frames than a map has clips some
proposals span none: they are rows like the others, are never found, and start and end together.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ..proposals import ProposalGrid
from ..tube_map import rows_of
from ..tubes import Tube
from .segment_files import BOX_COLUMNS, BOXES, TUBE_COLUMNS, TUBES, damaged, read_table

_EDGE = 0.05  # of a frame: answers round their seconds to thousandths
_GROUP = 1 << 14  # boxes of a row group, about: what is read for one moment


@dataclass(frozen=True)
class PlannedTube:
    """A tube that a window stands for."""

    number: int  # in its video
    first_frame: int  # counted from 1
    frames: int
    rate: float  # frames a second
    width: int  # of a frame, pixels
    height: int
    score: float  # of whatever found it

    @property
    def start(self) -> float:
        """Seconds from the beginning of the video."""
        return (self.first_frame - 1) / self.rate

    @property
    def length(self) -> float:
        """Seconds."""
        return self.frames / self.rate


@dataclass(frozen=True)
class MomentTube:
    """The boxes of a moment."""

    number: int  # of its tube in the video
    tube: Tube
    rate: float  # frames a second
    width: int  # of a frame, pixels
    height: int


class SegmentTubes:
    """The tables of tubes and boxes of a segment.

    Raises:
        OSError, ValueError, KeyError, pa.ArrowException: the tubes cannot be read.
        MomentIndexError: the boxes cannot, here and later, or do not fit the tubes.
    """

    def __init__(self, folder: Path, grid: ProposalGrid) -> None:
        self.path, self._boxes, self._grid = folder / TUBES, folder / BOXES, grid
        table = read_table(self.path, TUBE_COLUMNS)
        self.numbers, self.first_frames, self.frames, self.rates = (
            table[name].to_numpy() for name in ("tube", "first_frame", "frames", "rate")
        )  # (W,) each
        lowest = min(column.min() for column in (self.frames, self.first_frames))
        if lowest < 1 or not ((self.rates > 0) & np.isfinite(self.rates)).all():
            raise ValueError("a tube has no frame, no rate or a first frame below 1")
        self.table = table
        self._ends = self.frames.astype(np.int64).cumsum()
        try:
            # Kept open: what is open stays readable when another process replaces the segment.
            self._file = pa.OSFile(str(self._boxes))
            self._about = pq.read_metadata(self._file)
            if not self._about.schema.to_arrow_schema().equals(BOX_COLUMNS):
                raise ValueError(f"has columns {self._about.schema.names}")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise damaged(self._boxes, error) from error
        self._last = range(0), BOX_COLUMNS.empty_table()  # row groups that were read, and what is in them
        count = self._about.num_rows
        if count != self._ends[-1]:
            raise damaged(self._boxes, f"{count:,} boxes, the tubes have {self._ends[-1]:,} frames")

    @cached_property
    def filled(self) -> np.ndarray | None:
        """(n,) bool: which of the segment's rows hold a frame; None where all do."""
        counts, of = np.unique(self.frames, return_inverse=True)
        cells = rows_of(self._grid.cells[None], self._grid.num_clips, torch.from_numpy(counts)[:, None, None])
        full = (cells[..., 0] < cells[..., 1]).numpy()
        return None if full.all() else full[of].reshape(-1)

    def parts(self, windows: np.ndarray, proposals: np.ndarray) -> np.ndarray:
        """(n,) windows and proposals of their maps -> (n, 2) int64: the frames of each tube that it spans,
        counted from 0, the last one not included.
        """
        frames = torch.from_numpy(self.frames[windows])[:, None]
        cells = self._grid.cells[torch.from_numpy(proposals)]
        found: np.ndarray = rows_of(cells, self._grid.num_clips, frames).numpy()
        return found

    def spans(self, windows: np.ndarray, proposals: np.ndarray) -> np.ndarray:
        """(n,) windows and proposals -> (n, 2) float32 seconds."""
        edges = self.first_frames[windows, None] - 1 + self.parts(windows, proposals)
        seconds: np.ndarray = (edges / self.rates[windows, None]).astype(np.float32)
        return seconds

    def planned(self, windows: slice) -> tuple[PlannedTube, ...]:
        """What stands of some tubes in the table."""
        part = self.table.slice(windows.start, windows.stop - windows.start)
        return tuple(PlannedTube(*row.values()) for row in part.to_pylist())

    def boxes(self, window: int) -> np.ndarray:
        """All boxes of a tube, (n, 4) float32 pixels."""
        return self._read(window, 0, int(self.frames[window]))

    def moment(self, window: int, proposal: int) -> MomentTube:
        """The boxes of a proposal."""
        ((first, end),) = self.parts(np.array([window]), np.array([proposal])).tolist()
        return self._cut(window, first, end)

    def between(self, window: int, start: float, end: float) -> MomentTube | None:
        """The boxes of a tube from one second to another; None where it has none then."""
        begin, rate = int(self.first_frames[window]) - 1, float(self.rates[window])
        first = max(0, math.floor(start * rate + _EDGE) - begin)
        last = min(int(self.frames[window]), math.ceil(end * rate - _EDGE) - begin)
        return self._cut(window, first, last) if first < last else None

    def _cut(self, window: int, first: int, end: int) -> MomentTube:
        """Boxes first .. end - 1 of a tube."""
        about = self.planned(slice(window, window + 1))[0]
        frames = about.first_frame + torch.arange(first, end)
        boxes = torch.from_numpy(self._read(window, first, end))
        return MomentTube(about.number, Tube(frames, boxes), about.rate, about.width, about.height)

    @cached_property
    def _groups(self) -> np.ndarray:
        """(groups + 1,) first row of each row group of the boxes, and the end."""
        counts = [self._about.row_group(n).num_rows for n in range(self._about.num_row_groups)]
        return np.cumsum([0, *counts])

    def _read(self, window: int, first: int, end: int) -> np.ndarray:
        """Boxes first .. end - 1 of a tube."""
        begin = int(self._ends[window] - self.frames[window])
        low = int(np.searchsorted(self._groups, begin + first, side="right")) - 1
        wanted = range(low, int(np.searchsorted(self._groups, begin + end)))
        known, table = self._last
        if known != wanted:
            try:
                file = pq.ParquetFile(self._file, metadata=self._about)
                table = file.read_row_groups(list(wanted), columns=BOX_COLUMNS.names[2:])
            except (OSError, ValueError, pa.ArrowException) as error:
                raise damaged(self._boxes, error) from error
            self._last = wanted, table
        part = table.slice(begin + first - int(self._groups[low]), end - first)
        found = np.stack([column.to_numpy() for column in part.columns], axis=1)
        if found.shape != (end - first, 4) or not np.isfinite(found).all():
            raise damaged(self._boxes, f"tube {window} has no box in some of its frames")
        return found


def write_tables(folder: Path, tubes: Iterable[PlannedTube], boxes: Iterable[np.ndarray]) -> None:
    """Write the tables of a segment.

    Args:
        tubes: of every window, in order.
        boxes: (n, 4) pixels, of each of them.
    """
    planned = list(tubes)
    rows = zip(*[vars(tube).values() for tube in planned], strict=True)
    columns = dict(zip(TUBE_COLUMNS.names, map(list, rows), strict=True))
    pq.write_table(pa.table(columns, schema=TUBE_COLUMNS), folder / TUBES)
    with pq.ParquetWriter(folder / BOXES, BOX_COLUMNS) as writer:
        for part in _grouped(_box_tables(planned, boxes)):
            writer.write_table(part)


def _box_tables(planned: Iterable[PlannedTube], boxes: Iterable[np.ndarray]) -> Iterator[pa.Table]:
    for window, (tube, own) in enumerate(zip(planned, boxes, strict=True)):
        if own.shape != (tube.frames, 4):
            raise ValueError(f"boxes of shape {own.shape}, expected ({tube.frames}, 4)")
        numbers = [np.full(tube.frames, window), tube.first_frame + np.arange(tube.frames)]
        columns = [*(number.astype(np.int32) for number in numbers), *own.astype(np.float32).T]
        yield pa.table(dict(zip(BOX_COLUMNS.names, columns, strict=True)), schema=BOX_COLUMNS)


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables joined until they make a row group."""
    waiting, count = list[pa.Table](), 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        if count >= _GROUP:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, count = [], 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()
