"""BERT and DistilBERT without the transformers package: the same numbers, and a search that does not import it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmn_index import checkpoint
from mmn_index.bert import Bert, read_weights, reads
from mmn_index.encoder_source import state_of
from mmn_index.models import load_model
from mmn_index.transformer import load_encoder, new_encoder

SMALL = {
    "bert": {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "hidden_act": "gelu",
    },
    "distilbert": {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40, "activation": "relu"},
}


def config_of(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": 50,
        "max_position_embeddings": 20,
        "pad_token_id": 0,
        **SMALL[kind],
        **more,
    }


def pair(kind: str) -> tuple[torch.nn.Module, Bert]:
    """The encoder of transformers and ours, with the same weights."""
    theirs = new_encoder(config_of(kind), "test").eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # biases are zeros and scales ones in new models
            parameter.normal_(std=0.3)
    described = theirs.config.to_dict()  # type: ignore[union-attr,operator]
    assert reads(described)
    ours = Bert(described).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("kind", SMALL)
@torch.no_grad()
def test_the_states_are_those_of_transformers(kind: str) -> None:
    theirs, ours = pair(kind)
    ids = torch.randint(1, 50, (6, 20))
    mask = torch.arange(20)[None] < torch.tensor([20, 1, 7, 20, 13, 2])[:, None]
    for given in (mask.long(), torch.ones_like(ids)):
        expected, found = (m(input_ids=ids, attention_mask=given).last_hidden_state for m in (theirs, ours))
        torch.testing.assert_close(found[given.bool()], expected[given.bool()], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("bert", {"is_decoder": True}),
        ("bert", {"add_cross_attention": True}),
        ("bert", {"position_embedding_type": "relative_key"}),
        ("bert", {"hidden_act": "silu"}),
        ("bert", {"num_attention_heads": 5}),
        ("distilbert", {"n_heads": 0}),
        ("distilbert", {"vocab_size": None}),
        ("distilbert", {"model_type": "roberta"}),
    ],
)
def test_other_encoders_are_left_to_transformers(kind: str, other: dict[str, Any]) -> None:
    assert reads(config_of(kind))
    assert not reads(config_of(kind, **other))


def test_weights_are_found_under_both_names(text_model: Path, tmp_path: Path) -> None:
    theirs = load_encoder(text_model, "test")
    described = theirs.config.to_dict()  # type: ignore[union-attr,operator]
    expected = state_of(theirs)
    file = tmp_path / "model.safetensors"
    kept = load_file(text_model / "model.safetensors")
    for begin in ("", f"{described['model_type']}."):
        save_file({f"{begin}{name}": tensor for name, tensor in expected.items()}, file)
        found = read_weights(tmp_path, described)
        assert found is not None
        assert all(torch.equal(state_of(found)[name], tensor) for name, tensor in expected.items())
    # What is not there, or has another shape, is a case for transformers and its messages.
    name = next(iter(kept))
    save_file({n: tensor for n, tensor in kept.items() if n != name}, file)
    assert read_weights(tmp_path, described) is None
    save_file({**kept, name: kept[name][:1].clone()}, file)
    assert read_weights(tmp_path, described) is None
    file.write_bytes(b"no weights")
    assert read_weights(tmp_path, described) is None


def test_a_checkpoint_gives_the_same_embeddings_either_way(world: Path) -> None:
    whole, plain = checkpoint.load(world / "run" / "model"), load_model(world / "run" / "model")
    assert type(plain.text_encoder.bert) is Bert  # type: ignore[attr-defined]
    sentences = ["person opens door", "he sits down and looks out of the window, then leaves", "a"]
    with torch.no_grad():
        for expected, found in zip(
            whole.embed_sentences(sentences), plain.embed_sentences(sentences), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_search_imports_no_transformers(world: Path) -> None:
    """Their import takes longer than everything else that a search from the terminal does."""
    script = (
        "import sys; from mmn_index.cli.main import main; main(standalone_mode=False); "
        "print([name for name in ('transformers', 'torch._dynamo') if name in sys.modules])"
    )
    given = ["search", "person opens door", "--index", str(world / "collection.mmn")]
    done = subprocess.run(
        [sys.executable, "-c", script, *given], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
