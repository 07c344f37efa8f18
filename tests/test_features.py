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


def test_attributes_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, backbone="b", rate=4.0) as writer:
        writer.add("a", np.ones((7, 3), np.float32), duration=2.5, source="/x/a.mp4")
    content = path.read_bytes()
    assert b"GCOL" in content  # where HDF5 keeps the texts
    path.write_bytes(content.replace(b"GCOL", b"LOCG"))
    with FeatureFile(path) as file:
        for look in (file.source, file.about, file.check):
            with pytest.raises(FeatureError, match="the attributes of video 'a' cannot be read"):
                look("a")
        with pytest.raises(FeatureError, match=r"f.h5: its attributes cannot be read"):
            assert file.backbone


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
    damaged = bytearray((tmp_path / "empty.h5").read_bytes())
    damaged[112] = 0  # the root says that it is a group
    (tmp_path / "rootless.h5").write_bytes(damaged)
    with pytest.raises(FeatureError, match="cannot be read as HDF5"):
        FeatureFile(tmp_path / "rootless.h5")
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


def floats(rows: int = 8, dim: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f2", ">f2", "f8", "g"])
def test_floats_of_any_width_and_byte_order_are_read(tmp_path: Path, kind: str) -> None:
    import torch

    values = floats().astype(kind)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["v"] = values
    with FeatureFile(tmp_path / "f.h5") as file:
        found = file.read("v")
    assert np.array_equal(found, values.astype(found.dtype))
    assert found.dtype == (np.float32 if values.dtype.itemsize <= 4 else np.float64)
    assert torch.from_numpy(found).shape == (8, 3)


def linked(folder: Path) -> Path:
    """A file with a link of every kind."""
    (folder / "parts").mkdir()
    with h5py.File(folder / "parts" / "part.h5", "w") as file:
        file["a/features"] = floats(seed=1)
        file["next"] = h5py.ExternalLink("../more.h5", "/b")  # from part to part
        file["here"] = h5py.SoftLink("a/features")
    with h5py.File(folder / "more.h5", "w") as file:
        file["b"] = floats(seed=2)
    with h5py.File(folder / "f.h5", "w") as file:
        file["own"] = floats(seed=3)
        file["same"] = file["own"]
        file["soft"] = h5py.SoftLink("/own")
        file["sub/rel"] = h5py.SoftLink("../own")  # HDF5 knows no "..": leads nowhere
        file["sub/near"] = h5py.SoftLink("deep")
        file["sub/deep"] = floats(seed=4)
        file["group"] = h5py.SoftLink("/sub")
        file["up"] = h5py.SoftLink("/")
        file["ext"] = h5py.ExternalLink("parts/part.h5", "/a/features")
        file["through"] = h5py.ExternalLink("parts/part.h5", "next")
        file["inside"] = h5py.ExternalLink(str(folder / "parts" / "part.h5"), "here")
        file["gone"] = h5py.SoftLink("/nothing")
        file["nofile"] = h5py.ExternalLink("none.h5", "/a")
        file["loop1"] = h5py.SoftLink("/loop2")
        file["loop2"] = h5py.SoftLink("/loop1")
    return folder / "f.h5"


def test_links_are_followed_in_the_file_and_in_its_folder(tmp_path: Path) -> None:
    with FeatureFile(linked(tmp_path)) as file:
        for names, seed in (
            (("own", "same", "soft"), 3),
            (("sub/deep", "sub/near", "group/deep", "group/near"), 4),
            (("ext", "inside"), 1),
            (("through",), 2),
        ):
            for name in names:
                assert np.array_equal(file.read(name), floats(seed=seed)), name
        assert {"gone", "nofile", "loop1", "loop2", "sub/rel"} <= file.broken.keys()
        assert not any(name.startswith("up/") for name in file.video_ids)  # it leads back to the top
        for name, says in (("gone", "not there"), ("nofile", "no such file"), ("loop1", "circle")):
            with pytest.raises(FeatureError, match=says):
                file.read(name)
        assert "'same' (as 'own')" in file.remarks[0]


def test_a_file_does_not_choose_which_files_are_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["v"] = floats()
    floats().tofile(tmp_path / "secret.bin")
    (tmp_path / "given").mkdir()
    with h5py.File(tmp_path / "given" / "f.h5", "w") as file:
        file["fine"] = floats()
        file["absolute"] = h5py.ExternalLink(str(secret), "/v")
        file["relative"] = h5py.ExternalLink("../secret.h5", "/v")
        file["around"] = h5py.SoftLink("/relative")
        file.create_dataset(
            "raw", (8, 3), "f4", external=[(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        )
        layout = h5py.VirtualLayout((8, 3), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "v", (8, 3))
        file.create_virtual_dataset("virtual", layout)
        layout = h5py.VirtualLayout((8, 3), "f4")
        layout[:] = h5py.VirtualSource("part.h5", "v", (8, 3))
        file.create_virtual_dataset("near", layout)
    with h5py.File(tmp_path / "given" / "part.h5", "w") as file:
        file["v"] = floats(seed=5)
    (tmp_path / "given" / "way.h5").symlink_to(secret)
    with h5py.File(tmp_path / "given" / "f.h5", "r+") as file:
        file["symlink"] = h5py.ExternalLink("way.h5", "/v")
    with FeatureFile(tmp_path / "given" / "f.h5") as file:
        assert np.array_equal(file.read("fine"), floats())
        assert np.array_equal(file.read("near"), floats(seed=5))
        for name in ("absolute", "relative", "around", "symlink", "virtual"):
            with pytest.raises(FeatureError, match=r"not in the folder of f\.h5"):
                file.read(name)
        with pytest.raises(FeatureError, match=r"secret\.bin, which is not HDF5"):
            file.read("raw")


def two_streams(path: Path, frames: int = 8) -> Path:
    with h5py.File(path, "w") as file:
        for number in range(3):
            file[f"v{number}/rgb"] = floats(8, 3, number)
            file[f"v{number}/flow"] = floats(frames if number == 1 else 8, 2, number + 10)
    return path


def test_several_arrays_of_a_video_are_a_choice(tmp_path: Path) -> None:
    path = two_streams(tmp_path / "f.h5")
    with FeatureFile(path, ("rgb",)) as file:
        assert file.video_ids == ["v0", "v1", "v2"]
        assert np.array_equal(file.read("v1", 3), floats(8, 3, 1))
    with FeatureFile(path, ("flow", "rgb")) as file:
        assert file.dim == 5
        assert np.array_equal(file.read("v2"), np.hstack([floats(8, 2, 12), floats(8, 3, 2)]))
    with FeatureFile(path) as file:
        assert file.kinds == ("flow", "rgb")
        with pytest.raises(FeatureError, match=r"\(flow, rgb\)\. Choose with --feature-name flow"):
            file.read("v0")
    with pytest.raises(FeatureError, match=r"called audio\. The names that there are: flow, rgb"):
        FeatureFile(path, ("audio",))
    with FeatureFile(two_streams(tmp_path / "g.h5", 7), ("rgb", "flow")) as file:
        with pytest.raises(FeatureError, match="'v1' have 8 and 7 snippets"):
            file.read("v1")
        assert file.read("v0").shape == (8, 5)


def test_what_lies_beside_the_features_is_no_choice(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for number in range(3):
            file[f"v{number}/features"] = floats(seed=number)
            file[f"v{number}/change_points"] = np.arange(6).reshape(3, 2)
            file[f"v{number}/n_frames"] = 80
        del file["v2/features"]
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.video_ids == ["v0", "v1"]
        assert np.array_equal(file.read("v1"), floats(seed=1))
        assert "v2" in file.broken


def test_kinds_before_the_video_and_videos_that_lack_one(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for number in range(5):
            file[f"rgb/v{number}"] = floats(seed=number)
        file["flow/v0"] = floats(8, 2)
    with FeatureFile(tmp_path / "f.h5", ("rgb", "flow")) as file:
        assert file.video_ids == ["v0"]
        assert file.broken["v3"] == "has no features called flow, only rgb"


def test_a_folder_of_numpy_files(tmp_path: Path) -> None:
    (tmp_path / "porch").mkdir()
    np.save(tmp_path / "porch" / "cam1.npy", floats(seed=1))
    np.save(tmp_path / "b.v2.npy", floats(seed=2).astype(">f8"))
    np.savez(tmp_path / "c.npz", features=floats(seed=3), length=np.array(3))
    np.savez(tmp_path / "d.npz", whatever=floats(seed=4))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "torn.npy").write_bytes((tmp_path / "b.v2.npy").read_bytes()[:150])
    (tmp_path / "torn.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:50])
    (tmp_path / "list.txt").touch()
    (tmp_path / ".hidden.npy").touch()
    (tmp_path / "porch" / "again").symlink_to(tmp_path)
    with FeatureFile(tmp_path, rate=4.0) as file:
        assert {"porch/cam1", "b.v2", "c", "d"} <= set(file.video_ids)
        for name, seed in (("porch/cam1", 1), ("c", 3), ("d", 4)):
            assert np.array_equal(file.read(name), floats(seed=seed))
        assert file.read("b.v2").dtype == np.float64
        assert (file.dim, file.duration("d"), file.source("d"), file.backbone) == (3, 2.0, None, None)
        for name in ("objects", "torn"):
            with pytest.raises(FeatureError, match="cannot be read as a NumPy array"):
                file.read(name)
        assert any("1 .txt" in remark for remark in file.remarks)
        assert any("has the same name" in remark for remark in file.remarks)  # torn.npz
        state = file.state
        np.save(tmp_path / "d2.npy", floats())
    with FeatureFile(tmp_path) as file:
        assert file.state != state
        assert file.duration("d") is None
    (tmp_path / "none").mkdir()
    with pytest.raises(FeatureError, match="found no file"):
        FeatureFile(tmp_path / "none")


def test_streams_in_npz_and_in_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", rgb=floats(), flow=floats(8, 2))
    with FeatureFile(tmp_path) as file:
        assert file.kinds == ("flow", "rgb")
        with pytest.raises(FeatureError, match="Choose with --feature-name flow"):
            file.read("a")
    with FeatureFile(tmp_path, ("rgb", "flow")) as file:
        assert file.read("b").shape == (8, 5)
    (tmp_path / "x" / "v").mkdir(parents=True)
    np.save(tmp_path / "x" / "v" / "rgb.npy", floats())
    with FeatureFile(tmp_path / "x", ("rgb",)) as file:
        assert file.video_ids == ["v"]


def test_the_width_is_that_of_most_videos(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a"] = floats(8, 5)
        file["b"], file["c"] = floats(), floats()
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.dim == 3


@pytest.mark.parametrize("kind", ["i8", "u1", "c8", "?"])
def test_numbers_that_are_no_features(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["v"] = np.ones((3, 2), kind)
    with (
        FeatureFile(tmp_path / "f.h5") as file,
        pytest.raises(FeatureError, match=r"expected floats\. Convert"),
    ):
        file.read("v")


def test_names_that_are_no_text_and_values_that_are_no_features(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["v"] = floats()
        file["huge"] = floats() * np.float32(1e37)
        file.attrs["backbone"], file.attrs["rate"] = np.bytes_("mine"), np.array([4.0])
        space = h5py.h5s.create_simple((8, 3))
        h5py.h5d.create(file.id, b"caf\xe9", h5py.h5t.IEEE_F32LE, space)
    with FeatureFile(tmp_path / "f.h5") as file:
        assert (file.backbone, file.rate, file.duration("v")) == ("mine", 4.0, 2.0)
        assert file.video_ids == ["huge", "v"]
        assert file.broken == {"caf\\xe9": "has a name that is not UTF-8: rename it"}
        with pytest.raises(FeatureError, match=r"'huge' has values up to \d"):
            file.read("huge")
    np.save(tmp_path / "v.npy", floats())
    with pytest.raises(FeatureError, match=r"Name the folder\."):
        FeatureFile(tmp_path / "v.npy")


def kept_as(kind: str, folder: Path, values: np.ndarray) -> FeatureFile:
    """One video 'v' in a feature file of a kind."""
    if kind.startswith("h5"):
        with h5py.File(folder / "f.h5", "w") as file:
            file.create_dataset("v", data=values, chunks=(7, 2) if kind == "h5, chunked" else None)
        return FeatureFile(folder / "f.h5")
    if kind == "npz":
        np.savez(folder / "v.npz", values)
    else:
        np.save(folder / "v.npy", np.asfortranarray(values) if kind == "npy by columns" else values)
    return FeatureFile(folder)


KINDS = ["h5", "h5, chunked", "npy", "npy by columns", "npz"]


@pytest.mark.parametrize("kind", KINDS)
def test_some_snippets_are_read(tmp_path: Path, kind: str) -> None:
    values = floats(40).astype(">f4" if kind == "npy" else "f8")
    with kept_as(kind, tmp_path, values) as file:
        for first, last in ((0, 1), (3, 17), (39, 40), (None, 5), (5, None), (None, None)):
            found = file.read("v", 3, first, last)
            assert np.array_equal(found, values[first:last])
            assert found.dtype.isnative
        for first, last in ((40, None), (5, 5), (6, 5), (-1, 5), (0, 41)):
            with pytest.raises(FeatureError, match=r"'v' has 40 snippets, and those from"):
                file.read("v", 3, first, last)
        with pytest.raises(FeatureError, match="width 3, expected 4"):
            file.read("v", 4, 0, 1)
        with pytest.raises(FeatureError, match="no features of video 'w'"):
            file.read("w", 3, 0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrong_with_some_snippets_is_wrong_there_only(tmp_path: Path, kind: str) -> None:
    values = floats(9000)
    values[8500, 1] = values[8700, 2] = np.nan
    with kept_as(kind, tmp_path, values) as file:
        assert file.read("v", 3, 0, 8500).shape == (8500, 3)
        with pytest.raises(FeatureError, match=r"in 1 of 101 snippets \(first: snippet 8500\)"):
            file.read("v", 3, 8400, 8501)
        for whole in (file.read, file.check):
            with pytest.raises(FeatureError, match=r"in 2 of 9000 snippets \(first: snippet 8500\)"):
                whole("v", 3)
            with pytest.raises(FeatureError, match="width 3, expected 4"):
                whole("v", 4)


def test_checking_says_what_reading_says(tmp_path: Path) -> None:
    values = floats(9000)
    with kept_as("h5", tmp_path, values) as file:
        assert file.check("v", 3) is None
    values[8999] = 1e16
    with kept_as("h5", tmp_path, values) as file:
        for whole in (file.read, file.check):
            with pytest.raises(FeatureError, match=r"'v' has values up to 1e\+16"):
                whole("v")


def test_some_snippets_cost_no_more_memory_than_they_are(tmp_path: Path) -> None:
    """100 MB are in each file; reading a little of them, or checking all in blocks, holds a little."""
    values = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float32, (100_000, 250))
    values[:] = 1
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("v", (100_000, 250), "f4", fillvalue=1)
        for begin in range(0, 100_000, 10_000):
            file["v"][begin : begin + 10_000] = 1
    code = (
        "import sys, resource\n"
        "from mmn_index.features import FeatureFile\n"
        "file = FeatureFile(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert file.read('v', 250, 50_000, 50_100).shape == (100, 250)\n"
        "if len(sys.argv) > 2: file.check('v', 250)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    for arguments in ([tmp_path], [tmp_path / "f.h5"], [tmp_path / "f.h5", "check"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) < 30_000, arguments  # KiB


def test_a_full_disk_is_said_in_the_words_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 adds the time, a file descriptor and addresses of memory."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "Can't close file (errno = 28, buf = 0x55acfc4f7600)")

    with FeatureWriter(tmp_path / "f.h5", backbone="random", rate=1.0) as writer:
        monkeypatch.setattr("mmn_index.feature_writer.h5py.File", full)
        with pytest.raises(OutputError, match=r"\(No space left on device\)\. Free some space"):
            writer.add("a", np.ones((2, 3), np.float32), duration=2.0, source="a.mp4")
