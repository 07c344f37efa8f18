"""Annotated videos and features that do not belong together: what is left out, and what is an error."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import DIM, SENTENCES, Command, write_annotations, write_features

from mmn_index.errors import AnnotationError, FeatureError
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.usable import searchable, usable, usable_videos
from mmn_index.features import FeatureFile
from mmn_index.ids import likely_cause
from mmn_index.index import MomentIndex

LENGTHS = {f"v{number}": 20.0 + number for number in range(6)}  # what write_features writes


@pytest.fixture
def features(tmp_path: Path) -> FeatureFile:
    write_features(tmp_path / "f.h5", 6)
    return FeatureFile(tmp_path / "f.h5")


def checked(
    features: FeatureFile, durations: dict[str, float | None] | None, dim: int = DIM
) -> tuple[list, list]:
    kept, left_out = usable_videos(durations, features, dim, Path("a.json"))
    return list(kept), [one.what for one in left_out]


@pytest.mark.parametrize(
    ("seconds", "fits"),
    [(20.0, True), (20.1, True), (22.2, True), (22.3, False), (18.01, True), (17.9, False), (200.0, False)],
)
def test_lengths_a_tenth_and_a_snippet_apart(features: FeatureFile, seconds: float, fits: bool) -> None:
    kept, left_out = checked(features, {**LENGTHS, "v0": seconds})
    assert ("v0" in kept, "v0" in left_out) == (fits, not fits)
    assert len(kept) + len(left_out) == 6


def test_a_snippet_is_no_contradiction(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.attrs["rate"] = 0.1
        file["short"], file["other"] = np.ones((1, 2), "f4"), np.ones((3, 2), "f4")
    with FeatureFile(tmp_path / "f.h5") as features:
        assert checked(features, {"short": 3.0, "other": 30.0}, 2) == (["short", "other"], [])


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (1000, "1,000 times .* Does a.json give milliseconds"),
        (25, "25 times .* Does a.json give frames"),
        (29.97, "Does a.json give frames"),
        (1 / 1000, "1/1,000 of .*/f.h5 give milliseconds"),
        (1 / 30, "f.h5 give frames"),
        (7, "7 times .* Is a rate or a unit wrong"),
    ],
)
def test_one_factor_for_all_is_a_unit(features: FeatureFile, factor: float, says: str) -> None:
    with pytest.raises(AnnotationError, match=says):
        checked(features, {name: seconds * factor for name, seconds in LENGTHS.items()})
    if factor != 7:
        with pytest.raises(AnnotationError, match=says):
            checked(features, {"v3": 23.0 * factor})


def test_where_one_fits_the_others_are_left_out(features: FeatureFile) -> None:
    durations = {name: seconds * 1000 for name, seconds in LENGTHS.items()} | {"v2": 22.0}
    assert checked(features, durations) == (["v2"], ["v0", "v1", "v3", "v4", "v5"])


def test_nothing_is_known_of_lengths(tmp_path: Path) -> None:
    write_features(tmp_path / "f.h5", 2, attributes=False)
    with FeatureFile(tmp_path / "f.h5") as features:
        assert checked(features, {"v0": 9e3, "v1": 1.0}) == (["v0", "v1"], [])
        with pytest.raises(FeatureError, match="does not say how long video 'v0' is"):
            checked(features, None)
    with FeatureFile(tmp_path / "f.h5", rate=8.0) as features:
        assert usable_videos(None, features, DIM, Path())[0] == {"v0": 20.0, "v1": 21.0}


def test_broken_videos_are_left_out_each_with_its_reason(tmp_path: Path) -> None:
    write_features(tmp_path / "f.h5", 6)
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v0"][3, 1] = np.inf
        for name, values in (("v1", np.ones((9, DIM + 1), "f4")), ("v2", np.zeros((0, DIM), "f4"))):
            del file[name]
            file[name] = values
        file["v3"].attrs["duration"] = -1.0
        file["lost"] = h5py.SoftLink("/nowhere")
        del file["v4"]
        damaged = file.create_dataset(
            "v4", data=np.ones((64, DIM), "f4"), chunks=(64, DIM), compression="gzip"
        )
        place = damaged.id.get_chunk_info(0).byte_offset
    with (tmp_path / "f.h5").open("r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 40)
    with FeatureFile(tmp_path / "f.h5") as features:
        _, left_out = usable_videos(None, features, DIM, tmp_path / "f.h5")
    says = {
        "v0": "'v0' has NaN or infinite",
        "v1": "'v1' has features of width 13, expected 12",
        "v2": "shape (0, 12)",
        "v3": "attribute 'duration' of video 'v3' is",
        "v4": "'v4' cannot be read",
        "lost": "'lost' is a link to '/nowhere', which is not there",
    }
    assert {one.what: says[one.what] in one.why and "\n" not in one.why for one in left_out} == dict.fromkeys(
        says, True
    )


def test_nothing_that_can_be_used_is_an_error(tmp_path: Path) -> None:
    write_features(tmp_path / "f.h5", 2)
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        for name in file:
            file[name][0] = np.nan
    with FeatureFile(tmp_path / "f.h5") as features:
        with pytest.raises(FeatureError, match=r"'v0' has NaN .* none of the 2 videos .* And 1 more"):
            checked(features, None)
        with pytest.raises(FeatureError, match=r"features of width 12, expected 7\. Was the model trained"):
            checked(features, None, 7)


@pytest.mark.parametrize(
    ("wanted", "known", "says"),
    [
        (["a.mp4", "b.mp4"], ["a", "b"], "Without the suffix '.mp4' 2 of these 2"),
        (["a", "b"], ["a.avi", "b.avi"], "With the suffix '.avi'"),
        (["a.mp4"], ["a.avi"], "Without their suffixes"),
        (["A", "B"], ["a", "b"], "In the same case"),
        (["x/y/a"], ["a"], "Without the folders"),
        (["a"], ["porch/a"], "Without the folders"),
        (["videos\\a"], ["a"], "Without the folders"),
        (["abc"], ["v_abc"], "With or without 'v_'"),
        ([" a"], ["a"], "Without the blanks"),
        (["dir/A.MP4"], ["a"], "But for folders, suffix and case"),
        (["v"], ["v/rgb"], "choose with --feature-name rgb"),
        (["s13-d21.avi"], ["s13-d21.avi.x"], ""),
        (["a"], ["b"], ""),
        ([], ["b"], ""),
    ],
)
def test_the_likely_cause(wanted: list[str], known: list[str], says: str) -> None:
    found = likely_cause(wanted, known)
    assert says in found if says else found == ""


def test_a_split_and_an_index(world: Path, tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.json", 6)
    content = json.loads((tmp_path / "a.json").read_text())
    content["v1"]["duration"] = 40.0
    content["gone"] = content.pop("v2")
    (tmp_path / "a.json").write_text(json.dumps(content))
    split = read_annotations(tmp_path / "a.json")
    fitting, left_out = searchable(split, LENGTHS, Path("c.mmn"))
    assert [video.video_id for video in fitting.videos] == ["v0", "v3", "v4", "v5"]
    assert [one.what for one in left_out] == ["gone", "v1"]
    with pytest.raises(
        AnnotationError, match=r"none of the 6 videos of .*a.json.* With the suffix '.mp4' 5 of"
    ):
        searchable(split, {f"{name}.mp4": seconds for name, seconds in LENGTHS.items()}, Path("c.mmn"))
    with FeatureFile(world / "features.h5") as features:
        assert [one.what for one in usable(split, features, DIM)[1]] == ["v1", "gone"]


def left_out_of(path: Path) -> list[str]:
    return Path(f"{path}.left-out.txt").read_text().splitlines()


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Features with a NaN in v3, annotations with a video that is gone and one of another length."""
    write_features(tmp_path / "f.h5", 7)
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v3"][0, 0] = np.nan
    write_annotations(tmp_path / "a.json", 7)
    content = json.loads((tmp_path / "a.json").read_text())
    content["v6"]["duration"] = 99.0
    content["gone"] = content["v0"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    return tmp_path


def test_training_leaves_out_and_says_so(world: Path, damaged: Path, command: Command) -> None:
    train = ["train", "--annotations", damaged / "a.json", "--features", damaged / "f.h5", "--config"]
    train += [world / "tiny.yaml", "-o", damaged / "run"]
    result = command.run(*train, "--val", damaged / "a.json")
    assert result.exit_code == 3, result.output
    lines = left_out_of(damaged / "run")
    assert [next(name for name in ("v3", "v6", "gone") if f"'{name}'" in line) for line in lines] == [
        "v3",
        "v6",
        "gone",
    ]
    assert "3 left out in all" in result.stderr
    assert (damaged / "run" / "model").is_dir()
    command.fails(*train[:-1], damaged / "other", "--strict", says="'v3' has NaN")
    assert not (damaged / "other").exists()


def test_building_leaves_out_and_the_rest_is_searched(world: Path, damaged: Path, command: Command) -> None:
    index = damaged / "c.mmn"
    build = ("build", world / "run" / "model", damaged / "f.h5", "-o", index)
    result = command.run(*build, "--videos", damaged / "a.json")
    assert result.exit_code == 3, result.output
    assert len(left_out_of(index)) == 3
    assert MomentIndex(index).video_ids == ["v0", "v1", "v2", "v4", "v5"]
    command.ok("verify", "--index", index, "--features", damaged / "f.h5")
    command.fails(*build, "--overwrite", "--strict", says="'v3' has NaN")
    # Mended, the rest is added; the list of what was left out goes.
    write_features(damaged / "f.h5", 7)
    command.ok("update", damaged / "f.h5", "--index", index)
    assert len(MomentIndex(index).video_ids) == 7
    assert not Path(f"{index}.left-out.txt").exists()
    with h5py.File(damaged / "f.h5", "r+") as file:
        file["v5"][0, 0] = np.nan
    assert command.run("update", damaged / "f.h5", "--index", index).exit_code == 3
    assert len(MomentIndex(index).video_ids) == 7


def test_evaluation_counts_what_it_leaves_out(world: Path, damaged: Path, command: Command) -> None:
    evaluate = ("eval", world / "run" / "model", "--annotations", damaged / "a.json")
    result = command.run(*evaluate, "--features", damaged / "f.h5")
    assert (result.exit_code, len(left_out_of(damaged / "a.json"))) == (3, 3)
    assert "10 queries" in result.stdout
    command.fails(
        *evaluate, "--features", damaged / "f.h5", "--dataset", "charades", says="3 of the 8 videos of"
    )
    corpus = ("eval", "--corpus", "--index", world / "collection.mmn", "--annotations", damaged / "a.json")
    assert command.run(*corpus).exit_code == 3
    assert len(left_out_of(damaged / "a.json")) == 2  # gone, and v6, of which the index has nothing either
    command.fails(*corpus, "--dataset", "charades", says="has no video")
    command.fails(*corpus, "--strict", says="has no video 'gone'")


def test_calibrating_and_tuning_leave_out(world: Path, damaged: Path, command: Command) -> None:
    shutil.copytree(world / "collection.mmn", damaged / "c.mmn")
    options = ("--annotations", damaged / "a.json")
    calibrate = ("calibrate", damaged / "f.h5", "--index", damaged / "c.mmn", *options)
    assert command.run(*calibrate).exit_code == 3
    assert MomentIndex(damaged / "c.mmn").manifest.calibration is not None
    command.fails(*calibrate, "--strict", says="'v3' has NaN")
    tune = ("tune-text", world / "run" / "model", *options, "--features", damaged / "f.h5", "--epochs", 1)
    assert command.run(*tune, "-o", damaged / "tuned").exit_code == 3
    assert len(left_out_of(damaged / "tuned")) == 3


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    """The same annotations in three forms."""
    write_features(tmp_path / "f.h5", 6)
    found = {name: tmp_path / f"a.{name}" for name in ("txt", "jsonl", "tvr.jsonl")}
    rows: dict[str, list[str]] = {name: [] for name in found}
    for number in range(6):
        name, seconds, text = f"v{number}", 20.0 + number, SENTENCES[number % 4]
        rows["txt"].append(f"{name} 2.0 8.5##{text}.")
        row = {"qid": number, "query": text, "duration": seconds, "vid": name}
        rows["jsonl"].append(json.dumps({**row, "relevant_windows": [[2, 8.5]]}))
        row = {"desc_id": 90 - number, "desc": text, "duration": seconds, "vid_name": name, "ts": [2, 8.5]}
        rows["tvr.jsonl"].append(json.dumps(row))
    for name, path in found.items():
        path.write_text("\n".join(rows[name]) + "\n")
    return found


@pytest.mark.parametrize("form", ["txt", "jsonl", "tvr.jsonl"])
def test_every_command_reads_every_form(
    world: Path, lists: dict[str, Path], command: Command, tmp_path: Path, form: str
) -> None:
    path, features, model = lists[form], tmp_path / "f.h5", world / "run" / "model"
    result = command.ok("eval", model, "--features", features, "--annotations", path, "--seen", path)
    assert "6 queries" in result.stdout
    assert "seen wordings (6)" in result.stdout
    index = tmp_path / "c.mmn"
    built = command.ok("build", model, features, "--videos", path, "--bank", path, "-o", index)
    assert "measured by 4 sentences of" in built.stderr
    assert len(MomentIndex(index).video_ids) == 6
    command.ok("eval", "--corpus", "--index", index, "--annotations", path, "--seen", path)
    command.ok("mine", "--index", index, "--annotations", path, "-o", tmp_path / "n.parquet")
    command.ok("calibrate", features, "--index", index, "--annotations", path, "--keep-score")
    train = ("--annotations", path, "--val", path, "--features", features, "--config", world / "tiny.yaml")
    command.ok("train", *train, "-o", tmp_path / "run")


def test_a_list_without_lengths_says_what_it_needs(
    world: Path, lists: dict[str, Path], command: Command, tmp_path: Path
) -> None:
    write_features(tmp_path / "bare.h5", 6, attributes=False)
    evaluate = (
        "eval",
        world / "run" / "model",
        "--annotations",
        lists["txt"],
        "--features",
        tmp_path / "bare.h5",
    )
    command.fails(*evaluate, says="does not say how long video 'v0' is")
    command.ok(*evaluate, "--rate", 8)
    (tmp_path / "p.json").write_text("{}")
    command.fails(
        "eval", "--predictions", tmp_path / "p.json", "--annotations", lists["txt"], says="does not say"
    )


def test_streams_are_chosen_on_every_command(world: Path, command: Command, tmp_path: Path) -> None:
    write_features(tmp_path / "f.h5", 6)
    with h5py.File(tmp_path / "f.h5") as file, h5py.File(tmp_path / "two.h5", "w") as two:
        two.attrs["rate"] = 8.0
        for name in file:
            two[f"{name}/rgb"] = file[name][:, :8]
            two[f"{name}/flow"] = file[name][:, 8:]
            two[f"{name}/rgb"].attrs.update(file[name].attrs)
    model, index = world / "run" / "model", tmp_path / "c.mmn"
    build = ("build", model, tmp_path / "two.h5", "-o", index)
    command.fails(*build, says="several arrays of features (flow, rgb). Choose with --feature-name")
    command.fails(
        *build, "--videos", world / "train.json", says="have several arrays of features (flow, rgb)"
    )
    command.fails(*build, "--feature-name", "rgb", says="width 8, expected 12")
    command.ok(*build, "--feature-name", "rgb,flow")
    assert MomentIndex(index).video_ids == sorted(LENGTHS)
    command.ok("verify", "--index", index, "--features", tmp_path / "two.h5", "--feature-name", "rgb,flow")
    for name in ("one", "both"):
        path = tmp_path / ("two.h5" if name == "both" else "f.h5")
        more = ("--feature-name", "rgb", "--feature-name", "flow") if name == "both" else ()
        result = command.ok("eval", model, "--annotations", world / "train.json", "--features", path, *more)
        if name == "one":
            expected = result.stdout
    assert result.stdout == expected


def test_long_sentences_are_cut_in_batches_and_refused_alone(
    world: Path, command: Command, tmp_path: Path
) -> None:
    long = "a person " * 40
    write_annotations(tmp_path / "a.json", 6)
    content = json.loads((tmp_path / "a.json").read_text())
    content["v0"]["sentences"][0] = long
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "q.txt").write_text(f"{long}\na person runs\n")
    says = "1 sentences are longer than the text encoder reads, and are cut"
    data = ("--annotations", tmp_path / "a.json", "--features", world / "features.h5")
    model, index = world / "run" / "model", tmp_path / "c.mmn"
    assert says in command.ok("eval", model, *data).stderr
    assert says in command.ok("train", *data, "--config", world / "tiny.yaml", "-o", tmp_path / "run").stderr
    build = ("build", model, world / "features.h5", "-o", index, "--bank", tmp_path / "a.json")
    assert "1 sentences of the bank are longer" in command.ok(*build).stderr
    assert says in command.ok("search", "--queries", tmp_path / "q.txt", "--index", index).stderr
    assert (
        says in command.ok("eval", "--corpus", "--index", index, "--annotations", tmp_path / "a.json").stderr
    )
    mine = ("mine", "--index", index, "--annotations", tmp_path / "a.json", "-o", tmp_path / "n.parquet")
    assert says in command.ok(*mine).stderr
    tune = ("tune-text", model, *data, "--epochs", 1, "-o", tmp_path / "tuned")
    assert says in command.ok(*tune).stderr
    command.fails("search", long, "--index", index, says="the text encoder reads at most 32")
    command.ok(
        "build", tmp_path / "run" / "model", world / "features.h5", "-o", tmp_path / "d.mmn"
    )  # its own bank


def test_a_duration_that_contradicts_the_file_s_own_rate(tmp_path: Path) -> None:
    write_features(tmp_path / "f.h5", 6)
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v1"].attrs["duration"] = 21_000.0
        file["v2"].attrs["duration"] = 2.0
    with FeatureFile(tmp_path / "f.h5") as features:
        kept, left_out = usable_videos(None, features, DIM, Path("f.h5"))
    assert sorted(kept) == ["v0", "v3", "v4", "v5"]
    assert [one.what for one in left_out] == ["v1", "v2"]
    assert "its attribute 'duration' says 21,000.0. Is the duration in milliseconds" in left_out[0].why
