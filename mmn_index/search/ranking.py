"""The exact ranking of candidates: scores in float64 from the stored float16 embeddings, then NMS.

A second sentence can be held against the first: the score is then f(query) + log(p / (p + p')), with
p = exp f(query) and p' = exp f(other): the score, times the share of the query among the two. It is never
above f(query), so the same bounds hold.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..errors import MomentIndexError
from ..index import Candidates, MomentIndex
from ..index.scan import Deadline
from ..moments import nms_lists
from ..proposals import ProposalGrid
from ..scoring import Embeddings, Score
from .options import SearchOptions
from .results import Hit

FIRST_POINT = (0.5, 0.2)  # both cosines of a hit, where an index has not recorded where its own lie
_ROUNDING = 2e-6  # relative error of a score that is evaluated in float32
_FOR_A_HIT = 32  # entries of a ranking that NMS looks at first, for each hit that is wanted


@dataclass(frozen=True)
class Sought:
    """What queries look for, and by which score."""

    queries: Embeddings  # unit vectors, two of (Q, C) float32
    score: Score
    against: Embeddings | None = None  # of what the moments should not be, two of (Q, C)
    hidden: frozenset[int] = frozenset()  # rows that are no answer

    def of(self, numbers: list[int]) -> "Sought":
        """What some of the queries look for."""
        if len(numbers) == len(self.queries.iou):  # all of them, in their order
            return self
        queries, against = (
            None if both is None else Embeddings(*(x[numbers] for x in both))
            for both in (self.queries, self.against)
        )
        assert queries is not None
        return replace(self, queries=queries, against=against)


@dataclass
class Ranked:
    """Candidates of some queries in the order of their exact scores."""

    rows: Tensor  # (Q, n), best first
    log: Tensor  # (Q, n) logarithmic scores
    kept: list[list[int]]  # positions of what NMS left, best first
    scored: np.ndarray  # (Q,) how many candidates there were
    last: list[float]  # logarithmic score of the last of `kept`
    bound: np.ndarray  # (Q,) what no other moment's logarithmic score is above
    point: list[tuple[float, float]]  # both cosines of the last of `kept`
    proves: bool  # whether all that is not among the candidates was scanned


def rank(
    index: MomentIndex, sought: Sought, found: Candidates, options: SearchOptions, deadline: Deadline
) -> Ranked:
    """Score candidates exactly, order them, and leave what NMS leaves.

    Raises:
        QueryError: the deadline passed.
    """
    rows = np.sort(found.rows, axis=1)  # equal scores rank by row
    valid = torch.from_numpy(rows >= 0)
    known = rows.clip(min=0)
    # What a candidate index left out is a larger error than float32; the hits' scores are float64 in either
    # case.
    proves = found.recall is None or bool((rows >= 0).sum(axis=1).min() == found.searched)
    precision = torch.float64 if proves else torch.float32
    c, i = index.cosines(known, sought.queries, sought.score, precision, deadline)
    other = None
    if sought.against is not None:
        other = torch.stack(index.cosines(known, sought.against, sought.score, precision, deadline))
    deadline.check(found.total, found.total)
    log, _ = combined(c, i, other, sought.score)
    log = log.masked_fill(~valid, -torch.inf)
    order = torch.argsort(-log, dim=1, stable=True)
    if not proves:  # half of them are there for the codes' errors in ranking
        order = order[:, : (order.shape[1] + 1) // 2]
    log, c, i, valid = (x.gather(1, order) for x in (log, c, i, valid))
    ranked = torch.from_numpy(known).gather(1, order)
    scored = (rows >= 0).sum(axis=1)
    if found.recall is None and rows.shape[1] >= found.searched > (least := int(scored.min())):
        raise MomentIndexError(
            f"{index.root}: of {found.searched:,} moments only {least:,} have embeddings that are numbers. "
            "`mmn-index verify` says what is damaged; build the index again."
        )
    if sought.hidden:
        valid &= torch.from_numpy(~np.isin(ranked.numpy(), list(sought.hidden)))
    kept = _survivors(index, ranked, valid, options)
    ends = [line[-1] if line else 0 for line in kept]
    if not found.values.shape[1]:
        none = [0.0] * len(kept)
        return Ranked(ranked, log, kept, scored, none, np.array(none), [FIRST_POINT] * len(kept), True)
    bound = found.values[:, -1].astype(np.float64)
    bound[np.isfinite(bound)] += _ROUNDING * (1 + np.abs(bound[np.isfinite(bound)]))
    last = [float(log[q, n]) for q, n in enumerate(ends)]
    point = [(float(c[q, n]), float(i[q, n])) for q, n in enumerate(ends)]
    return Ranked(ranked, log, kept, scored, last, bound, point, proves)


def _survivors(index: MomentIndex, ranked: Tensor, valid: Tensor, options: SearchOptions) -> list[list[int]]:
    """Positions of what NMS leaves of (Q, n) rows, best first."""
    count = ranked.shape[1]
    kept: list[list[int]] = [[] for _ in ranked]
    short = np.arange(len(ranked))
    # What comes first decides what survives after it: mostly a few entries for each hit are enough.
    for first in (min(count, _FOR_A_HIT * options.k), count):
        own = ranked[short, :first].numpy()
        positions = nms_lists(
            torch.from_numpy(index.spans(own)),
            torch.from_numpy(index.videos_of(own)),
            valid[short, :first],
            options.nms,
            options.k,
            options.per_video,
            torch.from_numpy(own // len(index.manifest.grid)) if index.manifest.tubes else None,
        ).numpy()
        for line, line_kept in zip(short.tolist(), positions.tolist(), strict=True):
            kept[line] = [position for position in line_kept if position >= 0]
        short = short[positions[:, -1] < 0]
        if first == count or not len(short):
            break
    return kept


def hits_of(index: MomentIndex, ranked: Ranked, places: list[int], sought: Sought) -> list[tuple[Hit, ...]]:
    """The hits of some of the ranked queries, scored in float64.

    Args:
        sought: what the queries at these places look for.
    """
    counts = [len(ranked.kept[place]) for place in places]
    rows = np.zeros((len(places), max(counts, default=0)), dtype=np.int64)
    for line, place in zip(rows, places, strict=True):
        line[: len(ranked.kept[place])] = ranked.rows[place, ranked.kept[place]].numpy()
    spaces, dim = index.manifest.spaces, index.manifest.joint_dim
    moments = index.vectors(rows).double().view(*rows.shape, spaces, dim)

    hubs = index.hubs(rows)

    def cosines(sentences: Embeddings) -> Tensor:
        both = torch.stack(sentences[:spaces], dim=1).double()
        c, *i = (moments * both[:, None]).sum(dim=3).permute(2, 0, 1)
        return torch.stack([sought.score.corrected(c, hubs), i[0] if i else torch.zeros_like(c)])

    other = None if sought.against is None else cosines(sought.against)
    c, i = cosines(sought.queries)
    shown = combined(c, i, other, sought.score)[1].tolist()
    spans, videos = index.spans(rows).tolist(), index.videos_of(rows).tolist()
    numbers = index.rows.tubes(rows)
    tubes = [[None] * rows.shape[1]] * len(rows) if numbers is None else numbers.tolist()
    hits = []
    for number, count in enumerate(counts):
        # Ranked in float64 already, or to be: equal scores of a ranking may differ by a rounding here.
        best = list(range(count))
        if not ranked.proves:
            best.sort(key=[-value for value in shown[number]].__getitem__)
        own = []
        for rank, n in enumerate(best, 1):
            video, (start, end) = videos[number][n], spans[number][n]
            row, tube = int(rows[number, n]), tubes[number][n]
            own.append(Hit(rank, index.video_id(video), start, end, shown[number][n], row, video, tube=tube))
        hits.append(tuple(own))
    return hits


def combined(c: Tensor, i: Tensor, other: Tensor | None, score: Score) -> tuple[Tensor, Tensor]:
    """The logarithmic score and the one that is shown; `other` has both cosines with what the moments should
    not be.
    """
    log, shown = score.log(c, i), score(c, i)
    if other is None:
        return log, shown
    share = logsigmoid(log - score.log(*other))
    return log + share, log + share if score.logarithmic else shown * share.exp()


def score_map(
    index: MomentIndex, grid: ProposalGrid, query: Embeddings, window: int, score: Score
) -> np.ndarray:
    """A sentence's score of every proposal of one window of a video, as its 2D map.

    Args:
        query: unit embeddings of the sentence, two of (1, C).
        window: its number in the index, `row // len(grid)` of its rows; where every video has one window, the
            number of the video.

    Returns:
        (N, N) float64, nan on cells that are no proposal; row = first clip, column = last clip.
    """
    cells = np.full((grid.num_clips, grid.num_clips), np.nan)
    rows = window * len(grid) + np.arange(len(grid))
    both = Embeddings(*(x.cpu() for x in query))
    c, i = index.cosines(rows[None], both, score, torch.float64, Deadline(None))
    spans = index.spans(rows)  # of a short tube some proposals hold no frame
    cells[tuple(grid.cells.T.numpy())] = np.where(
        spans[:, 0] < spans[:, 1], score(c[0], i[0]).numpy(), np.nan
    )
    return cells
