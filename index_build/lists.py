"""Coarse lists: moments sorted by the nearest of some centres, so that a search looks at a few lists only.

The centres are trained once and stored beside the moments; segments that come later are sorted by the same.
"""

import numpy as np
import torch
from torch import Tensor

from mmn_index.index import MomentIndex, Restriction

_A_LIST = 40  # moments of the sample for each list
_ROUNDS = 8
_AT_ONCE = 1 << 14


def number_of_lists(moments: int) -> int:
    """About twice the square root of the moments, a power of two."""
    return int(2 ** round(np.log2(2 * max(moments, 1) ** 0.5)))


def train_lists(index: MomentIndex, count: int) -> np.ndarray:
    """Centres of moments of a random sample: (count, spaces * C + 1) float32, the last number the mean h of
    what is nearest.
    """
    rows = index.rows_in(index.parts(Restriction()))
    chosen = np.sort(np.random.default_rng(0).choice(rows, min(len(rows), _A_LIST * count), replace=False))
    sample = index.vectors(chosen).float()
    hubs = index.hubs(chosen)
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(sample))[:count])
    centres = sample[order].clone()
    for _ in range(_ROUNDS):
        nearest = torch.from_numpy(nearest_lists(sample, centres))
        centres = _means(sample, nearest, centres)
    nearest = torch.from_numpy(nearest_lists(sample, centres))
    of_hubs = _means(hubs[:, None], nearest, torch.zeros(len(centres), 1))
    return torch.cat([centres, of_hubs], dim=1).numpy()


def nearest_lists(vectors: Tensor, centres: Tensor) -> np.ndarray:
    """(n, w) and (lists, w) float32 -> (n,) int32 number of the nearest centre."""
    found = np.empty(len(vectors), dtype=np.int32)
    offsets = 0.5 * centres.square().sum(dim=1)
    for first in range(0, len(vectors), _AT_ONCE):
        part = vectors[first : first + _AT_ONCE].float()
        found[first : first + _AT_ONCE] = (part @ centres.T - offsets).argmax(dim=1).numpy()
    return found


def _means(values: Tensor, nearest: Tensor, empty: Tensor) -> Tensor:
    """The mean of the values of each list; of one without any what `empty` has."""
    sums = torch.zeros_like(empty).index_add_(0, nearest, values)
    counts = torch.bincount(nearest, minlength=len(empty))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), empty)
