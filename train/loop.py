"""The training loop: from annotations and features to a checkpoint.

The same seed gives the same weights on CPU, bit for bit, whether or not the run was killed and resumed on the
way; over another number of processes it gives the same up to the order of summation.
"""

import gc
import hashlib
import math
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmn_index import checkpoint
from mmn_index.checkpoint import CheckpointInfo
from mmn_index.clips import stored_pre_clips
from mmn_index.config import ModelConfig
from mmn_index.errors import ConfigError, DependencyError, FeatureError
from mmn_index.evaluation.annotations import Annotations, hold_out
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.features import FeatureFile
from mmn_index.hub import model_folder
from mmn_index.model import MMN
from mmn_index.pretrained import load_pretrained

from .alike import Alike
from .batches import Group, TrainingSet, derived_seed, draw_negatives, readable, split_epoch
from .config import Setting, TrainConfig
from .distributed import World, world
from .embedding import index_videos
from .losses import LossConfig, Losses
from .mining import mine as mine_negatives
from .mining import mined_videos, read_negatives
from .objective import Objective
from .resume import RunFolder, TrainResult

Report = Callable[[str, int, int, str], None]  # what, done, total, a note for people
_NAMES = ("loss_iou", "loss_video", "loss_sentence")


def train(
    setting: Setting,
    annotations: Annotations,
    features: FeatureFile,
    out: Path,
    *,
    validation: Annotations | None = None,
    init: Path | None = None,
    hard_negatives: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    tensorboard: bool = False,
    self_contained: bool = False,
    report: Report = lambda what, done, total, note: None,
    tell: Callable[[str], None] = lambda remark: None,
) -> TrainResult:
    """Train a model into the folder `out`; resume.py says what lies there.

    Args:
        validation: evaluated after each epoch; with select = "best" its mean R@1 chooses the epoch that is
            kept. Without it, and with select = "best", the share `hold_out` of the training videos takes its
            place.
        init: a checkpoint to begin from, text encoder included, in place of new weights and the setting's
            text encoder.
        hard_negatives: what `mmn-index mine` wrote; for train.hard_negatives.
        resume: take up the run that `out` holds, if it holds one.
        tensorboard: write metrics for TensorBoard too.
        self_contained: the checkpoint gets a copy of a text encoder that stays frozen; else it refers to it.
        report: called with (what, done, total, a note for people).
        tell: called with remarks for people.

    Raises:
        OutputError: `out` holds something already, or cannot be written.
        FeatureError, QueryError, ConfigError, CheckpointError, AnnotationError: input that does not fit.
        DependencyError: TensorBoard is not installed.
    """
    setting = _with_width(setting, features)
    begun = checkpoint.info(init) if init else None
    if not (init or resume) and setting.model.text_model:
        model_folder(setting.model.text_model)  # before a folder is made for the run
    if begun:
        setting = replace(setting, model=_of_checkpoint(setting.model, begun, features))
    _check_negatives(setting.train, hard_negatives)
    if validation is None and setting.train.select == "best" and setting.train.hold_out:
        annotations, validation = hold_out(annotations, setting.train.hold_out)
    mined = torch.empty(0, 2, dtype=torch.int64)
    if hard_negatives:
        mined = read_negatives(hard_negatives, [video.video_id for video in annotations.videos])
    folder = RunFolder(out)
    splits = {"annotations": annotations, "validation": validation}
    made_of = {
        **asdict(setting),
        "init": begun and begun.fingerprint,
        **{k: v and v.digest for k, v in splits.items()},
    }
    with folder, world(device) as (processes, place):
        _check_spread(setting.train, len(annotations.videos), processes)
        done = processes.share(folder.open(made_of, resume=resume) if processes.first else None)
        if done is not None:
            return TrainResult(folder.model, done.epoch, done.validation, before=True)
        torch.manual_seed(setting.train.seed)
        if init:
            model = checkpoint.load(init).to(place)
        else:
            model = MMN(setting.model, *load_pretrained(setting.model.text_model)).to(place)
        annotations = readable(annotations, model, tell)
        validation = validation and readable(validation, model, tell)
        data = TrainingSet(
            annotations,
            features,
            model,
            folder.pre_clips,
            crop=setting.train.crop,
            world=processes,
            report=lambda i, n: report("reading features", i, n, ""),
        )
        held_out: dict[str, Tensor] = {}
        if processes.first:
            for video in validation.videos if validation else ():
                held_out[video.video_id] = stored_pre_clips(features, video.video_id, setting.model)
            folder.begin(made_of)
        run = Run(setting, model, data, processes, report, mined)
        save = partial(checkpoint.save, features=features.backbone, self_contained=self_contained)
        return _epochs(run, folder, annotations, save, validation, held_out, tensorboard)


class Run:
    """A model in training: what changes from step to step.

    Args:
        mined: (n, 2) videos and videos that were mined for them, by their numbers in `data`.
    """

    def __init__(
        self,
        setting: Setting,
        model: MMN,
        data: TrainingSet,
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
        config, started = self.setting.train, time.monotonic()
        weight = start_epoch(self.model, config, self.setting.loss, epoch)
        self.wrap(epoch > config.freeze_text_epochs)
        random = torch.Generator().manual_seed(derived_seed(config.seed, epoch))
        order = torch.randperm(len(self.data.videos), generator=random).tolist()
        totals, norms, seen = (
            torch.zeros(3, device=self.model.device),
            torch.zeros((), device=self.model.device),
            0,
        )
        lr = self.optimiser.param_groups[0]["lr"]
        for number, step in enumerate(split_epoch(order, config)):
            mine = range(self.world.rank, len(step), self.world.size)
            groups = [
                self._group(step, place, epoch, derived_seed(config.seed, epoch, number, place))
                for place in mine
            ]
            videos = sum(len(group) for group in step)
            try:
                losses, norm = self.step(groups, len(step), weight)
            except RuntimeError as error:
                if "between 0 and 1" not in str(
                    error
                ):  # what torch's cross entropy says of scores that are no numbers
                    raise
                raise ConfigError(
                    f"the scores of epoch {epoch} are not finite. Is train.lr ({config.lr:g}) too high?"
                ) from error
            totals += losses * videos
            norms += norm * videos
            seen += videos
            if (
                self.model.device.type == "cpu" or number % 20 == 0
            ):  # a GPU would wait for each of these numbers
                mean = float(Losses(*(totals * self.world.size / seen)).total(weight))
                self.report(
                    f"epoch {epoch}/{config.epochs}", min(seen, len(order)), len(order), f"loss {mean:.3f}"
                )
        means = (self.world.sum(totals) / seen).cpu()
        if not bool(torch.isfinite(means).all()):
            raise ConfigError(
                f"the losses of epoch {epoch} are {means.tolist()}. Is train.lr ({config.lr:g}) too high, or "
                "are the features huge?"
            )
        self.schedule.step()
        names = {name: round(float(value), 6) for name, value in zip(_NAMES, means, strict=True)}
        more = {
            "gradient_norm": round(float(norms / seen), 6),
            "videos_per_second": round(seen / (time.monotonic() - started), 2),
        }
        return {"epoch": epoch, "lr": lr, "contrastive_weight": weight, **names, **more}

    def _group(self, step: Sequence[Sequence[int]], place: int, epoch: int, seed: int) -> Group:
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

    def step(self, groups: Sequence[Group], count: int, weight: float) -> tuple[Tensor, Tensor]:
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

    def _backward(self, module: nn.Module, groups: Sequence[Group], weight: float, factor: float) -> Tensor:
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


def _epochs(
    run: Run,
    folder: RunFolder,
    annotations: Annotations,
    save: Callable[..., str],
    validation: Annotations | None,
    held_out: Mapping[str, Tensor],
    tensorboard: bool,
) -> TrainResult:
    config, first = run.setting.train, run.world.first
    digest = run.world.share(_digest(folder.pre_clips, run.data, run.mined) if first else None)
    epoch, best, result = _take_up(run, folder, digest)
    board = _tensorboard(folder, epoch) if tensorboard and first else None
    while epoch < config.epochs and not (config.patience and epoch - result.epoch >= config.patience):
        epoch += 1
        line = run.epoch(epoch)
        scores = None
        if first and validation is not None:
            evaluated = evaluate_videos(
                run.model, validation.videos, held_out.__getitem__, score=config.score, nms=config.nms
            )
            scores = evaluated.table()
            count, loss = (
                len(run.data.videos),
                Losses(*(torch.tensor(line[name]) for name in _NAMES)).total(line["contrastive_weight"]),
            )
            said = " ".join(f"{name} {scores[name]:.1f}" for name in ("R@1,IoU=0.5", "R@1,IoU=0.7"))
            run.report(
                f"epoch {epoch}/{config.epochs}", count, count, f"loss {float(loss):.3f}, validation {said}"
            )
        scores = run.world.share(scores)
        # Without a validation split there is nothing to choose by: the last epoch is kept.
        merit = (
            scores["R@1,IoU=0.5"] + scores["R@1,IoU=0.7"]
            if scores and config.select == "best"
            else float(epoch)
        )
        better = merit > best
        if better:
            best, result = merit, TrainResult(folder.model, epoch, scores)
        if config.refresh_epochs and epoch % config.refresh_epochs == 0 and epoch < config.epochs:
            run.refresh(annotations, folder.mined)
        if first:
            line.update(scores or {})
            folder.log(line)
            if board:
                for name, value in line.items():
                    board.add_scalar(name, value, epoch)
                board.flush()
            if better:
                sentences = (sentence for video in annotations.videos for sentence in video.sentences)
                save(run.model, folder.model, sentences=sentences)
            folder.save(
                {
                    **run.state(),
                    "data": digest,
                    "epoch": epoch,
                    "best": best,
                    "kept": [result.epoch, result.validation],
                }
            )
    if first:
        folder.finish(result)
    run.world.wait()
    return result


def _take_up(run: Run, folder: RunFolder, digest: str) -> tuple[int, float, TrainResult]:
    """Epochs done, merit of the best one, and that one: of an interrupted run, or of none."""
    state = folder.load()
    if state is not None:
        if state["data"] != digest:
            raise ConfigError(
                f"{folder.path}: its run had other annotations, features or negatives. Resume with the same "
                "ones."
            )
        run.restore(state)
    run.world.wait()  # nobody replaces the state before all have read it
    if run.world.first:
        folder.cut_log(state["epoch"] if state else 0)
    if state is None:
        return 0, -math.inf, TrainResult(folder.model, 0, None)
    return state["epoch"], state["best"], TrainResult(folder.model, *state["kept"])


def start_epoch(model: MMN, config: TrainConfig, loss: LossConfig, epoch: int) -> float:
    """Bring the model into the state of an epoch, counted from 1; returns the weight of its contrastive
    losses.

    The frozen text encoder stays in training mode, its dropout active, as in the official code.
    """
    unused = model.text_encoder.unused  # MMN takes the mean over tokens: some encoders bring a pooler along
    for name, parameter in model.text_encoder.bert.named_parameters():
        parameter.requires_grad_(epoch > config.freeze_text_epochs and name not in unused)
    model.train()
    late = epoch > config.full_contrastive_epochs
    return loss.contrastive_weight * (config.late_contrastive_factor if late else 1.0)


def make_optimiser(model: MMN, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in two groups: everything else, then the pre-trained text encoder at a lower rate."""
    text = {id(parameter) for parameter in model.text_encoder.bert.parameters()}
    base = [parameter for parameter in model.parameters() if id(parameter) not in text]
    groups = [
        {"params": base, "lr": config.lr},
        {"params": list(model.text_encoder.bert.parameters()), "lr": config.lr * config.text_lr_factor},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8, weight_decay=config.weight_decay)


def _with_width(setting: Setting, features: FeatureFile) -> Setting:
    """The setting with its input width settled."""
    if setting.model.input_dim not in (0, features.dim):
        raise FeatureError(
            f"{features.path}: features have width {features.dim}, the setting expects "
            f"{setting.model.input_dim}. "
            "Set model.input_dim to 0 to take the features as they are, or choose other features."
        )
    return replace(setting, model=replace(setting.model, input_dim=features.dim))


def _of_checkpoint(wanted: ModelConfig, begun: CheckpointInfo, features: FeatureFile) -> ModelConfig:
    """The configuration of a checkpoint to begin from, which the setting has to agree with; its text encoder
    comes along.
    """
    ours, theirs = wanted.to_json(), begun.config.to_json()
    if different := [name for name in theirs if name != "text_model" and ours[name] != theirs[name]]:
        what = "; ".join(
            f"model.{name} is {ours[name]!r}, the checkpoint has {theirs[name]!r}" for name in different
        )
        raise ConfigError(
            f"{begun.path}: the setting is of another model ({what}). Begin with the setting that it was "
            "trained with."
        )
    if begun.features and features.backbone and begun.features != features.backbone:
        raise FeatureError(
            f"{features.path}: holds features of backbone '{features.backbone}', but {begun.path} was "
            f"trained on '{begun.features}'. Extract the videos with that one."
        )
    return begun.config


def _check_negatives(config: TrainConfig, mined: Path | None) -> None:
    """What is mined is used, and what is used is mined."""
    if mined and not config.hard_negatives:
        raise ConfigError(
            f"{mined}: train.hard_negatives is 0, so that no group takes any. Say how many videos a group "
            "takes."
        )
    if config.hard_negatives and not (mined or config.refresh_epochs):
        raise ConfigError(
            f"train.hard_negatives is {config.hard_negatives}, but there is nothing to draw from. Name what "
            "`mmn-index mine` wrote with --hard-negatives, or set train.refresh_epochs."
        )


def _check_spread(config: TrainConfig, videos: int, processes: World) -> None:
    """Every process needs a group in every step."""
    fewest = min(len(step) for step in split_epoch(range(videos), config))
    if fewest < processes.size:
        raise ConfigError(
            f"{videos} videos in steps of {config.batch_size} and groups of "
            f"{config.group_size or config.batch_size} make {fewest} groups a step, too few for "
            f"{processes.size} processes. Start fewer, or lower train.group_size."
        )


def _digest(pre_clips: Path, data: TrainingSet, mined: Tensor) -> str:
    """What the training data are, so that a run is resumed with the same."""
    with pre_clips.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    for video in data.videos:
        digest.update(f"{video.video_id} {video.duration} {video.meanings.tolist()}".encode())
        digest.update(video.moments.numpy().tobytes())
    digest.update(mined.numpy().tobytes())
    return digest.hexdigest()


def _tensorboard(folder: RunFolder, epoch: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DependencyError(
            "TensorBoard is not installed. Add it with `pip install tensorboard`."
        ) from error
    return SummaryWriter(str(folder.tensorboard), purge_step=epoch + 1)
