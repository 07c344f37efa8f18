"""The whole way through the commands, and what they say to bad input."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import DIM, SENTENCES, Command, write_annotations, write_features
from mmn_index.cli.output import clock


def test_search_prints_an_aligned_table(world: Path, command: Command) -> None:
    result = command.ok("search", SENTENCES[0], "--index", world / "collection.mmn", "-k", 4)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["rank", "video", "start", "end", "collection"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert len({len(line) for line in lines}) == 1
    scores = [float(line.split()[-1]) for line in lines[1:]]
    assert scores == sorted(scores, reverse=True)
    assert "proven exact" in result.stderr


def test_search_as_json_is_one_object_a_line(world: Path, command: Command) -> None:
    result = command.ok(
        "search", SENTENCES[0], "--index", world / "collection.mmn", "--json", "--per-video", 1
    )
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    assert len({hit["video"] for hit in hits}) == len(hits) == 6
    assert all(hit["exact"] is True and hit["start"] < hit["end"] for hit in hits)


@pytest.mark.parametrize("score", ["collection", "product", "contrastive", "iou"])
def test_every_score_ranks(world: Path, command: Command, score: str) -> None:
    hits = [
        json.loads(x)
        for x in command.ok(
            "search", "door", "--index", world / "collection.mmn", "--json", "--score", score
        ).stdout.splitlines()
    ]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert {hit["score_name"] for hit in hits} == {score}


def test_the_index_is_found_by_environment_and_by_place(
    world: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = command.ok("search", "door", "--index", world / "collection.mmn").stdout
    monkeypatch.chdir(world)
    assert command.ok("search", "door").stdout == named  # ./collection.mmn
    monkeypatch.chdir("/")
    command.fails("search", "door", says="collection.mmn: does not exist")
    monkeypatch.setenv("MMN_INDEX", str(world / "collection.mmn"))
    assert command.ok("search", "door").stdout == named


def test_eval_prints_recall_beside_chance(world: Path, command: Command) -> None:
    arguments = [
        "eval",
        world / "run" / "model",
        "--features",
        world / "features.h5",
        "--annotations",
        world / "train.json",
        "--seen",
        world / "train.json",
    ]
    assert "NMS 0.5" in command.ok(*arguments).stdout
    blocks = [json.loads(line) for line in command.ok(*arguments, "--json").stdout.splitlines()]
    assert [(b["scope"], b["queries"]) for b in blocks] == [
        ("video", "all"),
        ("video", "seen wordings (12)"),
        ("video", "chance"),
    ]
    assert 0 < blocks[2]["R@1,IoU=0.5"] < blocks[2]["R@5,IoU=0.5"] < 100


def test_training_writes_a_line_an_epoch_and_is_deterministic(
    world: Path, command: Command, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in (world / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[1]["lr"] == pytest.approx(lines[0]["lr"] / 10)
    assert {"loss_iou", "loss_video", "loss_sentence", "R@1,IoU=0.5"} <= lines[0].keys()
    command.ok(
        "train",
        "--annotations",
        world / "train.json",
        "--val",
        world / "train.json",
        "--features",
        world / "features.h5",
        "--config",
        world / "tiny.yaml",
        "-o",
        tmp_path / "run",
    )
    again = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for line in (*lines, *again):
        del line["videos_per_second"]
    assert again == lines
    for name in ("setting.json", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (world / "run" / name).read_bytes()


def test_training_says_what_does_not_fit(world: Path, command: Command, tmp_path: Path) -> None:
    def train(*options: object, says: str) -> None:
        defaults = {
            "--annotations": world / "train.json",
            "--features": world / "features.h5",
            "--config": world / "tiny.yaml",
            "-o": tmp_path / "r",
        }
        merged = {**defaults, **dict(zip(options[::2], options[1::2], strict=True))}
        command.fails("train", *(x for pair in merged.items() for x in pair), says=says)

    train("--annotations", tmp_path / "none.json", says="no such annotation file")
    train("--features", tmp_path / "none.h5", says="no such feature file")
    train("--config", "vgg", says="no setting is called 'vgg'")
    train("--config", "charades", says="width 12, the setting expects 4096")
    train("--text-model", tmp_path / "none", says="is no folder that exists")
    train("--text-model", "", says="no text encoder is named")
    train("-o", world / "run", says="holds a finished run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    train("-o", tmp_path / "full", says="exists already and holds no run")
    train("-o", world / "features.h5" / "run", says="cannot be written")
    write_annotations(tmp_path / "more.json", 7)
    train("--annotations", tmp_path / "more.json", says="no features of video 'v6'")
    train("--val", tmp_path / "more.json", says="no features of video 'v6'")
    assert not (
        tmp_path / "r" / "setting.json"
    ).exists()  # so that the folder can be used with the right files
    (tmp_path / "fast.yaml").write_text(
        (world / "tiny.yaml").read_text().replace("epochs: 2,", "epochs: 2, lr: 1e+30,")
    )
    train("--config", tmp_path / "fast.yaml", says="train.lr (1e+30) too high")


def test_build_says_what_does_not_fit(world: Path, command: Command, tmp_path: Path) -> None:
    model, features, out = world / "run" / "model", world / "features.h5", tmp_path / "c.mmn"
    command.fails(
        "build",
        tmp_path / "none",
        features,
        "-o",
        out,
        says="does not exist, expected a checkpoint directory",
    )
    command.fails("build", features, features, "-o", out, says="is a file, expected a checkpoint directory")
    command.fails("build", tmp_path, features, "-o", out, says="no complete checkpoint")
    command.fails("build", model, tmp_path / "none.h5", "-o", out, says="no such feature file")
    command.fails("build", model, features, "-o", features / "c.mmn", says="cannot be written")
    command.fails("build", model, features, "-o", world, says="left alone")
    command.fails("build", model, features, "-o", out, "--score", "best", says="no score is called 'best'")
    write_annotations(tmp_path / "more.json", 7)
    command.fails(
        "build",
        model,
        features,
        "-o",
        out,
        "--videos",
        tmp_path / "more.json",
        says="no features of 1 of 7 videos, e.g. 'v6'",
    )
    write_features(tmp_path / "wide.h5", 2, dim=DIM + 1)
    command.fails("build", model, tmp_path / "wide.h5", "-o", out, says=f"width {DIM + 1}, expected {DIM}")
    write_features(tmp_path / "bare.h5", 2, attributes=False)
    command.fails("build", model, tmp_path / "bare.h5", "-o", out, says="does not say how long video 'v0' is")
    with h5py.File(tmp_path / "wide.h5", "r+") as file:
        file.attrs["backbone"] = "another"
    command.fails("build", model, tmp_path / "wide.h5", "-o", out, says="trained on 'random'")
    assert not out.exists()


def test_a_checkpoint_of_another_configuration(world: Path, command: Command, tmp_path: Path) -> None:
    model = shutil.copytree(world / "run" / "model", tmp_path / "model")
    about = json.loads((model / "config.json").read_text())
    about["model"]["conv_layers"] = 3
    (model / "config.json").write_text(json.dumps(about))
    command.fails(
        "build",
        model,
        world / "features.h5",
        "-o",
        tmp_path / "c.mmn",
        says="missing video_encoder.proposal_conv.convs.2.bias",
    )
    (model / "config.json").write_text("{")
    command.fails("build", model, world / "features.h5", "-o", tmp_path / "c.mmn", says="is damaged")
    shutil.copy(world / "run" / "model" / "config.json", model)
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-9])
    command.fails("build", model, world / "features.h5", "-o", tmp_path / "c.mmn", says="cannot be read")


def test_an_index_of_another_model(world: Path, command: Command, tmp_path: Path) -> None:
    model = shutil.copytree(world / "run" / "model", tmp_path / "model")
    about = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**about, "fingerprint": "0" * 64}))
    command.fails(
        "eval",
        model,
        "--features",
        world / "features.h5",
        "--annotations",
        world / "train.json",
        "--corpus",
        "--index",
        world / "collection.mmn",
        says="0000000000000000",
    )
    index = shutil.copytree(world / "collection.mmn", tmp_path / "c.mmn")
    inside = next(index.glob("model-*")) / "config.json"
    inside.write_text(json.dumps({**about, "fingerprint": "0" * 64}))
    command.fails("search", "door", "--index", index, says="build the index again")


def test_a_device_that_is_not_there(world: Path, command: Command, tmp_path: Path) -> None:
    for device in ("nosuch", "cuda:99"):
        wrong = ["--device", device]
        says = f"device '{device}' cannot be used here"
        command.fails("search", "door", "--index", world / "collection.mmn", *wrong, says=says)
        command.fails(
            "build",
            world / "run" / "model",
            world / "features.h5",
            "-o",
            tmp_path / "c.mmn",
            *wrong,
            says=says,
        )
        command.fails(
            "eval",
            world / "run" / "model",
            "--features",
            world / "features.h5",
            "--annotations",
            world / "train.json",
            *wrong,
            says=says,
        )
        command.fails(
            "train",
            "--annotations",
            world / "train.json",
            "--features",
            world / "features.h5",
            "--config",
            world / "tiny.yaml",
            "-o",
            tmp_path / "r",
            *wrong,
            says=says,
        )


def test_search_says_what_cannot_be(world: Path, command: Command, tmp_path: Path) -> None:
    index = ["--index", world / "collection.mmn"]
    command.fails("search", " ", *index, says="is empty")
    command.fails("search", "door " * 100, *index, says="reads at most 32")
    command.fails("search", "door", *index, "-k", 0, says="k is 0")
    command.fails("search", "door", *index, "--nms", 2, says="NMS threshold is 2")
    command.fails("search", "door", *index, "--score", "best", says="no score is called 'best'")
    command.fails("search", "door", "--index", tmp_path, says="no moment index")
    command.fails(
        "search", "door", *index, "--html", tmp_path / "none" / "page.html", says="cannot be written"
    )


def test_the_page_is_self_contained_and_escapes_what_users_type(
    world: Path, command: Command, tmp_path: Path
) -> None:
    command.ok(
        "search",
        "<script>alert(1)</script> door",
        "--index",
        world / "collection.mmn",
        "-k",
        3,
        "--html",
        tmp_path / "p.html",
    )
    page = (tmp_path / "p.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<article>") == 3
    assert page.count("data:image/png;base64") == 3  # the score maps
    assert (
        page.count("No pictures: ") == 3
    )  # the video files of this world do not exist, and the page says so
    assert "/nowhere/v" in page


def test_clock() -> None:
    assert [clock(x) for x in (0, 83.25, 59.96, 3723.5)] == ["00:00.0", "01:23.2", "01:00.0", "1:02:03.5"]


def test_a_nan_in_the_features_stops_evaluation_by_name(
    world: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copy(world / "features.h5", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v2"][1, 1] = np.nan
    command.fails(
        "eval",
        world / "run" / "model",
        "--features",
        tmp_path / "f.h5",
        "--annotations",
        world / "train.json",
        says="'v2' has NaN",
    )
