"""What training reads over and over, made once: pre-clips, IoU targets and tokens of every video of a split.

Pre-clips lie in one memory-mapped file, V * M * D * 4 bytes (2.8 GB for Charades-STA with VGG features),
which all processes of a run share and which may be larger than the memory; targets and tokens are held in
memory.

A step's videos are cut into groups. A group is embedded together, so its videos share the statistics of
BatchNorm, and with `negatives: group` they are each other's negatives: what one GPU of the paper's runs saw.
Which video lies in which group depends on the seed and the epoch, never on the number of processes.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from mmn_index.clips import pool_to_pre_clips
from mmn_index.errors import OutputError
from mmn_index.evaluation.annotations import Annotations
from mmn_index.features import FeatureFile
from mmn_index.model import MMN
from mmn_index.proposals import ProposalGrid

from .alike import meanings
from .config import TrainConfig
from .distributed import World
from .losses import Batch


class _Worded(Protocol):
    """A split whose sentences can be cut."""

    @property
    def cut_remark(self) -> str: ...

    @property
    def cut(self) -> int: ...

    def worded(self, shortened: Callable[[Sequence[str]], list[str]]) -> Self: ...


_Split = TypeVar("_Split", bound=_Worded)


def derived_seed(*numbers: int) -> int:
    """One seed out of several numbers, such as (seed of the run, epoch, step, group)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def readable(split: _Split, model: MMN, tell: Callable[[str], None]) -> _Split:
    """A split with sentences as long as a model's text encoder reads; what is cut is told."""
    found = split.worded(model.tokenizer.shortened)
    if found.cut:
        tell(found.cut_remark)
    return found


def split_epoch(order: Sequence[int], config: TrainConfig) -> list[list[list[int]]]:
    """Cut the videos of an epoch into steps, and each step into groups.

    `negatives: group` cuts as the official sampler deals videos to GPUs: the order is filled up with its own
    beginning to a multiple of the number of groups, each group number owns one contiguous part and takes
    `group_size` of it a step; the last step may be smaller. With `negatives: global` a video must not meet
    its own copy, so nothing is filled up: the videos are spread evenly over the steps, and each step's over
    its groups.
    """
    groups = config.num_groups
    if config.negatives == "group":
        size = config.batch_size // groups
        part = -(-len(order) // groups)
        filled = [order[number % len(order)] for number in range(part * groups)]
        parts = [filled[number * part : (number + 1) * part] for number in range(groups)]
        return [[owned[first : first + size] for owned in parts] for first in range(0, part, size)]
    steps = -(-len(order) // config.batch_size)
    dealt = [chunk.tolist() for chunk in np.array_split(np.asarray(order), steps)]
    return [
        [chunk.tolist() for chunk in np.array_split(np.asarray(step), min(groups, len(step)))]
        for step in dealt
    ]


def draw_negatives(
    mined: Tensor, videos: Sequence[int], step: Sequence[int], count: int, seed: int
) -> list[int]:
    """Up to `count` of the videos that were mined for some videos, none of them a video of the step.

    Args:
        mined: (n, 2) int64, a video and one that was mined for its sentences.
        step: all videos of the step: among global negatives a video must not meet its own copy.
    """
    found = sorted(set(mined[torch.isin(mined[:, 0], torch.tensor(videos)), 1].tolist()) - set(step))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    return [found[number] for number in order[:count].tolist()]


@dataclass(frozen=True)
class Added:
    """The T annotated moments of the videos that were added to a group: no sentence of them is asked."""

    video_of: Tensor  # (T,) int64
    targets: Tensor  # (T, P)
    meanings: Tensor  # (T, 2) int64


@dataclass(frozen=True)
class Group:
    """V videos that are embedded together, the added ones last, with the S sentences of the others."""

    number: int  # its place in the step
    seed: int  # of its dropout
    pre_clips: Tensor  # (V, M, D)
    ids: Tensor  # (S, T) int64
    mask: Tensor  # (S, T) bool
    meanings: Tensor  # (S, 2) int64, see alike.py
    batch: Batch
    added: Added

    def to(self, device: torch.device) -> "Group":
        """The same on a device."""

        def move(x: Tensor) -> Tensor:
            return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)

        batch = Batch(*(move(x) for x in (self.batch.video_of, self.batch.moments, self.batch.targets)))
        added = Added(*(move(x) for x in (self.added.video_of, self.added.targets, self.added.meanings)))
        pre_clips, ids, mask, meanings = (
            move(x) for x in (self.pre_clips, self.ids, self.mask, self.meanings)
        )
        return Group(self.number, self.seed, pre_clips, ids, mask, meanings, batch, added)


@dataclass(frozen=True)
class PreparedVideo:
    """One video, ready for training: (M, D) pre-clips, (S, 2) moments, (S, P) targets, (S, 2) meanings of its
    sentences.
    """

    video_id: str
    duration: float
    pre_clips: Tensor
    moments: Tensor
    targets: Tensor
    meanings: Tensor
    snippets: Tensor | None = None  # (S, D), kept where crops are taken


def cropped(
    video: PreparedVideo, share: float, grid: ProposalGrid, generator: torch.Generator
) -> PreparedVideo:
    """The video without up to `share` of it, cut off at its beginning and its end.

    Moments that do not lie wholly inside go, with their sentences; where none is left, the video stays as it
    is. The clips of every crop lie elsewhere, so a few hundred videos teach more than their own cuts.
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
        meanings=video.meanings[inside],
    )


class TrainingSet:
    """A split, ready for training.

    Args:
        model: gives the shapes and the tokenizer.
        cache: file for the pre-clips; the first process of `world` makes it.
        crop: groups hold crops, see `cropped`; 0 for whole videos.
        report: called with (videos read, videos in all).

    Raises:
        FeatureError: a video of the annotations has no usable features.
        QueryError: a sentence that the text encoder cannot read.
        OutputError: the cache cannot be written.
    """

    def __init__(
        self,
        annotations: Annotations,
        features: FeatureFile,
        model: MMN,
        cache: Path,
        *,
        crop: float = 0.0,
        world: World | None = None,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        world = world or World()
        self._cache = cache
        self._crop, self._grid = crop, model.grid
        self.texts, known = meanings(annotations)
        self._ids, self._mask = model.tokenizer(self.texts)
        shape = (len(annotations.videos), model.config.num_pre_clips, features.dim)
        snippets: list[Tensor | None] = [None] * shape[0]
        if world.first:
            _write(cache, annotations, features, shape, report)
        world.wait()
        mapped = torch.from_file(
            str(cache), shared=True, size=shape[0] * shape[1] * shape[2], dtype=torch.float32
        ).view(shape)
        if crop:
            snippets = [
                torch.from_numpy(features.read(video.video_id, shape[2])) for video in annotations.videos
            ]
        self.videos = [
            PreparedVideo(
                video.video_id,
                video.duration,
                mapped[number],
                video.moments,
                model.grid.iou_targets(video.moments, video.duration),
                known[number],
                snippets[number],
            )
            for number, video in enumerate(annotations.videos)
        ]

    def group(
        self, videos: Sequence[int], number: int, *, seed: int, epoch: int, added: Sequence[int] = ()
    ) -> Group:
        """Some of the videos as a group.

        Args:
            number: of the group in its step.
            seed: of this group; with the epoch and the videos it decides everything random.
            added: videos whose sentences are not asked.
        """
        numbers = [*videos, *added]
        chosen = [self.videos[video] for video in numbers]
        if self._crop:
            random = [torch.Generator().manual_seed(derived_seed(seed, epoch, video)) for video in numbers]
            chosen = [
                cropped(video, self._crop, self._grid, one) for video, one in zip(chosen, random, strict=True)
            ]
        counts = [len(video.moments) for video in chosen]
        of = torch.arange(len(chosen)).repeat_interleave(torch.tensor(counts))
        known, moments, targets = (
            torch.cat([getattr(video, name) for video in chosen])
            for name in ("meanings", "moments", "targets")
        )
        asked = sum(counts[: len(videos)])
        rows = known[:asked, 0]
        mask = self._mask[rows]
        longest = int(mask.sum(dim=1).max())
        batch = Batch(of[:asked], moments[:asked], targets[:asked])
        others = Added(of[asked:], targets[asked:], known[asked:])
        pre_clips = torch.stack([video.pre_clips for video in chosen])
        return Group(
            number,
            seed,
            pre_clips,
            self._ids[rows, :longest],
            mask[:, :longest],
            known[:asked],
            batch,
            others,
        )

    def digest(self, mined: Tensor) -> str:
        """What the training data are, so that a run is resumed with the same.

        Args:
            mined: (n, 2) videos and those that were mined for them.
        """
        with self._cache.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        for video in self.videos:
            digest.update(f"{video.video_id} {video.duration} {video.meanings.tolist()}".encode())
            digest.update(video.moments.numpy().tobytes())
        digest.update(mined.numpy().tobytes())
        return digest.hexdigest()


def _write(
    cache: Path,
    annotations: Annotations,
    features: FeatureFile,
    shape: tuple[int, int, int],
    report: Callable[[int, int], None],
) -> None:
    """All pre-clips into one file, written aside and renamed."""
    aside = cache.with_name(f"{cache.name}.tmp")
    try:
        with aside.open("wb") as file:
            for done, video in enumerate(annotations.videos, 1):
                snippets = torch.from_numpy(features.read(video.video_id, shape[2]))
                file.write(pool_to_pre_clips(snippets, shape[1]).float().numpy().tobytes())
                report(done, shape[0])
        aside.replace(cache)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OutputError(
            f"{cache}: cannot be written ({error.strerror or error}). It takes "
            f"{shape[0] * shape[1] * shape[2] * 4:,} bytes."
        ) from error
