"""One part of an evaluation: what was measured by one definition, for people and for programs.

A section has its metrics with the value of every query, so that two reports can be compared query by query.
The mean of a metric's values is the metric; a query that does not count in it has None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .plots import Plot
from .tables import Table

WITHIN, COLLECTION, POOLS, TUBES = "within", "collection", "pools", "tubes"
WINDOWS, REFUSALS, RANKING = "windows", "refusals", "ranking"

NAMES: Mapping[str, str] = {  # for people
    WITHIN: "Within the right video",
    COLLECTION: "Over the collection",
    POOLS: "In pools of videos",
    TUBES: "Tubes",
    WINDOWS: "As QVHighlights measures",
    REFUSALS: "Refusing what a video does not have",
    RANKING: "Graded relevance",
}
DEFINITIONS: Mapping[str, str] = {
    "recall within the right video": "R@n,IoU=m: one of the first n moments of the sentence's own video, "
    "after NMS, has a temporal IoU of at least m (float32) with a right one. mIoU: the IoU of the first.",
    "recall over a collection": "TVR's tasks. SVMR: moments of the own video. VR: videos. VCMR: moments of "
    "all videos. R@k: a right answer among the first k, with a temporal IoU of at least m (float32).",
    "recall in pools": "MVMR: each sentence is searched in its own pool of videos, any right moment counts.",
    "QVHighlights": "standalone_eval of QVHighlights: mAP over IoU 0.5:0.05:0.95, R1@m of the first window.",
    "generalised moment retrieval": "Refusals of sentences without a moment, and G-mIoU over all sentences.",
    "TVR-Ranking": "NDCG@K,IoU=m with gain 2^relevance - 1, from 0 to 1.",
    "tubes over a collection": "R@k,vIoU>m: one of the first k moments of all videos, after NMS within "
    "tubes, is of the sentence's own video, and its vIoU with the true tube is above m.",
    "HC-STVG": "vIoU of the challenge: plain boxes, every frame, hits strictly above; no tube counts 0.",
}


@dataclass(frozen=True)
class Query:
    """A sentence, as its annotation file knows it."""

    id: str  # its position there, or the name that it has there; with the video, no other has it
    video: str
    sentence: str


@dataclass(frozen=True)
class Metric:
    """One number.

    Attributes:
        name: with all that is part of it, such as "VCMR R@10, own, IoU 0.5, NMS 0.5".
        unit: "%", or "" of numbers from 0 to 1.
        values: of each query of the section, None where it does not count; None where the number is no mean
            over queries.
        chance: what a random answer reaches, where it is known.
        published: by whom, and what.
        main: one of those to look at first.
    """

    name: str
    value: float
    unit: str = "%"
    values: tuple[float | None, ...] | None = None
    chance: float | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    main: bool = False


@dataclass(frozen=True)
class Section:
    """What was measured by one definition.

    Attributes:
        definition: a key of DEFINITIONS.
        conditions: what must be equal where two reports are compared.
        records: every number, flat, as `--json` prints them.
        scope: what `--json` says before each record.
        summary, notes: what to read first, and lines below it.
        tables: all of it for people; `detailed` is the same with more in its cells, for files.
        fine_print: lines below all tables.
        remarks: what to know of how it was measured.
    """

    name: str
    title: str
    definition: str
    queries: tuple[Query, ...]
    metrics: tuple[Metric, ...]
    conditions: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[Mapping[str, Any]] = ()
    scope: Mapping[str, Any] = field(default_factory=dict)
    summary: Sequence[Table] = ()
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    detailed: Sequence[Table] = ()
    fine_print: Sequence[str] = ()
    remarks: Sequence[str] = ()
    plots: Sequence[Plot] = ()

    @property
    def main(self) -> tuple[Metric, ...]:
        """The metrics to look at first."""
        return tuple(one for one in self.metrics if one.main)


def rounded(values: Tensor | Sequence[float | None]) -> tuple[float | None, ...]:
    """Values of queries as they are kept: to the millionth, whole ones as integers, NaN as None."""
    given = values.tolist() if isinstance(values, Tensor) else values
    kept = (None if x is None or x != x else round(x, 6) for x in given)
    return tuple(x if x is None or x != int(x) else int(x) for x in kept)


def mean(values: Tensor | Sequence[float | None]) -> float:
    """Of those that count: neither None nor NaN."""
    found = torch.tensor(
        [x for x in (values.tolist() if isinstance(values, Tensor) else values) if x is not None and x == x],
        dtype=torch.float64,
    )
    return float(found.mean())
