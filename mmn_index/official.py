"""Checkpoints of the official MMN implementation (.pth) as models of this project.

Such a file is a dict with "model", or the state_dict itself; its keys begin with `module.` or not. What a
state_dict does not say (the number of clips, which proposals there are) comes from one of the paper's three
settings: the shapes tell ActivityNet from the other two, and Charades from TACoS only where the 2D map is
learned. Loading is strict, unlike the official loader, which leaves missing tensors at random values. No
pickled object but tensors is ever loaded.
"""

import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import check_weights
from .config import PAPER, ModelConfig
from .errors import CheckpointError, ConfigError
from .model import MMN
from .pretrained import load_tokenizer
from .text_encoder import SentenceTokenizer

# Official beginnings of names, and this project's; the first that fits counts.
_NAMES = (
    ("featpool.", "video_encoder.featpool."),
    ("feat2d.", "video_encoder.proposal_map."),
    ("proposal_conv.bn.", "video_encoder.proposal_conv.norms."),
    ("proposal_conv.conv1x1_contrastive.", "video_encoder.proposal_conv.contrastive_head."),
    ("proposal_conv.conv1x1_iou.", "video_encoder.proposal_conv.iou_head."),
    ("proposal_conv.", "video_encoder.proposal_conv."),
    ("text_encoder.fc_out1.", "text_encoder.iou_head."),
    ("text_encoder.fc_out2.", "text_encoder.contrastive_head."),
    ("text_encoder.layernorm.", "text_encoder.norm."),
)


def own_name(name: str) -> str:
    """An official state_dict key (without `module.`) as this project calls the same tensor."""
    for old, new in _NAMES:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def read_official(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of an official checkpoint under this project's names.

    Raises:
        CheckpointError: the file is missing, holds something else than tensors, or is no MMN.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file, expected an official checkpoint such as best_charades.pth."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (
            str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else type(error).__name__
        )
        raise CheckpointError(
            f"{path}: cannot be read as tensors alone ({reason}). Is it a complete PyTorch checkpoint?"
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no state_dict, expected one, or a dict with one under 'model'.")
    names = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
    # A buffer that some versions of transformers stored; it is 0, 1, 2, ...
    names.pop("text_encoder.bert.embeddings.position_ids", None)
    if "featpool.conv.weight" not in names:
        raise CheckpointError(
            f"{path}: is no MMN, it has no featpool.conv.weight (it has {', '.join(sorted(names)[:3])}, ...)."
        )
    own = {}
    for name, tensor in names.items():
        target = own_name(name)
        own[target] = (
            tensor[..., 0, 0] if "_head.weight" in target and tensor.ndim == 4 else tensor
        )  # 1x1 convolution
    return own


def convert(path: str | os.PathLike[str], tokenizer: str, setting: str | None = None) -> MMN:
    """Build a model from an official checkpoint, in eval mode.

    Args:
        tokenizer: hub id or directory of the text encoder's tokenizer (distilbert-base-uncased in the paper).
        setting: "charades", "activitynet" or "tacos"; needed where the shapes do not tell.

    Raises:
        CheckpointError: not a complete checkpoint of that setting; missing and unknown tensors are listed.
        ConfigError: the setting is unknown, needed, or at odds with the shapes; or no tokenizer is there.
    """
    weights = read_official(path)
    config = infer_config(weights, setting, str(path))
    bert = _text_encoder(weights, str(path))
    model = MMN(config, bert, _tokenizer(tokenizer, bert))
    check_weights(model, weights, str(path))
    model.load_state_dict(weights)
    return model.eval()


def infer_config(weights: Mapping[str, Tensor], setting: str | None, where: str) -> ModelConfig:
    """The configuration that the shapes of a state_dict tell, completed by one of the paper's settings."""
    try:
        featpool = weights["video_encoder.featpool.conv.weight"].shape  # (H, D, 1)
        conv = weights["video_encoder.proposal_conv.convs.0.weight"].shape  # (H', H, K, K)
        joint = weights["video_encoder.proposal_conv.iou_head.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(f"{where}: is incomplete, {error} is missing.") from error
    layers = _count(weights, r"video_encoder\.proposal_conv\.convs\.(\d+)\.weight")
    learned = _count(weights, r"video_encoder\.proposal_map\.convs\.(\d+)\.weight")
    fitting = [
        name
        for name, paper in PAPER.items()
        if (paper.conv_kernel, paper.conv_layers) == (conv[2], layers)
        and learned in (0, sum(paper.pooling_counts))
    ]
    if setting is not None and setting not in PAPER:
        raise ConfigError(f"no setting of the paper is called '{setting}'; there are {', '.join(PAPER)}.")
    if not fitting or (setting is not None and setting not in fitting):
        raise ConfigError(
            f"{where}: has {layers} layers of {conv[2]} x {conv[2]} convolutions and {learned} of the "
            f"learned map, which fits {' and '.join(fitting) or 'none'} of the paper's "
            f"settings{f', not {setting}' if setting else ''}."
        )
    if setting is None and len(fitting) > 1:
        raise ConfigError(f"{where}: fits {' and '.join(fitting)} alike; say which with --setting.")
    return replace(
        PAPER[setting or fitting[0]],
        input_dim=featpool[1],
        featpool_dim=featpool[0],
        conv_dim=conv[0],
        joint_dim=joint,
        map_type="conv" if learned else "pool",
    )


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, name)) for name in weights)


def _text_encoder(weights: Mapping[str, Tensor], where: str) -> torch.nn.Module:
    from transformers import DistilBertConfig, DistilBertModel

    try:
        vocabulary, width = weights["text_encoder.bert.embeddings.word_embeddings.weight"].shape
        positions = weights["text_encoder.bert.embeddings.position_embeddings.weight"].shape[0]
        hidden = weights["text_encoder.bert.transformer.layer.0.ffn.lin1.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(f"{where}: its text encoder is no DistilBERT, {error} is missing.") from error
    layers = _count(weights, r"text_encoder\.bert\.transformer\.layer\.(\d+)\.ffn\.lin1\.weight")
    config = DistilBertConfig(
        vocab_size=vocabulary,
        max_position_embeddings=positions,
        dim=width,
        n_layers=layers,
        n_heads=width // 64,
        hidden_dim=hidden,
    )
    bert: torch.nn.Module = DistilBertModel(config)
    return bert


def _tokenizer(name: str, bert: torch.nn.Module) -> SentenceTokenizer:
    config: Any = bert.config
    tokenizer = load_tokenizer(name, int(config.max_position_embeddings))
    if tokenizer.size > config.vocab_size:
        raise ConfigError(
            f"tokenizer '{name}' has {tokenizer.size} words, but the checkpoint's text encoder knows "
            f"{config.vocab_size}. Name the tokenizer that the model was trained with."
        )
    return tokenizer
