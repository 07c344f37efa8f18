"""CMX3600 edit decision lists.

The adapter of OpenTimelineIO converts the frames of all files to one rate, and gives two files of one name
one reel. Here, source times are in frames of their file, and each file has a reel of its own.
"""

import re
from pathlib import Path

from .names import one_line
from .timeline import Event, Timeline

_REEL = 8  # characters
_TAKEN = frozenset(("", "AX", "BL", "BLACK", "BARS"))  # which stand for what is no file
_RECORD = "01:00:00:00"  # where time lines begin by custom


def as_edl(timeline: Timeline) -> str:
    """One event for each hit, with picture and sound."""
    reels = _reels([event.media.path for event in timeline.events])
    start = timeline.base.read(_RECORD)
    lines = [f"TITLE: {timeline.title}", _count(timeline.base.drop), ""]
    dropping = timeline.base.drop
    for number, event in enumerate(timeline.events, 1):
        if event.base.drop != dropping:
            dropping = event.base.drop
            lines.append(_count(dropping))
        lines += [_line(timeline, event, number, reels[event.media.path], start), *_comments(event), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _count(drop: bool) -> str:
    return "FCM: DROP FRAME" if drop else "FCM: NON-DROP FRAME"


def _line(timeline: Timeline, event: Event, number: int, reel: str, start: int) -> str:
    first = event.origin + event.begin
    source = [event.base.write(frame) for frame in (first, first + event.count)]
    record = [timeline.base.write(start + frame) for frame in (event.at, event.at + event.length)]
    channels = "V" if event.media.sound is None else "AA/V"
    return f"{number:03d}  {reel:<{_REEL}} {channels:<5} C        {' '.join([*source, *record])}"


def _comments(event: Event) -> list[str]:
    excerpt = event.excerpt
    return [
        f"* FROM CLIP NAME: {event.name}",
        f"* SOURCE FILE: {one_line(str(event.media.path.absolute()))}",
        f"* SOURCE RATE: {float(event.media.rate):.3f}",
        f"* QUERY: {one_line(excerpt.query)} (RANK {excerpt.rank})",
    ]


def _reels(paths: list[Path]) -> dict[Path, str]:
    """A name of at most eight capital letters, digits and underscores for each file; no two are equal."""
    reels: dict[Path, str] = {}
    taken = set(_TAKEN)
    for path in paths:
        if path in reels:
            continue
        name = re.sub(r"[^A-Z0-9]+", "_", path.stem.upper()).strip("_")
        reel, number = name[:_REEL], 1
        while reel in taken:
            number += 1
            reel = f"{name[: _REEL - 1 - len(str(number))] or 'V'}_{number}"
        reels[path] = reel
        taken.add(reel)
    return reels
