"""What an answer's confidences are computed from (confidence.py), and the confidences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..confidence import VIDEOS, Calibration, log_mean
from ..errors import QueryError
from ..index import MomentIndex, Part, Restriction
from ..index.scan import block_diagonal
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
        raise QueryError(
            f"{index.root}: has no confidences for this search. Run `mmn-index calibrate` first. Confidences "
            "are for one sentence, ranked by the index's own model and score: search without another score, "
            "hub or model, without `not` and `like`, or without a least confidence."
        )
    return calibration


@dataclass(frozen=True)
class Rest:
    """A random sample of what could have been found, which stands for all that is not among the candidates of
    a query.
    """

    index: MomentIndex
    rows: np.ndarray  # (s,)
    vectors: Tensor  # (s, 2 C) float32
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
        return cls(index, rows, vectors.float(), index.hubs(rows), torch.from_numpy(weights))

    def judge(
        self,
        answer: Answer,
        ranked: Ranked,
        place: int,
        sought: Sought,
        calibration: Calibration | None,
        least: float | None,
    ) -> Answer:
        """The answer to the one query that is sought, with its evidence, and as confident as it has to be.

        Args:
            ranked: candidates of some queries; `place` is this one's among them.
            calibration: what confidences are computed by; None leaves the hits without.
            least: hits that are less sure are left out.
        """
        score, query = sought.score, sought.queries
        known, log = ranked.rows[place].numpy(), ranked.log[place]
        known, log = known[log > -torch.inf], log[log > -torch.inf]
        others = torch.from_numpy(~np.isin(self.rows, known))
        c, i = (self.vectors @ block_diagonal(query).T).T
        sample = score.log(score.corrected(c, self.hubs), i)[others]
        if len(known) == answer.moments:  # all there is
            sample, others = sample[:0], torch.zeros(len(self.rows), dtype=torch.bool)
        # What a candidate index did not visit has no bound: the sample says how good it may be.
        bound = torch.tensor([float(ranked.bound[place])], dtype=torch.float64)
        above = torch.cat([log[-1:].double(), bound, sample.double()])
        above = above[above.isfinite()]
        highest = float(above.max()) if len(above) else -math.inf
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
