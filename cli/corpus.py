"""The part of `mmn-index eval` that searches a collection."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import print_json, print_line, progress, say
from .sentences import fitting_lines, searchable_split
from .table import print_table

if TYPE_CHECKING:
    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.evaluation.queries import Corpus, Queries
    from mmn_index.evaluation.report import CorpusReport
    from mmn_index.evaluation.tables import Table
    from mmn_index.index import MomentIndex
    from mmn_index.left_out import LeftOut
    from mmn_index.scoring import Embeddings, Score

_HIT = (
    "temporal IoU >= m in float32; R@k: a right answer among the first k; AP: one credit per video, of the "
    "first 100"
)
_ANSWERED = 95  # percent of the searches for what is there


def corpus_recall(
    root: Path,
    annotations: Path,
    train: "Annotations | None",
    *,
    score: str | None,
    hub: float | None,
    nms: float,
    folder: Path | None,
    predictions: Path | None,
    everything: bool,
    as_json: bool,
    device: str,
    strict: bool,
) -> "list[LeftOut]":
    """Search every sentence of a split in an index; print what was found, and keep it in a folder and a file
    of predictions. Returns the videos that are left out.
    """
    from mmn_index.evaluation.corpus import IndexRank
    from mmn_index.evaluation.folder import write_report
    from mmn_index.evaluation.queries import indexed, queries_of
    from mmn_index.evaluation.report import evaluate_corpus
    from mmn_index.evaluation.tvr import write_predictions

    index, chosen = _open(root, score, hub, device)
    corpus = indexed(index)
    split, left_out = searchable_split(annotations, corpus, root, strict=strict)
    queries = queries_of(split, corpus)
    embeddings = _embed(index, queries.sentences, device)
    rank = IndexRank(index, embeddings, chosen)
    with progress("searching") as report:
        result = evaluate_corpus(
            queries, corpus, rank, nms=nms, candidates=index.has_candidates, train=train, report=report
        )
        result = _with_confidences(result, index, embeddings, chosen, queries, corpus)
    title = (
        f"{len(queries):,} queries in {index.num_moments:,} moments of {len(corpus.ids):,} videos, score "
        f"{_score(chosen)}"
    )
    about = {"scope": "corpus", "score": chosen.name, "hub": chosen.hub}
    _show(title, result, everything=everything, as_json=as_json, about=about)
    if folder:
        about = {
            **_about(index, chosen),
            "annotations": str(split.path),
            "queries": len(queries),
            "NMS": nms,
            "training split": str(train.path) if train else None,
        }
        write_report(folder, about, result)
        say(f"{folder}: results.json, results.md, results.png.")
    if predictions and predictions.suffix == ".jsonl":
        _write_windows(predictions, annotations, index, chosen, nms, device)
    elif predictions:
        write_predictions(
            predictions, [one for one in result.lists if one.nms in (None, nms)], queries, corpus
        )
        say(f"{predictions}: lists of 100 for every sentence, NMS {nms:g}.")
    return left_out


def _write_windows(
    path: Path, annotations: Path, index: "MomentIndex", score: "Score", nms: float, device: str
) -> None:
    """Keep the answers to every sentence in its own video, absent ones included, in QVHighlights' format."""
    from mmn_index.evaluation.window_files import read_questions, write_answers
    from mmn_index.evaluation.window_search import answer_questions

    questions = read_questions(annotations)
    embeddings = _embed(index, tuple(one.sentence for one in questions), device)
    with progress("in their own videos") as report:
        answers = answer_questions(index, embeddings, score, questions, nms=nms, report=report)
    write_answers(path, questions, answers)
    sure = "" if any(one.existence is not None for one in answers) else ", without pred_exist_score"
    say(f"{path}: windows for {len(questions):,} sentences in their own videos, NMS {nms:g}{sure}.")


def pool_recall(
    root: Path, path: Path, *, score: str | None, hub: float | None, nms: float, as_json: bool, device: str
) -> None:
    """Search every sentence of an MVMR file in its pool of videos; print what was found."""
    from mmn_index.evaluation.corpus import IndexRank
    from mmn_index.evaluation.mvmr import evaluate_pools, read_pools
    from mmn_index.evaluation.queries import indexed
    from mmn_index.evaluation.report import outcome_records
    from mmn_index.evaluation.tables import main_table

    index, chosen = _open(root, score, hub, device)
    corpus = indexed(index)
    pools = read_pools(path, corpus)
    rank = IndexRank(index, _embed(index, pools.queries.sentences, device), chosen)
    with progress("searching pools") as report:
        found = evaluate_pools(pools, corpus, rank, nms=nms, report=report)
    records = outcome_records("pools", found, pools.queries, corpus, resample=True)
    if as_json:
        for record in records:
            print_json(
                {
                    "scope": "mvmr",
                    "score": chosen.name,
                    "hub": chosen.hub,
                    "pool": pools.size,
                    "left out": pools.left_out,
                    **record,
                }
            )
        return
    title = f"{len(pools.queries):,} queries, each in its pool of {pools.size} videos, score {_score(chosen)}"
    show(
        main_table(
            records, f"{title} ({pools.left_out:,} with a smaller pool left out)", with_intervals=False
        )
    )


def predictions_recall(
    path: Path, split: "Annotations", train: "Annotations | None", *, everything: bool, as_json: bool
) -> None:
    """Score a file of predictions in TVR's format."""
    from mmn_index.evaluation.queries import annotated, queries_of
    from mmn_index.evaluation.report import evaluate_lists
    from mmn_index.evaluation.tvr import read_predictions

    corpus = annotated(split)
    queries = queries_of(split, corpus)
    lists = read_predictions(path, queries, corpus, split.written)
    result = evaluate_lists(lists, queries, corpus, train)
    title = f"{path}, {len(queries):,} queries, {len(corpus.ids):,} annotated videos"
    _show(title, result, everything=everything, as_json=as_json, about={"scope": "predictions"})


def score_by(metric: str, truth: Path, predictions: Path, *, as_json: bool) -> None:
    """Score a file of predictions by another field's metric, in its own format."""
    from mmn_index.evaluation.made_elsewhere import METRICS

    measured = METRICS[metric](truth, predictions)
    for record in measured.records if as_json else ():
        print_json({"scope": "predictions", "metric": metric, **record})
    for table in () if as_json else measured.tables:
        show(table)
    for remark in measured.remarks:
        say(remark)


def _with_confidences(
    result: "CorpusReport",
    index: "MomentIndex",
    embeddings: "Embeddings",
    score: "Score",
    queries: "Queries",
    corpus: "Corpus",
) -> "CorpusReport":
    """With what the index's confidences answer and refuse, where it has any for this score."""
    from mmn_index.errors import AnnotationError
    from mmn_index.evaluation.refusal import absent_hits, confidence_records, present_hits

    calibration = index.manifest.calibration
    if calibration is None or score != index.manifest.score:
        return result
    numbers = range(len(queries))
    present = present_hits(index, embeddings, score, queries, numbers)
    try:
        absent = absent_hits(index, embeddings, score, queries, corpus, numbers)
    except AnnotationError as error:
        say(f"Confidences are not measured: {error}")
        return result
    return result.with_records(confidence_records(present, absent, calibration))


def _show(
    title: str, result: "CorpusReport", *, everything: bool, as_json: bool, about: dict[str, Any]
) -> None:
    from mmn_index.confidence import rounded_down
    from mmn_index.evaluation.refusal import CONFIDENCE
    from mmn_index.evaluation.tables import summary_table, tables

    if as_json:
        for record in result.records:
            print_json({**about, **record})
        return
    print_line(f"{title}, lists of 100:", apart=True)
    if everything:
        for table in tables(result, with_intervals=False):
            show(table)
        print_line(
            f"A hit: {_HIT}. ± 95 %: half of the row's widest bootstrap interval. Chance: random order, "
            "no NMS.",
            apart=True,
        )
        return
    show(summary_table(result))
    if sure := result.of(CONFIDENCE):
        one = next(one for one in sure if one["answered"] == _ANSWERED)
        print_line(
            f"Refused: {one['refused']:.0f} % of the sentences whose videos were all taken out, at the "
            f"confidence ({rounded_down(one['threshold']):.3g}) that answers {_ANSWERED} % of the others."
        )
    print_line(f"A hit: {_HIT}. --all prints every table.")


def show(table: "Table") -> None:
    """A table on stdout, with its title."""
    print_line(f"{table.title}:", apart=True)
    print_table(table.header, table.rows, left=table.left)


def _open(root: Path, score: str | None, hub: float | None, device: str) -> "tuple[MomentIndex, Score]":
    from mmn_index.index import MomentIndex

    index = MomentIndex(root, device)
    chosen = index.manifest.with_score(score, hub)
    index.check_score(chosen)
    return index, chosen


def _score(score: "Score") -> str:
    weight = f", weight {score.weight:g}" if score.weight != 1 else ""
    return score.name + weight + (f", hub correction {score.hub:g}" if score.hub else "")


def _embed(index: "MomentIndex", sentences: tuple[str, ...], device: str) -> "Embeddings":
    """Query embeddings by the model that made the index, two of (Q, C)."""
    from mmn_index.models import load_model, model_info

    index.check_model(model_info(index.model_path).fingerprint, str(index.model_path))
    model = load_model(index.model_path, device)
    return model.embed_collection(fitting_lines(sentences, model, "the annotations"))


def _about(index: "MomentIndex", score: "Score") -> dict[str, Any]:
    """What results depend on, for the record."""
    import platform
    from dataclasses import asdict

    import torch

    from mmn_index._version import __version__

    return {
        "index": str(index.root),
        "index version": index.version,
        "model": index.manifest.fingerprint,
        "videos": len(index.video_ids),
        "moments": index.num_moments,
        "candidate index": ", ".join(
            sorted(
                {
                    entry.candidates.factory if entry.candidates else "none"
                    for entry in index.manifest.segments
                }
            )
        ),
        "score": asdict(score),
        "a hit": _HIT,
        "versions": {
            "mmn-index": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
