"""All hits in one file, one after another, each with a caption."""

import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import OutputError, VideoError
from ..left_out import LeftOut
from ..places import aside
from ..readable import clock
from ..video.encode import write_mp4
from ..video.media import Sound
from ..video.picture import FrameSize, Picture, from_rgb
from ..video.stretch import Shown, heard, pictures
from .caption import Caption
from .clips import comment_of
from .excerpt import Excerpt, Take, most_common
from .names import one_line

_NOTE = "a reel of mmn-index"  # the comment of the file
_LARGEST = 1920  # pixels of the longer side
_FASTEST = Fraction(60)  # frames per second
_SOUND = Sound(48000, 2)


def check_reel(path: Path) -> None:
    """Make sure that nothing but an earlier reel is replaced.

    Raises:
        OutputError: another file is there.
    """
    if os.path.lexists(path) and comment_of(path) != _NOTE:
        raise OutputError(f"{path}: is there already, and is no reel of mmn-index. Choose another name.")


def write_reel(
    chosen: Sequence[Take],
    out: Path,
    *,
    padding: float = 0.0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[LeftOut]:
    """Join the excerpts, at the size and the rate that most of them have; other shapes get black edges. There
    is sound where any file has some, silence for those without.

    Args:
        padding: seconds that are added before and after each.

    Returns:
        Videos that nothing can be decoded of.

    Raises:
        VideoError: that holds for all of them.
        OutputError: `out` cannot be written.
    """
    parts, left_out = [], []
    for take in chosen:
        excerpt = take.excerpt.padded(padding, take.media)
        try:
            next(pictures(take.media, excerpt.start, excerpt.end))
        except VideoError as error:
            left_out.append(LeftOut(excerpt.video_id, str(error)))
            continue
        parts.append(Take(excerpt, take.media))
    if not parts:
        return left_out
    rate = min(most_common(take.media.rate for take in parts), _FASTEST)
    reel = _Reel(rate, _size(parts), report, len(parts))
    has_sound = any(take.media.sound for take in parts)
    sound = chain.from_iterable(reel.sound(take) for take in parts) if has_sound else None
    form = _SOUND if has_sound else None
    with aside(out) as unfinished:
        write_mp4(unfinished, reel.pictures(parts), sound, rate=rate, form=form, note=_NOTE, of=str(out))
    return left_out


def _size(parts: Sequence[Take]) -> tuple[int, int]:
    """Width and height, even."""
    width, height = most_common((take.media.info.width, take.media.info.height) for take in parts)
    scale = min(1.0, _LARGEST / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


class _Reel:
    """How every part is shown."""

    def __init__(
        self, rate: Fraction, size: tuple[int, int], report: Callable[[int, int], None], total: int
    ) -> None:
        self._rate, self._width, self._height = rate, *size
        self._report, self._total = report, total

    def pictures(self, parts: Sequence[Take]) -> Iterator[Shown]:
        """Those of all parts, one for each tick of the rate."""
        tick = 0
        for done, take in enumerate(parts):
            self._report(done, self._total)
            count = self._ticks(take)
            for picture in self._at_rate(take, count):
                frame = from_rgb(picture)
                yield Shown(frame, float(tick / self._rate), float(1 / self._rate))
                tick += 1
        self._report(self._total, self._total)

    def sound(self, take: Take) -> Iterator[np.ndarray]:
        """As long as the part's pictures."""
        start = take.excerpt.start
        return heard(take.media, start, start + float(self._ticks(take) / self._rate), _SOUND)

    def _ticks(self, take: Take) -> int:
        end = min(take.excerpt.end, take.media.info.duration)
        return max(1, round((end - take.excerpt.start) * self._rate))

    def _at_rate(self, take: Take, count: int) -> Iterator[np.ndarray]:
        """The picture shown at each tick; the last one stays where a file ends early."""
        caption = _caption(take.excerpt, self._width, self._height)
        done, picture = 0, np.zeros((self._height, self._width, 3), np.uint8)
        for shown in pictures(take.media, take.excerpt.start, take.excerpt.end):
            until = min(count, round((shown.time + shown.length) * self._rate))
            if until > done:
                picture = self._boxed(shown, take)
                caption.draw(picture)
            for _ in range(done, until):
                yield picture
            done = max(done, until)
        for _ in range(done, count):
            yield picture

    def _boxed(self, shown: Shown, take: Take) -> np.ndarray:
        """A picture in the middle of black, as large as fits."""
        info = take.media.info
        scale = min(self._width / info.width, self._height / info.height)
        width = min(self._width, max(1, round(info.width * scale)))
        height = min(self._height, max(1, round(info.height * scale)))
        image = Picture(shown.frame, FrameSize(width, height), 1.0).image()
        boxed = np.zeros((self._height, self._width, 3), np.uint8)
        top, left = (self._height - height) // 2, (self._width - width) // 2
        boxed[top : top + height, left : left + width] = image
        return boxed


def _caption(excerpt: Excerpt, width: int, height: int) -> Caption:
    text = one_line(f"{excerpt.query}  -  {excerpt.video_id}")
    return Caption(text, f"{clock(excerpt.start)} - {clock(excerpt.end)}", width, height)
