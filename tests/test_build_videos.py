"""`build` given video files: what it says is to be done next is true, and what cannot be is said first."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import Command
from test_extract import cut_short, make_video

from mmn_index.index import MomentIndex


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
    assert "1 videos extracted" in command.ok("extract", "v/a.mp4", "-o", "f.h5", "--prefix", "mp4/").stderr
