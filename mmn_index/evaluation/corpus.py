"""Recall over a whole collection, in the three tasks of TVR's protocol (Lei et al., ECCV 2020), through the
search itself.

    SVMR   single video moment retrieval: the right video is given, its moments are ranked
    VR     video retrieval: videos are ranked, each by its best moment
    VCMR   video corpus moment retrieval: all moments of all videos are ranked

Lists are 100 long. NMS is a part of every number: SVMR and VCMR are measured without and with it; VR has one
moment a video, which NMS leaves alone. A ranking is any function of this form, so that other scores are
measured by the same code:

    rank(numbers of queries, SearchOptions) -> an answer for each
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..index import MomentIndex, Restriction
from ..scoring import Embeddings, Score
from ..search import SearchOptions, search_embeddings
from .queries import Corpus, Queries, count_right
from .recall import (
    Ranked,
    Right,
    average_precision,
    best_ious,
    chances,
    first_rank,
    hits,
    median_rank,
)

TASKS = ("SVMR", "VR", "VCMR")
DEPTHS = (1, 5, 10, 100)  # the k of R@k; lists are as long as the last
IOUS = (0.5, 0.7)
NO_NMS = 1.0
_BATCH = 64  # queries that share a pass over the index
_LEAST = 10  # videos of the smallest collection whose recall is measured

Rank = Callable[[Sequence[int], SearchOptions], list[Ranked]]
Chance = Callable[
    [float | None, int], Tensor
]  # of an IoU (VR: None) and a k: (Q,) float64 of each query's R@k
Report = Callable[..., None]


def silent(done: int, total: int, what: str | None = None) -> None:
    """Report nothing."""


class IndexRank:
    """Ranks by searching an index.

    Args:
        embeddings: unit vectors of all queries, two of (Q, C).
    """

    def __init__(self, index: MomentIndex, embeddings: Embeddings, score: Score) -> None:
        self._index, self._embeddings, self._score = index, embeddings, score

    def __call__(self, numbers: Sequence[int], options: SearchOptions) -> list[Ranked]:
        mine = Embeddings(*(x[list(numbers)] for x in self._embeddings))
        found = []
        for answer in search_embeddings(self._index, mine, self._score, options, [""] * len(numbers)):
            spans = torch.tensor([(hit.start, hit.end) for hit in answer.hits], dtype=torch.float32).reshape(
                -1, 2
            )
            scores = torch.tensor([hit.score for hit in answer.hits], dtype=torch.float64)
            found.append(
                Ranked(
                    torch.tensor([hit.video for hit in answer.hits], dtype=torch.int64),
                    spans,
                    scores,
                    answer.exact,
                )
            )
        return found


@dataclass(frozen=True)
class Lists:
    """The answers to all queries in one task."""

    task: str
    nms: float | None  # None: makes no difference
    ranked: list[Ranked]  # in the order of the queries


@dataclass(frozen=True)
class Outcome:
    """How early each query's list has a right answer, by one meaning of right."""

    task: str
    nms: float | None
    right: str  # own, text or label (see queries.py), or pool (mvmr.py)
    iou: float | None  # that a hit has at least; None: the right video is enough
    depths: tuple[int, ...]  # the k of R@k
    ranks: Tensor  # (Q,) float64 from 1; inf where the list has none
    precisions: Tensor | None  # (Q,) float64 average precision, where several moments may be right
    chances: Tensor | None  # (Q, depths) float64 of moments or videos in random order, without NMS
    exact: int  # answers that were proven exact

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of `values`."""
        return (*(f"R@{k}" for k in self.depths), *(() if self.precisions is None else ("AP",)))

    @property
    def values(self) -> Tensor:
        """(Q, columns) float64 in 0..1: what is averaged over queries."""
        found = (self.ranks[:, None] <= torch.tensor(self.depths)).double()
        return found if self.precisions is None else torch.cat([found, self.precisions[:, None]], dim=1)

    def table(self, rows: Tensor | None = None) -> dict[str, float]:
        """Means in percent and the median rank (MedRank), of all or of the given queries."""
        values, ranks = (self.values, self.ranks) if rows is None else (self.values[rows], self.ranks[rows])
        means = dict(zip(self.columns, (100 * values.mean(dim=0)).tolist(), strict=True))
        return {**means, "MedRank": median_rank(ranks)}

    def chance(self, rows: Tensor | None = None) -> dict[str, float]:
        """Mean chance of each R@k in percent; empty where it is not known."""
        if self.chances is None:
            return {}
        chosen = self.chances if rows is None else self.chances[rows]
        return dict(zip(self.columns, (100 * chosen.mean(dim=0)).tolist(), strict=False))


def search_tasks(
    queries: Queries,
    corpus: Corpus,
    rank: Rank,
    *,
    nms: float = 0.5,
    exact: bool = True,
    tasks: Sequence[str] = TASKS,
    report: Report = silent,
) -> list[Lists]:
    """The answers to all queries in each task, without NMS and with it.

    Args:
        nms: temporal IoU above which NMS drops the worse moment.
        exact: scan everything, candidate index or not.
    """
    return [
        search_task(task, threshold, queries, corpus, rank, exact=exact, report=report)
        for task in tasks
        for threshold in ([None] if task == "VR" else dict.fromkeys([NO_NMS, nms]))
    ]


def search_task(
    task: str,
    nms: float | None,
    queries: Queries,
    corpus: Corpus,
    rank: Rank,
    *,
    exact: bool = True,
    report: Report = silent,
) -> Lists:
    """The answers to all queries in one task.

    Args:
        nms: None for VR, where it makes no difference.
    """
    options = SearchOptions(k=DEPTHS[-1], nms=NO_NMS if nms is None else nms, exact=exact)
    if task == "VR":  # no more than there are: a list that cannot be filled takes the scores of everything
        options = replace(options, k=min(options.k, len(corpus.ids)), per_video=1)
    parts = queries.by_video() if task == "SVMR" else [(None, list(range(len(queries))))]
    ranked: list[Ranked] = []
    for video, numbers in parts:
        own = (
            options
            if video is None
            else replace(options, restriction=Restriction(videos=(corpus.ids[video],)))
        )
        for batch in batches(numbers):
            ranked += rank(batch, own)
            report(len(ranked), len(queries), what=_label(task, nms, exact))
    return Lists(task, nms, ranked)


def measure(lists: Lists, queries: Queries, corpus: Corpus) -> list[Outcome]:
    """Outcomes of one task for every meaning of right (in a given video, its own moment alone) and
    every IoU.
    """
    meanings = {kind: right for kind, right in queries.right.items() if lists.task != "SVMR" or kind == "own"}
    return [
        outcome
        for kind, right in meanings.items()
        for outcome in outcomes(lists, kind, right, IOUS, DEPTHS, _chances(lists.task, right, corpus))
    ]


def outcomes(
    lists: Lists,
    kind: str,
    right: Sequence[Right],
    ious: Sequence[float],
    depths: tuple[int, ...],
    chance: Chance | None = None,
) -> Iterator[Outcome]:
    """Outcomes of one task by one meaning of right, one for every IoU; VR has one in all.

    Args:
        right: answers to each query.
        chance: where it is known.
    """
    found = [best_ious(ranked, one) for ranked, one in zip(lists.ranked, right, strict=True)]
    exact = sum(ranked.exact for ranked in lists.ranked)
    for m in [None] if lists.task == "VR" else ious:
        # A moment of a right video has an IoU of 0 at least, one of any other has -1.
        are_hits = [hits(one, m or 0.0) for one in found]
        ranks = torch.tensor([first_rank(one) for one in are_hits], dtype=torch.float64)
        precisions = None
        if kind in ("text", "label") and m is not None:
            each = zip(lists.ranked, are_hits, right, strict=True)
            precisions = torch.tensor([average_precision(*one) for one in each], dtype=torch.float64)
        random = torch.stack([chance(m, k) for k in depths], dim=1) if chance else None
        yield Outcome(lists.task, lists.nms, kind, m, depths, ranks, precisions, random, exact)


@dataclass(frozen=True)
class SizePoint:
    """Recall in a part of the collection, of the queries of its videos."""

    videos: int
    moments: int
    queries: int
    outcomes: tuple[Outcome, ...]  # VCMR, own


def evaluate_sizes(
    queries: Queries, corpus: Corpus, rank: Rank, *, nms: float = 0.5, seed: int = 0, report: Report = silent
) -> list[SizePoint]:
    """VCMR in random parts of the collection, each half of the one before and inside it, the whole left out.

    Videos without queries, which only distract, go first.
    """
    asked = set(queries.videos.tolist())
    random = np.random.default_rng(seed)
    order = [
        number
        for group in (asked, corpus.ids.keys() - asked)
        for number in random.permutation(sorted(group)).tolist()
    ]
    points, size = [], len(order) // 2
    while size >= _LEAST:
        chosen = order[:size]
        restriction = Restriction(videos=tuple(corpus.ids[number] for number in chosen))
        rows = torch.isin(queries.videos, torch.tensor(chosen)).nonzero()[:, 0].tolist()
        right = [queries.right["own"][row] for row in rows]
        part = replace(corpus, ids={n: corpus.ids[n] for n in chosen})
        own: list[Outcome] = []
        for threshold in dict.fromkeys([NO_NMS, nms]):
            options = SearchOptions(k=DEPTHS[-1], nms=threshold, restriction=restriction)
            ranked = []
            for batch in batches(rows):
                ranked += rank(batch, options)
                report(len(ranked), len(rows), what=f"VCMR, {_nms(threshold)}, {size} videos")
            lists = Lists("VCMR", threshold, ranked)
            own += outcomes(lists, "own", right, IOUS, DEPTHS, _chances("VCMR", right, part))
        points.append(SizePoint(size, part.num_moments, len(rows), tuple(own)))
        size //= 2
    return points


def _chances(task: str, right: Sequence[Right], corpus: Corpus) -> Chance | None:
    """Chance of R@k where moments (VR: videos) come in random order; unknown where moments are not those of a
    grid.
    """
    if corpus.grid is None:
        return None
    total: int | Tensor = len(corpus.ids) if task == "VR" else corpus.num_moments
    if task == "SVMR":
        total = torch.tensor([corpus.count(next(iter(one.distinct))) for one in right])

    @cache
    def counts(m: float | None) -> Tensor:
        if m is None:
            return torch.tensor([len(one.distinct) for one in right])
        return count_right(right, corpus, m)

    return lambda m, k: chances(counts(m), total, k)


def batches(numbers: Sequence[int]) -> Iterator[list[int]]:
    """As many queries at a time as share a pass over an index."""
    for first in range(0, len(numbers), _BATCH):
        yield list(numbers[first : first + _BATCH])


def _nms(threshold: float) -> str:
    return "no NMS" if threshold == NO_NMS else f"NMS {threshold:g}"


def _label(task: str, threshold: float | None, exact: bool) -> str:
    return (
        task + ("" if threshold is None else f", {_nms(threshold)}") + ("" if exact else ", candidate index")
    )
