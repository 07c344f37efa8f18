"""Evaluation within a video by hand, the data sets it knows, and `mmn-index eval --dataset`."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import DIM, Command, write_annotations, write_features
from golden import golden
from mmn_index.train.config import Setting
from mmn_index.train.settings import SETTINGS

from mmn_index import checkpoint, config
from mmn_index.errors import AnnotationError, ConfigError, FeatureError
from mmn_index.evaluation.annotations import AnnotatedVideo, Annotations, read_annotations
from mmn_index.evaluation.benchmarks import Published, departures, differences, further_off, locate, missing
from mmn_index.evaluation.data_sets import ACTIVITYNET, BENCHMARKS, CHARADES, PLAYHOUSE, TACOS
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score


class GivenCosines:
    """Stands in for a model: the cosine of each sentence with each of the ten moments of a 4 x 4 map is
    given.
    """

    grid = ProposalGrid(4, (3,))  # 8 seconds: [0,2] [0,4] [0,6] [0,8] [2,4] [2,6] [2,8] [4,6] [4,8] [6,8]
    training = False

    def __init__(self, cosines: dict[str, dict[tuple[int, int], float]]) -> None:
        spans = [(int(start), int(end)) for start, end in self.grid.seconds(8.0)]
        self.rows = {
            sentence: torch.tensor([given.get(span, -1.0) for span in spans])
            for sentence, given in cosines.items()
        }

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def score(self, name: str) -> Score:
        return Score(name)

    def embed_videos(self, pre_clips: torch.Tensor) -> Embeddings:
        return Embeddings(torch.eye(10).repeat(len(pre_clips), 1, 1), torch.zeros(len(pre_clips), 10, 10))

    def embed_sentences(self, sentences: tuple[str, ...]) -> Embeddings:
        return Embeddings(
            torch.stack([self.rows[sentence] for sentence in sentences]), torch.zeros(len(sentences), 10)
        )


def video(**moments: tuple[float, float]) -> AnnotatedVideo:
    return AnnotatedVideo(
        "v", 8.0, torch.tensor(list(moments.values())), tuple(moments), None, tuple(range(len(moments)))
    )


def evaluate(model: GivenCosines, *videos: AnnotatedVideo, **options: object):
    return evaluate_videos(model, videos, lambda video_id: torch.zeros(1, 1), **options)


def test_recall_within_a_video_by_hand() -> None:
    model = GivenCosines(
        {
            "first": {
                (2, 6): 0.9,
                (2, 4): 0.8,
                (0, 4): 0.7,
                (6, 8): 0.6,
            },  # of [0,4]: IoU 1/3, then [2,4] 1/2, then itself
            "second": {(0, 8): 0.9, (4, 6): 0.5},  # of [0,8]: IoU 1, then 1/4
        }
    )
    result = evaluate(
        model,
        video(first=(0.0, 4.0)),
        video(second=(0.0, 8.0)),
        recalls=((1, 0.3), (1, 0.5), (2, 0.5), (3, 0.7)),
    )
    # [2,4] overlaps [2,6] by exactly 1/2, which is not above 0.5: it stays.
    assert result.ious[0].tolist() == pytest.approx([1 / 3, 1 / 2, 1])
    assert result.ious[1].tolist() == [1, 0.25, -1]
    table = {
        "R@1,IoU=0.3": 100,
        "R@1,IoU=0.5": 50,
        "R@2,IoU=0.5": 100,
        "R@3,IoU=0.7": 100,
        "mIoU": 100 * (1 / 3 + 1) / 2,
    }
    assert result.table() == pytest.approx(table)
    assert result.table(torch.tensor([True, False]))["R@1,IoU=0.5"] == 0
    # With 0.4, [2,4] goes, and [0,4] moves up to rank 2.
    assert evaluate(model, video(first=(0.0, 4.0)), nms=0.4, recalls=((3, 0.5),)).ious[
        0
    ].tolist() == pytest.approx([1 / 3, 1, 0])


def test_chance_by_hand() -> None:
    # Of ten moments, an IoU of at least 0.5 with [0,4] have [0,2] [0,4] [0,6] [0,8] [2,4]; with [0,8] there
    # are six.
    model = GivenCosines({"first": {(0, 4): 1.0}, "second": {(0, 4): 1.0}})
    result = evaluate(
        model, video(first=(0.0, 4.0), second=(0.0, 8.0)), recalls=((1, 0.5), (5, 0.5), (5, 0.3))
    )
    missed = 1 / 252  # five of ten are drawn, all from the five others
    assert result.chance() == pytest.approx(
        {"R@1,IoU=0.5": 55, "R@5,IoU=0.5": 100 * (1 - missed / 2), "R@5,IoU=0.3": 100}
    )


def test_fewer_survivors_than_asked_for() -> None:
    # A product of zero (a cosine of -1) is no candidate: two, one and no moments are left for R@5.
    model = GivenCosines({"two": {(0, 2): 0.9, (4, 8): 0.5}, "one": {(4, 8): 0.1}, "none": {}})
    result = evaluate(model, video(two=(4.0, 8.0), one=(0.0, 8.0), none=(0.0, 8.0)))
    assert result.ious.tolist() == [[0, 1, -1, -1, -1], [0.5, -1, -1, -1, -1], [-1] * 5]
    assert result.table() == pytest.approx(
        {
            "R@1,IoU=0.5": 100 / 3,
            "R@1,IoU=0.7": 0,
            "R@5,IoU=0.5": 200 / 3,
            "R@5,IoU=0.7": 100 / 3,
            "mIoU": 50 / 3,
        }
    )


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_an_entry_fits_its_setting(name: str) -> None:
    benchmark = BENCHMARKS[name]
    setting = SETTINGS[benchmark.setting]
    assert benchmark.nms == setting.train.nms
    assert setting.model.input_dim in (0, benchmark.width)
    assert "test" in benchmark.splits
    assert benchmark.videos.keys() <= benchmark.splits.keys()
    columns = {f"R@{n},IoU={m}" for n, m in benchmark.recalls} | {"mIoU"}
    for published in benchmark.published:
        assert published.source
        assert published.values.keys() <= columns
        assert all(0 < value < 100 for value in published.values.values())


@pytest.mark.parametrize("benchmark", [CHARADES, ACTIVITYNET, TACOS], ids=lambda benchmark: benchmark.name)
def test_the_counts_are_those_of_the_annotations(benchmark) -> None:
    for split, file in benchmark.splits.items():
        annotations = read_annotations(golden("..", "annotations", benchmark.name, file))
        assert len(annotations.videos) == benchmark.videos[split]
        assert annotations.num_sentences == benchmark.sentences[split]
        assert (
            departures(
                benchmark,
                split,
                annotations,
                width=benchmark.width,
                model=config.PAPER[benchmark.name],
                own=SETTINGS[benchmark.setting].model,
            )
            == []
        )


def test_departures_are_named() -> None:
    split = Annotations(Path("some.json"), (video(first=(0.0, 4.0)),), 0, 0)
    lines = departures(TACOS, "test", split, width=500, model=config.CHARADES, own=config.TACOS)
    assert (
        lines[0]
        == "some.json: this is not the test split of tacos: 1 videos instead of 25, 1 sentences instead of "
        "4,001."
    )
    assert lines[1] == "these are not the features of tacos: their width is 500, not 4096."
    assert "num_clips is 16, not 128" in lines[2]
    assert "power is 0.5, not 0.3" in lines[2]
    own = SETTINGS["playhouse"].model
    assert departures(PLAYHOUSE, "test", split, width=500, model=own, own=own) == []


def test_differences_are_judged_as_they_are_printed() -> None:
    published = Published("paper", "somewhere", {"R@1,IoU=0.5": 47.31, "R@5,IoU=0.7": 58.41})
    ours = {"R@1,IoU=0.5": 46.8101, "R@5,IoU=0.7": 58.9051, "mIoU": 40.0}  # 0.4999 below, 0.4951 above
    assert differences(ours, published) == {"R@1,IoU=0.5": -0.5, "R@5,IoU=0.7": 0.5}
    assert further_off(ours, published, 0.5) == []
    assert further_off(ours, published, 0.49) == [
        "R@1,IoU=0.5 is 46.81, published 47.31, -0.50",
        "R@5,IoU=0.7 is 58.91, published 58.41, +0.50",
    ]
    assert further_off({**ours, "R@1,IoU=0.5": 46.80}, published, 0.5) == [
        "R@1,IoU=0.5 is 46.80, published 47.31, -0.51"
    ]


def test_what_is_missing_is_said_with_where_to_get_it(tmp_path: Path) -> None:
    texts = missing(ACTIVITYNET, ["train", "test"], data=tmp_path)
    assert [text.split(":")[0] for text in texts] == [
        str(tmp_path / name) for name in ("train.json", "test.json", "sub_activitynet_v1-3.c3d.hdf5")
    ]
    assert "4,885 videos, 17,031 sentences" in texts[1]
    assert "MCG-NJU/MMN, MIT, folder dataset/ActivityNet" in texts[1]
    assert "activity-net.org/challenges/2016/download.html" in texts[2]
    assert "`v_QOlSCBRmfWY/c3d_features`, of shape (snippets, 500)" in texts[2]
    (tmp_path / "test.json").touch()
    assert len(missing(ACTIVITYNET, ["train", "test"], data=tmp_path)) == 2
    assert missing(ACTIVITYNET, ["test"], data=tmp_path, features=Path("f.h5")) == []
    with pytest.raises(FeatureError, match=r"c3d\.hdf5: no such file"):
        locate(ACTIVITYNET, data=tmp_path)
    with pytest.raises(AnnotationError, match=r"train\.json: no such file.*c3d\.hdf5: no such file"):
        locate(ACTIVITYNET, "train", data=tmp_path)
    with pytest.raises(ConfigError, match="charades has no split 'val'; there are train, test"):
        locate(CHARADES, "val", data=tmp_path)
    (tmp_path / "sub_activitynet_v1-3.c3d.hdf5").touch()
    assert missing(ACTIVITYNET, ["test"], data=tmp_path) == []
    assert locate(ACTIVITYNET, data=tmp_path).features == tmp_path / "sub_activitynet_v1-3.c3d.hdf5"
    named = locate(CHARADES, annotations=Path("a.json"), features=Path("f.h5"))
    assert (named.annotations, named.features) == (Path("a.json"), Path("f.h5"))


@pytest.fixture
def inputs(world: Path) -> list[object]:
    """Arguments of an evaluation of the tiny world."""
    return [
        "eval",
        world / "run" / "model",
        "--features",
        world / "features.h5",
        "--annotations",
        world / "train.json",
    ]


@pytest.fixture
def tiny(
    world: Path, command: Command, inputs: list[object], monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """The tiny world as a benchmark called `charades`, published with its own results; `publish` changes
    them.
    """
    ours = json.loads(command.ok(*inputs, "--json").stdout.splitlines()[0])
    model = checkpoint.info(world / "run" / "model").config
    monkeypatch.setitem(SETTINGS, "tiny", Setting(model))
    benchmark = replace(CHARADES, setting="tiny", width=DIM, videos={"test": 6}, sentences={"test": 12})

    def publish(*published: Published) -> None:
        monkeypatch.setitem(BENCHMARKS, "charades", replace(benchmark, published=published))

    return SimpleNamespace(ours=ours, publish=publish)


def test_a_data_set_is_found_in_its_folder(
    world: Path, command: Command, inputs: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "playhouse"
    folder.mkdir(parents=True)
    shutil.copy(world / "features.h5", folder / "features.h5")
    shutil.copy(world / "train.json", folder / "test.json")
    model = world / "run" / "model"
    printed = command.ok("eval", model, "--dataset", "playhouse", "--data", folder, "--json").stdout
    block, chance = map(json.loads, printed.splitlines())
    named = json.loads(command.ok(*inputs, "--score", "collection", "--json").stdout.splitlines()[0])
    assert {key: block[key] for key in named if key != "title"} == {
        key: value for key, value in named.items() if key != "title"
    }
    assert (
        block["title"]
        == "playhouse, within the right video, 12 queries of 6 videos, score collection, NMS 0.5"
    )
    assert (block["reference"], block["difference"], block["source"]) == (None, None, None)
    assert chance["queries"] == "chance"
    monkeypatch.chdir(tmp_path)
    assert command.ok("eval", model, "--dataset", "playhouse", "--json").stdout == printed
    table = command.ok("eval", model, "--dataset", "playhouse").stdout
    assert "difference" not in table
    assert [line.split()[0] for line in table.splitlines() if line][:4] == [
        "playhouse,",
        "R@1,IoU=0.5",
        "ours",
        "chance",
    ]


def test_ours_the_published_numbers_and_the_difference(
    command: Command, inputs: list[object], tiny: SimpleNamespace
) -> None:
    r1, r5, miou = (tiny.ours[column] for column in ("R@1,IoU=0.5", "R@5,IoU=0.7", "mIoU"))
    tiny.publish(
        Published(
            "MMN paper", "the paper itself", {"R@1,IoU=0.5": r1 + 1.25, "R@5,IoU=0.7": round(r5 - 2, 2)}
        ),
        Published("somebody", "their page", {"mIoU": 12.34}),
    )
    result = command.ok(*inputs, "--dataset", "charades")
    assert "Warning" not in result.stderr
    lines = result.stdout.strip().splitlines()
    assert lines[0] == "charades, within the right video, 12 queries of 6 videos, score product, NMS 0.5:"
    rows = {name: numbers for name, *numbers in (re.split(r"  +", line) for line in lines[1:7])}
    assert list(rows) == ["", "ours", "MMN paper", "difference", "somebody", "chance"]
    assert rows[""] == ["R@1,IoU=0.5", "R@1,IoU=0.7", "R@5,IoU=0.5", "R@5,IoU=0.7", "mIoU"]
    assert rows["ours"][0] == f"{r1:.2f}"
    assert rows["ours"][4] == f"{miou:.2f}"
    assert rows["MMN paper"] == [
        f"{r1 + 1.25:.2f}",
        f"{r5 - 2:.2f}",
    ]  # and nothing where nothing was verified
    assert rows["difference"] == ["-1.25", "+2.00"]
    assert rows["somebody"] == ["12.34"]
    assert "MMN paper: the paper itself. Empty cells: not reported, or not verified." in lines
    assert "somebody: their page. Empty cells: not reported, or not verified." in lines
    assert lines[-1] == (
        "NMS 0.5: drops a moment whose temporal IoU with a better one is above 0.5; a hit has IoU >= m "
        "(inclusive, float32); n survivors at most."
    )


def test_the_comparison_as_json(
    world: Path, command: Command, inputs: list[object], tiny: SimpleNamespace
) -> None:
    r1 = tiny.ours["R@1,IoU=0.5"]
    tiny.publish(
        Published("MMN paper", "the paper itself", {"R@1,IoU=0.5": r1 + 1.25}),
        Published("x", "a page", {"mIoU": 12.34}),
    )
    printed = command.ok(*inputs, "--dataset", "charades", "--json", "--seen", world / "train.json")
    blocks = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [(block["scope"], block["queries"]) for block in blocks] == [
        ("video", queries) for queries in ("all", "seen wordings (12)", "chance")
    ]
    assert all(
        (b["dataset"], b["nms"], b["iou_rule"]) == ("charades", 0.5, "IoU >= m (inclusive, float32)")
        for b in blocks
    )
    first = blocks[0]
    assert first["R@1,IoU=0.5"] == r1
    assert first["reference"] == {"R@1,IoU=0.5": r1 + 1.25}
    assert first["difference"] == {"R@1,IoU=0.5": -1.25}
    assert first["source"] == "the paper itself"
    assert first["quoted"] == [{"source": "a page", "values": {"mIoU": 12.34}}]
    assert (first["num_queries"], first["num_videos"]) == (12, 6)
    assert all("reference" not in block for block in blocks[1:])


def test_assert_within_passes_and_fails(
    command: Command, inputs: list[object], tiny: SimpleNamespace
) -> None:
    r1, r5 = tiny.ours["R@1,IoU=0.5"], tiny.ours["R@5,IoU=0.5"]
    assertion = [*inputs, "--dataset", "charades", "--assert-within", 0.5]
    tiny.publish(
        Published("MMN paper", "p", {"R@1,IoU=0.5": r1 + 0.5, "R@5,IoU=0.5": r5}),
        Published("x", "y", {"mIoU": 1.0}),
    )
    passed = command.ok(*assertion)
    assert "0 of 2 compared numbers more than 0.5 points off (MMN paper).\n" in passed.stderr
    tiny.publish(Published("MMN paper", "p", {"R@1,IoU=0.5": r1 + 0.51, "R@5,IoU=0.5": r5}))
    failed = command.fails(
        *assertion, says="1 of 2 compared numbers more than 0.5 points off (MMN paper): R@1,IoU=0.5 is"
    )
    assert f"R@1,IoU=0.5 is {r1:.2f}, published {r1 + 0.51:.2f}, -0.51." in failed.stderr
    assert "R@5" not in failed.stderr
    assert "difference" in failed.stdout  # the table is printed all the same
    command.fails(*assertion, "--json", says="1 of 2 compared numbers")


def test_an_assertion_needs_a_number_to_compare_with(command: Command, inputs: list[object]) -> None:
    command.fails(*inputs, "--assert-within", 0.5, says="name it with --dataset")
    command.fails(
        *inputs, "--dataset", "playhouse", "--assert-within", 0.5, says="nothing is published for playhouse"
    )


def test_only_verified_numbers_are_printed(command: Command, inputs: list[object]) -> None:
    table = command.ok(*inputs, "--dataset", "activitynet").stdout.splitlines()
    rows = {name: numbers for name, *numbers in (re.split(r"  +", line) for line in table)}
    assert rows["MMN paper"] == ["48.59"]
    assert len(rows["difference"]) == 1
    assert rows["MMN by VideoMind"] == ["64.50", "48.20", "29.40", "46.60"]
    assert (
        "MMN paper: MMN paper, from a leaderboard (second hand). Empty cells: not reported, or not verified."
        in table
    )


def test_a_data_set_brings_its_own_metric(
    command: Command, inputs: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spy(*arguments: object, **options: object):
        asked.append((options["score"], options["nms"]))
        return evaluate_videos(*arguments, **options)

    monkeypatch.setattr("mmn_index.evaluation.within_video.evaluate_videos", spy)
    block = json.loads(command.ok(*inputs, "--dataset", "tacos", "--json").stdout.splitlines()[0])
    assert [key for key in block if key.startswith("R@")] == [
        f"R@{n},IoU={m}" for n in (1, 5) for m in (0.1, 0.3, 0.5)
    ]
    assert block["nms"] == 0.4
    assert block["R@1,IoU=0.1"] >= block["R@1,IoU=0.3"] >= block["R@1,IoU=0.5"]
    command.ok(*inputs, "--dataset", "playhouse")
    title = (
        command.ok(*inputs, "--dataset", "tacos", "--nms", 0.5, "--score", "iou")
        .stdout.strip()
        .splitlines()[0]
    )
    assert title.endswith("score iou (the data set's own is product), NMS 0.5 (the data set's own is 0.4):")
    command.ok(*inputs)
    command.ok(*inputs, "--nms", 0, "--score", "contrastive")
    assert asked == [
        ("product", 0.4),
        ("collection", 0.5),
        ("iou", 0.5),
        ("product", 0.5),
        ("contrastive", 0),
    ]


def test_what_is_not_the_benchmark_is_said(command: Command, inputs: list[object]) -> None:
    result = command.ok(*inputs, "--dataset", "tacos", "--assert-within", 100)
    assert "Warning" not in result.stdout
    warnings = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert (
        "this is not the test split of tacos: 6 videos instead of 25, 12 sentences instead of 4,001."
        in warnings[0]
    )
    assert f"their width is {DIM}, not 4096" in warnings[1]
    assert "num_clips is 8, not 128" in warnings[2]
    assert (
        "0 of 1 compared numbers more than 100 points off (MMN paper). Mind the warnings above."
        in result.stderr
    )


def test_what_the_command_cannot_do_is_one_line(world: Path, command: Command, tmp_path: Path) -> None:
    model = world / "run" / "model"
    command.fails(
        "eval",
        model,
        "--dataset",
        "tacos",
        "--data",
        tmp_path,
        says="one dataset a video, such as `s17-d69.avi`",
    )
    command.fails("eval", model, "--data", tmp_path, says="name the data set with --dataset")
    write_annotations(tmp_path / "test.json", 6)
    write_features(tmp_path / "features.h5", 5)
    command.fails(
        "eval", model, "--dataset", "playhouse", "--data", tmp_path, says="no features of video 'v5'"
    )
    for left_out, options in (
        ("--features", []),
        ("--annotations", ["--features", tmp_path / "features.h5"]),
    ):
        result = command.run("eval", model, *options)
        assert result.exit_code == 2
        assert f"Missing option '{left_out}'" in result.stderr
    assert command.run("eval", model, "--dataset", "charade").exit_code == 2


def test_the_report_has_what_was_published(
    command: Command, inputs: list[object], tiny: SimpleNamespace, tmp_path: Path
) -> None:
    tiny.publish(
        Published("MMN paper", "the paper itself", {"R@1,IoU=0.5": 47.31}),
        Published("somebody", "their page", {"mIoU": 12.34}),
    )
    command.ok(*inputs, "--dataset", "charades", "-o", tmp_path / "r")
    (section,) = json.loads((tmp_path / "r" / "report.json").read_text())["sections"]
    by_name = {one["name"]: one for one in section["metrics"]}
    assert by_name["R@1,IoU=0.5"]["published"] == {"MMN paper": 47.31}
    assert by_name["mIoU"]["published"] == {"somebody": 12.34}
    assert by_name["R@1,IoU=0.5"]["chance"] > 0
    assert round(by_name["R@1,IoU=0.5"]["value"], 3) == tiny.ours["R@1,IoU=0.5"]
    text = (tmp_path / "r" / "report.md").read_text()
    assert "| MMN paper | 47.31 |" in text
    assert "the paper itself" in text
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Beside chance and what was published" in page
    assert ">MMN paper</text>" in page  # in the legend of the plot
