"""What happens when in a video: the plan, without any drawing.

A plan is a pure function of (seed, split, number). Times are in seconds from the start of the video and
positions in pixels of the canvas (see layout). The labels of a split are dealt like a deck of cards: each
block of five videos shares one deck of all actions, so that every action is equally frequent. In which order
a person does the actions, and with which initial state of the home, is drawn from all consistent ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .actions import ACTIONS, LABELS
from .layout import LEFT, RIGHT, WALK_Y, Layout, Station, fits, furnish, station

SPLITS = ("train", "val", "test")
SHORTEST, LONGEST = 20.0, 60.0
DECK_VIDEOS = 5

_HAND_SIZES = (2, 3, 4, 5, 6)  # adds up to one deck of actions
_DECK_STREAM = 7919
_TRIES, _CROWDED, _SHOULDER_ROOM = 16, 0.06, 44.0
_HANDS_ONLY = frozenset({"drink", "open book", "close book"})
_SEAT_CHANGES = frozenset({"sit down", "stand up"})
_THINGS = {
    "open door": "door",
    "close door": "door",
    "walk through door": "door",
    "open window": "window",
    "close window": "window",
    "sit down": "chair",
    "stand up": "chair",
    "lie down": "sofa",
    "get up": "sofa",
    "take cup": "table",
    "put down cup": "table",
    "turn on light": "lamp",
    "turn off light": "lamp",
    "pick up bag": "bag",
    "put down bag": "bag",
}
# What has to hold before an action, and what it changes. "posture", "carry" and "book" belong to a person,
# the rest to the home.
_NEEDS: Mapping[str, Mapping[str, str]] = {
    "open door": {"posture": "stand", "door": "closed", "book": "closed"},
    "close door": {"posture": "stand", "door": "open", "book": "closed"},
    "walk through door": {"posture": "stand", "door": "open", "book": "closed"},
    "open window": {"posture": "stand", "window": "closed", "book": "closed"},
    "close window": {"posture": "stand", "window": "open", "book": "closed"},
    "turn on light": {"posture": "stand", "light": "off", "book": "closed"},
    "turn off light": {"posture": "stand", "light": "on", "book": "closed"},
    "sit down": {"posture": "stand"},
    "stand up": {"posture": "sit"},
    "lie down": {"posture": "stand", "carry": "nothing"},
    "get up": {"posture": "lie", "carry": "nothing"},
    "drink": {"carry": "cup"},
    "take cup": {"posture": "stand", "carry": "nothing", "cup": "table"},
    "put down cup": {"posture": "stand", "carry": "cup"},
    "throw ball": {"posture": "stand", "carry": "ball"},
    "pick up ball": {"posture": "stand", "carry": "nothing"},
    "pick up bag": {"posture": "stand", "carry": "nothing"},
    "put down bag": {"posture": "stand", "carry": "bag"},
    "open book": {"carry": "book", "book": "closed"},
    "close book": {"carry": "book", "book": "open"},
}
_CHANGES: Mapping[str, Mapping[str, str]] = {
    "open door": {"door": "open"},
    "close door": {"door": "closed"},
    "open window": {"window": "open"},
    "close window": {"window": "closed"},
    "turn on light": {"light": "on"},
    "turn off light": {"light": "off"},
    "sit down": {"posture": "sit"},
    "stand up": {"posture": "stand"},
    "lie down": {"posture": "lie"},
    "get up": {"posture": "stand"},
    "take cup": {"carry": "cup", "cup": "hand"},
    "put down cup": {"carry": "nothing", "cup": "table"},
    "throw ball": {"carry": "nothing"},
    "pick up ball": {"carry": "ball"},
    "pick up bag": {"carry": "bag"},
    "put down bag": {"carry": "nothing"},
    "open book": {"book": "open"},
    "close book": {"book": "closed"},
}
_OWNERS = {  # actions on one thing are done by one person, so that two people never contradict each other
    **_THINGS,
    "drink": "table",
    "throw ball": "ball",
    "pick up ball": "ball",
    "open book": "book",
    "close book": "book",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One annotated moment: `start` < `end` in seconds, the action's label and a sentence about it."""

    start: float
    end: float
    label: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a person's body does from `start` to `end`.

    Attributes:
        kind: "idle", "walk", "act" or "away" (behind the door).
        x, y, x_end, y_end: feet at the start and at the end.
        posture: "stand", "sit" or "lie", at the start.
        label: the action of an "act".
    """

    start: float
    end: float
    kind: str
    x: float
    y: float
    x_end: float
    y_end: float
    facing: int
    posture: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """One action of a person, from `start` to `end`."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Role:
    """One person's part.

    Attributes:
        carry: what is in the hand at first: "nothing", "cup", "ball", "bag" or "book".
        book_open: whether the book in the hand is open at first.
        enters: whether the walk through the door leads into the room.
        beats: the body's timeline, without gaps, over the whole video.
        deeds: the actions, in order of time.
    """

    carry: str
    book_open: bool
    enters: bool
    beats: tuple[Beat, ...]
    deeds: tuple[Deed, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that happens in a video.

    Attributes:
        split, number, seed: what the plan is a function of.
        door_open, window_open, light_on: the home's state at first.
        moments: what the annotation says, in order of time.
    """

    split: str
    number: int
    seed: int
    duration: float
    layout: Layout
    door_open: bool
    window_open: bool
    light_on: bool
    roles: tuple[Role, ...]
    moments: tuple[Moment, ...]

    @property
    def video_id(self) -> str:
        """The file's name without its ending."""
        return video_id(self.split, self.number)

    def annotation(self) -> dict[str, object]:
        """The video's entry in the annotation file."""
        return {
            "duration": self.duration,
            "timestamps": [[m.start, m.end] for m in self.moments],
            "sentences": [m.sentence for m in self.moments],
            "labels": [m.label for m in self.moments],
        }


@dataclass(slots=True)
class _Part:
    """A person's actions in an order that is consistent, and the state at first that makes it so."""

    order: list[str]
    first: dict[str, str]
    enters: bool = False


@dataclass(frozen=True, slots=True)
class _Zone:
    """Where a person walks about: the path's y, and the bounds of x, so that two people seldom overlap."""

    lane: float
    left: float
    right: float


@dataclass(slots=True)
class _Draft:
    """A person's timeline while it is laid out: gaps have no length yet."""

    pieces: list[tuple[str, str, float, Station]] = field(default_factory=list)
    fixed: float = 0.0
    gaps: int = 0


def video_id(split: str, number: int) -> str:
    """Name of the video `number` of a split."""
    return f"{split}_{number:05d}"


def make_plan(seed: int, split: str, number: int) -> Plan:
    """The plan of one video.

    Args:
        seed: seed of the whole world, at least 0.
        split: one of SPLITS.
        number: number of the video in its split, from 0.
    """
    split_number = SPLITS.index(split)
    labels = _deal(seed, split_number, number // DECK_VIDEOS)[number % DECK_VIDEOS]
    rng = np.random.default_rng([seed, split_number, number])
    best: tuple[float, Plan] | None = None
    tries = 0
    while best is None or (tries < _TRIES and best[0] > _CROWDED):
        tries += 1
        plan = _try_plan(seed, split, number, labels, rng)
        if plan is not None:
            crowding = _crowding(plan)
            if best is None or crowding < best[0]:
                best = crowding, plan
    return best[1]


def _crowding(plan: Plan) -> float:
    """Share of the time in which two people hide each other."""
    if len(plan.roles) < 2:
        return 0.0
    times = np.arange(0.0, plan.duration, 0.5)
    first, second = (_whereabouts(role, times) for role in plan.roles)
    return float(np.mean(np.abs(first - second) < _SHOULDER_ROOM))


def _whereabouts(role: Role, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where a person is (x) at each of `times`, NaN while away."""
    x = np.full(times.shape, np.nan)
    for beat in role.beats:
        inside = (times >= beat.start) & (times < beat.end)
        if beat.kind != "away" and inside.any():
            w = (times[inside] - beat.start) / max(1e-6, beat.end - beat.start)
            x[inside] = beat.x + (beat.x_end - beat.x) * w
    return x


@lru_cache(maxsize=16)
def _deal(seed: int, split_number: int, block: int) -> tuple[tuple[str, ...], ...]:
    """The labels of the videos of a block: one deck of all actions, shuffled until every hand can be
    played.
    """
    rng = np.random.default_rng([seed, split_number, block, _DECK_STREAM])
    sizes = [_HAND_SIZES[i] for i in rng.permutation(len(_HAND_SIZES))]
    ends = np.cumsum(sizes)
    deck = [LABELS[i] for i in rng.permutation(len(LABELS))]
    while True:
        hands = [deck[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        bad = [i for i, hand in enumerate(hands) if not _playable(hand, rng)]
        if not bad:
            return tuple(tuple(hand) for hand in hands)
        a = int(ends[bad[0]]) - 1 - int(rng.integers(sizes[bad[0]]))
        b = int(rng.integers(len(deck)))
        deck[a], deck[b] = deck[b], deck[a]


def _playable(hand: list[str], rng: np.random.Generator) -> bool:
    return fits(_things(hand)) and _cast(hand, rng) is not None


def _things(labels: list[str] | tuple[str, ...]) -> frozenset[str]:
    return frozenset(_THINGS[label] for label in labels if label in _THINGS)


def _cast(labels: list[str] | tuple[str, ...], rng: np.random.Generator) -> list[_Part] | None:
    """Share the actions among one or two people, each in a consistent order; None if chance finds no way."""
    alone = rng.random() < (0.85 if len(labels) <= 3 else 0.6)
    for attempt in range(60):
        people = 1 if alone and attempt < 45 else 2
        owners = sorted({_OWNERS[label] for label in labels})
        who = {owner: int(rng.integers(people)) for owner in owners}
        shuffled = [labels[i] for i in rng.permutation(len(labels))]
        parts = [_part([x for x in shuffled if who[_OWNERS[x]] == person], rng) for person in range(people)]
        if all(part is not None for part in parts):
            return [part for part in parts if part is not None]
    return None


def _part(order: list[str], rng: np.random.Generator) -> _Part | None:
    """The state at first that makes `order` consistent, or None if no state does."""
    part = _Part(order, {})
    state: dict[str, str] = {}
    for label in order:
        for key, value in _NEEDS[label].items():
            if state.setdefault(key, value) != value:
                return None
            part.first.setdefault(key, value)
        state.update(_CHANGES.get(label, {}))
    if "walk through door" in order:
        can_enter, can_leave = order[0] == "walk through door", order[-1] == "walk through door"
        if not can_enter and not can_leave:
            return None
        part.enters = can_enter and (not can_leave or bool(rng.random() < 0.5))
    return part


def _try_plan(
    seed: int, split: str, number: int, labels: tuple[str, ...], rng: np.random.Generator
) -> Plan | None:
    parts = _cast(labels, rng)
    if parts is None:
        return None
    layout = furnish(_things(labels), rng)
    drafts = [
        _draft(part, layout, zone, rng) for part, zone in zip(parts, _zones(parts, layout), strict=True)
    ]
    needed = max(d.fixed + 0.45 * d.gaps for d in drafts)
    if needed > LONGEST:
        return None
    longest_busy = max(d.fixed for d in drafts)
    wanted = longest_busy * float(rng.uniform(1.3, 2.1)) + float(rng.uniform(2.0, 8.0))
    duration = round(min(LONGEST, max(SHORTEST, needed, wanted)), 1)
    roles = tuple(_role(part, d, duration, rng) for part, d in zip(parts, drafts, strict=True))
    home = {key: value for part in parts for key, value in part.first.items()}
    deeds = sorted((d for role in roles for d in role.deeds), key=lambda d: (d.start, d.end))
    return Plan(
        split,
        number,
        seed,
        duration,
        layout,
        door_open=home["door"] == "open" if "door" in home else bool(rng.random() < 0.4),
        window_open=home["window"] == "open" if "window" in home else bool(rng.random() < 0.4),
        light_on=home["light"] == "on"
        if "light" in home
        else layout.lamp is None or bool(rng.random() < 0.75),
        roles=roles,
        moments=tuple(
            Moment(deed.start, deed.end, deed.label, _sentence(deed.label, split, i + number, rng))
            for i, deed in enumerate(deeds)
        ),
    )


def _sentence(label: str, split: str, turn: int, rng: np.random.Generator) -> str:
    action = ACTIONS[label]
    wordings = action.held_back if split != "train" and turn % 2 else action.seen
    return wordings[int(rng.integers(len(wordings)))]


def _draft(part: _Part, layout: Layout, zone: _Zone, rng: np.random.Generator) -> _Draft:
    """Walks and actions of a person, with the lengths that do not depend on the video's duration."""
    draft = _Draft()
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
                at = _add_walk(draft, at, _spot(zone, rng), rng)
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
        posture = _CHANGES.get(label, {}).get("posture", posture)
    return draft


_OVERLAP = 0.55  # share of the shorter one of two actions of one person at the same time


def _length(label: str, rng: np.random.Generator) -> float:
    return round(float(rng.uniform(ACTIONS[label].shortest, ACTIONS[label].longest)), 1)


def _zones(parts: list[_Part], layout: Layout) -> list[_Zone]:
    if len(parts) == 1:
        return [_Zone(WALK_Y, LEFT + 10, RIGHT - 10)]
    middles = []
    for part in parts:
        places = [s.x for s in (station(layout, label) for label in part.order) if s is not None]
        middles.append(sum(places) / len(places) if places else (LEFT + RIGHT) / 2)
    left = _Zone(WALK_Y, LEFT, 205.0)
    right = _Zone(WALK_Y - 12.0, 275.0, RIGHT)
    return [left, right] if middles[0] < middles[1] else [right, left]


def _spot(zone: _Zone, rng: np.random.Generator) -> Station:
    x = float(rng.uniform(zone.left, zone.right))
    return Station(x, zone.lane, 1 if rng.random() < 0.5 else -1, x)


def _first_spot(part: _Part, layout: Layout, zone: _Zone, rng: np.random.Generator) -> Station:
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
    zone: _Zone,
    overlapped: bool,
    rng: np.random.Generator,
) -> Station:
    fixed = station(layout, label)
    if fixed is not None:
        return fixed
    if posture != "stand" or overlapped or rng.random() < 0.5:
        return at
    return _spot(zone, rng)


def _add_walk(draft: _Draft, at: Station, to: Station, rng: np.random.Generator) -> Station:
    distance = float(np.hypot(to.x - at.x, 2.0 * (to.y - at.y)))
    if distance > 1.0:
        seconds = round(max(0.4, distance / float(rng.uniform(70, 105))), 1)
        draft.pieces.append(("walk", "", seconds, to))
        draft.fixed += seconds
        draft.gaps += 1
    return to


def _role(part: _Part, draft: _Draft, duration: float, rng: np.random.Generator) -> Role:
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
        posture = _CHANGES.get(label, {}).get("posture", posture)
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


def _last_posture(part: _Part) -> str:
    posture = part.first.get("posture", "stand")
    for label in part.order:
        posture = _CHANGES.get(label, {}).get("posture", posture)
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
