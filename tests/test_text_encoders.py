"""Text encoders of every kind: what they read, how much of it, and what is refused before training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from conftest import DIM, Command, write_annotations, write_features
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mmn_index import checkpoint
from mmn_index.encoder_source import state_of
from mmn_index.errors import ConfigError, QueryError
from mmn_index.pretrained import load_pretrained, rebuild

WORDS = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "a",
    "person",
    "opens",
    "closes",
    "the",
    "door",
    "reads",
    "book",
    "sits",
    "down",
    "runs",
    "cat",
    "jumps",
]
SIZE = len(WORDS)
BASE = {"vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
BERT = {**BASE, "intermediate_size": 32, "max_position_embeddings": 32}
ROBERTA = {**BERT, "max_position_embeddings": 34, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
TOWER = {**BERT, "max_position_embeddings": 20, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
PICTURES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
DISTIL = {"vocab_size": SIZE, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
T5 = {"vocab_size": SIZE, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
SEQ2SEQ = {
    "vocab_size": SIZE,
    "d_model": 16,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")},
}
# What an encoder reads at most: rows of its table of positions, without those that no token gets; where it has
# none, what its configuration says; 8,192 where neither limits it.
KINDS: dict[str, tuple[Callable[[], Any], int]] = {
    "bert": (lambda: hf.BertConfig(**BERT), 32),
    "mpnet": (lambda: hf.MPNetConfig(**ROBERTA), 32),
    "roberta": (lambda: hf.RobertaConfig(**ROBERTA), 32),
    "xlm-roberta": (lambda: hf.XLMRobertaConfig(**ROBERTA), 32),
    "camembert": (lambda: hf.CamembertConfig(**ROBERTA), 32),
    "distilbert": (lambda: hf.DistilBertConfig(**DISTIL, max_position_embeddings=32), 32),
    "sinusoidal": (
        lambda: hf.DistilBertConfig(**DISTIL, max_position_embeddings=32, sinusoidal_pos_embds=True),
        32,
    ),
    "electra": (lambda: hf.ElectraConfig(**BERT, embedding_size=8), 32),
    "albert": (lambda: hf.AlbertConfig(**BERT, embedding_size=8), 32),
    "deberta": (lambda: hf.DebertaConfig(**BERT, type_vocab_size=0), 32),
    "deberta-v2": (
        lambda: hf.DebertaV2Config(
            **BERT,
            type_vocab_size=0,
            relative_attention=True,
            position_biased_input=False,
            pos_att_type=["p2c", "c2p"],
        ),
        32,
    ),
    "modernbert": (
        lambda: hf.ModernBertConfig(
            **{**ROBERTA, "max_position_embeddings": 64}, cls_token_id=0, sep_token_id=2
        ),
        64,
    ),
    "longformer": (lambda: hf.LongformerConfig(**ROBERTA, attention_window=8), 32),
    "big-bird": (lambda: hf.BigBirdConfig(**BERT, sep_token_id=2), 32),
    "xlm": (
        lambda: hf.XLMConfig(
            vocab_size=SIZE,
            emb_dim=16,
            n_layers=1,
            n_heads=2,
            max_position_embeddings=32,
            pad_index=1,
            n_langs=1,
        ),
        32,
    ),
    "xlnet": (lambda: hf.XLNetConfig(vocab_size=SIZE, d_model=16, n_layer=1, n_head=2, d_inner=32), 8192),
    "gpt2": (lambda: hf.GPT2Config(vocab_size=SIZE, n_positions=32, n_embd=16, n_layer=1, n_head=2), 32),
    "opt": (
        lambda: hf.OPTConfig(
            **BASE, ffn_dim=32, max_position_embeddings=32, word_embed_proj_dim=16, pad_token_id=1
        ),
        32,
    ),
    "llama": (lambda: hf.LlamaConfig(**{**BERT, "max_position_embeddings": 64}), 64),
    "t5": (lambda: hf.T5Config(**T5, decoder_start_token_id=0), 8192),
    "bart": (lambda: hf.BartConfig(**SEQ2SEQ, bos_token_id=0, forced_eos_token_id=2), 32),
    "marian": (lambda: hf.MarianConfig(**SEQ2SEQ, forced_eos_token_id=2), 32),
    "clip": (lambda: hf.CLIPConfig(text_config=TOWER, vision_config=PICTURES, projection_dim=8), 20),
    "clip-text": (lambda: hf.CLIPTextConfig(**TOWER), 20),
    "siglip": (
        lambda: hf.SiglipConfig(text_config={**TOWER, "projection_size": 16}, vision_config=PICTURES),
        20,
    ),
    "siglip2": (
        lambda: hf.Siglip2Config(
            text_config={**TOWER, "projection_size": 16}, vision_config={**PICTURES, "num_patches": 4}
        ),
        20,
    ),
    "x-clip": (
        lambda: hf.XCLIPConfig(
            text_config=TOWER,
            vision_config={
                **PICTURES,
                "mit_hidden_size": 16,
                "mit_intermediate_size": 32,
                "mit_num_hidden_layers": 1,
                "mit_num_attention_heads": 2,
            },
            projection_dim=8,
        ),
        20,
    ),
    "chinese-clip": (
        lambda: hf.ChineseCLIPConfig(text_config=BERT, vision_config=PICTURES, projection_dim=8),
        32,
    ),
}


def tokenizer(folder: Path, words: list[str] = WORDS, **special: str) -> None:
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    hf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **special).save_pretrained(folder)


def make(kind: str, folder: Path) -> Path:
    torch.manual_seed(0)
    hf.AutoModel.from_config(KINDS[kind][0]()).save_pretrained(folder)
    tokenizer(folder, pad_token="<pad>")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features.h5, train.json, and settings that train the text encoder and that freeze it."""
    folder = tmp_path_factory.mktemp("data")
    write_features(folder / "features.h5", 3)
    write_annotations(folder / "train.json", 3)
    for name, frozen in (("thawed", 0), ("frozen", 1)):
        (folder / f"{name}.yaml").write_text(
            "base: ucf-moments\n"
            f"model: {{input_dim: {DIM}, num_pre_clips: 16, num_clips: 8, pooling_counts: [3, 2], featpool_dim: "
            "10, conv_dim: 8, conv_kernel: 3, conv_layers: 2, joint_dim: 6}\n"
            f"train: {{epochs: 1, batch_size: 3, milestones: [1], freeze_text_epochs: {frozen}}}\n"
        )
    return folder


def train(
    command: Command, data: Path, model: Path | str, out: Path, *more: object, setting: str = "thawed"
) -> Path:
    given = ["--annotations", data / "train.json", "--features", data / "features.h5"]
    command.ok("train", *given, "--config", data / f"{setting}.yaml", "--text-model", model, "-o", out, *more)
    return out / "model"


def refused(command: Command, data: Path, model: Path | str, out: Path, says: str) -> str:
    given = ["--annotations", data / "train.json", "--features", data / "features.h5"]
    result = command.fails(
        "train", *given, "--config", data / "thawed.yaml", "--text-model", model, "-o", out, says=says
    )
    assert "epoch" not in result.stderr  # nothing was trained
    return str(result.stderr)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_encoder_from_training_to_answers(
    kind: str, command: Command, data: Path, tmp_path: Path
) -> None:
    folder = make(kind, tmp_path / kind)
    model = train(command, data, folder, tmp_path / "run")
    before = state_of(load_pretrained(str(folder)).bert)
    after = checkpoint.load(model)
    changed = [n for n, x in state_of(after.text_encoder.bert).items() if not torch.equal(x, before[n])]
    assert len(changed) > len(before) / 3  # it was trained
    assert after.tokenizer.max_tokens == KINDS[kind][1]
    command.ok("build", model, data / "features.h5", "-o", tmp_path / "i.mmn")
    most = min(KINDS[kind][1] - 2, 60)  # <s> and </s> are there as well
    found = command.ok("search", "a " * most, "--index", tmp_path / "i.mmn", "--json").stdout
    assert len(found.splitlines()) >= 3
    if KINDS[kind][1] < 100:
        command.fails(
            "search",
            "a " * (KINDS[kind][1] - 1),
            "--index",
            tmp_path / "i.mmn",
            says=f"the text encoder reads at most {KINDS[kind][1]}",
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_is_embedded_the_same_beside_a_longer_one(kind: str, tmp_path: Path) -> None:
    bert, made, _ = load_pretrained(str(make(kind, tmp_path / kind)))
    both = made(["a person", "a person opens the door"])
    alone = made(["a person"])
    with torch.no_grad():
        padded, single = (
            bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state for ids, mask in (both, alone)
        )
    assert torch.allclose(padded[0, :4], single[0], atol=1e-5)
    config = json.loads(json.dumps({**bert.config.to_dict(), "dtype": None}))  # type: ignore[operator,union-attr]
    config.pop("dtype")
    again, tokens = rebuild(config, made.to_json(), "here")
    again.load_state_dict(bert.state_dict())
    with torch.no_grad():
        hidden = again.eval()(input_ids=alone[0], attention_mask=alone[1].long()).last_hidden_state
    assert torch.equal(hidden, single)
    assert tokens.max_tokens == made.max_tokens


def test_the_text_side_of_clip_is_clip_s(tmp_path: Path) -> None:
    folder = make("clip", tmp_path / "clip")
    whole = hf.CLIPModel.from_pretrained(folder).eval()
    ids, mask = torch.tensor([[0, 4, 5, 2]]), torch.ones(1, 4, dtype=torch.int64)
    with torch.no_grad():
        expected = whole.text_model(input_ids=ids, attention_mask=mask).last_hidden_state
        found = load_pretrained(str(folder)).bert(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            hf.FNetConfig(vocab_size=SIZE, hidden_size=16, num_hidden_layers=1, intermediate_size=32),
            "depend on the padding behind it",
        ),
        (hf.ViTConfig(**PICTURES), "is a ViTModel, which cannot be used to embed sentences"),
    ],
    ids=["fnet", "vit"],
)
def test_models_that_embed_no_sentences(
    config: Any, says: str, command: Command, data: Path, tmp_path: Path
) -> None:
    hf.AutoModel.from_config(config).save_pretrained(tmp_path / "other")
    tokenizer(tmp_path / "other")
    refused(command, data, tmp_path / "other", tmp_path / "run", says)


@pytest.mark.parametrize("kind", ["bert", "roberta", "clip", "t5", "gpt2", "albert", "deberta-v2"])
def test_a_folder_without_a_tokenizer(kind: str, command: Command, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notok"
    hf.AutoModel.from_config(KINDS[kind][0]()).save_pretrained(folder)
    refused(command, data, folder, tmp_path / "run", "no tokenizer in notok")
    # Nor is one that knows nothing but [CLS] and its kin, which transformers makes without complaint.
    hf.BertTokenizerFast().save_pretrained(folder)
    refused(command, data, folder, tmp_path / "run", "no tokenizer in notok")


def test_a_tokenizer_of_more_words_than_the_embedding_has_rows(
    command: Command, data: Path, tmp_path: Path
) -> None:
    folder = make("bert", tmp_path / "bert")
    tokenizer(folder, [*WORDS, "dog", "tree"])
    refused(
        command, data, folder, tmp_path / "run", f"has {SIZE + 2} words, but the text encoder knows {SIZE}"
    )
    # A word that was added beyond the others counts as well, and an id, not the number of words.
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = {word: n for n, word in enumerate(WORDS)} | {"dog": 90}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    refused(command, data, folder, tmp_path / "run", "has 91 words")


def test_a_tokenizer_without_a_pad_token(command: Command, data: Path, tmp_path: Path) -> None:
    folder = make("gpt2", tmp_path / "gpt2")
    tokenizer(folder)
    assert hf.AutoTokenizer.from_pretrained(folder).pad_token is None
    train(command, data, folder, tmp_path / "run")


def test_a_sentence_without_a_word_that_is_known(tmp_path: Path) -> None:
    folder = make("bert", tmp_path / "bert")
    Tokenizer(models.BPE({"a": 4, "d": 5}, [])).save(str(folder / "tokenizer.json"))
    made = load_pretrained(str(folder)).tokenizer
    assert made(["a"])[0].tolist() == [[4]]
    with pytest.raises(QueryError, match="'xyz' has no word that the text encoder knows"):
        made(["a", "xyz"])


def test_pickled_weights_are_never_loaded(command: Command, data: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[()]]:
            return (Path(tmp_path / "was-run").touch, ())

    folder = make("bert", tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    torch.save({"x": Evil()}, folder / "pytorch_model.bin")
    refused(command, data, folder, tmp_path / "run", "as a pickle alone (pytorch_model.bin)")
    (folder / "pytorch_model.bin").unlink()
    refused(command, data, folder, tmp_path / "run", "expected model.safetensors")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("model_type", ["bert", "of-its-own"])
def test_code_that_comes_with_a_model_is_never_run(
    model_type: str, command: Command, data: Path, tmp_path: Path
) -> None:
    folder = make("bert", tmp_path / "bert")
    for name in ("modeling", "configuration", "tokenization"):
        (folder / f"{name}_x.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\nclass X: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": model_type,
        "auto_map": {"AutoConfig": "configuration_x.X", "AutoModel": "modeling_x.X"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words["auto_map"] = {"AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    if model_type == "bert":  # transformers' own BERT will do
        train(command, data, folder, tmp_path / "run")
    else:
        refused(command, data, folder, tmp_path / "run", "code that comes with it, which is never run")
    assert not (tmp_path / "was-run").exists()


def test_a_folder_of_sentence_transformers(command: Command, data: Path, tmp_path: Path) -> None:
    inner = make("mpnet", tmp_path / "outer" / "0_Transformer")
    expected = state_of(load_pretrained(str(inner)).bert)
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ]
    (tmp_path / "outer" / "modules.json").write_text(json.dumps(modules))
    model = checkpoint.load(train(command, data, tmp_path / "outer", tmp_path / "run", setting="frozen"))
    found = state_of(model.text_encoder.bert)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    # A modules.json that leads elsewhere leads nowhere.
    modules[0]["path"] = "../elsewhere"
    shutil.move(inner, tmp_path / "elsewhere")
    (tmp_path / "outer" / "modules.json").write_text(json.dumps(modules))
    refused(command, data, tmp_path / "outer", tmp_path / "run2", "no config.json in")


def test_weights_that_are_missing_are_not_made_up(command: Command, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make("bert", tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    unused = {name: x for name, x in weights.items() if "pooler" in name}
    save_file({n: x for n, x in weights.items() if n not in unused}, folder / "model.safetensors")
    assert len(unused) == 2
    first, second = load_pretrained(str(folder)).source, load_pretrained(str(folder)).source
    assert first == second  # a pooler embeds nothing, and is no random one
    weights.pop("encoder.layer.1.output.dense.bias")
    save_file(weights, folder / "model.safetensors")
    refused(
        command, data, folder, tmp_path / "run", "lack 1 tensors of a BertModel, such as 'encoder.layer.1."
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 24, "num_attention_heads": 2}))
    refused(command, data, folder, tmp_path / "run", "cannot be loaded")
    (folder / "model.safetensors").write_bytes(b"no weights")
    refused(command, data, folder, tmp_path / "run", "cannot be loaded")
    (folder / "config.json").write_text("{")
    refused(command, data, folder, tmp_path / "run", "cannot be loaded")


def test_an_encoder_s_numbers_have_to_be_finite(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make("bert", tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"].fill_(torch.nan)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ConfigError, match="not finite"):
        load_pretrained(str(folder))
