"""One of several parts of the work, for several processes or machines."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmn_index.errors import ConfigError

from .video_files import VideoFiles

MOST = 99_999  # parts


@dataclass(frozen=True)
class Share:
    """One of several parts of something that has an order.

    Raises:
        ConfigError: there is no such part.
    """

    number: int  # from 1
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of <= MOST:
            raise ConfigError(f"shard {self}: expected I/N with I from 1 to N and N up to {MOST:,}.")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """In names of files."""
        return f"{self.number}-of-{self.of}"

    @staticmethod
    def named(name: str) -> "Share | None":
        """The part of a name; None where it is none."""
        found = re.fullmatch(r"([1-9]\d{0,4})-of-([1-9]\d{0,4})", name, re.ASCII)
        number, of = (int(found[1]), int(found[2])) if found else (1, 0)
        return Share(number, of) if number <= of else None

    def part(self, weights: Sequence[int], step: int = 1) -> slice:
        """Which of some things are this share's: all shares together have each once, and about the same
        weight.

        Args:
            step: shares that weigh more begin at a multiple of it, as far as the things allow it.
        """
        ends = np.cumsum(weights)
        middles, total = ends - np.asarray(weights) / 2, float(ends[-1]) if len(ends) else 0.0
        borders = total * np.array([self.number - 1, self.number]) / self.of
        if total >= step * self.of:
            borders = np.minimum(np.round(borders / step) * step, total)
            borders[1] = total if self.number == self.of else borders[1]
        first, last = np.searchsorted(middles, borders).tolist()
        return slice(first, last)

    def of_files(self, found: VideoFiles) -> VideoFiles:
        """The video files of this share, by their number: their sizes may change while others work."""
        part = self.part([1] * len(found.videos))
        return replace(found, videos=dict(list(found.videos.items())[part]))
