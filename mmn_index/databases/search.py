"""One sentence in, ranked moments out of a database, as search/engine.py does it for an index on disk.

The engine draws candidates by the score itself; NMS runs here, on what it drew. Where that leaves fewer hits
than are wanted, more candidates are drawn, in the end all. An answer is called exact only where the engine
looked at every moment and gave the vectors of its candidates: they are scored again in float64, and the worst
hit has to lie above all that any other moment can have.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import checkpoint
from ..errors import QueryError
from ..index.scan import Deadline
from ..index.selection import Condition
from ..models import model_info
from ..moments import nms_lists, temporal_iou
from ..scoring import Embeddings
from ..search import Answer, Hit, SearchOptions
from ..search.ranking import combined
from ..zero_shot import is_zero_shot
from .contract import Ask, Chosen, Database, Drawn, Published, Reader, VersionChangedError

SCANNED = 20_000  # moments that are scanned rather than looked up by their lists
_MOST = 1 << 17  # candidates that are held in memory
_OTHERS = 4  # times as many lists for another score, and for moments that are not to be something else
_WEEK = 7 * 24 * 3600.0  # seconds
_TRIES = 5  # versions that may be published while one search runs


@dataclass(frozen=True)
class Found:
    """An answer from a database, and what people see beside its hits."""

    answer: Answer
    uris: tuple[str | None, ...]  # where the video file of each hit was
    score: str  # name of the score


@dataclass(frozen=True)
class Like:
    """A moment of a video, in seconds, in place of a sentence."""

    video_id: str
    start: float
    end: float
    tube: int | None = None

    def __str__(self) -> str:
        tube = "" if self.tube is None else f"#{self.tube}"
        return f"{self.video_id}@{self.start:g}-{self.end:g}{tube}"


def published_in(database: Database) -> Published:
    """What a database holds now.

    Raises:
        DatabaseError: it cannot be reached, or holds no moments.
    """
    about = None
    with suppress(VersionChangedError), database.reading() as reader:
        about = reader.published
    assert about is not None
    return about


def search_database(
    database: Database,
    queries: Sequence[tuple[str, Embeddings]] | Like,
    options: SearchOptions,
    *,
    conditions: Sequence[Condition] = (),
    score: str | None = None,
    hub: float | None = None,
    against: Embeddings | None = None,
) -> list[Found]:
    """Find moments in a database.

    Args:
        queries: sentences with their unit embeddings, two of (C,); or a moment to find others like it.
        options: `exact` scans everything.
        conditions: on metadata; `options.restriction.where` is not looked at.
        against: of what the moments should not be, two of (C,).

    Returns:
        One answer a query, all of one version of the index.

    Raises:
        QueryError: what is asked for cannot be.
        DatabaseError: the database cannot be reached, or holds no moments.
    """
    chosen = Chosen(options.restriction, tuple(conditions))
    deadline = Deadline(options.timeout, options.spent)
    for _ in range(_TRIES):
        try:
            with database.reading() as reader:
                search = _Search(database.proves, reader, options, chosen, deadline, score, hub)
                if isinstance(queries, Like):
                    return [search.like(queries)]
                return [search.find(sentence, both, against) for sentence, both in queries]
        except VersionChangedError:
            continue
    raise QueryError(f"the database was changed {_TRIES} times while it was searched. Try again.")


def search_reader(reader: Reader, both: Embeddings, options: SearchOptions, chosen: Chosen) -> Found:
    """The answer to one query by what a reader sees, published or not, with the index's default score."""
    return _Search(False, reader, options, chosen, Deadline(options.timeout), None, None).find("", both)


class _Search:
    """Searches of one version of a collection."""

    def __init__(
        self,
        proves: bool,
        reader: Reader,
        options: SearchOptions,
        chosen: Chosen,
        deadline: Deadline,
        score: str | None,
        hub: float | None,
    ) -> None:
        self._proves, self._reader, self._chosen = proves, reader, chosen
        self._deadline = deadline
        self._about: Published = reader.published
        self._score = self._about.with_score(score, hub)
        if self._about.spaces == 1 and self._score.name != "contrastive":
            raise QueryError(
                f"the model of this index has no IoU head, so the only score is 'contrastive', not "
                f"'{self._score.name}'."
            )
        if options.exact and not proves:
            raise QueryError(
                "--exact: this database gives no proof of what it scans. Search the index itself, or "
                "PostgreSQL."
            )
        self._refuse_unknown()
        self._rows, self._videos = self._about.firsts()
        whole = not chosen
        self._total = self._about.moments if whole else reader.count(chosen, self._left())
        self._options = replace(options, k=min(options.k, max(1, self._total)))
        self._scan = options.exact or not self._about.lists or self._total <= SCANNED

    def _refuse_unknown(self) -> None:
        wanted = [*(self._chosen.restriction.videos or ()), *self._chosen.restriction.exclude]
        if unknown := sorted({*wanted} - self._reader.known(wanted)):
            raise QueryError(f"the index has no video '{unknown[0]}'.")

    def find(
        self,
        sentence: str,
        both: Embeddings,
        against: Embeddings | None = None,
        hidden: frozenset[int] = frozenset(),
    ) -> Found:
        """The best moments for a query; `hidden` rows are no answer."""
        opposed = None if against is None else (_plain(against.contrastive), _plain(against.iou))
        ask = Ask(_plain(both.contrastive), _plain(both.iou), self._score, opposed)
        k, scan, rounds = self._options.k, self._scan, 0
        limit = max(1, min(self._total, max(self._about.depth, self._about.depth * k // 10)))
        lists = self._lists(k, plain=against is None)
        while True:
            rounds += 1
            self._deadline.check(0, self._total)
            probes = None if scan else lists
            drawn, bound = self._reader.draw(ask, self._chosen, limit, probes, self._left())
            ranked = _Ranked(self, ask, drawn, hidden)
            kept = ranked.survivors(self._options)
            everything = scan and len(drawn.row) >= self._total
            proven = everything or (bound is not None and len(kept) == k and ranked.log[kept[-1]] > bound)
            if proven or (len(kept) == k and (not scan or bound is None)):
                break
            if limit >= min(self._total, _MOST) and scan:
                break
            if not scan and (limit >= SCANNED or len(drawn.row) < limit):
                scan = True  # the lists hold too little
            else:
                limit = min(4 * limit, self._total)
        recall = 1.0 if everything else self._about.recall
        exact = bool(proven) and self._proves
        answer = Answer(
            sentence,
            tuple(ranked.hit(rank, place) for rank, place in enumerate(kept, 1)),
            exact,
            None if exact else recall,
            len(drawn.row),
            rounds,
            self._total,
        )
        uris = tuple(drawn.uri[int(ranked.order[place])] for place in kept)
        return Found(answer, uris, self._score.name)

    def _left(self) -> float | None:
        """Seconds that the engine may take, as it has a number for them."""
        left = self._deadline.left()
        return None if left is None else min(left, _WEEK)

    def _lists(self, k: int, *, plain: bool) -> int:
        """How many lists to visit: as many as hold what a plain search for ten looks at, and more where other
        moments rank first than those that the number was measured with.
        """
        about = self._about
        wider = -(-k // 10) * about.moments / max(1, self._total)
        if not plain or self._score != about.score:
            wider *= _OTHERS
        return min(about.lists, math.ceil(about.probes * wider))

    def like(self, wanted: Like) -> Found:
        """The best moments like one, but for itself and what NMS would drop beside it."""
        drawn = self._reader.of_video(wanted.video_id)
        if not len(drawn.row):
            raise QueryError(f"the index has no video '{wanted.video_id}'.")
        allowed = np.array([wanted.tube is None or tube == wanted.tube for tube in drawn.tubes])
        if not allowed.any():
            raise QueryError(f"'{wanted.video_id}' has no tube {wanted.tube}.")
        rows = self.numbers(drawn)
        order = np.argsort(rows)
        spans = torch.from_numpy(drawn.spans)
        overlap = temporal_iou(spans, torch.tensor([wanted.start, wanted.end], dtype=torch.float32)).numpy()
        overlap = np.where(allowed, overlap, -1.0)
        best = int(order[overlap[order].argmax()])
        if not overlap[best] > 0:
            raise QueryError(
                f"no moment of '{wanted.video_id}' lies within {wanted.start:g}-{wanted.end:g} s; its "
                f"moments end at {drawn.spans[:, 1].max():g} s."
            )
        beside = (temporal_iou(spans, spans[best]) > self._options.nms).numpy()
        beside &= np.array([tube == drawn.tubes[best] for tube in drawn.tubes])
        beside[best] = True
        assert drawn.vectors is not None
        vector = torch.from_numpy(drawn.vectors[best]).float()
        halves = vector.tensor_split([self._about.joint_dim])
        both = Embeddings(*(half / half.norm().clamp(min=1e-12) if len(half) else half for half in halves))
        return self.find(str(wanted), both, hidden=frozenset(rows[beside].tolist()))

    def numbers(self, drawn: Drawn) -> np.ndarray:
        """Rows of moments as the index numbers them."""
        found: np.ndarray = self._rows[drawn.segment] + drawn.row
        return found

    def videos(self, drawn: Drawn) -> np.ndarray:
        """Numbers of their videos."""
        found: np.ndarray = self._videos[drawn.segment] + drawn.video
        return found

    @property
    def about(self) -> Published:
        """The version that is searched."""
        return self._about


class _Ranked:
    """Candidates of one query, best first; equal scores rank by row."""

    def __init__(self, search: _Search, ask: Ask, drawn: Drawn, hidden: frozenset[int]) -> None:
        self._drawn, self._about = drawn, search.about
        log, shown = self._scores(ask)
        rows = search.numbers(drawn)
        self.order = np.lexsort((rows, -log))
        self.log, self._shown = log[self.order], shown[self.order]
        self._rows, self._videos = rows[self.order], search.videos(drawn)[self.order]
        self._valid = ~np.isin(self._rows, list(hidden))

    def _scores(self, ask: Ask) -> tuple[np.ndarray, np.ndarray]:
        """The logarithmic score that ranks, and the one that is shown; in float64 where there are vectors."""
        drawn, score = self._drawn, ask.score
        if drawn.vectors is None:
            return drawn.log, drawn.log if score.logarithmic else np.exp(drawn.log)
        moments = torch.from_numpy(drawn.vectors).double()
        hubs, dim = torch.from_numpy(drawn.hubs), self._about.joint_dim

        def cosines(contrastive: np.ndarray, iou: np.ndarray) -> tuple[Tensor, Tensor]:
            # Row by row the same order of summation: of equal moments neither may be a rounding above the
            # other.
            c = (moments[:, :dim] * torch.from_numpy(contrastive).double()).sum(dim=1)
            i = (moments[:, dim:] * torch.from_numpy(iou).double()).sum(dim=1)
            return score.corrected(c, hubs), i

        other = None if ask.against is None else torch.stack(cosines(*ask.against))
        log, shown = combined(*cosines(ask.contrastive, ask.iou), other, score)
        return log.numpy(), shown.numpy()

    def survivors(self, options: SearchOptions) -> list[int]:
        """Places of what NMS leaves."""
        if not len(self._rows):
            return []
        tubes = torch.from_numpy(self._rows // self._about.per_window) if self._about.tubes else None
        kept = nms_lists(
            torch.from_numpy(self._drawn.spans[self.order])[None],
            torch.from_numpy(self._videos)[None],
            torch.from_numpy(self._valid)[None],
            options.nms,
            options.k,
            options.per_video,
            None if tubes is None else tubes[None],
        )[0]
        return [place for place in kept.tolist() if place >= 0]

    def hit(self, rank: int, place: int) -> Hit:
        """The hit at a place."""
        number = int(self.order[place])
        start, end = self._drawn.spans[number].tolist()
        return Hit(
            rank,
            self._drawn.video_id[number],
            start,
            end,
            float(self._shown[place]),
            int(self._rows[place]),
            int(self._videos[place]),
            tube=self._drawn.tubes[number],
        )


def _plain(vector: Tensor) -> np.ndarray:
    found: np.ndarray = vector.detach().cpu().float().reshape(-1).numpy()
    return found


def check_model(published: Published, path: Path) -> None:
    """Whether the moments can be searched with a model: the one that embedded them, or another text side of
    it.

    Raises:
        CheckpointError: there is no model.
        QueryError: it is another one; names both.
    """
    about = model_info(path)
    if about.fingerprint == published.fingerprint:
        return
    trained = published.video_side is not None and not is_zero_shot(path)
    if trained and checkpoint.info(path).video_fingerprint == published.video_side:
        return
    raise QueryError(
        f"{path}: is model {about.fingerprint[:16]}, but the moments were embedded by model "
        f"{published.fingerprint[:16]}. Give --model the one that made them, or an index that holds it."
    )
