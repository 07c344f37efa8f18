"""The part of `mmn-index eval` that searches an index, and that scores lists that somebody else made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import progress, say
from .sentences import fitting_lines, searchable_split

if TYPE_CHECKING:
    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.evaluation.queries import Corpus, Queries
    from mmn_index.evaluation.report import CorpusReport
    from mmn_index.evaluation.sections import Section
    from mmn_index.evaluation.window_files import Question
    from mmn_index.index import MomentIndex
    from mmn_index.left_out import LeftOut
    from mmn_index.scoring import Embeddings, Score


@dataclass(frozen=True)
class Searched:
    """An index, and how it is searched.

    Attributes:
        nms: temporal IoU above which the worse moment is dropped.
    """

    index: "MomentIndex"
    score: "Score"
    nms: float
    device: str

    @classmethod
    def open(cls, root: Path, score: str | None, hub: float | None, nms: float, device: str) -> "Searched":
        """Open an index for a score.

        Raises:
            MomentIndexError, QueryError: it is damaged, or does not know the score.
        """
        from mmn_index.index import MomentIndex

        index = MomentIndex(root, device)
        chosen = index.manifest.with_score(score, hub)
        index.check_score(chosen)
        return cls(index, chosen, nms, device)

    @property
    def scored(self) -> str:
        """The score for people."""
        score = self.score
        weight = f", weight {score.weight:g}" if score.weight != 1 else ""
        return score.name + weight + (f", hub correction {score.hub:g}" if score.hub else "")

    @property
    def about(self) -> dict[str, Any]:
        """What results depend on, for the record."""
        from dataclasses import asdict

        index = self.index
        factories = {
            entry.candidates.factory if entry.candidates else "none" for entry in index.manifest.segments
        }
        return {
            "index": str(index.root),
            "index version": index.version,
            "fingerprint": index.manifest.fingerprint,
            "videos": len(index.video_ids),
            "moments": index.num_moments,
            "candidate index": ", ".join(sorted(factories)),
            "score": asdict(self.score),
        }

    def embed(self, sentences: Sequence[str]) -> "Embeddings":
        """Query embeddings by the model that made the index, two of (Q, C)."""
        from mmn_index.models import load_model, model_info

        index = self.index
        index.check_model(model_info(index.model_path).fingerprint, str(index.model_path))
        model = load_model(index.model_path, self.device)
        return model.embed_collection(fitting_lines(sentences, model, "the annotations"))


def search_collection(
    searched: Searched,
    annotations: Path,
    train: "Annotations | None",
    digest: str,
    *,
    predictions: Path | None,
    strict: bool,
) -> "tuple[Section, list[LeftOut]]":
    """Search every sentence of a split in an index; keep the lists in a file of predictions.

    Returns:
        What was found, and the videos that are left out.
    """
    from mmn_index.evaluation.corpus import IndexRank
    from mmn_index.evaluation.corpus_section import collection_section
    from mmn_index.evaluation.queries import indexed, queries_of
    from mmn_index.evaluation.report import evaluate_corpus
    from mmn_index.evaluation.tvr import write_predictions

    index, nms = searched.index, searched.nms
    corpus = indexed(index)
    split, left_out = searchable_split(annotations, corpus, index.root, strict=strict)
    queries = queries_of(split, corpus)
    embeddings = searched.embed(queries.sentences)
    rank = IndexRank(index, embeddings, searched.score)
    with progress("searching") as report:
        result = evaluate_corpus(
            queries, corpus, rank, nms=nms, candidates=index.has_candidates, train=train, report=report
        )
        result = _with_confidences(result, searched, embeddings, queries, corpus)
    title = (
        f"{len(queries):,} queries in {index.num_moments:,} moments of {len(corpus.ids):,} videos, score "
        f"{searched.scored}"
    )
    scope = {"scope": "corpus", "score": searched.score.name, "hub": searched.score.hub}
    section = collection_section(title, result, queries, corpus, digest=digest, scope=scope)
    if predictions and predictions.suffix != ".jsonl":
        lists = [one for one in result.lists if one.nms in (None, nms)]
        write_predictions(predictions, lists, queries, corpus)
        say(f"{predictions}: lists of 100 for every sentence, NMS {nms:g}.")
    return section, left_out


def search_windows(
    searched: Searched, annotations: Path, digest: str, *, predictions: Path | None, measure: bool
) -> "list[Section]":
    """Search each sentence in its own video, absent ones included; keep the answers in QVHighlights' format.

    Args:
        measure: as QVHighlights and generalised moment retrieval do, as the sentences allow.
    """
    from mmn_index.evaluation.window_files import read_questions, write_answers
    from mmn_index.evaluation.window_search import answer_questions

    questions = read_questions(annotations)
    embeddings = searched.embed([one.sentence for one in questions])
    with progress("in their own videos") as report:
        answers = answer_questions(
            searched.index, embeddings, searched.score, questions, nms=searched.nms, report=report
        )
    sure = "" if any(one.existence is not None for one in answers) else ", without pred_exist_score"
    if predictions and predictions.suffix == ".jsonl":
        write_answers(predictions, questions, answers)
        many = f"{len(questions):,} sentences in their own videos"
        say(f"{predictions}: windows for {many}, NMS {searched.nms:g}{sure}.")
    if not measure:
        return []
    known = set(searched.index.video_ids)
    return window_sections(
        [(q, a) for q, a in zip(questions, answers, strict=True) if q.video in known], digest
    )


def window_sections(pairs: "Sequence[tuple[Question, Any]]", digest: str) -> "list[Section]":
    """By QVHighlights of the sentences with a moment, if one has several; by generalised moment retrieval of
    all, if some have none.
    """
    from mmn_index.evaluation.made_elsewhere import refusals_section, windows_section

    found = []
    having = [(q, a) for q, a in pairs if len(q.windows)]
    if any(len(q.windows) > 1 for q, _ in having):
        found.append(windows_section([q for q, _ in having], [a for _, a in having], digest))
    if len(having) < len(pairs):
        if not any(answer.existence is not None for _, answer in pairs):
            say("There are no confidences: the score of the best window says whether a sentence is answered.")
        found.append(refusals_section([q for q, _ in pairs], [a for _, a in pairs], digest))
    return found


def search_pools(searched: Searched, path: Path, digest: str) -> "Section":
    """Search every sentence of an MVMR file in its pool of videos."""
    from mmn_index.evaluation.corpus import IndexRank
    from mmn_index.evaluation.corpus_section import pools_section
    from mmn_index.evaluation.mvmr import evaluate_pools, read_pools
    from mmn_index.evaluation.queries import indexed

    corpus = indexed(searched.index)
    pools = read_pools(path, corpus)
    rank = IndexRank(searched.index, searched.embed(pools.queries.sentences), searched.score)
    with progress("searching pools") as report:
        found = evaluate_pools(pools, corpus, rank, nms=searched.nms, report=report)
    scope = {
        "scope": "mvmr",
        "score": searched.score.name,
        "hub": searched.score.hub,
        "pool": pools.size,
        "left out": pools.left_out,
    }
    title = (
        f"{len(pools.queries):,} queries, each in its pool of {pools.size} videos, score {searched.scored} "
        f"({pools.left_out:,} with a smaller pool left out)"
    )
    return pools_section(title, pools, found, corpus, nms=searched.nms, digest=digest, scope=scope)


def search_judged(searched: Searched, path: Path, digest: str) -> "Section":
    """Search the queries of a file of judged moments in the whole index."""
    from mmn_index.evaluation.corpus_section import collection_name
    from mmn_index.evaluation.made_elsewhere import ranking_section
    from mmn_index.evaluation.ndcg import read_judgements, read_wordings
    from mmn_index.evaluation.ndcg_search import rank_moments

    judged, sentences = read_judgements(path), read_wordings(path)
    embeddings = searched.embed(list(sentences.values()))
    with progress("searching") as report:
        lists = rank_moments(
            searched.index, embeddings, searched.score, list(sentences), nms=searched.nms, report=report
        )
    known = set(searched.index.video_ids)
    missing = {one.video for moments in judged.values() for one in moments} - known
    if missing:
        say(
            f"{path}: {len(missing):,} of its videos are not in {searched.index.root}, e.g. "
            f"'{min(missing)}': their moments cannot be found, and count as not found."
        )
    section = ranking_section(judged, lists, sentences, digest)
    return replace(section, conditions={**section.conditions, "collection": collection_name(known)})


def score_lists(path: Path, split: "Annotations", train: "Annotations | None", digest: str) -> "Section":
    """Score a file of predictions in TVR's format."""
    from mmn_index.evaluation.corpus_section import collection_section
    from mmn_index.evaluation.queries import annotated, queries_of
    from mmn_index.evaluation.report import evaluate_lists
    from mmn_index.evaluation.tvr import read_predictions

    corpus = annotated(split)
    queries = queries_of(split, corpus)
    lists = read_predictions(path, queries, corpus, split.written)
    result = evaluate_lists(lists, queries, corpus, train)
    title = f"{path}, {len(queries):,} queries, {len(corpus.ids):,} annotated videos"
    scope = {"scope": "predictions"}
    return collection_section(title, result, queries, corpus, digest=digest, scope=scope, everywhere=False)


def _with_confidences(
    result: "CorpusReport",
    searched: Searched,
    embeddings: "Embeddings",
    queries: "Queries",
    corpus: "Corpus",
) -> "CorpusReport":
    """With what the index's confidences answer and refuse, where it has any for this score."""
    from mmn_index.errors import AnnotationError
    from mmn_index.evaluation.refusal import absent_hits, confidence_records, present_hits

    index, score = searched.index, searched.score
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
