"""What is reached without looking at the query, and what cannot be exceeded: the two ends of a collection's
numbers.

Baselines are rankings like any other (corpus.py). Ceilings follow from the annotations and the grid of
proposals alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..moments import nms_top, temporal_iou
from ..proposals import ProposalGrid
from ..search import SearchOptions
from .annotations import Annotations
from .queries import Corpus, Queries, tied_videos
from .recall import Ranked, hits


class SameForAll:
    """Ranks by the place of a proposal in its video alone: all queries and videos alike, equal ones in random
    order.

    Args:
        weights: (P,) of each proposal; -inf is no candidate.
    """

    def __init__(self, corpus: Corpus, grid: ProposalGrid, weights: Tensor, seed: int = 0) -> None:
        self._numbers = torch.tensor(list(corpus.ids))
        self._rows = {video_id: row for row, video_id in enumerate(corpus.ids.values())}
        # (V, P, 2)
        self._spans = torch.stack([grid.seconds(corpus.durations[number]) for number in corpus.ids])
        self._grid, self._weights, self._seed = grid, weights, seed

    def __call__(self, numbers: Sequence[int], options: SearchOptions) -> list[Ranked]:
        named = options.restriction.videos
        rows = list(range(len(self._rows))) if named is None else [self._rows[name] for name in named]
        # Temporal IoU knows no unit: one NMS is that of every video.
        kept = nms_top(
            self._weights[None], self._grid.seconds(1.0), options.nms, options.per_video or options.k
        )[0]
        kept = kept[kept >= 0]
        places = torch.arange(min(options.k, len(kept) * len(rows)))
        proposals = kept[
            places // len(rows)
        ]  # the best proposal of every video, then the second of every video
        found = []
        for number in numbers:
            order = torch.from_numpy(np.random.default_rng([self._seed, number]).permutation(rows))
            videos = order[places % len(rows)]
            found.append(
                Ranked(
                    self._numbers[videos],
                    self._spans[videos, proposals],
                    self._weights[proposals].double(),
                    True,
                )
            )
        return found


def moment_frequency(train: Annotations, grid: ProposalGrid) -> Tensor:
    """(P,) how many moments of the training split lie nearest to each proposal, on the scale of their videos.

    The moment-frequency prior of Escorcia et al. (2019): what is known of moments before any query or video
    is seen.
    """
    counts = torch.zeros(len(grid))
    for video in train.videos:
        nearest = grid.iou_targets(video.moments, video.duration).argmax(dim=1)
        counts += torch.bincount(nearest, minlength=len(grid))
    return counts


def whole_video(grid: ProposalGrid) -> Tensor:
    """(P,) with the proposal of the largest part of a video as the only candidate."""
    length = grid.cells[:, 1] - grid.cells[:, 0]
    return torch.full((len(grid),), -torch.inf).index_fill_(0, length.argmax()[None], 0.0)


def proposal_oracle(queries: Queries, corpus: Corpus, m: float) -> float:
    """Share of queries, 0 to 1, that some proposal meets with an IoU of at least m: no ranking of proposals
    reaches more.
    """
    met = 0
    for video, numbers in queries.by_video():
        proposals = corpus.spans(video)[None]
        met += sum(
            bool(hits(temporal_iou(queries.spans(number)[:, None], proposals), m).any()) for number in numbers
        )
    return met / len(queries)


def text_oracle(queries: Queries) -> float:
    """R@1 of video retrieval, 0 to 1, of who knows every video of a text but not which of them is meant.

    With t videos of the same text, one in t queries is met on average.
    """
    return float((1 / tied_videos(queries).double()).mean())
