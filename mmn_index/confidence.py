"""How sure a hit is, out of the two sums that MMN is trained with, kept at search time.

With f(q, m) the logarithmic score, P(m | q) = exp f(q, m) / sum over all moments m' of exp f(q, m') is what the sentence loss
raises, and P(q | m), the same over sentences, what the video loss raises (Wang et al., AAAI 2022, section 3.4). In a collection
many moments may be right for a sentence, and many sentences for a moment, so neither is the probability that a hit is right. A
logistic regression on validation queries finds that from the three logarithms they are made of:

    log odds = offset + a f(q, m) + b log mean over m' of exp f(q, m') + d log mean over bank sentences s of exp(c(s, m) / tau)

Half of the queries it is fitted on are about something whose videos were taken out of the collection, so a sentence that finds
nothing right gets low confidences; a threshold on them is how a search says "no match".
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

_RIDGE = 1e-5  # on the standardised slopes, so that a quantity that never varies gets none
_DELTA = 0.05  # chance that a bound on an estimated sum does not hold


@dataclass(frozen=True)
class Calibration:
    """A fitted regression, as an index keeps it."""

    offset: float
    score: float  # a
    total: float  # b
    rival: float  # d
    hits: int  # that it was fitted on
    error: float  # expected calibration error on them, 10 bins

    def __call__(self, score: Tensor, total: Tensor, rival: Tensor) -> Tensor:
        """Probability that hits are right: three tensors that broadcast -> one of that shape, 0 to 1."""
        return torch.sigmoid(self.offset + self.score * score + self.total * total + self.rival * rival)


def fit(score: Tensor, total: Tensor, rival: Tensor, right: Tensor) -> Calibration:
    """Fit to n hits, right or wrong, four of (n,)."""
    x = torch.stack([score, total, rival], dim=1).double()
    y, mean, spread = right.double(), x.mean(dim=0), x.std(dim=0).clamp(min=1e-9)
    standard = (x - mean) / spread
    with torch.inference_mode(False), torch.enable_grad():
        theta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([theta], max_iter=200, line_search_fn="strong_wolfe")
        fixed, target = standard.clone(), y.clone()

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = binary_cross_entropy_with_logits(fixed @ theta[1:] + theta[0], target) + _RIDGE * theta[1:].square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]
    slopes = theta.detach()[1:] / spread
    offset = float(theta.detach()[0] - (slopes * mean).sum())
    unmeasured = Calibration(offset, *slopes.tolist(), hits=len(y), error=math.nan)
    error = expected_calibration_error(unmeasured(*x.T), right)
    return Calibration(offset, *slopes.tolist(), hits=len(y), error=error)


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = 10) -> float:
    """Mean distance of confidence and share of right ones over equally wide bins, weighted by their hits."""
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    total = 0.0
    for number in range(bins):
        here = bin_of == number
        if here.any():
            total += abs(float(confidence[here].double().sum() - right[here].double().sum()))
    return total / max(1, len(confidence))


def refusal_curve(present: Tensor, absent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What every threshold that makes a difference answers and refuses.

    Args:
        present: (n,) best confidence of queries that the collection has a right moment for.
        absent: (m,) of queries that it has none for.

    Returns:
        Thresholds in rising order, the last one above everything; share of present queries answered, those whose best confidence
        is at least the threshold; share of absent ones refused. Three of (thresholds,) float64.
    """
    present, absent = present.double().sort().values, absent.double().sort().values
    edges = torch.cat([present, absent, present.new_tensor([torch.inf])]).unique()
    answered = 1 - torch.searchsorted(present, edges).double() / len(present)
    refused = torch.searchsorted(absent, edges).double() / len(absent)
    return edges, answered, refused


def log_mean(known: Tensor, count: float, sample: Tensor, weights: Tensor, highest: float) -> tuple[float, float]:
    """Log of the mean of exp f over a collection, out of its best moments and a random sample of the others.

    Args:
        known: (k,) f of the moments that were scored.
        count: moments in the collection.
        sample: (s,) f of sampled moments that are not among the known.
        weights: (s,) how many moments each stands for.
        highest: what f of no unknown moment is above.

    Returns:
        The estimate, and how far at most it lies off, at 95 %: Bernstein's inequality with the sample's second moment, each
        term being between 0 and weight * exp(highest) (Audibert, Munos and Szepesvari 2009, theorem 1).
    """
    shift = max([highest, *known.tolist()]) if len(known) else highest
    if not math.isfinite(shift):
        return -math.inf, 0.0
    exact = float((known.double() - shift).exp().sum())
    if count <= len(known) or not len(sample):
        return math.log(exact / count) + shift, 0.0
    terms = weights * (sample.double() - shift).exp()
    rest, tail = float(terms.sum()), math.log(3 / _DELTA)
    most = float(weights.max()) * math.exp(highest - shift)
    off = math.sqrt(2 * tail * float(terms.square().sum())) + 3 * tail * most
    total = exact + rest
    low, high = exact + max(rest - off, 0.0), total + off
    error = max(math.log(high / total), math.log(total / low) if low > 0 else math.inf)
    return math.log(total / count) + shift, error
