"""Fit what an index is searched with on validation sentences: how the two spaces are weighed, and what a confidence is.

The validation videos are an index of their own, searched like any other. Two numbers of the score are tried on a small grid, the
weight of the contrastive cosine and the strength of the hub correction; the highest average precision decides. Then a confidence
is fitted (mmn_index/confidence.py): on what every sentence finds, and on what it finds where all videos with a right answer are
left out, so that half of the searches are for something absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmn_index.confidence import Calibration, fit, refusal_curve
from mmn_index.index import MomentIndex, Restriction
from mmn_index.recall import Ranked, Right, best_ious, hits
from mmn_index.scoring import HUB_SCORES, Embeddings, Score
from mmn_index.search import Answer, SearchOptions, search_embeddings

from .corpus import IndexRank, Report, measure, search_tasks, silent
from .queries import Corpus, Queries

HIT = 0.5  # temporal IoU from which a moment is right
HITS = 10  # of each search that a confidence is fitted on
WEIGHTS = (0.5, 0.7, 1.0, 1.4, 2.0)  # of the contrastive cosine
HUBS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Tried:
    """One score of the grid."""

    score: Score
    precision: float  # mean average precision over the sentences, 0 to 1


@dataclass(frozen=True)
class Judged:
    """Hits of searches for what is there, or is not: what a confidence is computed from, and whether it should be high."""

    quantities: Tensor  # (n, confidence.QUANTITIES)
    right: Tensor  # (n,) bool
    query: Tensor  # (n,) int64 number of the search


def meaning(queries: Queries) -> str:
    """Which right answers count: those of the same label where there are labels, else those of the same text."""
    return "label" if "label" in queries.right else "text"


def try_scores(
    index: MomentIndex, embeddings: Embeddings, queries: Queries, corpus: Corpus, *, nms: float = 0.5, report: Report = silent
) -> list[Tried]:
    """Average precision of every score of the grid, in the order of the grid.

    Args:
        index: of the validation videos.
        embeddings: of the queries, two of (Q, C).
    """
    own = index.manifest.score
    hubs = HUBS if index.manifest.bank is not None and own.name in HUB_SCORES else (0.0,)
    weights = WEIGHTS if own.name == "collection" else (1.0,)
    grid = [replace(own, weight=weight, hub=hub) for weight in weights for hub in hubs]
    kind, found = meaning(queries), []
    for number, score in enumerate(grid, 1):
        rank = IndexRank(index, embeddings, score)
        lists = [one for one in search_tasks(queries, corpus, rank, nms=nms, tasks=("VCMR",)) if one.nms == nms]
        outcome = next(x for x in measure(lists[0], queries, corpus) if x.right == kind and x.iou == HIT)
        assert outcome.precisions is not None
        found.append(Tried(score, float(outcome.precisions.mean())))
        report(number, len(grid), what="scores")
    return found


def present_hits(index: MomentIndex, embeddings: Embeddings, score: Score, queries: Queries) -> Judged:
    """Of searches in the whole collection."""
    return _judged(index, embeddings, score, queries, range(len(queries)), Restriction())


def absent_hits(index: MomentIndex, embeddings: Embeddings, score: Score, queries: Queries, corpus: Corpus) -> Judged:
    """Of searches in what is left when every video with a right answer is taken out."""
    groups: dict[frozenset[int], list[int]] = {}
    for number, right in enumerate(queries.right[meaning(queries)]):
        groups.setdefault(frozenset(right.distinct), []).append(number)
    parts = []
    for videos, numbers in groups.items():
        if len(videos) < len(corpus.ids):
            without = Restriction(exclude=tuple(corpus.ids[video] for video in sorted(videos)))
            parts.append(_judged(index, embeddings, score, queries, numbers, without))
    return Judged(*(torch.cat(x) for x in zip(*((p.quantities, p.right, p.query) for p in parts), strict=True)))


def fit_confidence(present: Judged, absent: Judged) -> Calibration:
    """A confidence for hits of which as many searches look for what is there as for what is not."""
    return fit(torch.cat([present.quantities, absent.quantities]), torch.cat([present.right, absent.right]))


def best_confidence(judged: Judged, calibration: Calibration) -> Tensor:
    """The highest confidence of each search's hits, in the order of their queries."""
    confidence = calibration(judged.quantities)
    return torch.stack([confidence[judged.query == number].max() for number in judged.query.unique().tolist()])


def refused_at(present: Tensor, absent: Tensor, answered: float) -> tuple[float, float]:
    """The highest threshold that still answers such a share of present searches, and the share of absent ones that it refuses.

    Args:
        present: (n,) best confidences of searches for what is there.
        absent: (m,) of searches for what is not.
    """
    edges, share, refused = refusal_curve(present, absent)
    place = int((share >= answered).nonzero()[-1])
    return float(edges[place]), float(refused[place])


def _judged(
    index: MomentIndex, embeddings: Embeddings, score: Score, queries: Queries, numbers: Sequence[int], restriction: Restriction
) -> Judged:
    mine = Embeddings(*(x[list(numbers)] for x in embeddings))
    options = SearchOptions(k=HITS, restriction=restriction, exact=True, evidence=True)
    answers = search_embeddings(index, mine, score, options, [""] * len(numbers))
    rights = queries.right[meaning(queries)]
    return Judged(
        torch.cat([answer.evidence.quantities for answer in answers if answer.evidence is not None]),
        torch.cat([_right(answer, rights[number]) for number, answer in zip(numbers, answers, strict=True)]),
        torch.cat([torch.full((len(answer.hits),), number) for number, answer in zip(numbers, answers, strict=True)]),
    )


def _right(answer: Answer, right: Right) -> Tensor:
    """Which hits are right: (hits,) bool."""
    spans = torch.tensor([(hit.start, hit.end) for hit in answer.hits], dtype=torch.float32).reshape(-1, 2)
    videos = torch.tensor([hit.video for hit in answer.hits], dtype=torch.int64)
    found = Ranked(videos, spans, torch.zeros(len(videos), dtype=torch.float64), answer.exact)
    return hits(best_ious(found, right), HIT)
