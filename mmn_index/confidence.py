"""How sure a hit is, out of what MMN's losses divide by, kept at search time.

With f(q, m) the logarithmic score, P(m | q) = exp f(q, m) / sum over all moments m' of exp f(q, m') is what
the sentence loss raises, and P(b | m), the same over sentences with c / tau in place of f, what the video
loss raises (Wang et al., AAAI 2022, section 3.3). In a collection many moments may be right for a sentence,
and many sentences for a moment, so neither is the probability that a hit is right. A logistic regression on
validation queries finds that from

    score          f(q, m) of the hit
    total          log mean over all moments m' of exp f(q, m')
    agreement      sum over the bank's sentences b of P(b | m) cos(q, b): is the hit described by
                   sentences like the query?
    consensus      the mean agreement of the best moments of the VIDEOS best videos
    rival          the mean over the same moments of log mean over b of exp(c(b, m) / tau): how well
                   anything describes them
    familiarity    the largest cos(q, b): whether the bank has a sentence like the query at all

where cosines of two sentences are taken in the contrastive space, and the last four are 0 without a bank
(negatives.py). Half of the searches it is fitted on are for something whose videos were taken out of the
collection, so a sentence that finds nothing right gets low confidences; a threshold on them is how a search
says "no match".
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

QUANTITIES = ("score", "total", "agreement", "consensus", "rival", "familiarity")
VIDEOS = 5
_RIDGE = 1e-5  # on the standardised slopes, so that a quantity that never varies gets none
_DELTA = 0.05  # chance that a bound on an estimated sum does not hold


@dataclass(frozen=True)
class Calibration:
    """A fitted regression, as an index keeps it."""

    offset: float
    slopes: tuple[float, ...]  # of QUANTITIES
    hits: int  # that it was fitted on
    error: float  # expected calibration error on them, 10 bins

    def __post_init__(self) -> None:
        object.__setattr__(self, "slopes", tuple(float(slope) for slope in self.slopes))
        if len(self.slopes) != len(QUANTITIES):
            raise ValueError(f"{len(self.slopes)} slopes of {len(QUANTITIES)} quantities")

    def __call__(self, quantities: Tensor) -> Tensor:
        """Probability that hits are right: (..., QUANTITIES) -> (...), 0 to 1."""
        return torch.sigmoid(
            self.offset + quantities.double() @ torch.tensor(self.slopes, dtype=torch.float64)
        )


def fit(quantities: Tensor, right: Tensor) -> Calibration:
    """Fit to hits that are right or wrong: (n, QUANTITIES) and (n,) bool."""
    x, y = quantities.double(), right.double()
    mean, spread = x.mean(dim=0), x.std(dim=0)
    varies = spread > 1e-9
    spread = spread.clamp(min=1e-9)
    with torch.inference_mode(False), torch.enable_grad():
        standard, target = ((x - mean) / spread * varies).clone(), y.clone()
        theta = torch.zeros(1 + len(QUANTITIES), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([theta], max_iter=500, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = (
                binary_cross_entropy_with_logits(standard @ theta[1:] + theta[0], target)
                + _RIDGE * theta[1:].square().sum()
            )
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]
    slopes = theta.detach()[1:] / spread * varies
    offset = float(theta.detach()[0] - (slopes * mean).sum())
    found = Calibration(offset, tuple(slopes.tolist()), len(y), math.nan)
    return Calibration(offset, found.slopes, len(y), expected_calibration_error(found(x), right))


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = 10) -> float:
    """Mean distance of confidence and share of right ones over equally wide bins, weighted by their hits."""
    return sum(
        count * abs(sure - share) for sure, share, count in reliability(confidence, right, bins)
    ) / max(1, len(confidence))


def reliability(confidence: Tensor, right: Tensor, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean confidence, share of right ones and number of the hits in each of equally wide bins that has
    any.
    """
    of = (confidence * bins).long().clamp(max=bins - 1)
    inside = [of == number for number in range(bins)]
    return [
        (float(confidence[x].double().mean()), float(right[x].double().mean()), int(x.sum()))
        for x in inside
        if x.any()
    ]


def refusal_curve(present: Tensor, absent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What every threshold that makes a difference answers and refuses.

    Args:
        present: (n,) best confidence of queries that the collection has a right moment for.
        absent: (m,) of queries that it has none for.

    Returns:
        Thresholds in rising order, the last one above everything; share of present queries answered, those
        whose best confidence is at least the threshold; share of absent ones refused. Three of (thresholds,)
        float64.
    """
    present, absent = present.double().sort().values, absent.double().sort().values
    edges = torch.cat([present, absent, present.new_tensor([torch.inf])]).unique()  # type: ignore[no-untyped-call]
    answered = 1 - torch.searchsorted(present, edges).double() / len(present)
    refused = torch.searchsorted(absent, edges).double() / len(absent)
    return edges, answered, refused


def rounded_down(threshold: float) -> float:
    """A threshold to three digits, not above it, so that it answers what it should when it is typed."""
    step = 10.0 ** (math.floor(math.log10(threshold)) - 2) if threshold > 0 else 1.0
    return math.floor(threshold / step) * step


def ranking_area(present: Tensor, absent: Tensor) -> float:
    """Chance that a present search is surer than an absent one, equal ones half: the area of the ROC.

    Args:
        present: (n,) best confidences of searches for what is there, n at least 1.
        absent: (m,) of searches for what is not, m at least 1.
    """
    ordered = absent.sort().values
    below, not_above = (torch.searchsorted(ordered, present, right=right) for right in (False, True))
    return float((below + not_above).double().mean()) / (2 * len(absent))


def log_means(
    known: Tensor, count: int, sample: Tensor, others: Tensor, weights: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    """Log of the mean of exp f over a collection for some queries, out of the best moments of each and a
    random sample of the others.

    Args:
        known: (Q, k) f of the moments that were scored; -inf is none.
        count: moments in the collection.
        sample: (Q, s) f of sampled moments.
        others: (Q, s) bool, which of them are not among the known.
        weights: (s,) how many moments each stands for.
        highest: (Q,) what f of no unknown moment is above.

    Returns:
        The estimates, -inf of no moments at all, and how far at most each lies off, at 95 %: Bernstein's
        inequality with the sample's second moment, each term being between 0 and weight * exp(highest)
        (Audibert, Munos and Szepesvari 2009, theorem 1). Two of (Q,) float64.
    """
    known, sample, highest = known.double(), sample.double(), highest.double()
    shift = torch.cat([known, highest[:, None]], dim=1).amax(dim=1)
    there = shift.isfinite() & (count > 0)
    shift = torch.where(there, shift, 0.0)
    exact = (known - shift[:, None]).exp().sum(dim=1)
    owned = torch.where(others, weights, 0.0)
    terms = owned * (sample - shift[:, None]).masked_fill(~others, -torch.inf).exp()
    rest, tail = terms.sum(dim=1), math.log(3 / _DELTA)
    most = torch.cat([owned, owned.new_zeros(len(owned), 1)], dim=1).amax(dim=1) * (highest - shift).exp()
    off = (2 * tail * terms.square().sum(dim=1)).sqrt() + 3 * tail * most
    total = exact + rest
    low, high = exact + (rest - off).clamp(min=0), total + off
    error = torch.maximum((high / total).log(), (total / low).log())
    estimate = (total / max(1, count)).log() + shift
    return torch.where(there, estimate, -torch.inf), torch.where(there, error, 0.0)
