"""Two sentences, two moments of one video: both anywhere in it, or the second after the first.

The score of a pair is the sum of both moments' logarithmic scores, which is the logarithm of their product
where the score is the paper's. Each video answers with its best pair. `in order` means that the second moment
begins when the first has ended, or later. All moments are scanned, so the answer is exact.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import QueryError
from ..index import MomentIndex
from ..index.scan import Deadline, upper_bounds
from ..moment_model import MomentModel
from ..scoring import Embeddings, Score
from .options import SearchOptions

_BLOCK = 1 << 16  # moments that are scanned together
_TIES = 64  # pairs of equal scores among which the first is looked for
_INSTANT = np.float32(1e-3)  # seconds
_ROUNDING = 4e-6  # relative error of a sum of two scores that are evaluated in float32


@dataclass(frozen=True)
class Pair:
    """Two moments of a video, each start, end (seconds) and logarithmic score."""

    rank: int
    video_id: str
    score: float  # the sum of both
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    video: int  # its number in the index
    rows: tuple[int, int]  # of the moments, in the index
    tubes: tuple[int, int] | None = None  # their numbers in the video, in an index of tubes


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
    bounds = _bounds(index, queries, score, in_order, options, deadline)
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
    return [_pair(index, rank, *pair) for rank, pair in enumerate(found[: options.k], 1)]


def _bounds(
    index: MomentIndex,
    queries: Embeddings,
    score: Score,
    in_order: bool,
    options: SearchOptions,
    deadline: Deadline,
) -> np.ndarray:
    """(videos,) float32: what no pair of a video is above; -inf for a video that has none."""
    count = len(index.manifest.grid)
    done, total = 0, index.num_moments
    bounds = [np.zeros(0, dtype=np.float32)]
    step = max(1, _BLOCK // count)
    for segment, part in zip(index.segments, index.parts(options.restriction), strict=True):
        singles = np.full((2, segment.entry.videos), -np.inf, dtype=np.float32)  # of either sentence
        pairs = np.full(segment.entry.videos, -np.inf, dtype=np.float32)  # both in one window
        before = 0
        for begin, end in part.runs:
            for first in range(begin // count, end // count, step):
                deadline.check(done, total)
                last = min(first + step, end // count)
                rows = slice(first * count, last * count)
                hubs = None if segment.hubs is None else segment.hubs[rows]
                values = upper_bounds(segment.embeddings[rows], hubs, queries, score, segment.longest)
                if part.keep is not None:
                    values.masked_fill_(
                        ~torch.from_numpy(part.keep[before : before + values.shape[1]]), -torch.inf
                    )
                before += values.shape[1]
                done += values.shape[1]
                windows = values.view(2, last - first, count)
                videos = segment.window_videos[first:last]
                np.maximum.at(pairs, videos, _sums(index, windows, in_order).amax(dim=1).numpy())
                for single, own in zip(singles, windows.amax(dim=2).numpy(), strict=True):
                    np.maximum.at(single, videos, own)
        # Clips of a short tube share frames, so that clips that overlap may follow each other in time.
        several = (np.diff(segment.first_window) > 1) | (segment.tubes is not None)
        bounds.append(np.where(several, singles.sum(axis=0), pairs))
    return np.concatenate(bounds)


def _sums(index: MomentIndex, values: Tensor, in_order: bool) -> Tensor:
    """(2, W, P) scores of both sentences -> (W, P) best sum of a pair of one window whose second moment is
    p.
    """
    if not in_order:
        return values[0].amax(dim=1, keepdim=True) + values[1]
    grid = index.manifest.grid
    starts, lasts = grid.cells.T
    best = torch.full((values.shape[1], grid.num_clips), -torch.inf, dtype=values.dtype)
    best.scatter_reduce_(1, lasts.expand(values.shape[1], -1), values[0], "amax")
    # [c]: ends before clip c
    best = torch.cat([torch.full_like(best[:, :1], -torch.inf), best.cummax(dim=1).values], dim=1)
    return best[:, starts] + values[1]


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
