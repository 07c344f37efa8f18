"""Metrics of other fields of the same task, from a file of right answers and a file of predictions.

Each is defined in its own module, with whose definition it is; here they become tables and records.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AnnotationError
from .gmr import THRESHOLDS, localisation, rejection
from .ndcg import IOUS, KS, mean_ndcg, read_judgements, read_ranking
from .qvhighlights import qvhighlights
from .tables import Table
from .tube_files import read_results, read_right_tubes
from .viou import measure_tubes
from .window_files import read_answers, read_questions


@dataclass(frozen=True)
class Measured:
    """What a metric says: for people, and the same as records that are not rounded."""

    tables: tuple[Table, ...]
    records: tuple[Mapping[str, Any], ...]
    remarks: tuple[str, ...] = ()


def measure_ndcg(truth: Path, predictions: Path) -> Measured:
    """NDCG@{10,20,40},IoU={0.3,0.5,0.7}, between 0 and 1 as TVR-Ranking prints it."""
    judged = read_judgements(truth)
    found = mean_ndcg(judged, read_ranking(predictions, list(judged)))
    rows = [[f"NDCG@{k}", *(f"{found[k, m]:.4f}" for m in IOUS)] for k in KS]
    title = f"TVR-Ranking's NDCG@K,IoU=m from 0 to 1, {len(judged):,} queries"
    records = tuple(
        {"k": k, "iou": m, "ndcg": value, "queries": len(judged)} for (k, m), value in found.items()
    )
    return Measured((Table(title, ["", *(f"IoU {m}" for m in IOUS)], rows, 1),), records)


def measure_qvhighlights(truth: Path, predictions: Path) -> Measured:
    """mAP, R1 and mIoU of QVHighlights, in percent."""
    questions = read_questions(truth)
    if without := [one for one in questions if not len(one.windows)]:
        raise AnnotationError(
            f"{truth}: {len(without)} of {len(questions)} sentences have no right window, e.g. qid "
            f"{without[0].qid}, and QVHighlights measures sentences that have one. Use --metric "
            "gmr, which measures refusals too."
        )
    found = qvhighlights(questions, read_answers(predictions, questions))
    title = f"QVHighlights, moment retrieval in %, {len(questions):,} sentences"
    return Measured((_one_row(title, found),), ({**found, "sentences": len(questions)},))


def measure_gmr(truth: Path, predictions: Path) -> Measured:
    """Refusal and localisation of generalised moment retrieval, in percent."""
    questions = read_questions(truth)
    answers = read_answers(predictions, questions)
    absent = sum(not len(one.windows) for one in questions)
    about = {"sentences": len(questions), "without a moment": absent}
    overall = localisation(questions, answers)
    at = {threshold: rejection(questions, answers, threshold) for threshold in THRESHOLDS}
    rows = [[f"{threshold}", *(f"{x:.2f}" for x in found.values())] for threshold, found in at.items()]
    title = f"Generalised moment retrieval in %, {len(questions):,} sentences, {absent:,} without a moment"
    refusing = Table(f"{title}; answered above a threshold", ["threshold", *at[THRESHOLDS[0]]], rows, 1)
    tables = (refusing, _one_row("Whatever is refused", overall)) if overall else (refusing,)
    records = [{"threshold": threshold, **found, **about} for threshold, found in at.items()]
    missing = [] if "AUROC" in overall else ["AUROC needs sentences with a moment and sentences without one."]
    return Measured(tables, (*records, {**overall, **about}), tuple(missing))


def measure_viou(truth: Path, predictions: Path) -> Measured:
    """The vIoU and what belongs to it by every published evaluator, in percent."""
    truths = read_right_tubes(truth)
    answers = read_results(predictions, truths)
    results = measure_tubes(truths, answers)
    columns = list(dict.fromkeys(name for one in results for name in one.values))
    rows = [
        [one.name, f"{one.videos:,}", *(f"{one.values[c]:.2f}" if c in one.values else "" for c in columns)]
        for one in results
        if one.values
    ]
    title = f"Tubes in %, {len(truths):,} videos, {len(answers):,} with an answer, by each evaluator"
    records = [{"evaluator": one.name, **one.values, "videos": one.videos} for one in results if one.values]
    remarks = [f"{one.name} measures nothing: {one.why_not}." for one in results if not one.values]
    return Measured(
        (Table(title, ["evaluator", "videos", *columns], rows, 1),), tuple(records), tuple(remarks)
    )


def _one_row(title: str, found: Mapping[str, float]) -> Table:
    return Table(title, list(found), [[f"{value:.2f}" for value in found.values()]], 0)


METRICS: Mapping[str, Callable[[Path, Path], Measured]] = {
    "ndcg": measure_ndcg,
    "qvhighlights": measure_qvhighlights,
    "gmr": measure_gmr,
    "viou": measure_viou,
}
