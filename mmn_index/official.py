"""Checkpoints of the official MMN implementation (.pth) as models of this project.

Such a file is a dict with "model", or the state_dict itself; its keys begin with `module.` or not. Other
trainers wrap it in more: `state_dict`, a moving average, `_orig_mod.` of torch.compile. All of that is
unwrapped, and each tensor has to be accounted for. What a state_dict does not say (the number of clips, which
proposals there are) comes from one of the paper's three settings: the shapes tell ActivityNet from the other
two, and Charades from TACoS only where the 2D map is learned. Loading is strict, unlike the official loader,
which leaves missing tensors at random values. No pickled object but tensors is ever loaded.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .config import PAPER, ModelConfig
from .errors import CheckpointError, ConfigError
from .model import MMN, check_weights
from .pretrained import check_vocabulary, load_tokenizer
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

_UNUSED = "video_encoder.featpool.fc"
_MARK = "featpool.conv.weight"  # every MMN has it
# ... under its own name, or under one of a wrapper
_MARKED = re.compile(rf"((model|net|mmn|ema|ema_model|online_model|shadow)\.)*{re.escape(_MARK)}")
_WRAPPINGS = (
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "net",
    "weights",
    "ema",
    "ema_model",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "shadow",
    "averaged_model",
)
_AVERAGE = re.compile("ema|shadow|averag")
_COUNTERS = ("n_averaged", "initted", "step", "num_updates", "decay")  # of wrappers of moving averages
# Parts of names that tell other models, the first that fits.
_OTHERS = (
    (".video_encoder.", "a checkpoint of mmn-index itself, which needs no conversion"),
    (".frame_layer.", "2D-TAN"),
    (".span_embed.", "Moment-DETR"),
    (".visual.transformer.", "CLIP of OpenAI"),
    (".vision_model.", "a CLIP or SigLIP of the transformers package"),
    (".bert.", "a text encoder alone"),
    (".embeddings.word_embeddings.", "a text encoder alone"),
    (".conv1.weight", "a convolutional network for pictures"),
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
    except Exception as error:  # the unpickler, the archive reader and the disk each have their own
        raise _unreadable(path, error) from error
    names = _state_dict(content, str(path))
    # A buffer that some versions of transformers stored; it is 0, 1, 2, ...
    names.pop("text_encoder.bert.embeddings.position_ids", None)
    own = {}
    for name, tensor in names.items():
        target = own_name(name)
        own[target] = (
            tensor[..., 0, 0] if "_head.weight" in target and tensor.ndim == 4 else tensor
        )  # 1x1 convolution
    return own


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    if found := re.search(r"Unsupported (?:global|class): (?:GLOBAL )?([\w.]+)", str(error)):
        return CheckpointError(
            f"{path}: cannot be read as tensors alone: it holds a pickled {found[1]}, which is never loaded. "
            "If you trust the file, save its state_dict alone: torch.save({'model': state_dict}, 'new.pth')."
        )
    reason = str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else type(error).__name__
    return CheckpointError(
        f"{path}: cannot be read as tensors alone ({reason}). Is it a complete PyTorch checkpoint?"
    )


def _state_dict(content: Any, where: str) -> dict[str, Tensor]:
    """The tensors of an MMN by their official names, out of whatever they are wrapped in.

    Of weights and their moving average in one file, the weights are taken.
    """
    states = list(_states(content))
    if not states:
        raise CheckpointError(
            f"{where}: holds no state_dict, expected one, or a dict with one under 'model', 'state_dict' or "
            f"'ema'{_holds(content)}."
        )
    for state in states:
        names = {_bare(str(name)): tensor for name, tensor in state.items()}
        if len(names) < len(state):
            twice = next(n for n in names if sum(_bare(str(name)) == n for name in state) > 1)
            raise CheckpointError(f"{where}: has two tensors that are called {twice} once unwrapped.")
        begins = [name.removesuffix(_MARK) for name in names if _MARKED.fullmatch(name)]
        if begins:
            begin = min(begins, key=lambda text: (bool(_AVERAGE.search(text)), len(text)))
            return _under(names, begin, [other for other in begins if other != begin])
    names = {_bare(str(name)): tensor for name, tensor in states[0].items()}
    raise CheckpointError(
        f"{where}: is no MMN, it has no {_MARK} (it has {', '.join(sorted(names)[:3])}, ...)"
        f"{_looks_like(names)}."
    )


def _states(content: Any, depth: int = 3) -> Iterator[Mapping[str, Tensor]]:
    """Every dict of tensors in some content: itself, or what lies under names of wrappings, averages last."""
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(value, Tensor) for value in content.values()):
        yield content
    elif depth:
        for key in sorted(content, key=lambda key: bool(_AVERAGE.search(str(key)))):
            if str(key) in _WRAPPINGS:
                yield from _states(content[key], depth - 1)
        # A wrapper of a moving average that keeps its counters as numbers beside the tensors.
        tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if any(_bare(str(key)).endswith(_MARK) for key in tensors):
            yield tensors


def _bare(name: str) -> str:
    """A name without what DataParallel and torch.compile put before it, at any depth."""
    return ".".join(part for part in name.split(".") if part not in ("module", "_orig_mod"))


def _under(names: Mapping[str, Tensor], begin: str, others: Sequence[str]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without it. A second copy, and a wrapper's counters, are left."""
    counted = {name: tensor for name, tensor in names.items() if name not in _COUNTERS}
    known = {name.removeprefix(begin): tensor for name, tensor in counted.items() if name.startswith(begin)}
    copies = {other + name for other in others for name in known}
    # Anything else stays, and is refused by its name.
    left = {n: x for n, x in counted.items() if not n.startswith(begin) and n not in copies}
    return known | left


def _holds(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"; it holds a {type(content).__name__}"
    return f"; it has {', '.join(map(repr, list(content)[:5])) or 'nothing'}"


def _looks_like(names: Mapping[str, Tensor]) -> str:
    """Which other model some names are known from."""
    for mark, what in _OTHERS:
        if any(mark in f".{name}" for name in names):
            return f"; it looks like {what}"
    return ""


def convert(path: str | os.PathLike[str], tokenizer: str, setting: str | None = None) -> MMN:
    """Build a model from an official checkpoint, in eval mode.

    Args:
        tokenizer: hub id or directory of the text encoder's tokenizer (distilbert-base-uncased in the paper).
        setting: "charades", "activitynet", "tacos" or "stvg"; needed where the shapes do not tell.

    Raises:
        CheckpointError: not a complete checkpoint of that setting; missing and unknown tensors are listed.
        ConfigError: the setting is unknown, needed, or at odds with the shapes; or no tokenizer is there.
    """
    weights = read_official(path)
    config = infer_config(weights, setting, str(path))
    weights = used(weights)
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
    tubes = len(used(weights)) < len(weights)
    fitting = [
        name
        for name, paper in PAPER.items()
        if (paper.conv_kernel, paper.conv_layers, paper.tubes) == (conv[2], layers, tubes)
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


def used(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the tensors of a branch of MMN-STVG whose result goes nowhere and that is not trained."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(_UNUSED)}


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
    if width % 64:
        raise CheckpointError(f"{where}: its text encoder has a width of {width}, expected a multiple of 64.")
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
    check_vocabulary(tokenizer, int(config.vocab_size), name)
    return tokenizer
