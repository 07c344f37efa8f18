"""The whole way through the commands, and what they say to bad input."""

import errno
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.exceptions import Exit
from conftest import DIM, SENTENCES, Command, write_annotations, write_features
from mmn_index.cli.left_out import tell_left_out
from mmn_index.cli.main import main
from mmn_index.cli.output import clock, progress, say

from mmn_index.left_out import LeftOut
from mmn_index.origin import source_of
from mmn_index.places import Hold
from mmn_index.readable import typed


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


@pytest.mark.parametrize("name", ["info", "verify", "compact"])
def test_the_index_that_a_command_is_about_is_its_argument(
    world: Path, command: Command, tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(world / "collection.mmn", tmp_path / "copy.mmn"))
    for named in ([copy], ["--index", copy]):
        assert "copy.mmn" in command.ok(name, *named).output
    both = command.run(name, copy, "--index", world / "collection.mmn")
    assert both.exit_code == 2
    assert "name one index" in both.output


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
    train("--config", "vgg", says="no setting is called 'vgg', and no such YAML file exists. There are")
    train("--config", "playhous", says="exists, did you mean 'playhouse'? There are")
    train("--config", "charades", says="width 12, the setting expects 4096")
    train("--text-model", tmp_path / "none", says="is no folder that exists")
    train("--text-model", "", says="no text encoder is named")
    train("-o", world / "run", says="holds a finished run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    train("-o", tmp_path / "full", says="exists already and holds no run")
    train("-o", world / "features.h5" / "run", says="cannot be written")
    write_annotations(tmp_path / "others.json", 3, prefix="w")
    train("--annotations", tmp_path / "others.json", says="has none of the 3 videos")
    train("--val", tmp_path / "others.json", says="has none of the 3 videos")
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
        says="does not exist, expected the folder of a trained model",
    )
    command.fails("build", features, features, "-o", out, says="is a file, expected a checkpoint directory")
    command.fails("build", tmp_path, features, "-o", out, says="no complete checkpoint")
    command.fails("build", model, tmp_path / "none.h5", "-o", out, says="no such feature file")
    command.fails("build", model, features, "-o", features / "c.mmn", says="cannot be written")
    command.fails("build", model, features, "-o", world, says="left alone")
    command.fails("build", model, features, "-o", out, "--score", "best", says="no score is called 'best'")
    write_annotations(tmp_path / "more.json", 7)
    strict = ("--videos", tmp_path / "more.json", "--strict")
    command.fails("build", model, features, "-o", out, *strict, says="no features of video 'v6'")
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
    for text, says in (
        ("{", "it is no JSON from line 1, column 2 on"),
        ("", "it is empty"),
        ("{}", "it lacks 'format'"),
        ("[]", "a value in it is of another kind than expected"),
    ):
        (model / "config.json").write_text(text)
        says = f"config.json: is damaged ({says})."
        command.fails("build", model, world / "features.h5", "-o", tmp_path / "c.mmn", says=says)
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
    command.fails("search", "door " * 100, *index, says="the sentence 'door door")
    command.fails(
        "search", "door " * 100, *index, says="r d...' has 100 tokens, the text encoder reads at most 32."
    )
    command.fails("search", "door", *index, "-k", 0, says="k is 0")
    command.fails("search", "door", *index, "--nms", 2, says="NMS threshold is 2")
    command.fails("search", "door", *index, "--score", "best", says="no score is called 'best'")
    command.fails("search", "door", "--index", tmp_path, says="no moment index")
    command.fails(
        "search", "door", *index, "--html", tmp_path / "none" / "page.html", says="cannot be written"
    )


def test_how_to_name_an_index_fits_every_command(command: Command, tmp_path: Path) -> None:
    named = {
        one.name
        for one in main.commands.values()
        if any(param.name in ("index", "indexes") for param in one.params)
        and not any("--index" in param.opts for param in one.params)
    }
    assert named == {"serve", "push"}
    hint = "name it with --index or MMN_INDEX (`serve` and `push`: as the argument)."
    command.fails("serve", tmp_path / "none", "--get", "/v1/indexes", says=hint)
    command.fails("push", tmp_path / "none", "qdrant://localhost/x", says=hint)
    command.fails("search", "door", "--index", tmp_path / "none", says=hint)


def test_the_page_is_self_contained_and_escapes_what_users_type(
    world: Path, command: Command, tmp_path: Path
) -> None:
    told = command.ok(
        "search",
        "<script>alert(1)</script> door",
        "--index",
        world / "collection.mmn",
        "-k",
        3,
        "--html",
        tmp_path / "p.html",
    ).stderr
    page = (tmp_path / "p.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<article>") == 3
    assert "3 moments, from an index of 6 videos, proven" in page
    assert page.count("data:image/png;base64") == 3  # the score maps
    assert (
        page.count("No pictures: ") == 3
    )  # the video files of this world do not exist, and the page says so
    assert "/nowhere/v" in page
    assert page.count("`mmn-index sync FOLDER --index INDEX` finds moved files again.") == 3
    assert re.search(
        r"p\.html: open it in a browser\.\n3 of 3 moments have no pictures\. The first: /nowhere/v\d.*: no such "
        r"file\. `mmn-index sync",
        told,
    )


ODD = {  # an id, and how people read it
    "\x1b[31mred\x1b]0;pwned\x07": r"\x1b[31mred\x1b]0;pwned\x07",
    "line\nbreak": r"line\nbreak",
    "bidi\u202e4pm.gnp": r"bidi\u202e4pm.gnp",
    "\x9b31mc1 \u2028 \u2066": r"\x9b31mc1 \u2028 \u2066",
    "<img src=x>&": "<img src=x>&",
    "日本 مَرحَبا 👩\u200d👩": "日本 مَرحَبا 👩\u200d👩",
}
_STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def odd(world: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of videos with the names above; the file of one is there, of another it holds no video."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    (folder / "<b>.mp4").write_text("no video")
    with h5py.File(folder / "f.h5", "w") as file:
        file.attrs.update({"backbone": "random", "rate": 8.0})
        for video_id in ODD:
            data = file.create_dataset(video_id, data=rng.normal(size=(160, DIM)).astype(np.float32))
            source = folder / "<b>.mp4" if video_id.startswith("<") else f"/nowhere/{video_id}.mp4"
            data.attrs.update({"duration": 20.0, "source": str(source)})
    command.ok("build", world / "run" / "model", folder / "f.h5", "-o", folder / "c.mmn")
    return folder


def test_ids_cannot_steer_a_terminal(odd: Path, command: Command) -> None:
    result = command.ok("search", "door", "--index", odd / "c.mmn", "--per-video", 1)
    lines = result.stdout.splitlines()
    assert len(lines) == 1 + len(ODD)
    assert not _STEERS.search(result.output)
    assert {line.partition("00:")[0].split(maxsplit=1)[1].rstrip() for line in lines[1:]} == {*ODD.values()}
    as_json = command.ok("search", "door", "--index", odd / "c.mmn", "--per-video", 1, "--json").stdout
    assert {json.loads(line)["video"] for line in as_json.splitlines()} == {*ODD}
    assert not _STEERS.search(as_json)
    like = command.ok("search", "--like", "line\nbreak@1-9", "--index", odd / "c.mmn")
    assert not _STEERS.search(like.output)


@pytest.mark.parametrize("text", ["\x1b[31m", "torn\nline", "\u202e", "\x85", "caf\udce9"])
def test_an_error_is_one_line_whatever_was_typed(odd: Path, command: Command, text: str) -> None:
    index = ["--index", odd / "c.mmn"]
    for arguments in (
        ["search", "door", *index, "--video", text],
        ["search", "door", *index, "--where", f"{text}=1"],
        ["search", "door", *index, "--score", text],
        ["search", "--like", f"{text}@1-2", *index],
        ["search", "door", "--index", odd / text],
        ["remove", text, *index],
        ["extract", odd / text, "-o", odd / "out.h5"],
        ["extract", odd / "f.h5", "-o", odd / text / "out.h5"],
        ["build", odd / text, odd / "f.h5", "-o", odd / "d.mmn"],
    ):
        output = command.fails(*arguments, says="").output
        assert not _STEERS.search(output.replace("\rextracting", "extracting")), output  # a bar's own
    for arguments in ([text], ["search", f"--{text}"], ["search", "door", "-k", text]):
        result = command.run(*arguments)
        assert result.exit_code == 2
        assert not _STEERS.search(result.output), result.output


def test_progress_and_remarks_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("what") as report:
        report(1, 2, "line\nbreak\x1b[31m")
    say("caf\udce9\n\x07")
    out, err = capsys.readouterr()
    assert out == ""
    assert r"line\nbreak\x1b[31m" in err
    assert err.endswith("caf\\xe9\\n\\x07\n")


def test_what_was_left_out_is_listed_a_line_each(tmp_path: Path) -> None:
    found = [LeftOut("a", "a\nb\x1b[31m\u202e\udce9: broken."), LeftOut("c", "c: broken.")]
    with pytest.raises(Exit):
        tell_left_out(found, tmp_path / "f.h5")
    text = (tmp_path / "f.h5.left-out.txt").read_text(encoding="utf-8")
    assert text == "a\\nb\\x1b[31m\\u202e\\xe9: broken.\nc: broken.\n"


def test_the_page_escapes_what_strangers_named(odd: Path, command: Command, tmp_path: Path) -> None:
    query = "<i>door</i> \u202e"
    command.ok("search", query, "--index", odd / "c.mmn", "--per-video", 1, "--html", tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert not _STEERS.search(page)
    assert "<img src=x>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("&lt;i&gt;door&lt;/i&gt; \\u202e") == 2
    # With its file, a video's name is a link; the file is none that shows pictures, and its error names it.
    link = f'<a href="{(odd / "<b>.mp4").as_uri()}#t='
    assert link in page
    assert ">&lt;img src=x&gt;&amp;</a>" in page
    assert f"No pictures: {odd}/&lt;b&gt;.mp4: " in page
    # Without it, it is not.
    assert r"<span>line\nbreak</span>" in page
    assert r"No pictures: /nowhere/\x1b[31mred\x1b]0;pwned\x07.mp4: no such file." in page


def test_the_page_finds_a_file_whose_name_is_not_utf8(world: Path, command: Command, tmp_path: Path) -> None:
    video = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    video.write_text("no video")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset("caf\\xe9", data=np.ones((160, DIM), np.float32))
        data.attrs.update({"duration": 20.0, "source": source_of(video)})
    command.ok("build", world / "run" / "model", tmp_path / "f.h5", "-o", tmp_path / "c.mmn")
    command.ok("search", "door", "--index", tmp_path / "c.mmn", "-k", 1, "--html", tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert f'<a href="{tmp_path.as_uri()}/caf%E9.mp4#t=' in page
    assert f"No pictures: {tmp_path}/caf\\xe9.mp4: " in page


def run_outside(*arguments: object, **streams: Any) -> "subprocess.CompletedProcess[bytes]":
    """The command as a process of its own."""
    command = [sys.executable, "-c", "from mmn_index.cli.main import main; main()", *map(str, arguments)]
    return subprocess.run(
        command, check=False, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    )


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
@pytest.mark.parametrize(
    "what", [["--help"], ["search", "--help"], ["--version"], ["info"], ["info", "--json"]]
)
def test_a_full_disk_behind_stdout_is_one_line(world: Path, what: list[str]) -> None:
    index = ["--index", world / "collection.mmn"] if what[0] == "info" else []
    with open("/dev/full", "wb") as full:
        result = run_outside(*what, *index, stdout=full)
        assert (result.returncode, result.stderr) == (
            1,
            b"Error: the output cannot be written (No space left on device).\n",
        )
        if index:
            assert run_outside(*what, *index, stdout=full, stderr=full).returncode == 1


def test_a_reader_that_goes_ends_a_command_in_silence(world: Path) -> None:
    for what in (["--help"], ["info", "--index", world / "collection.mmn"]):
        reader, writer = os.pipe()
        os.close(reader)
        result = run_outside(*what, stdout=writer)
        os.close(writer)
        assert (result.returncode, result.stderr) == (1, b"")


def test_stdout_of_another_encoding(odd: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = run_outside("search", "door", "--index", odd / "c.mmn", env=environment)
    assert result.returncode == 0, result.stderr
    assert rb"\u65e5\u672c" in result.stdout
    result = run_outside("search", "door", "--index", odd / "c.mmn", "--json", env=environment)
    assert {json.loads(line)["video"] for line in result.stdout.splitlines()} <= {*ODD}


def test_a_place_that_cannot_be_written_is_found_before_the_work(
    world: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **_named: object) -> None:
        raise AssertionError("work was begun")

    for place in (
        "checkpoint.load",
        "official.convert",
        "search.search",
        "train.mining.mine",
        "evaluation.within_video.evaluate_videos",
        "index_build.extract.find_videos",
        "train.run.load_pretrained",
    ):
        module, _, name = place.rpartition(".")
        monkeypatch.setattr(importlib.import_module(f"mmn_index.{module}"), name, work)
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "x"
    model, features, split = world / "run" / "model", world / "features.h5", world / "train.json"
    index = ["--index", world / "collection.mmn"]
    for arguments in (
        ["extract", tmp_path, "-o", below],
        [
            "train",
            "--annotations",
            split,
            "--features",
            features,
            "--config",
            world / "tiny.yaml",
            "-o",
            below,
        ],
        ["build", model, features, "-o", below],
        ["convert", tmp_path / "file", "-o", below],
        ["mine", *index, "--annotations", split, "-o", below],
        ["mine", *index, "--annotations", split, "-o", tmp_path / "none" / "x"],
        ["search", "door", *index, "--html", below],
        ["eval", "--corpus", *index, "--annotations", split, "-o", below],
        ["eval", "--corpus", *index, "--annotations", split, "--write-predictions", below],
        ["playhouse", below],
        ["tune-text", model, "--annotations", split, "--features", features, "-o", below],
    ):
        command.fails(*arguments, says=f"{tmp_path}/")
    command.fails("build", model, features, "-o", world / "collection.mmn", says="there is an index already")
    monkeypatch.setattr("mmn_index.places.tempfile.TemporaryFile", refuse)
    command.fails(
        "calibrate",
        features,
        "--annotations",
        split,
        *index,
        says="cannot be written (Read-only file system)",
    )


def refuse(*_: object, **_named: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_two_trainings_in_one_folder(world: Path, command: Command, tmp_path: Path) -> None:
    options = ["--features", world / "features.h5", "--config", world / "tiny.yaml", "-o", tmp_path / "run"]
    hold = Hold(tmp_path / "run", "busy")
    for more in ([], ["--resume"]):
        command.fails(
            "train",
            "--annotations",
            world / "train.json",
            *options,
            *more,
            says="another process trains in this folder",
        )
    hold.release()
    command.ok("train", "--annotations", world / "train.json", *options)


def test_clock() -> None:
    assert [clock(x) for x in (0, 83.25, 59.96, 3723.5)] == ["00:00.0", "01:23.2", "01:00.0", "1:02:03.5"]


def test_a_nan_in_the_features_is_no_result(world: Path, command: Command, tmp_path: Path) -> None:
    shutil.copy(world / "features.h5", tmp_path / "f.h5")
    shutil.copy(world / "train.json", tmp_path / "a.json")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v2"][1, 1] = np.nan
    evaluation = ("eval", world / "run" / "model", "--features", tmp_path / "f.h5", "--annotations")
    result = command.run(*evaluation, tmp_path / "a.json")
    assert result.exit_code == 3
    assert "left out: " in result.stderr
    assert "10 queries" in result.stdout
    assert "'v2' has NaN" in (tmp_path / "a.json.left-out.txt").read_text()
    command.fails(*evaluation, tmp_path / "a.json", "--strict", says="'v2' has NaN")
    command.fails(*evaluation, tmp_path / "a.json", "--dataset", "tacos", says="1 of the 6 videos of tacos")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("build v", ": the same command goes on"),
        ("extract v -o f.h5", ": the same command goes on"),
        ("sync v", ": the same command goes on"),
        ("train --annotations a --features f -o run", ": the same command with --resume goes on"),
        ("search door", "Aborted!"),
    ],
)
def test_an_interrupted_command_says_how_it_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    from mmn_index.cli.main import main

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    words = line.split()
    monkeypatch.setattr(main.commands[words[0]], "callback", interrupted)
    result = command.run(*words)
    assert result.exit_code == 1
    assert says in result.stderr
    assert ("Aborted!" in result.stderr) == (says == "Aborted!")


@pytest.mark.parametrize("name", ["-coffee.mp4", "--tea.mp4", "-x y.mp4", "-y.mp4"])
def test_a_file_that_looks_like_an_option(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    for verb in (["build"], ["extract", "-o", "f.h5"]):
        result = command.run(*verb, name)
        assert result.exit_code == 2
        assert f"For the file of this name write {typed(name)}." in result.stderr
    assert "For the file" not in command.run("build", "--nosuch").stderr
