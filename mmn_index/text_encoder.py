"""The text side of MMN: a Hugging Face encoder, mean pooling, LayerNorm, two linear heads.

A sentence is tokenised with the encoder's own fast tokenizer, which travels with a checkpoint as
tokenizer.json. Loading never runs code that comes with a model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError, ConfigError, QueryError
from .scoring import Embeddings

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class SentenceTokenizer:
    """Sentences to padded token ids.

    Args:
        tokenizer: a tokenizer of the `tokenizers` library; its truncation and padding are switched off.
        pad_id: id that fills short sentences; masked out, so its value never matters to the result.
        max_tokens: what the encoder can read, special tokens included.
    """

    def __init__(self, tokenizer: "Tokenizer", pad_id: int, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._pad_id = pad_id
        self._max_tokens = max_tokens

    def __call__(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (Q, T) int64 and (Q, T) bool.

        Raises:
            QueryError: a sentence is empty or longer than the encoder reads.
        """
        if empty := [number for number, sentence in enumerate(sentences) if not sentence.strip()]:
            raise QueryError(f"sentence {empty[0] + 1} of {len(sentences)} is empty, expected words.")
        if broken := next(filter(_no_text, sentences), None):
            raise QueryError(
                f"the sentence {broken!r:.60} is no text: it holds bytes that are not UTF-8, or NUL."
            )
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(sentences))]
        longest = max((len(row) for row in rows), default=0)
        if longest > self._max_tokens:
            wordy = next(
                sentence for sentence, row in zip(sentences, rows, strict=True) if len(row) == longest
            )
            raise QueryError(
                f"the sentence {wordy!r:.60}... has {longest} tokens, the text encoder reads at most "
                f"{self._max_tokens}. Shorten it."
            )
        ids = torch.full((len(rows), longest), self._pad_id, dtype=torch.int64)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = True
        return ids, mask

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the encoder reads."""
        found = list(sentences)
        whole = [number for number, sentence in enumerate(found) if not _no_text(sentence)]
        encodings = self._tokenizer.encode_batch([found[number] for number in whole])
        for number, encoding in zip(whole, encodings, strict=True):
            over = len(encoding.ids) - self._max_tokens
            ends = [
                end
                for (_, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
                if not special
            ]
            # A word that is cut may fall into more tokens than it had as a whole.
            while over > 0 and len(ends) > over:
                del ends[-over:]
                found[number] = found[number][: ends[-1]].rstrip()
                over = len(self._tokenizer.encode(found[number]).ids) - self._max_tokens
        return found

    @property
    def size(self) -> int:
        """Words of the vocabulary."""
        return int(self._tokenizer.get_vocab_size())

    def to_json(self) -> str:
        """The content of tokenizer.json."""
        return str(self._tokenizer.to_str())


class TextEncoder(nn.Module):
    """Token ids to the two query embeddings, not yet normalised (MMN section 3.3)."""

    def __init__(self, bert: nn.Module, joint_dim: int) -> None:
        super().__init__()
        self.bert = bert
        width = int(bert.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self.norm = nn.LayerNorm(width)
        self.contrastive_head = nn.Linear(width, joint_dim)
        self.iou_head = nn.Linear(width, joint_dim)

    def pool(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Mean of the last hidden states over a sentence's tokens, CLS and SEP included: (Q, T) -> (Q,
        width).
        """
        hidden = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weight = mask.to(hidden.dtype) / mask.sum(dim=1, keepdim=True)
        pooled: Tensor = (hidden * weight[..., None]).sum(dim=1)
        return pooled

    def project(self, pooled: Tensor) -> Embeddings:
        """LayerNorm and the two heads: (Q, width) -> two of (Q, C)."""
        x = self.norm(pooled)
        return Embeddings(self.contrastive_head(x), self.iou_head(x))

    def forward(self, ids: Tensor, mask: Tensor) -> Embeddings:
        return self.project(self.pool(ids, mask))


def _no_text(sentence: str) -> bool:
    """Whether it holds bytes that were no UTF-8 (a command line passes them on as lone surrogates), or
    NUL.
    """
    return any("\ud800" <= character <= "\udfff" or character == "\0" for character in sentence)


def load_pretrained(name: str) -> tuple[nn.Module, SentenceTokenizer]:
    """A pre-trained encoder and its tokenizer, by hub id or local directory.

    Raises:
        ConfigError: nothing usable is found there.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # the library never prints
    if not name:
        raise ConfigError(
            "no text encoder is named. Give --text-model a hub id or a directory with a Hugging Face encoder."
        )
    try:
        bert = AutoModel.from_pretrained(
            name, local_files_only=Path(name).is_dir(), use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, ImportError) as error:
        raise _cannot_load(name, error) from error
    return bert, load_tokenizer(name, max_tokens(bert.config))


def load_tokenizer(name: str, reads: int) -> SentenceTokenizer:
    """A tokenizer by hub id or local directory, for an encoder that reads so many tokens.

    Raises:
        ConfigError: nothing usable is found there.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=Path(name).is_dir())
    except (OSError, ValueError, ImportError) as error:
        raise _cannot_load(name, error) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(
            f"text encoder '{name}' has no fast tokenizer (tokenizer.json); choose another one."
        )
    return SentenceTokenizer(backend, int(tokenizer.pad_token_id or 0), reads)


def _cannot_load(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"text encoder '{name}' cannot be loaded ({str(error).strip().splitlines()[0]}). Expected a hub id "
        "(with network) or a directory with config.json, model.safetensors and tokenizer.json."
    )


def rebuild(
    text_config: dict[str, Any], tokenizer_json: str, where: str
) -> tuple[nn.Module, SentenceTokenizer]:
    """The encoder of a checkpoint with untrained weights, and its tokenizer.

    Raises:
        CheckpointError: the description is of no encoder known here; the message starts with `where`.
    """
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.for_model(**text_config)
        bert = AutoModel.from_config(config)
        tokenizer = Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            f"{where}: its text encoder cannot be rebuilt ({error}). Is the checkpoint complete?"
        ) from error
    return bert, SentenceTokenizer(tokenizer, int(config.pad_token_id or 0), max_tokens(config))


def max_tokens(config: Any) -> int:
    """How many tokens an encoder reads, special tokens included."""
    positions = int(config.max_position_embeddings)
    # RoBERTa and its kin begin to count positions behind the padding id.
    return positions - int(config.pad_token_id) - 1 if "roberta" in config.model_type else positions
