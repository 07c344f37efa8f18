"""Annotations that speak of other pictures than the tubes were made of."""

import json
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from conftest import Command
from tube_world import SETTING, make_world

from mmn_index.errors import AnnotationError, FeatureError
from mmn_index.evaluation.tube_truths import TubeTruths, read_truths
from mmn_index.evaluation.usable_tubes import usable_tubes
from mmn_index.left_out import LeftOut
from mmn_index.tube_file import Footage, FoundTube, TubeFile
from mmn_index.tube_writer import write_tubes
from mmn_index.tubes import Tube

FITS = {"bbox": [[10, 10, 50, 90]] * 20, "st_frame": 11, "English": "a person", "img_num": 500}


def used(folder: Path, changes: dict[str, dict[str, Any]]) -> tuple[TubeTruths, list[LeftOut]]:
    """What is usable of some videos with tubes, all of 500 frames of 640 x 360 pixels, 25 a second."""
    footage = Footage(640, 360, 25.0, 500)
    one = FoundTube(
        Tube(torch.arange(1, 101), torch.tensor([[5.0, 5, 60, 99]] * 100)), 1.0, (torch.ones(4, 3),)
    )
    write_tubes(folder / "t.h5", [(name, footage, [one]) for name in changes])
    entries = {f"{name}.mp4": FITS | {"img_size": [360, 640]} | change for name, change in changes.items()}
    (folder / "t.json").write_text(json.dumps(entries))
    with TubeFile(folder / "t.h5") as tubes:
        return usable_tubes(read_truths(folder / "t.json"), tubes)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"img_num": 480},  # files lose some frames
        {"img_size": [368, 640]},  # and gain some rows
        {"img_num": None, "img_size": None},
        {"img_num": None, "img_size": [360]},
        {"img_num": None, "frame_count": 500, "img_size": None, "width": 640, "height": 360},
        {"bbox": [[600, 10, 50, 90]] * 20},
    ],
    ids=str,
)
def test_what_fits_is_used(change: dict[str, Any], tmp_path: Path) -> None:
    kept, left_out = used(tmp_path, {"a": change, "b": change})
    assert [one.video_id for one in kept.videos] == ["a", "b"]
    assert left_out == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"img_num": 300}, "has 300 frames, its tubes were made of 500. Is it a copy at another frame rate"),
        ({"img_size": [720, 1280]}, "has 1,280 pixels of width, its tubes were made of 640"),
        ({"img_size": [480, 640]}, "has 480 pixels of height, its tubes were made of 360"),
        ({"img_num": None, "st_frame": 700}, "is about frames up to 719, its tubes were made of 500"),
        ({"img_size": None, "bbox": [[900, 10, 50, 90]] * 20}, "has boxes that reach to 950, 100"),
    ],
    ids=str,
)
def test_a_single_video_is_left_out_and_named(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    kept, left_out = used(tmp_path, {"a": {}, "b": change, "c": {}})
    assert [one.video_id for one in kept.videos] == ["a", "c"]
    (one,) = left_out
    assert one.what == "b"
    assert f"t.json: 'b.mp4' {says}" in one.why
    with pytest.raises(FeatureError, match="none of the 1 videos can be used"):
        used(tmp_path, {"b": change})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"img_num": 400}, r"all 3 videos 0\.8 times the frames that .* \('a\.mp4': 400 against 500\)"),
        ({"img_size": [1080, 1920]}, r"all 3 videos 3 times the pixels of width"),
        ({"img_size": [640, 360]}, r"pixels of width"),  # turned round
        ({"img_size": [480, 640]}, r"all 3 videos 1\.333 times the pixels of height"),
    ],
    ids=str,
)
def test_one_factor_for_all_is_an_error(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=says):
        used(tmp_path, dict.fromkeys("abc", change))


def test_videos_without_a_tube_stay_and_damaged_ones_go(tmp_path: Path) -> None:
    used(tmp_path, {name: {} for name in "abcde"})
    with h5py.File(tmp_path / "t.h5", "a") as file:
        del file["a"]
        del file["b/0"]
        del file["c/0/boxes"]
        file["d"].attrs["rate"] = -1.0
    with TubeFile(tmp_path / "t.h5") as tubes:
        truths = read_truths(tmp_path / "t.json")
        kept, left_out = usable_tubes(truths, tubes)
        to_train, more = usable_tubes(truths, tubes, with_tubes=True)
    assert [one.video_id for one in kept.videos] == ["a", "b", "e"]
    assert [one.what for one in left_out] == ["c", "d"]
    assert [one.video_id for one in to_train.videos] == ["e"]
    assert [one.what for one in more] == ["c", "d", "a.mp4", "b.mp4"]


def test_names_that_do_not_match(tmp_path: Path) -> None:
    used(tmp_path, {"a": {}})
    (tmp_path / "t.json").write_text(json.dumps({f"films/{name}.mp4": FITS for name in "abc"}))
    with (
        TubeFile(tmp_path / "t.h5") as tubes,
        pytest.raises(FeatureError, match=r"has no tube of any video of .*Without the folders"),
    ):
        usable_tubes(read_truths(tmp_path / "t.json"), tubes, with_tubes=True)


def test_training_and_the_benchmark_say_it(text_model: Path, tmp_path: Path, command: Command) -> None:
    make_world(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        SETTING.format(base="stvg-corrected", text=text_model).replace("epochs: 6", "epochs: 1")
    )
    truths = json.loads((tmp_path / "truths.json").read_text())
    names = sorted(truths)
    truths[names[3]] |= {"img_num": 700}
    data = tmp_path / "data"
    data.mkdir()
    for split, part in (("train", names[:16]), ("test", names[16:])):
        (data / f"{split}.json").write_text(json.dumps({name: truths[name] for name in part}))
    files = ("--annotations", data / "train.json", "--features", tmp_path / "tubes.h5")
    mine = ("--config", tmp_path / "mine.yaml")
    done = command.run("train", *files, *mine, "-o", tmp_path / "run")
    assert done.exit_code == 3
    assert f"'{names[3]}' has 700 frames, its tubes were made of 70" in done.stderr
    strict = ("--strict", "-o", tmp_path / "strict")
    command.fails("train", *files, *mine, *strict, says="has 700 frames")
    options = ("--data", data, "--features", tmp_path / "tubes.h5", *mine, "-o", tmp_path / "runs")
    command.fails("reproduce", "stvg", *options, says="1 videos cannot be measured")
    for name in names:
        truths[name]["img_num"] = 140
    (data / "train.json").write_text(json.dumps(truths))
    says = "gives all 24 videos 2 times the frames"
    command.fails("train", *files, *mine, "-o", tmp_path / "no", says=says)
