"""Indexes, models and feature files of earlier versions, which those versions wrote: see data/formats/README.md."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Command

FORMATS = Path(__file__).parent / "data" / "formats"
TODAY = ("4-first", "4-dual")  # of today's format, from before what was added to it
# What is printed with fewer digits, or was.
CLOSE = {"start": 1e-3, "end": 1e-3, "first": 1e-3, "second": 1e-3, "confidence": 1e-4}


@pytest.fixture(autouse=True)
def _dual_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMN_TEXT_ENCODER", str(FORMATS / "4-dual" / "clip"))


def copy_of(version: str, folder: Path) -> Path:
    """A copy of a stored index."""
    return shutil.copytree(FORMATS / version / "index.mmn", folder / "index.mmn")


def same_answers(command: Command, version: str, root: Path) -> None:
    """Every stored question has the answer that it had: the same moments, scores and confidences."""
    for asked in json.loads((FORMATS / version / "answers.json").read_text()):
        found = command.ok("search", *asked["question"], "--index", root, "-k", 4, "--json").stdout
        hits = [json.loads(line) for line in found.splitlines()]
        assert len(hits) == len(asked["hits"]) > 0
        for hit, before in zip(hits, asked["hits"], strict=True):
            proven = before.pop("exact")
            assert hit["exact"] or not proven
            for name, value in before.items():
                close = CLOSE.get(name, 1e-5)
                assert hit[name] == (value if isinstance(value, str) else pytest.approx(value, abs=close))


@pytest.mark.parametrize("version", TODAY)
def test_the_first_form_of_todays_format_opens_as_it_is(
    version: str, command: Command, tmp_path: Path
) -> None:
    root = copy_of(version, tmp_path)
    same_answers(command, version, root)
    command.ok("verify", "--index", root)
    assert json.loads(command.ok("info", "--index", root, "--json").stdout)["videos"]
    # Videos that are added are cut as the model asks for: the first manifests have no rule of their own.
    videos = json.loads(command.ok("info", "--index", root, "--json").stdout)["moments"]
    command.ok("update", FORMATS / version / "first.h5", "--index", root)
    command.ok("compact", "--index", root)
    same = json.loads(command.ok("info", "--index", root, "--json").stdout)["moments"]
    assert same == videos if version == "4-dual" else same > videos
