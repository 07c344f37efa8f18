"""The messages that docs/troubleshooting.md explains are still those of the program."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
OTHERS = {"Killed"}  # said by the system
# What a message has in the place of these words depends on the case.
_VALUES = re.compile(
    r"\b(FILE|FOLDER|INDEX|MODEL|VIDEO|NAME|COLUMN|URL|PLACE|HOST|KIND|REASON|TEXT|N)\b|\.\.\.|`"
)
_LONG = 12  # a shorter piece of a message says little


def quotes() -> list[str]:
    """What stands before an explanation."""
    return re.findall(r"^`(.+)`\n:   ", PAGE.read_text(encoding="utf-8"), flags=re.M)


def texts(path: Path) -> list[str]:
    """The strings of a module, with a break in the place of each value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            found.append(node.value)
    return found


def pieces(text: str) -> list[str]:
    return [piece for part in _VALUES.sub("\n", text).split("\n") if (piece := part.strip(" :;'\"(),.?"))]


@pytest.fixture(scope="module")
def modules() -> list[str]:
    folders = ("mmn_index", "index_build", "train", "cli")
    found = [texts(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return ["\n".join(_VALUES.sub("\n", text) for text in module) for module in found]


def test_there_are_messages() -> None:
    assert len(quotes()) >= 40
    assert len(set(quotes())) == len(quotes())


@pytest.mark.parametrize("quote", [quote for quote in quotes() if quote not in OTHERS])
def test_a_message_is_still_said(quote: str, modules: list[str]) -> None:
    """All pieces of it stand in one module."""
    assert max(map(len, pieces(quote))) >= _LONG, "the quotation is too short to be found"
    assert any(all(piece in module for piece in pieces(quote)) for module in modules)
