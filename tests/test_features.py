"""Reading and writing snippet features."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import write_features

from mmn_index.errors import FeatureError, OutputError
from mmn_index.feature_writer import FeatureWriter
from mmn_index.features import FeatureFile


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = {
        "a": np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32),
        "porch/cam1": np.ones((2, 3), np.float32),
    }
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
        for video_id, x in rows.items():
            writer.add(video_id, x, duration=2.5, source=f"/x/{video_id}.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5"]  # nothing is left beside it
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.video_ids == sorted(rows)
        assert (file.backbone, file.rate, file.dim, len(file)) == ("b", 4.0, 3, 2)
        for video_id, x in rows.items():
            assert np.array_equal(file.read(video_id, 3), x)
            assert file.duration(video_id) == 2.5
            assert file.source(video_id) == f"/x/{video_id}.mp4"


def test_videos_of_many_folders_with_one_name_stay_apart(tmp_path: Path) -> None:
    names = ["porch/cam1", "hall/cam1", "porch/cam2"]
    for count in (1, 2, 3):
        with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
            for name in names[:count]:
                if name not in writer.done:
                    writer.add(name, np.full((2, 2), len(name), np.float32), duration=1, source=name)
            assert writer.done == set(names[:count])
        with FeatureFile(tmp_path / "f.h5") as file:
            assert file.video_ids == sorted(names[:count])


def test_a_second_run_extends_the_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
            assert writer.done == ({"a"} if name == "b" else set())
            writer.add(name, np.full((2, 2), ord(name), np.float32), duration=1, source=name)
    with FeatureFile(tmp_path / "f.h5") as file:
        assert [file.read(name)[0, 0] for name in file.video_ids] == [ord("a"), ord("b")]


def test_what_a_killed_run_finished_is_kept(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, numpy as np\n"
        "from mmn_index.feature_writer import FeatureWriter\n"
        "w = FeatureWriter(sys.argv[1], backbone='b', rate=4.0)\n"
        "w.add('a', np.ones((2, 2), np.float32), duration=1, source='a')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "f.h5")], check=False, cwd=tmp_path)
    assert not (tmp_path / "f.h5").exists()
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
        assert writer.done == {"a"}
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.video_ids == ["a"]


def test_an_error_inside_keeps_parts_and_the_old_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
            writer.add("a", np.ones((2, 2), np.float32), duration=1, source="a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0).done == {"a"}


def test_features_of_two_kinds_do_not_mix(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
        writer.add("a", np.ones((2, 2), np.float32), duration=1, source="a")
    for kind in ({"backbone": "c", "rate": 4.0}, {"backbone": "b", "rate": 2.0}):
        with pytest.raises(FeatureError, match="do not mix"):
            FeatureWriter(tmp_path / "f.h5", **kind)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        FeatureWriter(tmp_path / "file" / "f.h5", backbone="b", rate=4.0)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1e30, "long", [4.0, 5.0]], ids=str)
@pytest.mark.parametrize("name", ["duration", "rate"])
def test_a_length_that_is_none(tmp_path: Path, name: str, value: object) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        data = file.create_dataset("v", data=np.ones((3, 2), np.float32))
        (data if name == "duration" else file).attrs[name] = value
    with (
        FeatureFile(tmp_path / "f.h5") as file,
        pytest.raises(FeatureError, match=f"f.h5: the .*attribute '{name}'.* a number above 0"),
    ):
        file.duration("v")


def test_an_empty_dataset(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["v"] = h5py.Empty("f4")
    with (
        FeatureFile(tmp_path / "f.h5") as file,
        pytest.raises(FeatureError, match=r"'v' has features of shape \(\)"),
    ):
        file.read("v")


@pytest.mark.parametrize("bad", [np.zeros((0, 4)), np.zeros(4), np.full((2, 2), np.nan)])
def test_bad_snippets_are_never_written(tmp_path: Path, bad: np.ndarray) -> None:
    writer = FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0)
    with pytest.raises(FeatureError):
        writer.add("a", bad, duration=1, source="a")
    assert writer.done == set()


def test_activitynets_deeper_layout(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name in ("v_1", "v_2"):
            file.create_dataset(f"{name}/c3d_features", data=np.ones((3, 2), np.float32))
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.video_ids == ["v_1", "v_2"]
        assert file.read("v_2", 2).shape == (3, 2)
        assert file.duration("v_1") is None


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="no such feature file"):
        FeatureFile(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FeatureError, match="cannot be read as HDF5"):
        FeatureFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(FeatureError, match="holds no features"):
        FeatureFile(tmp_path / "empty.h5")
    write_features(tmp_path / "f.h5", 3)
    whole = (tmp_path / "f.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FeatureError, match="complete"):
        FeatureFile(tmp_path / "half.h5")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v1"][3, 2] = np.nan
        file.create_dataset("flat", data=np.ones(4, np.float32))
        file.create_dataset("words", data=np.array([[b"a"]]))
    with FeatureFile(tmp_path / "f.h5") as file:
        with pytest.raises(FeatureError, match="width 12, expected 13"):
            file.read("v0", 13)
        with pytest.raises(FeatureError, match=r"'v1' has NaN .*first: snippet 3"):
            file.read("v1")
        with pytest.raises(FeatureError, match=r"shape \(4,\)"):
            file.read("flat")
        with pytest.raises(FeatureError, match="expected floats"):
            file.read("words")
        with pytest.raises(FeatureError, match="no features of video 'v9'"):
            file.read("v9")
