"""Scores that rank a collection, measured by brute force: every score of every moment for every distinct
sentence of a test split.

Used by benchmarks/negatives.py. The index gives the same lists for the scores that it knows (a check there
says so); here also stand those that were tried and are not shipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.evaluation.annotations import Annotations
from mmn_index.features import FeatureFile
from mmn_index.moments import nms_lists, temporal_iou
from mmn_index.scoring import IOU_SCALE, Embeddings

NMS, LENGTH, HIT = 0.5, 100, 0.5  # of the ranked lists, and the IoU of a hit
_DEPTH = 6000  # moments that NMS looks at
_BATCH = 16  # videos that are embedded together


@dataclass(frozen=True)
class Collection:
    """A model's view of a test split, with labels: what is right for a sentence is every moment of its label.

    Moments are numbered through the videos: moment n is proposal n % P of video n // P.
    """

    sentences: tuple[str, ...]  # distinct
    counts: Tensor  # (Q,) how often each occurs
    labels: tuple[str, ...]  # of each
    seen: Tensor  # (Q,) bool: training had this wording
    queries: Embeddings  # two of (Q, C)
    bank: Embeddings  # of the distinct sentences of the training split, two of (B, C)
    moments: Embeddings  # two of (V * P, C), float16 values as an index keeps them
    spans: Tensor  # (V, P, 2) seconds
    right: dict[str, Tensor]  # label -> (V * P,) bool
    holders: dict[str, int]  # label -> videos that have it
    tau: float

    @cached_property
    def cosines(self) -> tuple[Tensor, Tensor]:
        """Both cosines of all pairs, two of (Q, V * P)."""
        return self.queries.contrastive @ self.moments.contrastive.T, self.queries.iou @ self.moments.iou.T


@torch.inference_mode()
def collection(model_path: Path, features: FeatureFile, test: Annotations, train: Annotations) -> Collection:
    """Embed a test split and the training split's sentences."""
    model = checkpoint.load(model_path)
    parts = []
    for first in range(0, len(test.videos), _BATCH):
        pre_clips = [
            stored_pre_clips(features, v.video_id, model.config) for v in test.videos[first : first + _BATCH]
        ]
        parts.append(
            Embeddings(*(x.flatten(0, 1).half().float() for x in model.embed_videos(torch.stack(pre_clips))))
        )
    spans = torch.stack([model.grid.seconds(video.duration) for video in test.videos])
    every = [
        (s, label)
        for video in test.videos
        for s, label in zip(video.sentences, video.labels or (), strict=True)
    ]
    labels = dict(every)
    known = {sentence for video in train.videos for sentence in video.sentences}
    right = {label: torch.zeros(spans.shape[:2], dtype=torch.bool) for label in labels.values()}
    for number, video in enumerate(test.videos):
        for label, moment in zip(video.labels or (), video.moments, strict=True):
            right[label][number] |= temporal_iou(spans[number], moment) >= HIT
    has = {label: sum(label in (video.labels or ()) for video in test.videos) for label in right}
    names = [sentence for sentence, _ in every]
    return Collection(
        tuple(labels),
        torch.tensor([names.count(s) for s in labels]),
        tuple(labels.values()),
        torch.tensor([s in known for s in labels]),
        model.embed_sentences(list(labels)),
        model.embed_sentences(sorted(known)),
        Embeddings(*(torch.cat(x) for x in zip(*parts, strict=True))),
        spans,
        {k: v.flatten() for k, v in right.items()},
        has,
        model.config.tau,
    )


def scores(world: Collection) -> Iterator[tuple[str, Tensor]]:
    """Name and (Q, V * P) scores of everything that was tried."""
    (c, i), tau = world.cosines, world.tau
    match, bank = logsigmoid(IOU_SCALE * i), world.bank.contrastive @ world.moments.contrastive.T
    product = {power: power * (0.5 * c + 0.5).clamp(min=1e-6).log() + match for power in (0.5, 4, 8)}
    both = c / tau + match
    yield "product, power 0.5", product[0.5]
    yield "product, power 4", product[4]
    yield "product, power 8", product[8]
    yield "contrastive", c
    yield "iou", match
    yield "collection", both
    yield "collection, c counted half", 0.5 * c / tau + match
    yield "collection, c counted twice", 2 * c / tau + match
    yield "best video by c, its moment by the product", _by_video(c, product[0.5], world)
    softmax = tau * (bank / tau).logsumexp(dim=0) - tau * torch.tensor(len(bank)).log()
    for share in (0.25, 0.5, 1.0):
        yield f"collection, hub {share:g}, inverted softmax", both - share * softmax / tau
    hubs = set(
        (bank / tau + logsigmoid(IOU_SCALE * (world.bank.iou @ world.moments.iou.T))).argmax(dim=1).tolist()
    )
    active = torch.tensor([top in hubs for top in both.argmax(dim=1).tolist()])
    yield (
        "collection, dynamic inverted softmax (QB-Norm)",
        torch.where(active[:, None], both - softmax / tau, both),
    )
    near = world.queries.contrastive @ world.bank.contrastive.T >= 0.7
    kept = torch.where(near[:, :, None], 0, 1).float()[..., 0] @ (bank / tau).exp()
    left = tau * (kept / (~near).sum(dim=1, keepdim=True).clamp(min=1)).clamp(min=1e-9).log()
    for share in (0.5, 1.0):
        yield (
            f"collection, hub {share:g}, inverted softmax without bank sentences near the query",
            both - share * left / tau,
        )
    for what, count in (("10", 10), ("a third of the bank", len(bank) // 3), ("the whole bank", len(bank))):
        mean = bank.topk(min(count, len(bank)), dim=0).values.mean(dim=0)
        for share in (0.25, 0.5, 0.75, 1.0):
            yield f"collection, hub {share:g}, CSLS over {what}", both - share * mean / tau


def ranked(values: Tensor, world: Collection) -> Tensor:
    """(Q, V * P) scores -> (Q, LENGTH) moments after NMS within a video, best first, -1 where none is
    left.
    """
    best, rows = values.topk(min(_DEPTH, values.shape[1]), dim=1)
    kept = nms_lists(
        world.spans.flatten(0, 1)[rows], rows // world.spans.shape[1], best > -torch.inf, NMS, LENGTH
    )
    return torch.where(kept >= 0, rows.gather(1, kept.clamp(min=0)), -1)


def measured(rows: Tensor, world: Collection) -> Tensor:
    """(Q, LENGTH) moments -> (Q, 3) average precision (one credit a video), precision at 1, precision
    at 10.
    """
    found = []
    for label, line in zip(world.labels, rows.tolist(), strict=True):
        hits = [row >= 0 and bool(world.right[label][row]) for row in line]
        credited: set[int] = set()
        total = 0.0
        for rank, (row, hit) in enumerate(zip(line, hits, strict=True), 1):
            video = row // world.spans.shape[1]
            if hit and video not in credited:
                credited.add(video)
                total += len(credited) / rank
        found.append([total / world.holders[label], float(hits[0]), sum(hits[:10]) / 10])
    return torch.tensor(found, dtype=torch.float64)


def interval(differences: Tensor, counts: Tensor, resamples: int = 2000) -> tuple[float, float]:
    """95 % of the resampled weighted means of (Q,) paired differences, drawn by wording."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(counts), (resamples, len(counts)), generator=random)
    weight = counts.double()[drawn]
    means = (differences[drawn] * weight).sum(dim=1) / weight.sum(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def weighted(values: Tensor, counts: Tensor) -> float:
    """Mean over sentences of (Q,) values of distinct ones."""
    return float((values * counts).sum() / counts.sum())


def _by_video(first: Tensor, second: Tensor, world: Collection) -> Tensor:
    """One moment a video, the best by `second`, at the video's best value of `first`."""
    shape = (len(first), *world.spans.shape[:2])
    choice = second.view(shape).argmax(dim=2, keepdim=True)
    return (
        torch.full(shape, -torch.inf)
        .scatter(2, choice, first.view(shape).amax(dim=2, keepdim=True))
        .flatten(1)
    )
