"""Hard negatives: for every training sentence the moments of other videos that an index of these videos ranks
best.

What a sentence describes is no negative of it. So moments are left out that overlap one of an alike sentence
(alike.py) or one that a list says is right; any overlap counts, since a moment that shows a part of what is
asked for, and is the best of its video, mostly ranks high for that part. The others of such a video could be
negatives, but each video gives its best moment or none.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mmn_index.errors import AnnotationError, OutputError
from mmn_index.evaluation.annotation_forms import read_json
from mmn_index.evaluation.annotations import AnnotatedVideo, Annotations
from mmn_index.index import MomentIndex
from mmn_index.model import MMN
from mmn_index.moments import temporal_iou
from mmn_index.readable import reason
from mmn_index.scoring import Embeddings, cosines

from .alike import Alike, meanings

SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),  # of the sentence
        ("sentence", pa.int32()),  # its number in that video
        ("text", pa.string()),
        ("negative_video_id", pa.string()),
        ("start", pa.float32()),  # seconds
        ("end", pa.float32()),
        ("first_clip", pa.int16()),
        ("last_clip", pa.int16()),
        ("score", pa.float64()),
        ("positive_score", pa.float64()),  # of the proposal that fits the sentence's own moment best
        ("rank", pa.int32()),  # among what was kept for the sentence, from 1
    ]
)
ALIKE, LISTED, MARGIN = (
    "overlap a moment of an alike sentence",
    "overlap a listed positive",
    "score too near the own moment",
)
_SENTENCES, _VIDEOS = 64, 64  # that are compared at once

Positives = Mapping[tuple[str, str], Sequence[tuple[str, float, float]]]  # (video, text) -> video, start, end


@dataclass(frozen=True)
class Mined:
    """Negatives, a row each in the columns of SCHEMA, and how many better-ranked moments were left out, by
    reason.
    """

    table: pa.Table
    left_out: Mapping[str, int]

    def margins(self, percentiles: Sequence[int]) -> list[float]:
        """Percentiles of how far the negatives score below the sentence's own moment; nan where there are
        none.
        """
        below = self.table["positive_score"].to_numpy() - self.table["score"].to_numpy()
        return [float(np.percentile(below, p)) if len(below) else float("nan") for p in percentiles]


def mine(
    index: MomentIndex,
    model: MMN,
    annotations: Annotations,
    alike: Alike,
    *,
    count: int = 10,
    margin: float | None = None,
    positives: Positives | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Mined:
    """The `count` best-scored moments of other videos for every sentence, at most one a video, without false
    negatives.

    Args:
        index: of the videos of `annotations`; others in it are searched too, as videos that nobody has
            annotated.
        model: the index's.
        alike: compares `meanings(annotations)`.
        margin: leave out what does not score this much below the sentence's own moment: what ranks beside or
            above the right answer is often right as well (NV-Retriever, Moreira et al., 2024). A difference,
            since scores may be negative.
        positives: moments that are right by a list.

    Raises:
        AnnotationError: the index lacks videos of the annotations.
        QueryError: a sentence that the text encoder cannot read.
    """
    indexed = set(index.video_ids)
    if missing := [video.video_id for video in annotations.videos if video.video_id not in indexed]:
        raise AnnotationError(
            f"{annotations.path}: {len(missing)} of its {len(annotations.videos)} videos are not in "
            f"{index.root}, e.g. '{missing[0]}'. Build an index of the training videos."
        )
    split = _Split(annotations, alike, positives or {})
    rows: list[dict[str, object]] = []
    left_out = Counter(dict.fromkeys((ALIKE, LISTED, MARGIN), 0))
    total = len(split.texts)
    for first in range(0, total, _SENTENCES):
        batch = range(first, min(first + _SENTENCES, total))
        values, best = _best_of_videos(index, model, [split.texts[sentence] for sentence in batch])
        order = values.argsort(dim=1, descending=True, stable=True)[
            :, : len(index.video_ids)
        ]  # removed videos are last
        own = _own_scores(index, model, split, batch)
        for place, sentence in enumerate(batch):
            ranked = (
                _Moment.of(index, int(best[place, video]), float(values[place, video]))
                for video in order[place].tolist()
            )
            most = math.inf if margin is None else own[place] - margin
            kept = split.negatives(sentence, ranked, most, count, left_out)
            rows += [
                split.row(sentence, moment, own[place], rank, index) for rank, moment in enumerate(kept, 1)
            ]
        report(batch.stop, total)
    return Mined(pa.Table.from_pylist(rows, SCHEMA), left_out)


def read_positives(path: Path) -> Positives:
    """Moments that are right for a sentence besides its own, in the json form of MVMR (Zhang et al., 2024).

    {video: {"sentences": [...], "pos_moments": [[[video, sentence, [start, end]], ...] for each sentence]}}

    Raises:
        AnnotationError: the file is missing or of another form.
    """
    found: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    try:
        for video_id, entry in read_json(path).items():
            for text, moments in zip(entry["sentences"], entry["pos_moments"], strict=True):
                right = [(str(other), float(start), float(end)) for other, _, (start, end) in moments]
                if wrong := [one for one in right if not one[1] < one[2] < math.inf]:
                    raise ValueError(f"a moment of '{wrong[0][0]}' from {wrong[0][1]} to {wrong[0][2]}")
                found.setdefault((video_id, text), []).extend(right)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(
            f"{path}: cannot be read as positives ({reason(error)}). Expected, as in MVMR, sentences and as "
            "many pos_moments for each video: lists of [video, sentence, [start, end]]."
        ) from error
    return found


def write_negatives(table: pa.Table, path: Path) -> None:
    """Keep what was mined.

    Raises:
        OutputError: the place cannot be written.
    """
    aside = path.with_name(f"{path.name}.tmp")
    try:
        pq.write_table(table, aside)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Choose another place with -o."
        ) from error


def read_negatives(path: Path, video_ids: Sequence[str]) -> Tensor:
    """Which videos were mined for which, by their numbers in a training split: (n, 2) int64.

    Raises:
        AnnotationError: the file is no such table, or was mined for other videos.
    """
    try:
        table = pq.read_table(path, columns=["video_id", "negative_video_id"])
    except (OSError, pa.ArrowException) as error:
        raise AnnotationError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}). `mmn-index mine` makes one."
        ) from error
    pairs = mined_videos(table, video_ids)
    if not len(pairs):
        raise AnnotationError(
            f"{path}: has no negatives among the {len(video_ids)} training videos. Was it mined for other "
            "ones?"
        )
    return pairs


def mined_videos(table: pa.Table, video_ids: Sequence[str]) -> Tensor:
    """The pairs of a video and a video mined for it, both in `video_ids`, by their numbers there: (n, 2)
    int64, sorted.
    """
    numbers = {video_id: number for number, video_id in enumerate(video_ids)}
    named = zip(table["video_id"].to_pylist(), table["negative_video_id"].to_pylist(), strict=True)
    pairs = {(numbers[a], numbers[b]) for a, b in named if a in numbers and b in numbers}
    return torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)


@dataclass(frozen=True)
class _Moment:
    """A moment of the index."""

    video_id: str
    start: float
    end: float
    score: float
    row: int

    @classmethod
    def of(cls, index: MomentIndex, row: int, score: float) -> "_Moment":
        start, end = index.spans(np.array([row]))[0].tolist()
        video = int(index.videos_of(np.array([row]))[0])
        return cls(index.video_id(video), start, end, score, row)


class _Split:
    """Sentences of a split in turn, and what they must not have for a negative."""

    def __init__(self, annotations: Annotations, alike: Alike, positives: Positives) -> None:
        self._alike, self._listed = alike, positives
        _, known = meanings(annotations)
        self._known = {
            video.video_id: (video, own) for video, own in zip(annotations.videos, known, strict=True)
        }
        self._of = [(video, number) for video in annotations.videos for number in range(len(video.sentences))]
        self.texts = [video.sentences[number] for video, number in self._of]

    def video_id(self, sentence: int) -> str:
        """The video of a sentence."""
        return self._of[sentence][0].video_id

    def own(self, sentence: int) -> tuple[AnnotatedVideo, int]:
        """The video of a sentence, and its number there."""
        return self._of[sentence]

    def reason(self, sentence: int, hit: _Moment) -> str | None:
        """Why a moment of another video is no negative of a sentence; None if it is one."""
        video, number = self._of[sentence]
        start, end = hit.start, hit.end
        if any(
            v == hit.video_id and s < end and start < e
            for v, s, e in self._listed.get((video.video_id, self.texts[sentence]), ())
        ):
            return LISTED
        if hit.video_id not in self._known:
            return None
        other, theirs = self._known[hit.video_id]
        overlap = (other.moments[:, 0] < end) & (other.moments[:, 1] > start)
        ours = self._known[video.video_id][1][number]
        return ALIKE if bool(self._alike(ours[None], theirs[overlap]).any()) else None

    def negatives(
        self, sentence: int, ranked: Iterable[_Moment], most: float, count: int, left_out: Counter[str]
    ) -> list[_Moment]:
        """The first `count` of some moments that are negatives of a sentence and score at most `most`; the
        others are counted by reason.
        """
        found: list[_Moment] = []
        for moment in ranked:
            if moment.video_id == self.video_id(sentence):
                continue
            reason = self.reason(sentence, moment) or (MARGIN if moment.score > most else None)
            if reason is not None:
                left_out[reason] += 1
                continue
            found.append(moment)
            if len(found) == count:
                break
        return found

    def row(
        self, sentence: int, hit: _Moment, positive: float, rank: int, index: MomentIndex
    ) -> dict[str, object]:
        """A negative in the columns of SCHEMA."""
        video, number = self._of[sentence]
        first, last = index.manifest.grid.cells[hit.row % len(index.manifest.grid)].tolist()
        values = (
            video.video_id,
            number,
            self.texts[sentence],
            hit.video_id,
            hit.start,
            hit.end,
            first,
            last,
            hit.score,
            positive,
            rank,
        )
        return dict(zip(SCHEMA.names, values, strict=True))


@torch.inference_mode()
def _best_of_videos(index: MomentIndex, model: MMN, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Every video's best moment for each text, (Q, V) scores and rows; -inf for videos that were removed.

    What a search for one moment a video returns, in the end of all videos: a sentence may have to go far down
    the list.
    """
    queries, score = model.embed_sentences(texts), index.manifest.score
    values, rows = [], []
    for first in range(0, len(index.live), _VIDEOS):
        last = min(first + _VIDEOS, len(index.live))
        of_videos = [index.rows_of(video) for video in range(first, last)]
        block = np.concatenate(of_videos)
        moments = Embeddings(*(x.to(model.device).float() for x in index.embeddings(block)))
        scores = torch.split(score(*cosines(queries, moments)), [len(own) for own in of_videos], dim=1)
        best = [own.max(dim=1) for own in scores]
        values.append(torch.stack([value for value, _ in best], dim=1).cpu())
        place = torch.stack([place for _, place in best], dim=1).cpu()
        rows.append(place + torch.tensor([own[0] for own in of_videos]))
    return torch.cat(values, dim=1).masked_fill(~torch.from_numpy(index.live), -torch.inf), torch.cat(
        rows, dim=1
    )


@torch.inference_mode()
def _own_scores(index: MomentIndex, model: MMN, split: _Split, batch: Sequence[int]) -> list[float]:
    """Scores of the proposals that fit the sentences' own moments best, as a search would give them."""
    texts = model.embed_sentences([split.texts[sentence] for sentence in batch])
    found = []
    for place, sentence in enumerate(batch):
        video, number = split.own(sentence)
        rows = index.rows_of(index.number_of(video.video_id))
        best = temporal_iou(torch.from_numpy(index.spans(rows)), video.moments[number]).argmax()
        moment = Embeddings(*(x.double() for x in index.embeddings(rows[None, best])))
        query = Embeddings(*(x[place : place + 1].cpu().double() for x in texts))
        found.append(float(index.manifest.score(*cosines(query, moment))))
    return found
