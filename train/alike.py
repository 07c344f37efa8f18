"""Which sentences mean the same, so that what one describes is no negative of the other.

A sentence is known by its meaning, two numbers: the row of its text among the distinct texts of its split,
and the number of its label, -1 where it has none. Alike are equal texts; equal labels, where labels count;
and texts whose embeddings by the pre-trained text encoder, before any training of ours, have a cosine from
some value on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mmn_index.evaluation.annotations import Annotations
from mmn_index.model import MMN

_BATCH = 256  # sentences that are embedded at once


def meanings(annotations: Annotations) -> tuple[list[str], list[Tensor]]:
    """The distinct texts of a split, sorted, and the meanings of each video's sentences: (S, 2) int64
    each.
    """
    texts = sorted({sentence for video in annotations.videos for sentence in video.sentences})
    rows = {text: row for row, text in enumerate(texts)}
    names = sorted({label for video in annotations.videos for label in video.labels or ()})
    numbers = {name: number for number, name in enumerate(names)}
    return texts, [
        torch.tensor(
            [
                (rows[text], -1 if label is None else numbers[label])
                for text, label in zip(
                    video.sentences, video.labels or [None] * len(video.sentences), strict=True
                )
            ]
        )
        for video in annotations.videos
    ]


class Alike:
    """Compares meanings.

    Args:
        vectors: (texts, width) unit embeddings of the distinct texts; None where cosines do not count.
        cosine: from which cosine on two texts are alike; 0 where cosines do not count.
        labels: whether equal labels are alike.
    """

    def __init__(self, vectors: Tensor | None, *, cosine: float, labels: bool) -> None:
        self._vectors, self._cosine, self._labels = vectors, cosine, labels

    @classmethod
    def of(cls, model: MMN, texts: Sequence[str], *, cosine: float, labels: bool) -> "Alike":
        """With the embeddings of a model's text encoder as it is now."""
        vectors = functional.normalize(pooled(model, texts), dim=1) if cosine else None
        return cls(vectors, cosine=cosine, labels=labels)

    def __call__(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Which of (A, 2) and (B, 2) meanings are alike: (A, B) bool."""
        same = ours[:, None, 0] == theirs[:, 0]
        if self._labels:
            same |= (ours[:, None, 1] == theirs[:, 1]) & (theirs[:, 1] >= 0)
        if self._vectors is not None:
            near = self._vectors[ours[:, 0]] @ self._vectors[theirs[:, 0]].T >= self._cosine
            same |= near.to(same.device)
        return same


@torch.no_grad()
def pooled(model: MMN, texts: Sequence[str]) -> Tensor:
    """Texts by the text encoder alone, without dropout and without our heads: (texts, width)."""
    bert, training = model.text_encoder.bert, model.text_encoder.bert.training
    bert.eval()
    parts = []
    for first in range(0, len(texts), _BATCH):
        ids, mask = model.tokenizer(texts[first : first + _BATCH])
        parts.append(model.text_encoder.pool(ids.to(model.device), mask.to(model.device)))
    bert.train(training)
    return torch.cat(parts)


def described(alike: Tensor, video_of: Tensor, matches: Tensor, num_videos: int) -> Tensor:
    """Proposals of other videos that a sentence describes as well, because one that is alike was written for
    them.

    Args:
        alike: (S, T) bool, S sentences and T annotated moments, never of one video.
        video_of: (T,) the video of each annotated moment.
        matches: (T, P) bool, the proposals of that video that match the moment.

    Returns:
        (S, V, P) bool.
    """
    sentence, other = alike.nonzero(as_tuple=True)
    counts = torch.zeros(len(alike), num_videos, matches.shape[1], dtype=torch.int32, device=alike.device)
    return counts.index_put_((sentence, video_of[other]), matches[other].int(), accumulate=True) > 0
