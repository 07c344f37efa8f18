"""Two sentences, two moments of one video: both anywhere in it, or the second after the first.

The score of a pair is the sum of both moments' logarithmic scores, which is the logarithm of their product
where the score is the paper's. Each video answers with its best pair. `in order` means that the second moment
begins when the first has ended, or later. All moments are scanned, so the answer is exact, unless nodes of a
cluster are lost.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import ClusterError, QueryError
from ..index import MomentIndex
from ..index.scan import Deadline
from ..moment_model import MomentModel
from ..scoring import Embeddings, Score
from .options import SearchOptions

_TIES = 64  # pairs of equal scores among which the first is looked for
_INSTANT = np.float32(1e-3)  # seconds
_ROUNDING = 4e-6  # relative error of a sum of two scores that are evaluated in float32


@dataclass(frozen=True)
class Pair:
    """Two moments of a video.

    Attributes:
        rank: from 1.
        video_id: the id of the video.
        score: the sum of both logarithmic scores.
        first: start, end (seconds) and logarithmic score of the first moment.
        second: the same of the second.
        video: the number of the video in this version of the index.
        rows: the numbers of the moments in this version of the index.
        tubes: the numbers of their tubes in the video, in an index of tubes.
        searched: share of the moments that was searched, as in an Answer.
    """

    rank: int
    video_id: str
    score: float
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    video: int
    rows: tuple[int, int]
    tubes: tuple[int, int] | None = None
    searched: float = 1.0


@torch.inference_mode()
def search_pairs(
    index: MomentIndex,
    model: MomentModel,
    first: str,
    second: str,
    *,
    in_order: bool,
    score: str | None = None,
    hub: float | None = None,
    options: SearchOptions | None = None,
    deadline: Deadline | None = None,
) -> list[Pair]:
    """The videos in which two sentences find the best pair of moments, best first; `options.k` of them at
    most.

    Args:
        deadline: of a search that began before; None counts from now.

    Raises:
        QueryError: a sentence that cannot be read, an unknown score, a restriction that does not fit, or too
            little time.
    """
    options = options or SearchOptions()
    deadline = deadline or Deadline(options.timeout, options.spent)
    deadline.check(0, index.num_moments)
    chosen = index.manifest.with_score(score, hub)
    both = Embeddings(*(x.cpu().float() for x in model.embed_sentences([first, second])))
    return search_pair_embeddings(index, both, chosen, in_order, options, deadline)


@torch.inference_mode()
def search_pair_embeddings(
    index: MomentIndex,
    queries: Embeddings,
    score: Score,
    in_order: bool,
    options: SearchOptions,
    deadline: Deadline | None = None,
) -> list[Pair]:
    """As `search_pairs`, with the unit embeddings of the two sentences, two of (2, C).

    Args:
        deadline: of a search that began before; None counts from now.
    """
    if options.per_video is not None:
        raise QueryError("each video answers with one pair of moments: leave out --per-video.")
    if options.min_confidence is not None:
        raise QueryError(
            "confidences are for the moments of one sentence, not for pairs: leave out --min-confidence."
        )
    index.check_score(score)
    deadline = deadline or Deadline(options.timeout, options.spent)
    parts = index.parts(options.restriction)
    bounds, searched = index.pair_bounds(queries, score, parts, deadline, in_order=in_order)
    order = np.argsort(-bounds, kind="stable")
    found: list[tuple[float, int, tuple[int, int], np.ndarray]] = []
    for number in order.tolist():
        if bounds[number] == -np.inf:
            break
        # Videos come by their bounds: once k pairs are above the next bound, no other video can have a better
        # one.
        if len(found) >= options.k:
            found.sort(key=lambda pair: (-pair[0], pair[1]))
            if found[options.k - 1][0] > bounds[number] + _ROUNDING * (1 + abs(bounds[number])):
                break
        deadline.check(index.num_moments, index.num_moments)
        found.append(_best_pair(index, number, queries, score, in_order, options))
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    if not found and searched < 1:
        raise ClusterError(
            f"only {searched:.1%} of the moments could be searched, and no pair is among them: nodes of the "
            "cluster are lost. Ask again when others have taken over."
        )
    pairs = [_pair(index, rank, *pair) for rank, pair in enumerate(found[: options.k], 1)]
    return [replace(pair, searched=searched) for pair in pairs]


def _best_pair(
    index: MomentIndex, number: int, queries: Embeddings, score: Score, in_order: bool, options: SearchOptions
) -> tuple[float, int, tuple[int, int], np.ndarray]:
    """Score, video, its rows (counted from its first) and their two scores, in float64; of equal ones the
    first.
    """
    rows = index.rows_of(number)
    c, i = (q.double() @ m.double().T for q, m in zip(queries, index.embeddings(rows), strict=True))
    spans = index.spans(rows)
    # Of a short tube some proposals hold no frame, and are no moments.
    allowed = torch.from_numpy(options.restriction.allows(spans) & (spans[:, 0] < spans[:, 1]))
    logs = score.log(score.corrected(c, index.hubs(rows)), i).masked_fill(~allowed, -torch.inf).numpy()
    if in_order:
        # Edges of different windows that are one moment in time may differ by a rounding.
        begins = spans[:, 0] + (_INSTANT if len(index.rows.windows_of(number)) > 1 else np.float32(0))
        by_end = np.argsort(spans[:, 1], kind="stable")
        before = np.searchsorted(spans[by_end, 1], begins, side="right")  # how many have ended by then
        best = np.concatenate([[-np.inf], np.maximum.accumulate(logs[0, by_end])])[before]
    else:
        best = np.full(len(rows), logs[0].max())
    sums = best + logs[1]
    total = sums.max()
    one, other = len(rows), len(rows)
    for second in np.flatnonzero(sums == total)[:_TIES].tolist():
        fits = logs[0] + logs[1, second] == total
        if in_order:
            fits[by_end[before[second] :]] = False
        one, other = min((one, other), (int(np.argmax(fits)), second))
    return float(total), number, (one, other), np.array([logs[0, one], logs[1, other]])


def _pair(
    index: MomentIndex, rank: int, score: float, number: int, moments: tuple[int, int], logs: np.ndarray
) -> Pair:
    rows = index.rows_of(number)[list(moments)]
    spans, tubes = index.spans(rows).tolist(), index.rows.tubes(rows)
    first, second = ((start, end, float(log)) for (start, end), log in zip(spans, logs, strict=True))
    both = None if tubes is None else (int(tubes[0]), int(tubes[1]))
    own = int(rows[0]), int(rows[1])
    return Pair(rank, index.video_id(number), score, first, second, number, own, both)
