"""Wherever `mmn-index tubes` is killed, what was there is still there, and the same command ends as it would
have.

MMN_TUBE_KILLS=0 pytest tests/test_tube_kills.py   at every line; else at 12 of them
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from mmn_index.index_build.boxes import read_boxes
from mmn_index.index_build.tubes import make_tubes
from test_tubes_of_videos import boxes_json, make_video

from mmn_index.video.backbones import load_backbone

LINES = os.environ.get("MMN_TUBE_KILLS", "12")


def test_a_run_that_is_killed_anywhere_loses_nothing(tmp_path: Path) -> None:
    """Above all while OUT is written, when all parts are finished."""
    films, boxes = tmp_path / "films", boxes_json(tmp_path / "boxes.json", ["a", "b", "c"])
    first = make_video(films / "a.mp4", seconds=1)
    folder = tmp_path / "work"
    folder.mkdir()
    boxes_json(boxes, ["a", "b", "c"], {"frames": 10})
    make_tubes([first], folder / "t.h5", load_backbone("pixels"), boxes=read_boxes(boxes))
    for name in ("b", "c"):
        make_video(films / f"{name}.mp4", seconds=1)
    line = [
        sys.executable,
        str(Path(__file__).with_name("worker_tube_kills.py")),
        films,
        boxes,
        folder,
        LINES,
    ]
    done = subprocess.run(
        line, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    found = [json.loads(one) for one in done.stdout.splitlines()]
    killed = [one for one in found if one["killed"]]
    assert len(killed) > 20
    assert [one for one in found if one["again"] or not (one["before"] or one["after"])] == []
    assert [one for one in found if not one["in the end"] or one["left over"]] == []
    # What was finished is not made again: it counts as made where OUT did not have it yet.
    assert {one["made"] for one in killed if one["after"]} <= {0}
    assert max(one["finished"] for one in killed) == 2
    assert any(one["before"] and one["finished"] == 2 for one in killed)
