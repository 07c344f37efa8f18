"""Who does what in which order: the labels of a video are dealt, shared among people and put in an order that
some first state of the home makes consistent.

The labels of a split are dealt like a deck of cards: each block of five videos shares one deck of all
actions, so that every action is equally frequent. Orders and first states are drawn from all consistent ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .actions import LABELS
from .layout import fits

DECK_VIDEOS = 5

_HAND_SIZES = (2, 3, 4, 5, 6)  # adds up to one deck of actions
_DECK_STREAM = 7919
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
CHANGES: Mapping[str, Mapping[str, str]] = {
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


@dataclass(slots=True)
class Part:
    """A person's actions in an order that is consistent, and the state at first that makes it so."""

    order: list[str]
    first: dict[str, str]
    enters: bool = False


@lru_cache(maxsize=16)
def deal(seed: int, split_number: int, block: int) -> tuple[tuple[str, ...], ...]:
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
    return fits(things_for(hand)) and cast(hand, rng) is not None


def things_for(labels: list[str] | tuple[str, ...]) -> frozenset[str]:
    """What a home must have for these actions."""
    return frozenset(_THINGS[label] for label in labels if label in _THINGS)


def cast(labels: list[str] | tuple[str, ...], rng: np.random.Generator) -> list[Part] | None:
    """Share the actions among one or two people, each in a consistent order; None if chance finds no way."""
    alone = rng.random() < (0.85 if len(labels) <= 3 else 0.6)
    for attempt in range(60):
        parts = share(labels, 1 if alone and attempt < 45 else 2, rng)
        if parts is not None:
            return parts
    return None


def share(labels: list[str] | tuple[str, ...], people: int, rng: np.random.Generator) -> list[Part] | None:
    """Share the actions among people at random, each in a random order; None if an order is not
    consistent. Someone may be left without an action.
    """
    owners = sorted({_OWNERS[label] for label in labels})
    who = {owner: int(rng.integers(people)) for owner in owners}
    shuffled = [labels[i] for i in rng.permutation(len(labels))]
    parts = [_part([x for x in shuffled if who[_OWNERS[x]] == person], rng) for person in range(people)]
    found = [part for part in parts if part is not None]
    return found if len(found) == people else None


def _part(order: list[str], rng: np.random.Generator) -> Part | None:
    """The state at first that makes `order` consistent, or None if no state does."""
    part = Part(order, {})
    state: dict[str, str] = {}
    for label in order:
        for key, value in _NEEDS[label].items():
            if state.setdefault(key, value) != value:
                return None
            part.first.setdefault(key, value)
        state.update(CHANGES.get(label, {}))
    if "walk through door" in order:
        can_enter, can_leave = order[0] == "walk through door", order[-1] == "walk through door"
        if not can_enter and not can_leave:
            return None
        part.enters = can_enter and (not can_leave or bool(rng.random() < 0.5))
    return part
