"""Which searcher has which part of one version of an index."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..index import Manifest
from ..index.segment import Segment
from .pieces import assign, choose, cut, joined


@dataclass(frozen=True)
class Plan:
    """Who has what, by the names of searchers.

    Attributes:
        scans: of each piece, who scans it.
        indexed: of each segment with a candidate index, who asks that.
        scanned: whether a segment is always scanned, candidate index or not.
    """

    scans: list[tuple[str, ...]]
    indexed: dict[int, tuple[str, ...]]
    scanned: dict[int, bool] = field(default_factory=dict)
    holders: frozenset[str] = frozenset()


class Allotment:
    """One version of an index as searchers hold it. A piece of a segment is scanned by those that have the
    piece; its candidate index is one file, and asked by those that have the segment.

    Attributes:
        plan: who has what now; replaced in whole.
        refused: searchers that cannot open it, and why.
    """

    def __init__(self, key: str, root: Path, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.key, self.root, self.manifest = key, root, manifest
        self.pieces = cut(segments)
        self._sizes = [piece.size for piece in self.pieces]
        self._indexed = [number for number, segment in enumerate(segments) if segment.vectors is not None]
        self.plan = Plan([()] * len(self.pieces), {})
        self.refused: dict[str, str] = {}

    def shared_out(self, names: Sequence[str], replicas: int) -> Plan:
        """Who would have what if these were there, with few moves from what is."""
        scans = assign(self._sizes, names, self.plan.scans, replicas)
        before = [self.plan.indexed.get(number, ()) for number in self._indexed]
        moments = [self.manifest.segments[number].moments for number in self._indexed]
        indexed = assign(moments, names, before, replicas)
        return Plan(scans, dict(zip(self._indexed, indexed, strict=True)), holders=frozenset(names))

    def order(self, plan: Plan, name: str) -> tuple[Any, ...]:
        """The arguments of `Searcher.hold` for one of them."""
        own = [piece for piece, owners in zip(self.pieces, plan.scans, strict=True) if name in owners]
        indexed = [number for number, owners in plan.indexed.items() if name in owners]
        return self.key, self.root, self.manifest, joined(own), indexed

    def take(self, plan: Plan, held: Mapping[str, Mapping[int, bool]]) -> None:
        """Make a plan the one that holds.

        Args:
            held: what `Searcher.hold` said of each segment, by searchers.
        """
        scanned = dict.fromkeys(range(len(self.manifest.segments)), True)
        for piece, owners in zip(self.pieces, plan.scans, strict=True):
            scanned[piece.segment] &= all(held[name][piece.segment] for name in owners)
        self.plan = Plan(plan.scans, plan.indexed, scanned, plan.holders)

    def who_scans(self, places: Sequence[int], there: Collection[str]) -> dict[str | None, list[int]]:
        """Of some pieces, given by their places, which searcher should scan which; None has those that nobody
        has who is there.
        """
        sizes, owners = [self._sizes[n] for n in places], [self.plan.scans[n] for n in places]
        return _by_name(places, choose(sizes, owners, there))

    def who_asks(self, numbers: Sequence[int], there: Collection[str]) -> dict[str | None, list[int]]:
        """The same of candidate indexes, by numbers of segments."""
        sizes = [self.manifest.segments[number].moments for number in numbers]
        return _by_name(numbers, choose(sizes, [self.plan.indexed[number] for number in numbers], there))

    def stretches(self, places: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
        """Some pieces as stretches of rows, by segments."""
        return joined([self.pieces[place] for place in places])


def _by_name(places: Sequence[int], names: Sequence[str | None]) -> dict[str | None, list[int]]:
    found: dict[str | None, list[int]] = {}
    for place, name in zip(places, names, strict=True):
        found.setdefault(name, []).append(place)
    return found
