"""What confidences answer and refuse: searches for what a collection has, and for what was taken out of it.

Every sentence is searched twice: in the whole collection, and where all videos with a right answer are left
out, so that half of the searches are for something absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..confidence import Calibration, expected_calibration_error, ranking_area, refusal_curve, reliability
from ..errors import AnnotationError
from ..index import MomentIndex, Restriction
from ..scoring import Embeddings, Score
from ..search import Answer, SearchOptions, search_embeddings
from .corpus import batches
from .queries import Corpus, Queries
from .recall import Ranked, Right, best_ious, hits

HIT = 0.5  # temporal IoU from which a moment is right
CONFIDENCE = "confidence"  # part of a report
ANSWERED = (0.99, 0.95, 0.9, 0.8)  # shares of present searches that thresholds are chosen for
HITS = 10  # of each search that a confidence is fitted on


@dataclass(frozen=True)
class Judged:
    """Hits of searches for what is there, or is not: what a confidence is computed from, and whether it
    should be high.
    """

    quantities: Tensor  # (n, confidence.QUANTITIES)
    right: Tensor  # (n,) bool
    query: Tensor  # (n,) int64 number of the search


def meaning(queries: Queries) -> str:
    """Which right answers count: those of the same label where there are labels, else those of the same
    text.
    """
    return "label" if "label" in queries.right else "text"


def wordings(queries: Queries) -> list[int]:
    """Numbers of the first query of every wording: others with the same right answers find the same."""
    first: dict[tuple[str, int], int] = {}
    for number, (sentence, right) in enumerate(
        zip(queries.sentences, queries.right[meaning(queries)], strict=True)
    ):
        first.setdefault((sentence, id(right)), number)
    return list(first.values())


def present_hits(
    index: MomentIndex, embeddings: Embeddings, score: Score, queries: Queries, numbers: Sequence[int]
) -> Judged:
    """Of searches in the whole collection, for the queries of some numbers."""
    return _judged(index, embeddings, score, queries, numbers, Restriction())


def absent_hits(
    index: MomentIndex,
    embeddings: Embeddings,
    score: Score,
    queries: Queries,
    corpus: Corpus,
    numbers: Sequence[int],
) -> Judged:
    """Of searches in what is left when every video with a right answer is taken out; without those that
    nothing is left for.

    Raises:
        AnnotationError: nothing is left for any.
    """
    groups: dict[frozenset[int], list[int]] = {}
    rights = queries.right[meaning(queries)]
    for number in numbers:
        groups.setdefault(frozenset(rights[number].distinct), []).append(number)
    parts = []
    for videos, members in groups.items():
        if len(videos) < len(corpus.ids):
            without = Restriction(exclude=tuple(corpus.ids[video] for video in sorted(videos)))
            parts.append(_judged(index, embeddings, score, queries, members, without))
    if not parts:
        raise AnnotationError(
            "every video has a right answer to every sentence: nothing can be searched for what is absent."
        )
    return Judged(
        *(torch.cat(x) for x in zip(*((p.quantities, p.right, p.query) for p in parts), strict=True))
    )


def best_confidence(judged: Judged, calibration: Calibration) -> Tensor:
    """The highest confidence of each search's hits, in the order of their queries."""
    confidence = calibration(judged.quantities)
    numbers = sorted(set(judged.query.tolist()))
    return torch.stack([confidence[judged.query == number].max() for number in numbers])


def refused_at(present: Tensor, absent: Tensor, answered: float) -> tuple[float, float]:
    """The highest threshold that still answers such a share of present searches, and the share of absent ones
    that it refuses.

    Args:
        present: (n,) best confidences of searches for what is there.
        absent: (m,) of searches for what is not.
    """
    edges, share, refused = refusal_curve(present, absent)
    place = int((share >= answered).nonzero()[-1])
    return float(edges[place]), float(refused[place])


def confidence_records(present: Judged, absent: Judged, calibration: Calibration) -> list[dict[str, Any]]:
    """How far confidences can be relied on, as records of the part CONFIDENCE: one for each share of present
    searches that is answered, and one of all of it, with the points of the curve and of the reliability
    diagram. Shares in percent.
    """
    sure = [calibration(judged.quantities) for judged in (present, absent)]
    best = best_confidence(present, calibration), best_confidence(absent, calibration)
    both, right = torch.cat(sure), torch.cat([present.right, absent.right])
    found: list[dict[str, Any]] = []
    for share in ANSWERED:
        threshold, refused = refused_at(*best, share)
        found.append(
            {"part": CONFIDENCE, "answered": 100 * share, "threshold": threshold, "refused": 100 * refused}
        )
    _, answered, refused_all = refusal_curve(*best)
    summary = {
        "part": CONFIDENCE,
        "searches": len(best[0]),
        "absent searches": len(best[1]),
        "area": ranking_area(*best),  # under the curve
        "calibration error": expected_calibration_error(both, right),
        "calibration error, present alone": expected_calibration_error(sure[0], present.right),
        "curve": [[100 * a, 100 * r] for a, r in zip(answered.tolist(), refused_all.tolist(), strict=True)],
        "reliability": [list(point) for point in reliability(both, right)],
    }
    return [*found, summary]


def _judged(
    index: MomentIndex,
    embeddings: Embeddings,
    score: Score,
    queries: Queries,
    numbers: Sequence[int],
    restriction: Restriction,
) -> Judged:
    options = SearchOptions(k=HITS, restriction=restriction, exact=True, evidence=True)
    answers: list[Answer] = []
    for batch in batches(numbers):
        mine = Embeddings(*(x[list(batch)] for x in embeddings))
        answers += search_embeddings(index, mine, score, options, [""] * len(batch))
    rights = queries.right[meaning(queries)]
    return Judged(
        torch.cat([answer.evidence.quantities for answer in answers if answer.evidence is not None]),
        torch.cat([_right(answer, rights[number]) for number, answer in zip(numbers, answers, strict=True)]),
        torch.cat(
            [torch.full((len(answer.hits),), number) for number, answer in zip(numbers, answers, strict=True)]
        ),
    )


def _right(answer: Answer, right: Right) -> Tensor:
    """Which hits are right: (hits,) bool."""
    spans = torch.tensor([(hit.start, hit.end) for hit in answer.hits], dtype=torch.float32).reshape(-1, 2)
    videos = torch.tensor([hit.video for hit in answer.hits], dtype=torch.int64)
    found = Ranked(videos, spans, torch.zeros(len(videos), dtype=torch.float64), answer.exact)
    return hits(best_ious(found, right), HIT)
