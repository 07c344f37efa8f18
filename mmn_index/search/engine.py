"""One sentence in, ranked moments of all videos out, with a proof that they are the exact best, or with a
measured recall.

Candidates come with upper bounds of their scores: from the exact scan (index/scan.py), or from a segment's
candidate index by the tangent plane of the score (scoring.py). Exact scores come from the stored float16
embeddings in float64 (ranking.py). Let s be the k-th best score after NMS among the candidates. If s is above
the bound of the last candidate, no moment outside the candidates can reach s, so nothing can enter the list
or suppress a part of it: among all that was scanned the answer is exact, ties included. If not, more
candidates are drawn, in the end all (rounds.py). A candidate index sees only a part of its moments; then the
answer is not called exact, and the recall that was measured when the index was made stands beside it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..errors import QueryError
from ..index import Candidates, MomentIndex, Part
from ..index.scan import Deadline
from ..model import unit
from ..moment_model import MomentModel
from ..moments import temporal_iou
from ..scoring import Embeddings, Score
from .evidence import Rest, calibration_for
from .options import SearchOptions
from .ranking import Ranked, Sought, hits_of, rank
from .results import Answer
from .rounds import Rounds


@torch.inference_mode()
def search(
    index: MomentIndex,
    model: MomentModel,
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
        score: collection, product, contrastive or iou; None takes the index's default.
        hub: how much of the hub correction (negatives.py), from 0 to 1; None takes the index's default.

    Returns:
        One answer per sentence, in their order.

    Raises:
        QueryError: an empty or too long sentence, an unknown score, a restriction that does not fit, or too
            little time.
        CheckpointError, MomentIndexError: embeddings are not finite.
    """
    options = options or SearchOptions()
    deadline = Deadline(options.timeout, options.spent)
    deadline.check(0, index.num_moments)
    chosen = index.manifest.with_score(score, hub)
    against = None if without is None else model.embed_sentences(without)
    queries = model.embed_sentences(sentences)
    return search_embeddings(index, queries, chosen, options, sentences, against, deadline=deadline)


@torch.inference_mode()
def search_like(
    index: MomentIndex,
    video_id: str,
    start: float,
    end: float,
    *,
    tube: int | None = None,
    score: str | None = None,
    hub: float | None = None,
    options: SearchOptions | None = None,
    deadline: Deadline | None = None,
) -> Answer:
    """Find moments like one of the index: that proposal of a video which overlaps [start, end) most; itself
    and what NMS would drop beside it are left out.

    Args:
        tube: number of the tube that is meant; None looks at all of the video.
        deadline: as in `search_embeddings`.

    Raises:
        QueryError: no such video or tube, or no proposal there.
    """
    options = options or SearchOptions()
    rows = _rows_of(index, video_id, tube)
    overlap = temporal_iou(
        torch.from_numpy(index.spans(rows)), torch.tensor([start, end], dtype=torch.float32)
    )
    best = int(overlap.argmax())
    if not overlap[best] > 0:
        duration = index.video(index.number_of(video_id)).duration
        raise QueryError(
            f"no moment of '{video_id}' lies within {start:g}-{end:g} s; the video has {duration:g} s."
        )
    row = rows[best : best + 1]
    both = unit(Embeddings(*(x.float() for x in index.embeddings(row))))
    numbers = index.rows.tubes(rows)
    rows = rows if numbers is None else rows[numbers == numbers[best]]
    own, itself = torch.from_numpy(index.spans(rows)), torch.from_numpy(index.spans(row))
    beside = set(rows[(temporal_iou(own, itself) > options.nms).numpy()].tolist()) | set(row.tolist())
    chosen = index.manifest.with_score(score, hub)
    query = f"{video_id}@{start:g}-{end:g}" + ("" if tube is None else f"#{tube}")
    hidden = frozenset(beside)
    return search_embeddings(index, both, chosen, options, [query], hidden=hidden, deadline=deadline)[0]


def _rows_of(index: MomentIndex, video_id: str, tube: int | None) -> np.ndarray:
    """The rows of a video, or of one of its tubes."""
    rows = index.rows_of(index.number_of(video_id))
    if tube is None:
        return rows
    numbers = index.rows.tubes(rows)
    if numbers is None:
        raise QueryError(f"{index.root}: has no tubes: leave out '#{tube}' of the moment of '{video_id}'.")
    if not (numbers == tube).any():
        there = ", ".join(map(str, np.unique(numbers).tolist()))
        raise QueryError(f"'{video_id}' has no tube {tube}; its tubes are {there}.")
    found: np.ndarray = rows[numbers == tube]
    return found


@torch.inference_mode()
def search_embeddings(
    index: MomentIndex,
    queries: Embeddings,
    score: Score,
    options: SearchOptions,
    sentences: Sequence[str],
    against: Embeddings | None = None,
    hidden: frozenset[int] = frozenset(),
    deadline: Deadline | None = None,
) -> list[Answer]:
    """As `search`, with unit query embeddings, two of (Q, C).

    Args:
        against: embeddings of what the moments should not be, two of (Q, C).
        hidden: rows that are no answer.
        deadline: of a search that began before; None counts from now.
    """
    index.check_score(score)
    sought = Sought(Embeddings(*(x.cpu().float() for x in queries)), score, against, hidden)
    deadline = deadline or Deadline(options.timeout, options.spent)
    parts = index.parts(options.restriction)
    options = replace(options, k=_most(parts, options))
    answers = _answers(index, parts, sought, options, sentences, deadline)
    # Lists that hold removed videos, or hardly anything, can be visited in vain.
    short = [
        number
        for number, answer in enumerate(answers)
        if answer.recall is not None and answer.refused is None and len(answer.hits) < options.k
    ]
    if short:
        texts, everything = [sentences[number] for number in short], replace(options, exact=True)
        again = _answers(index, parts, sought.of(short), everything, texts, deadline)
        for number, answer in zip(short, again, strict=True):
            answers[number] = answer
    return answers


def _answers(
    index: MomentIndex,
    parts: Sequence[Part],
    sought: Sought,
    options: SearchOptions,
    sentences: Sequence[str],
    deadline: Deadline,
) -> list[Answer]:
    """Draw candidates and rank them, until every query's answer is proven or cannot be."""
    calibration = calibration_for(index, sought, options)
    total = sum(part.count for part in parts)
    wants_evidence = options.evidence or calibration is not None
    rest = Rest.of(index, options.restriction, parts) if wants_evidence else None
    scan = options.exact or bool(options.restriction)
    rounds = Rounds.first(index, len(sentences), options.k, total, scan=scan)
    answers: dict[int, Answer] = {}
    while rounds.open:
        for limit, group in rounds.groups():
            mine, planes = sought.of(group), rounds.planes(sought.score, group)
            found = index.candidates(
                mine.queries, sought.score, planes, limit, parts, scan=scan, deadline=deadline
            )
            ranked = rank(index, mine, found, options, deadline)
            settled = rounds.settle(group, ranked, found, limit)
            own = {
                place: replace(answer, query=sentences[group[place]], rounds=int(rounds.drawn[group[place]]))
                for place, answer in _settled(index, ranked, found, mine, settled).items()
            }
            if rest is not None:
                own = rest.judge(own, ranked, mine.of(list(own)), calibration, options.min_confidence)
            answers |= {group[place]: answer for place, answer in own.items()}
    return [answers[number] for number in range(len(sentences))]


def _most(parts: Sequence[Part], options: SearchOptions) -> int:
    """How many hits there can be: whoever waited for more would look through the whole index."""
    most = sum(part.count for part in parts)
    if options.per_video is not None:
        most = min(most, options.per_video * sum(part.videos for part in parts))
    return min(options.k, max(1, most))


def _settled(
    index: MomentIndex, ranked: Ranked, found: Candidates, sought: Sought, settled: dict[int, bool]
) -> dict[int, Answer]:
    """The answers of those queries of a group that no further round could better, by their place in it.

    Args:
        settled: whether each of them is exact.
    """
    places = list(settled)
    hits = hits_of(index, ranked, places, sought.of(places))
    return {
        place: Answer(
            "",
            own,
            exact,
            None if exact else found.recall,
            int(ranked.scored[place]),
            0,
            found.total,
            searched=1 - found.missing / max(1, found.total),
        )
        for (place, exact), own in zip(settled.items(), hits, strict=True)
    }
