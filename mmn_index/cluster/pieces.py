"""An index cut into pieces, and which of several owners has which: balanced, and with few moves when one
comes or goes. Pure functions.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..index.segment import Segment

_PIECES = 256  # into which all moments of an index are cut, about: an owner's share is balanced to so many


@dataclass(frozen=True)
class Piece:
    """Whole videos of one segment, as stretch [first, last) of its rows."""

    segment: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """Rows, those of removed videos too."""
        return self.last - self.first


def cut(segments: Sequence[Segment]) -> list[Piece]:
    """All rows of some segments in pieces of about the same size, in order."""
    size = max(1, sum(segment.entry.moments for segment in segments) // _PIECES)
    pieces = []
    for number, segment in enumerate(segments):
        ends, moments = segment.first_window * segment.per_window, segment.entry.moments
        wanted = np.linspace(0, moments, max(1, round(moments / size)) + 1)
        edges = np.unique(ends[np.searchsorted(ends, wanted)]).tolist()
        pieces += [Piece(number, first, last) for first, last in pairwise(edges)]
    return pieces


def assign(
    sizes: Sequence[int],
    owners: Sequence[str],
    before: Sequence[Sequence[str]] | None = None,
    replicas: int = 1,
) -> list[tuple[str, ...]]:
    """The owners of each piece, `replicas` different ones, or all where there are fewer. Neighbours have the
    same owners where that is possible.

    Args:
        before: who had each piece until now. Owners that are there still keep what they have, up to their
            share; the rest is given to those that have least.
    """
    copies = min(replicas, len(owners))
    if not copies:
        return [()] * len(sizes)
    share = sum(sizes) * copies / len(owners)
    had = before or [()] * len(sizes)
    found = [[owner for owner in old if owner in owners][:copies] for old in had]
    load = Counter(dict.fromkeys(owners, 0))
    for size, own in zip(sizes, found, strict=True):
        load.update(dict.fromkeys(own, size))
    # At first one owner of a piece at most gives it up: a newcomer can have it but once.
    for least in range(copies - 1, -1, -1):
        for size, own in zip(reversed(sizes), reversed(found), strict=True):
            for owner in list(own):
                if len(own) > least and load[owner] - size / 2 > share:  # nearer to its share without it
                    own.remove(owner)
                    load[owner] -= size
    for copy in range(copies):
        left = sum(size for size, own in zip(sizes, found, strict=True) if len(own) <= copy)
        last, most = "", 0.0
        for size, own in zip(sizes, found, strict=True):
            if len(own) <= copy:
                if not last or last in own or load[last] + size / 2 > most:
                    last = min((owner for owner in owners if owner not in own), key=load.__getitem__)
                    most = _level([load[owner] for owner in owners], left)
                own.append(last)
                load[last] += size
                left -= size
    return [tuple(own) for own in found]


def _level(loads: Sequence[float], more: float) -> float:
    """How much each has at most, if those that have least are given so much more in all."""
    ordered, level = sorted(loads), 0.0
    for count in range(1, len(ordered) + 1):
        level = (sum(ordered[:count]) + more) / count
        if count == len(ordered) or level <= ordered[count]:
            break
    return level


def choose(sizes: Sequence[int], owners: Sequence[Sequence[str]], there: Collection[str]) -> list[str | None]:
    """Which one owner answers for each piece, so that all have about as much to do; None where no owner is
    there. Neighbours have the same where that is possible.
    """
    able = [[owner for owner in own if owner in there] for own in owners]
    share = sum(sizes) / max(1, len({owner for own in able for owner in own}))
    load, last, found = Counter[str](), None, list[str | None]()
    for size, own in zip(sizes, able, strict=True):
        if last not in own or load[last] + size / 2 > share:
            last = min(own, key=load.__getitem__, default=None)
        found.append(last)
        load[last or ""] += size
    return found


def joined(pieces: Sequence[Piece]) -> dict[int, list[tuple[int, int]]]:
    """Pieces in order as stretches of rows by segment; neighbours become one."""
    found: dict[int, list[tuple[int, int]]] = {}
    for piece in pieces:
        own = found.setdefault(piece.segment, [])
        if own and own[-1][1] == piece.first:
            own[-1] = own[-1][0], piece.last
        else:
            own.append((piece.first, piece.last))
    return found
