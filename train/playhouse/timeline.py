"""When a person does what: actions and the walks between them, laid out over a video's time."""

from dataclasses import dataclass, field, replace

import numpy as np

from .actions import ACTIONS
from .casting import CHANGES, Part
from .layout import LEFT, RIGHT, WALK_Y, Layout, Station, station
from .plan import Beat, Deed, Role

_HANDS_ONLY = frozenset({"drink", "open book", "close book"})
_SEAT_CHANGES = frozenset({"sit down", "stand up"})
_OVERLAP = 0.55  # share of the shorter one of two actions of one person at the same time
_WALKS_OFF = 0.6  # share of the detours


@dataclass(frozen=True, slots=True)
class Zone:
    """Where a person walks about: the path's y, and the bounds of x, so that people seldom overlap.

    Attributes:
        outside: x where someone is out of the picture who walks off now and then, None for one who stays.
    """

    lane: float
    left: float
    right: float
    outside: float | None = None


@dataclass(slots=True)
class Draft:
    """A person's timeline while it is laid out: gaps have no length yet."""

    pieces: list[tuple[str, str, float, Station]] = field(default_factory=list)
    fixed: float = 0.0
    gaps: int = 0


_ZONES = {  # by the number of people, from left to right
    1: (Zone(WALK_Y, LEFT + 10, RIGHT - 10),),
    2: (Zone(WALK_Y, LEFT, 205.0), Zone(WALK_Y - 12.0, 275.0, RIGHT)),
    3: (Zone(WALK_Y, LEFT, 150.0), Zone(WALK_Y - 14.0, 200.0, 280.0), Zone(WALK_Y - 7.0, 330.0, RIGHT)),
}


def zones(parts: list[Part], layout: Layout) -> list[Zone]:
    """Where each person walks about: the whole room for one, a part of it for each of two or three."""
    middles = []
    for part in parts:
        places = [s.x for s in (station(layout, label) for label in part.order) if s is not None]
        middles.append(sum(places) / len(places) if places else (LEFT + RIGHT) / 2)
    order = sorted(range(len(parts)), key=lambda i: (middles[i], -i))
    return [_ZONES[len(parts)][order.index(i)] for i in range(len(parts))]


def lay_out(part: Part, layout: Layout, zone: Zone, rng: np.random.Generator) -> Draft:
    """Walks and actions of a person, with the lengths that do not depend on the video's duration."""
    draft = Draft()
    at = _first_spot(part, layout, zone, rng)
    draft.pieces.append(("spot", part.first.get("posture", "stand"), 0.0, at))
    posture = part.first.get("posture", "stand")
    draft.gaps += 1
    for i, label in enumerate(part.order):
        joined = (
            i > 0 and {label, part.order[i - 1]} & _HANDS_ONLY and {label, part.order[i - 1]} & _SEAT_CHANGES
        )
        overlapped = bool(joined) and rng.random() < 0.7
        to = _goal(label, layout, at, posture, zone, overlapped, rng)
        if posture == "stand" and not overlapped:
            if rng.random() < 0.3 and not (part.enters and i == 0):
                at = _add_walk(draft, at, _detour(zone, rng), rng)
            at = _add_walk(draft, at, to, rng)
        length = _length(label, rng)
        before = draft.pieces[-1][2] if overlapped else 0.0
        draft.pieces.append(("overlap" if overlapped else "act", label, length, at))
        draft.fixed += length - _OVERLAP * min(length, before)
        draft.gaps += 1
        at = (
            Station(at.x_end, at.y, at.facing, at.x_end)
            if label != "walk through door"
            else _inner(layout, at)
        )
        posture = CHANGES.get(label, {}).get("posture", posture)
    return draft


def _length(label: str, rng: np.random.Generator) -> float:
    return round(float(rng.uniform(ACTIONS[label].shortest, ACTIONS[label].longest)), 1)


def _spot(zone: Zone, rng: np.random.Generator) -> Station:
    x = float(rng.uniform(zone.left, zone.right))
    return Station(x, zone.lane, 1 if rng.random() < 0.5 else -1, x)


def _detour(zone: Zone, rng: np.random.Generator) -> Station:
    if zone.outside is not None and rng.random() < _WALKS_OFF:
        return Station(zone.outside, zone.lane, 1 if zone.outside > zone.right else -1, zone.outside)
    return _spot(zone, rng)


def _first_spot(part: Part, layout: Layout, zone: Zone, rng: np.random.Generator) -> Station:
    posture = part.first.get("posture", "stand")
    seat = station(layout, {"sit": "stand up", "lie": "get up"}.get(posture, ""))
    if seat is not None:
        return seat
    door = station(layout, "walk through door")
    if part.enters and door is not None:
        return Station(door.x, door.y, -door.facing, door.x)
    return _spot(zone, rng)


def _inner(layout: Layout, at: Station) -> Station:
    door = station(layout, "walk through door")
    return at if door is None else Station(door.x, door.y, -door.facing, door.x)


def _goal(
    label: str,
    layout: Layout,
    at: Station,
    posture: str,
    zone: Zone,
    overlapped: bool,
    rng: np.random.Generator,
) -> Station:
    fixed = station(layout, label)
    if fixed is not None:
        return fixed
    if posture != "stand" or overlapped or rng.random() < 0.5:
        return at
    return _spot(zone, rng)


def _add_walk(draft: Draft, at: Station, to: Station, rng: np.random.Generator) -> Station:
    distance = float(np.hypot(to.x - at.x, 2.0 * (to.y - at.y)))
    if distance > 1.0:
        seconds = round(max(0.4, distance / float(rng.uniform(70, 105))), 1)
        draft.pieces.append(("walk", "", seconds, to))
        draft.fixed += seconds
        draft.gaps += 1
    return to


def fix_times(part: Part, draft: Draft, duration: float, rng: np.random.Generator) -> Role:
    """Spread the idle time over the gaps and fix every time."""
    slack = duration - draft.fixed
    weights = np.full(draft.gaps, 1.6)
    # Someone who sits or lies does so for a while, which also keeps sitting down from always being last.
    weights[0] *= 1.0 if draft.pieces[0][1] == "stand" else 4.0
    weights[-1] *= 1.0 if _last_posture(part) == "stand" else 4.0
    shares = rng.dirichlet(weights) * (slack - 0.4 * draft.gaps) + 0.4
    gaps = iter(float(s) for s in shares)
    beats: list[Beat] = []
    deeds: list[Deed] = []
    _, posture, _, at = draft.pieces[0]
    clock = next(gaps)
    beats.append(_beat(0.0, clock, "away" if part.enters else "idle", at, at, at.facing, posture))
    for kind, label, length, to in draft.pieces[1:]:
        if kind == "overlap":
            clock = _overlap(beats, deeds, label, length, posture, to)
        elif kind == "walk":
            facing = (1 if to.x > at.x else -1) if abs(to.x - at.x) > 1 else to.facing
            beats.append(_beat(clock, clock + length, "walk", at, to, facing, posture))
            clock += length
        else:
            deeds.append(_deed(label, clock, clock + length))
            beats.append(_act(label, clock, clock + length, to, posture))
            clock += length
        at = Station(to.x_end, to.y, to.facing, to.x_end) if kind != "walk" else to
        posture = CHANGES.get(label, {}).get("posture", posture)
        rest = next(gaps)
        gone = label == "walk through door" and not part.enters
        beats.append(_beat(clock, clock + rest, "away" if gone else "idle", at, at, at.facing, posture))
        clock += rest
    beats[-1] = replace(beats[-1], end=duration)
    return Role(
        part.first.get("carry", "nothing"),
        part.first.get("book") == "open",
        part.enters,
        tuple(beats),
        tuple(deeds),
    )


def _last_posture(part: Part) -> str:
    posture = part.first.get("posture", "stand")
    for label in part.order:
        posture = CHANGES.get(label, {}).get("posture", posture)
    return posture


def _beat(start: float, end: float, kind: str, at: Station, to: Station, facing: int, posture: str) -> Beat:
    return Beat(start, end, kind, at.x, at.y, to.x, to.y, facing, posture)


def _deed(label: str, start: float, end: float) -> Deed:
    return Deed(label, round(start, 2), round(end, 2))


def _act(label: str, start: float, end: float, at: Station, posture: str) -> Beat:
    kind = "idle" if label in _HANDS_ONLY else "act"
    return Beat(start, end, kind, at.x, at.y, at.x_end, at.y, at.facing, posture, label)


def _overlap(
    beats: list[Beat], deeds: list[Deed], label: str, length: float, posture: str, at: Station
) -> float:
    """Begin an action before the last one ends, in place of the idle beat between them; returns when both are
    over.
    """
    idle = beats.pop()
    last = deeds[-1]
    start = idle.start - _OVERLAP * min(length, last.end - last.start)
    deeds.append(_deed(label, start, start + length))
    if label in _HANDS_ONLY:
        beats.append(_beat(idle.start, max(start + length, idle.start), "idle", at, at, at.facing, posture))
        return max(start + length, idle.start)
    # The hands' action goes on while the body begins to move: the idle body of the hands' action ends early.
    hands = beats.pop()
    beats.append(Beat(hands.start, start, "idle", at.x, at.y, at.x, at.y, at.facing, posture))
    beats.append(_act(label, start, start + length, at, posture))
    return start + length
