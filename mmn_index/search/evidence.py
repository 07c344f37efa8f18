"""What an answer's confidences are computed from (confidence.py), and the confidences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..confidence import VIDEOS, Calibration, log_means
from ..errors import QueryError
from ..index import MomentIndex, Part, Restriction
from ..scoring import Embeddings, cosines
from .options import SearchOptions
from .ranking import Ranked, Sought
from .results import Answer, Evidence

_SAMPLE = 1 << 12  # moments that stand for the rest of a restricted search


def calibration_for(index: MomentIndex, sought: Sought, options: SearchOptions) -> Calibration | None:
    """What confidences of a search are computed by; None where the index has none that fits it.

    Raises:
        QueryError: there is none, and hits below a confidence are to be left out.
    """
    plain = sought.against is None and not sought.hidden
    applies = options.calibrated and sought.score == index.manifest.score and plain
    calibration = index.manifest.calibration if applies else None
    if options.min_confidence is not None and calibration is None:
        how = "Run `mmn-index calibrate` first, or leave out --min-confidence."
        if index.manifest.calibration is not None:
            how = (
                "They are for one plain sentence, ranked by the index's own model and score: leave out "
                "--score, --hub, --model, --not and --like, or leave out --min-confidence."
            )
        raise QueryError(f"{index.root}: has no confidences for this search. {how}")
    return calibration


@dataclass(frozen=True)
class Rest:
    """A random sample of what could have been found, which stands for all that is not among the candidates of
    a query.
    """

    index: MomentIndex
    rows: np.ndarray  # (s,)
    _moments: Embeddings  # two of (s, C) float32
    hubs: Tensor  # (s,)
    weights: Tensor  # (s,) float64: how many moments each stands for

    @classmethod
    def of(cls, index: MomentIndex, restriction: Restriction, parts: Sequence[Part]) -> "Rest":
        """Of the whole index the sample that it keeps; of a part of it, one that is drawn now."""
        if not restriction:
            rows, stored, weights = index.background
            vectors = torch.from_numpy(stored)
        else:
            rows = index.rows_in(parts)
            count = len(rows)
            if count > _SAMPLE:
                rows = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
            vectors, weights = index.vectors(rows), np.full(len(rows), count / max(1, len(rows)))
        halves = vectors.float().tensor_split([index.manifest.joint_dim], dim=1)
        return cls(index, rows, Embeddings(*halves), index.hubs(rows), torch.from_numpy(weights))

    def judge(
        self,
        answers: Mapping[int, Answer],
        ranked: Ranked,
        sought: Sought,
        calibration: Calibration | None,
        least: float | None,
    ) -> dict[int, Answer]:
        """Answers to some queries of a group, by their place in it, with their evidence, and as confident as
        they have to be.

        Args:
            ranked: the candidates of the whole group.
            sought: what these queries look for, in the order of `answers`.
            calibration: what confidences are computed by; None leaves the hits without.
            least: hits that are less sure are left out.
        """
        if not answers:
            return {}
        places, own = list(answers), list(answers.values())
        known, log = ranked.rows[places].numpy(), ranked.log[places].double()
        totals, errors = self._totals(known, log, ranked.bound[places], own[0].moments, sought)
        counts = [len(answer.hits) for answer in own]
        of = torch.arange(len(own)).repeat_interleave(torch.tensor(counts))
        shown = torch.tensor([hit.score for answer in own for hit in answer.hits], dtype=torch.float64)
        logs = shown if sought.score.logarithmic else shown.log()
        described = self._described(own, known, (log > -torch.inf).numpy(), sought.queries.contrastive, of)
        quantities = torch.stack([logs, totals[of], *described], dim=1).split_with_sizes(counts)
        sure = [None] * len(own) if calibration is None else [calibration(part) for part in quantities]
        return {
            place: _confident(replace(answer, evidence=Evidence(part, error)), confidences, least)
            for place, answer, part, error, confidences in zip(
                places, own, quantities, errors.tolist(), sure, strict=True
            )
        }

    def _totals(
        self, known: np.ndarray, log: Tensor, bound: np.ndarray, moments: int, sought: Sought
    ) -> tuple[Tensor, Tensor]:
        """The log mean of exp f of each query over all moments, and how far at most it lies off.

        Args:
            known, log: (Q, n) rows and f of the candidates; -inf is none.
            bound: (Q,) what no other moment's f is above.
            moments: how many could have been found.
        """
        c, i = cosines(sought.queries, self._moments)
        sample = sought.score.log(sought.score.corrected(c, self.hubs), i).double()
        scored = log > -torch.inf
        others = torch.from_numpy(~_among(self.rows, known, scored.numpy()))
        others &= (scored.sum(dim=1) < moments)[:, None]
        # What a candidate index did not visit has no bound: the sample says how good it may be.
        last = pad(log.masked_fill(~scored, torch.inf), (0, 1), value=torch.inf).amin(dim=1)
        unknown = sample.masked_fill(~others, -torch.inf)
        above = torch.cat([last[:, None], torch.from_numpy(bound)[:, None], unknown], dim=1)
        highest = above.masked_fill(~above.isfinite(), -torch.inf).amax(dim=1)
        return log_means(log, moments, sample, others, self.weights, highest)

    def _described(
        self, answers: Sequence[Answer], known: np.ndarray, scored: np.ndarray, queries: Tensor, of: Tensor
    ) -> list[Tensor]:
        """Agreement, consensus, rival and familiarity of all hits of some answers.

        Args:
            known: (Q, n) rows that were scored, best first.
            scored: (Q, n) bool; False is no row.
            queries: (Q, C), of the contrastive space.
            of: (hits,) the answer that each hit belongs to.
        """
        bank = self.index.bank
        if bank is None or not len(of):
            return [torch.zeros(len(of), dtype=torch.float64)] * 4
        hits = np.array([hit.row for answer in answers for hit in answer.hits])
        best = [_first_of_videos(self.index, rows[there]) for rows, there in zip(known, scored, strict=True)]
        counts = torch.tensor([len(rows) for rows in best])
        both = torch.cat([of, torch.arange(len(best)).repeat_interleave(counts)])
        rivals, agreements, familiar = bank.describe(
            self.index.vectors(np.concatenate([hits, *best])), queries, both
        )
        consensus, rival = (
            torch.stack([part.mean() for part in values[len(of) :].split_with_sizes(counts.tolist())])
            for values in (agreements, rivals)
        )
        return [agreements[: len(of)], consensus[of], rival[of], familiar[of]]


def _among(rows: np.ndarray, known: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """(Q, s) bool: which of (s,) rising rows are among the (Q, n) known ones of each query that were
    scored.
    """
    found = np.zeros((len(known), len(rows)), dtype=bool)
    if len(rows):
        place = np.searchsorted(rows, known).clip(max=len(rows) - 1)
        query, entry = ((rows[place] == known) & scored).nonzero()
        found[query, place[query, entry]] = True
    return found


def _first_of_videos(index: MomentIndex, rows: np.ndarray) -> np.ndarray:
    """Of rows, best first, the best one of each of the VIDEOS best videos."""
    first = np.sort(np.unique(index.videos_of(rows), return_index=True)[1])[:VIDEOS]
    best: np.ndarray = rows[first]
    return best


def _confident(answer: Answer, confidences: Tensor | None, least: float | None) -> Answer:
    """An answer with the confidences of its hits, without those below `least`."""
    if confidences is None:
        return answer
    hits = list(zip(answer.hits, confidences.tolist(), strict=True))
    kept = [(hit, sure) for hit, sure in hits if least is None or sure >= least]
    refused = max((sure for _, sure in hits if least is not None and sure < least), default=None)
    confident = tuple(replace(hit, rank=rank, confidence=sure) for rank, (hit, sure) in enumerate(kept, 1))
    return replace(answer, hits=confident, refused=refused)
