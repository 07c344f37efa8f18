"""Which segment, window and video each row of an index belongs to.

Row numbers, window numbers and video numbers run through the segments in their order; those of removed videos
stay unused.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from ..windows import Window
from .segment import Segment
from .segment_tubes import MomentTube, PlannedTube
from .selection import Part


class Rows:
    """The numbering of some segments.

    Args:
        per_window: P, rows of a window.
    """

    def __init__(self, segments: Sequence[Segment], per_window: int) -> None:
        self._segments, self._per_window = segments, per_window
        self.first = np.cumsum([0] + [segment.entry.moments for segment in segments])  # row of each segment
        self.first_video = list(accumulate((segment.entry.videos for segment in segments), initial=0))
        videos, first, windows = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)], 0
        for segment, offset in zip(segments, self.first_video, strict=False):
            videos.append(segment.window_videos.astype(np.int64) + offset)
            first.append(segment.first_window[1:] + windows)
            windows += len(segment.window_videos)
        self._window_videos, self._first_window = np.concatenate(videos), np.concatenate(first)

    def place(self, video: int) -> tuple[Segment, int]:
        """The segment that a video lies in, and its row of videos.parquet there."""
        segment = bisect_right(self.first_video, video) - 1
        return self._segments[segment], video - self.first_video[segment]

    def videos_of(self, rows: np.ndarray) -> np.ndarray:
        """Video numbers of rows of any shape."""
        found: np.ndarray = self._window_videos[rows // self._per_window]
        return found

    def of(self, video: int) -> np.ndarray:
        """All rows of a video, those of its windows in turn."""
        first, last = (self._first_window[video : video + 2] * self._per_window).tolist()
        return np.arange(first, last)

    def within(self, parts: Sequence[Part]) -> np.ndarray:
        """All rows of some parts of the segments, in rising order."""
        found = [np.zeros(0, dtype=np.int64)]
        for first, part in zip(self.first, parts, strict=False):
            rows = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(*run) for run in part.runs)])
            found.append(first + (rows if part.keep is None else rows[part.keep]))
        return np.concatenate(found)

    def window_of(self, row: int) -> Window:
        """The window that a row is a proposal of."""
        number = row // self._per_window
        video = int(self._window_videos[number])
        return self.windows_of(video)[number - int(self._first_window[video])]

    def windows_of(self, video: int) -> list[Window]:
        """The windows of a video."""
        segment, row = self.place(video)
        return segment.windows_of(row)

    def spans(self, rows: np.ndarray) -> np.ndarray:
        """Start and end of rows of any shape, (*rows.shape, 2) float32 seconds."""
        flat = rows.reshape(-1)
        found = np.empty((len(flat), 2), dtype=np.float32)
        for segment, first, here in self.by_segment(flat):
            found[here] = segment.spans(flat[here] - first)
        return found.reshape(*rows.shape, 2)

    def tubes(self, rows: np.ndarray) -> np.ndarray | None:
        """Number of the tube that rows of any shape are of; None where windows are no tubes."""
        flat = rows.reshape(-1)
        found = np.empty(len(flat), dtype=np.int64)
        for segment, first, here in self.by_segment(flat):
            if segment.tubes is None:
                return None
            found[here] = segment.tubes.numbers[(flat[here] - first) // self._per_window]
        return found.reshape(rows.shape)

    def tube(self, row: int) -> MomentTube | None:
        """The boxes of a moment; None where windows are no tubes."""
        ((segment, first, _),) = self.by_segment(np.array([row]))
        if segment.tubes is None:
            return None
        return segment.tubes.moment(*divmod(row - first, self._per_window))

    def tube_between(self, video: int, number: int, start: float, end: float) -> MomentTube | None:
        """The boxes of a tube of a video from one second to another; None where there are none."""
        segment, row = self.place(video)
        first, last = segment.first_window[row : row + 2].tolist()
        if segment.tubes is None or not (here := segment.tubes.numbers[first:last] == number).any():
            return None
        return segment.tubes.between(first + int(here.argmax()), start, end)

    def planned_tubes(self, video: int) -> tuple[PlannedTube, ...]:
        """The tubes of a video without their boxes; none where windows are no tubes."""
        segment, row = self.place(video)
        if segment.tubes is None:
            return ()
        return segment.tubes.planned(slice(*segment.first_window[row : row + 2].tolist()))

    def tubes_of(self, video: int) -> list[tuple[PlannedTube, np.ndarray]]:
        """The tubes of a video with all their boxes, (frames, 4) pixels; none where windows are no tubes."""
        segment, row = self.place(video)
        if segment.tubes is None:
            return []
        first = int(segment.first_window[row])
        planned = enumerate(self.planned_tubes(video), first)
        return [(tube, segment.tubes.boxes(window)) for window, tube in planned]

    def by_segment(self, rows: np.ndarray) -> list[tuple[Segment, int, np.ndarray]]:
        """Segments that (n,) rows lie in, their first row, and which of the rows."""
        found = by_segment(self.first, rows)
        return [(self._segments[number], int(self.first[number]), here) for number, here in found]


def by_segment(first: np.ndarray, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Numbers of the segments that (n,) rows lie in, and which of the rows; `first` has the first row of each
    segment, and the end.
    """
    if len(first) == 2:
        return [(0, np.ones(len(rows), dtype=bool))]
    of = np.searchsorted(first, rows, side="right") - 1
    return [(number, of == number) for number in np.unique(of).tolist()]
