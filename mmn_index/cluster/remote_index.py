"""An index whose embeddings are searched by the nodes of a cluster.

It opens what describes the moments: videos, windows, times. Restrictions, ranking and proof are computed
here, by the code that runs without a cluster. Searchers compute what needs the embeddings: candidates with
their bounds, cosines, bounds of pairs.
"""

import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from ..errors import MmnIndexError, MomentIndexError
from ..index import Candidates, MomentIndex, Part
from ..index.scan import Deadline
from ..scoring import Embeddings, Score, Tangent
from .allotment import Allotment
from .roster import LOST
from .searcher import Question, Scan
from .searchers import Searchers


class RemoteIndex(MomentIndex):
    """One version of an index, searched by a cluster; safe from several threads.

    Where searchers are lost and nobody else has their part, `Answer.searched` says which share of the moments
    was searched, until others have that part.

    Args:
        root: the index directory; all nodes see it under this path.
        alone: whether the searchers are for this index alone, and end with it.

    Raises:
        MomentIndexError: it is missing or damaged.
        ClusterError: no node can open it.
    """

    def __init__(self, root: Path, searchers: Searchers, *, alone: bool = False) -> None:
        self._searchers, self._alone = searchers, alone
        while True:
            super().__init__(root.absolute())
            self._allotment = Allotment(uuid4().hex, self.root, self.manifest, self.segments)
            try:
                searchers.allot(self._allotment)
                break
            except MomentIndexError:
                continue  # it was changed meanwhile
        pieces = self._allotment.pieces
        self._first = np.array([piece.first + self.holding.first[piece.segment] for piece in pieces])
        weakref.finalize(self, searchers.forget, self._allotment.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what searches for this index alone."""
        if self._alone:
            self._searchers.close()

    @property
    def has_candidates(self) -> bool:
        """Whether an unrestricted search asks a candidate index."""
        return not all(self._allotment.plan.scanned.values())

    def candidates(
        self,
        queries: Embeddings,
        score: Score,
        planes: Sequence[Tangent],
        limit: int,
        parts: Sequence[Part],
        *,
        scan: bool,
        deadline: Deadline,
    ) -> Candidates:
        """As MomentIndex.candidates."""
        wanted = self._wanted(parts, self._allotment.plan.scanned, scan=scan)
        nearest = {number: count for number, count in wanted.nearest.items() if count}

        def told(places: list[int], numbers: list[int]) -> tuple[Any, ...] | None:
            scans, own = self._scans(places, parts), {number: nearest[number] for number in numbers}
            question = Question.of(queries, score, deadline.left())
            return (question, planes, limit, scans, own) if scans or own else None

        found, missing = self._of_all("candidates", wanted.scans, list(nearest), told, parts, deadline)
        recalls = [one.recall for one in found if one.recall is not None]
        each = [(one.values, one.rows) for one in found]
        return Candidates.joined(each, len(planes), limit, wanted.total, min(recalls, default=None), missing)

    def pair_bounds(
        self,
        queries: Embeddings,
        score: Score,
        parts: Sequence[Part],
        deadline: Deadline,
        *,
        in_order: bool,
    ) -> tuple[np.ndarray, float]:
        """As MomentIndex.pair_bounds."""

        def told(places: list[int], numbers: list[int]) -> tuple[Any, ...] | None:
            scans = self._scans(places, parts)
            return (Question.of(queries, score, deadline.left()), scans, in_order) if scans else None

        numbers = range(len(self.segments))
        found, missing = self._of_all("pair_bounds", numbers, [], told, parts, deadline)
        first = np.array(self.rows.first_video)
        bounds = np.full(first[-1], -np.inf, dtype=np.float32)
        for number, (videos, values) in (each for one in found for each in one.items()):
            bounds[first[number] + videos] = values
        return bounds, 1 - missing / max(1, sum(part.count for part in parts))

    def vectors(self, rows: np.ndarray) -> Tensor:
        """As MomentIndex.vectors."""
        found = np.empty((rows.size, self.manifest.width), dtype=np.float16)
        self._fetch("vectors", rows.reshape(-1), self.holding.vectors, found)
        return torch.from_numpy(found).view(*rows.shape, self.manifest.width)

    def hubs(self, rows: np.ndarray) -> Tensor:
        """As MomentIndex.hubs."""
        found = np.zeros(rows.size, dtype=np.float32)
        if self.manifest.bank is not None:
            self._fetch("hubs", rows.reshape(-1), self.holding.hubs, found)
        return torch.from_numpy(found).view(*rows.shape)

    def cosines(
        self,
        rows: np.ndarray,
        queries: Embeddings,
        score: Score,
        precision: torch.dtype,
        deadline: Deadline,
    ) -> tuple[Tensor, Tensor]:
        """As MomentIndex.cosines."""
        found = torch.zeros(2, *rows.shape, dtype=precision)
        where = {name: own.reshape(rows.shape) for name, own in self._where(rows.reshape(-1)).items()}
        question = Question.of(queries, score, deadline.left())
        asked = {
            name: (self._allotment.key, question, rows[own], own.sum(axis=1), precision)
            for name, own in where.items()
            if name is not None
        }
        for name, answer in self._answers("cosines", asked, deadline, where):
            own = where[name]
            if answer is LOST:  # what they found is scored from the files
                lists = [line[here] for line, here in zip(rows, own, strict=True)]
                scored = self.holding.cosines(lists, queries, score, precision, deadline)
                answer = torch.cat(scored, dim=1).numpy()
            found.numpy()[:, own] = answer
        return found[0], found[1]

    def _fetch(
        self, method: str, rows: np.ndarray, read: Callable[[np.ndarray], Tensor], found: np.ndarray
    ) -> None:
        """What searchers have of (n,) rows, written into (n, ...); from the files where they are lost."""
        where = self._where(rows)
        asked = {name: (self._allotment.key, rows[own]) for name, own in where.items() if name is not None}
        for name, answer in self._answers(method, asked, Deadline(None), where):
            own = where[name]
            found[own] = read(rows[own]).numpy() if answer is LOST else answer

    def _where(self, rows: np.ndarray) -> dict[str | None, np.ndarray]:
        """Which of (n,) rows which searcher has, (n,) bool each; None has those that nobody has."""
        of = np.searchsorted(self._first, rows, side="right") - 1
        names = self._allotment.who_scans(np.unique(of).tolist(), self._searchers.there)
        return {name: np.isin(of, places) for name, places in names.items()}

    def _answers(
        self,
        method: str,
        asked: Mapping[str, tuple[Any, ...]],
        deadline: Deadline,
        where: Mapping[str | None, np.ndarray],
    ) -> Iterator[tuple[str | None, Any]]:
        """What each of `where` says, LOST of those that nobody has."""
        yield from ((name, LOST) for name in where if name is None)
        for name, answer in self._searchers.ask(method, asked, deadline, self.num_moments):
            if isinstance(answer, MmnIndexError):
                deadline.check(self.num_moments, self.num_moments)
                raise answer
            yield name, answer

    def _scans(self, places: list[int], parts: Sequence[Part]) -> dict[int, Scan]:
        """What of some pieces is to be scanned, by segments."""
        stretches = self._allotment.stretches(places)
        if parts is self._everything:
            return {number: Scan(ranges, None) for number, ranges in stretches.items()}
        cut = {number: parts[number].only(ranges) for number, ranges in stretches.items()}
        return {number: Scan(stretches[number], part) for number, part in cut.items() if part.count}

    def _of_all(
        self,
        method: str,
        scanned: Collection[int],
        nearest: list[int],
        told: Callable[[list[int], list[int]], tuple[Any, ...] | None],
        parts: Sequence[Part],
        deadline: Deadline,
    ) -> tuple[list[Any], int]:
        """What the searchers of some segments say. What one that was lost should have done is done by others
        that have its part.

        Args:
            scanned: segments of which all pieces are scanned.
            nearest: segments whose candidate index is asked.
            told: the arguments for a searcher that is to scan some pieces and to ask some candidate indexes;
                None if it has nothing to do.

        Returns:
            The answers, and how many moments of `parts` nobody has.
        """
        pieces, total = self._allotment.pieces, sum(part.count for part in parts)
        places = [place for place, piece in enumerate(pieces) if piece.segment in scanned]
        numbers, found, missing = nearest, list[Any](), 0
        while places or numbers:
            there = self._searchers.there
            scans, asks = self._allotment.who_scans(places, there), self._allotment.who_asks(numbers, there)
            for piece in (pieces[place] for place in scans.pop(None, [])):
                missing += parts[piece.segment].within(piece.first, piece.last).count
            missing += sum(parts[number].count for number in asks.pop(None, []))
            places, numbers, asked = [], [], {}
            for name in {*scans, *asks} - {None}:
                if (arguments := told(scans.get(name, []), asks.get(name, []))) is not None:
                    asked[str(name)] = self._allotment.key, *arguments
            for name, answer in self._searchers.ask(method, asked, deadline, total):
                if answer is LOST:
                    places, numbers = places + scans.get(name, []), numbers + asks.get(name, [])
                elif isinstance(answer, MmnIndexError):
                    deadline.check(0, total)  # which says where the time went
                    raise answer
                else:
                    found.append(answer)
            places.sort()
        return found, missing
