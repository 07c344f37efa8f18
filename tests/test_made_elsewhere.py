"""Files of predictions made elsewhere: what the golden files do not hold, and what is wrong said in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command

from mmn_index.confidence import ranking_area
from mmn_index.errors import AnnotationError
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.made_elsewhere import METRICS
from mmn_index.evaluation.queries import annotated, queries_of
from mmn_index.evaluation.tube_files import read_results
from mmn_index.evaluation.tube_truths import read_right_tubes
from mmn_index.evaluation.viou import measure_tubes
from mmn_index.evaluation.window_files import (
    Question,
    WindowAnswer,
    read_answers,
    read_questions,
    write_answers,
)
from mmn_index.evaluation.window_metrics import IOUS, average_precisions, recalled
from mmn_index.tubes import Tube, box_iou, tube_iou

NAN = float("nan")


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def whole(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def spans(*windows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(windows, dtype=torch.float64).reshape(-1, 2)


# --- QVHighlights -------------------------------------------------------------------------------------------------

TRUTHS = (
    {"qid": 1, "query": "a", "vid": "v", "duration": 150, "relevant_windows": [[0, 10], [20, 50]]},
    {"qid": "two", "query": "b", "vid": "v", "duration": 150, "relevant_windows": [[60, 150]]},
)
ANSWERS = (
    {"qid": "two", "pred_relevant_windows": [[0, 1, 0.9], [60, 150, 0.8]], "pred_saliency_scores": [0.1]},
    {"qid": 1, "pred_relevant_windows": [[0, 8, 0.5], [20, 50, 0.9], [0, 10, 0.1]]},
)


def test_qvhighlights_by_hand(tmp_path: Path) -> None:
    files = lines(tmp_path / "t.jsonl", *TRUTHS), lines(tmp_path / "p.jsonl", *ANSWERS)
    found = METRICS["qvhighlights"](*files).records[0]
    # In the order of scores the first sentence's are [20, 50], [0, 8] of IoU .8, [0, 10]: up to .8 the second takes
    # the first window, so the third is a duplicate; above, the third takes it at rank 3.
    low, high = 1.0, (1 + 2 / 3) / 2
    # The second sentence's right one is second: a precision of 1/2.
    assert found["mAP@0.5"] == pytest.approx(100 * (low + 0.5) / 2)
    assert found["mAP"] == pytest.approx(100 * (0.7 * low + 0.3 * high + 0.5) / 2)
    assert found["R1@0.7"] == 50  # [0, 8], the first in the file, whatever its score
    assert found["mIoU"] == pytest.approx(100 * 0.8 / 2)
    # (0, 10] keeps the first window alone, (10, 30] the second alone, (30, 150] the other sentence.
    assert found["mAP short"] == pytest.approx(100 * (0.7 / 2 + 0.3 / 3))
    assert found["mAP middle"] == 100
    assert found["mAP long"] == 50


def test_precision_is_interpolated_and_the_last_of_equal_windows_is_taken() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64)
    late = WindowAnswer(spans((50, 60), (0, 10), (20, 30)), scores)
    # Hits at ranks 2 and 3: the precision of 2/3 at the second holds at the first as well.
    assert average_precisions(late, spans((0, 10), (20, 30))).tolist() == pytest.approx([2 / 3] * len(IOUS))
    both = WindowAnswer(spans((0, 10), (0, 4)), scores[:2])
    assert (
        recalled(both, spans((0, 4), (6, 10)), 2, 0.4) == 2
    )  # the first prediction leaves [0, 4] to the second


def test_ten_predictions_count_in_the_order_of_the_file() -> None:
    windows = spans(*[(100.0, 101.0)] * 10, (0.0, 10.0))
    scores = torch.tensor([0.1] * 10 + [0.9], dtype=torch.float64)
    assert not average_precisions(WindowAnswer(windows, scores), spans((0, 10))).any()
    assert average_precisions(WindowAnswer(windows[1:], scores[1:]), spans((0, 10))).tolist() == [1.0] * len(
        IOUS
    )


def test_a_submission_that_is_written_is_read_back(tmp_path: Path) -> None:
    questions = [Question(7, "a\u2028b", "v", spans((0, 1))), Question("x", "c", "w", spans())]
    answers = [
        WindowAnswer(spans((0.1, 0.7), (2, 3)), torch.tensor([0.5, -7.25], dtype=torch.float64), 0.125),
        WindowAnswer(spans(), torch.empty(0, dtype=torch.float64)),
    ]
    write_answers(tmp_path / "p.jsonl", questions, answers)
    assert json.loads((tmp_path / "p.jsonl").read_text().split("\n")[0])["qid"] == 7
    for ours, found in zip(answers, read_answers(tmp_path / "p.jsonl", questions), strict=True):
        assert torch.equal(ours.windows, found.windows)
        assert torch.equal(ours.scores, found.scores)
        assert ours.existence == found.existence
    assert [answer.sure for answer in answers] == [0.125, 0.0]


def test_sentences_without_a_moment_in_every_form(tmp_path: Path) -> None:
    feedback = {
        "v": {
            "duration": 30,
            "sts": [
                {"sentence": "a", "id": "v-0", "timestamp": [1, 4], "no_answer": False},
                {"sentence": "b", "id": "w-0", "timestamp": [], "no_answer": True},
            ],
        }
    }
    official = {"v": {"duration": 30, "timestamps": [[1, 4], [0, 0]], "sentences": ["a", "b"]}}
    for content in (feedback, official):
        found = read_questions(whole(tmp_path / "t.json", content))
        assert [(one.qid, one.sentence, one.video) for one in found] == [(0, "a", "v"), (1, "b", "v")]
        assert [one.windows.tolist() for one in found] == [[[1, 4]], []]
    split = read_annotations(tmp_path / "t.json")
    assert (split.num_sentences, split.dropped) == (1, 1)
    bad = {"v": {"duration": 30, "sts": [{"sentence": "a", "timestamp": []}]}}
    with pytest.raises(AnnotationError, match=r"video 'v': a moment is \[\], expected .* no_answer"):
        read_annotations(whole(tmp_path / "t.json", bad))


def test_fine_grained_sentences(tmp_path: Path) -> None:
    row = {
        "video": "AO8RW",
        "time": [1, 3.5],
        "desc_id": 7,
        "duration": 30.0,
        "cog_desc": "a",
        "fig_desc": "a red a",
    }
    video = read_annotations(lines(tmp_path / "t.jsonl", row)).videos[0]
    assert (video.video_id, video.duration, video.sentences, video.positions) == (
        "AO8RW",
        30,
        ("a red a",),
        (7,),
    )
    assert video.moments.tolist() == [[1, 3.5]]
    with pytest.raises(AnnotationError, match="line 1: fig_desc is None"):
        read_annotations(lines(tmp_path / "t.jsonl", {**row, "fig_desc": None}))


def test_windows_of_one_sentence_are_one_query(tmp_path: Path) -> None:
    split = read_annotations(lines(tmp_path / "t.jsonl", *TRUTHS, {**TRUTHS[0], "qid": 3}))
    assert split.num_sentences == 5
    queries = queries_of(split, annotated(split))
    assert queries.sentences == ("a", "b", "a")
    own = [right.spans.tolist() for right in queries.right["own"]]
    assert own == [[[0, 10], [20, 50]], [[60, 150]], [[0, 10], [20, 50]]]
    assert [len(right.spans) for right in queries.right["text"]] == [4, 1, 4]
    assert queries.part([2]).right["own"][0].spans.tolist() == own[2]


# --- tubes --------------------------------------------------------------------------------------------------------


def test_boxes_and_tubes_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0, 2, 2], [0, 0, 0, 0]]), torch.tensor([[1.0, 0, 3, 2], [0, 0, 0, 0]])
    assert box_iou(a, b).tolist() == [pytest.approx(1 / 3), 0]
    assert box_iou(a, b, 1).tolist() == [pytest.approx(6 / 12), 1]  # three pixels wide, two of them common
    apart = Tube(torch.tensor([9]), a[:1]), Tube(torch.tensor([1, 2]), torch.cat([a[:1], a[:1]]))
    assert tube_iou(*apart) == 0
    touching = Tube(torch.tensor([2, 3]), torch.cat([a[:1], a[:1]]))
    assert tube_iou(touching, apart[1]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("frames", "boxes"), [([1, 1], 2), ([2, 1], 2), ([1], 2), ([], 0)])
def test_tubes_that_are_none(frames: list[int], boxes: int) -> None:
    with pytest.raises(ValueError, match="frames"):
        Tube(torch.tensor(frames, dtype=torch.int64), torch.zeros(boxes, 4))


def test_videos_without_an_answer_and_frames_without_a_box(tmp_path: Path) -> None:
    box = [0, 0, 10, 10]
    truths = {name: {"st_frame": 1, "img_num": 100, "bbox": [box] * 10} for name in ("a.mp4", "b.mp4")}
    gap = {str(frame): box for frame in range(1, 11) if frame != 5}
    right = read_right_tubes(whole(tmp_path / "t.json", truths))
    answers = read_results(
        whole(tmp_path / "p.json", {"a": {"st_frame": 1, "ed_frame": 10, "bbox": gap}}), right
    )
    found = {one.name: one for one in measure_tubes(right, answers)}
    assert found["HC-STVG"].values["m_vIoU"] == pytest.approx(100 * 0.9 / 2)
    assert found["CG-STVG"].values["m_vIoU"] == pytest.approx(100 * (8 / 9) / 2)
    assert found["CG-STVG"].values["gt_vIoU"] == pytest.approx(100 * 0.9 / 2)
    for name in ("STCAT", "MMN-STVG", "TubeDETR"):
        assert not found[name].values
        assert "'a.mp4' lacks a box" in found[name].why_not
    full = read_results(
        whole(tmp_path / "p.json", {"a": {"st_frame": 1, "ed_frame": 10, "bbox": {**gap, "5": box}}}), right
    )
    found = {one.name: one for one in measure_tubes(right, full)}
    assert (found["MMN-STVG"].values["m_vIoU"], found["MMN-STVG"].videos) == (100, 1)
    assert (found["STCAT"].values["m_vIoU"], found["STCAT"].videos) == (50, 2)
    short = {name: {**one, "img_num": 80} for name, one in truths.items()}
    less = measure_tubes(read_right_tubes(whole(tmp_path / "t.json", short)), full)
    assert "fewer than 5 a second" in next(one for one in less if one.name == "TubeDETR").why_not


# --- what is wrong with a file ------------------------------------------------------------------------------------

MOMENT = {"query_id": 1, "video_name": "v", "timestamp": [0, 1], "relevance": 1}
TUBE = {"st_frame": 1, "ed_frame": 1, "bbox": {"1": [0, 0, 1, 1]}}
BAD: list[tuple[str, str, object, str]] = [
    ("ndcg", "t", {**MOMENT, "relevance": NAN}, "line 1: relevance is nan, expected a number from 0 to 100"),
    ("ndcg", "t", {**MOMENT, "relevance": True}, "relevance is True"),
    ("ndcg", "t", {**MOMENT, "relevance": 10**400}, "relevance is 1000"),
    ("ndcg", "t", {**MOMENT, "timestamp": [3, 1]}, "timestamp ends at 1, before its start at 3"),
    ("ndcg", "t", {**MOMENT, "timestamp": [0, 1, 2]}, r"timestamp is \[0, 1, 2\], expected \[start, end\]"),
    ("ndcg", "t", {**MOMENT, "video_name": None}, "has no video_name"),
    ("ndcg", "t", {"1": {"video_name": "v"}}, "'1' is no list"),
    ("ndcg", "t", {"1": [7]}, "'1', entry 1: is 7, not an object"),
    ("ndcg", "t", {"1": []}, "'1' has no judged moment"),
    ("ndcg", "t", {}, "is an empty object"),
    ("ndcg", "p", {"1": [], "2": []}, "has 1 queries that the truths do not have, e.g. '2'"),
    ("ndcg", "p", {"2": []}, "lacks 1 of 1 queries, e.g. '1'"),
    ("gmr", "t", {"qid": 1}, "line 1: has no relevant_windows, as in test splits"),
    ("gmr", "t", {"qid": [1], "relevant_windows": []}, r"qid is \[1\], expected text or an integer"),
    ("gmr", "t", {"qid": 1, "relevant_windows": [[1, 1]]}, "a right window lasts from 1 to 1"),
    ("gmr", "t", {"qid": 1, "relevant_windows": {}}, "relevant_windows is {}, expected"),
    (
        "gmr",
        "p",
        {"qid": 1, "pred_relevant_windows": [[0, 1]]},
        r"entry 1 is \[0, 1\], expected \[start, end, score\]",
    ),
    ("gmr", "p", {"qid": 1, "pred_relevant_windows": [[0, NAN, 1]]}, r"entry 1 is \[0, nan, 1\]"),
    ("gmr", "p", {"qid": 1, "pred_relevant_windows": [[2, 1, 1]]}, "ends at 1, before its start at 2"),
    ("gmr", "p", {"qid": 1}, "pred_relevant_windows is missing"),
    ("gmr", "p", {"qid": 1, "pred_relevant_windows": [], "pred_exist_score": "x"}, "pred_exist_score is 'x'"),
    ("gmr", "p", {"qid": 2, "pred_relevant_windows": []}, "qid 2 is none of the 1 of the annotations"),
    (
        "qvhighlights",
        "t",
        {"qid": 1, "relevant_windows": []},
        "have no right window, e.g. qid 1.*--metric gmr",
    ),
    ("viou", "t", {"v": {**TUBE, "ed_frame": 0}}, "ed_frame is 0, before st_frame 1"),
    ("viou", "t", {"v": {"st_frame": 1, "bbox": []}}, "bbox is empty"),
    ("viou", "t", {"v": {"st_frame": 1, "ed_frame": 9, "bbox": [[0, 0, 1, 1]]}}, "do not fit 1 boxes"),
    ("viou", "t", {"v": {"st_frame": 1, "bbox": [[0, 0, -1, 1]]}}, "a box of negative size"),
    (
        "viou",
        "t",
        {"v": {"st_frame": 1.5, "bbox": [[0, 0, 1, 1]]}},
        "st_frame is 1.5, expected an integer from 0",
    ),
    ("viou", "t", {"v": []}, r"'v': is \[\], not an object"),
    ("viou", "p", {"v": {**TUBE, "bbox": {"x": [0, 0, 1, 1]}}}, "'x' is no number of a frame"),
    (
        "viou",
        "p",
        {"v": {**TUBE, "bbox": {"1": [0, 0, 1, 1], "01": [0, 0, 1, 1]}}},
        "two boxes for one frame",
    ),
    ("viou", "p", {"v": {**TUBE, "bbox": {"9" * 30: [0, 0, 1, 1]}}}, "is no number of a frame"),
    ("viou", "p", {"v": {**TUBE, "bbox": {"1": [0, 0, 1, NAN]}}}, r"frame 1 is \[0, 0, 1, nan\]"),
    ("viou", "p", {"w": TUBE}, "'w' is none of the 1 videos"),
    ("viou", "p", {"v": TUBE, "v.mp4": TUBE}, "'v.mp4' comes twice"),
    ("viou", "p", [1], "is a list"),
]
GOOD: dict[str, tuple[object, object]] = {
    "ndcg": (MOMENT, {"1": []}),
    "gmr": ({"qid": 1, "relevant_windows": [[0, 1]]}, {"qid": 1, "pred_relevant_windows": []}),
    "qvhighlights": ({"qid": 1, "relevant_windows": [[0, 1]]}, {"qid": 1, "pred_relevant_windows": []}),
    "viou": ({"v": TUBE}, {"v": TUBE}),
}


@pytest.mark.parametrize("metric", list(GOOD))
def test_the_files_that_are_broken_below_are_good(tmp_path: Path, metric: str) -> None:
    assert METRICS[metric](
        *(lines(tmp_path / f"{n}.json", one) for n, one in enumerate(GOOD[metric]))
    ).records


@pytest.mark.parametrize(("metric", "which", "content", "says"), BAD)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, metric: str, which: str, content: object, says: str
) -> None:
    truth, answer = (content, GOOD[metric][1]) if which == "t" else (GOOD[metric][0], content)
    files = lines(tmp_path / "t.json", truth), lines(tmp_path / "p.json", answer)
    with pytest.raises(AnnotationError, match=says) as caught:
        METRICS[metric](*files)
    assert "\n" not in str(caught.value)
    assert f"{which}.json" in str(caught.value)


@pytest.mark.parametrize("metric", list(GOOD))
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[",
        b"{",
        b'{"a"',
        b'{"a": 1, "a": 2}',
        b"[[[[",
        b"[" * 100_000,
        b'"x"',
        b"3\n4",
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, metric: str, text: bytes) -> None:
    good = lines(tmp_path / "good.json", GOOD[metric][0])
    (tmp_path / "bad.json").write_bytes(text)
    for files in ((tmp_path / "bad.json", good), (good, tmp_path / "bad.json")):
        with pytest.raises(AnnotationError, match=r"bad\.json") as caught:
            METRICS[metric](*files)
        assert "\n" not in str(caught.value)
    with pytest.raises(AnnotationError, match="no such"):
        METRICS[metric](tmp_path / "none.json", good)


def test_duplicates_of_rows(tmp_path: Path) -> None:
    twice = lines(tmp_path / "t.jsonl", TRUTHS[0], {**TRUTHS[0], "qid": "1"})
    with pytest.raises(AnnotationError, match="line 2: qid 1 comes twice"):
        read_questions(twice)
    questions = read_questions(lines(tmp_path / "t.jsonl", *TRUTHS))
    with pytest.raises(AnnotationError, match="line 2: qid two comes twice"):
        read_answers(lines(tmp_path / "p.jsonl", ANSWERS[0], ANSWERS[0]), questions)
    with pytest.raises(AnnotationError, match="lacks 1 of 2 sentences"):
        read_answers(lines(tmp_path / "p.jsonl", ANSWERS[0]), questions)


def test_the_area_counts_equal_ones_half() -> None:
    present, absent = torch.tensor([0.5, 0.9, 0.5]), torch.tensor([0.5, 0.1])
    pairs = [(p > a) + (p == a) / 2 for p in present.tolist() for a in absent.tolist()]
    assert ranking_area(present, absent) == pytest.approx(sum(pairs) / len(pairs))


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, command: Command) -> None:
    files: list[Any] = ["--annotations", lines(tmp_path / "t.jsonl", *TRUTHS)]
    files += ["--predictions", lines(tmp_path / "p.jsonl", *ANSWERS)]
    assert "mAP@0.75" in command.ok("eval", "--metric", "qvhighlights", *files).stdout
    record = json.loads(command.ok("eval", "--metric", "qvhighlights", *files, "--json").stdout)
    assert (record["metric"], record["sentences"], record["R1@0.5"]) == ("qvhighlights", 2, 50)
    result = command.ok("eval", "--metric", "gmr", *files)
    assert "AUROC needs sentences with a moment" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--annotations", "t"), "give both"),
        (
            ("--annotations", "t", "--predictions", "p", "--corpus", "--nms", "0.5"),
            "leave out --corpus, --nms",
        ),
        (("--annotations", "t", "--predictions", "p", "model"), "leave out INDEX|MODEL"),
    ],
)
def test_what_the_metric_does_not_look_at(command: Command, arguments: tuple[str, ...], says: str) -> None:
    result = command.run("eval", "--metric", "ndcg", *arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_an_index_answers_in_this_format(world: Path, command: Command, tmp_path: Path) -> None:
    given = json.loads((world / "train.json").read_text())
    asked: list[object] = ["--corpus", "--index", world / "collection.mmn", "--nms", 0.4]
    split = ["--annotations", whole(tmp_path / "t.json", given)]
    searched = command.ok(
        "eval", *asked, *split, "--write-predictions", tmp_path / "p.jsonl", "--json"
    ).stdout
    scored = command.ok(
        "eval", "--metric", "qvhighlights", *split, "--predictions", tmp_path / "p.jsonl", "--json"
    )
    own = [one for one in map(json.loads, searched.splitlines()) if one["part"] == "exact scan"]
    svmr = {
        one["iou"]: one["R@1"]
        for one in own
        if (one["task"], one["nms"], one["right"]) == ("SVMR", 0.4, "own")
    }
    found = json.loads(scored.stdout)
    assert {m: found[f"R1@{m}"] for m in svmr} == pytest.approx(svmr, abs=1e-3)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert all(len(row["pred_relevant_windows"]) <= 10 for row in rows)
    assert not any("pred_exist_score" in row for row in rows)  # the index is not calibrated

    # A sentence about nothing in the video is asked as well, one about a video elsewhere gets an empty list.
    video = next(iter(given))
    given[video] = {**given[video], "timestamps": [[1, 1], *given[video]["timestamps"][1:]]}
    given["elsewhere"] = {"duration": 9, "timestamps": [[1, 2]], "sentences": ["x"]}
    split = ["--annotations", whole(tmp_path / "t.json", given)]
    command.run("eval", *asked, *split, "--write-predictions", tmp_path / "p.jsonl")
    questions = read_questions(tmp_path / "t.json")
    answers = read_answers(tmp_path / "p.jsonl", questions)
    empty = [
        question.video for question, answer in zip(questions, answers, strict=True) if not len(answer.windows)
    ]
    assert empty == ["elsewhere"]
    assert [len(question.windows) for question in questions].count(0) == 1
