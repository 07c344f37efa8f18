"""Recall over a whole collection: every sentence is searched in the index, against all moments of all videos.

Two answers to "what is right": `own` counts the sentence's own moment alone; `label` counts every moment
of the collection with the same label, where annotations carry labels. NMS stands beside every number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmn_index.errors import AnnotationError
from mmn_index.index import MomentIndex
from mmn_index.model import MMN
from mmn_index.recall import Found, Right, average_precision, chance, first_hit
from mmn_index.search import SearchOptions, search

from .annotations import AnnotatedVideo, Annotations

COLLECTION_RECALLS = ((1, 0.5), (10, 0.5), (1, 0.7), (10, 0.7))  # n and m of R@n,IoU=m
DEPTH = 100  # length of the ranked lists, as in TVR's protocol
_BATCH = 32  # queries that share a pass over the index


@dataclass(frozen=True)
class CollectionRecall:
    """Results of a split, one row a sentence; columns are named by `columns`."""

    values: Tensor  # (Q, columns) in 0..1
    chances: Tensor  # the same for proposals drawn at random; nan where it has no meaning
    columns: tuple[str, ...]
    sentences: tuple[str, ...]
    exact: int  # answers that were proven exact

    def table(self, rows: Tensor | None = None) -> dict[str, float]:
        """Means in percent, of all or of the given queries."""
        values = self.values if rows is None else self.values[rows]
        return {name: 100 * float(value) for name, value in zip(self.columns, values.mean(dim=0), strict=True)}

    def chance(self) -> dict[str, float]:
        """Mean chances in percent."""
        return {name: 100 * float(value) for name, value in zip(self.columns, self.chances.mean(dim=0), strict=True)}


def evaluate_collection(
    index: MomentIndex, model: MMN, annotations: Annotations, *, score: str | None = None, nms: float = 0.5,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> CollectionRecall:  # fmt: skip
    """Search every sentence of a split in an index.

    Args:
        score: one of scoring.SCORES; None takes the index's default.

    Raises:
        AnnotationError: the index lacks videos of the annotations.
        QueryError: a sentence that the text encoder cannot read.
    """
    indexed = set(index.video_ids)
    if missing := [video.video_id for video in annotations.videos if video.video_id not in indexed]:
        raise AnnotationError(
            f"{annotations.path}: {len(missing)} of its {len(annotations.videos)} videos are not in {index.root}, "
            f"e.g. '{missing[0]}'."
        )
    right = _right_answers(annotations.videos)
    counts = _RightProposals(model, annotations.videos, index.num_moments)
    sentences = [sentence for video in annotations.videos for sentence in video.sentences]
    values, chances, exact = [], [], 0
    for first in range(0, len(sentences), _BATCH):
        answers = search(index, model, sentences[first : first + _BATCH], score=score, options=SearchOptions(k=DEPTH, nms=nms))
        for number, answer in enumerate(answers, first):
            found = [Found(hit.video_id, hit.start, hit.end) for hit in answer.hits]
            exact += answer.exact
            values.append([value for kind in right for value in _measure(found, right[kind][number])])
            values[-1] += [average_precision(found, right["label"][number])] if "label" in right else []
            chances.append([counts.chance(right[kind][number], n, m) for kind in right for n, m in COLLECTION_RECALLS])
            chances[-1] += [float("nan")] if "label" in right else []
        report(min(first + _BATCH, len(sentences)), len(sentences))
    columns = [f"{kind} R@{n},IoU={m}" for kind in right for n, m in COLLECTION_RECALLS] + ["label AP"] * ("label" in right)
    return CollectionRecall(
        torch.tensor(values, dtype=torch.float64),
        torch.tensor(chances, dtype=torch.float64),
        tuple(columns),
        tuple(sentences),
        exact,
    )


def _measure(found: Sequence[Found], right: Right) -> list[float]:
    ranks = {m: first_hit(found, right, m) for _, m in COLLECTION_RECALLS}
    return [float((rank := ranks[m]) is not None and rank <= n) for n, m in COLLECTION_RECALLS]


def _right_answers(videos: Sequence[AnnotatedVideo]) -> dict[str, list[Right]]:
    """Right answers of every sentence, by what counts."""
    own = [Right({video.video_id: [(float(start), float(end))]}) for video in videos for start, end in video.moments.tolist()]
    if any(video.labels is None for video in videos):
        return {"own": own}
    by_label: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for video in videos:
        for label, (start, end) in zip(video.labels or (), video.moments.tolist(), strict=True):
            by_label.setdefault(label, {}).setdefault(video.video_id, []).append((start, end))
    rights = {label: Right(moments) for label, moments in by_label.items()}
    return {"own": own, "label": [rights[label] for video in videos for label in video.labels or ()]}


class _RightProposals:
    """How many of the collection's proposals are right, for the chance level."""

    def __init__(self, model: MMN, videos: Sequence[AnnotatedVideo], total: int) -> None:
        self._grid = model.grid
        self._durations = {video.video_id: video.duration for video in videos}
        self._total = total
        self._counts: dict[tuple[int, float], int] = {}

    def chance(self, right: Right, n: int, m: float) -> float:
        key = (id(right), m)
        if key not in self._counts:
            self._counts[key] = sum(
                int((self._grid.iou_targets(torch.tensor(spans), self._durations[video_id]).amax(dim=0) >= m).sum())
                for video_id, spans in right.moments.items()
            )
        return chance(self._counts[key], self._total, n)
