"""The commands of docs/recipes.md, each recipe in a folder with what its reader has."""

import os
import re
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import DIM, write_annotations
from mmn_index.train.settings import load_setting
from moving import make_video
from printed import to_type
from reader import DOCS, Reader, blocks

PAGE = (DOCS / "recipes.md").read_text(encoding="utf-8")
RECIPES = {
    text.partition("\n")[0]: text for text in re.split(r"^## ", PAGE, flags=re.M)[1:] if "```sh" in text
}


def cameras(folder: Path, world: Path) -> None:
    for camera in ("porch", "garden"):
        for hour in (11, 12):
            make_video(folder / f"cameras/{camera}/2026-11-27_{hour}-00-00.mp4", seconds=4, sound=None)
    old = folder / "cameras/porch/2026-11-27_11-00-00.mp4"
    os.utime(old, (time.time() - 40 * 86400,) * 2)


def lectures(folder: Path, world: Path) -> None:
    make_video(folder / "lectures/week3.mp4", seconds=150, rate=Fraction(4), gop=25, sound=None)
    make_video(folder / "lectures/week4.mp4", seconds=5)
    (folder / "lectures.csv").write_text("video_id,course\nweek3,physics\nweek4,physics\n")


def films(folder: Path, world: Path) -> None:
    for number in range(3):
        make_video(folder / f"films/reel{number}.mp4", seconds=5)
    (folder / "films.csv").write_text("video_id,year\nreel0,1931\nreel1,1955\nreel2,1999\n")


def benchmark(folder: Path, world: Path) -> None:
    (folder / "features").mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        np.save(folder / f"features/v{number}.npy", random.normal(size=(2 * (20 + number), DIM)))
    for split in ("train", "val", "test"):
        write_annotations(folder / f"{split}.json", 6)
    (setting,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (folder / "before.yaml").write_text(setting)
    load_setting(str(folder / "before.yaml"))  # as the page has it; trained are smaller ones
    tiny = (world / "tiny.yaml").read_text()
    (folder / "after.yaml").write_text(tiny)
    (folder / "before.yaml").write_text(tiny.replace("epochs: 2", "late_contrastive_factor: 0.5, epochs: 2"))


WORLDS: dict[str, Callable[[Path, Path], None]] = {
    "A security camera archive": cameras,
    "A lecture archive": lectures,
    "A film archive": films,
    "A researcher's benchmark": benchmark,
}


def test_every_recipe_is_tried() -> None:
    assert list(RECIPES) == list(WORLDS)


@pytest.mark.parametrize("recipe", list(WORLDS))
def test_a_recipe(recipe: str, world: Path, home: Path) -> None:
    WORLDS[recipe](home, world)
    with Reader(home) as reader:
        for language, typed in blocks(RECIPES[recipe]):
            if language == "sh":
                reader.type(to_type(typed))
    if recipe == "A security camera archive":
        assert len(list((home / "cameras").rglob("*.mp4"))) == 3
