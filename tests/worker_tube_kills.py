"""Runs `mmn-index tubes` in children that die at a step of their work, and looks at what the same command
makes of it; see test_tube_kills.py.

python worker_tube_kills.py FILMS BOXES FOLDER LINES

FOLDER has t.h5, tubes of some of the FILMS. Children die at every call that changes files, and at some LINES (0:
all), the first and the last time that they run. For each a line of JSON is printed.
Nothing is computed in this process (see worker_kills.py).
"""

import json
import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import worker_kills
from forks import forked
from mmn_index.index_build.boxes import read_boxes
from mmn_index.index_build.tubes import make_tubes
from worker_kills import Steps

from mmn_index.tube_file import TubeFile
from mmn_index.video.backbones import load_backbone

worker_kills.TRACED = ("tubes.py", "tube_file.py", "shutil.py", "places.py")


def run(films: Path, boxes: Path, out: Path) -> int:
    """How many videos were made."""
    return make_tubes([films], out, load_backbone("pixels"), boxes=read_boxes(boxes)).made


def stepped(kind: str, last: tuple[str, int] | None, *arguments: Path) -> dict[str, int]:
    steps = Steps(kind, last)
    steps.arm()
    run(*arguments)
    steps.disarm()
    return dict(steps.counts)


def content(out: Path) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    with TubeFile(out) as file:
        for video_id in file.video_ids:
            tubes = file.tubes(video_id)
            sums = [float(x.double().sum()) for one in tubes for x in (one.tube.boxes, *one.streams)]
            found[video_id] = [file.source(video_id), file.made_of(video_id), len(tubes), *sums]
    return found


def in_child(*work: object) -> tuple[int, object]:
    child, here = forked(*work)  # type: ignore[arg-type]
    try:
        found = here.recv()
    except EOFError:
        found = None
    return os.waitpid(child, 0)[1], found


def kill_them(films: Path, boxes: Path, folder: Path, most: int) -> None:
    trial = folder / "trial"

    def fresh() -> Path:
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir()
        shutil.copy(folder / "t.h5", trial)
        return trial / "t.h5"

    before = in_child(content, folder / "t.h5")[1]
    status, counts = in_child(stepped, "calls", None, films, boxes, fresh())
    assert status == 0
    after = in_child(content, trial / "t.h5")[1]
    _, lines = in_child(stepped, "lines", None, films, boxes, fresh())
    assert isinstance(counts, dict)
    assert isinstance(lines, dict)
    steps = [("calls", name, n + 1) for name, times in counts.items() for n in range(times)]
    every = [("lines", name, time) for name, times in lines.items() for time in sorted({1, times})]
    steps += every if most == 0 else random.Random(0).sample(every, most)
    for kind, name, time in steps:
        out = fresh()
        status, _ = in_child(stepped, kind, (name, time), films, boxes, out)
        left = in_child(content, out)[1]
        finished = len(list((trial / "t.h5.parts").glob("*.h5")))
        again, made = in_child(run, films, boxes, out)
        found = {
            "step": f"{kind} {name} {time}",
            "killed": status,
            "again": again,
            "made": made,
            "finished": finished,
            "before": left == before,
            "after": left == after,
            "in the end": in_child(content, out)[1] == after,
            "left over": sorted(path.name for path in trial.iterdir() if path != out),
        }
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.seterr(all="ignore")
    kill_them(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
