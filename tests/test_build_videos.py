"""`build` given video files: what it says is to be done next is true, and what cannot be is said first."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import Command
from test_extract import cut_short, make_video

from mmn_index import checkpoint
from mmn_index.feature_writer import FeatureWriter
from mmn_index.index import IndexWriter, MomentIndex
from mmn_index.model import MMN
from mmn_index.pretrained import load_pretrained
from mmn_index.video.decode import stated_length


def advice(said: str) -> list[str]:
    """The commands that a text names, without the name of the program."""
    return [line.removeprefix("mmn-index ") for line in re.findall(r"`(mmn-index [^`]+)`", said)]


def test_a_mended_file_comes_in_as_it_is_said(
    pixel_model: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = cut_short(tmp_path / "my films" / "half.mp4")
    made = command.run("build", "my films", "--model", pixel_model, "-y", "-o", "c.mmn", "--prefix", "x/")
    assert made.exit_code == 3
    assert "the same command" not in made.stderr
    (line,) = advice(made.stderr)
    assert line == "sync 'my films' --index c.mmn --prefix x/"
    (tmp_path / "my films" / "half.mp4").write_bytes(whole)
    assert "1 changed" in command.ok(*shlex.split(line)).stderr
    assert MomentIndex(tmp_path / "c.mmn").video(0).duration == pytest.approx(20, abs=0.1)


def test_videos_that_are_not_wanted_are_not_taken_in(
    pixel_model: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cut_short(tmp_path / "v" / "half.mp4")
    (tmp_path / "names.json").write_text(
        '{"half": {"duration": 20, "timestamps": [[0, 1]], "sentences": ["a"]}}'
    )
    made = command.run("build", "v", "--model", pixel_model, "-y", "--videos", "names.json")
    assert advice(made.stderr) == []


def test_two_files_of_one_name_come_in_as_it_is_said(
    pixel_model: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told apart: in one folder by its suffix, else by its folder."""
    monkeypatch.chdir(tmp_path)
    names = ["pr/bunny.mp4", "pr/bunny.mkv", "pr/in/a.mp4", "pr/in/a.mkv", "old/bunny.mp4", "old/in.mp4"]
    for seed, name in enumerate(names):
        make_video(tmp_path / name, seed, seconds=1)
    made = command.run("build", "pr", "old", "--model", pixel_model, "-y", "-o", "c.mmn")
    assert made.exit_code == 3
    lines = advice((tmp_path / "c.mmn.left-out.txt").read_text())
    assert len(lines) == 4
    for line in lines:
        command.ok(*shlex.split(line))
    ids = {"bunny", "in/a", "mp4/bunny", "in/mp4/a", "old/bunny", "old/in"}
    assert set(MomentIndex(tmp_path / "c.mmn").video_ids) == ids
    assert "0 were described" in command.ok("sync", "pr", "old", "--index", "c.mmn").stderr


def test_extract_is_told_to_take_one_by_itself(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("v/a.mkv", "v/a.mp4"):
        make_video(tmp_path / name, 0, seconds=1)
    made = command.run("extract", "v", "-o", "f.h5")
    assert "run the same command for this file alone, with --prefix mp4/." in made.stderr
    assert "Once they are mended, the same command takes them in." in made.stderr
    assert "1 video extracted" in command.ok("extract", "v/a.mp4", "-o", "f.h5", "--prefix", "mp4/").stderr


@pytest.fixture
def films(tmp_path: Path) -> Path:
    make_video(tmp_path / "v" / "a.mp4", 0, seconds=1)
    make_video(tmp_path / "v" / "b.mp4", 1, seconds=1)
    return tmp_path / "v"


@pytest.fixture
def not_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is described."""
    monkeypatch.setattr("mmn_index.index_build.extract.extract_found", None)


@pytest.fixture
def referring(pixel_model: Path, text_model: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint that refers to its text encoder, and that one."""
    text = Path(shutil.copytree(text_model, tmp_path / "text"))
    pretrained, config = load_pretrained(str(text)), checkpoint.info(pixel_model).config
    model = MMN(config, pretrained.bert, pretrained.tokenizer, pretrained.source).eval()
    checkpoint.save(model, tmp_path / "model", features="pixels")
    return tmp_path / "model", text


def test_a_missing_text_encoder_is_said_before_videos_are_described(
    referring: tuple[Path, Path],
    films: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    (model, text), root = referring, tmp_path / "c.mmn"
    command.ok("build", films / "a.mp4", "--model", model, "-y", "-o", root)
    text.rename(tmp_path / "gone")
    before = sorted(tmp_path.iterdir())
    request.getfixturevalue("not_yet")
    command.fails(
        "build", films, "--model", model, "-y", "-o", tmp_path / "d.mmn", says="is not found; looked in"
    )
    command.fails("sync", films, "--index", root, says="is not found; looked in")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("not_yet")
def test_tables_of_other_videos_are_said_before_videos_are_described(
    pixel_model: Path, films: Path, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "m.csv").write_text("video_id,x\na.mp4,1\n")
    (tmp_path / "names.json").write_text('{"z": {"duration": 2, "timestamps": [[0, 1]], "sentences": ["a"]}}')
    build = ["build", films, "--model", pixel_model, "-y", "-o", tmp_path / "c.mmn"]
    command.fails(*build, "--metadata", tmp_path / "m.csv", says="names none of the 2 videos, e.g. 'a'")
    command.fails(
        *build, "--videos", tmp_path / "names.json", says="names none of the 2 videos that were given"
    )
    command.fails(*build, "--device", "nosuch", says="device 'nosuch' cannot be used here")


@pytest.mark.usefixtures("not_yet")
def test_a_second_build_of_one_index_is_told_at_once(
    pixel_model: Path, films: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "c.mmn"
    build = ["build", films, "--model", pixel_model, "-y", "-o", root]
    with FeatureWriter(tmp_path / "c.features.h5", backbone="pixels", rate=4.0):
        command.fails(
            *build, says="c.features.h5: another process extracts these features. If it is the same"
        )
    with IndexWriter(root), monkeypatch.context() as patch:
        patch.setattr("mmn_index.cli.build.found_videos", None)
        command.fails(*build, says="c.mmn: another process makes this index. Wait until it has finished")


def test_why_no_file_is_a_video_is_said(pixel_model: Path, tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.mp4").touch()
    build = ["build", "--model", pixel_model, "-y", "-o", tmp_path / "c.mmn"]
    empty = "a.mp4: is empty (0 bytes). Did copying or downloading it fail?"
    assert "None of" not in command.fails(*build, folder / "a.mp4", says=empty).stderr
    for name in "bcde":
        (folder / f"{name}.mp4").write_bytes(b"no video")
    said = command.fails(*build, folder, says="None of 5 files is a video that can be read. ").stderr
    assert empty in said
    assert "c.mp4: is no video that FFmpeg can read (" in said
    assert said.endswith(" And 2 more.\n")


def test_a_recording_that_does_not_say_how_long_it_is(
    pixel_model: Path, tmp_path: Path, command: Command
) -> None:
    """As browsers write them, to a stream."""
    file = make_video(tmp_path / "a.mkv", 0, seconds=2, options={"live": "1"})
    assert stated_length(file) is None
    made = command.ok("build", file, "--model", pixel_model, "-y", "-o", tmp_path / "c.mmn")
    assert "1 video, of unknown length: " in made.stderr
    assert MomentIndex(tmp_path / "c.mmn").video(0).duration == pytest.approx(2, abs=0.1)
