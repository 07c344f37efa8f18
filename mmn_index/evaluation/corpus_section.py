"""Recall over a collection, in pools, or of lists that somebody else made, as a section of a report."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..confidence import rounded_down
from .corpus import DEPTHS, IOUS, Outcome
from .mvmr import Pools
from .plots import Plot, Series
from .queries import Corpus, Queries
from .refusal import CONFIDENCE
from .report import EXACT, LISTS, SIZES, CorpusReport, outcome_records
from .sections import COLLECTION, POOLS, Metric, Query, Section, mean, rounded
from .tables import MEANINGS, Record, main_table, nms_name, summary_table, tables

HIT = (
    "temporal IoU >= m in float32; R@k: a right answer among the first k; AP: one credit per video, of the "
    "first 100"
)
_ANSWERED = 95  # percent of the searches for what is there
_MAIN = {"SVMR": ("R@1",), "VR": ("R@1",), "VCMR": ("R@1", "R@10", "R@100"), "MVMR": ("R@1", "R@10", "R@50")}


def collection_section(
    title: str,
    result: CorpusReport,
    queries: Queries,
    corpus: Corpus,
    *,
    digest: str,
    scope: Mapping[str, Any],
    everywhere: bool = True,
) -> Section:
    """What was measured over a collection.

    Args:
        digest: SHA-256 of the annotation file.
        everywhere: all videos of the corpus were searched; else it is not known which.
    """
    notes = [f"A hit: {HIT}."]
    if sure := result.of(CONFIDENCE):
        one = next(one for one in sure if one["answered"] == _ANSWERED)
        notes.insert(
            0,
            f"Refused: {one['refused']:.0f} % of the sentences whose videos were all taken out, at the "
            f"confidence ({rounded_down(one['threshold']):.3g}) that answers {_ANSWERED} % of the others.",
        )
    conditions = {"annotations": digest}
    if everywhere:
        conditions["collection"] = collection_name(corpus.ids.values())
    return Section(
        COLLECTION,
        f"{title}, lists of 100",
        "recall over a collection",
        queries_in(queries, corpus),
        tuple(metric for one in result.outcomes for metric in _metrics(one, result.nms)),
        conditions,
        result.records,
        scope,
        summary=(summary_table(result),),
        notes=notes,
        tables=tables(result, with_intervals=False),
        detailed=tables(result, with_intervals=True),
        fine_print=("± 95 %: half of the row's widest bootstrap interval. Chance: random order, no NMS.",),
        plots=corpus_plots(result),
    )


def pools_section(
    title: str,
    pools: Pools,
    found: Sequence[Outcome],
    corpus: Corpus,
    *,
    nms: float,
    digest: str,
    scope: Mapping[str, Any],
) -> Section:
    """What was measured in pools of videos."""
    records = outcome_records("pools", found, pools.queries, corpus, resample=True)
    shown = [one for one in records if one["nms"] == nms] or records
    plain, detailed = (
        main_table(records, "In pools of videos", with_intervals=with_intervals)
        for with_intervals in (False, True)
    )
    curves = [
        series for number, one in enumerate(shown) for series in _curves(one, f"IoU {one['iou']:g}", number)
    ]
    plot = Plot(f"In pools of {pools.size} videos", "k, length of the list", "R@k, %", curves, log=True)
    return Section(
        POOLS,
        title,
        "recall in pools",
        queries_in(pools.queries, corpus),
        tuple(metric for one in found for metric in _metrics(one, nms)),
        {"annotations": digest},
        records,
        scope,
        summary=(main_table(shown, "In pools of videos", with_intervals=False),),
        tables=(plain,),
        detailed=(detailed,),
        plots=(_ticked(plot, shown),),
    )


def queries_in(queries: Queries, corpus: Corpus) -> tuple[Query, ...]:
    """The queries of a split, as a report names them."""
    each = zip(queries.positions, queries.videos.tolist(), queries.sentences, strict=True)
    return tuple(Query(str(position), corpus.ids[video], sentence) for position, video, sentence in each)


def collection_name(video_ids: Collection[str]) -> str:
    """How many videos are searched, and a digest of which."""
    found = hashlib.sha256("\n".join(sorted(video_ids)).encode("utf-8", "surrogatepass"))
    return f"{len(video_ids):,} videos ({found.hexdigest()[:12]})"


def _metrics(one: Outcome, nms: float | None) -> list[Metric]:
    how = [one.right] if one.right != "pool" else []
    how += [] if one.iou is None else [f"IoU {one.iou:g}"]
    how += [] if one.nms is None else [f"NMS {nms_name(one.nms)}"]
    chance = one.chance()
    first = one.nms in (None, nms) and one.iou in (None, IOUS[0]) and one.right in ("own", "pool")
    found = []
    for column, values in zip(one.columns, (100 * one.values).T, strict=True):
        name = ", ".join([f"{one.task} {column}", *how])
        main = first and column in _MAIN[one.task]
        found.append(Metric(name, mean(values), values=rounded(values), chance=chance.get(column), main=main))
    return found


def corpus_plots(result: CorpusReport) -> list[Plot]:
    """VCMR's R@k against the size of the collection, and against k for each meaning of right; what
    confidences answer and refuse, and how often they are right.
    """
    chosen = [
        one
        for one in result.records
        if one.get("task") == "VCMR" and one["nms"] == result.nms and one["iou"] == IOUS[0]
    ]
    whole = [one for one in chosen if one["part"] in (EXACT, LISTS)]
    if not whole:
        return []
    own = next(one for one in whole if one["right"] == "own")
    how = f"VCMR, IoU ≥ {IOUS[0]}" + ("" if result.nms is None else f", NMS {nms_name(result.nms)}")
    sizes = [own, *(one for one in chosen if one["part"] == SIZES)]
    found = [_sizes(how, sizes)] if len(sizes) > 1 else []
    curves = [
        series for number, one in enumerate(whole) for series in _curves(one, MEANINGS[one["right"]], number)
    ]
    title = f"{how}: by what counts as right"
    found.append(_ticked(Plot(title, "k, length of the list", "R@k, %", curves, log=True), whole))
    if sure := result.of(CONFIDENCE):
        found += _confidence(sure[-1])
    return found


def _sizes(how: str, sizes: Sequence[Record]) -> Plot:
    """Recall of the sentence's own moment, by the size of the collection."""
    videos = [one["videos"] for one in sizes]
    series = []
    for number, k in enumerate(DEPTHS):
        series.append(Series(f"R@{k}", videos, [one[f"R@{k}"] for one in sizes], colour=number))
        chance = [one["chance"][f"R@{k}"] for one in sizes]
        series.append(Series("", videos, chance, "dotted", number))
    labels = [f"{count:,}" for count in videos]
    title = f"{how}: own moment, by size"
    return Plot(title, "videos, halved at random (dotted: chance)", "R@k, %", series, log=True, labels=labels)


def _curves(one: Record, name: str, number: int) -> list[Series]:
    """Recall against k with its interval, and chance."""
    depths = [int(column[2:]) for column in one if column.startswith("R@")]
    ends = [one["interval"][f"R@{k}"] for k in depths] if "interval" in one else []
    low, high = zip(*ends, strict=True) if ends else (None, None)
    found = [Series(name, depths, [one[f"R@{k}"] for k in depths], colour=number, low=low, high=high)]
    if "chance" in one:
        found.append(Series("", depths, [one["chance"][f"R@{k}"] for k in depths], "dotted", number))
    return found


def _ticked(plot: Plot, shown: Sequence[Record]) -> Plot:
    depths = [column[2:] for column in shown[0] if column.startswith("R@")]
    dotted = " (dotted: chance)" if any("chance" in one for one in shown) else ""
    return Plot(plot.title, f"{plot.x}{dotted}", plot.y, plot.series, log=True, labels=depths)


def _confidence(about: Record) -> list[Plot]:
    """What thresholds answer and refuse, and how often hits of a confidence are right."""
    answered, refused = zip(*about["curve"], strict=True)
    chance = Series("chance", (0, 100), (100, 0), "dotted", None)
    curve = Plot(
        f"No match, by threshold; area {about['area']:.3f}",
        "searches for what is there: answered, %",
        "for what is not there: refused, %",
        (Series("this index", answered, refused, "step"), chance),
    )
    sure, right, counts = zip(*about["reliability"], strict=True)
    sizes = [8 + 70 * (n / max(counts)) ** 0.5 for n in counts]
    points = Series(
        "hits (larger: more)", [100 * x for x in sure], [100 * x for x in right], "points", sizes=sizes
    )
    even = Series("confidence = share of right ones", (0, 100), (0, 100), "dotted", None)
    title = f"Reliability; calibration error {about['calibration error']:.3f}"
    return [curve, Plot(title, "confidence, %", "right, %", (points, even))]
