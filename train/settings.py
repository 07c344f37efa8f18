"""The training settings that have a name, and those of a file.

CHARADES, ACTIVITYNET and TACOS are the paper's, `ucf-moments` is its schedule for a smaller data set;
`collection` is what trains best for searching a whole collection (docs/negatives.md), `playhouse` is tuned
for the sample world. A YAML file may take a named setting as `base` and change some of it:

    base: collection
    model: {text_model: path/to/encoder}
    train: {epochs: 30, milestones: [20, 27]}
    loss: {margin: 0.3}
"""

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from mmn_index import config
from mmn_index.config import ModelConfig
from mmn_index.errors import ConfigError
from mmn_index.hub import DEFAULT_TEXT_MODEL

from .config import Setting, TrainConfig
from .losses import LossConfig

# The paper's runs used 4, 6 and 2 GPUs; group_size is what one of them saw. Charades-STA has no validation
# split.
CHARADES = Setting(config.CHARADES, TrainConfig(group_size=12, hold_out=0.05))
ACTIVITYNET = Setting(
    config.ACTIVITYNET,
    TrainConfig(group_size=8, lr=8e-4, milestones=(7, 15), full_contrastive_epochs=6),
    LossConfig(margin=0.3, contrastive_weight=0.1),
)
TACOS = Setting(
    config.TACOS,
    TrainConfig(
        epochs=250,
        batch_size=4,
        group_size=2,
        lr=1.5e-3,
        milestones=(130, 190),
        freeze_text_epochs=40,
        full_contrastive_epochs=100,
        nms=0.4,
    ),
    LossConfig(min_iou=0.3, max_iou=0.7, num_positives=3, margin=0.1, contrastive_weight=0.1),
)
# Over tubes, as the official code of MMN-STVG trains, peculiarities of its losses included; then as it was
# meant. Its runs used 8 GPUs.
STVG = Setting(
    config.STVG,
    TrainConfig(
        epochs=20,
        batch_size=32,
        group_size=4,
        milestones=(11, 16),
        freeze_text_epochs=5,
        full_contrastive_epochs=10,
        weight_decay=1e-6,
        beta2=0.999,
        clip_norm=10.0,
        hold_out=0.05,
    ),
    LossConfig(min_iou=0.3, max_iou=0.9, contrastive_weight=0.1),
)
# The corrected one takes features of any width, such as `mmn-index tubes` makes.
STVG_CORRECTED = replace(
    STVG, model=replace(STVG.model, input_dim=0), loss=replace(STVG.loss, corrected=True)
)
_SMALL = ModelConfig(
    input_dim=0,
    num_pre_clips=64,
    num_clips=32,
    pooling_counts=(15, 8),
    featpool_dim=256,
    featpool_kernel=2,
    conv_dim=128,
    conv_kernel=5,
    conv_layers=4,
    joint_dim=64,
    text_model=DEFAULT_TEXT_MODEL,
)
# The text encoder stays frozen to the end; its dropout is on, as in the paper's first epochs.
_FROZEN_TEXT = TrainConfig(
    epochs=14,
    batch_size=8,
    lr=1e-3,
    milestones=(8, 12),
    freeze_text_epochs=14,
    full_contrastive_epochs=7,
    select="last",
)
UCF_MOMENTS = Setting(_SMALL, _FROZEN_TEXT, LossConfig(contrastive_weight=0.1))
# For the search of a whole collection: the contrastive losses count to the end, and sentences of one label
# (without labels: of equal text) are no negatives of each other.
COLLECTION = replace(UCF_MOMENTS, train=replace(_FROZEN_TEXT, late_contrastive_factor=1.0, alike_labels=True))
# Tuned on the sample world's validation split: small batches (more steps, and fewer sentences of the same
# action that pass for negatives), crops, one layer less for six epochs more, and a contrastive weight that is
# never cut, as the collection's score leans on it.
PLAYHOUSE = Setting(
    replace(_SMALL, conv_layers=3),
    replace(
        _FROZEN_TEXT,
        epochs=20,
        batch_size=4,
        milestones=(14, 18),
        freeze_text_epochs=20,
        full_contrastive_epochs=20,
        crop=0.4,
        select="best",
        score="collection",
    ),
    LossConfig(contrastive_weight=0.1),
)
# For a world of about 200 videos, in a few minutes: one layer less, a larger rate, labels, and every text of
# the frozen encoder embedded once.
PLAYHOUSE_SMALL = replace(
    PLAYHOUSE,
    model=replace(_SMALL, conv_layers=2),
    train=replace(PLAYHOUSE.train, lr=1.5e-3, alike_labels=True, text_dropout=False),
)
SETTINGS: Mapping[str, Setting] = {
    "collection": COLLECTION,
    "charades": CHARADES,
    "activitynet": ACTIVITYNET,
    "tacos": TACOS,
    "stvg": STVG,
    "stvg-corrected": STVG_CORRECTED,
    "playhouse": PLAYHOUSE,
    "playhouse-small": PLAYHOUSE_SMALL,
    "ucf-moments": UCF_MOMENTS,
}


def load_setting(name: str) -> Setting:
    """A named setting, or one from a YAML file.

    Raises:
        ConfigError: no such name or file, or a key or value that does not fit; the nearest name is given.
    """
    if name in SETTINGS:
        return SETTINGS[name]
    path = Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, SETTINGS, n=1)  # none for the name of a file
        raise ConfigError(
            f"no setting is called '{name}', and no such YAML file exists"
            f"{f', did you mean {near[0]!r}?' if near else '.'} There are {', '.join(SETTINGS)}."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: expected the keys base, model, train and loss, found {type(content).__name__}."
        )
    _check_keys(content, ["base", "model", "train", "loss"], str(path))
    base = content.get("base", "collection")
    if not isinstance(base, str) or base not in SETTINGS:
        raise ConfigError(f"{path}: base is '{base}', expected one of {', '.join(SETTINGS)}.")
    return override(
        SETTINGS[base], {key: value for key, value in content.items() if key != "base"}, os.fspath(path)
    )


def override(setting: Setting, changes: Mapping[str, Any], where: str) -> Setting:
    """A setting with some fields changed: {"model": {...}, "train": {...}, "loss": {...}}.

    Raises:
        ConfigError: an unknown field, or a value of another type; the message starts with `where`.
    """
    parts = {}
    for section, values in changes.items():
        part = getattr(setting, section)
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}: {section} is {values!r}, expected fields with values.")
        _check_keys(values, [f.name for f in fields(part)], f"{where}: {section}")
        converted = {
            key: _convert(value, getattr(part, key), f"{where}: {section}.{key}")
            for key, value in values.items()
        }
        parts[section] = replace(part, **converted)
    return replace(setting, **parts)


def _check_keys(values: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"{where}: unknown key '{key}', did you mean '{near}'? Known: {', '.join(known)}."
            )


def _convert(value: Any, old: Any, where: str) -> Any:
    if isinstance(old, tuple):
        if isinstance(value, list) and all(isinstance(x, int) for x in value):
            return tuple(value)
    elif isinstance(old, bool) or isinstance(value, bool):
        if isinstance(old, bool) and isinstance(value, bool):
            return value
    elif isinstance(old, float):
        try:  # YAML 1.1 reads 1e-3, without a dot, as a string
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(value, type(old)):
        return value
    raise ConfigError(f"{where} is {value!r}, expected {type(old).__name__} (as {old!r}).")
