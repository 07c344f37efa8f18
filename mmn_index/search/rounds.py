"""How many candidates each query draws, at which tangent point, and when it needs no more."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..index import Candidates, MomentIndex
from ..scoring import Score, Tangent
from .ranking import FIRST_POINT, Ranked

_DEPTH = 512  # candidates of the first round for ten hits; NMS drops most of them
_MOST = 1 << 13  # candidates that are asked of a candidate index

_plane = lru_cache(maxsize=1 << 10)(Score.tangent)  # at first all queries have the same, and every search


@dataclass
class Rounds:
    """Where the queries of a search stand."""

    k: int
    total: int  # moments that could be found
    limits: np.ndarray  # (Q,) candidates that a query draws next
    points: np.ndarray  # (Q, 2) both cosines, where its tangent plane touches the score
    drawn: np.ndarray  # (Q,) rounds so far
    open: list[int]  # queries without an answer

    @classmethod
    def first(cls, index: MomentIndex, queries: int, k: int, total: int, *, scan: bool) -> "Rounds":
        """Before the first round: as deep as the index was tuned for, deeper for more than ten hits, with a
        plane where the largest segment's last hits lay when it was made.
        """
        abouts = [
            (each.entry.moments, each.vectors.about) for each in index.segments if each.vectors and not scan
        ]
        depth = max((about.depth for _, about in abouts), default=_DEPTH)
        _, point = max(
            ((moments, about.point) for moments, about in abouts if about.point), default=(0, FIRST_POINT)
        )
        limits = np.full(queries, min(total, max(depth, depth * k // 10)))
        points = np.tile(point, (queries, 1))
        return cls(k, total, limits, points, np.zeros(queries, dtype=int), list(range(queries)))

    def groups(self) -> Iterator[tuple[int, list[int]]]:
        """(candidates, queries): queries that want equally many share one pass over the index."""
        waiting = list(self.open)
        for limit in sorted(set(self.limits[waiting].tolist())):
            yield max(limit, 1), [number for number in waiting if self.limits[number] == limit]

    def planes(self, score: Score, group: list[int]) -> list[Tangent]:
        """The tangent plane of each query."""
        return [_plane(score, *self.points[number].tolist()) for number in group]

    def settle(self, group: list[int], ranked: Ranked, found: Candidates, limit: int) -> dict[int, bool]:
        """Close the queries that are proven, or that a candidate index can do no more for; the others draw
        more, or at a better point.

        Returns:
            Whether the answer is exact, by the place of each closed query in the group.
        """
        self.drawn[group] += 1
        settled = {}
        most = self.total if found.recall is None else min(self.total, _MOST)
        for place, number in enumerate(group):
            whole = len(ranked.kept[place]) == self.k
            proven = ranked.scored[place] == found.searched
            proven = proven or (whole and ranked.last[place] > ranked.bound[place])
            moved = self.drawn[number] > 1
            if proven or (found.recall is not None and moved and limit >= most):
                settled[place] = bool(proven) and ranked.proves and not found.missing
                self.open.remove(number)
                continue
            if found.recall is None or moved or not whole:
                self.limits[number] = min(4 * limit, most)
            if whole:
                self.points[number] = ranked.point[place]
        return settled
