"""Average a video's snippets into a fixed number of pre-clips.

The rounding rule is the official implementation's to the bit: released weights were trained with it.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .config import ModelConfig
from .errors import FeatureError
from .features import FeatureFile
from .windows import WindowOf


def pool_to_pre_clips(snippets: Tensor, num_pre_clips: int, *, to_the_end: bool = False) -> Tensor:
    """L2-normalise every snippet, then average runs of snippets into M pre-clips.

    Args:
        snippets: (S, D) floats in time order; zero rows stay zero.
        to_the_end: the last boundary lies behind the last snippet, as in MMN-STVG; MMN's is the last one.

    Returns:
        (M, D), dtype of `snippets`. With S < M, snippets repeat.

    Raises:
        FeatureError: there are no snippets.
    """
    if len(snippets) == 0:
        raise FeatureError("a video without snippets cannot be cut into clips.")
    unit = functional.normalize(snippets, dim=1, eps=1e-12)
    # The last boundary is S - 1, not S, as in the official code: from S >= 1.5 M on the last snippet enters
    # no clip.
    edges = (torch.arange(num_pre_clips + 1, dtype=torch.float32) / num_pre_clips * len(unit)).round()
    last = len(unit) - 1
    edges = edges.long().clamp(max=last + to_the_end)  # torch rounds halves to even, as needed
    pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return torch.stack([unit[a:b].mean(dim=0) if a < b else unit[min(a, last)] for a, b in pairs])


def stored_pre_clips(features: FeatureFile, video_id: str, config: ModelConfig) -> Tensor:
    """A video's pre-clips straight from a feature file, (M, D) float32.

    Raises:
        FeatureError: the video has no usable features.
    """
    return pool_to_pre_clips(
        torch.from_numpy(features.read(video_id, config.input_dim)), config.num_pre_clips
    ).float()


def window_pre_clips(features: FeatureFile, where: WindowOf, config: ModelConfig) -> Tensor:
    """As `stored_pre_clips`, of a window of the video."""
    first, last = snippets_of(features, where)
    snippets = features.read(where.video_id, config.input_dim, first, last)
    return pool_to_pre_clips(torch.from_numpy(snippets), config.num_pre_clips).float()


def snippets_of(features: FeatureFile, where: WindowOf, *, outward: bool = False) -> tuple[int, int]:
    """Which snippets of a video lie in a window: the first, and the one behind the last; at least one.

    Snippets cover a video evenly, whatever their rate.

    Args:
        outward: those that lie in it only in part as well.
    """
    count = features.shape(where.video_id)[0]
    scale, window = count / where.duration, where.window
    low, high = window.start * scale, (window.start + window.length) * scale
    first = min(max(math.floor(low) if outward else round(low), 0), count - 1)
    return first, max(first + 1, min(math.ceil(high) if outward else round(high), count))
