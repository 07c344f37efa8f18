"""Hits one after another on a time line, in whole frames, as editing programs want them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..video.media import Media
from ..video.timecode import Timebase
from .excerpt import Excerpt, Take, most_common
from .names import one_line

# Time lines of editing programs run at these rates only.
_RATES = (
    *(Fraction(nominal * 1000, 1001) for nominal in (24, 30, 60)),
    *(Fraction(n) for n in (24, 25, 30, 48, 50, 60)),
)


@dataclass(frozen=True)
class Event:
    """A part of a file on the time line.

    Attributes:
        base: how frames of the file are counted.
        origin: the number of the file's first frame, by its own time code.
        available: frames that the file has.
        begin, count: which frames of the file, from its first one, and how many.
        at, length: the same on the time line, in its frames.
    """

    excerpt: Excerpt
    media: Media
    base: Timebase
    origin: int
    available: int
    begin: int
    count: int
    at: int
    length: int

    @property
    def name(self) -> str:
        """Of the file."""
        return one_line(self.media.path.name)


@dataclass(frozen=True)
class Timeline:
    """What a project of an editing program holds.

    Attributes:
        base: the rate that most of the parts have, of those that editing programs know.
    """

    title: str
    base: Timebase
    events: Sequence[Event]

    @property
    def length(self) -> int:
        """Frames."""
        return sum(event.length for event in self.events)

    @property
    def mixed(self) -> bool:
        """Whether a file has another rate than the time line."""
        return any(event.media.rate != self.base.rate for event in self.events)


def lay_out(chosen: Sequence[Take], title: str) -> Timeline:
    """Put excerpts one after another. Each begins and ends with the frame of its file that is nearest."""
    bases = [Timebase.of(take.media.rate, take.media.timecode) for take in chosen]
    base = _base(bases)
    events: list[Event] = []
    at = 0
    for take, own in zip(chosen, bases, strict=True):
        media, excerpt = take.media, take.excerpt
        available = max(1, own.frame(media.info.duration - media.first))
        begin = min(max(0, own.frame(excerpt.start - media.first)), available - 1)
        count = max(1, min(own.frame(excerpt.end - media.first), available) - begin)
        length = max(1, round(count / own.rate * base.rate))
        origin = own.read(media.timecode)
        events.append(Event(excerpt, media, own, origin, available, begin, count, at, length))
        at += length
    return Timeline(one_line(title), base, events)


def _base(bases: Sequence[Timebase]) -> Timebase:
    known = [base for base in bases if base.rate in _RATES]
    if known or not bases:
        return most_common(known) if known else Timebase(Fraction(25))
    rate = most_common(base.rate for base in bases)
    whole = [known for known in sorted(_RATES) if (known / rate).denominator == 1]
    return Timebase.of(whole[0] if whole else min(_RATES, key=lambda known: abs(known - rate)))
