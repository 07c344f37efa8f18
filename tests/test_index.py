"""The index on disk: what is written is read, and what is damaged is named."""

import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Command, write_features

from mmn_index import checkpoint
from mmn_index.clips import pool_to_pre_clips
from mmn_index.confidence import Calibration
from mmn_index.errors import MomentIndexError, OutputError
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.index.manifest import read_manifest


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    """An index that a test may damage."""
    return Path(shutil.copytree(world / "collection.mmn", tmp_path / "collection.mmn"))


def segment(root: Path) -> Path:
    return next((root / "segments").iterdir())


def test_every_proposal_of_every_video_is_in_the_index(world: Path) -> None:
    index, model = MomentIndex(world / "collection.mmn"), checkpoint.load(world / "run" / "model")
    assert index.video_ids == [f"v{n}" for n in range(6)]
    assert index.num_moments == 6 * len(model.grid)
    with FeatureFile(world / "features.h5") as features, torch.inference_mode():
        for number, video_id in enumerate(index.video_ids):
            rows = index.rows_of(number)
            assert set(index.videos_of(rows)) == {number}
            assert np.array_equal(index.spans(rows), model.grid.seconds(20.0 + number).numpy())
            snippets = torch.from_numpy(features.read(video_id))
            both = model.embed_videos(pool_to_pre_clips(snippets, model.config.num_pre_clips)[None])
            for stored, made in zip(index.embeddings(rows), both, strict=True):
                assert torch.allclose(stored.float(), made[0], atol=1e-3)  # float16 keeps 11 bits
            assert index.video(number).uri == f"/nowhere/v{number}.mp4"


def test_the_parquet_files_say_what_a_search_takes_rows_for(world: Path) -> None:
    index = MomentIndex(world / "collection.mmn")
    table = pq.read_table(segment(world / "collection.mmn") / "moments.parquet")
    rows = np.arange(index.num_moments)
    videos, spans = index.videos_of(rows), index.spans(rows)
    assert table["video"].to_pylist() == videos.tolist()
    assert table["video_id"].to_pylist() == [index.video_id(v) for v in videos]
    assert np.array_equal(np.stack([table["start"], table["end"]], axis=1), spans)
    clips = np.stack([table["first_clip"], table["last_clip"]], axis=1)
    durations = np.array([index.video(v).duration for v in videos])
    assert np.allclose((clips + np.array([0, 1])) * durations[:, None] / 8, spans, atol=1e-4)


@pytest.mark.parametrize("name", ["moments.parquet", "videos.parquet", "embeddings.npy", "background.npy"])
def test_a_missing_or_cut_file_is_named(copy: Path, name: str) -> None:
    path = segment(copy) / name
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    with pytest.raises(
        MomentIndexError, match=rf"{name}: has {len(content) - 7} bytes, expected {len(content)}"
    ):
        MomentIndex(copy)
    path.unlink()
    with pytest.raises(MomentIndexError, match=rf"{name}: is missing"):
        MomentIndex(copy)


@pytest.mark.parametrize("name", ["moments.parquet", "videos.parquet", "embeddings.npy", "background.npy"])
def test_a_file_of_the_right_size_that_is_no_such_file(copy: Path, name: str) -> None:
    path = segment(copy) / name
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(MomentIndexError, match="cannot be read"):
        MomentIndex(copy)


def edit(root: Path, **change: object) -> None:
    """Change a manifest and its checksum with it."""
    content = {**json.loads((root / "manifest.json").read_text()), **change}
    content.pop("checksum")
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (root / "manifest.json").write_text(json.dumps({**content, "checksum": checksum}))


def entries(root: Path, **change: object) -> list[dict[str, object]]:
    return [{**entry, **change} for entry in json.loads((root / "manifest.json").read_text())["segments"]]


def change_table(root: Path, number: int, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a table of a segment, and what the manifest says of its size."""
    content = json.loads((root / "manifest.json").read_text())["segments"]
    path = root / "segments" / content[number]["id"] / name
    pq.write_table(change(pq.read_table(path)), path)
    content[number]["files"][name][0] = path.stat().st_size
    edit(root, segments=content)


def not_text(table: pa.Table, name: str) -> pa.Table:
    """A column of texts becomes one of bytes that are none."""
    column = pa.array([b"\xff"] * len(table)).view(pa.string())
    return table.set_column(table.column_names.index(name), name, column)


def as_type(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, table[name].cast(kind))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("videos.parquet", lambda table: table.slice(0, 0), "it has no row"),
        ("videos.parquet", as_type("first_moment", pa.string()), "'first_moment' of type int64"),
        ("videos.parquet", lambda table: table.drop_columns("duration"), "one column 'duration'"),
        ("videos.parquet", lambda table: not_text(table, "uri"), "UTF8"),
        ("windows.parquet", as_type("video", pa.int64()), "'video' of type int32"),
        (
            "windows.parquet",
            lambda table: table.set_column(1, "start", pa.nulls(len(table), pa.float64())),
            "'start' has cells without a value",
        ),
    ],
)
def test_a_table_with_other_columns(
    copy: Path, name: str, change: Callable[[pa.Table], pa.Table], says: str
) -> None:
    change_table(copy, 0, name, change)
    with pytest.raises(MomentIndexError, match=rf"{name}: cannot be read .*{says}"):
        MomentIndex(copy)


def test_segments_that_disagree_about_a_column_of_the_user(
    world: Path, copy: Path, tmp_path: Path, command: Command
) -> None:
    write_features(tmp_path / "more.h5", 1, prefix="w")
    command.ok("add", tmp_path / "more.h5", "--index", copy)
    for number, value in enumerate(("kitchen", 7)):
        change_table(
            copy,
            number,
            "videos.parquet",
            lambda table, value=value: table.append_column("room", pa.array([value] * len(table))),
        )
    with pytest.raises(MomentIndexError, match=r"cannot be read \(segments with other columns: .*room"):
        MomentIndex(copy)


def test_counts_that_disagree(copy: Path) -> None:
    edit(copy, segments=entries(copy, moments=7))
    with pytest.raises(MomentIndexError, match="count moments differently"):
        MomentIndex(copy)


def test_videos_that_are_counted_wrongly(copy: Path) -> None:
    edit(copy, segments=entries(copy, videos=7))
    with pytest.raises(MomentIndexError, match="disagrees with the manifest on rows"):
        MomentIndex(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"features": ["random"], "score": {"power": "0.5"}},
        {"score": {"name": "collection", "tau": math.inf}},
        {"score": {"name": "collection", "power": True}},
        {"score": {"name": "collection", "tau": -1.0}},
        {"score": {"name": "best"}},
        {"windows": {"length": "64"}},
        {"calibration": {"offset": "0", "slopes": [1.0] * 6, "hits": 3, "error": 0.1}},
        {"calibration": {"offset": 0, "slopes": [1.0] * 5, "hits": 3, "error": 0.1}},
        {"calibration": {"offset": 0, "slopes": [1.0] * 6, "hits": -3, "error": 0.1}},
        {"bank": {"kind": "csls", "neighbours": 1.5, "sentences": 2, "file": "b", "bytes": 1, "sha256": ""}},
        {"segments": None},
        {"joint_dim": "x"},
        {"score": {"nam": 1}},
        {"fingerprint": "../x"},
        {"grid": {"num_clips": 2, "pooling_counts": [5]}},
        {"model_files": {"../x": [1, "y"]}},
    ],
)
def test_a_manifest_that_cannot_be_used(copy: Path, change: dict[str, object]) -> None:
    edit(copy, **change)
    with pytest.raises(MomentIndexError, match=r"manifest\.json"):
        MomentIndex(copy)


def test_whole_numbers_that_stand_for_fractions(copy: Path) -> None:
    edit(copy, calibration={"offset": 10**30, "slopes": [1] * 6, "hits": 3, "error": 0})
    found = MomentIndex.of(copy, read_manifest(copy)).manifest.calibration
    assert found == Calibration(1e30, (1.0,) * 6, 3, 0.0)
    assert found
    assert type(found.offset) is float


def test_a_changed_manifest_is_found_at_once(copy: Path) -> None:
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"videos": 6', '"videos": 5'))
    with pytest.raises(MomentIndexError, match="checksum"):
        MomentIndex(copy)


def test_a_segment_name_cannot_reach_outside(copy: Path) -> None:
    edit(copy, segments=entries(copy, id="../../elsewhere"))
    with pytest.raises(MomentIndexError, match="no folder name"):
        MomentIndex(copy)


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(MomentIndexError, match="does not exist"):
        MomentIndex(tmp_path / "none")
    with pytest.raises(MomentIndexError, match="no moment index"):
        MomentIndex(tmp_path)


def test_another_model_is_refused_by_name(world: Path) -> None:
    index = MomentIndex(world / "collection.mmn")
    with pytest.raises(MomentIndexError, match=rf"{index.manifest.fingerprint[:16]}.*{'0' * 16}"):
        index.check_model("0" * 64, "other")


def build(world: Path, out: Path, *options: str) -> list[str]:
    return ["build", str(world / "run" / "model"), str(world / "features.h5"), "-o", str(out), *options]


def test_overwrite_replaces_an_index_and_nothing_else(
    world: Path, copy: Path, command: Command, tmp_path: Path
) -> None:
    before = segment(copy).name
    command.fails(*build(world, copy), says="--overwrite")
    assert segment(copy).name == before
    command.ok(*build(world, copy, "--overwrite"))
    assert segment(copy).name != before
    assert len(list((copy / "segments").iterdir())) == 1
    assert MomentIndex(copy).num_moments == MomentIndex(world / "collection.mmn").num_moments
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    command.fails(*build(world, tmp_path / "mine", "--overwrite"), says="left alone")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_failed_build_keeps_the_old_index(
    world: Path, copy: Path, command: Command, tmp_path: Path
) -> None:
    import h5py

    shutil.copy(world / "features.h5", tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+") as file:
        file["v5"][0, 0] = np.inf
    old = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    command.fails(
        "build",
        world / "run" / "model",
        tmp_path / "bad.h5",
        "-o",
        copy,
        "--overwrite",
        "--strict",
        says="'v5' has NaN",
    )
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == old
    command.fails(
        "build",
        world / "run" / "model",
        tmp_path / "bad.h5",
        "-o",
        tmp_path / "new.mmn",
        "--strict",
        says="'v5' has NaN",
    )
    assert not (tmp_path / "new.mmn").exists()


def test_a_killed_build_leaves_the_old_index_and_is_cleaned_by_the_next(
    world: Path, copy: Path, command: Command, tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys\n"
        "from mmn_index.index import manifest\n"
        "manifest.Manifest.write = lambda self, root: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from mmn_index.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    for out in (copy, tmp_path / "new.mmn"):
        arguments = build(world, out, *(["--overwrite"] if out == copy else []))
        assert (
            subprocess.run(
                [sys.executable, "-c", code, *arguments], check=False, cwd=tmp_path, capture_output=True
            ).returncode
            == -9
        )
    assert len(list((copy / "segments").iterdir())) == 2
    assert MomentIndex(copy).num_moments > 0  # the old one
    command.ok(*build(world, copy, "--overwrite"))
    command.ok(*build(world, tmp_path / "new.mmn"))
    for out in (copy, tmp_path / "new.mmn"):
        assert len(list((out / "segments").iterdir())) == 1


def test_a_killed_build_begins_anew_with_features_that_have_changed(
    world: Path, command: Command, tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys\n"
        "from mmn_index import embedding\n"
        "from mmn_index.cli.main import main\n"
        "from mmn_index.index.segment_writer import SegmentWriter\n"
        "import mmn_index.index_build.embed as embed\n"
        "embedding._BATCH, embed._KEPT = 2, 1\n"
        "kept = SegmentWriter.keep\n"
        "def keep(self, done=None):\n"
        "    kept(self, done)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "SegmentWriter.keep = keep\n"
        "main(sys.argv[1:])\n"
    )
    features, out = tmp_path / "f.h5", tmp_path / "c.mmn"
    arguments = ["build", str(world / "run" / "model"), str(features), "-o"]

    def embeddings(root: Path) -> np.ndarray:
        index = MomentIndex(root)
        return np.concatenate([x.numpy() for x in index.embeddings(np.arange(index.num_moments))], axis=1)

    write_features(features, 6)
    killed = [sys.executable, "-c", code, *arguments, str(out)]
    assert subprocess.run(killed, check=False, cwd=tmp_path, capture_output=True).returncode == -9
    (progress,) = out.glob("segments/*/progress")
    assert 0 < int(progress.read_text()) < 6
    write_features(features, 6, seed=1)
    command.ok(*arguments, out)
    command.ok(*arguments, tmp_path / "whole.mmn")
    assert np.array_equal(embeddings(out), embeddings(tmp_path / "whole.mmn"))


def test_a_full_disk_is_one_clear_error(
    world: Path, copy: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    command.fails(*build(world, copy, "--overwrite"), says="No space left on device")
    assert len(list((copy / "segments").iterdir())) == 1
    assert MomentIndex(copy).num_moments > 0


def test_only_the_named_videos_are_indexed(world: Path, command: Command, tmp_path: Path) -> None:
    content = json.loads((world / "train.json").read_text())
    (tmp_path / "some.json").write_text(json.dumps({name: content[name] for name in ("v4", "v1")}))
    command.ok(*build(world, tmp_path / "some.mmn", "--videos", str(tmp_path / "some.json")))
    assert MomentIndex(tmp_path / "some.mmn").video_ids == ["v4", "v1"]


def test_a_checkpoint_is_its_own_copy(world: Path, tmp_path: Path) -> None:
    loaded = checkpoint.load(world / "run" / "model")
    saved = checkpoint.save(loaded, tmp_path / "again", features="random")
    assert saved == checkpoint.info(world / "run" / "model").fingerprint
    again = checkpoint.load(tmp_path / "again")
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    with torch.no_grad():
        again.video_encoder.featpool.conv.bias[0] += 1
    assert checkpoint.save(again, tmp_path / "again", features="random") != saved
    (tmp_path / "else").mkdir()
    with pytest.raises(OutputError, match="left alone"):
        checkpoint.save(again, tmp_path / "else")


def test_an_index_of_another_format_or_damaged_is_overwritten(
    world: Path, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "c.mmn"
    command.ok(*build(world, out))
    before = command.ok("search", "door", "--index", out, "--json").stdout
    for content in ('{"format": 3}', "no json"):
        (out / "manifest.json").write_text(content)
        command.fails("search", "door", "--index", out, says=f"{out}/manifest.json")
        command.fails(*build(world, out), says="--overwrite")
        command.fails(*build(world, out, "--overwrite", "--score", "none"), says="no score is called 'none'")
        assert (out / "manifest.json").read_text() == content
        command.ok(*build(world, out, "--overwrite"))
        assert command.ok("search", "door", "--index", out, "--json").stdout == before
        command.ok("verify", "--index", out)
