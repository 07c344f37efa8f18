"""The exact scan: the score of every moment for every query, and the best of them.

Embeddings are float16 on disk, memory-mapped. A stretch of rows is converted to float32 while it is in the
processor's cache, multiplied with all queries, and both cosines become one score in place, so that the scan
costs little more than reading and multiplying. Scores are upper bounds: a float32 sum of C products of two
vectors is off by C roundings of the product of their lengths at most, which are added to both inner products
before they are scored, and a score rises in both. Queries are unit vectors, moments may be longer.

A GPU multiplies the float16 rows as they are and reads them once: a query is two float16 vectors there, its
rounded self and what rounding took off.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import QueryError
from ..scoring import Embeddings, Score

_ROUNDING = 1.25 * 2**-24  # of float32, and a little for float16 vectors that are not quite of length 1
_EVALUATED = 1e-6  # relative error of a score, and of its tangent plane, that are evaluated in float32
_CORRECTING = 8  # so many roundings of numbers up to 1 may be in c - hub h
_CACHED = 1024, 2048  # rows that are converted together on a CPU, for few and for many queries
# rows of which the best are chosen together, for few and for many queries; scores need no new memory
_BLOCK = (
    1 << 16,
    1 << 14,
)
_FEW = 4  # so many queries at most are held up by memory, not by multiplying
_IN_HALF = ("cuda",)  # devices that multiply float16 with float32 sums
_TENSOR_CORES = 4  # their sums are cut off, not rounded, several at once: so many of the usual roundings
# what rounding to float16 takes off a number is this much larger in float16, or it would lose its digits
_REST = 2.0**11
_VALUES_ON_GPU = 1 << 25  # scores that are computed at once there


class Deadline:
    """A moment in time that a search must not pass.

    Args:
        seconds: from the beginning of the first of `spent`, or from now; None never comes.
        spent: what came before, such as "to start", and its seconds.
    """

    def __init__(self, seconds: float | None, spent: Sequence[tuple[str, float]] = ()) -> None:
        self._seconds, self._spent, self._begun = seconds, spent, time.monotonic()
        self._stopped = False

    def stop(self) -> None:
        """Let it pass now; from another thread."""
        self._stopped = True

    def left(self) -> float | None:
        """Seconds until it comes; None never."""
        if self._stopped:
            return 0.0
        if self._seconds is None:
            return None
        spent = time.monotonic() - self._begun + sum(seconds for _, seconds in self._spent)
        return max(0.0, self._seconds - spent)

    def check(self, done: int, total: int) -> None:
        """Raise QueryError if it has passed, saying where the time went and how far the scan was."""
        if self._stopped:
            raise QueryError("the search was told to stop.")
        if self._seconds is None:
            return
        searched = time.monotonic() - self._begun
        if searched + sum(seconds for _, seconds in self._spent) <= self._seconds:
            return
        parts = [f"{seconds:.2f} s {what}" for what, seconds in (*self._spent, ("to search", searched))]
        went = f"{', '.join(parts)}; " if self._spent else ""
        raise QueryError(
            f"no answer within {self._seconds:g} s: {went}{done:,} of {total:,} moments were scanned. Give "
            "it a longer timeout, or search some of the videos only."
        )


@torch.inference_mode()
def best_of_all(
    embeddings: Tensor,
    hubs: Tensor | None,
    runs: list[tuple[int, int]],
    keep: Tensor | None,
    queries: Embeddings,
    score: Score,
    limit: int,
    deadline: Deadline,
    *,
    longest: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The rows with the best scores.

    Args:
        embeddings: (n, 2 C) float16 on any device, or (n, C) of a model with one space.
        hubs: (n,) float32 there, h of every row; may be None where the score has no hub correction.
        runs: stretches [first, last) of rows to scan, in rising order.
        keep: bool, one for every row of all runs in turn; False is no candidate. None keeps all.
        queries: unit vectors, two of (Q, C).
        limit: how many rows a query gets.
        longest: length that no embedding exceeds in either space.

    Returns:
        Upper bounds of the logarithmic score (Q, m) float32 and rows (Q, m) int64, best first, m = min(limit,
        rows); -inf marks what is no candidate.

    Raises:
        QueryError: the deadline passed.
    """
    total, done = sum(last - first for first, last in runs), 0
    found: list[tuple[Tensor, Tensor]] = []
    least: Tensor | None = None  # (Q, 1): values that are not above it are not among the best
    count, on_cpu = len(queries.iou), embeddings.device.type == "cpu"
    size = _BLOCK[count > _FEW] if on_cpu else max(_BLOCK[1], _VALUES_ON_GPU // count)
    sieve = _Sieve.of(queries, score, longest) if on_cpu and count > _FEW else None
    for first, last in blocks(runs, size):
        deadline.check(done, total)
        own = embeddings[first:last], None if hubs is None else hubs[first:last]
        out = None if keep is None else ~keep[done : done + last - first]
        done += last - first
        if least is None or sieve is None:
            values = upper_bounds(*own, queries, score, longest)
            if out is not None:
                values.masked_fill_(out, -torch.inf)
            of_block = values.topk(min(limit, last - first)) if least is None else _above(values, least)
        else:
            of_block = sieve.above(*own, out, least)
        found.append((of_block[0], of_block[1] + first))
        # Chosen from as many again as are wanted, so that a row is looked at a few times only, however many
        # are wanted.
        if sum(value.shape[1] for value, _ in found) >= (limit if least is None else 2 * limit):
            found = [_best(found, limit)]
            if least is None and sieve is not None:
                sieve.touch(embeddings, hubs, found[0][1])
            least = found[0][0][:, -1:]
    if not found:
        return torch.empty(count, 0), torch.empty(count, 0, dtype=torch.int64)
    values, rows = _best(found, limit)
    return values.cpu(), rows.cpu()


class _Sieve:
    """Tells quickly which rows may be above the best so far, and computes the scores of those alone.

    The tangent plane of the score lies nowhere below it and costs an addition, where the score costs a
    logarithm and an exponential. It touches the score where the best rows of the first blocks lie: there few
    rows pass that the score would not let pass. What passes gets its score, so the plane decides neither what
    is found nor any value.
    """

    def __init__(self, queries: Embeddings, score: Score, longest: float) -> None:
        self._queries = Embeddings(*(x.float() for x in queries))
        self._score, self._longest = score, longest
        self._plane = score.tangent(0.0, 0.0)

    @classmethod
    def of(cls, queries: Embeddings, score: Score, longest: float) -> "_Sieve | None":
        """None where no plane is above it: the logarithm of `product` has a floor below a cosine of -1."""
        return None if score.name == "product" and longest > 1.01 else cls(queries, score, longest)

    def touch(self, embeddings: Tensor, hubs: Tensor | None, rows: Tensor) -> None:
        """Lay the plane where (Q, m) rows lie, the best so far of each query, at the mean of the worst."""
        worst = rows[:, -1]
        moments = embeddings[worst].float().tensor_split([self._queries.contrastive.shape[1]], dim=1)
        c, i = ((x * y).sum(dim=1) for x, y in zip(self._queries, moments, strict=True))
        if hubs is not None:
            c = self._score.corrected(c, hubs[worst])
        self._plane = self._score.tangent(float(c.mean()), float(i.mean()))

    def above(
        self, embeddings: Tensor, hubs: Tensor | None, out: Tensor | None, least: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `_above` of the upper bounds of some rows; `out` marks those that are no candidates."""
        hubs, plane = hubs if self._score.hub else None, self._plane
        slack = _slack(self._queries, hubs, self._longest)
        # A score in float32 may be this much above its exact value, and the plane below.
        size = least.abs() + abs(plane.constant) + (plane.contrastive + plane.iou) * (1 + self._longest)
        over = least - plane.constant - (plane.contrastive + plane.iou) * slack - _EVALUATED * (1 + size)
        both = torch.empty(2, len(least), len(embeddings))
        passed = torch.empty(both.shape[1:], dtype=torch.bool)
        for part in _filled(both, embeddings, hubs, self._queries, self._score):
            c, i = both[:, :, part]
            torch.gt((plane.iou * i).add_(c, alpha=plane.contrastive), over, out=passed[:, part])
        if out is not None:
            passed.logical_and_(~out)
        query, place = _true(passed)
        c, i = both[:, query, place]
        values = self._score.log(c.add_(slack), i.add_(slack))
        there = values > least[query, 0]
        return _listed(values[there], query[there], place[there], len(least))


def blocks(runs: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Stretches of rows cut into pieces of at most `size`."""
    for begin, end in runs:
        for first in range(begin, end, size):
            yield first, min(first + size, end)


def _above(values: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """What of (Q, n) values is above (Q, 1) others, with its places: two of (Q, m), filled up with -inf."""
    query, place = _true(values > least)
    return _listed(values[query, place], query, place, len(values))


def _true(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Line and column of what is true in a mask, line by line."""
    if mask.device.type != "cpu":
        line, column = mask.nonzero(as_tuple=True)
        return line, column
    # NumPy takes a twentieth of torch's time where hardly any is.
    flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    line = flat.div(mask.shape[1], rounding_mode="floor")
    return line, flat - line * mask.shape[1]


def _listed(values: Tensor, query: Tensor, place: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Values with their places as one list for each of `count` queries, which come in order: two of (Q, m),
    filled up with -inf.
    """
    counts = torch.bincount(query, minlength=count)
    column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    found = values.new_full((count, int(counts.max())), -torch.inf)
    places = torch.zeros(found.shape, dtype=torch.int64, device=values.device)
    found[query, column], places[query, column] = values, place
    return found, places


def _best(found: list[tuple[Tensor, Tensor]], limit: int) -> tuple[Tensor, Tensor]:
    """The best of several parts, each values and rows (Q, m), best first."""
    values, rows = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    values, place = values.topk(min(limit, values.shape[1]), dim=1)
    return values, rows.gather(1, place)


def upper_bounds(
    embeddings: Tensor, hubs: Tensor | None, queries: Embeddings, score: Score, longest: float = 1.0
) -> Tensor:
    """(Q, n) float32: the logarithmic score of every row, or a little more."""
    hubs = hubs if score.hub else None
    slack, device = _slack(queries, hubs, longest), embeddings.device
    q = Embeddings(*(x.to(device, torch.float32) for x in queries))
    if device.type in _IN_HALF:
        c, i = _cosines_in_half(q, embeddings)
        if hubs is not None:
            c.sub_(hubs, alpha=score.hub)
        return score.log(c.add_(_TENSOR_CORES * slack), i.add_(_TENSOR_CORES * slack))
    both = torch.empty(2, len(q.iou), len(embeddings), device=device)
    for part in _filled(both, embeddings, hubs, q, score):
        c, i = both[:, :, part]
        both[0, :, part] = score.log(c.add_(slack), i.add_(slack))
    return both[0]


def _slack(queries: Embeddings, hubs: Tensor | None, longest: float) -> float:
    """What is added to both inner products, so that rounding takes neither below the exact one."""
    return _ROUNDING * longest * (queries.contrastive.shape[1] + _CORRECTING * (hubs is not None))


def _filled(
    both: Tensor, embeddings: Tensor, hubs: Tensor | None, queries: Embeddings, score: Score
) -> Iterator[slice]:
    """Write both inner products of all rows into (2, Q, n), the first less its hub correction; gives each
    stretch of rows that is done, as soon as it is, while it is in the processor's cache.
    """
    (rows, width), (count, dim) = embeddings.shape, queries.contrastive.shape
    step = _CACHED[count > _FEW] if both.device.type == "cpu" else rows
    aside = torch.empty(min(step, rows), width, device=both.device)
    # For few queries one product with zeros in place of the other space reads the rows once instead of twice.
    joined = block_diagonal(queries) if count <= _FEW else None
    for first in range(0, rows, step):
        part = slice(first, min(first + step, rows))
        wide = aside[: part.stop - first].copy_(embeddings[part])
        if joined is not None:
            both.view(2 * count, rows)[:, part] = joined @ wide.T
            continue
        torch.mm(queries.contrastive, wide[:, :dim].T, out=both[0, :, part])
        torch.mm(queries.iou, wide[:, dim:].T, out=both[1, :, part])
        if hubs is not None:
            both[0, :, part].sub_(hubs[part], alpha=score.hub)
        yield part
    if joined is not None:
        if hubs is not None:
            both[0].sub_(hubs, alpha=score.hub)
        yield slice(0, rows)


def _cosines_in_half(queries: Embeddings, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Both inner products of float32 queries (Q, C) and float16 rows (n, 2 C), two of (Q, n) float32.

    A number less its float16 is at most 2^-11 of it, and that again in float16 is off by 2^-11 of itself:
    2^-22 of the number is left out, a hundredth of what the sum's own roundings may be.
    """
    count, dim = queries.contrastive.shape
    if count <= _FEW:
        both = _product_in_half(block_diagonal(queries), embeddings)
        return both[:count], both[count:]
    c = _product_in_half(queries.contrastive, embeddings[:, :dim])
    if not queries.iou.shape[1]:
        return c, torch.zeros_like(c)
    return c, _product_in_half(queries.iou, embeddings[:, dim:])


def _product_in_half(queries: Tensor, rows: Tensor) -> Tensor:
    """(m, w) float32 times (n, w) float16, (m, n) float32."""
    rounded = queries.half()
    rest = (queries - rounded.float()).mul_(_REST).half()
    both = torch.cat([rounded, rest])
    found = torch.mm(both, rows.T, out_dtype=torch.float32) if rows.is_cuda else both.float() @ rows.T.float()
    return found[: len(queries)].add_(found[len(queries) :], alpha=1 / _REST)


def block_diagonal(queries: Embeddings) -> Tensor:
    """(2 Q, 2 C): the contrastive embeddings with zeros behind them, then the IoU ones with zeros before
    them. Of a model with one space (2 Q, C): the second half is zeros.
    """
    rows, dim = queries.contrastive.shape
    both = queries.contrastive.new_zeros(2 * rows, dim + queries.iou.shape[1])
    both[:rows, :dim], both[rows:, dim:] = queries
    return both
