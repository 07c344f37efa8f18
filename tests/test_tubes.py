"""Tubes from their file to a trained model and its answers."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import Command
from mmn_index.train.settings import SETTINGS
from tube_world import SETTING, WIDTH, make_world, tube

from mmn_index import checkpoint
from mmn_index.errors import AnnotationError, FeatureError
from mmn_index.evaluation.tube_answers import answer_tubes, chances, tube_table
from mmn_index.evaluation.tube_truths import read_truths
from mmn_index.proposals import ProposalGrid
from mmn_index.tube_file import Footage, FoundTube, TubeFile
from mmn_index.tube_map import best_answer, iou_targets, rows_of, tube_pre_clips
from mmn_index.tube_writer import write_tubes
from mmn_index.tubes import Tube, tube_iou


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tubes")
    make_world(folder)
    return folder


def test_a_file_gives_back_what_was_written(shelf: Path) -> None:
    with TubeFile(shelf / "tubes.h5") as tubes:
        assert tubes.video_ids == tuple(f"shelf/v{number:02}" for number in range(24))
        assert (tubes.backbone, tubes.dim) == ("made up", 2 * WIDTH)
        assert tubes.footage("shelf/v03") == Footage(320, 240, 10.0, 70)
        found = tubes.tubes("shelf/v03")
    assert len(found) == 3
    assert found[0].tube.first == 5
    assert found[0].score == pytest.approx(0.9)
    assert [stream.shape[1] for stream in found[0].streams] == [WIDTH, WIDTH]
    assert len(found[0].streams[1]) == -(-len(found[0].streams[0]) // 2)


def _boxes(group: h5py.Group, values: object) -> None:
    del group["v/0/boxes"]
    group["v/0/boxes"] = values


BREAK: dict[str, Any] = {
    "no such video": lambda file: file.__delitem__("v"),
    "a link": lambda file: (
        file.__setitem__("v/0/boxes2", h5py.SoftLink("/v/0/boxes"))
        or file["v/0"].__delitem__("boxes")
        or file["v/0"].move("boxes2", "boxes")
    ),
    "elsewhere": lambda file: (
        file.__delitem__("v") or file.__setitem__("v", h5py.ExternalLink("other.h5", "/v"))
    ),
    "three columns": lambda file: _boxes(file, np.zeros((5, 3))),
    "no boxes": lambda file: _boxes(file, np.zeros((0, 4))),
    "text": lambda file: _boxes(file, "boxes"),
    "not finite": lambda file: _boxes(file, np.full((5, 4), np.nan)),
    "turned round": lambda file: _boxes(file, np.tile([5.0, 5, 1, 9], (5, 1))),
    "no first frame": lambda file: file["v/0"].attrs.__delitem__("first"),
    "half a frame": lambda file: file["v/0"].attrs.__setitem__("first", 1.5),
    "something else": lambda file: file["v"].create_group("notes"),
    "no features": lambda file: file["v/0"].__delitem__("features"),
    "an array": lambda file: file.__delitem__("v") or file.__setitem__("v", np.zeros(3)),
}


@pytest.mark.parametrize("kind", BREAK)
def test_a_damaged_tube_is_named(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    found = FoundTube(tube(random, 5, 1), 1.0, (torch.ones(5, 3),))
    write_tubes(tmp_path / "t.h5", [("v", Footage(320, 240, 10.0, 70), [found])])
    with h5py.File(tmp_path / "t.h5", "a") as file:
        BREAK[kind](file)
    with (
        TubeFile(tmp_path / "t.h5") as tubes,
        pytest.raises(FeatureError, match=r"t\.h5: video 'v'"),
    ):
        tubes.tubes("v")


def test_what_is_no_file_of_tubes(tmp_path: Path, shelf: Path) -> None:
    (tmp_path / "text.h5").write_text("tubes")
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["v"] = np.zeros((3, 4))
    for name in ("text.h5", "features.h5", "missing.h5"):
        with pytest.raises(FeatureError, match=name):
            TubeFile(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": [[0, 0, 5, 5]]},
        {"bbox": "boxes"},
        {"bbox": [[0, 0, -5, 5]] * 3},
        {"bbox": [[0, 0, float("nan"), 5]] * 3},
        {"st_frame": 9, "ed_frame": 7},
        {"st_frame": "1"},
        {"st_frame": 1, "ed_frame": 1 << 40},
        {"English": ""},
        {"English": None},
    ],
    ids=str,
)
def test_a_truth_that_cannot_be_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    entry = {"bbox": [[0, 0, 5, 5]] * 3, "st_frame": 7, "ed_frame": 9, "English": "a person"}
    (tmp_path / "t.json").write_text(json.dumps({"v.mp4": entry}))
    assert read_truths(tmp_path / "t.json").videos[0].tube.boxes.tolist() == [[0, 0, 5, 5]] * 3
    (tmp_path / "t.json").write_text(json.dumps({"v.mp4": entry | change}))
    with pytest.raises(AnnotationError, match=r"t\.json: 'v\.mp4'"):
        read_truths(tmp_path / "t.json")


def test_targets_are_those_of_each_proposal_as_a_tube() -> None:
    """Short and long tubes, truths that begin before and end after; with gaps as well."""
    random, grid = np.random.default_rng(1), ProposalGrid(8, (7,))
    for length, extra in ((3, 0), (8, 1), (57, 0), (57, 1)):
        one, truth = tube(random, length, 10), tube(random, 30, 2)
        truth = Tube(truth.frames, truth.boxes * 0.1 + one.boxes[0])
        for other in (truth, Tube(truth.frames[::2], truth.boxes[::2])):
            found = iou_targets(grid, one, other, extra)
            for cell, value in zip(rows_of(grid.cells, 8, length).tolist(), found.tolist(), strict=True):
                expected = float(tube_iou(one.rows(*cell), other, extra)) if cell[0] < cell[1] else 0.0
                assert value == pytest.approx(expected, abs=1e-6)


def test_an_answer_is_never_empty_and_no_other_cell_than_a_proposal() -> None:
    grid = ProposalGrid(8, (3,))
    scores = torch.full((2, len(grid)), -0.5)
    scores[0, 0] = 1.0  # the first clip of a tube of three frames holds none
    scores[1, 5] = -0.1
    found = best_answer(scores, [3, 40], grid)
    assert found == (1, *rows_of(grid.cells[5], 8, 40).tolist())
    # As officially, what is no proposal has the score 0, and here it wins.
    official = best_answer(scores, [3, 40], grid, official=True)
    assert official.tube == 0
    assert official.end > official.first


def test_pre_clips_average_every_row() -> None:
    rows = torch.eye(6)
    found = tube_pre_clips([rows, rows[:1] * 7], 3)
    assert torch.equal(found[:, :6], torch.stack([(rows[i] + rows[i + 1]) / 2 for i in (0, 2, 4)]))
    assert torch.equal(found[:, 6:], rows[:1].expand(3, 6))
    with pytest.raises(FeatureError):
        tube_pre_clips([rows[:0]], 3)


@pytest.mark.parametrize("base", ["stvg", "stvg-corrected"])
def test_a_model_learns_who_and_when(
    base: str, shelf: Path, text_model: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(SETTING.format(base=base, text=text_model))
    files = ("--annotations", shelf / "truths.json", "--features", shelf / "tubes.h5")
    options = ("--val", shelf / "truths.json", "--config", tmp_path / "mine.yaml")
    command.ok("train", *files, *options, "-o", tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    shown = command.ok("eval", tmp_path / "run" / "model", *files, "--json").stdout.splitlines()
    rows = {row.pop("what"): row for row in map(json.loads, shown)}
    assert rows["this model"]["m_vIoU"] > 1.3 * rows["random tube, right time"]["m_vIoU"]
    assert rows["this model"]["m_vIoU"] > 3 * rows["chance"]["m_vIoU"]
    assert rows["best proposal"]["m_vIoU"] >= rows["this model"]["m_vIoU"]
    best = max((json.loads(line) for line in lines), key=lambda line: line["m_vIoU"])
    assert rows["this model"]["m_vIoU"] == pytest.approx(best["m_vIoU"], rel=1e-4)
    written = tmp_path / "answers.json"
    table = command.ok("eval", tmp_path / "run" / "model", *files, "--write-predictions", written)
    assert "vIoU@0.5" in table.stdout
    theirs = ("--annotations", shelf / "truths.json", "--predictions", written)
    scored = command.ok("eval", "--metric", "viou", *theirs, "--json").stdout.splitlines()
    by_name = {name: row for row in map(json.loads, scored) for name in row.values() if isinstance(name, str)}
    assert by_name["HC-STVG"]["m_vIoU"] == pytest.approx(rows["this model"]["m_vIoU"], abs=1e-4)
    as_stcat = rows["this model, as STCAT counts"]
    assert by_name["STCAT"]["m_vIoU"] == pytest.approx(as_stcat["m_vIoU"], abs=1e-4)
    assert as_stcat["m_vIoU"] != rows["this model"]["m_vIoU"]
    command.ok("train", *files, *options, "-o", tmp_path / "run", "--resume")


def test_an_interrupted_run_ends_with_the_same_weights(
    shelf: Path, text_model: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(SETTING.format(base="stvg", text=text_model))
    files = ("--annotations", shelf / "truths.json", "--features", shelf / "tubes.h5")
    options = ("--config", tmp_path / "mine.yaml")
    command.ok("train", *files, *options, "-o", tmp_path / "whole")
    from mmn_index.train.loop import Run

    before = Run.epoch

    def stops(self: Run, epoch: int) -> dict[str, Any]:
        if epoch == 4:
            raise KeyboardInterrupt
        return before(self, epoch)

    monkeypatch.setattr(Run, "epoch", stops)
    assert command.run("train", *files, *options, "-o", tmp_path / "parts").exit_code != 0
    monkeypatch.undo()
    command.ok("train", *files, *options, "-o", tmp_path / "parts", "--resume")
    one, other = (checkpoint.load(tmp_path / run / "model").state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_video_without_a_tube_counts_0(
    shelf: Path, text_model: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(SETTING.format(base="stvg", text=text_model))
    with h5py.File(shelf / "tubes.h5") as source, h5py.File(tmp_path / "less.h5", "w") as less:
        less.attrs.update(source.attrs)
        for number, name in enumerate(source):
            if number:
                source.copy(name, less)
            if number == 1:
                for key in list(less[name]):
                    del less[name][key]
    files = ("--annotations", shelf / "truths.json", "--features", tmp_path / "less.h5")
    done = command.run("train", *files, "--config", tmp_path / "mine.yaml", "-o", tmp_path / "run")
    assert done.exit_code == 3
    assert "shelf/v00" in done.stderr
    model = checkpoint.load(tmp_path / "run" / "model")
    truths = read_truths(shelf / "truths.json").videos
    with TubeFile(tmp_path / "less.h5") as tubes:
        answers = answer_tubes(model, truths, tubes)
        assert [answer.tube is None for answer in answers] == [True, True] + [False] * 22
        share = tube_table(answers)["m_vIoU"] / tube_table(answers[2:])["m_vIoU"]
        assert share == pytest.approx(22 / 24)
        assert chances(truths[:2], tubes, model.grid)["chance"]["m_vIoU"] == 0
    refused = command.run(
        "train", *files, "--config", tmp_path / "mine.yaml", "-o", tmp_path / "no", "--strict"
    )
    assert refused.exit_code == 1


def test_tubes_and_videos_are_not_mistaken_for_each_other(
    shelf: Path, world: Path, text_model: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(SETTING.format(base="stvg", text=text_model))
    files = ("--annotations", shelf / "truths.json", "--features", shelf / "tubes.h5")
    mine = ("--config", tmp_path / "mine.yaml", "-o", tmp_path / "run")
    says = "tubes.h5: is a file of tubes (`mmn-index tubes`), expected snippet features"
    command.fails("train", *files, *mine[2:], "--config", world / "tiny.yaml", says=says)
    other = ("--annotations", shelf / "truths.json", "--features", world / "features.h5")
    command.fails("train", *other, *mine, says="features.h5: is no file of tubes")
    command.fails("train", *files[:3], tmp_path, *mine, says="is a folder, expected a file of tubes")
    moments = ("--annotations", world / "train.json", "--features", shelf / "tubes.h5")
    model = world / "run" / "model"
    command.fails("eval", model, *moments, says=says)
    command.fails("build", model, shelf / "tubes.h5", "-o", tmp_path / "i.mmn", says="holds tubes, but")
    (tmp_path / "a.mp4").touch()
    command.fails("extract", tmp_path / "a.mp4", "-o", shelf / "tubes.h5", says=says)
    entry = {"width": 8, "height": 8, "rate": 5, "frames": 9, "tubes": []}
    (tmp_path / "boxes.json").write_text(json.dumps({"a": entry}))
    videos = (tmp_path / "a.mp4", "-o", world / "features.h5", "--boxes", tmp_path / "boxes.json")
    command.fails("tubes", *videos, says="features.h5: is no file of tubes")
    (tmp_path / "mine.yaml").write_text(
        SETTING.format(base="stvg", text=text_model).replace("lr: 0.01", "lr: 0.01, crop: 0.2")
    )
    command.fails("train", *files, *mine, says="train.crop is not for models over tubes")


def test_the_benchmark_from_its_files_to_a_result(
    shelf: Path, text_model: Path, tmp_path: Path, command: Command
) -> None:
    """Without files it says what to get; with them it trains, holds out videos to choose by, and measures."""
    data = tmp_path / "data"
    data.mkdir()
    told = command.fails("reproduce", "stvg", "--data", data, "-o", tmp_path / "runs", says="tubes.h5")
    assert "HC-STVG's annotations" in told.stderr
    truths = json.loads((shelf / "truths.json").read_text())
    names = sorted(truths)
    for split, part in (("train", names[:16]), ("test", names[16:])):
        (data / f"{split}.json").write_text(json.dumps({name: truths[name] for name in part}))
    (data / "tubes.h5").symlink_to(shelf / "tubes.h5")
    setting = SETTING.format(base="stvg", text=text_model).replace("epochs: 6", "epochs: 2")
    (tmp_path / "mine.yaml").write_text(setting)
    options = ("--data", data, "--config", tmp_path / "mine.yaml", "--seeds", 2, "-o", tmp_path / "runs")
    done = command.ok("reproduce", "stvg", *options)
    assert "Nothing is published for stvg" in done.stdout
    found = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert set(found["mean"]) == {"m_vIoU", "m_tIoU", "vIoU@0.3", "vIoU@0.5"}
    files = ("--annotations", data / "test.json", "--features", data / "tubes.h5", "--json")
    model = tmp_path / "runs" / "seed1" / "model"
    first = json.loads(command.ok("eval", model, *files).stdout.splitlines()[0])
    assert first["m_vIoU"] == pytest.approx(found["seeds"]["1"]["m_vIoU"])
    named = command.ok("eval", model, "--dataset", "stvg", "--data", data, "--json").stdout.splitlines()
    assert json.loads(named[0]) == first


def test_a_model_over_tubes_is_refused_where_moments_of_videos_are_asked_for(
    shelf: Path, world: Path, text_model: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(
        SETTING.format(base="stvg", text=text_model).replace("epochs: 6", "epochs: 1")
    )
    files = ("--annotations", shelf / "truths.json", "--features", shelf / "tubes.h5")
    command.ok("train", *files, "--config", tmp_path / "mine.yaml", "-o", tmp_path / "run")
    model = tmp_path / "run" / "model"
    own = ("--annotations", world / "train.json", "--features", world / "features.h5")
    command.fails("tune-text", model, *own, "-o", tmp_path / "tuned", says="is made for tubes")
    for more in (("--corpus",), ("--seen", world / "train.json")):
        told = command.run("eval", model, *files, *more)
        assert told.exit_code in (1, 2)
        assert isinstance(told.exception, SystemExit)


def test_the_corrected_setting_takes_features_of_any_width() -> None:
    """As the commands of docs/tubes.md need it; that of the official features has their width."""
    assert SETTINGS["stvg-corrected"].model.input_dim == 0
    assert SETTINGS["stvg"].model.input_dim == 2048
