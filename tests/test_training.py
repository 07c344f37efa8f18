"""The trainer: how an epoch is cut, negatives that do not depend on the number of processes, and runs that
are killed.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Command, write_annotations
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.train.batches import split_epoch
from mmn_index.train.config import TrainConfig
from runs import ENVIRONMENT, kill_at, one_thread, side_by_side
from safetensors.torch import load_file

from mmn_index.errors import AnnotationError
from mmn_index.evaluation.annotations import hold_out, read_annotations

COMMAND = str(Path(sys.executable).with_name("mmn-index"))


def flat(steps: list[list[list[int]]]) -> list[int]:
    return [video for step in steps for group in step for video in group]


@settings(max_examples=200, deadline=None)
@given(videos=st.integers(1, 60), groups=st.integers(1, 6), size=st.integers(1, 5))
def test_an_epoch_in_official_groups(videos: int, groups: int, size: int) -> None:
    """Written again from the official sampler's rule: padded, one contiguous part a process, `size` of it a
    step.
    """
    order = torch.randperm(videos).tolist()
    steps = split_epoch(order, TrainConfig(batch_size=groups * size, group_size=size))
    while len(order) % groups:
        order.append(order[len(order) % videos])
    part = len(order) // groups
    for rank in range(groups):
        own = order[rank * part : (rank + 1) * part]
        assert [step[rank] for step in steps] == [own[first : first + size] for first in range(0, part, size)]


@settings(max_examples=200, deadline=None)
@given(videos=st.integers(1, 60), groups=st.integers(1, 6), size=st.integers(1, 5))
def test_an_epoch_with_global_negatives_shows_no_video_twice(videos: int, groups: int, size: int) -> None:
    order = torch.randperm(videos).tolist()
    steps = split_epoch(order, TrainConfig(batch_size=groups * size, group_size=size, negatives="global"))
    assert flat(steps) == order
    assert len(steps) == -(-videos // (groups * size))
    counts = [sum(len(group) for group in step) for step in steps]
    assert max(counts) - min(counts) <= 1
    sizes = [len(group) for step in steps for group in step]
    assert min(sizes) > 0
    assert max(sizes) <= size


def test_a_group_of_the_whole_batch_is_the_plain_batch() -> None:
    assert split_epoch(range(5), TrainConfig(batch_size=2)) == [[[0, 1]], [[2, 3]], [[4]]]


def test_the_hold_out_depends_on_nothing_but_the_ids(tmp_path: Path) -> None:
    write_annotations(tmp_path / "all.json", 40)
    content = json.loads((tmp_path / "all.json").read_text())
    (tmp_path / "turned.json").write_text(json.dumps(dict(reversed(content.items()))))
    rest, held = hold_out(read_annotations(tmp_path / "all.json"), 0.1)
    _, again = hold_out(read_annotations(tmp_path / "turned.json"), 0.1)
    assert len(held.videos) == 4
    assert (
        {v.video_id for v in held.videos} == {v.video_id for v in again.videos} == {"v0", "v16", "v22", "v30"}
    )
    assert not {v.video_id for v in held.videos} & {v.video_id for v in rest.videos}
    assert len(rest.videos) == 36
    write_annotations(tmp_path / "one.json", 1)
    with pytest.raises(AnnotationError, match="cannot be both"):
        hold_out(read_annotations(tmp_path / "one.json"), 0.1)


@pytest.fixture(scope="module")
def home(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a tiny model with dropout in its text encoder, which thaws after the first epoch."""
    folder = tmp_path_factory.mktemp("training")
    base = (world / "tiny.yaml").read_text().partition("train:")[0]
    plain = "epochs: 3, batch_size: 4, milestones: [2], freeze_text_epochs: 1, crop: 0.2, select: last"
    (folder / "group.yaml").write_text(f"{base}train: {{{plain}, group_size: 2}}\n")
    (folder / "global.yaml").write_text(f"{base}train: {{{plain}, group_size: 2, negatives: global}}\n")
    alike = "alike_cosine: 0.999, alike_labels: true"
    (folder / "alike.yaml").write_text(
        f"{base}train: {{{plain}, group_size: 2, negatives: global, {alike}}}\nloss: {{iou_negatives: 0.5}}\n"
    )
    (folder / "bfloat16.yaml").write_text(f"{base}train: {{{plain}, precision: bfloat16}}\n")
    return folder


def arguments(world: Path, home: Path, config: str, out: Path, *more: object) -> list[str]:
    return [
        str(x)
        for x in (
            "train",
            "--annotations",
            world / "train.json",
            "--val",
            world / "train.json",
            "--features",
            world / "features.h5",
            "--config",
            home / f"{config}.yaml",
            "-o",
            out,
            *more,
        )
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def whole(world: Path, home: Path) -> Path:
    """An uninterrupted run in a process of its own."""
    out = home / "whole"
    subprocess.run([COMMAND, *arguments(world, home, "group", out)], check=True, env=ENVIRONMENT)
    return out


def test_a_run_killed_again_and_again_ends_with_the_same_weights(
    world: Path, home: Path, whole: Path, command: Command
) -> None:
    out = home / "killed"
    # In the first step; in the second epoch's second step; wherever the second epoch is being written; in the
    # third one's first.
    points = ("step:1", "step:4", "before-state", "between-renames", "half-state", "step:3", "before-result")
    kill_at(points, arguments(world, home, "group", out, "--resume"))
    assert not (out / "result.json").exists()
    with one_thread():
        command.ok(*arguments(world, home, "group", out, "--resume"))
    ours, theirs = weights(out), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    lines = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (out, whole)
    ]
    for line in (*lines[0], *lines[1]):
        del line["videos_per_second"]
    assert lines[0] == lines[1]
    kept = {"setting.json", "metrics.jsonl", "model", "result.json", "curves.png"}
    assert {path.name for path in out.iterdir()} == kept == {path.name for path in whole.iterdir()}


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    world: Path, home: Path, whole: Path, command: Command
) -> None:
    with one_thread():
        command.ok(*arguments(world, home, "group", home / "again"))
        command.ok(*arguments(world, home, "group", home / "seed", "--seed", 1))
    first, again, other = weights(whole), weights(home / "again"), weights(home / "seed")
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert not torch.allclose(other["text_encoder.iou_head.weight"], first["text_encoder.iou_head.weight"])


def test_resuming_wants_the_same_run(world: Path, home: Path, whole: Path, command: Command) -> None:
    before = weights(whole)
    command.fails(*arguments(world, home, "group", whole), says="holds a finished run")
    assert "weights of epoch" in command.ok(*arguments(world, home, "group", whole, "--resume")).stderr
    command.fails(
        *arguments(world, home, "global", whole, "--resume"), says="train.negatives is 'global', was 'group'"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(whole).items())
    out = home / "other-data"
    kill_at(["step:4"], arguments(world, home, "group", out))
    command.fails(*arguments(world, home, "group", out), says="holds an interrupted run")
    content = json.loads((world / "train.json").read_text())
    content["v0"]["timestamps"][0][0] += 0.5
    (home / "moved.json").write_text(json.dumps(content))
    moved = arguments(world, home, "group", out, "--resume")
    moved[moved.index("--annotations") + 1] = str(home / "moved.json")
    command.fails(*moved, says="its run has another setting (annotations is '")
    shutil.copy(world / "features.h5", home / "moved.h5")
    with h5py.File(home / "moved.h5", "r+") as file:
        file["v0"][0, 0] += 1
    moved = arguments(world, home, "group", out, "--resume")
    moved[moved.index("--features") + 1] = str(home / "moved.h5")
    command.fails(*moved, says="had other annotations, features or negatives")
    (out / "state.pt").write_bytes(b"no state")
    command.fails(*arguments(world, home, "group", out, "--resume"), says="state.pt: cannot be read")


def torchrun(processes: int, *command: str) -> "subprocess.CompletedProcess[str]":
    torchrun = Path(sys.executable).with_name("torchrun")
    launch = [str(torchrun), "--standalone", "--no-python", "--nproc-per-node", str(processes), COMMAND]
    return subprocess.run([*launch, *command], env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("negatives", ["group", "global", "alike"])
def test_two_processes_train_what_one_does(
    negatives: str, world: Path, home: Path, whole: Path, command: Command
) -> None:
    """With dropout, crops, a thawing text encoder and validation."""
    out = home / f"{negatives}-2"
    command_line = arguments(world, home, negatives, out)
    if negatives == "group":
        done = torchrun(2, *command_line)
        assert done.returncode == 0, done.stderr
        said = done.stderr
    else:  # the same without the seconds in which torchrun and its processes begin
        both = side_by_side(2, command_line)
        assert [ended.code for ended in both] == [0, 0], both
        said = "".join(ended.errors for ended in both)
    assert said.count("weights of epoch") == 1  # one process speaks
    alone = whole if negatives == "group" else home / f"{negatives}-1"
    if negatives != "group":
        command.ok(*arguments(world, home, negatives, alone))
    first = [json.loads((run / "metrics.jsonl").read_text().splitlines()[0]) for run in (out, alone)]
    for name in ("loss_iou", "loss_video", "loss_sentence", "gradient_norm"):
        assert first[0][name] == pytest.approx(first[1][name], rel=1e-4)
    ours, theirs = weights(out), weights(alone)
    for name, tensor in theirs.items():
        if (
            not name.endswith("bias") and "running_mean" not in name
        ):  # some have no true gradient: noise, see the golden tests
            assert torch.allclose(ours[name], tensor, atol=2e-4, rtol=1e-3), name
    # And the two kinds of negatives are two objectives.
    if negatives == "global":
        assert (
            json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])["loss_video"]
            < 0.98 * first[0]["loss_video"]
        )


def test_too_many_processes_for_the_groups(world: Path, home: Path) -> None:
    done = side_by_side(3, arguments(world, home, "group", home / "three"))
    assert all(ended.code != 0 for ended in done)
    assert any("2 groups a step, too few for 3 processes" in ended.errors for ended in done)
    assert not (home / "three").exists()


def test_mixed_precision_trains_to_finite_weights(world: Path, home: Path, command: Command) -> None:
    command.ok(*arguments(world, home, "bfloat16", home / "half"))
    assert all(bool(torch.isfinite(tensor.float()).all()) for tensor in weights(home / "half").values())
    line = json.loads((home / "half" / "metrics.jsonl").read_text().splitlines()[0])
    (home / "exact.yaml").write_text((home / "bfloat16.yaml").read_text().replace("bfloat16", "float32"))
    command.ok(*arguments(world, home, "exact", home / "exact"))
    exact = json.loads((home / "exact" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["loss_video"] == pytest.approx(exact["loss_video"], rel=0.05)
    assert line["loss_video"] != exact["loss_video"]  # it was not float32 after all


def test_a_frozen_text_encoder_keeps_its_weights_and_its_dropout(
    world: Path, home: Path, command: Command
) -> None:
    from mmn_index.train.loop import start_epoch
    from mmn_index.train.settings import load_setting

    from mmn_index import checkpoint

    # To the bit: AdamW's decay leaves it alone, too. The learning rate is large enough to show.
    text = (home / "group.yaml").read_text().replace("epochs: 3", "lr: 0.1, text_lr_factor: 1, epochs: 1")
    (home / "frozen.yaml").write_text(text)
    (home / "thawed.yaml").write_text(text.replace("freeze_text_epochs: 1", "freeze_text_epochs: 0"))
    for name in ("frozen", "thawed"):
        command.ok(*arguments(world, home, name, home / name))
    source = Path(load_setting(str(home / "frozen.yaml")).model.text_model) / "model.safetensors"
    before = {f"text_encoder.bert.{name}": tensor for name, tensor in load_file(source).items()}
    after = {name: checkpoint.load(home / name / "model").state_dict() for name in ("frozen", "thawed")}
    assert all(torch.equal(after["frozen"][name], tensor) for name, tensor in before.items())
    changed = [name for name, tensor in before.items() if not torch.equal(after["thawed"][name], tensor)]
    assert len(changed) > len(before) / 2
    assert not [name for name in changed if "pooler" in name]
    # And in a frozen epoch its dropout is active: two passes over one sentence differ.
    model = checkpoint.load(home / "frozen" / "model")
    setting = load_setting(str(home / "frozen.yaml"))
    start_epoch(model, setting.train, setting.loss, 1)
    first, second = (model.embed_sentences(["a person opens the door"]).iou for _ in range(2))
    assert not torch.equal(first, second)


def test_early_stop_and_what_is_chosen_by(world: Path, home: Path, command: Command) -> None:
    text = (home / "group.yaml").read_text()
    # A learning rate of almost nothing: no epoch after the first one is better.
    (home / "patient.yaml").write_text(
        text.replace("epochs: 3", "epochs: 9, lr: 1e-12, patience: 2").replace("select: last", "select: best")
    )
    command.ok(*arguments(world, home, "patient", home / "patient"))
    lines = [json.loads(line) for line in (home / "patient" / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((home / "patient" / "result.json").read_text())
    assert len(lines) == result["epoch"] + 2 < 9
    (home / "held.yaml").write_text(
        text.replace("select: last", "select: best, hold_out: 0.3").replace("epochs: 3", "epochs: 1")
    )
    held = arguments(world, home, "held", home / "held")
    place = held.index("--val")
    said = command.ok(*held[:place], *held[place + 2 :]).stderr
    assert "30% of the training videos are held out" in said
    assert "R@1,IoU=0.5" in json.loads((home / "held" / "metrics.jsonl").read_text())


def test_tensorboard_and_the_curves(world: Path, home: Path, command: Command) -> None:
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command.ok(*arguments(world, home, "group", home / "board", "--tensorboard"))
    events = EventAccumulator(str(home / "board" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss_iou")] == [1, 2, 3]
    picture = Image.open(home / "board" / "curves.png").convert("L")
    assert len(np.unique(np.asarray(picture))) > 20
