"""The text side of a model of two towers: its own tokenizer, padding and pooling."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .encoder_source import state_of
from .errors import ConfigError, DependencyError
from .transformer import usable_length
from .two_towers import (
    check_complete,
    cut,
    features_name,
    first_sentence,
    load_towers,
    processor_defaults,
    quiet,
    read_config,
    tau_of,
    text_features,
    towers_of,
)
from .weights_digest import source_of
from .wording import Wording

_AT_ONCE = 64  # sentences that go through a network together
_SIGLIP_TOKENS = 64  # where not even its tokenizer says how many


class TowerText:
    """See `mmn_index.dual_encoder.TextSide`.

    Args:
        folder: of the model.
        kept: hub id, or absolute path of the folder.
        name: what the user called it.
    """

    def __init__(self, folder: Path, kept: str, name: str, device: torch.device, template: str) -> None:
        config = read_config(folder, name)
        towers = towers_of(config)
        if towers is None:
            raise ConfigError(
                f"{name}: is a model of type '{config.model_type}', whose texts share no space with pictures "
                "and that has no modules.json to say how it embeds a sentence. Name a dual encoder such as "
                "CLIP or SigLIP, or a model of sentence-transformers."
            )
        self._tokenizer = _load_tokenizer(folder, name)
        asked = _asked(config)
        model, lacking = load_towers(folder, config, name)
        try:
            features = cut(model, partial(text_features, inputs=self._tokenizer(["a"], return_tensors="pt")))
            most = min(usable_length(_Reader(model)), int(asked.get("max_length") or sys.maxsize))
        except (
            Exception
        ) as error:  # whatever a model whose texts share no space with pictures makes of tokens
            raise ConfigError(
                f"{name}: is a {type(model).__name__}, which gives no vector of a sentence that pictures "
                f"have as well. {first_sentence(error)}"
            ) from error
        check_complete(model, lacking, name)
        _check_vocabulary(model, self._tokenizer, name)
        self.dim = features.shape[1]
        _check_widths(model, config, self.dim, name)
        if not torch.isfinite(features).all():
            raise ConfigError(f"{name}: gives vectors that are not finite. Are its weights damaged?")
        most = min(most, self._tokenizer.model_max_length)
        self._padding: dict[str, Any] = {"padding": True, "return_attention_mask": True}
        if asked.get("padding") == "max_length":
            self._padding = {"padding": "max_length", "max_length": most, "truncation": True}
        elif not self._padded_the_same(model, features):
            # The text model of AIMv2 looks both ways unless there is padding, and then back only.
            self._padding |= {"padding": "max_length", "max_length": most}
            most -= 1
        lower = _lower(config, self._tokenizer)
        self._wording = Wording(template, self._count, most, lower=lower)
        self.tau = tau_of(model)
        self.source = source_of(kept, folder, "text", lambda: state_of(model))
        self.features: str | None = features_name(kept, config, towers)
        self.device = device
        self._model = model.to(device)

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the model reads."""
        return self._wording.shortened(sentences)

    @torch.inference_mode()
    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(Q, C) float32 vectors of unit length, on `device`.

        Raises:
            QueryError: a sentence is empty, or longer than the model reads.
        """
        texts = self._wording(sentences)
        found = [torch.empty(0, self.dim, device=self.device)]
        for start in range(0, len(texts), _AT_ONCE):
            inputs = self._tokenizer(texts[start : start + _AT_ONCE], return_tensors="pt", **self._padding)
            found.append(text_features(self._model, inputs.to(self.device)))
        return nn.functional.normalize(torch.cat(found), dim=1)

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    @torch.inference_mode()
    def _padded_the_same(self, model: Any, alone: Tensor) -> bool:
        """Whether padding behind the sentence "a" leaves its features as they are."""
        length = self._count("a") + 2
        inputs = self._tokenizer(
            ["a"], return_tensors="pt", **{**self._padding, "padding": "max_length", "max_length": length}
        )
        padded = text_features(model, inputs)
        return torch.allclose(padded, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


class _Reader(nn.Module):
    """A text side as a text encoder, to find out how many tokens it reads."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model
        self.config = getattr(model.config, "text_config", model.config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return text_features(self._model, {"input_ids": input_ids, "attention_mask": attention_mask})


def _load_tokenizer(folder: Path, name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except ImportError as error:
        raise DependencyError(
            f"{name}: its tokenizer needs a package that is not installed. {first_sentence(error)} If that "
            "is sentencepiece or protobuf, pip install 'mmn-index[siglip]' brings both."
        ) from error
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ConfigError(
            f"{name}: no tokenizer can be loaded from {folder}. {first_sentence(error)} Copy tokenizer.json "
            "of the same model into the folder."
        ) from error
    if not set(made.get_vocab()) - set(made.all_special_tokens):
        raise ConfigError(
            f"{name}: the tokenizer in {folder} knows no word. Copy tokenizer.json of the same model into "
            "the folder."
        )
    if made.pad_token is None:  # what fills short sentences is masked: any token will do
        made.pad_token = made.eos_token or made.convert_ids_to_tokens(0)
    return made


def _asked(config: Any) -> dict[str, Any]:
    """How the model's processor has sentences padded: "padding" and "max_length", where it says so."""
    asked = processor_defaults(config, "text_kwargs")
    if not asked and "siglip" in config.model_type:
        # Its processor leaves that to the caller; the library's own pipeline asks for its name as well.
        return {"padding": "max_length", "max_length": _SIGLIP_TOKENS}
    return asked


def _lower(config: Any, tokenizer: Any) -> bool:
    """Whether a model was trained with small letters that its tokenizer does not make of large ones."""
    stated = tokenizer.init_kwargs.get("do_lower_case")
    # SigLIP 2 has Gemma's tokenizer, which keeps large letters whatever its settings say.
    unstated = "siglip" in config.model_type and "Gemma" in type(tokenizer).__name__
    return bool(unstated if stated is None else stated)


def _check_vocabulary(model: Any, tokenizer: Any, name: str) -> None:
    tables = [
        m for called, m in model.named_modules() if isinstance(m, nn.Embedding) and "position" not in called
    ]
    rows = max((table.num_embeddings for table in tables), default=0)
    if rows and tokenizer.vocab_size > rows:
        raise ConfigError(
            f"{name}: its tokenizer has {tokenizer.vocab_size:,} words, but the model knows {rows:,}: it is "
            "another model's. Copy the tokenizer that the model was trained with into the folder."
        )


def _check_widths(model: Any, config: Any, width: int, name: str) -> None:
    """Where nothing projects, the pictures' states have to be as wide as the texts' vectors."""
    pictures = getattr(getattr(config, "vision_config", None), "hidden_size", None)
    projects = hasattr(config, "projection_dim") or any("proj" in part for part, _ in model.named_children())
    if isinstance(pictures, int) and not projects and pictures != width:
        raise ConfigError(
            f"{name}: its texts have {width} numbers and its pictures {pictures}, expected one space for "
            "both."
        )
