"""What training reads over and over, made once: pre-clips, IoU targets and text of every video of a split.

Everything is held in memory as float32: V * M * D * 4 bytes for the pre-clips (2.8 GB for Charades-STA with VGG features).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmn_index.clips import pool_to_pre_clips
from mmn_index.features import FeatureFile
from mmn_index.model import MMN, unit
from mmn_index.scoring import Embeddings

from .annotations import Annotations
from .losses import Batch


@dataclass(frozen=True)
class PreparedVideo:
    """One video, ready for training: (M, D) pre-clips, (S, 2) moments, (S, P) targets, (S,) rows of the sentence table."""

    video_id: str
    duration: float
    pre_clips: Tensor
    moments: Tensor
    targets: Tensor
    sentence_rows: Tensor


class TrainingSet:
    """A split in memory.

    Args:
        model: gives the shapes, the tokenizer and, with `cache_text`, the frozen text encoder.
        cache_text: run the text encoder once per distinct sentence; right only while it is frozen and without dropout.
        report: called with (videos read, videos in all).

    Raises:
        FeatureError: a video of the annotations has no usable features.
        QueryError: a sentence that the text encoder cannot read.
    """

    def __init__(
        self, annotations: Annotations, features: FeatureFile, model: MMN, *, cache_text: bool,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:  # fmt: skip
        distinct = sorted({sentence for video in annotations.videos for sentence in video.sentences})
        rows = {sentence: row for row, sentence in enumerate(distinct)}
        self.ids, self.mask = model.tokenizer(distinct)
        self.pooled = _pool_text(model, self.ids, self.mask) if cache_text else None
        self.videos: list[PreparedVideo] = []
        for video in annotations.videos:
            snippets = torch.from_numpy(features.read(video.video_id, model.config.input_dim))
            self.videos.append(
                PreparedVideo(
                    video.video_id,
                    video.duration,
                    pool_to_pre_clips(snippets, model.config.num_pre_clips).float(),
                    video.moments,
                    model.grid.iou_targets(video.moments, video.duration),
                    torch.tensor([rows[sentence] for sentence in video.sentences]),
                )
            )
            report(len(self.videos), len(annotations.videos))

    def batches(self, size: int, generator: torch.Generator) -> Iterator[list[PreparedVideo]]:
        """The videos in random order, `size` at a time; the last batch may be smaller."""
        order = torch.randperm(len(self.videos), generator=generator).tolist()
        for first in range(0, len(order), size):
            yield [self.videos[number] for number in order[first : first + size]]

    def embed_text(self, videos: Sequence[PreparedVideo], model: MMN) -> Embeddings:
        """Unit embeddings of all sentences of the videos, two of (S, C)."""
        rows = torch.cat([video.sentence_rows for video in videos])
        if self.pooled is not None:
            return unit(model.text_encoder.project(self.pooled[rows].to(model.device)))
        mask = self.mask[rows]
        longest = int(mask.sum(dim=1).max())
        ids, mask = self.ids[rows, :longest], mask[:, :longest]
        return unit(model.text_encoder(ids.to(model.device), mask.to(model.device)))


def loss_batch(videos: Sequence[PreparedVideo], device: torch.device) -> Batch:
    """What the losses need to know of a batch."""
    of = torch.cat([torch.full((len(video.moments),), number) for number, video in enumerate(videos)])
    moments = torch.cat([video.moments for video in videos])
    return Batch(of.to(device), moments.to(device), torch.cat([video.targets for video in videos]).to(device))


@torch.inference_mode()
def _pool_text(model: MMN, ids: Tensor, mask: Tensor, size: int = 256) -> Tensor:
    was_training = model.training
    model.eval()
    parts = [model.text_encoder.pool(ids[i : i + size].to(model.device), mask[i : i + size].to(model.device)).cpu()
             for i in range(0, len(ids), size)]  # fmt: skip
    model.train(was_training)
    return torch.cat(parts).clone()
