"""The training loop: from annotations and features to a checkpoint."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.device import find_device
from mmn_index.errors import FeatureError, OutputError
from mmn_index.features import FeatureFile
from mmn_index.model import MMN
from mmn_index.text_encoder import load_pretrained

from .annotations import Annotations
from .batches import TrainingSet, loss_batch
from .config import Setting, TrainConfig
from .evaluate import evaluate_videos
from .losses import LossConfig, Losses, mmn_losses

_NAMES = ("iou", "video", "sentence")


@dataclass(frozen=True)
class TrainResult:
    """Where a run ended."""

    checkpoint: Path
    epoch: int  # whose weights were kept
    validation: Mapping[str, float] | None  # its R@n,IoU=m in percent


def train(
    setting: Setting, annotations: Annotations, features: FeatureFile, out: Path, *, validation: Annotations | None = None,
    device: str = "cpu", report: Callable[[str, int, int, str], None] = lambda what, done, total, note: None,
) -> TrainResult:  # fmt: skip
    """Train a model and write `out`/model (a checkpoint) and `out`/metrics.jsonl (a line an epoch).

    Args:
        validation: evaluated after each epoch; with select = "best" its mean R@1 chooses the epoch that is kept.
        report: called with (what, done, total, a note for people).

    Raises:
        OutputError: `out` exists already, or cannot be written.
        FeatureError, QueryError, ConfigError: input that does not fit.
    """
    setting = _with_width(setting, features)
    place = find_device(device)
    _make_folder(out)
    torch.manual_seed(setting.train.seed)
    bert, tokenizer = load_pretrained(setting.model.text_model)
    model = MMN(setting.model, bert, tokenizer).to(place)
    cached = setting.train.freeze_text_epochs >= setting.train.epochs and not setting.train.frozen_text_dropout
    data = TrainingSet(
        annotations,
        features,
        model,
        cache_text=cached,
        crop=setting.train.crop,
        report=lambda i, n: report("reading features", i, n, ""),
    )
    held_out = {v.video_id: stored_pre_clips(features, v.video_id, setting.model) for v in validation.videos} if validation else {}
    (out / "setting.json").write_text(json.dumps(asdict(setting), indent=1), encoding="utf-8")
    return _epochs(setting, model, data, out, features.backbone, validation, held_out, report)


def _epochs(
    setting: Setting, model: MMN, data: TrainingSet, out: Path, backbone: str | None, validation: Annotations | None,
    held_out: Mapping[str, Tensor], report: Callable[[str, int, int, str], None],
) -> TrainResult:  # fmt: skip
    config = setting.train
    optimiser = make_optimiser(model, config)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(config.milestones), gamma=0.1)
    target = out / "model"
    best, result = -math.inf, TrainResult(target, 0, None)
    with (out / "metrics.jsonl").open("w", encoding="utf-8") as log:
        for epoch in range(1, config.epochs + 1):
            line = run_epoch(setting, model, data, optimiser, epoch, report)
            schedule.step()
            scores = None
            if validation is not None:
                scores = evaluate_videos(model, validation.videos, held_out.__getitem__, score=config.score, nms=config.nms).table()
                line.update(scores)
            log.write(json.dumps(line) + "\n")
            log.flush()
            # Without a validation split there is nothing to choose by: the last epoch is kept.
            merit = scores["R@1,IoU=0.5"] + scores["R@1,IoU=0.7"] if scores and config.select == "best" else epoch
            if merit > best:
                best, result = merit, TrainResult(target, epoch, scores)
                checkpoint.save(model, target, features=backbone)
    return result


def run_epoch(
    setting: Setting, model: MMN, data: TrainingSet, optimiser: torch.optim.Optimizer, epoch: int,
    report: Callable[[str, int, int, str], None] = lambda what, done, total, note: None,
) -> dict[str, Any]:  # fmt: skip
    """One pass over the training videos; returns the mean losses and the rates."""
    config = setting.train
    weight = start_epoch(model, config, setting.loss, epoch)
    totals, seen = torch.zeros(3), 0
    order = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    for videos in data.batches(config.batch_size, order):
        pre_clips = torch.stack([video.pre_clips for video in videos])
        losses = mmn_losses(
            model.embed_videos(pre_clips), data.embed_text(videos, model), loss_batch(videos, model.device), setting.loss
        )
        step(model, optimiser, losses, weight, config.clip_norm)
        totals += torch.stack([losses.iou, losses.video, losses.sentence]).detach().cpu() * len(videos)
        seen += len(videos)
        means = totals / seen
        note = f"loss {float(means[0] + weight * means[1:].sum()):.3f}"
        report(f"epoch {epoch}/{config.epochs}", seen, len(data.videos), note)
    names = {f"loss_{name}": round(float(value), 6) for name, value in zip(_NAMES, means, strict=True)}
    return {"epoch": epoch, "lr": optimiser.param_groups[0]["lr"], "contrastive_weight": weight, **names}


def start_epoch(model: MMN, config: TrainConfig, loss: LossConfig, epoch: int) -> float:
    """Bring the model into the state of an epoch, counted from 1; returns the weight of its contrastive losses."""
    train_text = epoch > config.freeze_text_epochs
    for parameter in model.text_encoder.bert.parameters():
        parameter.requires_grad_(train_text)
    model.train()
    if not train_text and not config.frozen_text_dropout:
        model.text_encoder.bert.eval()
    late = epoch > config.full_contrastive_epochs
    return loss.contrastive_weight * (config.late_contrastive_factor if late else 1.0)


def step(model: MMN, optimiser: torch.optim.Optimizer, losses: Losses, weight: float, clip_norm: float) -> Tensor:
    """One optimiser step; returns the norm of the whole gradient before clipping."""
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(losses.total(weight))
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimiser.step()
    return norm


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
            f"{features.path}: features have width {features.dim}, the setting expects {setting.model.input_dim}. "
            "Set model.input_dim to 0 to take the features as they are, or choose other features."
        )
    return replace(setting, model=replace(setting.model, input_dim=features.dim))


def _make_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: exists already; a training run needs a new or empty folder.")
    try:
        # An empty folder is left where the rest of the preparation fails: the next run may take it.
        out.mkdir(parents=True, exist_ok=True)
        probe = out / "metrics.jsonl"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}). Choose another place with -o.") from error
