"""What the doctor found, as it is shown and as it may stand in a public bug report."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Facts = Mapping[str, Mapping[str, Any]]  # what modules say of themselves (probe.py)


@dataclass
class Checkup:
    """What was found.

    Attributes:
        sections: facts, by what they are about.
        problems: what will fail, one line each with the next step.
        advice: what works, and could be better.
    """

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def without_home(self) -> "Checkup":
        """The same, with "~" for whose home it is."""
        return Checkup(
            {title: {n: _homeless(t) for n, t in rows.items()} for title, rows in self.sections.items()},
            [_homeless(line) for line in self.problems],
            [_homeless(line) for line in self.advice],
        )


def size(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:,.1f} GB"


def one_line(text: str) -> str:
    """An error as part of a line."""
    return " ".join(text.split())[:300].rstrip(".: ")


def _homeless(text: str) -> str:
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text
