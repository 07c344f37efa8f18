"""A training run: from annotations and features to the checkpoint of its best epoch."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmn_index import checkpoint
from mmn_index.checkpoint import CheckpointInfo
from mmn_index.errors import ConfigError, DependencyError
from mmn_index.evaluation.annotations import Annotations, hold_out
from mmn_index.evaluation.tube_truths import TubeTruths
from mmn_index.features import FeatureFile
from mmn_index.hub import model_folder
from mmn_index.model import MMN
from mmn_index.pretrained import load_pretrained
from mmn_index.tube_file import TubeFile

from .batches import TrainingSet, readable
from .checks import check_spread, fitting, remark_on_steps
from .config import Setting
from .distributed import World, world
from .loop import LOSSES, Report, Run
from .losses import Losses
from .mining import read_negatives
from .resume import RunFolder, TrainResult
from .selection import Selection, measuring, merits
from .tube_batches import OFFICIAL_EXTRA, TubeTrainingSet


def train(
    setting: Setting,
    annotations: Annotations | TubeTruths,
    features: FeatureFile | TubeFile,
    out: Path,
    *,
    validation: Annotations | TubeTruths | None = None,
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
            kept. Without it, the share `hold_out` of the training videos does.
        init: a checkpoint to begin from, text encoder included; not new weights and the setting's encoder.
        hard_negatives: what `mmn-index mine` wrote; for train.hard_negatives.
        resume: take up the run that `out` holds, if it holds one.
        tensorboard: write metrics for TensorBoard too.
        self_contained: the checkpoint copies a text encoder that stays frozen; else it refers to it.
        report, tell: called with (what, done, total, a note for people), and with remarks for people.

    Raises:
        OutputError: `out` holds something already, or cannot be written.
        FeatureError, QueryError, ConfigError, CheckpointError, AnnotationError: input that does not fit.
        DependencyError: TensorBoard is not installed.
    """
    begun = checkpoint.info(init) if init else None
    setting = fitting(setting, features, begun, hard_negatives)
    if not (init or resume) and setting.model.text_model:
        model_folder(setting.model.text_model)  # before a folder is made for the run
    if validation is None and setting.train.select == "best" and setting.train.hold_out:
        annotations, validation = _held_out(annotations, setting.train.hold_out)
    made_of = _made_of(setting, begun, annotations, validation)
    folder, mined = RunFolder(out), _mined(hard_negatives, annotations)
    with folder, world(device) as (processes, place):
        check_spread(setting.train, len(annotations.videos), processes)
        done = processes.share(folder.open(made_of, resume=resume) if processes.first else None)
        if done is not None:
            return TrainResult(folder.model, done.epoch, done.validation, before=True)
        model = _model(setting, init).to(place)
        annotations = readable(annotations, model, tell)
        validation = validation and readable(validation, model, tell)
        remark = None if init else remark_on_steps(setting.train, len(annotations.videos))
        if remark:
            tell(remark)
        data = _data(annotations, features, model, folder, setting, processes, report)
        measured = None
        if processes.first:
            measured = measuring(validation, features, setting, model)
            folder.begin(made_of)
        run = Run(setting, model, data, processes, report, mined)
        save = _saving(features, annotations, self_contained)
        return _epochs(run, folder, annotations, save, measured, tensorboard)


def _held_out(
    annotations: Annotations | TubeTruths, share: float
) -> tuple[Annotations, Annotations] | tuple[TubeTruths, TubeTruths]:
    """What is trained on, and what is kept back for the validation."""
    if isinstance(annotations, TubeTruths):
        return annotations.held_out(share)
    return hold_out(annotations, share)


def _data(
    annotations: Annotations | TubeTruths,
    features: FeatureFile | TubeFile,
    model: MMN,
    folder: RunFolder,
    setting: Setting,
    processes: World,
    report: Report,
) -> TrainingSet | TubeTrainingSet:
    if isinstance(annotations, TubeTruths):
        assert isinstance(features, TubeFile)
        extra = 0 if setting.loss.corrected else OFFICIAL_EXTRA
        return TubeTrainingSet(annotations, features, model, extra=extra, report=partial(_reading, report))
    assert isinstance(features, FeatureFile)
    return TrainingSet(
        annotations,
        features,
        model,
        folder.pre_clips,
        crop=setting.train.crop,
        world=processes,
        report=partial(_reading, report),
    )


def _saving(
    features: FeatureFile | TubeFile, annotations: Annotations | TubeTruths, self_contained: bool
) -> Callable[..., str]:
    """`checkpoint.save` with what this run was trained on."""
    return partial(
        checkpoint.save,
        features=features.backbone,
        durations=None if isinstance(annotations, TubeTruths) else annotations.durations,
        self_contained=self_contained,
    )


def _made_of(
    setting: Setting,
    begun: CheckpointInfo | None,
    annotations: Annotations | TubeTruths,
    validation: Annotations | TubeTruths | None,
) -> dict[str, Any]:
    """What a run is made of; it is resumed with the same."""
    splits = {"annotations": annotations.digest, "validation": validation and validation.digest}
    return {**asdict(setting), "init": begun and begun.fingerprint, **splits}


def _reading(report: Report, done: int, total: int) -> None:
    report("reading features", done, total, "")


def _model(setting: Setting, init: Path | None) -> MMN:
    """A checkpoint's model, or new weights by the seed around the setting's text encoder."""
    torch.manual_seed(setting.train.seed)
    return checkpoint.load(init) if init else MMN(setting.model, *load_pretrained(setting.model.text_model))


def _mined(negatives: Path | None, annotations: Annotations | TubeTruths) -> Tensor:
    """(n, 2): videos and those that were mined for them, by their numbers."""
    if negatives is None:
        return torch.empty(0, 2, dtype=torch.int64)
    return read_negatives(negatives, [video.video_id for video in annotations.videos])


def _epochs(
    run: Run,
    folder: RunFolder,
    annotations: Annotations | TubeTruths,
    save: Callable[..., str],
    validation: Callable[[MMN], dict[str, float]] | None,
    tensorboard: bool,
) -> TrainResult:
    config, first = run.setting.train, run.world.first
    digest = run.world.share(run.data.digest(run.mined) if first else None)
    selection = Selection(config, folder.model)
    epoch = _take_up(run, folder, selection, digest)
    board = _tensorboard(folder, epoch) if tensorboard and first else None
    while not selection.ended(epoch):
        epoch += 1
        line = run.epoch(epoch)
        scores = validation(run.model) if validation else None
        if scores:
            _tell(run, line, scores)
        scores = run.world.share(scores)
        better = selection.take(epoch, scores)
        if config.refresh_epochs and epoch % config.refresh_epochs == 0 and epoch < config.epochs:
            assert isinstance(annotations, Annotations)  # tubes have no mined negatives
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
            folder.save({**run.state(), "data": digest, "epoch": epoch, **selection.state()})
    if first:
        folder.finish(selection.result)
    run.world.wait()
    return selection.result


def _tell(run: Run, line: dict[str, Any], scores: dict[str, float]) -> None:
    """Report an epoch with its loss and its validation."""
    losses = Losses(*(torch.tensor(line[name]) for name in LOSSES))
    loss, count = float(losses.total(line["contrastive_weight"])), len(run.data.videos)
    said = " ".join(f"{name} {scores[name]:.1f}" for name in merits(scores))
    what = f"epoch {line['epoch']}/{run.setting.train.epochs}"
    run.report(what, count, count, f"loss {loss:.3f}, validation {said}")


def _take_up(run: Run, folder: RunFolder, selection: Selection, digest: str) -> int:
    """Restore an interrupted run, if there is one; returns how many epochs it had done."""
    state = folder.load()
    if state is not None:
        if state["data"] != digest:
            raise ConfigError(
                f"{folder.path}: its run had other annotations, features or negatives. Resume with the same "
                "ones."
            )
        run.restore(state)
        selection.restore(state)
    run.world.wait()  # nobody replaces the state before all have read it
    epoch = state["epoch"] if state else 0
    if run.world.first:
        folder.cut_log(epoch)
    return int(epoch)


def _tensorboard(folder: RunFolder, epoch: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DependencyError(
            "TensorBoard is not installed. Add it with `pip install tensorboard`."
        ) from error
    return SummaryWriter(str(folder.tensorboard), purge_step=epoch + 1)
