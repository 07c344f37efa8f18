"""A proposal's vector out of the embeddings of frames: what is inside, less what is around.

With u(x) = x / |x|, the mean of the frames inside a proposal and the mean of its context, half its length on
either side within the video, the vector is u(inside) - w u(context): not of unit length. The mean alone
finds a moment's neighbours as easily as the moment; the context takes away what they share (docs/results.md
has what that was measured to be worth).

Frames are unit vectors, evenly spread over the video. A proposal may begin within a frame: the mean is that
of the piecewise constant function, and so is exact at any length. A proposal shorter than a snippet gets a
vector that is shorter in proportion.

Shapes: S snippets of the video, P proposals, C numbers of the space.
"""

import torch
from torch import Tensor
from torch.nn import functional

CONTEXT = 0.5  # w
_BLOCK = 4096  # snippets that are summed together
_REACH = 0.5  # of a proposal's length that its context has on either side


def reach(length: float) -> float:
    """Seconds around a window that contexts of its proposals take in."""
    return _REACH * length


def contrast_vectors(snippets: Tensor, spans: Tensor, first: float, last: float, weight: float) -> Tensor:
    """The vectors of proposals, (P, C) float32.

    Args:
        snippets: (S, C) of a stretch of the video.
        spans: (P, 2) starts and ends of proposals, in snippets from the beginning of that stretch.
        first, last: where the video begins and ends, likewise.
        weight: w, of the context.
    """
    start, end = spans.double().T
    around = _REACH * (end - start)
    before, behind = (start - around).clamp(min=first), (end + around).clamp(max=last)
    places = torch.cat([start, end, before, behind])
    to_start, to_end, to_before, to_behind = _integrals(snippets, places).chunk(4)
    inside, outside = to_end - to_start, to_behind - to_before
    outside = outside - inside
    # Nothing is around a proposal that is the whole video: then its context is itself.
    alone = ((behind - before) - (end - start) <= 1e-6 * (end - start))[:, None]
    context = torch.where(alone, inside, outside)
    vectors = functional.normalize(inside, dim=1) - weight * functional.normalize(context, dim=1)
    # A part of a snippet says no more than all of it: it counts by its share, so that the whole comes first.
    found: Tensor = vectors * (end - start).clamp(max=1)[:, None]
    return found.float()


def _integrals(snippets: Tensor, places: Tensor) -> Tensor:
    """The sum of the unit snippets from the beginning to each place, parts of one included: (n,) -> (n, C).

    Block by block: of a film of many hours no second copy is made.
    """
    count = len(snippets)
    places = places.clamp(0, count)
    low = places.long().clamp(max=count - 1)
    found = torch.zeros(len(places), snippets.shape[1], dtype=torch.float64)
    behind = torch.zeros(1, snippets.shape[1], dtype=torch.float64)
    for first in range(0, count, _BLOCK):
        x = functional.normalize(snippets[first : first + _BLOCK].double(), dim=1)
        total = torch.cat([behind, behind + x.cumsum(0)])
        here = ((low >= first) & (low < first + len(x))).nonzero()[:, 0]
        row = low[here] - first
        found[here] = total[row] + (places[here] - low[here])[:, None] * x[row]
        behind = total[-1:]
    return found
