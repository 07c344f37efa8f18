"""The commands of the quickstart, typed as they stand in a fresh folder, print what the page says."""

import re
from pathlib import Path

from reader import DOCS, Reader, blocks, sections


def shape(text: str) -> str:
    """What is the same on every machine: all but digits, and how wide columns are."""
    return " ".join(re.sub(r"\d+", "0", text).split())


def test_the_quickstart(tmp_path: Path) -> None:
    # The last section is about other videos: test_typed_pages.py.
    found = [
        block
        for heading, text in sections(DOCS / "quickstart.md")
        for block in blocks(text)
        if heading != "Your own videos"
    ]
    assert found
    with Reader(tmp_path, apart=True) as reader:
        for number, (language, typed) in enumerate(found):
            if language != "sh":
                continue
            printed = shape(reader.type(typed))
            following, expected = found[number + 1] if number + 1 < len(found) else ("", "")
            for line in expected.splitlines() if following == "text" else ():
                assert shape(line) in printed, f"{line}\nis not printed by {typed}:\n{printed}"
