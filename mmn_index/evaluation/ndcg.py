"""NDCG@K,IoU=m of ranked video moment retrieval, as TVR-Ranking defines it (arXiv 2407.06597, its code at
db1dc44).

Truths of a query are moments with a graded relevance, in several videos. The list is walked from its top.
Each prediction takes, of the truths of its video that are left, the one of the highest IoU (of equal ones the
most relevant, then the first). If that IoU is above m, strictly, the prediction earns its relevance, and the
truth is used up; else the prediction earns 0 and the truth stays. The gain is 2^relevance - 1, the discount
log2(rank + 1), and the sum is divided by that of the K most relevant truths. A query whose truths all have
relevance 0 has 0. Mean over queries.

So the nearest truth is taken, not the most relevant one, and a moment that is found twice is credited once.
NDCG of document retrieval has no IoU in it, and its gain is often the relevance itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import AnnotationError
from ..moments import union_iou
from .row_files import Row, as_row, is_keyed, read_keyed, read_rows

KS = (10, 20, 40)  # the published K
IOUS = (0.3, 0.5, 0.7)
_MOST = 100.0  # a relevance above is a mistake; TVR-Ranking's are means of 0 to 4
_TRUTHS = "rows of query_id, video_name, timestamp [start, end] and relevance, or {query: [rows]}"
_LISTS = "{query: [{video_name, timestamp [start, end]}, ...]}, best first, or such rows with query_id"


@dataclass(frozen=True)
class Placed:
    """A moment of some video, of a truth or a prediction."""

    video: str
    start: float  # seconds
    end: float
    relevance: float = 0.0


Lists = Mapping[str, Sequence[Placed]]  # of each query


def read_judgements(path: Path) -> dict[str, list[Placed]]:
    """The judged moments of each query: TVR-Ranking's files, rows with query_id, or an object by query.

    Raises:
        AnnotationError: the file is missing or is not of this form; the message names the row.
    """
    found = {
        query: [_placed(row, judged=True) for row in rows] for query, rows in _by_query(path, _TRUTHS).items()
    }
    if empty := [query for query, moments in found.items() if not moments]:
        raise AnnotationError(f"{path}: '{empty[0]}' has no judged moment. Expected {_TRUTHS}.")
    return found


def read_wordings(path: Path) -> dict[str, str]:
    """The sentence of each query of a file of judged moments.

    Raises:
        AnnotationError: as `read_judgements`; also where a query has no sentence, or two.
    """
    found: dict[str, str] = {}
    for query, rows in _by_query(path, _TRUTHS).items():
        said = {row.key("query") for row in rows if row.has("query")}
        if len(said) != 1:
            what = f"has {len(said)} sentences" if said else "has no sentence"
            raise AnnotationError(
                f"{path}: query '{query}' {what} (`query` of its rows), and an index is searched with one."
            )
        found[query] = said.pop()
    return found


def read_ranking(path: Path, queries: Sequence[str]) -> dict[str, list[Placed]]:
    """The list of each query, in the order of the file.

    Raises:
        AnnotationError: as `read_judgements`; also where a query has no list, or is not one of these.
    """
    found = {
        query: [_placed(row, judged=False) for row in rows] for query, rows in _by_query(path, _LISTS).items()
    }
    if missing := [query for query in queries if query not in found]:
        raise AnnotationError(
            f"{path}: lacks {len(missing)} of {len(queries)} queries, e.g. '{missing[0]}'. Give an empty "
            "list to a query without an answer."
        )
    if others := found.keys() - set(queries):
        raise AnnotationError(
            f"{path}: has {len(others)} queries that the truths do not have, e.g. '{min(others)}'."
        )
    return found


def mean_ndcg(
    truths: Lists, lists: Lists, ks: Sequence[int] = KS, ious: Sequence[float] = IOUS
) -> dict[tuple[int, float], float]:
    """NDCG@k,IoU=m by k and m: means over the queries of the truths, each of which has a list; 0 to 1."""
    each = every_ndcg(truths, lists, ks, ious)
    return {key: sum(values) / len(values) for key, values in each.items()}


def every_ndcg(
    truths: Lists, lists: Lists, ks: Sequence[int] = KS, ious: Sequence[float] = IOUS
) -> dict[tuple[int, float], list[float]]:
    """As `mean_ndcg`, of each query."""
    found: dict[tuple[int, float], list[float]] = {(k, m): [] for k in ks for m in ious}
    for query, judged in truths.items():
        order = sorted(judged, key=lambda one: -one.relevance)
        ranked = lists[query][: max(ks)]
        ideal = [one.relevance for one in order]
        near = union_iou(_spans(ranked)[:, None], _spans(order)[None])  # (ranked, truths)
        elsewhere = torch.tensor([[a.video != b.video for b in order] for a in ranked], dtype=torch.bool)
        near.masked_fill_(elsewhere.reshape(near.shape), -1)
        for m in ious:
            earned = _earned(near, ideal, m)
            for k in ks:
                best = _dcg(ideal[:k])
                found[k, m].append(_dcg(earned[:k]) / best if best > 0 else 0.0)
    return found


def _earned(near: Tensor, relevances: Sequence[float], m: float) -> list[float]:
    """What each prediction earns, down the list: the relevance of the truth that it takes, or 0.

    Args:
        near: (predictions, truths) float64 IoU, -1 between moments of different videos; truths in falling
            relevance.
    """
    left = near.clone()
    found = []
    for row in range(len(left)):
        best, place = left[row].max(dim=0)  # the first of equal ones
        found.append(relevances[int(place)] if best > m else 0.0)
        if best > m:
            left[:, place] = -1
    return found


def _spans(moments: Sequence[Placed]) -> Tensor:
    return torch.tensor([(one.start, one.end) for one in moments], dtype=torch.float64).reshape(-1, 2)


def _dcg(relevances: Sequence[float]) -> float:
    return sum((2**one - 1) / math.log2(rank + 1) for rank, one in enumerate(relevances, 1))


def _by_query(path: Path, expected: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    if not is_keyed(path, "query_id"):
        for row in read_rows(path, expected):
            found.setdefault(row.key("query_id"), []).extend(_moments_of(row, expected))
        return found
    for query, rows in read_keyed(path, expected).items():
        if not isinstance(rows, list):
            raise AnnotationError(f"{path}: '{query}' is no list. Expected {expected}.")
        found[query] = [
            as_row(f"{path}: '{query}', entry {n}", row, expected) for n, row in enumerate(rows, 1)
        ]
    return found


def _moments_of(row: Row, expected: str) -> list[Row]:
    """A row is a moment; or a query with all of its moments, as TVR-Ranking has them too."""
    moments = row.content.get("relevant_moment")
    if not isinstance(moments, list):
        return [row]
    given = [as_row(f"{row.where}, relevant_moment {n}", one, expected) for n, one in enumerate(moments, 1)]
    return [Row(one.where, {"query": row.content.get("query"), **one.content}) for one in given]


def _placed(row: Row, *, judged: bool) -> Placed:
    start, end = row.span("timestamp")
    return Placed(row.key("video_name"), start, end, row.number("relevance", 0, _MOST) if judged else 0.0)
