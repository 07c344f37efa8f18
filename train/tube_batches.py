"""What training over tubes reads over and over: pre-clips and targets of every tube, tokens of sentences.

All of it is held in memory. A group is V videos with all of their tubes, which share the statistics of
BatchNorm and are each other's negatives (batches.py). A video with several sentences is there as often.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmn_index.errors import FeatureError
from mmn_index.evaluation.tube_truths import TubeTruths
from mmn_index.model import MMN
from mmn_index.tube_file import TubeFile
from mmn_index.tube_map import iou_targets
from mmn_index.tubes import Tube

from .tube_losses import TubeBatch

OFFICIAL_EXTRA = 1  # pixels that the official code adds to each side of a box


@dataclass(frozen=True)
class TubeGroup:
    """The R tubes of V videos that are embedded together, and a sentence for each video."""

    number: int  # its place in the step
    seed: int  # of its dropout
    pre_clips: Tensor  # (R, M, D)
    ids: Tensor  # (V, T) int64
    mask: Tensor  # (V, T) bool
    meanings: Tensor  # (V, 2) int64, the text of each, twice
    batch: TubeBatch

    def to(self, device: torch.device) -> "TubeGroup":
        """The same on a device."""
        pre_clips, ids, mask, meanings, video_of, targets = (
            x.to(device)
            for x in (
                self.pre_clips,
                self.ids,
                self.mask,
                self.meanings,
                self.batch.video_of,
                self.batch.targets,
            )
        )
        names = None if self.batch.names is None else self.batch.names.to(device)
        batch = TubeBatch(video_of, targets, names)
        return TubeGroup(self.number, self.seed, pre_clips, ids, mask, meanings, batch)


@dataclass(frozen=True)
class PreparedTubes:
    """The T tubes of one video, ready for training: (T, M, D) pre-clips and (T, P) targets."""

    video_id: str
    number: int  # of the video among all
    pre_clips: Tensor
    targets: Tensor
    text: int  # its sentence among all texts


class TubeTrainingSet:
    """A split, ready for training. Videos without a tube are left out, as officially.

    Args:
        model: gives the shapes and the tokenizer.
        extra: pixels added to the sides of boxes in targets; see `tubes.box_iou`.
        report: called with (videos read, videos in all).

    Raises:
        FeatureError: a tube is damaged or of another width, or no video has any.
        QueryError: a sentence that the text encoder cannot read.
    """

    def __init__(
        self,
        truths: TubeTruths,
        tubes: TubeFile,
        model: MMN,
        *,
        extra: float,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.texts = list(dict.fromkeys(truth.sentence for truth in truths.videos))
        numbers = {text: number for number, text in enumerate(self.texts)}
        self._ids, self._mask = model.tokenizer(self.texts)
        self.videos: list[PreparedTubes] = []
        places: dict[str, int] = {}
        read: dict[tuple[str, tuple[int, int] | None], tuple[list[Tube], Tensor]] = {}
        for done, truth in enumerate(truths.videos, 1):
            key = truth.video_id, truth.segment
            if key not in read and (found := truth.found(tubes)):
                read[key] = (
                    [one.tube for one in found],
                    torch.stack([tubes.pre_clips(truth.video_id, one, model.config) for one in found]),
                )
            if key in read:
                boxes, pre_clips = read[key]
                targets = torch.stack([iou_targets(model.grid, tube, truth.tube, extra) for tube in boxes])
                place, text = places.setdefault(truth.video_id, len(places)), numbers[truth.sentence]
                self.videos.append(PreparedTubes(truth.video_id, place, pre_clips, targets, text))
            report(done, len(truths.videos))
        if not self.videos:
            raise FeatureError(
                f"{tubes.path}: has no tube of any video of {truths.path}. Do the names match?"
            )

    def group(
        self, videos: Sequence[int], number: int, *, seed: int, epoch: int, added: Sequence[int] = ()
    ) -> TubeGroup:
        """Some of the videos as a group; see `TrainingSet.group`."""
        chosen = [self.videos[video] for video in videos]
        texts = torch.tensor([video.text for video in chosen])
        counts = torch.tensor([len(video.targets) for video in chosen])
        of = torch.arange(len(chosen)).repeat_interleave(counts)
        mask = self._mask[texts]
        longest = int(mask.sum(dim=1).max())
        return TubeGroup(
            number,
            seed,
            torch.cat([video.pre_clips for video in chosen]),
            self._ids[texts, :longest],
            mask[:, :longest],
            torch.stack([texts, texts], dim=1),
            TubeBatch(
                of,
                torch.cat([video.targets for video in chosen]),
                torch.tensor([video.number for video in chosen]),
            ),
        )

    def digest(self, mined: Tensor) -> str:
        """What the training data are, so that a run is resumed with the same."""
        found = hashlib.sha256(mined.numpy().tobytes())
        for video in self.videos:
            found.update(f"{video.video_id} {self.texts[video.text]}".encode("utf-8", "surrogatepass"))
            found.update(video.pre_clips.numpy().tobytes() + video.targets.numpy().tobytes())
        return found.hexdigest()
