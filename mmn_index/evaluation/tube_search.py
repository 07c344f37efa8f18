"""Sentences about tubes as queries to an index of tubes: answers within each sentence's own video, by the
stored embeddings, and over the whole collection.

Over the collection a moment is right if it is of the sentence's own video and its vIoU with the true tube is
above m, as HC-STVG's challenge counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import AnnotationError
from ..index import MomentIndex
from ..scoring import Embeddings, Score, cosines
from ..search import SearchOptions, search_embeddings
from ..tube_file import Footage, FoundTube
from ..tube_map import iou_targets, tube_score
from ..tubes import Tube, tube_iou
from .recall import chances
from .tube_answers import TubeAnswer
from .tube_files import TubeTruth
from .tube_truths import TubeTruths
from .viou import LEVELS

DEPTHS = (1, 10, 100)
_AT_ONCE = 64  # sentences that are searched together


class IndexTubes:
    """The tubes of an index, as a file of tubes gives them, without features.

    Raises:
        QueryError: a video that the index does not have.
    """

    def __init__(self, index: MomentIndex) -> None:
        self._index, self.path = index, index.root
        self.video_ids: Sequence[str] = index.video_ids
        self._known = frozenset(self.video_ids)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._known

    def footage(self, video_id: str) -> Footage:
        """What is known of a video's pictures."""
        number = self._index.number_of(video_id)
        tube = self._index.rows.planned_tubes(number)[0]
        frames = round(self._index.video(number).duration * tube.rate)
        return Footage(tube.width, tube.height, tube.rate, frames)

    def tubes(self, video_id: str) -> list[FoundTube]:
        """The tubes of a video in the order of their numbers."""
        found = self._index.rows.tubes_of(self._index.number_of(video_id))
        return [
            FoundTube(
                Tube(
                    torch.arange(about.first_frame, about.first_frame + about.frames), torch.from_numpy(boxes)
                ),
                about.score,
                (),
            )
            for about, boxes in found
        ]


@dataclass(frozen=True)
class TubeSearch:
    """What an index answers to sentences about tubes.

    Attributes:
        own: the best moment of each sentence's own video, by MMN-STVG's score.
        overlaps: (Q, 100) float64 vIoU of each moment of the collection's answer, 0 in other videos.
        chances: (Q, depths, levels) float64 probability that moments drawn at random hold a right one.
        exact: answers that are proven exact.
    """

    own: list[TubeAnswer]
    overlaps: Tensor
    chances: Tensor
    exact: int

    def recalls(self) -> dict[str, tuple[Tensor, float]]:
        """R@k,vIoU>m: (Q,) float64 of 0 and 1, and chance, by name."""
        return {
            f"R@{k},vIoU>{m}": (
                (self.overlaps[:, :k] > m).any(dim=1).double(),
                float(self.chances[:, depth, level].mean()),
            )
            for level, m in enumerate(LEVELS)
            for depth, k in enumerate(DEPTHS)
        }


@torch.inference_mode()
def search_tubes(
    index: MomentIndex,
    embeddings: Embeddings,
    truths: TubeTruths,
    score: Score,
    nms: float,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> TubeSearch:
    """Look for every sentence in its own video and in the collection; a video that is not there counts 0.

    Args:
        embeddings: of the sentences, two of (Q, C), unit vectors.
        score, nms: of the search in the collection.

    Raises:
        AnnotationError: sentences are about parts of videos (VidSTG), whose tubes an index does not cut.
    """
    if any(truth.segment is not None for truth in truths.videos):
        raise AnnotationError(
            f"{truths.path}: its sentences are about parts of videos, and an index has tubes of whole ones. "
            "Evaluate the model, with a file of tubes."
        )
    tubes, own, chance = IndexTubes(index), list[TubeAnswer](), list[Tensor]()
    overlaps, exact = torch.zeros(len(truths.videos), DEPTHS[-1], dtype=torch.float64), 0
    for first in range(0, len(truths.videos), _AT_ONCE):
        part = truths.videos[first : first + _AT_ONCE]
        queries = Embeddings(*(x[first : first + _AT_ONCE] for x in embeddings))
        options = SearchOptions(k=DEPTHS[-1], nms=nms)
        answers = search_embeddings(index, queries, score, options, [truth.sentence for truth in part])
        for place, (truth, answer) in enumerate(zip(part, answers, strict=True)):
            query = Embeddings(*(x[place : place + 1] for x in queries))
            own.append(TubeAnswer(truth, _best(index, truth, query, tubes)))
            chance.append(_chances(index, truth, tubes))
            exact += answer.exact
            for rank, hit in enumerate(answer.hits):
                if hit.video_id == truth.video_id and (found := index.rows.tube(hit.row)) is not None:
                    overlaps[first + place, rank] = tube_iou(found.tube, truth.tube).double()
        report(first + len(part), len(truths.videos))
    return TubeSearch(own, overlaps, torch.stack(chance), exact)


def _best(index: MomentIndex, truth: TubeTruth, query: Embeddings, tubes: IndexTubes) -> Tube | None:
    """The best moment of the sentence's own video; of equal ones the first."""
    if truth.video_id not in tubes:
        return None
    rows = index.rows_of(index.number_of(truth.video_id))
    spans = torch.from_numpy(index.spans(rows))
    c, i = cosines(query, Embeddings(*(x.float() for x in index.embeddings(rows))))
    scores = tube_score(c[0], i[0]).masked_fill(spans[:, 0] >= spans[:, 1], -torch.inf)
    found = index.rows.tube(int(rows[int(scores.argmax())]))
    return None if found is None else found.tube


def _chances(index: MomentIndex, truth: TubeTruth, tubes: IndexTubes) -> Tensor:
    """(depths, levels) probability that so many moments, drawn at random, hold a right one."""
    found = tubes.tubes(truth.video_id) if truth.video_id in tubes else []
    every = [iou_targets(index.manifest.grid, one.tube, truth.tube) for one in found]
    overlaps = torch.cat(every) if every else torch.zeros(1)
    right = torch.tensor([int((overlaps > m).sum()) for m in LEVELS])
    return torch.stack([chances(right, index.num_moments, k) for k in DEPTHS])
