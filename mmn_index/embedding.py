"""Videos through a model, many at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError
from .moment_model import MomentModel
from .proposals import ProposalGrid

# Of a batch: what is done once for all its videos is a fifth of the work with 16 of few proposals, and videos
# of many proposals take memory.
_BATCH, _PROPOSALS = 64, 1 << 14

Video = TypeVar("Video")


def batch_size(grid: ProposalGrid) -> int:
    """How many videos, or windows of them, go through the encoder together."""
    return max(1, min(_BATCH, _PROPOSALS // len(grid)))


@torch.inference_mode()
def embed_in_batches(
    model: MomentModel,
    pre_clips: Callable[[Video], Tensor],
    videos: Sequence[Video],
    name: Callable[[Video], str] = str,
) -> Iterator[list[np.ndarray]]:
    """Embed every proposal of every video, or of every window of some.

    The next batch is read, in a thread of its own, while the model works on this one.

    Args:
        pre_clips: what `embed_videos` of the model wants of one; (M, D) of MMN.
        name: of a video, for messages.

    Yields:
        A batch of videos, in the order given: (P, 2 C) float32 each, contrastive then iou; (P, C) of a model
        with one space.

    Raises:
        CheckpointError: embeddings are not finite.
    """

    def read(part: Sequence[Video]) -> Tensor:
        return torch.stack([pre_clips(video) for video in part])

    size, embed = batch_size(model.grid), model.video_embedder()
    batches = [videos[first : first + size] for first in range(0, len(videos), size)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, batches[0]) if batches else None
        for number in range(len(batches)):
            assert coming is not None
            batch = coming.result()
            coming = reader.submit(read, batches[number + 1]) if number + 1 < len(batches) else None
            made = torch.cat(embed(batch), dim=2).float().cpu().numpy()
            for place, embeddings in enumerate(made):
                if not np.isfinite(embeddings).all():
                    raise CheckpointError(
                        f"the model embeds video '{name(videos[number * size + place])}' as numbers that "
                        "are not finite: its training has diverged, or the features are not of the kind that "
                        "it was trained on."
                    )
            yield list(made)
