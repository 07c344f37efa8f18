"""Two cosines become one score; the only place that knows the 10, the power and the bound.

For a query and a moment, c is the cosine in the contrastive space and i the cosine in the IoU space.

    product       ((1 + c) / 2)^power * sigmoid(10 i)     the paper's, for moments of one video
    collection    weight c / tau + log sigmoid(10 i)      across videos: the contrastive logit at its
                                                          training temperature plus the log-probability
                                                          of a match; the weight is 1 unless validation
                                                          queries say otherwise
    contrastive   c
    iou           sigmoid(10 i)

In the second and third c may be replaced by c - hub h, with h a number of the moment that is larger the more
sentences it is near to (negatives.py); both are linear in c, so all that follows holds for that as well.

None but the third is an inner product, but each has a logarithm (`collection` is one) that is
concave in c and in i. So the tangent plane at any point is an upper bound everywhere, and a plane
a c + b i is one inner product of [a q_c ; b q_i] with the stored [m_c ; m_i]: what a vector index
can search. The weights sit on the query's side, so one index serves every tangent point.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .errors import QueryError

# Of the IoU head's cosine inside the sigmoid (official code; the paper's eq. for s_iou has no scale).
IOU_SCALE = 10.0
HUB_SCORES = ("collection", "contrastive")  # that know a hub correction
SCORES = ("collection", "product", "contrastive", "iou")
# (1 + c) / 2 is kept above this in logarithms, and c0 above -0.9 in tangents: the bound then holds for every
# c >= -1.
_FLOOR = 1e-6
_LEAST_TANGENT = -0.9


class Embeddings(NamedTuple):
    """The two joint spaces, equal leading shapes, (..., C) each."""

    contrastive: Tensor
    iou: Tensor


class Tangent(NamedTuple):
    """U(c, i) = contrastive * c + iou * i + constant, an upper bound of the log score."""

    contrastive: float
    iou: float
    constant: float


@dataclass(frozen=True)
class Score:
    """One of SCORES with its parameters.

    Raises:
        QueryError: no score of that name, a hub correction that it does not know, or a parameter out of its
            range.
    """

    name: str = "collection"
    power: float = 0.5
    tau: float = 0.1
    hub: float = 0.0  # how much of a moment's h is taken off its c, from 0 to 1
    weight: float = 1.0  # of c in `collection`

    def __post_init__(self) -> None:
        if self.name not in SCORES:
            raise QueryError(f"no score is called '{self.name}'; there are {', '.join(SCORES)}.")
        for what, value in {"power": self.power, "tau": self.tau, "weight": self.weight}.items():
            if not 0 < value < math.inf:
                raise QueryError(f"the {what} of a score is {value:g}, expected a number above 0.")
        if not 0 <= self.hub <= 1:
            raise QueryError(f"the hub correction is {self.hub:g}, expected a number from 0 (none) to 1.")
        if self.hub and self.name not in HUB_SCORES:
            raise QueryError(
                f"the score '{self.name}' knows no hub correction; {' and '.join(HUB_SCORES)} do."
            )

    @property
    def logarithmic(self) -> bool:
        """Whether the score that is shown is the one that ranks, and not an exponential of it."""
        return self.name in ("collection", "contrastive")

    def corrected(self, c: Tensor, hubs: Tensor) -> Tensor:
        """The cosine c less the hub correction, in the precision of c; `hubs` are the moments' h."""
        return c - self.hub * hubs.to(c.dtype) if self.hub else c

    def __call__(self, c: Tensor, i: Tensor) -> Tensor:
        """The score as it is shown, elementwise; rises exactly as `log` does."""
        if self.name == "product":
            return (0.5 * c + 0.5).clamp(min=0) ** self.power * torch.sigmoid(IOU_SCALE * i)
        if self.name == "iou":
            return torch.sigmoid(IOU_SCALE * i)
        return self.log(c, i)

    def log(self, c: Tensor, i: Tensor) -> Tensor:
        """The concave form that ranks: the logarithm of `product` and `iou`, the other two as they are."""
        if self.name == "contrastive":
            return c + 0 * i
        match = logsigmoid(IOU_SCALE * i)
        if self.name == "iou":
            return match + 0 * c
        if self.name == "collection":
            return match.add_(c, alpha=self.weight / self.tau)
        return self.power * (0.5 * c + 0.5).clamp(min=_FLOOR).log() + match

    def tangent(self, c: float, i: float) -> Tangent:
        """The tangent plane of `log` at (c, i)."""
        c = min(max(c, _LEAST_TANGENT), 1.0)
        at = torch.tensor([c, i], dtype=torch.float64)
        slope_c = {
            "contrastive": 1.0,
            "iou": 0.0,
            "collection": self.weight / self.tau,
            "product": self.power / (1 + c),
        }[self.name]
        slope_i = 0.0 if self.name == "contrastive" else IOU_SCALE * float(torch.sigmoid(-IOU_SCALE * at[1]))
        return Tangent(slope_c, slope_i, float(self.log(at[0], at[1])) - slope_c * c - slope_i * i)


def cosines(queries: Embeddings, moments: Embeddings) -> tuple[Tensor, Tensor]:
    """Cosines of unit vectors in both spaces: (Q, C) and (P, C) pairs -> two of (Q, P)."""
    return queries.contrastive @ moments.contrastive.T, queries.iou @ moments.iou.T
