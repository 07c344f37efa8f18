"""Tubes out of video files: boxes from elsewhere or from a detector, linked, and described."""

import json
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from conftest import Command
from mmn_index.index_build.boxes import read_boxes
from mmn_index.index_build.tracking import Seen, linked, look_of
from mmn_index.index_build.tubes import described_tubes, make_tubes
from tube_world import save_detector

from mmn_index.errors import AnnotationError, ConfigError, FeatureError
from mmn_index.origin import path_of
from mmn_index.tube_file import Footage, FoundTube, TubeFile
from mmn_index.tube_writer import write_tubes
from mmn_index.tubes import Tube, box_iou
from mmn_index.video.backbones import load_backbone
from mmn_index.video.detector import Detector

SIZE, RATE, SECONDS = (160, 96), 10, 6
COLOURS = ((200, 40, 40), (40, 60, 200))


def box_at(who: int, number: int) -> list[float]:
    """Two rectangles that pass each other."""
    left = 10 + 1.5 * number if who == 0 else 120 - 1.5 * number
    return [left, 30 + 4.0 * who, left + 24, 82 + 4.0 * who]


def make_video(path: Path, seconds: int = SECONDS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(RATE * seconds):
            image = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
            for who, colour in enumerate(COLOURS):
                left, top, right, bottom = map(round, box_at(who, number))
                image[top:bottom, max(left, 0) : right] = colour
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return path


def boxes_json(path: Path, names: Sequence[str], change: dict[str, Any] | None = None) -> Path:
    tubes = [
        {"first": 1, "boxes": [box_at(0, number) for number in range(RATE * SECONDS)], "score": 0.8},
        {"first": 21, "boxes": [box_at(1, number) for number in range(20, 50)]},
    ]
    entry = {"width": SIZE[0], "height": SIZE[1], "rate": RATE, "frames": RATE * SECONDS, "tubes": tubes}
    path.write_text(json.dumps({name: entry | (change or {}) for name in names}))
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name in ("a", "b/c"):
        make_video(folder / f"{name}.mp4")
    return folder


def test_a_tube_is_described_by_its_cutout_and_by_the_whole_picture(
    films: Path, tmp_path: Path, command: Command
) -> None:
    boxes, out = boxes_json(tmp_path / "boxes.json", ["a", "b/c"]), tmp_path / "tubes.h5"
    told = command.ok("tubes", films, "-o", out, "--boxes", boxes)
    assert "2 videos were made, 0 were there already" in told.output
    pixels = load_backbone("pixels")
    with TubeFile(out) as file:
        assert file.video_ids == ("a", "b/c")
        assert file.backbone == "pixels"
        assert file.footage("b/c").rate == RATE
        long, short = file.tubes("b/c")
        assert file.dim == 2 * pixels.dim
    assert (long.tube.first, long.tube.last, short.tube.first, short.tube.last) == (1, 60, 21, 50)
    assert (long.score, short.score) == (pytest.approx(0.8), 1.0)
    assert [len(stream) for stream in long.streams] == [4 * SECONDS] * 2
    assert [len(stream) for stream in short.streams] == [12, 12]
    # At the same time the whole picture is the same for both, and what is cut out is not.
    assert torch.equal(short.streams[1], long.streams[1][8:20])
    assert float((short.streams[0] - long.streams[0][8:20]).abs().max()) > 0.1
    again = command.ok("tubes", films, "-o", out, "--boxes", boxes)
    assert "0 videos were made, 2 were there already" in again.output
    assert not out.with_name("tubes.h5.parts").exists()


def test_long_tubes_are_cut_and_tubes_without_a_picture_left_out(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmn_index.index_build.tube_features._LONGEST", 2.5)
    given = read_boxes(boxes_json(tmp_path / "boxes.json", ["a"]))["a"]
    late = {"first": 10_000, "boxes": [[0, 0, 5, 5]]}
    entry = json.loads((tmp_path / "boxes.json").read_text())["a"]
    entry["tubes"].append(late)
    (tmp_path / "boxes.json").write_text(json.dumps({"a": entry}))
    given = read_boxes(tmp_path / "boxes.json")["a"]
    found = described_tubes(films / "a.mp4", given, load_backbone("pixels"))
    assert [(one.tube.first, one.tube.last) for one in found] == [
        (1, 20),
        (21, 40),
        (41, 60),
        (21, 35),
        (36, 50),
    ]


def test_one_bad_video_is_left_out(films: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").symlink_to(films / "a.mp4")
    (tmp_path / "films" / "bad.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "films" / "other.mp4").symlink_to(films / "b" / "c.mp4")
    boxes = boxes_json(tmp_path / "boxes.json", ["a", "bad"])
    done = command.run("tubes", tmp_path / "films", "-o", tmp_path / "t.h5", "--boxes", boxes)
    assert done.exit_code == 3
    assert "bad.mp4" in done.stderr
    assert "no video 'other'" in done.stderr
    with TubeFile(tmp_path / "t.h5") as file:
        assert file.video_ids == ("a",)
    strict = command.run("tubes", tmp_path / "films", "-o", tmp_path / "s.h5", "--boxes", boxes, "--strict")
    assert strict.exit_code == 1
    assert not (tmp_path / "s.h5").exists()


def test_a_killed_run_goes_on(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, pixels, out = (
        read_boxes(boxes_json(tmp_path / "b.json", ["a", "b/c"])),
        load_backbone("pixels"),
        tmp_path / "t.h5",
    )
    calls: list[str] = []

    def some(path: Path, *rest: Any) -> Any:
        calls.append(path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return described_tubes(path, *rest)

    monkeypatch.setattr("mmn_index.index_build.tubes.described_tubes", some)
    with pytest.raises(KeyboardInterrupt):
        make_tubes([films], out, pixels, boxes=given)
    assert not out.exists()
    make_tubes([films], out, pixels, boxes=given)
    assert calls == ["a.mp4", "c.mp4", "c.mp4"]
    with TubeFile(out) as file:
        assert file.video_ids == ("a", "b/c")


def test_a_file_of_another_backbone_is_refused(films: Path, tmp_path: Path) -> None:
    given, pixels = read_boxes(boxes_json(tmp_path / "b.json", ["a", "b/c"])), load_backbone("pixels")
    make_tubes([films], tmp_path / "t.h5", pixels, boxes=given)
    pixels.name = "other"
    with pytest.raises(FeatureError, match="was made by 'pixels'"):
        make_tubes([films], tmp_path / "t.h5", pixels, boxes=given)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"width": 1e9},
        {"rate": "10"},
        {"frames": None},
        {"tubes": {}},
        {"tubes": [3]},
        {"tubes": [{"first": 1, "boxes": []}]},
        {"tubes": [{"first": 1.5, "boxes": [[0, 0, 5, 5]]}]},
        {"tubes": [{"first": 1, "boxes": [[0, 0, 5]]}]},
        {"tubes": [{"first": 1, "boxes": [[9, 0, 5, 5]]}]},
        {"tubes": [{"first": 1, "boxes": [[0, 0, 5, float("inf")]]}]},
        {"tubes": [{"first": 1, "boxes": [[0, 0, 5, 5]], "score": "high"}]},
    ],
    ids=str,
)
def test_boxes_that_cannot_be_are_named(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"b\.json: video 'a'"):
        read_boxes(boxes_json(tmp_path / "b.json", ["a"], change))


def seen(number: int, *, missed: frozenset[int] = frozenset(), jitter: float = 0.0) -> Seen:
    image = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
    people = [who for who in (0, 1) if (who, number) not in missed and who not in missed]
    random = np.random.default_rng(number)
    boxes = np.array([box_at(who, number) for who in people], np.float32).reshape(-1, 4)
    for who in people:
        left, top, right, bottom = map(round, box_at(who, number))
        image[top:bottom, left:right] = COLOURS[who]
    boxes = boxes + random.normal(0, jitter, boxes.shape).astype(np.float32)
    looks = [look_of(image, box) for box in boxes]
    return Seen(boxes, np.full(len(boxes), 0.9), np.stack(looks) if looks else np.zeros((0, 49), np.float32))


def test_two_who_pass_each_other_keep_their_tubes() -> None:
    """Their boxes overlap in the middle, where colours tell them apart; frames between pictures are filled."""
    found = linked((seen(2 * k, jitter=1.0) for k in range(30)), RATE / 2, RATE)
    assert len(found) == 2
    for (tube, score), who in zip(found, (0, 1), strict=True):
        assert score == pytest.approx(0.9)
        assert (tube.first, tube.last) == (2, 60)
        # The picture k was taken of frame 2 k and shows the time of the middle of it and the next one.
        true = torch.tensor([box_at(who, number - 1.5) for number in tube.frames.tolist()])
        assert float(box_iou(tube.boxes, true).min()) > 0.6


def test_a_gap_is_filled_a_long_one_ends_a_tube_and_a_short_tube_is_dropped() -> None:
    pictures = [seen(number, missed=frozenset({1})) for number in range(60)]
    empty = Seen(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros((0, 49), np.float32))
    pictures[10:14] = [empty] * 4
    pictures[30:45] = [empty] * 15
    pictures[53:] = [empty] * 7
    found = linked(pictures, RATE, RATE)
    assert [(tube.first, tube.last) for tube, _ in found] == [(1, 30)]
    middle = found[0][0].boxes[11]
    assert torch.allclose(middle, torch.tensor(box_at(0, 11)), atol=0.1)


@pytest.fixture(scope="module")
def yolos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `save_detector`."""
    return save_detector(tmp_path_factory.mktemp("yolos"))


def test_a_detector_finds_the_tubes(yolos: Path, films: Path, tmp_path: Path, command: Command) -> None:
    detector = Detector(str(yolos))
    (boxes, scores), *_ = detector([np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * 9)
    assert len(boxes) == len(scores) == 4
    assert boxes.min() >= 0
    assert bool((boxes[:, 2:] <= np.array(SIZE)).all())
    out = tmp_path / "t.h5"
    command.ok("tubes", films, "-o", out, "--detector", yolos)
    with TubeFile(out) as file:
        tubes = file.tubes("a")
        assert tubes
        assert file.footage("a").rate == RATE
        assert file.footage("a").frames == RATE * SECONDS
        assert all(one.tube.first >= 1 and one.tube.last <= RATE * SECONDS for one in tubes)
    none = tmp_path / "none.h5"
    command.ok("tubes", films, "-o", none, "--detector", yolos, "--threshold", "1")
    with TubeFile(none) as file:
        assert file.video_ids == ("a", "b/c")
        assert file.tubes("a") == []


def test_what_is_no_detector(
    yolos: Path, lively: Path, films: Path, tmp_path: Path, command: Command
) -> None:
    config = json.loads((yolos / "config.json").read_text())
    config["id2label"] = {"0": "cat", "1": "dog"}
    (tmp_path / "cats").mkdir()
    for file in yolos.iterdir():
        (tmp_path / "cats" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "cats" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="has no class 'person'"):
        Detector(str(tmp_path / "cats"))
    command.fails("tubes", films, "-o", tmp_path / "t.h5", "--detector", lively / "model", says="model")
    assert command.run("tubes", films, "-o", tmp_path / "t.h5").exit_code == 2


def test_other_boxes_or_a_changed_file_are_made_again(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a killed run has left the parts of the first ones."""
    video = tmp_path / "a.mp4"
    video.write_bytes((films / "a.mp4").read_bytes())
    pixels, out = load_backbone("pixels"), tmp_path / "t.h5"
    both = read_boxes(boxes_json(tmp_path / "b.json", ["a"]))
    one = {"a": type(both["a"])(both["a"].footage, both["a"].tubes[:1])}

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmn_index.index_build.tubes.merge_tubes", killed)
        with pytest.raises(KeyboardInterrupt):
            make_tubes([video], out, pixels, boxes=both)
    (part,) = out.with_name("t.h5.parts").iterdir()
    part.write_bytes(part.read_bytes()[:1000])  # as a power cut may leave it
    assert make_tubes([video], out, pixels, boxes=both).made == 1
    assert make_tubes([video], out, pixels, boxes=both).made == 0
    assert make_tubes([video], out, pixels, boxes=one).made == 1
    with TubeFile(out) as file:
        assert len(file.tubes("a")) == 1
    os.utime(video, (1, 1))
    assert make_tubes([video], out, pixels, boxes=one).made == 1


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 1e-300},
        {"rate": 1e308},
        {"width": 0.3},
        {"frames": 0.3},
        {"width": 10**400},
        {"tubes": [{"first": 10**30, "boxes": [[0, 0, 5, 5]]}]},
        {"tubes": [{"first": 1, "boxes": [[0, 0, 5, 1e39]]}]},
        {"tubes": [{"first": 1, "boxes": [[0, 0, 5, 5]], "score": 10**400}]},
    ],
    ids=lambda change: str(change)[:30],
)
def test_numbers_beyond_reason_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"b\.json: video 'a'"):
        read_boxes(boxes_json(tmp_path / "b.json", ["a"], change))


def test_a_file_that_is_not_there_is_said(tmp_path: Path, command: Command) -> None:
    boxes = boxes_json(tmp_path / "b.json", ["gone"])
    done = command.run("tubes", tmp_path / "gone.mp4", "-o", tmp_path / "t.h5", "--boxes", boxes)
    assert "no such file" in done.stderr


def test_a_file_says_where_its_videos_lie(films: Path, tmp_path: Path, command: Command) -> None:
    """Also once they were moved, which makes nothing anew, and where the bytes of a name are not UTF-8."""
    home, odd = tmp_path / "home", os.fsdecode(b"caf\xe9.mp4")
    home.mkdir()
    for name in ("a.mp4", odd):
        (home / name).write_bytes((films / "a.mp4").read_bytes())
    ids, out = ["a", "caf\\xe9"], tmp_path / "t.h5"
    boxes = boxes_json(tmp_path / "b.json", ids)
    command.ok("tubes", home, "-o", out, "--boxes", boxes)
    with TubeFile(out) as file:
        assert [path_of(file.source(name) or "") for name in ids] == [home / "a.mp4", home / odd]
    home.rename(tmp_path / "away")
    assert "0 videos were made" in command.ok("tubes", tmp_path / "away", "-o", out, "--boxes", boxes).output
    with TubeFile(out) as file:
        assert [path_of(file.source(name) or "") for name in ids] == [
            tmp_path / "away" / "a.mp4",
            tmp_path / "away" / odd,
        ]
    given = file.path.with_name("plain.h5")
    tube = FoundTube(Tube(torch.arange(1, 3), torch.zeros(2, 4)), 1.0, (torch.ones(1, 2),))
    write_tubes(given, [("a", Footage(4, 4, 25.0, 2), [tube])])
    with TubeFile(given) as file:
        assert file.source("a") is None
        with pytest.raises(FeatureError, match="is not there"):
            file.source("b")
