"""What has to fit before a run begins: features, a checkpoint to begin from, negatives, processes."""

from dataclasses import replace
from pathlib import Path

from mmn_index.checkpoint import CheckpointInfo
from mmn_index.config import ModelConfig
from mmn_index.errors import ConfigError, FeatureError
from mmn_index.features import FeatureFile
from mmn_index.tube_file import TubeFile

from .batches import split_epoch
from .config import Setting, TrainConfig
from .distributed import World

_FEW_STEPS = 500  # docs/training.md has what fewer give


def fitting(
    setting: Setting, features: FeatureFile | TubeFile, begun: CheckpointInfo | None, mined: Path | None
) -> Setting:
    """The setting, made to fit the features and the checkpoint to begin from.

    Raises:
        ConfigError, FeatureError: it does not fit them, or the mined negatives.
    """
    if setting.model.tubes != isinstance(features, TubeFile):
        kinds = ("snippet features of videos", "tubes")
        raise ConfigError(
            f"{features.path}: holds {kinds[not setting.model.tubes]}, but the setting trains on "
            f"{kinds[setting.model.tubes]}. The settings stvg and stvg-corrected are for tubes, all "
            "others for videos."
        )
    setting = _with_width(setting, features)
    if begun:
        setting = replace(setting, model=_of_checkpoint(setting.model, begun, features))
    _check_negatives(setting.train, mined)
    return setting


def _with_width(setting: Setting, features: FeatureFile | TubeFile) -> Setting:
    """The setting with its input width settled."""
    if setting.model.input_dim not in (0, features.dim):
        raise FeatureError(
            f"{features.path}: features have width {features.dim}, the setting expects "
            f"{setting.model.input_dim}. "
            "Set model.input_dim to 0 to take the features as they are, or choose other features."
        )
    return replace(setting, model=replace(setting.model, input_dim=features.dim))


def _of_checkpoint(
    wanted: ModelConfig, begun: CheckpointInfo, features: FeatureFile | TubeFile
) -> ModelConfig:
    """The configuration of a checkpoint to begin from, which the setting has to agree with; its text encoder
    comes along.
    """
    ours, theirs = wanted.to_json(), begun.config.to_json()
    if different := [name for name in theirs if name != "text_model" and ours[name] != theirs[name]]:
        what = "; ".join(
            f"model.{name} is {ours[name]!r}, the checkpoint has {theirs[name]!r}" for name in different
        )
        raise ConfigError(
            f"{begun.path}: the setting describes another model ({what}). Begin with the setting that it was "
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


def remark_on_steps(config: TrainConfig, videos: int) -> str | None:
    """What to tell somebody whose new model gets few steps; None where it gets enough."""
    each = len(split_epoch(range(videos), config))
    steps = config.epochs * each
    if steps >= _FEW_STEPS:
        return None
    return (
        f"{config.epochs} epochs of {each} steps are {steps} steps, which is little for a new model: expect "
        f"more from {_FEW_STEPS} or more. With few videos, raise train.epochs or lower train.batch_size."
    )


def check_spread(config: TrainConfig, videos: int, processes: World) -> None:
    """Every process needs a group in every step."""
    fewest = min(len(step) for step in split_epoch(range(videos), config))
    if fewest < processes.size:
        raise ConfigError(
            f"{videos} videos in steps of {config.batch_size} and groups of "
            f"{config.group_size or config.batch_size} make {fewest} groups a step, too few for "
            f"{processes.size} processes. Start fewer, or lower train.group_size."
        )
