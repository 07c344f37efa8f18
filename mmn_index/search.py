"""One sentence in, ranked moments of all videos out, with a proof that they are the exact best.

Candidates come from the vector index by an upper bound U of the score (scoring.py), exact scores from
the stored float16 embeddings in float64. Let s be the k-th best score after NMS among the candidates.
If s is above the bound of the last candidate, no moment outside the candidates can reach s, so nothing
can enter the list or suppress a part of it: the answer is exact, ties included. If not, the tangent
point moves to the k-th best hit, where U is tight; then more candidates are drawn, in the end all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .errors import QueryError
from .index import MomentIndex, Rows
from .model import MMN
from .moments import nms_walk
from .proposals import ProposalGrid
from .scoring import Embeddings, Score

# Float32 summation in the vector index may misplace U by this much times the weights; candidates within it stay open.
_ROUNDING = 1e-5
_FIRST_POINT = (0.5, 0.2)  # where hits usually lie; only speed depends on it


@dataclass(frozen=True)
class Hit:
    """One moment of an answer; seconds."""

    rank: int
    video_id: str
    start: float
    end: float
    score: float
    row: int  # in the index
    video: int  # position in MomentIndex.videos


@dataclass(frozen=True)
class Answer:
    """What a search found for one sentence."""

    query: str
    hits: tuple[Hit, ...]
    exact: bool  # proven: a scan of everything gives the same list
    candidates: int  # moments whose exact score was computed in the last round
    rounds: int


@dataclass(frozen=True)
class SearchOptions:
    """How an answer is put together.

    Raises:
        QueryError: a value out of range.
    """

    k: int = 10
    nms: float = 0.5  # temporal IoU above which the worse of two moments of a video is dropped; 1 drops none
    per_video: int | None = None  # at most so many moments of a video

    def __post_init__(self) -> None:
        if self.k < 1:
            raise QueryError(f"k is {self.k}, expected at least 1.")
        if not 0 <= self.nms <= 1:
            raise QueryError(f"the NMS threshold is {self.nms}, expected a temporal IoU from 0 to 1 (1 switches NMS off).")
        if self.per_video is not None and self.per_video < 1:
            raise QueryError(f"the number of moments a video is {self.per_video}, expected at least 1.")


@dataclass
class _Round:
    """State of one query's search."""

    number: int
    limit: int
    point: tuple[float, float] = _FIRST_POINT
    rounds: int = 0
    at_hit: bool = False  # whether the tangent point has been moved to a hit
    answer: Answer | None = None


@torch.inference_mode()
def search(
    index: MomentIndex, model: MMN, sentences: Sequence[str], *, score: str | None = None, options: SearchOptions | None = None
) -> list[Answer]:
    """Find the moments that sentences describe.

    Args:
        model: the one that built the index (see MomentIndex.check_model).
        score: one of scoring.SCORES; None takes the index's default.

    Returns:
        One answer a sentence, in order.

    Raises:
        QueryError: an empty or too long sentence, or an unknown score.
    """
    embeddings = model.embed_sentences(sentences)
    chosen = index.manifest.score if score is None else index.manifest.with_score(score)
    return search_embeddings(index, embeddings, chosen, options or SearchOptions(), sentences)


def search_embeddings(
    index: MomentIndex, queries: Embeddings, score: Score, options: SearchOptions, sentences: Sequence[str]
) -> list[Answer]:
    """As `search`, with unit query embeddings, two of (Q, C)."""
    contrastive, iou = (x.cpu().numpy().astype(np.float64) for x in queries)
    states = [_Round(number, min(index.num_moments, max(64, 4 * options.k))) for number in range(len(sentences))]
    while open_states := [state for state in states if state.answer is None]:
        # Queries that want equally many candidates share one pass over the index.
        for limit in sorted({state.limit for state in open_states}):
            group = [state for state in open_states if state.limit == limit]
            planes = [score.tangent(*state.point) for state in group]
            numbers = [state.number for state in group]
            slopes = np.array([[plane.contrastive, plane.iou] for plane in planes])
            vectors = np.concatenate([slopes[:, :1] * contrastive[numbers], slopes[:, 1:] * iou[numbers]], axis=1)
            values, rows = index.candidates(vectors, limit)
            for state, plane, value, row in zip(group, planes, values, rows, strict=True):
                bound = float(value[-1]) + plane.constant + _ROUNDING * (plane.contrastive + plane.iou)
                query = (contrastive[state.number], iou[state.number])
                _rank(index, state, query, row, bound, score, options, sentences[state.number])
    return [state.answer for state in states if state.answer is not None]


def _rank(
    index: MomentIndex, state: _Round, query: tuple[np.ndarray, np.ndarray], rows: np.ndarray, bound: float, score: Score,
    options: SearchOptions, sentence: str,
) -> None:  # fmt: skip
    """Score candidates exactly; either the answer is proven, or the state is set for another round."""
    rows = np.sort(rows)  # equal scores rank by row
    found = index.rows(rows)
    c, i = _exact(found, query)
    log = score.log(c, i).numpy()
    order = np.argsort(-log, kind="stable")
    spans = torch.from_numpy(found.spans[order])
    kept = order[nms_walk(spans, found.videos[order].tolist(), options.nms, options.k, options.per_video)]
    state.rounds += 1
    everything = len(rows) == index.num_moments
    if everything or (len(kept) == options.k and log[kept[-1]] > bound):
        shown = score(c, i).numpy()
        hits = tuple(
            Hit(rank, index.videos[found.videos[n]].video_id, float(found.spans[n, 0]), float(found.spans[n, 1]), float(shown[n]),
                int(rows[n]), int(found.videos[n]))
            for rank, n in enumerate(kept, 1)
        )  # fmt: skip
        state.answer = Answer(sentence, hits, True, len(rows), state.rounds)
        return
    if len(kept) == options.k and not state.at_hit:
        state.at_hit = True
    else:
        state.limit = min(4 * state.limit, index.num_moments)
    last = kept[-1] if len(kept) == options.k else order[-1]
    state.point = (float(c[last]), float(i[last]))


def _exact(rows: Rows, query: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Both cosines of a query with stored moments in float64, two of (n,)."""
    return (
        torch.from_numpy(rows.contrastive.astype(np.float64) @ query[0]),
        torch.from_numpy(rows.iou.astype(np.float64) @ query[1]),
    )


def score_map(index: MomentIndex, grid: ProposalGrid, query: Embeddings, video: int, score: Score) -> np.ndarray:
    """A sentence's score of every proposal of one video, as its 2D map.

    Args:
        query: unit embeddings of the sentence, two of (1, C).
        video: position in MomentIndex.videos.

    Returns:
        (N, N) float64, nan on cells that are no proposal; row = first clip, column = last clip.
    """
    contrastive, iou = (x[0].cpu().numpy().astype(np.float64) for x in query)
    cells = np.full((grid.num_clips, grid.num_clips), np.nan)
    cells[tuple(grid.cells.T.numpy())] = score(*_exact(index.rows(index.rows_of(video)), (contrastive, iou))).numpy()
    return cells
