"""A proposal's vector out of the embeddings of frames: what is inside, less what is around.

With u(x) = x / |x|, the mean of the frames inside a proposal and the mean of its context, half its length on
either side within the video, the vector is u(inside) - w u(context): not of unit length. The mean alone
finds a moment's neighbours as easily as the moment; the context takes away what they share (docs/models.md
has what that was measured to be worth).

Frames are unit vectors, evenly spread over the video. A proposal may begin within a frame: the mean is that
of the piecewise constant function, and so is exact at any length.

Shapes: S snippets of the video, P proposals, C numbers of the space.
"""

import torch
from torch import Tensor
from torch.nn import functional

CONTEXT = 0.5  # w
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
    x = functional.normalize(snippets.double(), dim=1)
    total = torch.cat([x.new_zeros(1, x.shape[1]), x.cumsum(0)])
    count = len(x)

    def integral(at: Tensor) -> Tensor:
        """Of the frames from the beginning of the stretch to a place in it."""
        at = at.clamp(0, count)
        low = at.long().clamp(max=count - 1)
        return total[low] + (at - low)[:, None] * x[low]

    start, end = spans.double().T
    around = _REACH * (end - start)
    before, behind = (start - around).clamp(min=first), (end + around).clamp(max=last)
    inside = integral(end) - integral(start)
    outside = integral(behind) - integral(before) - inside
    # Nothing is around a proposal that is the whole video: then its context is itself.
    alone = ((behind - before) - (end - start) <= 1e-6 * (end - start))[:, None]
    context = torch.where(alone, inside, outside)
    vectors = functional.normalize(inside, dim=1) - weight * functional.normalize(context, dim=1)
    return vectors.float()
