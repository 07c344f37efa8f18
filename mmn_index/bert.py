"""BERT and DistilBERT for embedding alone, in plain torch.

Importing the classes of the transformers package takes longer than all else that a search does. The encoders
that MMN is trained with are of two kinds, and both are the same layers under different names; these here take
the same weights and give the same states. Training, and every other encoder, uses transformers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


@dataclass(frozen=True)
class _Kind:
    """What an architecture calls its sizes and its layers.

    Attributes:
        plain: members of a configuration that must have this value, or be missing.
    """

    width: str
    heads: str
    depth: str
    inner: str
    activation: str
    layers: str
    attention: tuple[str, str, str, str]  # query, key, value, output
    attention_norm: str
    feed: tuple[str, str]
    feed_norm: str
    plain: Mapping[str, Any]


_KINDS = {
    "bert": _Kind(
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "hidden_act",
        "encoder.layer",
        ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        "attention.output.LayerNorm",
        ("intermediate.dense", "output.dense"),
        "output.LayerNorm",
        {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"},
    ),
    "distilbert": _Kind(
        "dim",
        "n_heads",
        "n_layers",
        "hidden_dim",
        "activation",
        "transformer.layer",
        ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
        "sa_layer_norm",
        ("ffn.lin1", "ffn.lin2"),
        "output_layer_norm",
        {},
    ),
}


@dataclass(frozen=True)
class States:
    """What an encoder gives: (Q, T, width)."""

    last_hidden_state: Tensor


class _Tokens:
    """Which places of a batch hold tokens. All but attention looks at a token by itself, so what pads short
    sentences is left out of it: of sentences of unlike length that is a third of the work.

    Args:
        mask: (Q, T), True for tokens.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.places = None if bool(mask.all()) else mask.flatten().nonzero()[:, 0]

    def of(self, x: Tensor) -> Tensor:
        """(Q, T, ...) -> (n, ...), the tokens of all sentences in turn."""
        flat = x.flatten(0, 1)
        return flat if self.places is None else flat[self.places]

    def padded(self, x: Tensor) -> Tensor:
        """(n, width) -> (Q, T, width), 0 where no token is."""
        if self.places is not None:
            x = x.new_zeros(self.mask.numel(), x.shape[1]).index_copy(0, self.places, x)
        return x.view(*self.mask.shape, -1)


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Random numbers would take time, and a checkpoint's replace them."""


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """As above."""


class Bert(nn.Module):
    """An encoder whose tensors have the names that transformers gives them; they are not set yet.

    Args:
        text_config: a configuration that `reads` takes, as transformers writes it.
    """

    def __init__(self, text_config: Mapping[str, Any]) -> None:
        super().__init__()
        self._kind = kind = _KINDS[text_config["model_type"]]
        width, inner = int(text_config[kind.width]), int(text_config[kind.inner])
        self._heads = int(text_config[kind.heads])
        self._activation = _ACTIVATIONS[text_config[kind.activation]]
        positions = int(text_config["max_position_embeddings"])
        eps = float(text_config.get("layer_norm_eps", 1e-12))
        self.config = SimpleNamespace(
            hidden_size=width,
            max_position_embeddings=positions,
            pad_token_id=text_config.get("pad_token_id"),
            to_dict=lambda: dict(text_config),
        )
        _put(self, "embeddings.word_embeddings", _Embedding(int(text_config["vocab_size"]), width))
        _put(self, "embeddings.position_embeddings", _Embedding(positions, width))
        if types := text_config.get("type_vocab_size"):
            _put(self, "embeddings.token_type_embeddings", _Embedding(int(types), width))
        _put(self, "embeddings.LayerNorm", nn.LayerNorm(width, eps))
        layers = nn.ModuleList(_layer(kind, width, inner, eps) for _ in range(text_config[kind.depth]))
        _put(self, kind.layers, layers)
        if text_config["model_type"] == "bert":  # states do not depend on it
            _put(self, "pooler.dense", _Linear(width, width))

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of words."""
        found = self.get_submodule("embeddings.word_embeddings")
        assert isinstance(found, nn.Embedding)
        return found

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> States:
        """Token ids and their mask, 1 for tokens, 0 for padding, whose states are 0: both (Q, T)."""
        parts: Any = self.embeddings
        tokens = _Tokens(attention_mask.bool())
        ids = tokens.of(input_ids)
        x = parts.word_embeddings(ids)
        if hasattr(parts, "token_type_embeddings"):
            x = x + parts.token_type_embeddings(torch.zeros_like(ids))
        positions = torch.arange(input_ids.shape[1], device=x.device).expand(input_ids.shape)
        x = parts.LayerNorm(x + parts.position_embeddings(tokens.of(positions)))
        layers: Any = self.get_submodule(self._kind.layers)
        for layer in layers:
            x = self._through(layer, x, tokens)
        return States(tokens.padded(x))

    def _through(self, layer: nn.Module, x: Tensor, tokens: "_Tokens") -> Tensor:
        """(n, width) -> (n, width)."""
        kind, part = self._kind, layer.get_submodule
        query, key, value = (
            tokens.padded(part(name)(x)).unflatten(-1, (self._heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
            for name in kind.attention[:3]
        )
        seen = None if tokens.places is None else tokens.mask[:, None, None, :]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        attended = tokens.of(found.transpose(1, 2).flatten(2))
        x = part(kind.attention_norm)(part(kind.attention[3])(attended) + x)
        fed = part(kind.feed[1])(self._activation(part(kind.feed[0])(x)))
        states: Tensor = part(kind.feed_norm)(fed + x)
        return states


def reads(text_config: Mapping[str, Any]) -> bool:
    """Whether an encoder of a configuration is one of these."""
    kind = _KINDS.get(str(text_config.get("model_type")))
    if kind is None or text_config.get(kind.activation) not in _ACTIVATIONS:
        return False
    if any(text_config.get(name) not in (None, value) for name, value in kind.plain.items()):
        return False
    names = (kind.width, kind.heads, kind.depth, kind.inner, "vocab_size", "max_position_embeddings")
    sizes = [text_config.get(name) for name in names]
    sound = all(isinstance(size, int) and size > 0 for size in sizes)
    return sound and text_config[kind.width] % text_config[kind.heads] == 0


def read_weights(folder: Path, text_config: Mapping[str, Any]) -> Bert | None:
    """An encoder with the weights of a folder that Hugging Face's library wrote; None where they are not as
    these take them, which does not mean that transformers cannot read them.
    """
    bert = Bert(text_config)
    wanted, begin = bert.state_dict(), f"{text_config['model_type']}."
    try:
        tensors = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError):
        return None
    plain = {name.removeprefix(begin): tensor for name, tensor in tensors.items()}
    if any(name not in plain or plain[name].shape != tensor.shape for name, tensor in wanted.items()):
        return None
    bert.load_state_dict({name: plain[name].float() for name in wanted})
    return bert.eval()


def _layer(kind: _Kind, width: int, inner: int, eps: float) -> nn.Module:
    layer = nn.Module()
    for name in kind.attention:
        _put(layer, name, _Linear(width, width))
    _put(layer, kind.attention_norm, nn.LayerNorm(width, eps))
    _put(layer, kind.feed[0], _Linear(width, inner))
    _put(layer, kind.feed[1], _Linear(inner, width))
    _put(layer, kind.feed_norm, nn.LayerNorm(width, eps))
    return layer


def _put(module: nn.Module, path: str, part: nn.Module) -> None:
    """A part under a dotted name."""
    *above, name = path.split(".")
    for step in above:
        if step not in module._modules:
            module.add_module(step, nn.Module())
        module = module.get_submodule(step)
    module.add_module(name, part)
