"""What happens when in a video: the plan is made, without any drawing.

A plan is a pure function of (seed, split, number). It is drawn at random from what `casting` finds
consistent, laid out by `timeline`, and drawn again if two people would hide each other.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from .actions import ACTIONS
from .casting import DECK_VIDEOS, Part, cast, deal, things_for
from .layout import Layout, furnish
from .plan import SPLITS, Deed, Moment, Plan, Role
from .timeline import Draft, fix_times, lay_out, zones

SHORTEST, LONGEST = 20.0, 60.0

_TRIES, _CROWDED, _SHOULDER_ROOM = 16, 0.06, 44.0


def make_plan(seed: int, split: str, number: int) -> Plan:
    """The plan of one video.

    Args:
        seed: seed of the whole world, at least 0.
        split: one of SPLITS.
        number: number of the video in its split, from 0.
    """
    split_number = SPLITS.index(split)
    labels = deal(seed, split_number, number // DECK_VIDEOS)[number % DECK_VIDEOS]
    rng = np.random.default_rng([seed, split_number, number])
    best: tuple[float, Plan] | None = None
    tries = 0
    while best is None or (tries < _TRIES and best[0] > _CROWDED):
        tries += 1
        plan = _try_plan(seed, split, number, labels, rng)
        if plan is not None:
            crowded = crowding(plan.roles, np.arange(0.0, plan.duration, 0.5))
            if best is None or crowded < best[0]:
                best = crowded, plan
    return best[1]


def crowding(roles: Sequence[Role], times: npt.NDArray[np.float64]) -> float:
    """Share of `times` at which two people hide each other; of the two who do so most."""
    places = [_whereabouts(role, times) for role in roles]
    pairs = combinations(places, 2)
    return max((float(np.mean(np.abs(a - b) < _SHOULDER_ROOM)) for a, b in pairs), default=0.0)


def _whereabouts(role: Role, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where a person is (x) at each of `times`, NaN while away."""
    x = np.full(times.shape, np.nan)
    for beat in role.beats:
        inside = (times >= beat.start) & (times < beat.end)
        if beat.kind != "away" and inside.any():
            w = (times[inside] - beat.start) / max(1e-6, beat.end - beat.start)
            x[inside] = beat.x + (beat.x_end - beat.x) * w
    return x


def _try_plan(
    seed: int, split: str, number: int, labels: tuple[str, ...], rng: np.random.Generator
) -> Plan | None:
    parts = cast(labels, rng)
    if parts is None:
        return None
    layout = furnish(things_for(labels), rng)
    drafts = [
        lay_out(part, layout, zone, rng) for part, zone in zip(parts, zones(parts, layout), strict=True)
    ]
    duration = length(drafts, rng)
    if duration is None:
        return None
    roles = tuple(fix_times(part, d, duration, rng) for part, d in zip(parts, drafts, strict=True))
    plan = unannotated(seed, split, number, duration, layout, parts, roles, rng)
    deeds = sorted((d for role in roles for d in role.deeds), key=lambda d: (d.start, d.end))
    moments = tuple(moment(deed, split, i + number, rng) for i, deed in enumerate(deeds))
    return replace(plan, moments=moments)


def length(drafts: list[Draft], rng: np.random.Generator) -> float | None:
    """Length of a video for these people, in seconds; None if none is long enough."""
    needed = max(d.fixed + 0.45 * d.gaps for d in drafts)
    if needed > LONGEST:
        return None
    longest_busy = max(d.fixed for d in drafts)
    wanted = longest_busy * float(rng.uniform(1.3, 2.1)) + float(rng.uniform(2.0, 8.0))
    return round(min(LONGEST, max(SHORTEST, needed, wanted)), 1)


def unannotated(
    seed: int,
    split: str,
    number: int,
    duration: float,
    layout: Layout,
    parts: list[Part],
    roles: tuple[Role, ...],
    rng: np.random.Generator,
) -> Plan:
    """A plan without moments: the home's state at first is what the parts need, or any."""
    home = {key: value for part in parts for key, value in part.first.items()}
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
        moments=(),
    )


def moment(deed: Deed, split: str, turn: int, rng: np.random.Generator) -> Moment:
    """A deed with a sentence; in val and test every second `turn` has a wording that train holds back."""
    return Moment(deed.start, deed.end, deed.label, _sentence(deed.label, split, turn, rng))


def _sentence(label: str, split: str, turn: int, rng: np.random.Generator) -> str:
    action = ACTIONS[label]
    wordings = action.held_back if split != "train" and turn % 2 else action.seen
    return wordings[int(rng.integers(len(wordings)))]
