"""From rendered video files to a page of answers, through the commands alone; and real clips through the same
ones.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from golden import SHARED, golden

from mmn_index.features import FeatureFile


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, command: Command, text_model: Path) -> Path:
    """A folder with world/, features.h5, small.yaml, run/model and collection.mmn, of five rendered
    videos.
    """
    folder = tmp_path_factory.mktemp("home")
    command.ok("playhouse", folder / "world", "--train", 3, "--val", 1, "--test", 1, "--workers", 2)
    command.ok(
        "extract",
        *(folder / "world" / split for split in ("train", "val", "test")),
        "-o",
        folder / "features.h5",
    )
    (folder / "small.yaml").write_text(
        "base: playhouse\n"
        "model: {featpool_dim: 16, conv_dim: 16, conv_layers: 2, joint_dim: 8}\n"
        "train: {epochs: 2, milestones: [1], batch_size: 2}\n"
    )
    command.ok(
        "train",
        "--annotations",
        folder / "world" / "train.json",
        "--val",
        folder / "world" / "val.json",
        "--features",
        folder / "features.h5",
        "--config",
        folder / "small.yaml",
        "--text-model",
        text_model,
        "-o",
        folder / "run",
    )
    command.ok(
        "build",
        folder / "run" / "model",
        folder / "features.h5",
        "--videos",
        folder / "world" / "test.json",
        "-o",
        folder / "collection.mmn",
    )
    return folder


def test_a_search_shows_pictures_of_the_moments(home: Path, command: Command) -> None:
    result = command.ok(
        "search",
        "person opens door",
        "--index",
        home / "collection.mmn",
        "-k",
        2,
        "--json",
        "--html",
        home / "p.html",
    )
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert [hit["video"] for hit in hits] == ["test_00000"] * 2
    assert Path(hits[0]["uri"]) == home / "world" / "test" / "test_00000.mp4"
    page = (home / "p.html").read_text()
    assert page.count("data:image/jpeg;base64") == 2 * 6
    assert page.count("data:image/png;base64") == 2
    assert f"test_00000.mp4#t={hits[0]['start']:.1f},{hits[0]['end']:.1f}" in page


def test_the_evaluation_covers_both_scopes(home: Path, command: Command) -> None:
    printed = command.ok(
        "eval",
        home / "run" / "model",
        "--features",
        home / "features.h5",
        "--annotations",
        home / "world" / "test.json",
        "--corpus",
        "--index",
        home / "collection.mmn",
        "--json",
    ).stdout
    scopes = [json.loads(line)["scope"] for line in printed.splitlines()]
    assert list(dict.fromkeys(scopes)) == ["video", "corpus"]


def test_a_second_run_of_every_command_does_no_harm(home: Path, command: Command) -> None:
    before = (home / "features.h5").read_bytes()
    again = command.ok("extract", home / "world" / "train", "-o", home / "features.h5")
    assert "3 were there already" in again.stderr
    warned = "made for the sample world. For other videos, name a model with --backbone."
    assert warned in again.stderr
    chosen = command.ok(
        "extract", home / "world" / "train", "-o", home / "features.h5", "--backbone", "pixels"
    )
    assert warned not in chosen.stderr
    assert (home / "features.h5").read_bytes() == before
    command.ok("playhouse", home / "world", "--train", 3, "--val", 1, "--test", 1)
    command.fails(
        "train",
        "--annotations",
        home / "world" / "train.json",
        "--features",
        home / "features.h5",
        "--config",
        "playhouse",
        "-o",
        home / "run",
        says="holds a finished run",
    )
    command.fails(
        "build",
        home / "run" / "model",
        home / "features.h5",
        "-o",
        home / "collection.mmn",
        says="--overwrite",
    )


def test_real_clips_are_extracted_and_indexed_like_any_other(
    home: Path, command: Command, tmp_path: Path
) -> None:
    golden("metrics-charades")  # fails or skips where the shared folder is missing
    clips = sorted(
        path for path in (SHARED / "videos").iterdir() if path.suffix in (".mp4", ".mkv", ".avi", ".webm")
    )
    assert len(clips) == 13
    command.ok("extract", SHARED / "videos", "-o", tmp_path / "real.h5", "--workers", 2)
    with FeatureFile(tmp_path / "real.h5") as features:
        assert features.video_ids == sorted(path.stem for path in clips)
        assert 138 < features.duration("intel_one_by_one_person") < 140
        assert all(np.isfinite(features.read(video_id)).all() for video_id in features.video_ids)
    command.ok("build", home / "run" / "model", tmp_path / "real.h5", "-o", tmp_path / "real.mmn")
    result = command.ok(
        "search",
        "a person sits down",
        "--index",
        tmp_path / "real.mmn",
        "--json",
        "--html",
        tmp_path / "p.html",
    )
    assert len(result.stdout.splitlines()) == 10
    assert "No pictures" not in (tmp_path / "p.html").read_text()


def test_what_is_no_video_is_skipped_by_name_and_the_rest_is_kept(
    home: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copy(home / "world" / "test" / "test_00000.mp4", tmp_path / "good.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:200])
    result = command.run("extract", tmp_path, tmp_path / "none.mp4", "-o", tmp_path / "f.h5")
    assert result.exit_code == 3
    assert "4 left out in all" in result.stderr
    listed = (tmp_path / "f.h5.left-out.txt").read_text().splitlines()
    for name in ("empty.mp4", "text.mp4", "cut.mp4", "none.mp4"):
        assert sum(line.startswith(f"{tmp_path / name}: ") for line in listed) == 1, listed
    with FeatureFile(tmp_path / "f.h5") as features:
        assert features.video_ids == ["good"]


@pytest.fixture
def read_only(tmp_path: Path, home: Path) -> Iterator[Path]:
    """A folder that cannot be written; for root, who may write everywhere, the test goes on as another
    user.
    """
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    opened = [
        path
        for path in [home, *home.parents, tmp_path, *tmp_path.parents]
        if path.stat().st_uid == 0 and path.name
    ]
    modes = {path: path.stat().st_mode for path in opened}
    if os.geteuid() == 0:
        for path in opened:
            path.chmod(modes[path] | 0o555)
        os.seteuid(65534)
    yield folder
    if os.getuid() == 0:
        os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
    folder.chmod(0o755)


def test_a_read_only_folder(read_only: Path, home: Path, command: Command) -> None:
    command.fails("playhouse", read_only / "world", says="cannot be made")
    command.fails("extract", home / "world" / "test", "-o", read_only / "f.h5", says="cannot be written")
    command.fails(
        "train",
        "--annotations",
        home / "world" / "train.json",
        "--features",
        home / "features.h5",
        "--config",
        home / "small.yaml",
        "-o",
        read_only / "run",
        says="cannot be written",
    )
    command.fails(
        "build",
        home / "run" / "model",
        home / "features.h5",
        "-o",
        read_only / "c.mmn",
        says="cannot be written",
    )
    command.fails(
        "search",
        "door",
        "--index",
        home / "collection.mmn",
        "--html",
        read_only / "p.html",
        says="cannot be written",
    )
    assert list(read_only.iterdir()) == []
