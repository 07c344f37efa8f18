"""Tubes of videos that are not steady, upright and of some length: what time a frame's number means."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from mmn_index.index_build.boxes import read_boxes
from mmn_index.index_build.tube_features import described_tubes
from mmn_index.index_build.tubes import make_tubes
from test_decode import STEADY, make_video
from test_tubes_of_videos import boxes_json
from test_tubes_of_videos import make_video as two_who_pass

from mmn_index.tube_file import TubeFile
from mmn_index.video.backbones import load_backbone

WIDTH, HEIGHT = 96, 64
# From 2 to 5 seconds somebody is there. Frames come in bursts and with pauses, all in all 10 a second.
UNEVEN = [t + n / 60 for t in (0, 1, 2, 3, 4, 5, 6) for n in range(10)]
THERE = (2.0, 5.0)


def picture(time: float) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    if THERE[0] <= time < THERE[1]:
        left = round(10 + 10 * time)
        image[10:50, left : left + 20] = (220, 30, 30)
    return image


def find_red(pictures: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """A detector of one red rectangle."""
    found = []
    for image in pictures:
        rows, columns = np.nonzero((image[..., 0] > 150) & (image[..., 1] < 100))
        box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]] if len(rows) else []
        found.append((np.array(box, np.float32).reshape(-1, 4), np.full(len(box), 0.9)))
    return found


@pytest.mark.parametrize("times", [UNEVEN, [n / 10 for n in range(70)]], ids=["uneven", "steady"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_number_of_a_frame_is_a_time_whatever_the_rate_of_the_frames(
    times: list[float], suffix: str, tmp_path: Path
) -> None:
    video = make_video(tmp_path / f"a{suffix}", times, [picture(time) for time in times])
    make_tubes([video], tmp_path / "t.h5", load_backbone("pixels"), detector=find_red, detector_rate=10)
    with TubeFile(tmp_path / "t.h5") as file:
        footage, (one,) = file.footage("a"), file.tubes("a")
    assert footage.frames / footage.rate == pytest.approx(7.0, abs=0.9)
    begin, end = (one.tube.first - 1) / footage.rate, one.tube.last / footage.rate
    # The picture of a pause is shown until the next one.
    assert begin == pytest.approx(THERE[0], abs=0.2)
    assert end == pytest.approx(THERE[1], abs=0.2)
    # Boxes from elsewhere mean the same: what is cut out of this time is red, whatever is shown besides.
    entry = {
        "width": WIDTH,
        "height": HEIGHT,
        "rate": footage.rate,
        "frames": footage.frames,
        "tubes": [{"first": one.tube.first, "boxes": one.tube.boxes.tolist()}],
    }
    (tmp_path / "b.json").write_text(json.dumps({"a": entry}))
    (same,) = described_tubes(video, read_boxes(tmp_path / "b.json")["a"], load_backbone("pixels"))
    assert torch.equal(same.streams[0], one.streams[0])
    late = {**entry, "tubes": [{"first": 1, "boxes": one.tube.boxes.tolist()}]}
    (tmp_path / "b.json").write_text(json.dumps({"a": late}))
    (other,) = described_tubes(video, read_boxes(tmp_path / "b.json")["a"], load_backbone("pixels"))
    assert float((other.streams[0][0] - one.streams[0][0]).abs().max()) > 0.1


def test_boxes_of_a_turned_video_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mp4", STEADY, [picture(3 + t) for t in STEADY])
    turned = tmp_path / "turned.mp4"
    content = bytearray(plain.read_bytes())
    place = content.index(b"tkhd") + 4 + 4 + 4 * 4 + 4 + 4 * 2 + 2 * 4
    matrix = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30]
    content[place : place + 36] = b"".join(number.to_bytes(4, "big") for number in matrix)
    turned.write_bytes(content)
    make_tubes([plain, turned], tmp_path / "t.h5", load_backbone("pixels"), detector=find_red)
    with TubeFile(tmp_path / "t.h5") as file:
        assert (file.footage("plain").width, file.footage("plain").height) == (WIDTH, HEIGHT)
        assert (file.footage("turned").width, file.footage("turned").height) == (HEIGHT, WIDTH)
        (one,), (other,) = file.tubes("plain"), file.tubes("turned")
    size = one.tube.boxes[:, 2:] - one.tube.boxes[:, :2]
    turned_size = other.tube.boxes[:, 2:] - other.tube.boxes[:, :2]
    assert torch.allclose(size.flip(1), turned_size, atol=2)
    assert float(other.tube.boxes[:, 3].max()) > HEIGHT


def test_one_frame_no_frame_and_no_picture(tmp_path: Path, command: Command) -> None:
    films = tmp_path / "films"
    films.mkdir()
    make_video(films / "one.mkv", [0.0], [picture(3)])
    whole = make_video(films / "none.mkv", STEADY).read_bytes()
    (films / "none.mkv").write_bytes(
        whole[: whole.index(b"\x1f\x43\xb6\x75")]
    )  # what is before the first frame
    entry = {"width": WIDTH, "height": HEIGHT, "rate": 10, "frames": 1}
    tubes = [{"first": 1, "boxes": [[40, 10, 60, 50]]}, {"first": 9, "boxes": [[40, 10, 60, 50]]}]
    boxes = tmp_path / "b.json"
    boxes.write_text(json.dumps({name: {**entry, "tubes": tubes} for name in ("one", "none")}))
    done = command.run("tubes", films, "-o", tmp_path / "t.h5", "--boxes", boxes)
    assert done.exit_code == 3
    assert "none.mkv" in done.stderr
    assert "1 tubes were left out, as no picture shows them" in done.stderr
    assert "'one'" in done.stderr
    with TubeFile(tmp_path / "t.h5") as file:
        assert file.video_ids == ("one",)
        assert [(one.tube.first, len(one.tube), len(one.streams[0])) for one in file.tubes("one")] == [
            (1, 1, 1)
        ]


def test_boxes_outside_of_the_picture(tmp_path: Path, command: Command) -> None:
    """A tube ends where its boxes leave the picture, and another begins where they come back."""
    video = make_video(tmp_path / "a.mp4", STEADY, [picture(2 + t) for t in STEADY])
    inside, left, below = [40, 10, 60, 50], [-30, 10, 0, 50], [40, HEIGHT, 60, 90]
    tubes: list[dict[str, Any]] = [
        {"first": 1, "boxes": [inside] * 8 + [left] * 4 + [inside] * 8},
        {"first": 1, "boxes": [left] * 10 + [below] * 10},
        {"first": 1, "boxes": [[-30, 10, 5, 50]] * 20},
    ]
    entry = {"width": WIDTH, "height": HEIGHT, "rate": 10, "frames": 20, "tubes": tubes}
    (tmp_path / "b.json").write_text(json.dumps({"a": entry}))
    told = command.ok("tubes", video, "-o", tmp_path / "t.h5", "--boxes", tmp_path / "b.json")
    assert "1 tubes were left out, as no picture shows them" in told.stderr
    with TubeFile(tmp_path / "t.h5") as file:
        found = [(one.tube.first, one.tube.last) for one in file.tubes("a")]
    assert found == [(1, 8), (13, 20), (1, 20)]


@pytest.mark.parametrize("change", [{"rate": 20}, {"frames": 30}, {"frames": 6}], ids=str)
def test_boxes_of_another_copy_are_refused(change: dict[str, Any], tmp_path: Path, command: Command) -> None:
    video = make_video(tmp_path / "a.mp4", [n / 10 for n in range(50)], [picture(3)] * 50)
    entry = {"width": WIDTH, "height": HEIGHT, "rate": 10, "frames": 50, "tubes": []} | change
    (tmp_path / "b.json").write_text(json.dumps({"a": entry}))
    done = command.run("tubes", video, "-o", tmp_path / "t.h5", "--boxes", tmp_path / "b.json")
    assert done.exit_code == 3
    assert "a.mp4: lasts 5.0 seconds, but the boxes are of" in done.stderr


def test_boxes_name_videos_with_their_suffix_or_without(tmp_path: Path, command: Command) -> None:
    for name in ("v.2.mp4", "v.3.mp4", "deep/v.4.mp4", "v.mp4"):
        two_who_pass(tmp_path / "films" / name, seconds=1)
    names = ["v.2", "v.3.mp4", "deep/v.4.mp4", "v"]
    boxes = boxes_json(tmp_path / "b.json", names, {"frames": 10})
    command.ok("tubes", tmp_path / "films", "-o", tmp_path / "t.h5", "--boxes", boxes)
    with TubeFile(tmp_path / "t.h5") as file:
        assert file.video_ids == ("deep/v.4", "v", "v.2", "v.3")


MEMORY = """
import resource, sys
from pathlib import Path
from mmn_index.index_build.boxes import read_boxes
from mmn_index.index_build.tubes import make_tubes
from mmn_index.video.backbones import load_backbone
pixels = load_backbone("pixels")
make_tubes([Path(sys.argv[1])], Path(sys.argv[3]), pixels, boxes=read_boxes(Path(sys.argv[2])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_long_video_takes_the_memory_of_its_features(tmp_path: Path) -> None:
    """Four minutes against one, three tubes all along: the pictures would be many times as much."""
    peaks, sizes = [], []
    for minutes in (1, 4):
        times = [float(n) for n in range(60 * minutes)]
        video = make_video(tmp_path / f"m{minutes}.mp4", times, [picture(3)] * len(times), gop=250)
        boxes = [[40, 10, 60, 50]] * (60 * minutes)
        tubes = [{"first": 1, "boxes": boxes}] * 3
        entry = {"width": WIDTH, "height": HEIGHT, "rate": 1, "frames": 60 * minutes, "tubes": tubes}
        (tmp_path / "b.json").write_text(json.dumps({f"m{minutes}": entry}))
        out = tmp_path / f"{minutes}.h5"
        line = [sys.executable, "-c", MEMORY, video, tmp_path / "b.json", out]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        peaks.append(1024 * int(done.stdout))
        sizes.append(out.stat().st_size)
    assert peaks[1] - peaks[0] < 1.5 * (sizes[1] - sizes[0]) + (1 << 25)
