"""TVR's submission format: written and read back, scored as TVR's own evaluation does, and what is wrong with
a file said once.
"""

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from conftest import Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmn_index.errors import AnnotationError, OutputError
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.corpus import Lists, measure
from mmn_index.evaluation.queries import annotated, queries_of
from mmn_index.evaluation.recall import Ranked
from mmn_index.evaluation.tvr import read_predictions, write_predictions

ANNOTATIONS = {
    "a": {"duration": 10, "timestamps": [[0, 4], [5, 5], [3, 9]], "sentences": ["x.", "dropped", "y"]},
    "b": {"duration": 10, "timestamps": [[2, 8]], "sentences": ["X"]},
}
GIVEN: dict[str, Any] = {  # "elsewhere" is a video without annotations
    "video2idx": {"b": 7, "elsewhere": 3, "a": 5},
    "VCMR": [
        {"desc_id": 3, "desc": "x ", "predictions": [[5, 0, 4, 0.9], [7, 2.0, 8.0, 0.8]]},
        {"desc_id": 0, "desc": "x.", "predictions": [[3, 0, 4, 1], [5, 0, 8, 0.5], [5, 0, 4, 0.4]]},
        {"desc_id": 2, "predictions": []},
    ],
    "VR": [
        {"desc_id": 0, "predictions": [[3, 0, 0, 1], [5, 0, 0, 0.5]]},
        {"desc_id": 1, "predictions": "of a dropped sentence: not looked at"},
        {"desc_id": 2, "predictions": [[5, 0, 0, 1]]},
        {"desc_id": 3, "predictions": [[5, 0, 0, 1], [7, 0, 0, 1]]},
    ],
    "SVMR": [
        {"desc_id": 0, "predictions": [[7, 0, 4, 1], [5, 0, 8, 0.5], [5, 0, 4, 0.5]]},
        {"desc_id": 2, "predictions": [[5, 3, 9, 1]]},
        {"desc_id": 3, "predictions": [[3, 2, 8, 1]]},
    ],
}


@pytest.fixture
def split(tmp_path: Path):
    (tmp_path / "annotations.json").write_text(json.dumps(ANNOTATIONS))
    return read_annotations(tmp_path / "annotations.json")


def read(path: Path, split, content: object):
    path.write_text(json.dumps(content))
    corpus = annotated(split)
    queries = queries_of(split, corpus)
    lists = read_predictions(path, queries, corpus, split.num_sentences + split.dropped)
    return {(one.task, one.right, one.iou): one for at in lists for one in measure(at, queries, corpus)}


def test_a_file_of_another_system_by_hand(tmp_path: Path, split) -> None:
    found = read(tmp_path / "p.json", split, GIVEN)
    ranks = {key: one.ranks.tolist() for key, one in found.items()}
    none = float("inf")
    # The sentences are "x." and "y" of a, "X" of b; a's [0,8] has IoU 1/2 with [0,4].
    assert ranks["VCMR", "own", 0.5] == [2, none, 2]
    assert ranks["VCMR", "own", 0.7] == [3, none, 2]
    assert ranks["VCMR", "text", 0.7] == [3, none, 1]  # "x." and "X" are one text
    assert ranks["VR", "own", None] == [2, 1, 2]
    assert ranks["VR", "text", None] == [2, 1, 1]
    # Moments of another video are passed over: the second and third of the first sentence's are its first and
    # second.
    assert ranks["SVMR", "own", 0.5] == [1, 1, none]
    assert ranks["SVMR", "own", 0.7] == [2, 1, none]
    assert found["VCMR", "own", 0.5].chance() == {}
    only = read(tmp_path / "p.json", split, {key: GIVEN[key] for key in ("video2idx", "VR")})
    assert {task for task, _, _ in only} == {"VR"}


def official(content: dict[str, Any], task: str, k: int, m: float) -> float:
    """R@k in percent as TVR's standalone evaluation defines it, with loops."""
    truth = [(0, "a", 0, 4), (2, "a", 3, 9), (3, "b", 2, 8)]
    counted = 0
    for desc_id, video, start, end in truth:
        rows = next(entry["predictions"] for entry in content[task] if entry["desc_id"] == desc_id)[:100]
        index = content["video2idx"][video]
        if task == "SVMR":
            rows = [row for row in rows if row[0] == index]
        counted += any(
            row[0] == index
            and (
                task == "VR"
                or oracle.iou(tuple(map(np.float32, row[1:3])), (np.float32(start), np.float32(end)))
                >= np.float32(m)
            )
            for row in rows[:k]
        )
    return 100 * counted / len(truth)


prediction = st.tuples(st.sampled_from([7, 3, 5]), st.integers(0, 8), st.integers(1, 6), st.floats(0, 1)).map(
    lambda x: [x[0], x[1], x[1] + x[2], x[3]]
)
predictions = st.lists(prediction, max_size=12).map(
    lambda rows: rows * 10
)  # up to 120: the last 20 do not count


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(given=st.lists(predictions, min_size=9, max_size=9))
def test_it_is_scored_as_by_tvr(tmp_path: Path, split, given: list[list[list[float]]]) -> None:
    content: dict[str, Any] = {"video2idx": GIVEN["video2idx"]}
    for number, task in enumerate(("SVMR", "VR", "VCMR")):
        content[task] = [
            {"desc_id": d, "predictions": given[3 * number + n]} for n, d in enumerate((0, 2, 3))
        ]
    found = read(tmp_path / "p.json", split, content)
    for (task, right, m), one in found.items():
        if right == "own":
            for k in (1, 5, 10, 100):
                assert one.table()[f"R@{k}"] == pytest.approx(official(content, task, k, m or 0.0))


def test_what_is_written_is_read_back_to_the_bit(tmp_path: Path, split) -> None:
    corpus = annotated(split)
    queries = queries_of(split, corpus)
    random = np.random.default_rng(0)
    lists = [
        Lists(
            task,
            None,
            [
                Ranked(
                    torch.from_numpy(random.integers(0, 2, n))
                    if task != "SVMR"
                    else queries.videos[q].repeat(n),
                    torch.from_numpy(np.sort(random.uniform(0, 10, (n, 2)), axis=1).astype(np.float32)),
                    torch.from_numpy(random.normal(size=n)),
                    True,
                )
                for q, n in enumerate((100, 7, 0))
            ],
        )
        for task in ("SVMR", "VR", "VCMR")
    ]
    write_predictions(tmp_path / "p.json", lists, queries, corpus)
    again = read_predictions(tmp_path / "p.json", queries, corpus, 4)
    assert [one.task for one in again] == ["SVMR", "VR", "VCMR"]
    for one, other in zip(lists, again, strict=True):
        for a, b in zip(one.ranked, other.ranked, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["video2idx"] == {"a": 0, "b": 1}
    assert [(entry["desc_id"], entry["desc"]) for entry in content["VR"]] == [(0, "x."), (2, "y"), (3, "X")]
    with pytest.raises(OutputError, match="Choose another file"):
        write_predictions(tmp_path, lists, queries, corpus)


def first(content: dict[str, Any]) -> Any:
    return content["VCMR"][0]


WRONG: list[tuple[Any, str]] = [
    (lambda x: x.pop("video2idx"), "video2idx is no object"),
    (lambda x: x.update(video2idx=[]), "video2idx is no object"),
    (lambda x: x["video2idx"].pop("a"), "video2idx lacks 1 videos of the annotations, e.g. 'a'"),
    (lambda x: x["video2idx"].update(a="5"), "'a' has index '5', expected an integer"),
    (lambda x: x["video2idx"].update(a=True), "'a' has index True"),
    (lambda x: x["video2idx"].update(a=7), "two videos have the same index"),
    (lambda x: [x.pop(task) for task in ("SVMR", "VR", "VCMR")], "has none of SVMR, VR, VCMR"),
    (lambda x: x.update(VCMR={}), "VCMR is no list"),
    (lambda x: x["VCMR"].append(3), "VCMR, entry 3 is no object"),
    (lambda x: first(x).update(desc_id=4), "VCMR, entry 0: desc_id is 4, expected 0 to 3"),
    (lambda x: first(x).update(desc_id=-1), "desc_id is -1"),
    (lambda x: first(x).update(desc_id="3"), "desc_id is '3'"),
    (lambda x: first(x).pop("desc_id"), "desc_id is None"),
    (lambda x: first(x).update(desc_id=0, desc="x"), "VCMR, entry 1: desc_id 0 comes twice"),
    (lambda x: x["VCMR"].pop(), "VCMR lacks 1 of 3 sentences, e.g. desc_id 2"),
    (lambda x: first(x).update(desc="y"), "desc_id 3 is 'y', in the annotations it is 'X'"),
    (lambda x: first(x).update(desc=7), "desc_id 3 is 7"),
    (lambda x: first(x).pop("predictions"), "VCMR, entry 0: predictions are no list"),
    (
        lambda x: first(x)["predictions"].insert(1, 5),
        "VCMR, entry 0, rank 2: 5, expected [video index, start, end, score]",
    ),
    (lambda x: first(x)["predictions"][0].pop(), "rank 1: [5, 0, 4], expected"),
    (lambda x: first(x)["predictions"][0].__setitem__(0, 6), "rank 1: 6 is no index of video2idx"),
    (lambda x: first(x)["predictions"][0].__setitem__(0, "5"), "rank 1: ['5', 0, 4, 0.9], expected"),
    (lambda x: first(x)["predictions"][0].__setitem__(1, float("nan")), "rank 1: [5, nan, 4, 0.9], expected"),
    (
        lambda x: first(x)["predictions"][0].__setitem__(2, 10**400),
        "expected [video index, start, end, score]",
    ),
    (
        lambda x: first(x)["predictions"][0].__setitem__(2, 1e39),
        "expected [video index, start, end, score]",
    ),  # no float32
    (lambda x: first(x)["predictions"][0].__setitem__(1, 4.5), "with start <= end"),
    (
        lambda x: first(x)["predictions"].insert(0, ["x" * 10**6] * 100),
        "rank 1: ['xxx",
    ),  # and not a million characters, see below
    (lambda x: first(x)["predictions"][0].__setitem__(3, None), "rank 1: [5, 0, 4, None], expected"),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_what_is_wrong_with_a_file(tmp_path: Path, split, change: Any, says: str) -> None:
    content = copy.deepcopy(GIVEN)
    change(content)
    with pytest.raises(AnnotationError) as error:
        read(tmp_path / "p.json", split, content)
    assert str(error.value).startswith(f"{tmp_path / 'p.json'}: ")
    assert says in str(error.value)
    assert len(str(error.value)) < 500


def test_what_is_no_json_object(tmp_path: Path, split) -> None:
    for text, says in (
        ("", "cannot be read as JSON"),
        ("[]", "is no object"),
        ("[" * 100_000, "cannot be read as JSON"),
    ):
        (tmp_path / "p.json").write_text(text)
        corpus = annotated(split)
        with pytest.raises(AnnotationError, match=says):
            read_predictions(tmp_path / "p.json", queries_of(split, corpus), corpus, 4)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_no_value_anywhere_in_a_file_is_a_traceback(tmp_path: Path, split, data: st.DataObject) -> None:
    content = copy.deepcopy(GIVEN)
    place: Any = content
    while True:  # walk down to some value and replace it
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(values)
            break
        place = place[key]
    with suppress(AnnotationError):
        read(tmp_path / "p.json", split, content)


def test_the_command(world: Path, command: Command, tmp_path: Path) -> None:
    annotations, path = world / "train.json", tmp_path / "p.json"
    searched = command.ok(
        "eval",
        "--corpus",
        "--index",
        world / "collection.mmn",
        "--annotations",
        annotations,
        "--nms",
        0.4,
        "--write-predictions",
        path,
        "--json",
    ).stdout
    scored = command.ok("eval", "--predictions", path, "--annotations", annotations, "--json").stdout
    keys = ("task", "right", "iou")
    exact = {
        tuple(one[key] for key in keys): one
        for one in map(json.loads, searched.splitlines())
        if one["part"] == "exact scan" and one["nms"] in (None, 0.4)
    }
    again = {
        tuple(one[key] for key in keys): one
        for one in map(json.loads, scored.splitlines())
        if one["part"] == "predictions"
    }
    assert exact.keys() == again.keys()
    for key, one in again.items():
        assert one["scope"] == "predictions"
        assert {name: one[name] for name in one if name.startswith("R@")} == {
            n: exact[key][n] for n in one if n.startswith("R@")
        }
        assert one.get("AP") == exact[key].get("AP")
    table = command.ok(
        "eval", "--predictions", path, "--annotations", annotations, "--seen", annotations
    ).stdout
    assert "seen wordings" in table
    content = json.loads(path.read_text())
    for task in ("SVMR", "VR", "VCMR"):  # one of the three is enough
        path.write_text(json.dumps({key: content[key] for key in ("video2idx", task)}))
        lines = command.ok("eval", "--predictions", path, "--annotations", annotations).stdout.splitlines()
        assert {line.split()[0] for line in lines if line.split()[:1] in (["SVMR"], ["VR"], ["VCMR"])} == {
            task
        }
    content["VR"][0]["predictions"][0][3] = 10**30  # an integer is a number, of whatever size
    path.write_text(json.dumps(content))
    command.ok("eval", "--predictions", path, "--annotations", annotations)
    path.write_text("{}")
    command.fails(
        "eval", "--predictions", path, "--annotations", annotations, says=f"{path}: video2idx is no object"
    )
    command.fails(
        "eval",
        "--predictions",
        tmp_path / "none",
        "--annotations",
        annotations,
        says="no such file of predictions",
    )
    assert (
        "keep the results of --corpus"
        in command.run("eval", "--predictions", path, "--write-predictions", path).stderr
    )
