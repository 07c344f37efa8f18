"""Time codes: hours, minutes, seconds and frames, as editing programs count them (SMPTE 12M).

They count whole frames. At 29.97 and 59.94 frames per second a counter that runs to 30 or 60 falls behind the
clock; drop frame skips the first numbers of each minute that is not a tenth one, so that it keeps up. A
semicolon before the frames says so.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_FORM = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;.,])(\d{2,3})")
_DAY = 24 * 60 * 60  # seconds; after them the count begins again


@dataclass(frozen=True)
class Timebase:
    """How frames of a file are counted.

    Attributes:
        rate: frames per second.
        drop: whether numbers are skipped.
    """

    rate: Fraction
    drop: bool = False

    @classmethod
    def of(cls, rate: Fraction, timecode: str | None = None) -> "Timebase":
        """As a file's own time code counts; without one, drop frame wherever there is such a count."""
        match = _FORM.fullmatch(timecode or "")
        return cls(rate, can_drop(rate) and (match is None or match[4] != ":"))

    @property
    def nominal(self) -> int:
        """The frames that a second of the count has."""
        return max(1, round(self.rate))

    def frame(self, seconds: float) -> int:
        """The number of the frame that begins nearest to a time."""
        return round(seconds * self.rate)

    def write(self, frame: int) -> str:
        """The time code of the frame of a number.

        >>> Timebase(Fraction(30000, 1001), drop=True).write(1800)
        '00:01:00;02'
        """
        nominal = self.nominal
        if self.drop:
            skipped = nominal // 15  # of each minute but every tenth
            tens, rest = divmod(frame, 600 * nominal - 9 * skipped)
            minutes = max(0, rest - skipped) // (60 * nominal - skipped)
            frame += skipped * (9 * tens + minutes)
        seconds, frames = divmod(frame, nominal)
        minutes, seconds = divmod(seconds % _DAY, 60)
        width = len(str(nominal - 1))
        mark = ";" if self.drop else ":"
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}{mark}{frames:0{max(2, width)}d}"

    def read(self, timecode: str | None) -> int:
        """The number of the frame of a time code; 0 where it is none.

        >>> Timebase(Fraction(25)).read("01:00:00:10")
        90010
        """
        match = _FORM.fullmatch(timecode or "")
        if match is None:
            return 0
        hours, minutes, seconds, frames = (int(match[n]) for n in (1, 2, 3, 5))
        total = (3600 * hours + 60 * minutes + seconds) * self.nominal + frames
        minutes += 60 * hours
        return total - (self.nominal // 15 * (minutes - minutes // 10) if self.drop else 0)


def can_drop(rate: Fraction) -> bool:
    """Whether there is a drop frame count for a rate: 29.97 frames per second, and multiples of it."""
    return rate in (Fraction(30000, 1001), Fraction(60000, 1001), Fraction(120000, 1001))
