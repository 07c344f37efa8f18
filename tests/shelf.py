"""What readers of the documentation have, though small: videos, features, annotations, models, indexes.

Used by test_typed_pages.py.
"""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import Command
from mmn_index.train import settings
from moving import make_video
from test_tubes_of_videos import RATE as FRAME_RATE
from test_tubes_of_videos import box_at, boxes_json
from test_tubes_of_videos import make_video as make_film_of_people
from tube_world import SETTING

from mmn_index.hub import DEFAULT_MODEL

PLACES = ("porch", "garden", "street", "yard")
VIDEOS = [f"{place}/{camera}" for place in PLACES for camera in ("cam1", "cam2")]
PARTS = {"train": VIDEOS[:4], "val": VIDEOS[4:6], "test": VIDEOS[6:]}
SECONDS, RATE = 20, 5
SPANS = ((2.0, 8.5), (9.0, 16.0))  # that sentences are about, in each video
SENTENCES = (
    "a person opens the door",
    "a person closes the door",
    "a person reads a book",
    "a person sits down",
    "the person opens a book",
    "the person closes a book",
    "the person reads",
    "the person runs",
)
SMALL = """base: {base}
model: {{num_pre_clips: 16, num_clips: 8, pooling_counts: [3, 2], featpool_dim: 10, conv_dim: 8, conv_kernel: 3,
        conv_layers: 2, joint_dim: 6, text_model: {text}}}
train: {{epochs: 2, batch_size: 3, milestones: [1], freeze_text_epochs: 2}}
"""


def fill(command: Command, text_model: Path, patch: pytest.MonkeyPatch) -> None:
    """Put all of it into the current folder. The settings that pages name become small ones, too."""
    for name, text in (("collection", SMALL), ("stvg-corrected", SETTING)):
        Path(f"{name}.yaml").write_text(text.format(base=name, text=text_model))
        patch.setitem(settings.SETTINGS, name, settings.load_setting(f"{name}.yaml"))
    for video in VIDEOS:
        _film(f"Videos/{video}.mp4")
    shutil.copytree("Videos", "videos")
    shutil.copytree("Videos/porch", "archive")
    _film("camera/new.mp4")
    _write_annotations()
    _write_tables()
    _make_indexes(command)
    _measure(command)
    _make_tubes(command)
    _make_homes()


def _film(path: str) -> None:
    make_video(Path(path), rate=Fraction(RATE), seconds=SECONDS, gop=25, sound=None)


def _write_annotations() -> None:
    """train, val and test in three forms, and test with a sentence without a moment in each video."""
    for name, videos in PARTS.items():
        lines, content, windows, lacking = [], {}, [], {}
        for number, video in enumerate(videos):
            chosen = [SENTENCES[2 * number], SENTENCES[2 * number + 1]]
            content[video] = {"duration": SECONDS, "timestamps": SPANS, "sentences": chosen, "labels": chosen}
            told = []
            for place, (sentence, span) in enumerate(zip(chosen, SPANS, strict=True)):
                lines.append(f"{video} {span[0]} {span[1]}##{sentence}\n")
                row = {"qid": len(windows), "query": sentence, "duration": SECONDS, "vid": video}
                windows.append(json.dumps({**row, "relevant_windows": [span]}) + "\n")
                told.append({"sentence": sentence, "timestamp": span, "no_answer": place == 1})
            lacking[video] = {"duration": SECONDS, "sts": told}
        Path(f"{name}.json").write_text(json.dumps(content))
        Path(f"{name}.txt").write_text("".join(lines))
        Path(f"{name}.jsonl").write_text("".join(windows))
    Path("charades_sta_test2.0.json").write_text(json.dumps(lacking))


def _write_tables() -> None:
    rows = [f"{video},{video.partition('/')[0]},2026-01-05\n" for video in VIDEOS]
    Path("cameras.csv").write_text("video_id,camera,recorded\n" + "".join(rows))
    Path("sentences.txt").write_text("\n".join(SENTENCES))


def _make_indexes(command: Command) -> None:
    """Features, models, and indexes."""
    command.ok("extract", "videos", "-o", "features.h5", "--backbone", DEFAULT_MODEL)
    command.ok("extract", "camera", "-o", "new.h5", "--backbone", DEFAULT_MODEL)
    shutil.copy("features.h5", "again.h5")
    data = ("--annotations", "train.json", "--val", "val.json")
    command.ok("train", *data, "--features", "features.h5", "-o", "run")
    command.ok("extract", "videos/porch", "-o", "pixels.h5", "--prefix", "porch/")
    first = {video: json.loads(Path("train.json").read_text())[video] for video in VIDEOS[:2]}
    Path("first.json").write_text(json.dumps(first))
    command.ok("train", "--annotations", "first.json", "--features", "pixels.h5", "-o", "pixels/run")
    command.ok("build", "run/model", "features.h5", "--metadata", "cameras.csv", "-o", "collection.mmn")
    command.ok("calibrate", "features.h5", "--annotations", "val.json")
    shutil.copytree("collection.mmn", "charades.mmn")
    command.ok("build", "run/model", "features.h5", "--videos", "train.json", "-o", "train.mmn")


def _measure(command: Command) -> None:
    """Reports, and lists of answers."""
    for name in ("before", "after"):
        command.ok("eval", "collection.mmn", "--annotations", "test.json", "-o", f"report-{name}")
    for name in ("json", "jsonl"):
        lists = ("--write-predictions", f"theirs.{name}")
        command.ok("eval", "collection.mmn", "--annotations", f"test.{name}", *lists)


def _make_tubes(command: Command) -> None:
    """Two videos with sentences about people, their tubes, and a model over these."""
    about = {"bbox": [[5, 5, 40, 20]] * 30, "st_frame": 11, "img_num": RATE * SECONDS, "img_size": [32, 80]}
    truths = {f"{one}.mp4": about | {"English": SENTENCES[n]} for n, one in enumerate(VIDEOS[:2])}
    shutil.copytree("videos/porch", "who/videos/porch")
    for name in PARTS:
        Path(f"who/{name}.json").write_text(json.dumps(truths))
    Path("found").mkdir()
    command.ok("tubes", "who/videos", "-o", "found/tubes.h5", "--detector", "PekingU/rtdetr_r18vd")
    data = ("--annotations", "who/train.json", "--features", "found/tubes.h5", "--config", "stvg-corrected")
    command.ok("train", *data, "-o", "found/run")


def _make_homes() -> None:
    """The sample world of people, and the settings that it is trained with."""
    boxes = [box_at(0, number) for number in range(FRAME_RATE * 2)]
    moment = [[left, top, right - left, bottom - top] for left, top, right, bottom in boxes]
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        names = [f"{part}_{number}" for number in range(count)]
        for name in names:
            make_film_of_people(Path(f"homes/people/{part}/{name}.mp4"))
        for kind in ("boxes", "detected"):
            boxes_json(Path(f"homes/people/{part}-{kind}.json"), names)
        about = {"bbox": moment, "st_frame": 1}
        truths = {f"{name}.mp4": about | {"English": SENTENCES[n]} for n, name in enumerate(names)}
        for kind in ("", "-every"):
            Path(f"homes/people/{part}{kind}.json").write_text(json.dumps(truths))
    for name in ("people", "detected"):
        shutil.copy("stvg-corrected.yaml", f"homes/{name}.yaml")
