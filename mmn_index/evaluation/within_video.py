"""Recall within the right video: the benchmark's single-video protocol (SVMR)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model import MMN
from ..scoring import Embeddings, cosines
from .annotations import AnnotatedVideo
from .recall import chances, ranked_ious, recall

Recalls = tuple[tuple[int, float], ...]
RECALLS: Recalls = ((1, 0.5), (1, 0.7), (5, 0.5), (5, 0.7))  # the n and m of R@n,IoU=m


@dataclass(frozen=True)
class VideoRecall:
    """Single-video results of a split, one row a sentence in the order of the annotations."""

    ious: Tensor  # (Q, largest n) of the best moments after NMS, -1 where there were fewer
    chances: Tensor  # (Q, len(recalls)) of n proposals drawn at random
    sentences: tuple[str, ...]
    recalls: Recalls = RECALLS

    def table(self, rows: Tensor | None = None) -> dict[str, float]:
        """`R@n,IoU=m` and `mIoU` (of the best proposal) in percent, of all or of the given queries."""
        ious = self.ious if rows is None else self.ious[rows]
        values = {f"R@{n},IoU={m}": 100 * recall(ious, n, m) for n, m in self.recalls}
        return {**values, "mIoU": 100 * float(ious[:, 0].clamp(min=0).mean())}

    def chance(self) -> dict[str, float]:
        """Chance of each `R@n,IoU=m` in percent."""
        means = self.chances.mean(dim=0).tolist()
        return {f"R@{n},IoU={m}": 100 * value for (n, m), value in zip(self.recalls, means, strict=True)}


@torch.inference_mode()
def evaluate_videos(
    model: MMN,
    videos: Sequence[AnnotatedVideo],
    pre_clips: Callable[[str], Tensor],
    *,
    score: str = "product",
    nms: float = 0.5,
    recalls: Recalls = RECALLS,
    batch: int = 16,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> VideoRecall:
    """Rank the proposals of each sentence's own video.

    Args:
        pre_clips: (M, D) of a video, by its id.
        score: one of scoring.SCORES; `product` is the paper's.
        nms: temporal IoU above which NMS drops the worse moment.
        recalls: the n and m of the R@n,IoU=m that are asked for.

    Raises:
        FeatureError: a video has no usable features.
        QueryError: a sentence that the text encoder cannot read.
    """
    was_training = model.training
    model.eval()
    depth = max(n for n, _ in recalls)
    ranked, right = [], []
    sentences: list[str] = []
    for first in range(0, len(videos), batch):
        part = videos[first : first + batch]
        proposals = model.embed_videos(torch.stack([pre_clips(video.video_id) for video in part]))
        for number, video in enumerate(part):
            own = Embeddings(proposals.contrastive[number], proposals.iou[number])
            scores = scores_of(model, video.sentences, own, score)
            spans = model.grid.seconds(video.duration)
            ious = ranked_ious(scores, spans, video.moments, nms, depth)
            targets = model.grid.iou_targets(video.moments, video.duration)
            # Of a sentence with several right moments, the one that a proposal meets best counts.
            ranked.append(torch.stack([ious[same].amax(dim=0) for same in video.alike]))
            targets = torch.stack([targets[same].amax(dim=0) for same in video.alike])
            right.append(right_proposals(targets, recalls))
            sentences += [video.sentences[same[0]] for same in video.alike]
        report(min(first + batch, len(videos)), len(videos))
    model.train(was_training)
    random = [
        chances(count, len(model.grid), n) for (n, _), count in zip(recalls, torch.cat(right).T, strict=True)
    ]
    return VideoRecall(torch.cat(ranked), torch.stack(random, dim=1), tuple(sentences), recalls)


def scores_of(model: MMN, sentences: Sequence[str], proposals: Embeddings, score: str) -> Tensor:
    """(S, P) scores of sentences with the proposals of one video, on the CPU; -inf for what is no candidate.

    Args:
        proposals: two of (P, C).
    """
    c, i = cosines(model.embed_sentences(sentences), proposals)
    scores = model.score(score)(c, i).cpu()
    if score == "product":
        # The official evaluation reads candidates off the map's non-zero cells.
        scores = scores.masked_fill(scores == 0, -torch.inf)
    return scores


def right_proposals(targets: Tensor, recalls: Recalls) -> Tensor:
    """(S, P) IoU of each proposal -> (S, len(recalls)) how many of them are hits."""
    counts = {m: (targets >= torch.tensor(m, dtype=targets.dtype)).sum(dim=1) for _, m in recalls}
    return torch.stack([counts[m] for _, m in recalls], dim=1)
