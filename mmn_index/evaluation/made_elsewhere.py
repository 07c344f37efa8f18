"""Metrics of other fields of the same task, as sections of a report: of what a model or an index answers, or
of a file of predictions, of whatever system.

Each is defined in its own module, with whose definition it is; here they become tables and records.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ..confidence import refusal_curve
from ..errors import AnnotationError
from .gmr import THRESHOLDS, decisions, every_localisation, localisation, rejection, sureness
from .ndcg import IOUS, KS, Lists, every_ndcg, read_judgements, read_ranking
from .plots import Plot, Series
from .qvhighlights import LENGTHS, qvhighlights
from .sections import RANKING, REFUSALS, TUBES, WINDOWS, Metric, Query, Section, mean, rounded
from .tables import Table
from .tube_files import Stretch, read_results, videos_of
from .tube_truths import read_right_tubes
from .viou import Result, measure_tubes
from .window_files import Question, WindowAnswer, read_answers, read_questions

_MIDDLE = 0.5  # the threshold whose numbers are read first
_FIRST_WINDOWS = ("R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP")
_FIRST_TUBES = ("m_vIoU", "vIoU@0.3", "vIoU@0.5", "m_tIoU")


def digest_of(path: Path) -> str:
    """SHA-256 of a file of annotations.

    Raises:
        AnnotationError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror or error}).") from error


def windows_section(questions: Sequence[Question], answers: Sequence[WindowAnswer], digest: str) -> Section:
    """mAP, R1 and mIoU of QVHighlights, in percent, of sentences that all have a right window."""
    each = qvhighlights(questions, answers)
    found = {name: mean(values) for name, values in each.items()}
    title = f"QVHighlights, moment retrieval in %, {len(questions):,} sentences"
    table = _one_row(title, found)
    bars = [name for name in (*_FIRST_WINDOWS, *(f"mAP {length}" for length in LENGTHS)) if name in found]
    values = Series("", range(len(bars)), [found[name] for name in bars])
    return Section(
        WINDOWS,
        title,
        "QVHighlights",
        _asked(questions),
        _metrics(each, main=_FIRST_WINDOWS),
        {"annotations": digest},
        ({**found, "sentences": len(questions)},),
        {"scope": WINDOWS},
        summary=(table,),
        tables=(table,),
        plots=(Plot("QVHighlights", "", "%", (values,), "bars", labels=bars),),
    )


def refusals_section(questions: Sequence[Question], answers: Sequence[WindowAnswer], digest: str) -> Section:
    """Refusal and localisation of generalised moment retrieval, in percent."""
    absent = sum(not len(one.windows) for one in questions)
    about = {"sentences": len(questions), "without a moment": absent}
    overall = localisation(questions, answers)
    at = {threshold: rejection(questions, answers, threshold) for threshold in THRESHOLDS}
    rows = [[f"{threshold}", *(f"{x:.2f}" for x in found.values())] for threshold, found in at.items()]
    title = f"Generalised moment retrieval in %, {len(questions):,} sentences, {absent:,} without a moment"
    refusing = Table("Answered above a threshold", ["threshold", *at[THRESHOLDS[0]]], rows, 1)
    tables = (refusing, _one_row("Whatever is refused", overall)) if overall else (refusing,)
    records = [{"threshold": threshold, **found, **about} for threshold, found in at.items()]
    missing = [] if "AUROC" in overall else ["AUROC needs sentences with a moment and sentences without one."]
    metrics: list[Metric] = []
    for threshold in THRESHOLDS:
        each = decisions(questions, answers, threshold)
        first = ("Acc", "G-mIoU@1", "G-mIoU@5") if threshold == _MIDDLE else ()
        metrics += _metrics(each, main=first, ending=f", threshold {threshold}")
        named = {f"{name}, threshold {threshold}": x for name, x in at[threshold].items() if name not in each}
        metrics += [Metric(name, x) for name, x in named.items()]
    located = every_localisation(questions, answers)
    metrics += _metrics(located, main=("mAP", "mR@1"))
    metrics += [Metric(name, x, main=True) for name, x in overall.items() if name not in located]
    return Section(
        REFUSALS,
        title,
        "generalised moment retrieval",
        _asked(questions),
        tuple(metrics),
        {"annotations": digest},
        (*records, {**overall, **about}),
        {"scope": REFUSALS},
        summary=tables,
        tables=tables,
        remarks=missing,
        plots=_refusal_plot(questions, answers),
    )


def _refusal_plot(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> tuple[Plot, ...]:
    present, absent = sureness(questions, answers)
    if not (len(present) and len(absent)):
        return ()
    _, answered, refused = refusal_curve(present, absent)
    series = (
        Series("this system", (100 * answered).tolist(), (100 * refused).tolist(), "step"),
        Series("chance", (0, 100), (100, 0), "dotted", None),
    )
    x, y = "sentences with a moment: answered, %", "sentences without one: refused, %"
    return (Plot("Refusing, by threshold", x, y, series),)


def ranking_section(judged: Lists, lists: Lists, sentences: Mapping[str, str], digest: str) -> Section:
    """NDCG@{10,20,40},IoU={0.3,0.5,0.7}, between 0 and 1 as TVR-Ranking prints it.

    A query is about several videos; that of its most relevant moment is taken for its own.
    """
    each = every_ndcg(judged, lists)
    found = {key: mean(values) for key, values in each.items()}
    rows = [[f"NDCG@{k}", *(f"{found[k, m]:.4f}" for m in IOUS)] for k in KS]
    title = f"TVR-Ranking's NDCG@K,IoU=m from 0 to 1, {len(judged):,} queries"
    table = Table(title, ["", *(f"IoU {m}" for m in IOUS)], rows, 1)
    queries = tuple(
        Query(query, max(truths, key=lambda one: one.relevance).video, sentences.get(query, ""))
        for query, truths in judged.items()
    )
    metrics = tuple(
        Metric(f"NDCG@{k},IoU={m}", found[k, m], "", rounded(values), main=k == KS[1])
        for (k, m), values in each.items()
    )
    series = [Series(f"IoU {m}", KS, [found[k, m] for k in KS], colour=n) for n, m in enumerate(IOUS)]
    labels = [str(k) for k in KS]
    return Section(
        RANKING,
        title,
        "TVR-Ranking",
        queries,
        metrics,
        {"annotations": digest},
        tuple({"k": k, "iou": m, "ndcg": value, "queries": len(judged)} for (k, m), value in found.items()),
        {"scope": RANKING},
        summary=(table,),
        tables=(table,),
        plots=(Plot("Graded relevance", "K, length of the list", "NDCG@K", series, labels=labels, top=1.02),),
    )


def tubes_metrics(result: Result, chance: Mapping[str, float]) -> tuple[Metric, ...]:
    """Numbers of one evaluator of tubes, with the values of every video where all count.

    Args:
        chance: in percent, by the same names.
    """
    return tuple(
        Metric(
            name,
            value,
            values=rounded([None if x is None else 100 * x for x in result.each[name]])
            if name in result.each
            else None,
            chance=chance.get(name),
            main=name in _FIRST_TUBES,
        )
        for name, value in result.values.items()
    )


def viou_section(truths: Mapping[str, Stretch], answers: Mapping[str, Stretch], digest: str) -> Section:
    """The vIoU and what belongs to it by every published evaluator, in percent."""
    results = measure_tubes(truths, answers)
    columns = list(dict.fromkeys(name for one in results for name in one.values))
    rows = [
        [one.name, f"{one.videos:,}", *(f"{one.values[c]:.2f}" if c in one.values else "" for c in columns)]
        for one in results
        if one.values
    ]
    title = f"Tubes in %, {len(truths):,} videos, {len(answers):,} with an answer, by each evaluator"
    table = Table(title, ["evaluator", "videos", *columns], rows, 1)
    return Section(
        TUBES,
        title,
        "HC-STVG",
        tuple(Query(name, video, "") for name, video in zip(truths, videos_of([*truths]), strict=True)),
        tubes_metrics(results[0], {}),
        {"annotations": digest},
        tuple({"evaluator": one.name, **one.values, "videos": one.videos} for one in results if one.values),
        summary=(table,),
        tables=(table,),
        remarks=[f"{one.name} measures nothing: {one.why_not}." for one in results if not one.values],
        plots=tube_plots(results[0]),
    )


def tube_plots(result: Result) -> tuple[Plot, ...]:
    """How many videos have a vIoU above t."""
    vious = [x for x in result.each.get("m_vIoU", ()) if x is not None]
    if not vious:
        return ()
    steps = [number / 50 for number in range(51)]
    shares = [100 * sum(x > t for x in vious) / len(vious) for t in steps]
    return (Plot("Sentences by vIoU", "t", "vIoU above t, %", (Series("HC-STVG", steps, shares),)),)


def _asked(questions: Sequence[Question]) -> tuple[Query, ...]:
    return tuple(Query(str(one.qid), one.video, one.sentence) for one in questions)


def _metrics(each: Mapping[str, Tensor], *, main: Sequence[str], ending: str = "") -> tuple[Metric, ...]:
    return tuple(
        Metric(f"{name}{ending}", mean(values), values=rounded(values), main=name in main)
        for name, values in each.items()
    )


def _one_row(title: str, found: Mapping[str, float]) -> Table:
    return Table(title, list(found), [[f"{value:.2f}" for value in found.values()]], 0)


def _ndcg(truth: Path, predictions: Path) -> Section:
    judged = read_judgements(truth)
    return ranking_section(judged, read_ranking(predictions, list(judged)), {}, digest_of(truth))


def _qvhighlights(truth: Path, predictions: Path) -> Section:
    questions = read_questions(truth)
    if without := [one for one in questions if not len(one.windows)]:
        raise AnnotationError(
            f"{truth}: {len(without)} of {len(questions)} sentences have no right window, e.g. qid "
            f"{without[0].qid}, and QVHighlights measures sentences that have one. Use --metric "
            "gmr, which measures refusals too."
        )
    return windows_section(questions, read_answers(predictions, questions), digest_of(truth))


def _gmr(truth: Path, predictions: Path) -> Section:
    questions = read_questions(truth)
    return refusals_section(questions, read_answers(predictions, questions), digest_of(truth))


def _viou(truth: Path, predictions: Path) -> Section:
    truths = read_right_tubes(truth)
    return viou_section(truths, read_results(predictions, truths), digest_of(truth))


METRICS: Mapping[str, Callable[[Path, Path], Section]] = {
    "ndcg": _ndcg,
    "qvhighlights": _qvhighlights,
    "gmr": _gmr,
    "viou": _viou,
}
