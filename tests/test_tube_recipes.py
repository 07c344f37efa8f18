"""The two programs of docs/tubes.md that bring other people's files into a form that is read."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_vidstg import entries, prepared

from mmn_index.evaluation.tube_truths import read_truths
from mmn_index.tube_file import Footage, TubeFile

DOCS = Path(__file__).parents[1] / "docs" / "tubes.md"


def run(word: str, folder: Path) -> None:
    """The program of the docs that has a word in it, in a folder."""
    (program,) = (one for one in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if word in one)
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)


def test_vidors_boxes_in_vidstgs_files(tmp_path: Path) -> None:
    (tmp_path / "vidor" / "0001").mkdir(parents=True)
    whole = entries()
    for one in whole:
        annotation = {"video_id": one["vid"], "trajectories": one["trajectories"]}
        (tmp_path / "vidor" / "0001" / f"{one['vid']}.json").write_text(json.dumps(annotation))
    without = [{name: value for name, value in one.items() if name != "trajectories"} for one in whole]
    (tmp_path / "test_annotations.json").write_text(json.dumps(without))
    run("VidOR", tmp_path)
    (tmp_path / "theirs.json").write_text(json.dumps(prepared(whole)))
    found = read_truths(tmp_path / "test.json")
    assert found.digest == read_truths(tmp_path / "theirs.json").digest


def test_official_tubes_and_features(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    counts = {"1_a": (12, 7), "2_b": (9,)}
    (tmp_path / "tubes").mkdir()
    streams: list[dict[str, list[list[torch.Tensor]]]] = [{}, {}]
    for name, lengths in counts.items():
        tubes = []
        for length in lengths:
            corner = random.uniform(0, 99, (length, 2))
            rows = np.arange(3, 3 + length)[:, None], corner, corner + 20, np.ones((length, 1))
            tubes.append((np.concatenate(rows, axis=1), 0.7))
        (tmp_path / "tubes" / f"{name}_tubes.pkl").write_bytes(pickle.dumps({0: tubes}))
        for number, stream in enumerate(streams):
            stream[name] = [
                [torch.arange(5.0) + 10 * number + row for row in range(length // (1 + number))]
                for length in lengths
            ]
    for stream, file in zip(streams, ("csn.pth", "flow.pth"), strict=True):
        torch.save(stream, tmp_path / file)
    about = {f"{name}.mkv": {"img_num": 400, "img_size": [240, 320]} for name in counts}
    (tmp_path / "train.json").write_text(json.dumps(about))
    run("pickle", tmp_path)
    with TubeFile(tmp_path / "tubes.h5") as file:
        assert file.video_ids == ("1_a", "2_b")
        assert file.footage("1_a") == Footage(320, 240, 20.0, 400)
        found = file.tubes("1_a")
        assert file.dim == 8
    assert [(one.tube.first, len(one.tube), len(one.streams[1])) for one in found] == [(3, 12, 6), (3, 7, 3)]
    assert found[0].score == pytest.approx(0.7)
    assert found[0].streams[1][2].tolist() == [13, 14, 15, 16]
