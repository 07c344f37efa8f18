"""A bank of sentences beside an index, and what it says of each moment: whether it is a hub.

A hub is a moment that is near to many sentences, so that it stands high in answers where it has no place.
With c(m, b) the cosine of a moment and a sentence of the bank in the contrastive space, h(m) is

    softmax    tau log mean_b exp(c(m, b) / tau)    the denominator of MMN's video loss at its training
                                                    temperature, kept when searching (inverted softmax,
                                                    Smith et al., ICLR 2017)
    csls       the mean of the largest c(m, b)      half of cross-domain similarity local scaling
                                                    (Conneau et al., ICLR 2018)

The first follows the few sentences that fit a moment best. Where the bank has the query's own wording, that
is what makes a moment right for it, so at full strength the right moments are pushed down. The mean over a
third of the bank is made of sentences about many other things, and did not hurt where it was measured
(docs/negatives.md).

and a search ranks by c(q, m) - hub h(m) in place of c(q, m); see scoring.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .errors import ConfigError, QueryError
from .moment_model import MomentModel

KINDS = ("softmax", "csls")
_NEIGHBOURS = 3  # csls takes the mean of the largest one in so many of the bank's cosines
_MOST = 2048  # sentences of a bank: h costs a product with each, for every moment
_BLOCK = 1 << 22  # cosines that are in memory together


@dataclass(frozen=True)
class Bank:
    """Distinct sentences with their embeddings, and which h they make.

    Attributes:
        contrastive: (B, C) float32, unit vectors; h is computed on their device.
        tau: temperature of `softmax`.
        neighbours: of `csls`: of how many cosines the mean is taken, all where the bank has fewer.

    Raises:
        ConfigError: no such kind.
        QueryError: no sentences.
    """

    sentences: tuple[str, ...]
    contrastive: Tensor
    kind: str
    tau: float
    neighbours: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"no hub correction is called '{self.kind}'; there are {' and '.join(KINDS)}.")
        if not self.sentences:
            raise QueryError("the bank holds no sentence, expected those that the model was trained with.")

    @torch.inference_mode()
    def hubs(self, embeddings: Tensor) -> np.ndarray:
        """The number h of moments: (n, 2 C) or (n, C) float16, contrastive first -> (n,) float32."""
        count, dim = self.contrastive.shape
        found = torch.empty(len(embeddings))
        step = max(1, _BLOCK // count)
        for first in range(0, len(embeddings), step):
            moments = embeddings[first : first + step, :dim].to(self.contrastive)
            cosines = moments @ self.contrastive.T
            if self.kind == "csls":
                found[first : first + step] = cosines.topk(min(self.neighbours, count), dim=1).values.mean(
                    dim=1
                )
            else:
                found[first : first + step] = self.tau * _log_mean_exp(cosines / self.tau)
        return found.numpy()

    @torch.inference_mode()
    def describe(self, embeddings: Tensor, queries: Tensor, of: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How the bank's sentences describe moments, and whether they are like queries; see confidence.py.

        Args:
            embeddings: (n, 2 C) of moments.
            queries: (Q, C) of sentences, in the contrastive space.
            of: (n,) int64, which query each moment was found for.

        Returns:
            For every moment the log of the mean of exp(c(m, b) / tau), and the mean of cos(query, b) by
            P(b | m), two of (n,) float64; for every query the largest cosine of a sentence of the bank with
            it, (Q,) float64.
        """
        bank = self._precise
        alike = queries.double() @ bank.T  # (Q, B)
        rivals, agreements = torch.empty(2, len(embeddings), dtype=torch.float64)
        step = max(1, _BLOCK // len(bank))
        for first in range(0, len(embeddings), step):
            part = slice(first, first + step)
            logits = embeddings[part, : bank.shape[1]].double() @ bank.T / self.tau
            highest = logits.amax(dim=1, keepdim=True)
            shares = logits.sub_(highest).exp_()
            sums = shares.sum(dim=1)
            rivals[part] = highest[:, 0] + (sums / len(bank)).log()
            agreements[part] = shares.mul_(alike[of[part]]).sum(dim=1) / sums
        return rivals, agreements, alike.amax(dim=1)

    @cached_property
    def _precise(self) -> Tensor:
        """(B, C) float64 on the CPU."""
        return self.contrastive.double().cpu()


def make_bank(model: MomentModel, sentences: Sequence[str], kind: str, tau: float) -> Bank:
    """The bank of some sentences, each taken once; of very many it takes every n-th.

    Args:
        tau: the model's temperature.

    Raises:
        ConfigError: no such kind.
        QueryError: no sentence, or one that cannot be embedded.
    """
    distinct = tuple(dict.fromkeys(sentences))
    distinct = distinct[:: -(-len(distinct) // _MOST) or 1]
    contrastive = model.embed_collection(distinct).contrastive.to(model.device)
    return Bank(distinct, contrastive, kind, tau, max(1, round(len(distinct) / _NEIGHBOURS)))


def _log_mean_exp(x: Tensor) -> Tensor:
    """(n, B) -> (n,)"""
    return x.logsumexp(dim=1) - math.log(x.shape[1])
