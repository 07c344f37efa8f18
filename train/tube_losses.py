"""The three losses of MMN over tubes, for the videos of one batch.

A video is several tubes, each with a map of its own, and one sentence that one of them fits (MMN-STVG, by the
authors of MMN; no paper describes it, so what is said here was read off their code). One with several
sentences counts as so many videos. y is the
spatio-temporal IoU of a proposal with the true tube; a video's positive is the proposal of largest y among
all of its tubes.

The official losses have peculiarities on which released numbers may depend, so they are the default; each is
named where it is. With `corrected` they are what was meant.

Shapes: V videos with one sentence each, R tubes of all of them, P proposals, C joint width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmn_index.scoring import IOU_SCALE, Embeddings

from .losses import LossConfig, Losses, iou_cross_entropy

_TIE = 1e-6  # proposals whose y is this near to the best are as good


@dataclass(frozen=True)
class TubeBatch:
    """What the losses compare."""

    video_of: Tensor  # (R,) int64, rising: which of the V videos a tube belongs to
    targets: Tensor  # (R, P) y
    names: Tensor | None = None  # (V,) int64, equal where a video is there with several sentences


@dataclass(frozen=True)
class _Positives:
    """The best proposal of each video."""

    tube: Tensor  # (V,) its tube among all of the batch
    own: Tensor  # (V,) the same, counted within its video
    proposal: Tensor  # (V,)
    iou: Tensor  # (V,) its y


def tube_losses(videos: Embeddings, sentences: Embeddings, batch: TubeBatch, config: LossConfig) -> Losses:
    """All three losses: videos two of (R, P, C), sentences two of (V, C), unit vectors."""
    positives = _positives(batch, len(sentences.iou))
    cosine = torch.einsum("rpc,rc->rp", videos.iou, sentences.iou.index_select(0, batch.video_of))
    iou = iou_cross_entropy(torch.sigmoid(IOU_SCALE * cosine), batch.targets, config)
    contrastive = videos.contrastive, sentences.contrastive
    return Losses(
        iou,
        tube_video_loss(*contrastive, batch, config, positives),
        tube_sentence_loss(*contrastive, batch, config, positives),
    )


def tube_video_loss(
    videos: Tensor,
    sentences: Tensor,
    batch: TubeBatch,
    config: LossConfig,
    positives: _Positives | None = None,
) -> Tensor:
    """A video's positive against the sentences of all videos; of one video alone it is 0.

    -mean over b of log( e(b, b) / sum_b' e(b, b') ), e(b, b') = exp((v_b t_b' - margin [b' = b]) / tau), v_b
    the positive of video b. Corrected: without the videos that no tube of theirs meets, and without other
    sentences of the same video, which may describe the same.
    """
    found = positives or _positives(batch, len(sentences))
    chosen = videos.flatten(0, 1).index_select(0, found.tube * videos.shape[1] + found.proposal)  # (V, C)
    own = torch.eye(len(sentences), dtype=chosen.dtype, device=chosen.device)
    logits = (chosen @ sentences.T - config.margin * own) / config.tau_video
    if config.corrected:
        logits = logits.masked_fill(_same(batch, len(sentences)) & (own == 0), -torch.inf)
    return _mean(logits.logsumexp(dim=1) - logits.diagonal(), found, config)


def tube_sentence_loss(
    videos: Tensor,
    sentences: Tensor,
    batch: TubeBatch,
    config: LossConfig,
    positives: _Positives | None = None,
) -> Tensor:
    """A video's sentence against the proposals of all tubes of the batch.

    -mean over b of log( e(b) / Z_b ), e(b) = exp((t_b v_b - margin) / tau), v_b the positive of video b.
    Corrected, Z_b is e(b) and the proposals that the sentence does not describe: those of other videos, and
    of its own those whose y is below `negative_iou` and that are not as good as the positive.
    """
    found = positives or _positives(batch, len(sentences))
    similarity = torch.einsum("rpc,bc->brp", videos, sentences)  # (V, R, P)
    rows = torch.arange(len(sentences), device=similarity.device)
    positive = (similarity[rows, found.tube, found.proposal] - config.margin) / config.tau_sentence
    if config.corrected:
        log_z = _log_z(similarity, positive, batch, found, config)
    else:
        log_z = _official_log_z(similarity, positive, batch, found, config)
    return _mean(log_z - positive, found, config)


def _log_z(
    similarity: Tensor, positive: Tensor, batch: TubeBatch, found: _Positives, config: LossConfig
) -> Tensor:
    rows = torch.arange(len(positive), device=positive.device)
    other = ~_same(batch, len(rows))[:, batch.video_of]  # (V, R)
    worse = (batch.targets < config.negative_iou) & (batch.targets < found.iou[batch.video_of, None] - _TIE)
    mine = batch.video_of == rows[:, None]  # its video with another sentence is there once more
    left_out = ~(other[..., None] | (mine[..., None] & worse))
    negatives = (similarity / config.tau_sentence).masked_fill(left_out, -torch.inf).flatten(1)
    return torch.cat([positive[:, None], negatives], dim=1).logsumexp(dim=1)


def _official_log_z(
    similarity: Tensor, positive: Tensor, batch: TubeBatch, found: _Positives, config: LossConfig
) -> Tensor:
    """As the official code sums. Its peculiarities:

    - Out of the sum over other tubes it leaves the one of the positive by its number within the video, though
      the sum counts over the batch. So only the first video's is left out; of every other video its own
      positive tube is a plain negative as a whole, and a tube of another video is missing.
    - The positive is added twice: by itself, and among the proposals of its tube. (And by the first
      peculiarity, without its margin, a third time in all videos but the first.)
    - The proposals of its tube are weighted, below `negative_iou` by 1 and the best ones by 1 again: a
      positive below it counts by twice its similarity.
    - Proposals that are neither have the weight 0 and add exp(0) = 1.
    - Other tubes of the same video are plain negatives, however large their y.
    - Where no tube meets the truth, y is 0 everywhere, so the first proposal of the first tube is the
      positive, and all of that tube are the best.
    - 1e-6 is added to the sum.
    """
    rows = torch.arange(len(positive), device=positive.device)
    targets = batch.targets.index_select(0, found.tube)  # (V, P)
    best, low = (
        mask.to(similarity.dtype)
        for mask in (targets >= found.iou[:, None] - _TIE, targets < config.negative_iou)
    )
    of_tube = ((low + best) * similarity[rows, found.tube] - config.margin * best) / config.tau_sentence
    others = similarity / config.tau_sentence
    left_out = torch.arange(similarity.shape[1], device=positive.device) == found.own[:, None]
    others = others.masked_fill(left_out[..., None], -torch.inf).flatten(1)
    epsilon = positive.new_full((len(positive), 1), 1e-6).log()
    return torch.cat([positive[:, None], of_tube, others, epsilon], dim=1).logsumexp(dim=1)


def _same(batch: TubeBatch, videos: int) -> Tensor:
    """Which of the videos are one, (V, V) bool."""
    names = batch.names
    if names is None:
        names = torch.arange(videos, device=batch.video_of.device)
    return names[:, None] == names


def _positives(batch: TubeBatch, videos: int) -> _Positives:
    """The first of the largest y of each video, over its tubes in order."""
    counts = torch.bincount(batch.video_of, minlength=videos)
    first = counts.cumsum(0) - counts
    width = batch.targets.shape[1]
    place = torch.stack(
        [
            batch.targets[begin : begin + count].flatten().argmax()
            for begin, count in zip(first.tolist(), counts.tolist(), strict=True)
        ]
    )
    own, proposal = place // width, place % width
    tube = first + own
    return _Positives(tube, own, proposal, batch.targets[tube, proposal])


def _mean(each: Tensor, found: _Positives, config: LossConfig) -> Tensor:
    """Over the videos; corrected, over those of which a tube meets the truth, 0 where there is none."""
    if not config.corrected:
        return each.mean()
    meets = found.iou > 0
    return torch.where(meets, each, 0).sum() / meets.sum().clamp(min=1)
