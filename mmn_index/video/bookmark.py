"""Where a walk over a video was, so that a later one can go on there without decoding what lies before.

A seek is trusted only if it is proved to lead to the same frames. There is a bookmark only where all stamps
until then were plain (`ClockState`) and nothing was damaged. After the seek, the packet must lie at the same
byte of the file, the clock must have the same state, and the images before the bookmark must be the same.
"""

import zlib
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .clock import Clock, ClockState
from .container import Progress, VideoFile
from .picture import Picture

LOOKED_BACK_AT = 8  # ticks before a bookmark, whose images must be the same
_KEPT = 64  # ticks; bookmarks are made of the last ones


@dataclass(frozen=True)
class Bookmark:
    """A tick of a walk at one rate and size, before which a later walk can go on.

    Attributes:
        tick: the first one that is still to come.
        begin: the raw time of the frame shown at the first tick whose image is checked, in seconds.
        place: the byte of the file where the packet of the frame shown at the last tick begins.
        images: checksums of the images of the last ticks.
        clock, progress: what the clock and the file knew then.
    """

    tick: int
    begin: float
    place: int
    images: tuple[int, ...]
    clock: ClockState
    progress: Progress

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {**asdict(self), "clock": self.clock._asdict(), "progress": self.progress._asdict()}

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> "Bookmark":
        """A bookmark that was kept.

        Raises:
            TypeError, ValueError, KeyError: it is none.
        """
        clock, pause, delay = held["clock"], held["clock"]["pause"], held["progress"]["delay"]
        return cls(
            tick=int(held["tick"]),
            begin=float(held["begin"]),
            place=int(held["place"]),
            images=tuple(int(image) for image in held["images"]),
            clock=ClockState(
                float(clock["zero"]),
                float(clock["raw"]),
                None if pause is None else (float(pause[0]), float(pause[1])),
                int(clock["since_pause"]),
            ),
            progress=Progress(None if delay is None else float(delay), float(held["progress"]["end_of_all"])),
        )


@dataclass(frozen=True)
class _Mark:
    raw: float | None
    place: int | None
    image: int
    clock: ClockState | None
    progress: Progress
    damaged: bool


class Marks:
    """What is kept of the last ticks of a walk, to make bookmarks of."""

    def __init__(self) -> None:
        self._next = 0
        self._marks: deque[_Mark] = deque(maxlen=_KEPT)

    def add(self, tick: int, shown: Picture, image: np.ndarray, video: VideoFile, clock: Clock) -> None:
        """Keep what there is to know of the tick after the last one, or of the first one."""
        self._next = tick + 1
        self._marks.append(
            _Mark(
                shown.time,
                video.place(shown.stamp),
                zlib.crc32(image.data),
                clock.state,
                video.progress,
                video.damaged,
            )
        )

    def at(self, tick: int) -> Bookmark | None:
        """A bookmark before a tick, of the last ones or the next one; None where none can be made."""
        end = len(self._marks) - (self._next - tick)
        begin = end - min(LOOKED_BACK_AT, tick)
        if not 0 <= begin < end <= len(self._marks):
            return None
        first, last = self._marks[begin], self._marks[end - 1]
        known = first.raw is not None and last.place is not None and last.clock is not None
        if not known or last.damaged:
            return None
        assert first.raw is not None
        assert last.place is not None
        assert last.clock is not None
        images = tuple(self._marks[n].image for n in range(begin, end))
        return Bookmark(tick, first.raw, last.place, images, last.clock, last.progress)
