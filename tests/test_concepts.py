"""The pictures of docs/concepts.md are what docs/pictures.py draws, and the page shows all of them."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_what_the_code_draws(pictures: ModuleType, tmp_path: Path) -> None:
    pictures.draw(tmp_path)
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in DOCS.glob("concept-*.svg")}
    assert drawn == kept, "run `python docs/pictures.py`"


def test_the_page_shows_each_picture_in_both_colours(pictures: ModuleType) -> None:
    shown = re.findall(
        r"\]\((concept-\w+)-(light|dark)\.svg#only-\2\)", (DOCS / "concepts.md").read_text("utf-8")
    )
    assert shown == [
        (f"concept-{name}", scheme) for name in pictures.PICTURES for scheme in ("light", "dark")
    ]
