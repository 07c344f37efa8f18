"""The clock that every time in this project is told by: the one of players.

Second 0 is where the file begins for players, with whichever stream is first. Stamps in files are not
always right, so the times of frames are made from them by these rules:

- A frame without a stamp is one average frame after the one before.
- A leap, ahead or back, that the frames after it take back within some seconds is a wrong stamp: the frames
  until then lie evenly between their neighbours. So is a leap from inside the length that the file states to
  a place outside it.
- A leap back that stays is a clock that started again (joined files, a transport stream that wrapped around),
  and time goes on from the frame before. So is a leap ahead that is too long to be a pause.
- Any other leap ahead is a pause: nothing moved, so nothing was stored, or what was stored is damaged.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any, Generic, NamedTuple, Protocol, TypeVar


class Stamped(Protocol):
    """Something with a raw time in seconds, or None if it carries no stamp."""

    @property
    def time(self) -> float | None: ...


Item = TypeVar("Item", bound=Stamped)

_REORDER = 4  # frames held back so that neighbours stored out of order come out in order
_LEAP = 1.0  # seconds; a larger step, or one of some average frames, is looked at
_LEAP_FRAMES, _LEAP_AT_MOST = 5, 5.0
_PAUSE = 3600.0  # seconds; a longer pause is believed only if the length that the file states has room for it
_AHEAD = 30.0  # seconds of frames that are looked at to see whether they take a leap back
_AHEAD_AT_LEAST, _AHEAD_AT_MOST = 32, 600  # frames
_FEW = 5  # frames; if the clock leaps back after so few, they are the wrong ones and not the many that follow
_UNSETTLED = 16  # frames that may wait in full size
_LAST = 60.0  # seconds; a last frame is believed to stay longer only if the file states so


class ClockState(NamedTuple):
    """What a clock knows after a frame, where all stamps until then were plain.

    Each frame has one, it is later than the one before, and none had to be repaired.

    Attributes:
        zero: the raw time that counts as 0.
        raw: the raw time of the frame.
        pause: the last pause, from and to in seconds; None without one.
        since_pause: number of frames since then.
    """

    zero: float
    raw: float
    pause: tuple[float, float] | None
    since_pause: int


def seconds(units: int, base: Fraction) -> float:
    """A number of units of `base` seconds: float(units * base), without a fraction made of each frame.

    >>> seconds(90090, Fraction(1, 90000))
    1.001
    """
    return units * base.numerator / base.denominator


class Clock:
    """Gives each frame its time in seconds, never decreasing.

    Args:
        period: seconds of an average frame.
        start: the raw time that players count as 0; None if the file does not say.
        stated: where the video ends by the file's own statement, in seconds from `start`, or None.
        settle: called on frames that must wait for many others; it may make them smaller.
    """

    def __init__(
        self,
        period: float,
        start: float | None = None,
        stated: float | None = None,
        settle: Callable[[Any], object] | None = None,
    ) -> None:
        self._period = period
        self._leap = max(_LEAP, min(_LEAP_FRAMES * period, _LEAP_AT_MOST))
        self._start = start
        self._stated = stated
        self._settle = settle
        self._zero: float | None = None  # the raw time that counts as 0
        self._shifts = [0.0]  # what was added to raw times so far, the present shift last
        self._pause: tuple[float, float] | None = None  # the last leap ahead that was believed
        self._since_pause = 0  # frames
        self._plain = True  # see ClockState
        self._raw: float | None = None  # the raw time of the last frame
        self._known: ClockState | None = None  # frames until there were judged by an earlier clock

    @property
    def started_again(self) -> bool:
        """Whether the clock was seen to start again, so that a raw time may stand for several times."""
        return len(self._shifts) > 1

    @property
    def zero(self) -> float:
        """The raw time that counts as 0, once a frame has come."""
        return self._zero or 0.0

    @property
    def state(self) -> ClockState | None:
        """What the clock knows after the last frame; None where stamps were not plain."""
        if not self._plain or self._raw is None:
            return None
        return ClockState(self.zero, self._raw, self._pause, self._since_pause)

    def resume(self, known: ClockState) -> None:
        """Tell time as the clock that had this state did. Frames may begin at any one before."""
        self._zero, self._shifts, self._known = known.zero, [-known.zero], known

    def in_order(self, frames: Iterable[Item]) -> Iterator[tuple[float, Item]]:
        """(seconds, frame) in the order shown. Called again after a seek, the clock keeps its 0; the first
        frame after the seek must carry a stamp.
        """
        held: list[tuple[float, int, Item]] = []
        last = -math.inf
        for number, (time, frame) in enumerate(self._timed(frames)):
            heapq.heappush(held, (time, number, frame))
            if len(held) > _REORDER:
                time, _, frame = heapq.heappop(held)
                last = max(last, time)
                yield last, frame
        while held:
            time, _, frame = heapq.heappop(held)
            last = max(last, time)
            yield last, frame

    def end(self, last: float, length: float, end_of_decoding: float | None = None) -> float:
        """When the last frame has been shown.

        Args:
            last: its time in seconds.
            length: what it says of its own length, in seconds; 0 if nothing.
            end_of_decoding: the raw time at which all packets have been shown, if they say so.
        """
        length = length if length > 0 else self._period
        if end_of_decoding is not None and 0 < end_of_decoding + self._shifts[-1] - last < length:
            length = end_of_decoding + self._shifts[-1] - last
        if self._stated is not None and last < self._stated:
            return min(last + length, self._stated)
        return last + (length if length <= _LAST else self._period)

    def _timed(self, frames: Iterable[Item]) -> Iterator[tuple[float, Item]]:
        queue = _Queue(frames, self._settle)
        latest = -math.inf
        for time in self._begin(queue) if self._zero is None else self._again(queue):
            latest, self._raw = time, queue.peek(0).time
            yield time, queue.take()
        while self._known is not None and queue.more():
            latest = self._recall(queue.peek(0).time, self._known)
            yield latest, queue.take()
        while queue.more():
            raw, expected = queue.peek(0).time, latest + self._period
            time = expected if raw is None else raw + self._shifts[-1]
            self._since_pause += 1
            self._raw, self._plain = raw, self._plain and raw is not None and time > latest
            if abs(time - latest) > self._leap:
                back, count = self._taken_back(queue, latest, time)
                if count:
                    self._plain = False
                    step = max(back - latest, 0.0) / (count + 1)
                    for _ in range(count):
                        latest += step
                        yield latest, queue.take()
                    continue
                time = self._believed(latest, time)
                latest = time  # which may be less
            latest = max(latest, time)
            yield time, queue.take()

    def _begin(self, queue: "_Queue[Item]") -> list[float]:
        """Set the clock by the first frames, and give the times of those that no later rule is for: the first
        one, and some after it if they are wrong.
        """
        raw = [frame.time for frame in queue.ahead(3 * _FEW)]
        if not raw:
            return []
        known = [(n, time) for n, time in enumerate(raw) if time is not None]
        if not known:
            self._zero, self._plain = 0.0, False
            return [0.0]
        count, first = known[0]
        first -= count * self._period
        wrong = 0
        for (_, before), (n, time) in pairwise(known):
            if n <= _FEW and before - max(t for m, t in known if m >= n) > self._leap:
                wrong, first = n, time - n * self._period
        start = first if self._start is None else self._start
        offset = first - start
        room = _PAUSE if self._stated is None else max(self._stated, _PAUSE)
        # Coders of sound pad its start by some milliseconds: less than a frame is no other start.
        if 0 <= offset < self._period or not -_LAST < offset < room or (wrong and offset < 0):
            start = first
        self._zero, self._shifts = start, [-start]
        self._plain = not wrong and not count
        return [first - start + n * self._period for n in range(max(wrong, 1))]

    def _again(self, queue: "_Queue[Item]") -> list[float]:
        """The time of the first frame after a seek."""
        raw = queue.peek(0).time if queue.more() and self._known is None else None
        return [] if raw is None else [raw + self._shifts[-1]]

    def _recall(self, raw: float | None, known: ClockState) -> float:
        """The time of a frame that an earlier clock found to be plain."""
        self._raw = raw
        if raw is None or raw >= known.raw:
            self._plain = raw == known.raw
            self._pause, self._since_pause, self._known = known.pause, known.since_pause, None
        return (known.raw if raw is None else raw) + self._shifts[-1]

    def _taken_back(self, queue: "_Queue[Item]", latest: float, time: float) -> tuple[float, int]:
        """The time of the frame that is back where a wrong stamp left off, and the number of frames before
        it; (0, 0) if the leap from `latest` to `time` is not taken back.
        """
        limit = min(max(_AHEAD_AT_LEAST, round(_AHEAD / self._period)), _AHEAD_AT_MOST)
        best, closest = (0.0, 0), math.inf
        before = time
        for n, frame in enumerate(queue.ahead(limit)):
            if frame.time is None or n == 0:
                continue
            at = frame.time + self._shifts[-1]
            leaps = abs(at - before) > self._leap
            before = at
            slack = self._leap + n * self._period / 2
            off = at - latest - (n + 1) * self._period
            # After a wrong late stamp, the true ones may be late as well: what lay between may be damaged.
            if not leaps or off < -slack or (off > slack and not latest < at < time - self._leap):
                continue
            following = queue.peek(n + 1).time if queue.more(n + 1) else None
            if following is not None and abs(following + self._shifts[-1] - at) > self._leap:
                continue
            if abs(off) < closest:
                best, closest = (at, n), abs(off)
            if off <= slack:
                break
        return best

    def _believed(self, latest: float, time: float) -> float:
        """The time of a frame that leaps to `time`, and is not taken back."""
        raw, expected = time - self._shifts[-1], latest + self._period
        former = next((s for s in self._shifts if abs(raw + s - expected) <= self._leap), None)
        if former is not None:  # many wrong stamps were taken for a new clock, and end here
            self._shift(former)
            return raw + former
        if time > latest and self._is_pause(latest, time):
            self._pause, self._since_pause = (latest, time), 0
            return time
        if time < latest and self._pause is not None:
            begin, end = self._pause
            if begin + self._since_pause * self._period / 2 - self._leap <= time < end:
                return time  # many wrong stamps were taken for a pause, and end here
        self._shift(self._shifts[-1] + expected - time)
        return expected

    def _shift(self, seconds: float) -> None:
        if seconds != self._shifts[-1]:
            self._shifts.append(seconds)
            self._plain = False

    def _is_pause(self, latest: float, time: float) -> bool:
        if self._stated is None:
            return time - latest <= _PAUSE
        if time <= self._stated + _LEAP:
            return True
        return latest > self._stated + _LEAP and time - latest <= _LAST


class _Queue(Generic[Item]):
    """Frames to come, of which some can be looked at before they are taken."""

    def __init__(self, frames: Iterable[Item], settle: Callable[[Item], object] | None) -> None:
        self._frames = iter(frames)
        self._settle = settle
        self._waiting: deque[Item] = deque()

    def more(self, place: int = 0) -> bool:
        """Whether there is a frame `place` places behind the next one."""
        while len(self._waiting) <= place:
            frame = next(self._frames, None)
            if frame is None:
                return False
            if self._settle is not None and len(self._waiting) >= _UNSETTLED:
                self._settle(frame)
            self._waiting.append(frame)
        return True

    def peek(self, place: int) -> Item:
        return self._waiting[place]

    def ahead(self, count: int) -> Iterator[Item]:
        """The next frames, the first of them the one to be taken next."""
        for place in range(count):
            if not self.more(place):
                return
            yield self._waiting[place]

    def take(self) -> Item:
        return self._waiting.popleft()
