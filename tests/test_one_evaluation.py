"""`mmn-index eval INDEX|MODEL`: what is chosen from the annotations, what is refused first, and its report."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SENTENCES, Command

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.errors import OutputError
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.data_form import BOXES, JUDGEMENTS, MOMENTS, DataForm, form_of
from mmn_index.evaluation.folder import REPORT, write_report
from mmn_index.evaluation.gmr import localisation
from mmn_index.evaluation.qvhighlights import qvhighlights
from mmn_index.evaluation.report_file import Report, read_report
from mmn_index.evaluation.window_files import WindowAnswer, read_questions
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.evaluation.within_windows import answer_within
from mmn_index.features import FeatureFile


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def whole(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def windows(tmp_path: Path) -> Path:
    """QVHighlights' form: a sentence with two windows, four with one, and one video without any."""
    rows = [
        {
            "qid": n,
            "query": SENTENCES[n % 4],
            "vid": f"v{n}",
            "duration": 20 + n,
            "relevant_windows": [[2, 8], [10, 16]][: 2 if n == 1 else 1] if n < 5 else [],
        }
        for n in range(6)
    ]
    return lines(tmp_path / "windows.jsonl", *rows)


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    rows = [
        {
            "query_id": query,
            "query": SENTENCES[query],
            "video_name": f"v{video}",
            "timestamp": [2.0 + video, 9.0 + video],
            "relevance": (query + video) % 5,
        }
        for query in range(4)
        for video in range(6)
    ]
    return whole(tmp_path / "judged.json", rows)


@pytest.fixture
def pools(world: Path, tmp_path: Path) -> Path:
    content = json.loads((world / "train.json").read_text())
    for number, entry in enumerate(content.values()):
        beside = f"v{(number + 1) % 6}"
        entry["retrieval_pool"] = [[f"v{number}", beside]] * 2
        entry["pos_moments"] = [[[beside, "x", [2.0, 8.5]]], []]
    return whole(tmp_path / "pools.json", content)


def test_forms_are_told_apart(world: Path, windows: Path, judged: Path, pools: Path, tmp_path: Path) -> None:
    assert form_of(world / "train.json") == DataForm(MOMENTS)
    assert form_of(windows) == DataForm(MOMENTS, several=1, absent=1)
    assert form_of(judged) == DataForm(JUDGEMENTS)
    assert form_of(pools) == DataForm(MOMENTS, pools=True)
    rows = json.loads(judged.read_text())
    assert form_of(lines(tmp_path / "j.jsonl", *rows)).kind == JUDGEMENTS
    keyed = {str(q): [row for row in rows if row["query_id"] == q] for q in range(4)}
    assert form_of(whole(tmp_path / "keyed.json", keyed)).kind == JUDGEMENTS
    nested = [{"query_id": q, "query": "x", "relevant_moment": of} for q, of in keyed.items()]
    assert form_of(whole(tmp_path / "nested.json", nested)).kind == JUDGEMENTS
    boxes = {"a.mp4": {"bbox": [[0, 0, 1, 1]], "st_frame": 1, "English": "x"}}
    assert form_of(whole(tmp_path / "boxes.json", boxes)).kind == BOXES
    feedback = {"v": {"duration": 9, "sts": [{"sentence": "x", "timestamp": [], "no_answer": True}]}}
    feedback["v"]["sts"] += [{"sentence": "y", "timestamp": [1, 2], "no_answer": False}]
    assert form_of(whole(tmp_path / "rf.json", feedback)) == DataForm(MOMENTS, absent=1)
    (tmp_path / "a.txt").write_text("v 0.0 6.9##a person sits.\n")
    assert form_of(tmp_path / "a.txt") == DataForm(MOMENTS)


def report_of(command: Command, folder: Path, *arguments: object) -> tuple[str, dict[str, Any]]:
    """What was said to be measured, and report.json."""
    result = command.ok("eval", *arguments, "-o", folder)
    said = next(line for line in result.stderr.splitlines() if line.startswith("Measured: "))
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert said == f"Measured: {found['chosen']}."
    return said, found


def sections(found: dict[str, Any]) -> list[str]:
    return [one["name"] for one in found["sections"]]


def test_an_index_and_a_model_are_told_apart(world: Path, command: Command, tmp_path: Path) -> None:
    split, features = ("--annotations", world / "train.json"), ("--features", world / "features.h5")
    index, model = world / "collection.mmn", world / "run" / "model"
    said, found = report_of(command, tmp_path / "i", index, *split)
    assert "over the collection, as an index is given" in said
    assert sections(found) == ["collection"]
    said, found = report_of(command, tmp_path / "m", model, *split, *features)
    assert "within videos, as the model and features are given" in said
    assert sections(found) == ["within"]
    said, both = report_of(command, tmp_path / "b", index, *split, *features)
    assert sections(both) == ["within", "collection"]
    assert both["sections"][0]["metrics"] == found["sections"][0]["metrics"]  # it is the index's model
    # The old spelling says the same.
    named = command.ok("eval", "--corpus", "--index", index, *split, "--json").stdout
    assert command.ok("eval", index, *split, "--json").stdout == named
    command.fails("eval", tmp_path, *split, *features, says="is neither an index")
    command.fails("eval", tmp_path / "none", *split, *features, says="expected an index")


def test_an_index_within_a_data_set(world: Path, command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "playhouse"
    folder.mkdir()
    shutil.copy(world / "train.json", folder / "test.json")
    inputs = (world / "collection.mmn", "--dataset", "playhouse", "--data", folder)
    assert sections(report_of(command, tmp_path / "a", *inputs)[1]) == ["collection"]
    charades = [tmp_path if x == folder else "charades" if x == "playhouse" else x for x in inputs]
    shutil.copy(world / "train.json", tmp_path / "charades_test.json")
    told = command.run("eval", *charades, "--assert-within", 0.5)
    assert told.exit_code == 2
    assert "give a MODEL, or --features" in told.stderr
    shutil.copy(world / "features.h5", folder / "features.h5")
    assert sections(report_of(command, tmp_path / "b", *inputs)[1]) == ["within", "collection"]


def test_several_windows_and_none(world: Path, windows: Path, command: Command, tmp_path: Path) -> None:
    data = ("--annotations", windows, "--features", world / "features.h5")
    said, found = report_of(command, tmp_path / "m", world / "run" / "model", *data)
    assert "as QVHighlights does, as 1 sentences have several" in said
    assert "refusals, as 1 sentences have no moment" in said
    assert sections(found) == ["within", "windows", "refusals"]
    _, within, refusals = found["sections"]
    assert within["queries"]["id"] == [str(n) for n in range(5)]
    assert refusals["queries"]["id"] == [str(n) for n in range(6)]  # v5 has no sentence with a moment
    by_name = {one["name"]: one for one in refusals["metrics"]}
    assert by_name["mAP"]["values"][5] is None
    assert by_name["AUROC"]["values"] is None
    assert set(by_name["Acc, threshold 0.5"]["values"]) <= {0, 100}
    # The numbers are those of the metric on the model's own answers.
    model = checkpoint.load(world / "run" / "model")
    questions = read_questions(windows)
    with FeatureFile(world / "features.h5") as features:
        answers = answer_within(
            model,
            questions,
            {f"v{n}": 20.0 + n for n in range(6)},
            lambda video: stored_pre_clips(features, video, model.config),
            score="product",
            nms=0.5,
        )
        first = evaluate_videos(
            model,
            read_annotations(windows).videos,
            lambda video: stored_pre_clips(features, video, model.config),
        )
    expected = localisation(questions, answers)
    assert {name: by_name[name]["value"] for name in expected} == pytest.approx(expected)
    each = qvhighlights(questions[:5], answers[:5])
    assert [one["values"] for one in within["metrics"] if one["name"] == "R1@0.5"] == [
        [int(x) for x in each["R1@0.5"].tolist()]
    ]
    # The first window is the moment that recall within the video looks at.
    assert each["mIoU"].tolist() == pytest.approx((100 * first.ious[:, 0].clamp(min=0)).tolist(), abs=1e-3)
    said, found = report_of(command, tmp_path / "i", world / "collection.mmn", *data)
    assert sections(found) == ["within", "collection", "windows", "refusals"]


def test_graded_relevance_needs_a_collection(
    world: Path, judged: Path, command: Command, tmp_path: Path
) -> None:
    data = ("--annotations", judged)
    said, found = report_of(command, tmp_path / "r", world / "collection.mmn", *data)
    assert "NDCG of TVR-Ranking" in said
    (section,) = found["sections"]
    assert (section["name"], section["definition"]) == ("ranking", "TVR-Ranking")
    assert section["queries"]["video"][0] == "v4"  # of its most relevant moment
    for one in section["metrics"]:
        assert (one["unit"], len(one["values"])) == ("", 4)
        assert sum(one["values"]) / 4 == pytest.approx(one["value"], abs=1e-5)
    assert any(one["value"] > 0 for one in section["metrics"])
    smaller = Path(shutil.copytree(world / "collection.mmn", tmp_path / "smaller.mmn"))
    command.ok("remove", "--index", smaller, "v0")
    report_of(command, tmp_path / "s", smaller, *data)
    command.fails("eval", "--compare", tmp_path / "r", tmp_path / "s", says="as they differ in collection")
    model = (world / "run" / "model", "--features", tmp_path / "none.h5")
    command.fails("eval", *model, *data, says="Give an index")
    told = command.run("eval", world / "collection.mmn", *data, "--write-predictions", tmp_path / "p")
    assert told.exit_code == 2
    assert "leave out --write-predictions" in told.stderr
    rows = json.loads(judged.read_text())
    for row in rows:
        del row["query"]
    whole(judged, rows)
    command.fails("eval", world / "collection.mmn", *data, says="query '0' has no sentence")


def test_pools_are_measured_where_the_file_has_them(
    world: Path, pools: Path, command: Command, tmp_path: Path
) -> None:
    index, model = world / "collection.mmn", world / "run" / "model"
    said, found = report_of(command, tmp_path / "i", index, "--annotations", pools)
    assert "in pools, as the file has them (MVMR)" in said
    assert sections(found) == ["collection", "pools"]
    features = ("--features", world / "features.h5")
    assert sections(report_of(command, tmp_path / "m", model, "--annotations", pools, *features)[1]) == [
        "within"
    ]
    command.ok("eval", "--mvmr", pools, "--index", index, "-o", tmp_path / "p")
    alone = json.loads((tmp_path / "p" / "report.json").read_text())
    assert alone["sections"] == found["sections"][1:]
    assert command.ok("eval", index, "--mvmr", pools, "--json").stdout == (
        command.ok("eval", "--mvmr", pools, "--index", index, "--json").stdout
    )
    compared = command.ok("eval", "--compare", tmp_path / "i", tmp_path / "p")
    assert "MVMR R@1" in compared.stdout


def test_what_cannot_be_is_refused_before_anything_is_read(
    world: Path, text_model: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tube_world import SETTING, make_world

    make_world(tmp_path, 6)
    truths, tubes = tmp_path / "truths.json", tmp_path / "tubes.h5"
    setting = SETTING.format(base="stvg", text=text_model).replace("epochs: 6", "epochs: 1")
    (tmp_path / "mine.yaml").write_text(setting)
    files = ("--annotations", truths, "--features", tubes)
    command.ok("train", *files, "--config", tmp_path / "mine.yaml", "-o", tmp_path / "run")
    model = tmp_path / "run" / "model"
    _, found = report_of(command, tmp_path / "t", model, *files)
    (section,) = found["sections"]
    by_name = {one["name"]: one for one in section["metrics"]}
    assert section["queries"]["video"][0] == "shelf/v00.mp4"
    assert sum(by_name["m_vIoU"]["values"]) / 6 == pytest.approx(by_name["m_vIoU"]["value"], abs=1e-4)

    # An index of tubes is measured by moments in seconds, as any index; every tube's proposals count.
    content = json.loads(truths.read_text())
    moments = {
        name.removesuffix(".mp4"): {
            "duration": 7.0,
            "timestamps": [[(one["st_frame"] - 1) / 10, one["ed_frame"] / 10]],
            "sentences": [one["English"]],
        }
        for name, one in content.items()
    }
    in_seconds = ("--annotations", whole(tmp_path / "moments.json", moments))
    command.ok("build", model, tubes, "-o", tmp_path / "t.mmn")
    _, found = report_of(command, tmp_path / "ti", tmp_path / "t.mmn", *in_seconds)
    assert sections(found) == ["collection"]
    command.fails("eval", tmp_path / "t.mmn", *in_seconds, "--features", tubes, says="has moments of tubes")
    command.ok("eval", tmp_path / "t.mmn", *files[:2])  # by boxes: test_tube_index.py

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was read")

    for place in ("mmn_index.checkpoint.load", "mmn_index.evaluation.annotations.read_entries"):
        monkeypatch.setattr(place, never)
    monkeypatch.setattr("mmn_index.evaluation.data_form.form_of", never)
    options = (("--corpus",), ("--seen", tmp_path / "none"), ("--nms", 0.4), ("--mvmr", tmp_path / "none"))
    options = (*options, ("--predictions", truths))
    for more in options:
        told = command.run("eval", model, *files, *more)
        assert told.exit_code == 2, told.output
        assert "is a model over tubes: leave out" in " ".join(told.stderr.split())
    monkeypatch.undo()
    monkeypatch.setattr("mmn_index.checkpoint.load", never)
    own = ("--annotations", world / "train.json", "--features", tubes)
    command.fails("eval", model, *own, says="has no boxes")
    command.fails("eval", world / "collection.mmn", "--annotations", truths, says="has boxes")
    command.fails("eval", world / "run" / "model", *files, says="has boxes")


def test_an_index_of_a_dual_encoder_is_measured_over_the_collection(command: Command, tmp_path: Path) -> None:
    from folders import make_video
    from tiny_dual_encoders import save

    for seed in range(3):
        make_video(tmp_path / "films" / f"f{seed}.mp4", seed, seconds=2 + seed)
    root = tmp_path / "c.mmn"
    command.ok("build", tmp_path / "films", "--model", save("clip", tmp_path / "clip"), "-o", root)
    content = {
        f"f{n}": {"duration": 2.0 + n, "timestamps": [[0, 1]], "sentences": ["a person opens the door"]}
        for n in range(3)
    }
    split = ("--annotations", whole(tmp_path / "a.json", content))
    assert sections(report_of(command, tmp_path / "r", root, *split)[1]) == ["collection"]
    features = ("--features", tmp_path / "c.features.h5")
    command.fails("eval", root, *split, *features, says="was built with a dual encoder")
    command.fails("eval", root, *split, "--score", "product", says="contrastive")
    model = next(root.glob("model-*"))
    command.fails("eval", model, *split, *features, says="`mmn-index eval INDEX` measures its index")


def test_a_part_that_does_not_suit_costs_nothing_else(
    world: Path, windows: Path, pools: Path, command: Command, tmp_path: Path
) -> None:
    index, model = world / "collection.mmn", world / "run" / "model"
    rows = [json.loads(line) for line in windows.read_text().splitlines()]
    rows[2]["qid"] = rows[1]["qid"]
    data = ("--annotations", lines(windows, *rows), "--features", world / "features.h5")
    for subject in (index, model):
        result = command.ok("eval", subject, *data)
        assert "Windows are not measured: " in result.stderr
        assert "R@1,IoU=0.5" in result.stdout
        command.fails("eval", subject, *data, "--strict", says="comes twice")
    content = json.loads(pools.read_text())
    content["elsewhere"] = {**content["v0"], "retrieval_pool": [["elsewhere"]] * 2, "pos_moments": [[], []]}
    result = command.run("eval", index, "--annotations", whole(pools, content), "-o", tmp_path / "r")
    assert result.exit_code == 3  # a video that the index lacks
    assert "Pools are not measured: " in result.stderr
    assert [one.name for one in read_report(tmp_path / "r").sections] == ["collection"]


# --- the report's folder ------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Which tags and addresses a page has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for n, v in attrs if n in ("src", "href", "xlink:href")]
        self.ids += [v or "" for n, v in attrs if n == "id"]


def test_the_report_holds_everything(world: Path, command: Command, tmp_path: Path) -> None:
    split = world / "train.json"
    inputs = (world / "collection.mmn", "--annotations", split, "--features", world / "features.h5")
    _, found = report_of(command, tmp_path / "r", *inputs, "--seen", split)
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == sorted(REPORT)
    about = found["evaluated"]
    assert about["fingerprint"] == checkpoint.info(world / "run" / "model").fingerprint
    assert (about["index version"], about["videos"]) == (1, 6)
    assert len(found["annotations"]["sha256"]) == 64
    assert found["training split"]["sha256"] == found["annotations"]["sha256"]
    assert set(found["versions"]) == {"mmn-index", "torch", "python"}
    assert found["options"]["NMS"] == 0.5
    for section in found["sections"]:
        assert section["definition"] in found["definitions"]
        assert section["queries"]["video"] == [f"v{n // 2}" for n in range(12)]
        for one in section["metrics"]:
            assert one["definition"] == section["definition"]
            assert sum(one["values"]) / 12 == pytest.approx(one["value"], abs=1e-4)
        assert section["records"]
    page = Page((tmp_path / "r" / "report.html").read_text())
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == len([tag for tag in page.tags if tag == "figure"]) >= 3
    assert all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    text = (tmp_path / "r" / "report.md").read_text()
    for name in ("## Within the right video", "VCMR", "## Measured with", "## Definitions"):
        assert name in text
    # The same evaluation gives the same bytes.
    report_of(command, tmp_path / "again", *inputs, "--seen", split)
    for name in REPORT:
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_names_of_strangers_steer_no_page(world: Path, command: Command, tmp_path: Path) -> None:
    evil = tmp_path / "<script>x&[a](b)\x1b[31m.json"
    shutil.copy(world / "train.json", evil)
    report_of(command, tmp_path / "r", world / "collection.mmn", "--annotations", evil)
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\x1b" not in (tmp_path / "r" / "report.md").read_text()
    assert "[a](b)" not in (tmp_path / "r" / "report.md").read_text()
    assert json.loads((tmp_path / "r" / "report.json").read_text())["annotations"]["path"] == str(evil)


def test_predictions_and_metrics_have_reports_too(world: Path, command: Command, tmp_path: Path) -> None:
    split = ("--annotations", world / "train.json")
    lists = tmp_path / "p.json"
    command.ok("eval", world / "collection.mmn", *split, "--write-predictions", lists)
    report_of(command, tmp_path / "r", "--predictions", lists, *split)
    assert read_report(tmp_path / "r").sections[0].metrics
    content = json.loads((world / "train.json").read_text())
    names = [(f"{n}", v, s) for n, (v, e) in enumerate(content.items()) for s in e["timestamps"][:1]]
    truth = lines(tmp_path / "t.jsonl", *({"qid": q, "vid": v, "relevant_windows": [s]} for q, v, s in names))
    for name, shift in (("near", 0.5), ("far", 5.0)):
        rows = [{"qid": q, "pred_relevant_windows": [[s[0] + shift, s[1] + shift, 1.0]]} for q, _, s in names]
        files = ("--annotations", truth, "--predictions", lines(tmp_path / f"{name}.jsonl", *rows))
        command.ok("eval", "--metric", "qvhighlights", *files, "-o", tmp_path / name)
    shown = command.ok("eval", "--compare", tmp_path / "far", tmp_path / "near").stdout
    assert "B is really better" in shown


def test_what_is_read_is_not_written_over(world: Path, command: Command, tmp_path: Path) -> None:
    """Nor is a place taken that turns out to be unusable after hours."""
    out = tmp_path / "out"
    out.mkdir()
    split = shutil.copy(world / "train.json", out / "report.json")
    index, given = world / "collection.mmn", ("--annotations", split)
    before = split.read_bytes()
    (tmp_path / "link.json").symlink_to(split)
    again = ("--metric", "qvhighlights", "--predictions", split, "-o", out)
    for options in (
        (index, *given, "-o", out),
        (index, *given, "--write-predictions", split),
        (index, *given, "--write-predictions", tmp_path / "link.json"),
        (index, "--annotations", world / "train.json", "--seen", split, "-o", out),
        (*given, *again),
    ):
        command.fails("eval", *options, says="is read here, and would be written over")
        assert split.read_bytes() == before
    two = ("--write-predictions", tmp_path / "report.md", "-o", tmp_path)
    command.fails("eval", index, *given, *two, says="is a file of the report")
    (tmp_path / "taken" / "report.md").mkdir(parents=True)
    told = command.run("eval", index, *given, "-o", tmp_path / "taken")
    assert "report.md: is a folder" in told.stderr
    assert not told.stdout


def test_nesting_without_end_is_damage(world: Path, command: Command, tmp_path: Path) -> None:
    given = ("--annotations", world / "train.json", "--features", world / "features.h5")
    for place, name in (("collection.mmn", "manifest.json"), ("run/model", "config.json")):
        copy = Path(shutil.copytree(world / place, tmp_path / name))
        (copy / name).write_text("[" * 100_000)
        command.fails("eval", copy, *given, says=f"{name}: is damaged")


def some_report() -> Report:
    from test_compare import NAME, report

    return report({NAME: [0.0, 100.0]}, [0, 1])


def test_a_report_is_replaced_in_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    write_report(folder, some_report())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {*REPORT, "notes.txt"}
    later = Report("another", some_report().sections)
    replace = Path.replace
    for fails_at in range(3):  # the first, second or third file cannot get its name
        calls: list[Path] = []

        def refuses(self: Path, target: Path, calls: list[Path] = calls, at: int = fails_at) -> Path:
            if self.name.endswith(".part"):
                calls.append(self)
                if len(calls) == at + 1:
                    raise OSError(28, "No space left on device")
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", refuses)
        with pytest.raises(OutputError, match="No space left on device"):
            write_report(folder, later)
        monkeypatch.undo()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_report(folder, later)
    assert read_report(folder).chosen == "another"
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "taken" / "report.md").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"report\.md: is a folder"):
        write_report(tmp_path / "taken", later)


def test_an_answer_of_a_model_is_never_longer_than_ten(world: Path, windows: Path) -> None:
    model = checkpoint.load(world / "run" / "model")
    questions = read_questions(windows)
    with FeatureFile(world / "features.h5") as features:
        answers: list[WindowAnswer] = answer_within(
            model,
            questions,
            {f"v{n}": 20.0 + n for n in range(6)},
            lambda video: stored_pre_clips(features, video, model.config),
            score="iou",
            nms=1.0,
        )
    assert {len(one.windows) for one in answers} == {10}
    assert all(bool((one.scores.diff() <= 0).all()) for one in answers)
    assert all(torch.isfinite(one.windows).all() for one in answers)
