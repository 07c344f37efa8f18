"""Checkpoints of the official implementation."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Command
from golden import CASES, golden, model_config

from mmn_index import checkpoint
from mmn_index.errors import CheckpointError
from mmn_index.official import infer_config, own_name, read_official, used

FULL = ("charades-pool", "charades-conv", "activitynet-pool", "activitynet-conv", "tacos-pool", "tacos-conv")
TUBES = ("stvg-pool", "stvg-conv")


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("stvg")])
def test_a_converted_checkpoint_is_the_official_model(
    name: str, command: Command, text_model: Path, tmp_path: Path
) -> None:
    setting = name.removesuffix("-mini")
    command.ok(
        "convert",
        golden(name, "weights.pt"),
        "-o",
        tmp_path / "m.mmn-model",
        "--setting",
        setting,
        "--tokenizer",
        text_model,
    )
    model = checkpoint.load(tmp_path / "m.mmn-model")
    expected = model_config(yaml.safe_load(golden(name, "config.yaml").read_text()))
    assert {**model.config.to_json(), "text_model": ""} == {**expected.to_json(), "text_model": ""}
    weights = read_official(golden(name, "weights.pt"))
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[key]), key


@pytest.mark.parametrize("name", FULL + TUBES)
def test_the_full_size_checkpoints_fit_key_by_key(name: str) -> None:
    """Names and shapes of the real files; on the meta device, since they have up to 169 million numbers."""
    from transformers import DistilBertConfig, DistilBertModel

    from mmn_index.model import MMN

    keys: dict[str, Any] = json.loads(golden("state_dict_keys", f"{name}.json").read_text())["keys"]
    with torch.device("meta"):
        weights = {own_name(key): torch.empty(tuple(shape)) for key, (shape, _) in keys.items()}
        weights = {k: v[..., 0, 0] if "_head.weight" in k and v.ndim == 4 else v for k, v in weights.items()}
        setting, map_type = name.split("-")
        config = infer_config(weights, setting, name)
        assert config.map_type == map_type
        model = MMN(config, DistilBertModel(DistilBertConfig()), None)  # type: ignore[arg-type]
    assert config.tubes == (name in TUBES)
    assert len(weights) - len(used(weights)) == 4 * config.tubes
    checkpoint.check_weights(model, used(weights), name)


def test_with_and_without_wrapping(tmp_path: Path) -> None:
    state = torch.load(golden("charades-mini", "weights.pt"), weights_only=True)["model"]
    expected = read_official(golden("charades-mini", "weights.pt"))
    bare = {key.removeprefix("module."): value for key, value in state.items()}
    bare["text_encoder.bert.embeddings.position_ids"] = torch.arange(64)[None]
    for content in (state, bare, {"model": bare}):
        torch.save(content, tmp_path / "w.pth")
        found = read_official(tmp_path / "w.pth")
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_what_cannot_be_converted(command: Command, text_model: Path, tmp_path: Path) -> None:
    weights = golden("charades-mini", "weights.pt")

    def convert(path: Path, *options: object, says: str) -> None:
        command.fails("convert", path, "-o", tmp_path / "m", "--tokenizer", text_model, *options, says=says)

    convert(tmp_path / "none.pth", says="no such file")
    convert(weights, says="fits charades and tacos alike; say which with --setting")
    convert(
        weights,
        "--setting",
        "activitynet",
        says="which fits charades and tacos of the paper's settings, not activitynet",
    )
    convert(weights, "--setting", "vgg", says="no setting of the paper is called 'vgg'")
    convert(golden("activitynet-mini", "weights.pt"), "--tokenizer", tmp_path, says="no tokenizer in")
    (tmp_path / "text.pth").write_text("hello")
    convert(tmp_path / "text.pth", says="cannot be read as tensors alone")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:5000])
    convert(tmp_path / "cut.pth", says="cannot be read as tensors alone")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    convert(tmp_path / "other.pth", says="is no MMN")
    state = torch.load(weights, weights_only=True)["model"]
    del state["module.text_encoder.fc_out2.bias"]
    state["module.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "missing.pth")
    convert(
        tmp_path / "missing.pth",
        "--setting",
        "charades",
        says="missing text_encoder.contrastive_head.bias; unknown extra",
    )
    (tmp_path / "m").mkdir()
    convert(weights, "--setting", "charades", says="exists already")


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path(tmp_path / "was-run").touch, ())  # type: ignore[return-value]

    torch.save({"model": {"featpool.conv.weight": Evil()}}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="tensors alone"):
        read_official(tmp_path / "evil.pth")
    assert not (tmp_path / "was-run").exists()
