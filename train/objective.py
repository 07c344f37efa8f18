"""The losses of a step as one module: embed each group, then compare within groups or over all videos of the
step.

This is what DistributedDataParallel wraps, and where mixed precision, the statistics of BatchNorm and the
random numbers of dropout are settled, so that none of them depends on how many processes share a step.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmn_index.model import MMN, unit
from mmn_index.scoring import Embeddings

from .alike import Alike, described
from .batches import Added, Group
from .config import PRECISIONS, TrainConfig
from .distributed import World
from .losses import Batch, LossConfig, Losses, mmn_losses
from .tube_batches import TubeGroup
from .tube_losses import tube_losses


class Objective(nn.Module):
    """Groups of videos to the three losses.

    With `negatives: group` every group is a step of its own and is given alone; its losses know only its own
    videos. With `negatives: global` all groups of this process are given at once, and the losses compare all
    videos of all processes, gradients included (every process computes the same losses).

    Args:
        alike: says which sentences of different videos are no negatives of each other; None: all are
            negatives.
        texts: (texts, width) what a frozen text encoder without dropout makes of the distinct texts; None:
            it embeds each group's.
    """

    def __init__(
        self,
        model: MMN,
        loss: LossConfig,
        config: TrainConfig,
        world: World,
        alike: Alike | None = None,
        texts: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._loss = loss
        self._alike = alike
        self.texts = texts
        self._everything = config.negatives == "global"
        self._precision = PRECISIONS[config.precision]
        self._world = world

    def forward(self, groups: Sequence[Group | TubeGroup]) -> Tensor:
        """(3,): the losses of the IoU head, of videos and of sentences, not yet weighted."""
        embedded = [self.embed(group) for group in groups]
        if isinstance(groups[0], TubeGroup):  # these are each other's negatives within a group alone
            losses = tube_losses(*embedded[0], groups[0].batch, self._loss)
        else:
            losses = self._of_moments(embedded, [group for group in groups if isinstance(group, Group)])
        return torch.stack([losses.iou, losses.video, losses.sentence])

    def _of_moments(
        self, embedded: Sequence[tuple[Embeddings, Embeddings]], groups: Sequence[Group]
    ) -> Losses:
        videos, sentences = (
            Embeddings(*(torch.cat(parts) for parts in zip(*side, strict=True)))
            for side in zip(*embedded, strict=True)
        )
        batch, meanings, added = _join(groups)
        if self._everything:
            videos, sentences, batch, meanings, added = self._gather(
                videos, sentences, batch, meanings, added
            )
        if self._alike is not None:
            batch = self._without_false_negatives(self._alike, batch, meanings, added, len(videos.iou))
        return mmn_losses(videos, sentences, batch, self._loss)

    def _without_false_negatives(
        self, alike: Alike, batch: Batch, meanings: Tensor, added: Added, videos: int
    ) -> Batch:
        video_of = torch.cat([batch.video_of, added.video_of])
        pairs = alike(meanings, torch.cat([meanings, added.meanings])) & (batch.video_of[:, None] != video_of)
        matches = torch.cat([batch.targets, added.targets]) >= self._loss.negative_iou
        asked = pairs[:, : len(meanings)]
        return replace(batch, alike=asked, described=described(pairs, video_of, matches, videos))

    def embed(self, group: Group | TubeGroup) -> tuple[Embeddings, Embeddings]:
        """Unit embeddings of the group's videos, (V, P, C), and of its sentences, (S, C)."""
        # Seeded for the group, dropout is the same wherever and after whichever interruption the group is
        # computed.
        torch.manual_seed(group.seed)
        device = group.pre_clips.device.type
        with (
            running_statistics(self.model, update=group.number == 0),
            torch.autocast(device, dtype=self._precision, enabled=self._precision is not None),
        ):
            video = self.model.video_encoder(group.pre_clips)
            if self.texts is None:
                text = self.model.text_encoder(group.ids, group.mask)
            else:
                text = self.model.text_encoder.project(self.texts[group.meanings[:, 0]])
        # The losses exponentiate cosines / 0.1: they stay in the precision of the weights.
        exact = self.model.text_encoder.norm.weight.dtype
        return unit(Embeddings(*(x.to(exact) for x in video))), unit(Embeddings(*(x.to(exact) for x in text)))

    def _gather(
        self, videos: Embeddings, sentences: Embeddings, batch: Batch, meanings: Tensor, added: Added
    ) -> tuple[Embeddings, Embeddings, Batch, Tensor, Added]:
        world = self._world
        counts = torch.zeros(world.size, dtype=torch.int64, device=batch.video_of.device)
        counts[world.rank] = len(videos.iou)
        before = int(world.sum(counts)[: world.rank].sum())
        return (
            Embeddings(*(world.join(x) for x in videos)),
            Embeddings(*(world.join(x) for x in sentences)),
            Batch(world.join(batch.video_of + before), world.join(batch.moments), world.join(batch.targets)),
            world.join(meanings),
            Added(world.join(added.video_of + before), world.join(added.targets), world.join(added.meanings)),
        )


@contextmanager
def running_statistics(model: nn.Module, *, update: bool) -> Iterator[None]:
    """Within it, BatchNorm uses the statistics of its input as in training, and remembers them only if
    `update`.

    In the official runs each GPU has running statistics of its own and the first one's are saved: those of
    the first group of each step.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = update
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _join(groups: Sequence[Group]) -> tuple[Batch, Tensor, Added]:
    """Several groups as one, and the meanings of their sentences; the videos are counted on."""
    sizes = [len(group.pre_clips) for group in groups]
    first = [sum(sizes[:number]) for number in range(len(sizes))]
    batch = Batch(
        torch.cat([group.batch.video_of + start for group, start in zip(groups, first, strict=True)]),
        torch.cat([group.batch.moments for group in groups]),
        torch.cat([group.batch.targets for group in groups]),
    )
    added = Added(
        torch.cat([group.added.video_of + start for group, start in zip(groups, first, strict=True)]),
        torch.cat([group.added.targets for group in groups]),
        torch.cat([group.added.meanings for group in groups]),
    )
    return batch, torch.cat([group.meanings for group in groups]), added
