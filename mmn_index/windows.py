"""Which stretches of a video have a sparse 2D map of their own.

A map has a fixed number of clips, so the longer its stretch, the coarser its moments. A video that is much
longer than what a model knows is cut into windows of one length, each of which begins half a window after
the one before, so that a moment of up to half a window lies whole in one of them. Coarser windows, eight
times as long from level to level and at last the whole video, hold the moments that are longer.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from .errors import ConfigError

_LEVEL = 8  # times as long as those of the level below
_SLACK = 1e-6  # of a window: lengths are sums of floats


class Window(NamedTuple):
    """A stretch of a video, in seconds."""

    start: float
    length: float


class WindowOf(NamedTuple):
    """A window of a video with snippets, or one of its tubes."""

    video_id: str
    duration: float  # seconds of the video
    window: Window
    tube: int | None = None  # its place among the tubes of the video


@dataclass(frozen=True)
class WindowRule:
    """How a video is cut.

    Attributes:
        length: seconds of a window; None never cuts.
        whole: a video of up to so many seconds has one map.
        coarse: whether there are coarser windows as well.

    Raises:
        ConfigError: a length that is no number of seconds.
    """

    length: float | None = None
    whole: float = 0.0
    coarse: bool = True

    def __post_init__(self) -> None:
        if self.length is not None and not 0 < self.length < math.inf:
            raise ConfigError(f"a window of {self.length:g} seconds was asked for, expected more than 0.")

    def of(self, duration: float) -> tuple[Window, ...]:
        """The windows of a video of `duration` seconds, finest first, in the order of their starts.

        >>> WindowRule(64).of(50), WindowRule(64).of(100)[-1]
        ((Window(start=0.0, length=50),), Window(start=0.0, length=100))
        """
        if self.length is None or duration <= max(self.length, self.whole) * (1 + _SLACK):
            return (Window(0.0, duration),)
        found, length = list[Window](), self.length
        # A coarser window of more than half the video would hold little that the whole does not.
        while length == self.length or 2 * length <= duration:
            steps = math.ceil((duration - length) / (length / 2) - _SLACK)
            # The last one ends with the video: it is as long as the others.
            found += [Window(step * length / 2, length) for step in range(steps)]
            found.append(Window(duration - length, length))
            if not self.coarse:
                return tuple(found)
            length *= _LEVEL
        return (*found, Window(0.0, duration))
