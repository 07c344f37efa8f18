"""A part of a video for browsers: H.264 and AAC in mp4, upright, with square pixels, small enough."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import VideoError
from ..readable import clock
from .encode import Coding, Sink, encodable, write_mp4
from .media import Media
from .picture import upright
from .stretch import Shown, heard, pictures

_WIDEST = 4096  # pixels, which decoders in hardware have
_ROUNDING = 0.001  # seconds
_NOTE = "made by mmn-index for browsers"


def size_for(media: Media, height: int) -> tuple[int, int]:
    """Width and height, even, of a video at a height of at most so many pixels; nothing is enlarged."""
    info = media.info
    scale = min(1.0, height / info.height, _WIDEST / info.width)
    return max(2, int(info.width * scale / 2 + 0.5) * 2), max(2, int(info.height * scale / 2 + 0.01) * 2)


def check_start(media: Media, start: float) -> None:
    """Make sure that a video has something to show from a second on.

    Raises:
        VideoError: it ends before.
    """
    if start >= media.info.duration - _ROUNDING:
        raise VideoError(
            f"{media.path}: ends at {clock(media.info.duration)}, before the start at {clock(start)}."
        )


def transcode(
    media: Media,
    start: float,
    end: float,
    out: Path | Sink,
    *,
    height: int,
    coding: Coding,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write [start, end) seconds, as far as the video goes.

    Args:
        height: pixels, at most.
        check: called before each picture; what it raises ends the work.

    Raises:
        VideoError: the video ends before `start`, cannot be cut, or nothing of it decodes.
        OutputError: `out` cannot be written.
    """
    check_start(media, start)
    end, form = min(end, media.info.duration), encodable(media.sound)
    shown = _shown(media, start, end, size_for(media, height), check)
    sound = None if form is None else heard(media, start, end, form)
    write_mp4(out, shown, sound, rate=media.rate, form=form, note=_NOTE, of=str(media.path), coding=coding)


def _shown(
    media: Media, start: float, end: float, size: tuple[int, int], check: Callable[[], None]
) -> Iterator[Shown]:
    for one in pictures(media, start, end):
        check()
        yield one._replace(frame=upright(one.frame, size))
