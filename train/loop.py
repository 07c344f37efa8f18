"""The training loop: the epochs of a run and their steps.

The same seed gives the same weights on CPU, bit for bit, whether or not the run was killed and resumed on the
way; over another number of processes it gives the same up to the order of summation.
"""

import gc
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmn_index.errors import ConfigError
from mmn_index.evaluation.annotations import Annotations
from mmn_index.model import MMN

from .alike import Alike, pooled
from .batches import Group, TrainingSet, derived_seed, draw_negatives, split_epoch
from .config import Setting
from .distributed import World
from .embedding import index_videos
from .losses import Losses
from .mining import mine as mine_negatives
from .mining import mined_videos
from .objective import Objective
from .optimiser import make_optimiser, start_epoch
from .tube_batches import TubeGroup, TubeTrainingSet

Report = Callable[[str, int, int, str], None]  # what, done, total, a note for people
LOSSES = ("loss_iou", "loss_video", "loss_sentence")


class Run:
    """A model in training: what changes from step to step.

    Args:
        mined: (n, 2) videos and videos that were mined for them, by their numbers in `data`.
    """

    def __init__(
        self,
        setting: Setting,
        model: MMN,
        data: TrainingSet | TubeTrainingSet,
        processes: World,
        report: Report,
        mined: Tensor | None = None,
    ) -> None:
        config = setting.train
        self.mined = torch.empty(0, 2, dtype=torch.int64) if mined is None else mined
        self.setting, self.model, self.data, self.world, self.report = setting, model, data, processes, report
        self.optimiser = make_optimiser(model, config)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimiser, list(config.milestones), gamma=0.1
        )
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=config.precision == "float16")
        self._alike = None
        if config.removes_alike:
            self._alike = Alike.of(model, data.texts, cosine=config.alike_cosine, labels=config.alike_labels)
        self.objective = Objective(model, setting.loss, config, processes, self._alike)
        self._wrapped: nn.Module | None = None
        self._text_trained: bool | None = None
        if config.compile:
            model.video_encoder.compile()

    def epoch(self, epoch: int) -> dict[str, Any]:
        """One pass over the training videos; returns the mean losses, the rates and the speed."""
        config, started, place = self.setting.train, time.monotonic(), self.model.device
        weight = start_epoch(self.model, config, self.setting.loss, epoch)
        frozen = epoch <= config.freeze_text_epochs
        self._embed_texts(still=frozen and not config.text_dropout)
        self.wrap(not frozen)
        random = torch.Generator().manual_seed(derived_seed(config.seed, epoch))
        order = torch.randperm(len(self.data.videos), generator=random).tolist()
        totals, norms, seen = torch.zeros(3, device=place), torch.zeros((), device=place), 0
        rate = self.optimiser.param_groups[0]["lr"]
        for number, step in enumerate(split_epoch(order, config)):
            mine = range(self.world.rank, len(step), self.world.size)
            groups = [self._group(step, part, epoch, self.seed(epoch, number, part)) for part in mine]
            videos = sum(len(group) for group in step)
            losses, norm = self._checked_step(groups, len(step), weight, epoch)
            totals += losses * videos
            norms += norm * videos
            seen += videos
            if place.type == "cpu" or number % 20 == 0:  # a GPU would wait for each of these numbers
                mean = float(Losses(*(totals * self.world.size / seen)).total(weight))
                name, done = f"epoch {epoch}/{config.epochs}", min(seen, len(order))
                self.report(name, done, len(order), f"loss {mean:.3f}")
        means = (self.world.sum(totals) / seen).cpu()
        if not bool(torch.isfinite(means).all()):
            raise ConfigError(
                f"the losses of epoch {epoch} are {means.tolist()}. Is train.lr ({config.lr:g}) too high, or "
                "are the features huge?"
            )
        self.schedule.step()
        return {
            "epoch": epoch,
            "lr": rate,
            "contrastive_weight": weight,
            **{name: round(float(value), 6) for name, value in zip(LOSSES, means, strict=True)},
            "gradient_norm": round(float(norms / seen), 6),
            "videos_per_second": round(seen / (time.monotonic() - started), 2),
        }

    def seed(self, epoch: int, step: int, group: int) -> int:
        """What decides all that is random in a group: its crops, its added videos, its dropout."""
        return derived_seed(self.setting.train.seed, epoch, step, group)

    def _embed_texts(self, *, still: bool) -> None:
        """Give the objective all texts, embedded once, as long as the text encoder stands `still`."""
        if not still:
            self.objective.texts = None
        elif self.objective.texts is None:
            self.objective.texts = pooled(self.model, self.data.texts)

    def _checked_step(
        self, groups: Sequence[Group | TubeGroup], count: int, weight: float, epoch: int
    ) -> tuple[Tensor, Tensor]:
        try:
            return self.step(groups, count, weight)
        except RuntimeError as error:
            # What torch's cross entropy says of scores that are no numbers.
            if "between 0 and 1" not in str(error):
                raise
            rate = self.setting.train.lr
            raise ConfigError(
                f"the scores of epoch {epoch} are not finite. Is train.lr ({rate:g}) too high?"
            ) from error

    def _group(self, step: Sequence[Sequence[int]], place: int, epoch: int, seed: int) -> Group | TubeGroup:
        everything = [video for group in step for video in group]
        # No video has the number of all of them, so this seed is none of a crop's.
        draw = derived_seed(seed, epoch, len(self.data.videos))
        added = draw_negatives(self.mined, step[place], everything, self.setting.train.hard_negatives, draw)
        return self.data.group(step[place], place, seed=seed, epoch=epoch, added=added)

    def refresh(self, annotations: Annotations, root: Path) -> None:
        """Mine with the model as it is; the first process does, with the running statistics that are saved.

        Args:
            annotations: of the training videos.
            root: for the index of them, which is gone in the end.
        """
        if self.world.first:
            assert self._alike is not None
            self.model.eval()
            shutil.rmtree(root, ignore_errors=True)  # of a process that was killed
            pre_clips = {video.video_id: video.pre_clips for video in self.data.videos}
            try:
                index = index_videos(
                    self.model,
                    annotations.videos,
                    pre_clips.__getitem__,
                    root,
                    lambda done, total: self.report("embedding for negatives", done, total, ""),
                )
                table = mine_negatives(
                    index,
                    self.model,
                    annotations,
                    self._alike,
                    report=lambda done, total: self.report("mining negatives", done, total, ""),
                ).table
            finally:
                shutil.rmtree(root, ignore_errors=True)
            self.mined = mined_videos(table, [video.video_id for video in self.data.videos])
        self.mined = self.world.share(self.mined)

    def step(self, groups: Sequence[Group | TubeGroup], count: int, weight: float) -> tuple[Tensor, Tensor]:
        """One optimiser step over this process's groups of a step with `count` groups in all.

        Returns:
            (3,) this process's part of the mean losses: the sum over processes is the mean over groups; and
            the norm of the whole gradient before clipping.
        """
        self.optimiser.zero_grad(set_to_none=True)
        module = self._wrapped or self.objective
        if self.setting.train.negatives == "global":
            losses = self._backward(module, groups, weight, 1.0) / self.world.size
        else:
            losses = torch.zeros(3, device=self.model.device)
            for group in groups:
                more = group is not groups[-1] and isinstance(module, DistributedDataParallel)
                with module.no_sync() if more else nullcontext():  # type: ignore[operator]
                    # DistributedDataParallel takes the mean over processes, the paper the mean over groups.
                    losses += self._backward(module, [group], weight, self.world.size / count) / count
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.setting.train.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return losses, norm

    def _backward(
        self, module: nn.Module, groups: Sequence[Group | TubeGroup], weight: float, factor: float
    ) -> Tensor:
        losses: Tensor = module([group.to(self.model.device) for group in groups])
        torch.autograd.backward(self.scaler.scale(Losses(*losses).total(weight) * factor))
        return losses.detach()

    def wrap(self, text_trained: bool) -> None:
        """Share gradients over the processes; anew when the text encoder thaws, for frozen weights have
        none.
        """
        if self.world.size > 1 and text_trained != self._text_trained:
            self._wrapped = None
            gc.collect()  # the old one's hooks go with it
            # The first process's running statistics are the ones that count, and only it needs them (see
            # Objective).
            with warnings.catch_warnings(
                action="ignore", category=FutureWarning
            ):  # newer torch calls the argument otherwise
                self._wrapped = DistributedDataParallel(self.objective, broadcast_buffers=False)
        self._text_trained = text_trained

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "mined": self.mined,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up from `state`."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.mined = state["mined"]
