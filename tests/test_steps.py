"""What a step depends on, and what a run in training keeps of itself for the next epoch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mmn_index.train.batches import Group, TrainingSet
from mmn_index.train.checks import remark_on_steps
from mmn_index.train.config import TrainConfig
from mmn_index.train.distributed import World
from mmn_index.train.loop import Run
from mmn_index.train.resume import RunFolder
from mmn_index.train.settings import load_setting, override
from torch import Tensor

from mmn_index.evaluation.annotations import read_annotations
from mmn_index.features import FeatureFile
from mmn_index.model import MMN
from mmn_index.pretrained import load_pretrained


def begun(world: Path, folder: Path, **changes: Any) -> Run:
    """A run of the tiny model, in groups of two videos, before its first epoch."""
    small = {"epochs": 3, "batch_size": 4, "group_size": 2, "freeze_text_epochs": 2, "milestones": [2]}
    setting = override(load_setting(str(world / "tiny.yaml")), {"train": {**small, **changes}}, "test")
    folder.mkdir()
    with FeatureFile(world / "features.h5") as features:
        setting = replace(setting, model=replace(setting.model, input_dim=features.dim))
        torch.manual_seed(0)
        model = MMN(setting.model, *load_pretrained(setting.model.text_model))
        annotations = read_annotations(world / "train.json")
        data = TrainingSet(annotations, features, model, folder / "pre_clips.bin")
    return Run(setting, model, data, World(), lambda what, done, total, note: None)


def embedded(run: Run, group: Group) -> Tensor:
    """The group's sentences as the step sees them."""
    with torch.no_grad():
        return run.objective.embed(group)[1].iou


def test_every_group_of_every_step_has_a_dropout_of_its_own(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Group] = []
    step = Run.step

    def recorded(self: Run, groups: list[Group], *more: Any) -> Any:
        seen.extend(groups)
        return step(self, groups, *more)

    monkeypatch.setattr(Run, "step", recorded)
    run = begun(world, tmp_path / "run")
    run.epoch(1)
    run.epoch(2)
    assert len(seen) > 4
    assert len({group.seed for group in seen}) == len(seen)
    # The seed decides the masks, and nothing else does.
    first, second = (replace(seen[0], seed=group.seed) for group in seen[:2])
    torch.manual_seed(1)
    once = embedded(run, first)
    assert not torch.equal(once, embedded(run, second))
    assert torch.equal(once, embedded(run, first))


def test_a_resumed_run_scales_its_losses_as_before(world: Path, tmp_path: Path) -> None:
    run = begun(world, tmp_path / "run", precision="float16")
    run.scaler.scale(torch.ones(1))  # the first scale makes its tensors
    run.scaler.update(1024.0)
    folder = RunFolder(tmp_path / "run")
    folder.save(run.state())
    again = begun(world, tmp_path / "again", precision="float16")
    assert again.scaler.get_scale() != 1024
    state = folder.load()
    assert state is not None
    again.restore(state)
    assert again.scaler.get_scale() == 1024


def test_a_frozen_text_encoder_without_dropout_reads_every_text_once(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(world, tmp_path / "run", text_dropout=False, freeze_text_epochs=2)
    assert run.model.text_encoder.unused is not None  # found out by a pass of its own
    bert, read = run.model.text_encoder.bert, []
    bert.register_forward_hook(lambda module, inputs, output: read.append(output[0].shape[0]))
    run.epoch(1)
    run.epoch(2)
    assert sum(read) == len(run.data.texts)
    # What is kept is what the encoder makes of the words.
    group = run.data.group([0, 1], 0, seed=5, epoch=1)
    kept = embedded(run, group)
    run.objective.texts = None
    assert torch.allclose(kept, embedded(run, group), atol=1e-6)
    read.clear()
    run.epoch(3)  # it thaws
    assert len(read) == 4  # groups of two, six videos filled up to eight
    assert not bert.training


def test_few_steps_are_remarked_on() -> None:
    assert remark_on_steps(TrainConfig(batch_size=8, epochs=50), 80) is None
    assert remark_on_steps(TrainConfig(batch_size=4, epochs=49), 40) == (
        "49 epochs of 10 steps are 490 steps, which is little for a new model: expect more from 500 or more. "
        "With few videos, raise train.epochs or lower train.batch_size."
    )
