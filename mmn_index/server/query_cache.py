"""Embeddings of sentences that were asked for lately."""

from collections import OrderedDict
from collections.abc import Sequence

import torch

from ..errors import QueryError
from ..moment_model import MomentModel
from ..scoring import Embeddings


class QueryCache:
    """The last embeddings of sentences, least recently used first; of one thread.

    Args:
        size: how many are kept; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, str], Embeddings] = OrderedDict()
        self.hits = self.misses = 0

    def embed(
        self, model: MomentModel, fingerprint: str, sentences: Sequence[str]
    ) -> list[Embeddings | QueryError]:
        """Two (1, C) unit embeddings of each sentence, or why it has none. Those that are not kept go through
        the model together.

        Args:
            fingerprint: of the model: indexes of one model share what is kept.
        """
        found: dict[str, Embeddings | QueryError] = {}
        for sentence in dict.fromkeys(sentences):
            if (kept := self._kept.get((fingerprint, sentence))) is not None:
                self._kept.move_to_end((fingerprint, sentence))
                found[sentence] = kept
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in found]
        self.hits += len(sentences) - len(new)
        self.misses += len(new)
        for sentence, embedded in zip(new, _embedded(model, new), strict=True):
            found[sentence] = embedded
            if isinstance(embedded, Embeddings):
                self._kept[fingerprint, sentence] = embedded
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return [found[sentence] for sentence in sentences]


def _embedded(model: MomentModel, sentences: Sequence[str]) -> list[Embeddings | QueryError]:
    """All together; where one of them cannot be read, one by one."""
    if not sentences:
        return []
    try:
        with torch.inference_mode():
            both = Embeddings(*(x.cpu().float() for x in model.embed_sentences(sentences)))
    except QueryError as error:
        if len(sentences) == 1:
            return [error]
        return [one for sentence in sentences for one in _embedded(model, [sentence])]
    return [Embeddings(*(x[n : n + 1] for x in both)) for n in range(len(sentences))]
