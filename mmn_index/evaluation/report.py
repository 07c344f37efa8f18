"""The evaluation of a collection as a whole, as records.

A record is a flat mapping: what was measured (`part`, `task`, `nms`, `right`, `iou`, `queries`) and the
numbers, in percent. Tables and pictures (tables.py) are made of records alone, so that they never
disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isinf
from typing import Any

import torch
from torch import Tensor

from .annotations import Annotations
from .baselines import SameForAll, moment_frequency, proposal_oracle, text_oracle, whole_video
from .corpus import (
    IOUS,
    Lists,
    Outcome,
    Rank,
    Report,
    SizePoint,
    evaluate_sizes,
    measure,
    search_tasks,
    silent,
)
from .queries import Corpus, Queries, normalise
from .recall import intervals

EXACT, CANDIDATES, LISTS = "exact scan", "candidate index", "predictions"
SIZES, GROUPS, CEILING = "size of the collection", "groups", "ceiling"
PROPOSAL, TIES = "best proposal", "videos of the same text"


@dataclass(frozen=True)
class CorpusReport:
    """All that was measured over a collection."""

    records: list[dict[str, Any]]
    lists: list[Lists]  # the answers: of the exact scan, or that were given
    outcomes: list[Outcome]  # of these lists
    nms: float | None  # None: not known

    def of(self, part: str) -> list[dict[str, Any]]:
        """The records of one part."""
        return [record for record in self.records if record["part"] == part]

    def with_records(self, more: Sequence[dict[str, Any]]) -> "CorpusReport":
        """With other records behind its own."""
        return replace(self, records=[*self.records, *more])


def evaluate_corpus(
    queries: Queries,
    corpus: Corpus,
    rank: Rank,
    *,
    nms: float = 0.5,
    candidates: bool = False,
    train: Annotations | None = None,
    report: Report = silent,
) -> CorpusReport:
    """Measure a ranking over a collection in every way that docs/evaluation.md describes.

    Args:
        nms: temporal IoU above which NMS drops, where it is on; everything is measured without NMS as well.
        candidates: measure `rank` also where it may use a candidate index.
        train: the training split, for the moment-frequency prior and for which wordings were seen.
    """
    grid = corpus.proposals

    def measured(found: Sequence[Lists]) -> list[Outcome]:
        return [outcome for one in found for outcome in measure(one, queries, corpus)]

    lists = search_tasks(queries, corpus, rank, nms=nms, report=report)
    exact = measured(lists)
    records = outcome_records(EXACT, exact, queries, corpus, resample=True)
    if candidates:
        found = search_tasks(queries, corpus, rank, nms=nms, exact=False, tasks=("VR", "VCMR"), report=report)
        records += outcome_records(CANDIDATES, measured(found), queries, corpus)
    weights = {"whole video": whole_video(grid)}
    if train is not None:
        weights["moment-frequency prior"] = moment_frequency(train, grid)
    for name, weight in weights.items():
        found = search_tasks(queries, corpus, SameForAll(corpus, grid, weight), nms=nms)
        records += outcome_records(name, measured(found), queries, corpus)
    records += [_ceiling(PROPOSAL, m, proposal_oracle(queries, corpus, m)) for m in IOUS]
    records.append(_ceiling(TIES, None, text_oracle(queries)))
    records += size_records(evaluate_sizes(queries, corpus, rank, nms=nms, report=report))
    records += group_records(exact, groups(queries, _sentences(train)))
    return CorpusReport(records, lists, exact, nms)


def evaluate_lists(
    lists: Sequence[Lists], queries: Queries, corpus: Corpus, train: Annotations | None
) -> CorpusReport:
    """Measure lists that somebody else made; how is not known, so that they have no NMS, no chance and no
    ceilings.
    """
    found = [outcome for one in lists for outcome in measure(one, queries, corpus)]
    records = outcome_records(LISTS, found, queries, corpus, resample=True)
    records += group_records(found, groups(queries, _sentences(train)))
    return CorpusReport(records, list(lists), found, None)


def _sentences(train: Annotations | None) -> set[str] | None:
    return None if train is None else {sentence for video in train.videos for sentence in video.sentences}


def _ceiling(name: str, iou: float | None, share: float) -> dict[str, Any]:
    return {"part": CEILING, "ceiling": name, "iou": iou, "recall": round(100 * share, 3)}


def groups(queries: Queries, seen: set[str] | None) -> dict[str, Tensor]:
    """Masks (Q,) of queries by the length of their moments and of their texts (thirds of the split) and by
    known wording.

    Args:
        seen: sentences of the training split; None where they are not known.
    """
    length = queries.moments[:, 1] - queries.moments[:, 0]
    words = torch.tensor([len(text.split()) for text in queries.texts], dtype=torch.float32)
    found = {**_thirds("moments", length, "s"), **_thirds("queries", words, "words")}
    if seen is not None:
        texts = {normalise(sentence) for sentence in seen}
        known = torch.tensor([text in texts for text in queries.texts])
        found |= {"seen wordings": known, "unseen wordings": ~known}
    return {name: mask for name, mask in found.items() if mask.any()}


def _thirds(what: str, values: Tensor, unit: str) -> dict[str, Tensor]:
    low, high = values.quantile(torch.tensor([1 / 3, 2 / 3])).tolist()
    return {
        f"{what} up to {low:.4g} {unit}": values <= low,
        f"{what} above {low:.4g}, up to {high:.4g} {unit}": (values > low) & (values <= high),
        f"{what} above {high:.4g} {unit}": values > high,
    }


def outcome_records(
    part: str, outcomes: Sequence[Outcome], queries: Queries, corpus: Corpus, *, resample: bool = False
) -> list[dict[str, Any]]:
    """One record an outcome, of all queries.

    Args:
        part: which part of the results they are.
        resample: add the 95 % bootstrap interval of every column, over distinct wordings.
    """
    size = {
        "videos": len(corpus.ids),
        **({} if corpus.grid is None else {"moments": corpus.num_moments}),
    }
    found = [
        {**_about(part, one, "all", len(queries)), **size, **_numbers(one), "proven exact": one.exact}
        for one in outcomes
    ]
    if resample:
        ends = iter(
            (100 * intervals(torch.cat([one.values for one in outcomes], dim=1), queries.clusters)).tolist()
        )
        for record, one in zip(found, outcomes, strict=True):
            record["interval"] = {column: [round(x, 3) for x in next(ends)] for column in one.columns}
    return found


def group_records(outcomes: Sequence[Outcome], masks: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """One record an outcome and group of queries."""
    return [
        {**_about(GROUPS, one, name, int(mask.sum())), **_numbers(one, mask)}
        for name, mask in masks.items()
        for one in outcomes
    ]


def size_records(points: Sequence[SizePoint]) -> list[dict[str, Any]]:
    """One record an outcome and size of the collection."""
    return [
        {
            **_about(SIZES, one, "all", point.queries),
            "videos": point.videos,
            "moments": point.moments,
            **_numbers(one),
        }
        for point in points
        for one in point.outcomes
    ]


def _about(part: str, outcome: Outcome, name: str, count: int) -> dict[str, Any]:
    keys = {
        "part": part,
        "task": outcome.task,
        "nms": outcome.nms,
        "right": outcome.right,
        "iou": outcome.iou,
    }
    return {**keys, "queries": name, "num_queries": count}


def _numbers(outcome: Outcome, mask: Tensor | None = None) -> dict[str, Any]:
    table = {name: round(value, 3) for name, value in outcome.table(mask).items() if not isinf(value)}
    table.setdefault("MedRank", f">{outcome.depths[-1]}")  # type: ignore[arg-type]
    chance = {name: round(value, 4) for name, value in outcome.chance(mask).items()}
    return {**table, **({"chance": chance} if chance else {})}
