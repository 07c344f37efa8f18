"""Videos through a model, many at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError
from .model import MMN

_BATCH = 16  # videos that go through the encoder together


@torch.inference_mode()
def embed_in_batches(
    model: MMN, pre_clips: Callable[[str], Tensor], video_ids: Sequence[str]
) -> Iterator[list[np.ndarray]]:
    """Embed every proposal of every video.

    The next batch is read, in a thread of its own, while the model works on this one.

    Args:
        pre_clips: (M, D) of a video, by its id.

    Yields:
        A batch of videos, in the order given: (P, 2 C) float32 each, contrastive then iou.

    Raises:
        CheckpointError: embeddings are not finite.
    """

    def read(part: Sequence[str]) -> Tensor:
        return torch.stack([pre_clips(video_id) for video_id in part])

    batches = [video_ids[first : first + _BATCH] for first in range(0, len(video_ids), _BATCH)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, batches[0]) if batches else None
        for number in range(len(batches)):
            assert coming is not None
            batch = coming.result()
            coming = reader.submit(read, batches[number + 1]) if number + 1 < len(batches) else None
            made = torch.cat(model.embed_videos(batch), dim=2).float().cpu().numpy()
            for place, embeddings in enumerate(made):
                if not np.isfinite(embeddings).all():
                    raise CheckpointError(
                        f"the model embeds video '{video_ids[number * _BATCH + place]}' as numbers that are "
                        "not finite: its "
                        "training has diverged, or the features are not of the kind that it was trained on."
                    )
            yield list(made)
