"""Metrics of other fields against what their published evaluators say of small cases."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import arrays, golden

from mmn_index.evaluation.gmr import KS, THRESHOLDS, localisation, rejection
from mmn_index.evaluation.made_elsewhere import METRICS
from mmn_index.evaluation.ndcg import mean_ndcg, read_judgements, read_ranking
from mmn_index.evaluation.tube_files import Stretch
from mmn_index.evaluation.viou import EVALUATORS, measure_tubes, mmn_stvg, sampled_frames
from mmn_index.evaluation.window_files import read_answers, read_questions
from mmn_index.evaluation.window_metrics import IOUS, mean_precisions, recalled
from mmn_index.tubes import Tube, tube_iou


def content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(golden("evaluators", name).read_text())
    return found


def written(path: Path, value: Any) -> Path:
    """A value as JSON, a list as lines."""
    lines = [json.dumps(row) + "\n" for row in value] if isinstance(value, list) else [json.dumps(value)]
    path.write_text("".join(lines))
    return path


def test_ndcg_of_every_query_and_their_mean(tmp_path: Path) -> None:
    case = content("ndcg.json")
    truths = read_judgements(written(tmp_path / "t.json", case["truths"]))
    lists = read_ranking(written(tmp_path / "p.json", case["predictions"]), list(truths))
    found = mean_ndcg(truths, lists, case["K"], case["IoU"])
    assert len(found) == len(case["K"]) * len(case["IoU"])
    for (k, m), value in found.items():
        assert value == pytest.approx(case["expected"][str(k)][str(m)], abs=1e-9)
    for query, expected in case["per_query"].items():
        for (k, m), value in mean_ndcg({query: truths[query]}, lists, case["K"], case["IoU"]).items():
            assert value == pytest.approx(expected[str(k)][str(m)], abs=1e-9), (query, k, m)


def test_ndcg_of_rows_is_that_of_an_object(tmp_path: Path) -> None:
    case = content("ndcg.json")
    rows = {
        part: [{"query_id": query, **row} for query, rows in case[part].items() for row in rows]
        for part in ("truths", "predictions")
    }
    truths = read_judgements(written(tmp_path / "t.jsonl", rows["truths"]))
    assert truths == read_judgements(written(tmp_path / "t.json", case["truths"]))
    answered = [query for query, given in case["predictions"].items() if given]
    lists = read_ranking(written(tmp_path / "p.jsonl", rows["predictions"]), answered)
    whole = read_ranking(written(tmp_path / "p.json", case["predictions"]), list(truths))
    assert lists == {query: whole[query] for query in answered}


def test_generalised_moment_retrieval_to_the_digits_it_prints(tmp_path: Path) -> None:
    case = content("gmr.json")
    questions = read_questions(written(tmp_path / "t.jsonl", case["truths"]))
    answers = read_answers(written(tmp_path / "p.jsonl", case["predictions"]), questions)
    assert {float(gate) for gate in case["expected_by_gate"]} == set(THRESHOLDS)
    assert tuple(case["k"]) == KS
    for gate, expected in case["expected_by_gate"].items():
        wanted = {**expected["brief"], **expected["GMR-CLS"]["per_threshold"][gate]}
        found = rejection(questions, answers, float(gate)) | localisation(questions, answers)
        assert {name: round(value, 2) for name, value in found.items()} == {
            name: wanted[name] for name in found
        }
        left = wanted.keys() - found.keys() - {"TP", "TN", "FP", "FN"}
        assert all("@0." in name or name.startswith("mIoU") for name in left)


def test_each_iou_of_generalised_moment_retrieval(tmp_path: Path) -> None:
    case = content("gmr.json")
    questions = read_questions(written(tmp_path / "t.jsonl", case["truths"]))
    answers = read_answers(written(tmp_path / "p.jsonl", case["predictions"]), questions)
    having = [(q, a) for q, a in zip(questions, answers, strict=True) if len(q.windows)]
    expected = case["expected_by_gate"]["0.5"]
    precisions = mean_precisions(*zip(*having, strict=True)).tolist()
    assert {f"{m:.2f}": round(100 * x, 2) for m, x in zip(IOUS, precisions, strict=True)} == expected[
        "mAP_detail"
    ]["AP@IoU"]
    for k in KS:
        for m in IOUS:
            share = sum(recalled(a, q.windows, k, m) / len(q.windows) for q, a in having) / len(having)
            assert round(100 * share, 2) == expected["mR_detail"][f"mR@{k}_per_IoU"][f"{m:.2f}"], (k, m)


EVALUATOR = {  # ours -> the golden file's
    "HC-STVG": "HC-STVG eval_hcvg.py",
    "TubeDETR": "TubeDETR datasets/hcstvg_eval.py",
    "STCAT": "STCAT datasets/evaluation/hcstvg_eval.py",
    "CG-STVG": "CG-STVG datasets/evaluation/hcstvg_eval.py",
    "MMN-STVG": "MMN-STVG tan/data/datasets/iou3dt.py",
    "VUE-STG": "VUE-STG evaluate.py, step 1 frame",
}
VUE = {"vIoU": "v_IoU", "tIoU": "t_IoU", "vIoU_int": "v_IoU_Int", "3D_IoU": "3D_IoU"}


def stretch(one: dict[str, Any], count: int) -> Stretch:
    frames = torch.arange(one["st_frame"], one["ed_frame"] + 1)
    tube = Tube(frames, torch.tensor(one["boxes"], dtype=torch.float64))
    return Stretch(one["st_frame"], one["ed_frame"], tube, count)


def test_tubes_by_every_published_evaluator() -> None:
    for case in content("stvg.json")["cases"]:
        answer, truth = (stretch(case[part], case["frame_count"]) for part in ("prediction", "truth"))
        assert len(sampled_frames(case["frame_count"])) == case["expected"][EVALUATOR["TubeDETR"]]["frames"]
        for one in EVALUATORS:
            expected = case["expected"][EVALUATOR[one.name]]
            for name, value in one.measure(answer, truth).items():
                wanted = expected[VUE[name] if one.name == "VUE-STG" else name]
                about = (case["name"], one.name, name)
                assert value == wanted if wanted is None else value == pytest.approx(wanted, abs=1e-6), about


def test_means_over_tubes_in_files(tmp_path: Path) -> None:
    cases = content("stvg.json")["cases"]
    truths, results = {}, {}
    for number, case in enumerate(cases):
        truth, answer = case["truth"], case["prediction"]
        wide = [[x, y, right - x, bottom - y] for x, y, right, bottom in truth["boxes"]]
        truths[f"v{number}.mp4"] = {
            "st_frame": truth["st_frame"],
            "img_num": case["frame_count"],
            "bbox": wide,
        }
        boxes = {str(answer["st_frame"] + place): box for place, box in enumerate(answer["boxes"])}
        results[f"v{number}"] = {
            "st_frame": answer["st_frame"],
            "ed_frame": answer["ed_frame"],
            "bbox": boxes,
        }
    files = written(tmp_path / "t.json", truths), written(tmp_path / "p.json", results)
    records = {one["evaluator"]: one for one in METRICS["viou"](*files).records}
    assert list(records) == list(EVALUATOR)
    for name in ("HC-STVG", "TubeDETR", "STCAT", "CG-STVG", "MMN-STVG"):
        each = [case["expected"][EVALUATOR[name]] for case in cases]
        for key in ("vIoU", "tIoU", "vIoU@0.3", "vIoU@0.5", "gt_vIoU"):
            ours = f"m_{key}" if key in ("vIoU", "tIoU") else key
            assert (ours in records[name]) == (key in each[0])
            if key in each[0]:
                mean = 100 * np.mean([one[key] for one in each])
                assert records[name][ours] == pytest.approx(mean, abs=1e-4), (name, key)
    inner = [case["expected"][EVALUATOR["VUE-STG"]]["v_IoU_Int"] for case in cases]
    wanted = 100 * np.mean([value for value in inner if value is not None])
    assert records["VUE-STG"]["vIoU_int"] == pytest.approx(wanted, abs=1e-4)


def test_tubes_that_mmn_stvg_measured_itself() -> None:
    folder = golden("stvg-metrics")
    expected, given = json.loads((folder / "expected.json").read_text()), arrays(folder / "predictions.npz")
    truths, answers = {}, {}
    for number, video in enumerate(expected["videos"]):
        first, end = video["rows"]
        tubes = [given[f"gt_tube_{number}"], given[f"tube_{number}_{video['tube']}"][first:end]]
        truths[number], answers[number] = (
            Stretch(
                int(t[0, 0]),
                int(t[-1, 0]),
                Tube(torch.from_numpy(t[:, 0]).long(), torch.from_numpy(t[:, 1:5])),
            )
            for t in tubes
        )
        found = mmn_stvg(answers[number], truths[number])
        assert found == {key: pytest.approx(video[key], abs=1e-6) for key in ("vIoU", "tIoU")}, video["kind"]
        plain = tube_iou(answers[number].tube, truths[number].tube)
        assert plain <= found["vIoU"] + 1e-6  # pixels count as well: never less
    result = next(one for one in measure_tubes(truths, answers) if one.name == "MMN-STVG")
    assert result.values["m_vIoU"] == pytest.approx(100 * expected["viou"], abs=1e-4)
    assert result.values["m_tIoU"] == pytest.approx(100 * expected["tiou"], abs=1e-4)
    for t in (0.3, 0.5):
        assert result.values[f"vIoU@{t}"] == pytest.approx(
            100 * expected["result_dict"][f"R@1,IoU@{t}"], abs=1e-4
        )
