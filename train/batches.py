"""What training reads over and over, made once: pre-clips, IoU targets and text of every video of a split.

Everything is held in memory as float32: V * M * D * 4 bytes for the pre-clips (2.8 GB for Charades-STA with VGG features).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmn_index.clips import pool_to_pre_clips
from mmn_index.features import FeatureFile
from mmn_index.model import MMN, unit
from mmn_index.proposals import ProposalGrid
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
    snippets: Tensor | None = None  # (S, D), kept where crops are taken


def cropped(video: PreparedVideo, share: float, grid: ProposalGrid, generator: torch.Generator) -> PreparedVideo:
    """The video without up to `share` of it, cut off at its beginning and its end.

    Moments that do not lie wholly inside go, with their sentences; where none is left, the video stays as it is. The
    clips of every crop lie elsewhere, so a few hundred videos teach more than their own cuts.
    """
    if video.snippets is None:
        raise ValueError("a crop needs the video's snippets")
    count = len(video.snippets)
    total, before = torch.rand(2, generator=generator).tolist()
    first = round(count * share * total * before)
    end = count - round(count * share * total * (1 - before))
    start, stop = first / count * video.duration, end / count * video.duration
    inside = (video.moments[:, 0] >= start) & (video.moments[:, 1] <= stop)
    if end <= first or not inside.any():
        return video
    moments = video.moments[inside] - start
    return replace(
        video,
        duration=stop - start,
        pre_clips=pool_to_pre_clips(video.snippets[first:end], len(video.pre_clips)).float(),
        moments=moments,
        targets=grid.iou_targets(moments, stop - start),
        sentence_rows=video.sentence_rows[inside],
    )


class TrainingSet:
    """A split in memory.

    Args:
        model: gives the shapes, the tokenizer and, with `cache_text`, the frozen text encoder.
        crop: batches hold crops, see `cropped`; 0 for whole videos.
        cache_text: run the text encoder once per distinct sentence; right only while it is frozen and without dropout.
        report: called with (videos read, videos in all).

    Raises:
        FeatureError: a video of the annotations has no usable features.
        QueryError: a sentence that the text encoder cannot read.
    """

    def __init__(
        self, annotations: Annotations, features: FeatureFile, model: MMN, *, cache_text: bool = False, crop: float = 0.0,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:  # fmt: skip
        distinct = sorted({sentence for video in annotations.videos for sentence in video.sentences})
        rows = {sentence: row for row, sentence in enumerate(distinct)}
        self.ids, self.mask = model.tokenizer(distinct)
        self.pooled = _pool_text(model, self.ids, self.mask) if cache_text else None
        self._crop, self._grid = crop, model.grid
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
                    snippets if crop else None,
                )
            )
            report(len(self.videos), len(annotations.videos))

    def batches(self, size: int, generator: torch.Generator) -> Iterator[list[PreparedVideo]]:
        """The videos in random order, `size` at a time; the last batch may be smaller."""
        order = torch.randperm(len(self.videos), generator=generator).tolist()
        for first in range(0, len(order), size):
            part = [self.videos[number] for number in order[first : first + size]]
            yield [cropped(video, self._crop, self._grid, generator) for video in part] if self._crop else part

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
