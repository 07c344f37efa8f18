"""Plans of videos with two or three people, each with one sentence about one of them.

What the sentence says is done by that person alone, and while it is done, somebody else does something else:
neither the time nor the picture as a whole tells who is meant. The actions of the sentences are dealt like
cards, twenty videos to a deck of all actions; what is done besides comes from decks as well, as far as it
fits the home and the order of things.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .actions import LABELS
from .casting import Part, share, things_for
from .layout import CANVAS_WIDTH, fits, furnish
from .plan import SPLITS, Deed, Moment, Plan, Role
from .script import crowding, length, moment, unannotated
from .timeline import Zone, fix_times, lay_out, zones

DECK_VIDEOS = len(LABELS)

_STREAM, _DECK_STREAM, _EVERY_STREAM = 15485863, 32452843, 67867967
_TRIES, _CROWDED, _RETIMED = 16, 0.1, 12
_MEANWHILE = 0.5  # share of the moment in which somebody else acts too, at least
_OFF = 75.0  # so far beside the canvas nothing of a person is in the picture
# "the person stands up" would be true of both.
_ALSO_SAID_OF = {"stand up": "get up"}


@dataclass(frozen=True, slots=True)
class Hand:
    """What happens in a video; the sentence is about the first one of `labels`."""

    people: int
    labels: tuple[str, ...]


def make_people_plan(seed: int, split: str, number: int) -> Plan:
    """The plan of one video with two or three people and one moment; `Plan.who` is whose it is.

    Args:
        seed: seed of the whole world, at least 0.
        split: one of SPLITS.
        number: number of the video in its split, from 0.
    """
    split_number = SPLITS.index(split)
    hand = _deal(seed, split_number, number // DECK_VIDEOS)[number % DECK_VIDEOS]
    rng = np.random.default_rng([seed, split_number, number, _STREAM])
    best: tuple[float, Plan] | None = None
    tries = 0
    while best is None or (tries < _TRIES and best[0] > _CROWDED):
        tries += 1
        plan = _try_plan(seed, split, number, hand, rng)
        if plan is not None:
            hidden = _hidden(plan)
            if best is None or hidden < best[0]:
                best = hidden, plan
    return best[1]


def every_deed(plan: Plan) -> list[tuple[int, Moment]]:
    """Each action of a plan of `make_people_plan` with a sentence and the index of who does it, in order of
    time: nobody else does the same in this video. The plan's own moment is one of them. Left out is a deed of
    which the sentence would be true of another one as well.
    """
    rng = np.random.default_rng([plan.seed, SPLITS.index(plan.split), plan.number, _EVERY_STREAM])
    own, labels = plan.moments[0], {deed.label for role in plan.roles for deed in role.deeds}
    deeds = [(deed, i) for i, role in enumerate(plan.roles) for deed in role.deeds]
    deeds.sort(key=lambda one: (one[0].start, one[0].end))
    moments = [
        (i, own if deed.label == own.label else moment(deed, plan.split, turn + plan.number, rng))
        for turn, (deed, i) in enumerate(deeds)
    ]
    return [(i, found) for i, found in moments if _ALSO_SAID_OF.get(found.label) not in labels]


def _hidden(plan: Plan) -> float:
    """How much people hide each other, and most of all the one who is meant during the moment."""
    moment = plan.moments[0]
    inside = np.arange(moment.start, moment.end, 0.25)
    others = [role for i, role in enumerate(plan.roles) if i != plan.who]
    meant = [crowding((plan.roles[plan.who or 0], other), inside) for other in others]
    return max(meant) + crowding(plan.roles, np.arange(0.0, plan.duration, 0.5))


@lru_cache(maxsize=16)
def _deal(seed: int, split_number: int, block: int) -> tuple[Hand, ...]:
    """The hands of the videos of a block."""
    rng = np.random.default_rng([seed, split_number, block, _DECK_STREAM])
    deck: list[str] = []
    hands = []
    for i, turn in enumerate(rng.permutation(len(LABELS))):
        people = 2 + i % 2
        size = 2 * people + int(rng.integers(-1, 2))
        hand = None
        while hand is None:
            while len(deck) < 2 * len(LABELS):
                deck += [LABELS[k] for k in rng.permutation(len(LABELS))]
            hand = _draw(LABELS[turn], people, size, deck, rng)
        hands.append(hand)
    return tuple(hands)


def _draw(target: str, people: int, size: int, deck: list[str], rng: np.random.Generator) -> Hand | None:
    """Take the first cards of the deck that fit; if they cannot be played, shuffle it."""
    labels = [target]
    for label in deck:
        fitting = label not in labels and label != _ALSO_SAID_OF.get(target)
        if len(labels) < size and fitting and fits(things_for([*labels, label])):
            labels.append(label)
    if _cast(labels, people, rng) is None:
        deck[:] = [deck[k] for k in rng.permutation(len(deck))]
        return None
    for label in labels[1:]:
        deck.remove(label)
    return Hand(people, tuple(labels))


def _cast(labels: list[str] | tuple[str, ...], people: int, rng: np.random.Generator) -> list[Part] | None:
    """Share the actions so that everybody has at least one; None if chance finds no way."""
    for _ in range(200):
        parts = share(labels, people, rng)
        if parts is not None and all(part.order for part in parts):
            return parts
    return None


def _try_plan(seed: int, split: str, number: int, hand: Hand, rng: np.random.Generator) -> Plan | None:
    parts = _cast(hand.labels, hand.people, rng)
    if parts is None:
        return None
    layout = furnish(things_for(hand.labels), rng)
    drafts = [
        lay_out(part, layout, _with_way_out(zone), rng)
        for part, zone in zip(parts, zones(parts, layout), strict=True)
    ]
    duration = length(drafts, rng)
    if duration is None:
        return None
    for _ in range(_RETIMED):
        roles = tuple(fix_times(part, d, duration, rng) for part, d in zip(parts, drafts, strict=True))
        who, deed = _deed(roles, hand.labels[0])
        if _meanwhile(roles, who, deed) >= _MEANWHILE:
            plan = unannotated(seed, split, number, duration, layout, parts, roles, rng)
            return replace(plan, moments=(moment(deed, split, number, rng),), who=who)
    return None


def _with_way_out(zone: Zone) -> Zone:
    """Those at the sides walk off now and then; whoever is in the middle stays."""
    if zone.left < CANVAS_WIDTH / 2 < zone.right:
        return zone
    return replace(zone, outside=-_OFF if zone.right < CANVAS_WIDTH / 2 else CANVAS_WIDTH + _OFF)


def _deed(roles: tuple[Role, ...], label: str) -> tuple[int, Deed]:
    return next((i, deed) for i, role in enumerate(roles) for deed in role.deeds if deed.label == label)


def _meanwhile(roles: tuple[Role, ...], who: int, meant: Deed) -> float:
    """Share of a deed's time in which somebody else acts: the one with whom it shares most."""
    shared = (
        min(deed.end, meant.end) - max(deed.start, meant.start)
        for i, role in enumerate(roles)
        for deed in role.deeds
        if i != who
    )
    return max(shared) / (meant.end - meant.start)
