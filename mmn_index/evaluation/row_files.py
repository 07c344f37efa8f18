"""Files of right answers and of predictions that were made elsewhere, read with nothing trusted.

A row is an object of JSON: a line of a .jsonl file, an entry of a JSON list, or a value of a JSON object.
Every getter says in which row of which file what was found and what was expected.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

from ..errors import AnnotationError
from ..readable import reason


@dataclass(frozen=True)
class Row:
    """One object of a file.

    Attributes:
        where: file and place, for messages.
    """

    where: str
    content: Mapping[str, Any]

    def wrong(self, problem: str) -> AnnotationError:
        """What is wrong in this row, to be raised."""
        return AnnotationError(f"{self.where}: {problem}.")

    def has(self, name: str) -> bool:
        """Whether the row has a field that is not null."""
        return self.content.get(name) is not None

    def key(self, *names: str) -> str:
        """An identifier under one of several names: text, or an integer, which means the same as its text."""
        for name in names:
            value = self.content.get(name)
            if isinstance(value, str) and value.strip():
                return value
            if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
                return str(value)
            if value is not None:
                raise self.wrong(f"{name} is {short(value)}, expected text or an integer")
        raise self.wrong(f"has no {' or '.join(names)}")

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float:
        """A finite number between two others."""
        found = finite(self.content.get(name))
        if found is None or not least <= found <= most:
            span = f" from {least:g} to {most:g}" if math.isfinite(least) else ""
            raise self.wrong(f"{name} is {self._said(name)}, expected a number{span}")
        return found

    def whole(self, name: str) -> int:
        """An integer that is 0 or above."""
        found = finite(self.content.get(name))
        if found is None or found != int(found) or not 0 <= found < 2**53:
            raise self.wrong(f"{name} is {self._said(name)}, expected an integer from 0")
        return int(found)

    def span(self, name: str) -> tuple[float, float]:
        """[start, end] in seconds."""
        start, end, *_ = self._window(self.content.get(name), name, scored=False)
        return start, end

    def windows(self, name: str, *, scored: bool) -> list[tuple[float, float, float]]:
        """[[start, end], ...] or [[start, end, score], ...]; the score is 0 where there is none."""
        value = self.content.get(name)
        form = "[[start, end, score], ...]" if scored else "[[start, end], ...]"
        if not isinstance(value, list):
            raise self.wrong(f"{name} is {self._said(name)}, expected {form} in seconds")
        return [self._window(one, f"{name}, entry {n}", scored=scored) for n, one in enumerate(value, 1)]

    def _window(self, value: Any, name: str, *, scored: bool) -> tuple[float, float, float]:
        found = [finite(x) for x in value] if isinstance(value, list) else []
        kept = [x for x in found if x is not None]
        if len(found) != 2 + scored or len(kept) != len(found):
            form = "[start, end, score]" if scored else "[start, end]"
            raise self.wrong(f"{name} is {short(value)}, expected {form} in seconds")
        if kept[1] < kept[0]:
            raise self.wrong(f"{name} ends at {kept[1]:g}, before its start at {kept[0]:g}")
        return kept[0], kept[1], kept[2] if scored else 0.0

    def _said(self, name: str) -> str:
        return short(self.content[name]) if name in self.content else "missing"


def finite(value: Any) -> float | None:
    """A number of JSON as a float; None where it is something else, not finite, or beyond all measure."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < 1e15 else None  # nan fails too


def read_rows(path: Path, expected: str) -> list[Row]:
    """The rows of a .jsonl file or of a JSON list, one at least.

    Args:
        expected: what a row has, for messages.

    Raises:
        AnnotationError: the file is missing, has another form, or no row.
    """
    text = _text(path)
    if text.lstrip().startswith("["):
        content = _parse(text, str(path), expected)
        found = [(f"{path}: entry {number}", one) for number, one in enumerate(content, 1)]
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        places = [(f"{path}: line {number}", line) for number, line in lines]
        found = [(where, _parse(line, where, expected)) for where, line in places]
    if not found:
        raise AnnotationError(f"{path}: has no row. Expected {expected}.")
    return [as_row(where, one, expected) for where, one in found]


def read_keyed(path: Path, expected: str) -> dict[str, Any]:
    """The content of a JSON object, one entry at least.

    Raises:
        AnnotationError: the file is missing, is something else, or has a key twice.
    """
    return keyed(path, read_content(path, expected), expected)


def read_content(path: Path, expected: str) -> Any:
    """The content of a file of JSON, of any form.

    Raises:
        AnnotationError: the file is missing, is something else, or has a key twice.
    """
    return _parse(_text(path), str(path), expected)


def keyed(path: Path, content: Any, expected: str) -> dict[str, Any]:
    """The content of a file, which has to be an object with an entry at least.

    Raises:
        AnnotationError: it is something else.
    """
    if not isinstance(content, dict) or not content:
        found = "an empty object" if content == {} else f"a {type(content).__name__}"
        raise AnnotationError(f"{path}: is {found}. Expected {expected}.")
    return content


def is_keyed(path: Path, mark: str) -> bool:
    """Whether a file is one JSON object with an entry for each key, and not rows.

    Args:
        mark: a field that every row has.

    Raises:
        AnnotationError: the file cannot be read.
    """
    text = _text(path)
    if not text.lstrip().startswith("{"):
        return False
    try:
        first = json.loads(next(line for line in text.split("\n") if line.strip()))
    except (ValueError, RecursionError):
        return True  # laid out over several lines
    return mark not in first


def as_row(where: str, content: Any, expected: str) -> Row:
    """A value of JSON as a row.

    Raises:
        AnnotationError: it is no object.
    """
    if not isinstance(content, dict):
        raise AnnotationError(f"{where}: is {short(content)}, not an object. Expected {expected}.")
    return Row(where, content)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such file.") from error
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: cannot be read ({reason(error)}).") from error


def _parse(text: str, where: str, expected: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{where}: cannot be read as JSON ({error}). Expected {expected}.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"'{name}' appears twice")
        found[name] = value
    return found
