"""What docs/compatibility.md promises stays: names, options and keys of a stored list."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Command
from stable import Names, stable

HERE = Path(__file__).parent
STORED = json.loads((HERE / "data" / "stable.json").read_text())
PAGE = (HERE.parent / "docs" / "python.md").read_text()
INDEX = HERE / "data" / "formats" / "3-last"
# Keys of the JSON that commands print, of an index whose hits have confidences.
HIT = ["rank", "video", "start", "end", "score", "score_name", "confidence", "exact", "recall", "uri"]
PAIR = ["rank", "video", "score", "score_name", "first", "second", "exact", "uri"]
INFO = [
    *["version", "moments", "videos", "removed_videos", "bytes", "bytes_per_moment", "bank_bytes"],
    *[
        "model_bytes",
        "index_bytes",
        "total_bytes",
        "text_encoder",
        "model",
        "features",
        "joint_dim",
        "spaces",
    ],
    *["score", "hub", "bank", "calibration", "columns", "column_types", "segments"],
]
CORPUS = [
    *["scope", "score", "hub", "part", "task", "nms", "right", "iou", "queries", "num_queries", "videos"],
    *["moments", "R@1", "R@5", "R@10", "R@100", "MedRank", "chance", "proven exact", "interval"],
]
WITHIN = ["scope", "queries", "title", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@5,IoU=0.5", "R@5,IoU=0.7", "mIoU"]


@pytest.mark.parametrize("part", STORED)
def test_nothing_that_is_stable_goes_away(part: str) -> None:
    now, before = flat(stable()[part]), flat(STORED[part])
    assert not before - now, (
        "docs/compatibility.md promises that these stay; a name that goes is kept and warns"
    )
    assert not now - before, "new: `python tests/stable.py > tests/data/stable.json` promises that they stay"


def flat(names: Names) -> set[str]:
    """Names with what belongs to them."""
    return {*names, *(f"{name} {member}" for name, members in names.items() for member in members)}


def test_the_python_page_has_all_of_the_public_names() -> None:
    listed = set(re.findall(r"^::: (\S+)", PAGE, re.MULTILINE))
    errors = {name for name in STORED["python"] if name.startswith("mmn_index.errors.")}
    assert listed - {"mmn_index.errors"} == set(STORED["python"]) - errors - {"mmn_index.__version__"}


def test_json_has_the_keys_that_it_had(command: Command, tmp_path: Path) -> None:
    root = shutil.copytree(INDEX / "index.mmn", tmp_path / "c.mmn")
    command.ok("upgrade", root)
    assert keys(command, "search", "person sits", "--index", root) == HIT
    assert keys(command, "search", "person sits", "--then", "person opens", "--index", root) == PAIR
    (tmp_path / "queries.txt").write_text("person sits\n")
    assert keys(command, "search", "--queries", tmp_path / "queries.txt", "--index", root) == ["query", *HIT]
    assert keys(command, "info", root) == INFO
    moments = {"duration": 20.0, "timestamps": [[2.0, 9.5]], "sentences": ["person opens"]}
    (tmp_path / "val.json").write_text(json.dumps({"cam1/a": moments}))
    annotated = ("--annotations", tmp_path / "val.json")
    assert keys(command, "eval", root, *annotated) == CORPUS
    (model,) = root.glob("model-*")
    assert keys(command, "eval", model, *annotated, "--features", INDEX / "first.h5") == WITHIN


def keys(command: Command, *args: object) -> list[str]:
    """Those of the first line."""
    return list(json.loads(command.ok(*args, "--json").stdout.splitlines()[0]))
