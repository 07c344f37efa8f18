"""The text side of MMN: a Hugging Face encoder, mean pooling, LayerNorm, two linear heads.

A sentence is tokenised with the encoder's own fast tokenizer, which travels with a checkpoint as
tokenizer.json. pretrained.py finds and loads encoders.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .errors import QueryError
from .readable import quoted
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
        check_sentences(sentences)
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(sentences))]
        longest = max((len(row) for row in rows), default=0)
        if longest > self._max_tokens:
            wordy = next(
                sentence for sentence, row in zip(sentences, rows, strict=True) if len(row) == longest
            )
            raise QueryError(
                f"the sentence {quoted(wordy)} has {longest} tokens, the text encoder reads at most "
                f"{self._max_tokens}. Shorten it."
            )
        if nothing := next((s for s, row in zip(sentences, rows, strict=True) if not row), None):
            raise QueryError(f"the sentence {quoted(nothing)} has no word that the text encoder knows.")
        ids = torch.full((len(rows), longest), self._pad_id, dtype=torch.int64)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = True
        return ids, mask

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the encoder reads."""
        found = list(sentences)
        whole = [number for number, sentence in enumerate(found) if is_text(sentence)]
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
                over = self.count(found[number]) - self._max_tokens
        return found

    def count(self, sentence: str) -> int:
        """Tokens of a sentence, special tokens included."""
        return len(self._tokenizer.encode(sentence).ids)

    @property
    def size(self) -> int:
        """Ids that it can give: one more than the highest."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def max_tokens(self) -> int:
        """The most that a sentence may have, special tokens included."""
        return self._max_tokens

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

    @cached_property
    def unused(self) -> frozenset[str]:
        """Parameters of `bert` that no embedding depends on."""
        return unused_parameters(self.bert)

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


def check_sentences(sentences: Sequence[str]) -> None:
    """What can be told of sentences without a tokenizer.

    Raises:
        QueryError: one is empty, or is no text.
    """
    if empty := [number for number, sentence in enumerate(sentences) if not sentence.strip()]:
        raise QueryError(f"sentence {empty[0] + 1} of {len(sentences)} is empty, expected words.")
    if (broken := next((x for x in sentences if not is_text(x)), None)) is not None:
        raise QueryError(
            f"the sentence {quoted(broken)} is no text: it holds bytes that are not UTF-8, or NUL."
        )


def is_text(sentence: str) -> bool:
    """Whether it holds no bytes that were no UTF-8 (a command line passes them on as lone surrogates), and no
    NUL.
    """
    return not any("\ud800" <= character <= "\udfff" or character == "\0" for character in sentence)


def unused_parameters(bert: nn.Module) -> frozenset[str]:
    """Parameters of the parts, such as a pooler, that the last hidden states do not depend on: found by a
    gradient.
    """
    training, wanted = bert.training, {name: p.requires_grad for name, p in bert.named_parameters()}
    device = next(bert.parameters()).device
    ids = torch.tensor([[0, 1, 1]], device=device)
    with torch.enable_grad():
        hidden = bert.eval().requires_grad_()(input_ids=ids, attention_mask=torch.ones_like(ids))
        named = dict(bert.named_parameters())
        slopes = torch.autograd.grad(hidden.last_hidden_state.sum(), list(named.values()), allow_unused=True)
    bert.train(training)
    for name, parameter in named.items():
        parameter.requires_grad_(wanted[name])
    used = {name.split(".")[0] for name, slope in zip(named, slopes, strict=True) if slope is not None}
    # Whole parts only: within one, which weights take part may depend on the tokens.
    return frozenset(name for name in named if name.split(".")[0] not in used)
