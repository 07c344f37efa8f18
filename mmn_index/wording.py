"""Sentences as a pretrained model wants them: its template, its case, no longer than it reads."""

from collections.abc import Callable, Sequence

from .errors import ConfigError, QueryError
from .readable import quoted
from .text_encoder import check_sentences, is_text


def check_template(template: str) -> None:
    """A template needs one place for the sentence.

    Raises:
        ConfigError: it has none, or several.
    """
    if template.count("{}") != 1:
        raise ConfigError(
            f"template '{template}' has {template.count('{}')} places for a sentence, expected exactly one "
            "{}, such as 'a video of {}'."
        )


class Wording:
    """From sentences to texts that are ready for a tokenizer.

    Args:
        template: text around a sentence, such as "a video of {}".
        count: tokens of a text, special tokens included.
        most: how many of them the model reads.
        lower: the model was trained with small letters only, and its tokenizer does not make them so.

    Raises:
        ConfigError: the template has not exactly one {}.
    """

    def __init__(self, template: str, count: Callable[[str], int], most: int, *, lower: bool = False) -> None:
        check_template(template)
        self._template = template
        self._count = count
        self._lower = lower
        self.most = most

    def __call__(self, sentences: Sequence[str]) -> list[str]:
        """The texts of some sentences.

        Raises:
            QueryError: a sentence is empty, no text, or longer than the model reads.
        """
        check_sentences(sentences)
        texts = [self._text(sentence) for sentence in sentences]
        for sentence, text in zip(sentences, texts, strict=True):
            if (tokens := self._count(text)) > self.most:
                raise QueryError(
                    f"the sentence {quoted(sentence)} has {tokens} tokens, the text encoder reads at most "
                    f"{self.most}. Shorten it."
                )
            if not tokens:
                raise QueryError(f"the sentence {quoted(sentence)} has no word that the text encoder knows.")
        return texts

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the model reads."""
        return [
            sentence if not is_text(sentence) or self._fits(sentence) else self._cut(sentence)
            for sentence in sentences
        ]

    def _text(self, sentence: str) -> str:
        text = self._template.replace("{}", sentence)
        return text.lower() if self._lower else text

    def _fits(self, sentence: str) -> bool:
        return self._count(self._text(sentence)) <= self.most

    def _cut(self, sentence: str) -> str:
        """The longest beginning that fits: of whole words if one does, else of characters."""
        ends = [n for n in range(1, len(sentence)) if sentence[n].isspace() and not sentence[n - 1].isspace()]
        if not ends or not self._fits(sentence[: ends[0]]):
            ends = list(range(1, len(sentence)))
        fits, too_long = 0, len(ends)
        while fits + 1 < too_long:
            middle = (fits + too_long) // 2
            fits, too_long = (middle, too_long) if self._fits(sentence[: ends[middle]]) else (fits, middle)
        return sentence[: ends[fits]] if ends else sentence
