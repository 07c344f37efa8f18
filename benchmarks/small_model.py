"""A small MMN of random weights, and features for it: for adding a video to a collection of a benchmark's."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from mmn_index import checkpoint
from mmn_index.config import ModelConfig
from mmn_index.feature_writer import FeatureWriter
from mmn_index.model import MMN
from mmn_index.pretrained import load_pretrained
from mmn_index.proposals import ProposalGrid

WIDTH = 16  # of features and layers
WORDS = ("[PAD]", "[UNK]", "a", "person", "opens", "the", "door")


def text_model(folder: Path) -> Path:
    """A text encoder of one layer, as a Hugging Face directory."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast  # a second of every process

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": WIDTH}
    BertModel(BertConfig(vocab_size=len(WORDS), hidden_size=WIDTH, **shape)).save_pretrained(folder)
    return folder


def write(folder: Path, grid: ProposalGrid, dim: int) -> str:
    """A checkpoint whose embeddings have the shape of a collection's; returns its fingerprint."""
    text = text_model(folder.with_name("text-model"))
    config = ModelConfig(
        input_dim=WIDTH,
        num_pre_clips=2 * grid.num_clips,
        num_clips=grid.num_clips,
        pooling_counts=grid.pooling_counts,
        featpool_kernel=2,
        conv_kernel=3,
        conv_layers=1,
        featpool_dim=WIDTH,
        conv_dim=WIDTH,
        joint_dim=dim,
        text_model=str(text),
    )
    return checkpoint.save(MMN(config, *load_pretrained(str(text))).eval(), folder)


def write_features(path: Path, seconds: float) -> None:
    """Snippets of one video, called "one"."""
    snippets = np.random.default_rng(0).normal(size=(64, WIDTH)).astype(np.float32)
    with FeatureWriter(path, backbone="random", rate=64 / seconds) as writer:
        writer.add("one", snippets, duration=seconds, source="/nowhere/one.mp4")
