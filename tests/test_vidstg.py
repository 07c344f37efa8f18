"""VidSTG's annotations in both forms: what is read, evaluated against and trained on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from tube_world import SETTING, make_world

from mmn_index.errors import AnnotationError
from mmn_index.evaluation.tube_answers import chances
from mmn_index.evaluation.tube_files import Stated
from mmn_index.evaluation.tube_truths import read_right_tubes, read_truths
from mmn_index.proposals import ProposalGrid
from mmn_index.tube_file import FoundTube, TubeFile
from mmn_index.tubes import Tube

FRAMES = 40
Entries = list[dict[str, Any]]


def box_at(target: int, frame: int) -> dict[str, float]:
    """The box of a target on a frame, from 0 on."""
    return {"xmin": 10 * target + frame, "ymin": 5, "xmax": 10 * target + frame + 20, "ymax": 45}


def entries() -> Entries:
    """Two relations of one video and one of another, as VidSTG's own files have them, with VidOR's boxes."""
    about = {"frame_count": FRAMES, "fps": 10.0, "width": 320, "height": 240}
    moments = [("v.1", (12, 20), (5, 30)), ("v.1", (25, 31), (20, 40)), ("w", (0, 3), (0, 40))]
    boxes = [[{"tid": t, "bbox": box_at(t, n), "generated": 0} for t in (0, 1)] for n in range(FRAMES)]
    return [
        {
            **about,
            "vid": vid,
            "subject/objects": [{"tid": 0, "category": "adult"}, {"tid": 1, "category": "dog"}],
            "used_segment": dict(zip(("begin_fid", "end_fid"), segment, strict=True)),
            "temporal_gt": dict(zip(("begin_fid", "end_fid"), moment, strict=True)),
            "questions": [{"description": f"who is in {n}?", "type": "subject", "target_id": 0}],
            "captions": [{"description": f"a dog is in {n}", "type": "object", "target_id": 1}],
            "trajectories": boxes,
        }
        for n, (vid, moment, segment) in enumerate(moments)
    ]


def prepared(own: Entries) -> dict[str, Any]:
    """The same as TubeDETR's script writes it."""
    videos: Entries = []
    tracks: dict[str, dict[str, Any]] = {}
    for one in own:
        for kind, asked in (("interrogative", one["questions"]), ("declarative", one["captions"])):
            for query in asked:
                target = query["target_id"]
                videos.append(
                    {
                        "original_video_id": one["vid"],
                        **{name: one.get(name) for name in ("frame_count", "fps", "width", "height")},
                        "start_frame": one["used_segment"]["begin_fid"],
                        "end_frame": one["used_segment"]["end_fid"],
                        "tube_start_frame": one["temporal_gt"]["begin_fid"],
                        "tube_end_frame": one["temporal_gt"]["end_fid"],
                        "video_path": f"0001/{one['vid']}.mp4",
                        "caption": query["description"],
                        "type": query.get("type"),
                        "target_id": target,
                        "video_id": len(videos),
                        "qtype": kind,
                    }
                )
                boxes: dict[str, Any] = {}
                for frame, found in enumerate(one["trajectories"]):
                    for box in found:
                        if box["tid"] == target:
                            c = box["bbox"]
                            sides = [c["xmin"], c["ymin"], c["xmax"] - c["xmin"], c["ymax"] - c["ymin"]]
                            boxes[str(frame)] = {"bbox": sides, "generated": 0}
                tracks.setdefault(one["vid"], {})[str(target)] = boxes
    return {"videos": videos, "trajectories": tracks}


FORMS: dict[str, Callable[[Entries], Any]] = {"VidSTG's own": lambda own: own, "TubeDETR's": prepared}


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    """Frames are counted from 1 and the last is inside; questions come first, as in TubeDETR's numbers."""
    own, other = (read_truths(written(tmp_path / "t.json", form(entries()))) for form in FORMS.values())
    assert own.digest == other.digest
    assert [(one.name, one.video_id, one.sentence) for one in own.videos] == [
        ("v.1#0", "v.1", "who is in 0?"),
        ("v.1#1", "v.1", "a dog is in 0"),
        ("v.1#2", "v.1", "who is in 1?"),
        ("v.1#3", "v.1", "a dog is in 1"),
        ("w#4", "w", "who is in 2?"),
        ("w#5", "w", "a dog is in 2"),
    ]
    dog = own.videos[1]
    assert (dog.stretch.first, dog.stretch.last, dog.segment) == (13, 20, (6, 30))
    assert dog.tube.frames.tolist() == list(range(13, 21))
    assert dog.tube.boxes[0].tolist() == list(box_at(1, 12).values())
    assert (dog.stated.width, dog.stated.height, dog.stated.frames) == (320, 240, FRAMES)
    assert own.num_sentences == 6
    rest, kept = own.held_out(0.5)
    assert {one.video_id for one in rest.videos} ^ {one.video_id for one in kept.videos} == {"v.1", "w"}


def test_the_metric_takes_an_answer_for_every_sentence(tmp_path: Path, command: Command) -> None:
    truths = written(tmp_path / "t.json", prepared(entries()))
    right = {
        name: {
            "st_frame": one.first,
            "ed_frame": one.last,
            "bbox": dict(zip(map(str, one.tube.frames.tolist()), one.tube.boxes.tolist(), strict=True)),
        }
        for name, one in read_right_tubes(truths).items()
    }
    del right["w#5"]
    right["v.1#2"]["bbox"] = {frame: [200, 200, 210, 210] for frame in right["v.1#2"]["bbox"]}
    answers = ("--annotations", truths, "--predictions", written(tmp_path / "p.json", right), "--json")
    first = json.loads(command.ok("eval", "--metric", "viou", *answers).stdout.splitlines()[0])
    assert first["m_vIoU"] == pytest.approx(100 * 4 / 6)
    assert first["vIoU@0.5"] == pytest.approx(100 * 4 / 6)


def test_a_tube_is_cut_to_the_segment_with_its_features() -> None:
    found = FoundTube(
        Tube(torch.arange(11, 21), torch.arange(40.0).reshape(10, 4)),
        0.5,
        (torch.arange(10.0)[:, None], torch.arange(3.0)[:, None]),
    )
    part = found.within(14, 16)
    assert part is not None
    assert (part.tube.frames.tolist(), part.tube.boxes[:, 0].tolist()) == ([14, 15, 16], [12.0, 16.0, 20.0])
    assert [stream.flatten().tolist() for stream in part.streams] == [[3, 4, 5], [0, 1]]
    assert found.within(21, 30) is None
    whole = found.within(1, 99)
    assert whole is not None
    assert torch.equal(whole.streams[1], found.streams[1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "change",
    [
        {"temporal_gt": {"begin_fid": 9, "end_fid": 9}},
        {"temporal_gt": {"begin_fid": 30, "end_fid": 50}},
        {"temporal_gt": {"begin_fid": "1", "end_fid": 5}},
        {"temporal_gt": {"begin_fid": 0, "end_fid": 10**14}},
        {"captions": [{"description": "", "target_id": 1}]},
        {"captions": [{"description": "a dog", "target_id": None}]},
        {"vid": None},
        {"trajectories": [[{"tid": 1, "bbox": {"xmin": 9, "ymin": 9, "xmax": 1, "ymax": 10}}]] * FRAMES},
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_entry_that_cannot_be_is_named(form: str, change: dict[str, Any], tmp_path: Path) -> None:
    broken = [entries()[1] | change]
    with pytest.raises(AnnotationError, match=r"t\.json: (videos, )?entry "):
        read_truths(written(tmp_path / "t.json", FORMS[form](broken)))


@pytest.mark.parametrize("form", FORMS)
def test_a_size_of_zero_says_nothing(form: str, tmp_path: Path) -> None:
    given = [one | {"width": 0, "height": 0, "frame_count": 0} for one in entries()]
    truths = read_truths(written(tmp_path / "t.json", FORMS[form](given)))
    assert {one.stated for one in truths.videos} == {Stated()}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "has no sentence"),
        ({"videos": [], "trajectories": {}}, "has no sentence"),
        ([{name: value for name, value in entries()[0].items() if name != "trajectories"}], "put VidOR's"),
        (
            {"videos": prepared(entries())["videos"], "trajectories": {"v.1": []}},
            "no target 0 of video 'v.1'",
        ),
        ([3], "not an object"),
        ("text", "is a str"),
    ],
    ids=str,
)
def test_what_lacks_its_boxes_or_sentences(content: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=says):
        read_truths(written(tmp_path / "t.json", content))


def test_a_video_of_hc_stvg_may_have_any_name(tmp_path: Path) -> None:
    entry = {"bbox": [[0, 0, 5, 5]] * 3, "st_frame": 7, "ed_frame": 9, "English": "a person"}
    names = ("videos", "v.2", "v.3.mp4", "trajectories.mkv")
    found = read_truths(written(tmp_path / "t.json", dict.fromkeys(names, entry)))
    assert [one.video_id for one in found.videos] == ["trajectories", "v.2", "v.3", "videos"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world of test_tubes.py, and its truths as VidSTG's: each is a sentence of its own, and every second
    video has a segment that holds little more than the moment.
    """
    folder = tmp_path_factory.mktemp("vidstg")
    make_world(folder)
    truths: list[dict[str, Any]] = []
    for number, (name, one) in enumerate(json.loads((folder / "truths.json").read_text()).items()):
        first, last = one["st_frame"], one["ed_frame"]
        boxes: list[list[dict[str, Any]]] = [[] for _ in range(last)]
        for frame, (x, y, w, h) in enumerate(one["bbox"], first - 1):
            corners = {"xmin": x, "ymin": y, "xmax": x + w, "ymax": y + h}
            boxes[frame] = [{"tid": 4, "bbox": corners}]
        segment = (max(first - 6, 0), min(last + 5, 70)) if number % 2 else (0, 70)
        asked = [{"description": text, "target_id": 4} for text in (one["English"], f"{one['English']} now")]
        truths.append(
            {
                "vid": name.removesuffix(".mp4"),
                "used_segment": {"begin_fid": segment[0], "end_fid": segment[1]},
                "temporal_gt": {"begin_fid": first - 1, "end_fid": last},
                "captions": asked[:1],
                "questions": asked[1:],
                "trajectories": boxes,
            }
        )
    written(folder / "vidstg.json", prepared(truths))
    return folder


def test_a_model_is_trained_and_measured_on_it(
    shelf: Path, text_model: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(SETTING.format(base="stvg-corrected", text=text_model))
    files = ("--annotations", shelf / "vidstg.json", "--features", shelf / "tubes.h5")
    options = ("--val", shelf / "vidstg.json", "--config", tmp_path / "mine.yaml")
    command.ok("train", *files, *options, "-o", tmp_path / "run")
    answers = tmp_path / "answers.json"
    model = tmp_path / "run" / "model"
    shown = command.ok("eval", model, *files, "--json", "--write-predictions", answers).stdout.splitlines()
    rows = {row.pop("what"): row for row in map(json.loads, shown)}
    assert rows["this model"]["m_vIoU"] > 1.3 * rows["random tube, right time"]["m_vIoU"]
    truths = {one.name: one for one in read_truths(shelf / "vidstg.json").videos}
    found = json.loads(answers.read_text())
    assert set(found) == set(truths)
    for name, one in found.items():
        begin, end = truths[name].segment or (0, 0)
        assert begin <= one["st_frame"] <= one["ed_frame"] <= end
    theirs = ("--annotations", shelf / "vidstg.json", "--predictions", answers, "--json")
    scored = json.loads(command.ok("eval", "--metric", "viou", *theirs).stdout.splitlines()[0])
    assert scored["m_vIoU"] == pytest.approx(rows["this model"]["m_vIoU"], abs=1e-4)


def test_chance_knows_the_segments(shelf: Path) -> None:
    """A narrow segment makes the answer easier."""
    truths, grid = read_truths(shelf / "vidstg.json"), ProposalGrid(8, (7,))

    narrow = [one for one in truths.videos if one.segment != (1, 70)]
    assert len(narrow) == 24
    with TubeFile(shelf / "tubes.h5") as tubes:
        found, of_all = (
            chances(some, tubes, grid)["chance"]["m_vIoU"]
            for some in (narrow, [replace(one, segment=None) for one in narrow])
        )
    assert found > 1.3 * of_all
