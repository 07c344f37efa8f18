"""Hits of one video as its subtitles: each moment shows its query."""

import re
from collections.abc import Sequence

from .excerpt import Excerpt
from .names import one_line

_ARROW = re.compile(r"(?<=\d) *-->(?= *\d)")


def as_srt(found: Sequence[Excerpt]) -> str:
    """SubRip. It has no escapes: an arrow between numbers, which readers take for times, is shortened."""
    cues = [
        f"{number}\n{_time(one.start, ',')} --> {_time(one.end, ',')}\n{_ARROW.sub(' ->', _shown(one))}\n"
        for number, one in enumerate(_by_time(found), 1)
    ]
    return "\n".join(cues)


def as_vtt(found: Sequence[Excerpt]) -> str:
    """WebVTT."""
    cues = [
        f"{_time(one.start, '.')} --> {_time(one.end, '.')}\n{_escaped(_shown(one))}\n"
        for one in _by_time(found)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _by_time(found: Sequence[Excerpt]) -> list[Excerpt]:
    return sorted(found, key=lambda one: (one.start, one.end, one.number, one.rank))


def _shown(one: Excerpt) -> str:
    """What the moment shows, which is never empty: a reader would take the next cue for a part of it."""
    return one_line(one.query) or one_line(one.video_id)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds and thousandths.

    >>> _time(3723.5, ",")
    '01:02:03,500'
    """
    total, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(total, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}{mark}{thousandths:03d}"
