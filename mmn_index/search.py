"""One sentence in, ranked moments of all videos out, with a proof that they are the exact best, or with a
measured recall.

Candidates come with upper bounds of their scores: from the exact scan (index/scan.py), or from a segment's
    candidate index by the tangent plane of the score (scoring.py). Exact scores come from the stored float16
    embeddings in float64. Let s be the k-th best score after NMS among the candidates. If s is above the
    bound of the last candidate, no moment outside the candidates can reach s, so nothing can enter the list
    or suppress a part of it: among all that was scanned the answer is exact, ties included. If not, more
    candidates are drawn, in the end all. A candidate index sees only a part of its moments; then the answer
    is not called exact, and the recall that was measured when the index was made stands beside it.

A second sentence can be held against the first: the score is then f(query) + log(p / (p + p')), p = exp
    f(query) and p' = exp f(other): the score, times the share of the query among the two. It is never above
    f(query), so the same bounds hold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .confidence import VIDEOS, Calibration, log_mean
from .errors import MomentIndexError, QueryError
from .index import Candidates, MomentIndex, Part, Restriction
from .index.scan import Deadline, block_diagonal
from .model import MMN
from .moments import nms_lists, temporal_iou
from .proposals import ProposalGrid
from .scoring import Embeddings, Score

_ROUNDING = 2e-6  # relative error of a score that is evaluated in float32
_FIRST_POINT = (0.5, 0.2)  # where hits usually lie; only speed depends on it
_DEPTH = 512  # candidates of the first round for ten hits; NMS drops most of them
_MOST = 1 << 13  # candidates that are asked of a candidate index
_AT_ONCE = 1 << 12  # embeddings that are scored together
_SAMPLE = 1 << 12  # moments that stand for the rest of a restricted search


@dataclass(frozen=True)
class Hit:
    """One moment of an answer; seconds."""

    rank: int
    video_id: str
    start: float
    end: float
    score: float
    row: int  # in the index
    video: int  # its number in the index
    # probability that it is right, where the index was calibrated for the score
    confidence: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What the confidences of an answer are computed from."""

    quantities: Tensor  # (hits, confidence.QUANTITIES) float64
    error: float  # how far at most `total` is off, at 95 %; 0 where every moment was scored


@dataclass(frozen=True)
class Answer:
    """What a search found for one query."""

    query: str
    hits: tuple[Hit, ...]
    exact: bool  # proven: a scan of everything gives the same list
    recall: float | None  # where it is not: measured share of the exact top 10 that the candidate index finds
    candidates: int  # moments whose exact score was computed in the last round
    rounds: int
    moments: int  # that could have been found
    evidence: Evidence | None = None  # where it was asked for, or the index is calibrated
    refused: float | None = None  # highest confidence of what was left out because of `min_confidence`


@dataclass(frozen=True)
class SearchOptions:
    """How an answer is put together.

    Raises:
        QueryError: a value out of range.
    """

    k: int = 10
    nms: float = 0.5  # temporal IoU above which the worse of two moments of a video is dropped; 1 drops none
    per_video: int | None = None  # at most so many moments of a video
    restriction: Restriction = field(default_factory=Restriction)
    exact: bool = False  # scan everything, candidate index or not
    timeout: float | None = None  # seconds
    evidence: bool = False  # measure what a confidence is computed from
    min_confidence: float | None = None  # leave out hits that are less sure
    # False: the sentences are embedded by another text side than the one that was calibrated
    calibrated: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise QueryError(f"k is {self.k}, expected at least 1.")
        if not 0 <= self.nms <= 1:
            raise QueryError(
                f"the NMS threshold is {self.nms}, expected a temporal IoU from 0 to 1 (1 switches NMS off)."
            )
        if self.per_video is not None and self.per_video < 1:
            raise QueryError(f"the number of moments a video is {self.per_video}, expected at least 1.")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise QueryError(
                f"the least confidence is {self.min_confidence:g}, expected a probability from 0 to 1."
            )
        if self.timeout is not None and not self.timeout > 0:
            raise QueryError(f"the timeout is {self.timeout} seconds, expected more than 0.")


@torch.inference_mode()
def search(
    index: MomentIndex,
    model: MMN,
    sentences: Sequence[str],
    *,
    without: Sequence[str] | None = None,
    score: str | None = None,
    hub: float | None = None,
    options: SearchOptions | None = None,
) -> list[Answer]:
    """Find the moments that sentences describe.

    Args:
        model: the one that built the index (see MomentIndex.check_model).
        without: what the moments should not be, a sentence for each of `sentences`.
        score: one of scoring.SCORES; None takes the index's default.
        hub: how much of the hub correction (negatives.py), from 0 to 1; None takes the index's default.

    Returns:
        One answer a sentence, in order.

    Raises:
        QueryError: an empty or too long sentence, an unknown score, a restriction that does not fit, or too
            little time. CheckpointError, MomentIndexError: embeddings are not finite.
    """
    chosen = index.manifest.with_score(score, hub)
    against = None if without is None else model.embed_sentences(without)
    return search_embeddings(
        index, model.embed_sentences(sentences), chosen, options or SearchOptions(), sentences, against
    )


@torch.inference_mode()
def search_like(
    index: MomentIndex,
    video_id: str,
    start: float,
    end: float,
    *,
    score: str | None = None,
    hub: float | None = None,
    options: SearchOptions | None = None,
) -> Answer:
    """Find moments like one of the index: that proposal of a video which overlaps [start, end) most; itself
    and what NMS would drop beside it are left out.

    Raises:
        QueryError: no such video, or no proposal there.
    """
    options = options or SearchOptions()
    rows = index.rows_of(index.number_of(video_id))
    overlap = temporal_iou(
        torch.from_numpy(index.spans(rows)), torch.tensor([start, end], dtype=torch.float32)
    )
    best = int(overlap.argmax())
    if not overlap[best] > 0:
        duration = index.video(index.number_of(video_id)).duration
        raise QueryError(
            f"no moment of '{video_id}' lies within {start:g}-{end:g} s; the video has {duration:g} s."
        )
    both = Embeddings(*(x[best][None].float() for x in index.embeddings(rows)))
    own = torch.from_numpy(index.spans(rows))
    beside = set(rows[(temporal_iou(own, own[best]) > options.nms).numpy()].tolist()) | {int(rows[best])}
    chosen = index.manifest.with_score(score, hub)
    query = f"{video_id}@{start:g}-{end:g}"
    return search_embeddings(index, both, chosen, options, [query], hidden=beside)[0]


@torch.inference_mode()
def search_embeddings(
    index: MomentIndex,
    queries: Embeddings,
    score: Score,
    options: SearchOptions,
    sentences: Sequence[str],
    against: Embeddings | None = None,
    hidden: set[int] = frozenset(),  # type: ignore[assignment]
) -> list[Answer]:
    """As `search`, with unit query embeddings, two of (Q, C).

    Args:
        against: embeddings of what the moments should not be, two of (Q, C).
        hidden: rows that are no answer.
    """
    index.check_score(score)
    applies = options.calibrated and score == index.manifest.score and against is None and not hidden
    calibration = index.manifest.calibration if applies else None
    if options.min_confidence is not None and calibration is None:
        raise QueryError(
            f"{index.root}: has no confidences for this search. They are of one sentence by the index's own "
            "score, once `mmn-index calibrate` has fitted them; leave out --min-confidence, --score, "
            "--hub, --not, --like and --model."
        )
    queries = Embeddings(*(x.cpu().float() for x in queries))
    parts, deadline = index.parts(options.restriction), Deadline(options.timeout)
    scan = options.exact or bool(options.restriction)
    total = sum(part.count for part in parts)
    options = replace(options, k=min(options.k, max(1, total)))
    depths = [
        segment.vectors.about.depth for segment in index.segments if segment.vectors is not None and not scan
    ]
    first = max(depths, default=_DEPTH)
    limits = np.full(len(sentences), min(total, max(first, first * options.k // 10)))
    points = np.tile(_FIRST_POINT, (len(sentences), 1))
    rounds = np.zeros(len(sentences), dtype=int)
    rest = (
        _Rest.of(index, options.restriction, parts) if options.evidence or calibration is not None else None
    )
    answers: list[Answer | None] = [None] * len(sentences)
    while open_queries := [number for number, answer in enumerate(answers) if answer is None]:
        # Queries that want equally many candidates share one pass over the index.
        for limit in sorted(set(limits[open_queries].tolist())):
            deadline.check(0, total)
            group = [number for number in open_queries if limits[number] == limit]
            mine = _of(queries, group)
            plane = cache(score.tangent)  # at first all have the same
            planes = [plane(*points[number]) for number in group]
            other = None if against is None else _of(against, group)
            found = index.candidates(mine, score, planes, max(limit, 1), parts, scan=scan, deadline=deadline)
            ranked = _rank(index, mine, other, found, score, options, hidden)
            rounds[group] += 1
            done = []
            for place, number in enumerate(group):
                whole = len(ranked.kept[place]) == options.k
                proven = ranked.scored[place] == total or (whole and ranked.last[place] > ranked.bound[place])
                moved = rounds[number] > 1
                if proven or (found.recall is not None and moved and limit >= min(_MOST, total)):
                    done.append((place, bool(proven) and ranked.proves))
                    continue
                if found.recall is None or moved or not whole:
                    limits[number] = min(4 * limit, total if found.recall is None else min(total, _MOST))
                if whole:
                    points[number] = ranked.point[place]
            places = [place for place, _ in done]
            hits = _hits(
                index, ranked, places, _of(mine, places), None if other is None else _of(other, places), score
            )
            for (place, exact), own in zip(done, hits, strict=True):
                number, recall = group[place], None if exact else found.recall
                candidates = int(ranked.scored[place])
                answer = Answer(sentences[number], own, exact, recall, candidates, int(rounds[number]), total)
                if rest is not None:
                    answer = rest.judge(
                        answer, ranked, place, _of(mine, [place]), score, calibration, options.min_confidence
                    )
                answers[number] = answer
    found_all = [answer for answer in answers if answer is not None]
    # Lists that hold removed videos, or hardly anything, can be visited in vain.
    short = [
        number
        for number, answer in enumerate(found_all)
        if not answer.exact and answer.refused is None and len(answer.hits) < options.k
    ]
    if short:
        other = None if against is None else _of(against, short)
        texts, everything = [sentences[number] for number in short], replace(options, exact=True)
        again = search_embeddings(index, _of(queries, short), score, everything, texts, other, hidden)
        for number, answer in zip(short, again, strict=True):
            found_all[number] = answer
    return found_all


@dataclass
class _Ranked:
    """Candidates of some queries in the order of their exact scores."""

    rows: Tensor  # (Q, n), best first
    log: Tensor  # (Q, n) logarithmic scores
    spans: Tensor  # (Q, n, 2)
    kept: list[list[int]]  # positions of what NMS left, best first
    scored: np.ndarray  # (Q,) how many candidates there were
    last: list[float]  # logarithmic score of the last of `kept`
    bound: np.ndarray  # (Q,) what no other moment's logarithmic score is above
    point: list[tuple[float, float]]  # both cosines of the last of `kept`
    proves: bool  # whether all that is not among the candidates was scanned


def _rank(
    index: MomentIndex,
    queries: Embeddings,
    against: Embeddings | None,
    found: Candidates,
    score: Score,
    options: SearchOptions,
    hidden: set[int],
) -> _Ranked:
    rows = np.sort(found.rows, axis=1)  # equal scores rank by row
    valid = torch.from_numpy(rows >= 0)
    known = rows.clip(min=0)
    # What a candidate index left out is a larger error than float32; the hits' scores are float64 in either
    # case.
    proves = found.recall is None or bool((rows >= 0).sum(axis=1).min() == found.total)
    precision = torch.float64 if proves else torch.float32
    c, i = _cosines(index, known, queries, score, precision)
    other = None if against is None else torch.stack(_cosines(index, known, against, score, precision))
    log, _ = _scores(c, i, other, score)
    log = log.masked_fill(~valid, -torch.inf)
    order = torch.argsort(-log, dim=1, stable=True)
    if not proves:  # half of them are there for the codes' errors in ranking
        order = order[:, : (order.shape[1] + 1) // 2]
    log, c, i, valid = (x.gather(1, order) for x in (log, c, i, valid))
    ranked = torch.from_numpy(known).gather(1, order)
    spans = torch.from_numpy(index.spans(ranked.numpy()))
    scored = (rows >= 0).sum(axis=1)
    if found.recall is None and rows.shape[1] >= found.total > (least := int(scored.min())):
        raise MomentIndexError(
            f"{index.root}: of {found.total:,} moments only {least:,} have embeddings that are numbers. "
            "`mmn-index verify` says what is damaged; build the index again."
        )
    if hidden:
        valid &= torch.from_numpy(~np.isin(ranked.numpy(), list(hidden)))
    videos = torch.from_numpy(index.videos_of(ranked.numpy()))
    positions = nms_lists(spans, videos, valid, options.nms, options.k, options.per_video)
    kept = [[position for position in line if position >= 0] for line in positions.tolist()]
    ends = [line[-1] if line else 0 for line in kept]
    if not found.values.shape[1]:
        none = [0.0] * len(kept)
        return _Ranked(
            ranked, log, spans, kept, scored, none, np.array(none), [_FIRST_POINT] * len(kept), True
        )
    bound = found.values[:, -1].astype(np.float64)
    bound[np.isfinite(bound)] += _ROUNDING * (1 + np.abs(bound[np.isfinite(bound)]))
    last = [float(log[q, n]) for q, n in enumerate(ends)]
    point = [(float(c[q, n]), float(i[q, n])) for q, n in enumerate(ends)]
    return _Ranked(ranked, log, spans, kept, scored, last, bound, point, proves)


@dataclass(frozen=True)
class _Rest:
    """A random sample of what could have been found, which stands for all that is not among the candidates of
    a query.
    """

    index: MomentIndex
    rows: np.ndarray  # (s,)
    vectors: Tensor  # (s, 2 C) float32
    hubs: Tensor  # (s,)
    weights: Tensor  # (s,) float64: how many moments each stands for

    @classmethod
    def of(cls, index: MomentIndex, restriction: Restriction, parts: Sequence[Part]) -> "_Rest":
        """Of the whole index the sample that it keeps; of a part of it, one that is drawn now."""
        if not restriction:
            rows, stored, weights = index.background()
            vectors = torch.from_numpy(stored)
        else:
            rows = index.rows_in(parts)
            count = len(rows)
            if count > _SAMPLE:
                rows = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
            vectors, weights = index.vectors(rows), np.full(len(rows), count / max(1, len(rows)))
        return cls(index, rows, vectors.float(), index.hubs(rows), torch.from_numpy(weights))

    def judge(
        self,
        answer: Answer,
        ranked: _Ranked,
        place: int,
        query: Embeddings,
        score: Score,
        calibration: Calibration | None,
        least: float | None,
    ) -> Answer:
        """The answer to a query, given by its embeddings, two of (1, C), with its evidence, and as confident
        as it has to be.
        """
        known, log = ranked.rows[place].numpy(), ranked.log[place]
        known, log = known[log > -torch.inf], log[log > -torch.inf]
        others = torch.from_numpy(~np.isin(self.rows, known))
        c, i = (self.vectors @ block_diagonal(query).T).T
        sample = score.log(score.corrected(c, self.hubs), i)[others]
        if len(known) == answer.moments:  # all there is
            sample, others = sample[:0], torch.zeros(len(self.rows), dtype=torch.bool)
        # What a candidate index did not visit has no bound: the sample says how good it may be.
        above = [*log[-1:].tolist(), float(ranked.bound[place]), *sample.tolist()]
        highest = max((value for value in above if math.isfinite(value)), default=-math.inf)
        total, error = log_mean(log, answer.moments, sample, self.weights[others], highest)
        shown = torch.tensor([hit.score for hit in answer.hits], dtype=torch.float64)
        logs = shown if score.logarithmic else shown.log()
        described = self._described(answer, known, query.contrastive[0])
        quantities = torch.stack([logs, torch.full_like(logs, total), *described], dim=1)
        answer = replace(answer, evidence=Evidence(quantities, error))
        if calibration is None:
            return answer
        hits = list(zip(answer.hits, calibration(quantities).tolist(), strict=True))
        kept = [(hit, sure) for hit, sure in hits if least is None or sure >= least]
        refused = max((sure for _, sure in hits if least is not None and sure < least), default=None)
        confident = tuple(
            replace(hit, rank=rank, confidence=sure) for rank, (hit, sure) in enumerate(kept, 1)
        )
        return replace(answer, hits=confident, refused=refused)

    def _described(self, answer: Answer, known: np.ndarray, query: Tensor) -> list[Tensor]:
        """Agreement, consensus, rival and familiarity of an answer's hits, given the rows that were scored,
        best first.
        """
        count, bank = len(answer.hits), self.index.bank
        if bank is None or not count:
            return [torch.zeros(count, dtype=torch.float64)] * 4
        first = np.sort(np.unique(self.index.videos_of(known), return_index=True)[1])[:VIDEOS]
        rows = np.concatenate([[hit.row for hit in answer.hits], known[first]])
        rivals, agreements = bank.describe(self.index.vectors(rows), query)
        for_all = (
            agreements[count:].mean(),
            rivals[count:].mean(),
            torch.tensor(bank.familiarity(query), dtype=torch.float64),
        )
        return [agreements[:count], *(value.expand(count) for value in for_all)]


def _scores(c: Tensor, i: Tensor, other: Tensor | None, score: Score) -> tuple[Tensor, Tensor]:
    """The logarithmic score and the one that is shown; `other` has both cosines with what the moments should
    not be.
    """
    log, shown = score.log(c, i), score(c, i)
    if other is None:
        return log, shown
    share = logsigmoid(log - score.log(*other))
    return log + share, log + share if score.logarithmic else shown * share.exp()


def _hits(
    index: MomentIndex,
    ranked: _Ranked,
    places: list[int],
    queries: Embeddings,
    against: Embeddings | None,
    score: Score,
) -> list[tuple[Hit, ...]]:
    """The hits of some of the ranked queries, whose embeddings are two of (Q, C), scored in float64."""
    counts = [len(ranked.kept[place]) for place in places]
    rows = np.zeros((len(places), max(counts, default=0)), dtype=np.int64)
    for line, place in zip(rows, places, strict=True):
        line[: len(ranked.kept[place])] = ranked.rows[place, ranked.kept[place]].numpy()
    moments = index.vectors(rows).double().view(*rows.shape, 2, index.manifest.joint_dim)

    hubs = index.hubs(rows)

    def cosines(sentences: Embeddings) -> Tensor:
        c, i = (moments * torch.stack(list(sentences), dim=1).double()[:, None]).sum(dim=3).permute(2, 0, 1)
        return torch.stack([score.corrected(c, hubs), i])

    other = None if against is None else cosines(against)
    c, i = cosines(queries)
    shown = _scores(c, i, other, score)[1].tolist()
    spans, videos = index.spans(rows).tolist(), index.videos_of(rows).tolist()
    hits = []
    for number, count in enumerate(counts):
        # Ranked in float64 already, or to be: equal scores of a ranking may differ by a rounding here.
        best = (
            range(count)
            if ranked.proves
            else sorted(range(count), key=lambda n, scores=shown[number]: -scores[n])
        )  # type: ignore[misc]
        own = []
        for rank, n in enumerate(best, 1):
            video, (start, end) = videos[number][n], spans[number][n]
            own.append(
                Hit(rank, index.video_id(video), start, end, shown[number][n], int(rows[number, n]), video)
            )
        hits.append(tuple(own))
    return hits


def _of(embeddings: Embeddings, numbers: list[int]) -> Embeddings:
    if len(numbers) == len(embeddings.iou):  # all of them, in their order
        return embeddings
    return Embeddings(*(x[numbers] for x in embeddings))


def _cosines(
    index: MomentIndex, rows: np.ndarray, queries: Embeddings, score: Score, precision: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Both cosines of each query with its own rows, the first with the score's hub correction, (Q, n) -> two
    of (Q, n).
    """
    count, dim = rows.shape[1], index.manifest.joint_dim
    found = torch.empty(2, *rows.shape, dtype=precision)
    aside = torch.empty(min(count, _AT_ONCE), 2, dim, dtype=precision)
    for number, both in enumerate(
        torch.stack(list(queries), dim=1).to(precision)
    ):  # a query's rows stay in the processor's cache
        for first in range(0, count, _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            moments = aside[: min(_AT_ONCE, count - first)]
            moments.view(-1, 2 * dim).copy_(index.vectors(rows[number, part]))
            if precision == torch.float32:
                for space in (0, 1):
                    torch.mv(moments[:, space], both[space], out=found[space, number, part])
            else:
                # Row by row the same order of summation: of equal moments neither may be a rounding above the
                # other.
                found[:, number, part] = torch.sum(moments * both, dim=2).T
    return score.corrected(found[0], index.hubs(rows)), found[1]


def score_map(
    index: MomentIndex, grid: ProposalGrid, query: Embeddings, video: int, score: Score
) -> np.ndarray:
    """A sentence's score of every proposal of one video, as its 2D map.

    Args:
        query: unit embeddings of the sentence, two of (1, C).
        video: its number in the index.

    Returns:
        (N, N) float64, nan on cells that are no proposal; row = first clip, column = last clip.
    """
    cells = np.full((grid.num_clips, grid.num_clips), np.nan)
    c, i = _cosines(
        index, index.rows_of(video)[None], Embeddings(*(x.cpu() for x in query)), score, torch.float64
    )
    cells[tuple(grid.cells.T.numpy())] = score(c[0], i[0]).numpy()
    return cells
