"""Pre-trained text encoders with their tokenizers, by name.

What an encoder can do is tried, not told from its name: how many tokens it reads, and that the padding behind
a sentence changes nothing. What cannot be used is refused here, before anything is trained with it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from .encoder_source import EncoderSource, state_of
from .errors import CheckpointError, ConfigError
from .hub import TOKENIZER_FILES, model_folder
from .text_encoder import SentenceTokenizer
from .transformer import (
    cannot_load,
    filler_of,
    load_encoder,
    new_encoder,
    no_encoder,
    rows_of,
    usable_length,
)


class Pretrained(NamedTuple):
    """What `MMN` is made with."""

    bert: nn.Module
    tokenizer: SentenceTokenizer
    source: EncoderSource


@torch.inference_mode(False)  # as what is not used is found by a gradient
def load_pretrained(name: str) -> Pretrained:
    """A pre-trained encoder and its tokenizer, by hub id or local directory.

    Raises:
        ConfigError: nothing usable is found there.
    """
    if not name:
        raise ConfigError(
            "no text encoder is named. Give --text-model a hub id or a directory with a Hugging Face encoder."
        )
    given = model_folder(name)
    folder = transformer_folder(given, name)
    bert = load_encoder(folder, name)
    _try_out(bert, name)
    tokenizer = load_tokenizer(name, usable_length(bert), folder, filler=filler_of(bert))
    check_vocabulary(tokenizer, rows_of(bert), name)
    kept = str(given) if Path(name).is_dir() else name
    return Pretrained(bert, tokenizer, EncoderSource.of(kept, state_of(bert)))


def transformer_folder(folder: Path, name: str) -> Path:
    """Where in a model's folder the transformer lies: models of sentence-transformers may have it one below.

    Raises:
        ConfigError: it holds no model.
    """
    for path in (*_listed(folder), "", "0_Transformer"):
        found = (folder / path).resolve()
        # A folder of the Hub's cache has links to files elsewhere in the cache, but no folders elsewhere.
        if found.is_relative_to(folder.resolve()) and (found / "config.json").is_file():
            return found
    raise ConfigError(
        f"text encoder '{name}': no config.json in {folder}. Expected a folder with config.json, "
        "model.safetensors and tokenizer.json."
    )


def _listed(folder: Path) -> list[str]:
    """Folders of transformers in modules.json, of sentence-transformers."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return [str(m["path"]) for m in modules if str(m["type"]).endswith(".Transformer")]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def load_tokenizer(
    name: str, reads: int, folder: Path | None = None, *, filler: int = 0
) -> SentenceTokenizer:
    """A tokenizer by hub id or local directory, for an encoder that reads so many tokens.

    Args:
        folder: where it lies, if that is known.
        filler: id that fills short sentences.

    Raises:
        ConfigError: nothing usable is found there.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    folder = folder or model_folder(name, weights=False)
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ConfigError(
            f"text encoder '{name}': no tokenizer in {folder.name} ({folder}). Copy tokenizer.json of the "
            "same model into the folder."
        )
    backend: Tokenizer | None
    try:
        # As it is in the file: the classes of some models add words that their embedding has no rows for.
        if (folder / "tokenizer.json").is_file():
            backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            backend = getattr(made, "backend_tokenizer", None)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise cannot_load(name, error) from error
    if backend is None:
        raise ConfigError(
            f"text encoder '{name}' has no fast tokenizer (tokenizer.json); choose another one."
        )
    special = {str(token.content) for token in backend.get_added_tokens_decoder().values() if token.special}
    if not set(backend.get_vocab(with_added_tokens=False)) - special:
        raise ConfigError(
            f"text encoder '{name}': no tokenizer in {folder.name} that knows a word ({folder}). Copy "
            "tokenizer.json of the same model into the folder."
        )
    return SentenceTokenizer(backend, filler, reads)


def check_vocabulary(tokenizer: SentenceTokenizer, rows: int, name: str) -> None:
    """Every word of a tokenizer needs its row of the embedding.

    Raises:
        ConfigError: it has more.
    """
    if tokenizer.size > rows:
        raise ConfigError(
            f"tokenizer '{name}' has {tokenizer.size:,} words, but the text encoder knows {rows:,}: it is "
            "another model's. Name the tokenizer that the model was trained with."
        )


@torch.no_grad()
def _try_out(bert: Any, name: str) -> None:
    """Embed ids with padding behind them and without: a state for each token, of the width that it says, the
    same in both.
    """
    try:
        ids = torch.arange(2, 8).remainder(rows_of(bert))[None]
        mask = torch.ones_like(ids)
        ids[:, 3:], mask[:, 3:] = filler_of(bert), 0
        padded, alone = (
            bert(input_ids=i, attention_mask=m).last_hidden_state
            for i, m in ((ids, mask), (ids[:, :3], mask[:, :3]))
        )
        width = int(bert.config.hidden_size)
    except Exception as error:  # whatever a model that reads no text says of ids
        raise no_encoder(bert, name, error) from error
    if padded.shape != (1, 6, width):
        raise ConfigError(
            f"text encoder '{name}' gives states of shape {tuple(padded.shape)} for 6 tokens, expected "
            f"(1, 6, {width}), a state a token. Name another encoder."
        )
    if not torch.isfinite(alone).all():
        raise ConfigError(f"text encoder '{name}' gives states that are not finite. Are its weights damaged?")
    if not torch.allclose(padded[:, :3], alone, rtol=1e-2, atol=1e-3 * float(alone.abs().max())):
        raise ConfigError(
            f"text encoder '{name}' is a {type(bert).__name__}, whose states of a sentence depend on the "
            "padding behind it. Name another encoder."
        )


def rebuild(
    text_config: dict[str, Any], tokenizer_json: str, where: str, found: nn.Module | None = None
) -> tuple[nn.Module, SentenceTokenizer]:
    """The encoder of a checkpoint and its tokenizer.

    Args:
        found: the encoder; if it is not given, one of untrained weights is made.

    Raises:
        CheckpointError: the description is of no encoder known here; the message starts with `where`.
    """
    from tokenizers import Tokenizer

    try:
        bert = found or new_encoder(text_config, where)
        tokenizer = Tokenizer.from_str(tokenizer_json)
        made = SentenceTokenizer(tokenizer, filler_of(bert), usable_length(bert))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            f"{where}: its text encoder cannot be rebuilt ({error}). Is the checkpoint complete?"
        ) from error
    return bert, made
