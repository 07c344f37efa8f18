"""Sentences with none, one or several right windows in their own video, and what a system answers to them.

    {"qid", "query", "vid", "duration", "relevant_windows": [[start, end], ...]}
    {"qid", "query", "vid", "pred_relevant_windows": [[start, end, score], ...], "pred_exist_score",
     "pred_saliency_scores"}

are the rows of QVHighlights (Lei et al., NeurIPS 2021) and of its submissions, one a line of a .jsonl
file, which generalised moment retrieval has taken over: there relevant_windows may be empty, and
pred_exist_score is how sure the system is that the sentence has a window at all. Other annotation files
are read too; their sentences are numbered from 0 in the order of the file. pred_saliency_scores, of
highlight detection, are not looked at.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import AnnotationError, OutputError
from ..readable import reason
from .annotation_forms import read_entries
from .row_files import Row, finite, is_keyed, read_rows

_TRUTHS = "qid, query, vid and relevant_windows [[start, end], ...], as in QVHighlights"
_ANSWERS = "qid and pred_relevant_windows [[start, end, score], ...], as in a submission to QVHighlights"


@dataclass(frozen=True)
class Question:
    """A sentence about one video."""

    qid: str | int  # as it is written
    sentence: str
    video: str
    windows: Tensor  # (n, 2) float64 seconds; none where the video has nothing of it


@dataclass(frozen=True)
class WindowAnswer:
    """What a system answers, best first."""

    windows: Tensor  # (n, 2) float64 seconds
    scores: Tensor  # (n,) float64
    existence: float | None = None  # how sure it is that there is a window

    @property
    def sure(self) -> float:
        """The existence score; without one the highest score of a window, 0 without any."""
        if self.existence is not None:
            return self.existence
        return float(self.scores.max()) if len(self.scores) else 0.0


def read_questions(path: Path) -> list[Question]:
    """The sentences of a split, those without a window included.

    Raises:
        AnnotationError: the file is missing, has none of the forms, hides its answers, or has a qid twice.
    """
    if is_keyed(path, "qid") or not _has_qids(path):
        return _of_entries(path)
    found: dict[str, Question] = {}
    for row in read_rows(path, _TRUTHS):
        key = row.key("qid")
        if key in found:
            raise row.wrong(f"qid {key} comes twice")
        if not row.has("relevant_windows"):
            raise row.wrong("has no relevant_windows, as in test splits whose answers are hidden")
        windows = [one[:2] for one in row.windows("relevant_windows", scored=False)]
        if empty := [one for one in windows if one[0] == one[1]]:
            raise row.wrong(f"a right window lasts from {empty[0][0]:g} to {empty[0][1]:g}")
        sentence = row.key("query") if row.has("query") else ""
        video = row.key("vid") if row.has("vid") else ""
        found[key] = Question(row.content["qid"], sentence, video, _spans(windows))
    return list(found.values())


def read_answers(path: Path, questions: Sequence[Question]) -> list[WindowAnswer]:
    """An answer to each question, in their order; windows stay in the order of the file.

    Raises:
        AnnotationError: the file is missing, is not of this form, lacks a question, or has others.
    """
    wanted = {str(one.qid): number for number, one in enumerate(questions)}
    found: dict[int, WindowAnswer] = {}
    for row in read_rows(path, _ANSWERS):
        key = row.key("qid")
        if key not in wanted:
            raise row.wrong(f"qid {key} is none of the {len(wanted)} of the annotations")
        if wanted[key] in found:
            raise row.wrong(f"qid {key} comes twice")
        found[wanted[key]] = _answer(row)
    if missing := [key for key, number in wanted.items() if number not in found]:
        raise AnnotationError(
            f"{path}: lacks {len(missing)} of {len(wanted)} sentences, e.g. qid {missing[0]}. Give an empty "
            "list of pred_relevant_windows to a sentence without an answer."
        )
    return [found[number] for number in range(len(questions))]


def write_answers(path: Path, questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> None:
    """Write a submission, a row for each question.

    Raises:
        OutputError: the file cannot be written.
    """
    lines = []
    for one, answer in zip(questions, answers, strict=True):
        windows = torch.cat([answer.windows, answer.scores[:, None]], dim=1).tolist()
        row: dict[str, Any] = {
            "qid": one.qid,
            "query": one.sentence,
            "vid": one.video,
            "pred_relevant_windows": windows,
        }
        if answer.existence is not None:
            row["pred_exist_score"] = answer.existence
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path}: predictions cannot be written ({reason(error)}). Choose another file."
        ) from error


def _answer(row: Row) -> WindowAnswer:
    windows = row.windows("pred_relevant_windows", scored=True)
    existence = row.number("pred_exist_score") if row.has("pred_exist_score") else None
    scores = torch.tensor([score for *_, score in windows], dtype=torch.float64)
    return WindowAnswer(_spans([one[:2] for one in windows]), scores, existence)


def _has_qids(path: Path) -> bool:
    """Whether a file without a JSON object around it has rows with a qid, by its first."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = next((line.strip() for line in file if line.strip()), "")
    return first.startswith("[") or '"qid"' in first


def _of_entries(path: Path) -> list[Question]:
    """The sentences of an annotation file without qids; an empty moment says that there is none."""
    found: list[Question] = []
    for video, entry in read_entries(path).videos.items():
        try:
            scale = 1.0 if "duration" in entry or "fps" not in entry else float(entry["fps"])
            for sentence, moment in zip(entry["sentences"], entry["timestamps"], strict=True):
                start, end = (finite(x) for x in moment)
                if start is None or end is None or not isinstance(sentence, str):
                    raise ValueError(f"a moment is {moment!r:.40}, a sentence {sentence!r:.40}")
                windows = [(start / scale, end / scale)] if start < end else []
                found.append(Question(len(found), sentence, video, _spans(windows)))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise AnnotationError(
                f"{path}: video '{video}': {error}. Expected timestamps [[start, end], ...] and as "
                "many sentences."
            ) from error
    return found


def _spans(windows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(windows, dtype=torch.float64).reshape(-1, 2)
