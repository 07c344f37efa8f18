"""The three losses of MMN, over the videos of one batch.

Shapes: V videos, S sentences of all videos, P proposals, C joint width, k positives a sentence. All
embeddings are unit vectors. y is the temporal IoU of a sentence's moment with each proposal of its own video.

The paper's losses take everything in another video for a negative. What a batch says is alike is left out of
them, and `iou_negatives` shows the IoU head other videos too; both are off unless a setting asks for them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mmn_index.errors import ConfigError
from mmn_index.scoring import IOU_SCALE, Embeddings


@dataclass(frozen=True)
class LossConfig:
    """Parameters of the losses; the defaults are the paper's for Charades-STA."""

    min_iou: float = 0.5  # target of the IoU head: 0 at this IoU ...
    max_iou: float = 1.0  # ... and 1 at this one, linear between
    num_positives: int = 1  # k, best proposals of a sentence that count as its positives
    negative_iou: float = 0.5  # proposals of the same video below this IoU are negatives
    # sentences of the same video are negatives of each other below this IoU
    sentence_removal_iou: float = 0.5
    tau_video: float = 0.1
    tau_sentence: float = 0.1
    margin: float = 0.4  # taken off the positive's similarity
    contrastive_weight: float = 0.05
    # weight of other videos' proposals in the loss of the IoU head; the paper's has none
    iou_negatives: float = 0.0
    corrected: bool = False  # over tubes: the losses as they were meant, see tube_losses.py

    def __post_init__(self) -> None:
        for name in ("iou_negatives", "contrastive_weight", "margin"):
            if getattr(self, name) < 0:
                raise ConfigError(f"loss.{name} is {getattr(self, name)}, expected a number, 0 or above.")
        if (
            min(self.tau_video, self.tau_sentence) <= 0
            or self.num_positives < 1
            or self.min_iou >= self.max_iou
        ):
            raise ConfigError(
                f"loss.tau_video ({self.tau_video}) and tau_sentence ({self.tau_sentence}) must be above 0, "
                "num_positives "
                f"({self.num_positives}) at least 1, min_iou ({self.min_iou}) below max_iou ({self.max_iou})."
            )


@dataclass(frozen=True)
class Batch:
    """What the losses compare."""

    video_of: Tensor  # (S,) int64: which of the V videos a sentence belongs to
    moments: Tensor  # (S, 2) seconds
    targets: Tensor  # (S, P) y
    alike: Tensor | None = None  # (S, S) bool: sentences of different videos that mean the same
    # (S, V, P) bool: proposals of other videos that a sentence describes as well
    described: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """The three losses, not yet weighted; scalars."""

    iou: Tensor
    video: Tensor
    sentence: Tensor

    def total(self, contrastive_weight: float) -> Tensor:
        """Their weighted sum (paper section 3.4)."""
        return self.iou + contrastive_weight * (self.video + self.sentence)


def mmn_losses(videos: Embeddings, sentences: Embeddings, batch: Batch, config: LossConfig) -> Losses:
    """All three losses: videos two of (V, P, C), sentences two of (S, C)."""
    positives = batch.targets.topk(config.num_positives, dim=1).indices  # (S, k)
    iou = iou_loss(videos.iou, sentences.iou, batch, config)
    if config.iou_negatives:
        iou = iou + config.iou_negatives * iou_negatives_loss(videos.iou, sentences.iou, batch)
    return Losses(
        iou,
        video_loss(videos.contrastive, sentences.contrastive, batch, positives, config),
        sentence_loss(videos.contrastive, sentences.contrastive, batch, positives, config),
    )


def iou_loss(videos: Tensor, sentences: Tensor, batch: Batch, config: LossConfig) -> Tensor:
    """Binary cross entropy between sigmoid(10 cos) and the scaled IoU, over all sentences and proposals of
    their video.
    """
    # index_select, as torch sums the gradients of videos[...] in an order that differs from run to run.
    cosine = torch.einsum("spc,sc->sp", videos.index_select(0, batch.video_of), sentences)
    return iou_cross_entropy(torch.sigmoid(IOU_SCALE * cosine), batch.targets, config)


def iou_negatives_loss(videos: Tensor, sentences: Tensor, batch: Batch) -> Tensor:
    """Binary cross entropy between sigmoid(10 cos) and 0, over all sentences and proposals of other videos.

    The paper's IoU head is trained within a sentence's own video, so its values say little about other
    videos, where a collection's score uses them. The mean is over pairs that no alike sentence makes a match;
    0 where there are none.
    """
    cosine = torch.einsum("vpc,sc->svp", videos, sentences)
    keep = (batch.video_of[:, None] != torch.arange(len(videos), device=cosine.device))[..., None].expand_as(
        cosine
    )
    if batch.described is not None:
        keep = keep & ~batch.described
    return functional.softplus(IOU_SCALE * cosine).masked_fill(~keep, 0).sum() / keep.sum().clamp(min=1)


def iou_cross_entropy(predicted: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """Cross entropy of predicted match probabilities with targets (y - min) / (max - min), cut to [0, 1]."""
    scaled = ((targets - config.min_iou) / (config.max_iou - config.min_iou)).clamp(0, 1)
    return functional.binary_cross_entropy(predicted, scaled)


def video_loss(
    videos: Tensor, sentences: Tensor, batch: Batch, positives: Tensor, config: LossConfig
) -> Tensor:
    """A positive proposal against the sentences that do not describe it.

    -mean over s and p of log( e(s, p) / (e(s, p) + sum_s' exp(t_s' v_p / tau)) ), e(s, p) = exp((t_s v_p -
    margin) / tau); s' runs over the sentences of other videos that are not alike, and over those of the same
    video whose moment has an IoU with s below `sentence_removal_iou`.
    """
    count = len(sentences)
    rows = (batch.video_of[:, None] * videos.shape[1] + positives).flatten()
    proposals = videos.flatten(0, 1).index_select(0, rows).view(*positives.shape, -1)  # (S, k, C)
    logits = proposals @ sentences.T  # (S, k, S')
    own = torch.eye(count, dtype=torch.bool, device=logits.device)
    logits = torch.where(own[:, None], logits - config.margin, logits) / config.tau_video
    start, end = batch.moments.unbind(1)
    inner = (torch.minimum(end[:, None], end) - torch.maximum(start[:, None], start)).clamp(min=0)
    length = end - start
    # 0 / 0 of two empty moments is nan and compares as "not below": such a pair is removed, as officially.
    apart = inner / (length[:, None] + length - inner) < config.sentence_removal_iou
    other_video = batch.video_of[:, None] != batch.video_of
    if batch.alike is not None:
        other_video = other_video & ~batch.alike
        apart = apart & (batch.video_of[:, None] == batch.video_of)
    keep = own | other_video | apart
    log_z = logits.masked_fill(~keep[:, None], -torch.inf).logsumexp(dim=2)  # (S, k)
    positive = logits.diagonal(dim1=0, dim2=2).T  # (S, k)
    return (log_z - positive).mean()


def sentence_loss(
    videos: Tensor, sentences: Tensor, batch: Batch, positives: Tensor, config: LossConfig
) -> Tensor:
    """A sentence against the proposals that it does not describe, of its own and of all other videos of the
    batch.

    -mean over s and p of log( e(s, p) / (e(s, p) + sum_p' n(s, p') + 1e-6) ) with e as above; n = exp(t_s
    v_p' / tau), but exp(0) = 1 for proposals of the same video with an IoU from `negative_iou` on: the
    official code multiplies their similarity by zero instead of removing them, which adds a constant, and so
    do we (released results depend on it). Proposals of other videos that an alike sentence describes are
    removed from the sum.
    """
    similarity = torch.einsum("vpc,sc->svp", videos, sentences)
    count = torch.arange(len(sentences), device=similarity.device)
    same = similarity[count, batch.video_of]  # (S, P)
    positive = (same.gather(1, positives) - config.margin) / config.tau_sentence  # (S, k)
    own_video = torch.where(batch.targets < config.negative_iou, same, 0)
    similarity = similarity.index_put((count, batch.video_of), own_video)
    if batch.described is not None:
        similarity = similarity.masked_fill(batch.described, -torch.inf)
    negative = (
        (similarity.flatten(1) / config.tau_sentence).logsumexp(dim=1, keepdim=True).expand_as(positive)
    )
    epsilon = positive.new_full((), 1e-6).log().expand_as(positive)
    log_z = torch.stack([positive, negative, epsilon]).logsumexp(dim=0)
    return (log_z - positive).mean()
