"""Mined negatives are the best-scored moments of other videos that nothing makes right."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from conftest import Command, write_features
from mmn_index.train.alike import Alike, meanings
from mmn_index.train.mining import ALIKE, LISTED, MARGIN, SCHEMA, mine, read_positives

from mmn_index import checkpoint
from mmn_index.errors import AnnotationError
from mmn_index.evaluation.annotations import Annotations, read_annotations
from mmn_index.index import MomentIndex
from mmn_index.model import MMN
from mmn_index.moments import temporal_iou


@pytest.fixture(scope="module")
def index(world: Path) -> MomentIndex:
    return MomentIndex(world / "collection.mmn")


@pytest.fixture(scope="module")
def model(index: MomentIndex) -> MMN:
    return checkpoint.load(index.model_path)


@pytest.fixture(scope="module")
def split(world: Path) -> Annotations:
    """Both sentences about a door have one label."""
    annotations = read_annotations(world / "train.json")
    videos = (
        replace(v, labels=tuple("door" if "door" in text else text for text in v.sentences))
        for v in annotations.videos
    )
    return replace(annotations, videos=tuple(videos))


def slow_best(
    index: MomentIndex, model: MMN, text: str, video_id: str
) -> tuple[float, float, float, torch.Tensor]:
    """Score, start and end of a video's best moment, and the scores of all its moments."""
    with torch.no_grad():
        query = [x[0].double() for x in model.embed_sentences([text])]
    rows = index.rows_of(index.number_of(video_id))
    moments = index.embeddings(rows)
    c, i = (moment.double() @ side for moment, side in zip(moments, query, strict=True))
    scores = c / index.manifest.score.tau + torch.log(torch.sigmoid(10 * i))
    best = int(scores.argmax())
    start, end = index.spans(rows)[best].tolist()
    return float(scores[best]), start, end, scores


@pytest.mark.parametrize("margin", [None, 0.02])
@pytest.mark.parametrize("labels", [False, True])
def test_against_brute_force(
    index: MomentIndex, model: MMN, split: Annotations, margin: float | None, labels: bool
) -> None:
    alike = Alike(None, cosine=0.0, labels=labels)
    mined = mine(index, model, split, alike, count=2, margin=margin)
    assert mined.table.schema == SCHEMA
    rows = iter(mined.table.to_pylist())
    left_out = {ALIKE: 0, LISTED: 0, MARGIN: 0}
    cells = index.manifest.grid.cells.tolist()
    for video in split.videos:
        own_labels = video.labels or ()
        for number, text in enumerate(video.sentences):
            own = index.spans(index.rows_of(index.number_of(video.video_id)))
            best = int(temporal_iou(torch.from_numpy(own), video.moments[number]).argmax())
            positive = float(slow_best(index, model, text, video.video_id)[3][best])
            found = sorted(
                (
                    (*slow_best(index, model, text, other.video_id)[:3], other)
                    for other in split.videos
                    if other is not video
                ),
                key=lambda one: -one[0],
            )
            rank = 0
            for score, start, end, other in found:
                right = any(
                    (said == text or (labels and label == own_labels[number])) and s < end and start < e
                    for said, label, (s, e) in zip(
                        other.sentences, other.labels or (), other.moments.tolist(), strict=True
                    )
                )
                if right or (margin is not None and score > positive - margin):
                    left_out[ALIKE if right else MARGIN] += 1
                    continue
                rank += 1
                row = next(rows)
                assert (row["video_id"], row["sentence"], row["text"]) == (video.video_id, number, text)
                assert (row["negative_video_id"], row["rank"]) == (other.video_id, rank)
                assert (row["start"], row["end"]) == (pytest.approx(start), pytest.approx(end))
                clips = [row["first_clip"], row["last_clip"]]
                assert clips in cells
                assert clips[0] * other.duration / 8 == pytest.approx(start, abs=1e-4)
                assert (clips[1] + 1) * other.duration / 8 == pytest.approx(end, abs=1e-4)
                assert (row["score"], row["positive_score"]) == (
                    pytest.approx(score, abs=1e-5),
                    pytest.approx(positive, abs=1e-5),
                )
                if rank == 2:
                    break
    assert next(rows, None) is None
    assert mined.left_out == left_out
    assert left_out[ALIKE] > 0
    assert (left_out[MARGIN] > 0) == (margin is not None)


def test_removed_videos_are_no_negatives(
    world: Path, model: MMN, split: Annotations, tmp_path: Path, command: Command
) -> None:
    write_features(tmp_path / "more.h5", 3, prefix="w", seed=5)
    command.ok("build", world / "run" / "model", world / "features.h5", "-o", tmp_path / "more.mmn")
    command.ok("add", tmp_path / "more.h5", "--index", tmp_path / "more.mmn")
    command.ok("remove", "w1", "--index", tmp_path / "more.mmn")
    mined = mine(
        MomentIndex(tmp_path / "more.mmn"), model, split, Alike(None, cosine=0.0, labels=False), count=50
    )
    found = set(mined.table["negative_video_id"].to_pylist())
    assert {"w0", "w2"} < found  # nobody has annotated them
    assert "w1" not in found
    assert len(mined.table) + mined.left_out[ALIKE] == 7 * split.num_sentences


def test_one_negative_each_until_nothing_is_left(index: MomentIndex, model: MMN, split: Annotations) -> None:
    everything_alike = Alike(torch.ones(4, 1), cosine=0.5, labels=False)
    mined = mine(index, model, split, everything_alike, count=50)
    # What is left are moments of the other five videos that touch no annotated one.
    for row in mined.table.to_pylist():
        other = next(video for video in split.videos if video.video_id == row["negative_video_id"])
        assert not any(s < row["end"] and row["start"] < e for s, e in other.moments.tolist())
    assert len(mined.table) + mined.left_out[ALIKE] == 5 * split.num_sentences
    assert all(
        math.isnan(x) for x in mine(index, model, split, everything_alike, count=1, margin=1e9).margins([50])
    )


def test_listed_positives_are_no_negatives(
    index: MomentIndex, model: MMN, split: Annotations, tmp_path: Path
) -> None:
    nothing_alike = Alike(None, cosine=0.0, labels=False)
    first = mine(index, model, split, nothing_alike, count=1).table.to_pylist()[0]
    listed: dict[str, Any] = {
        first["video_id"]: {
            "sentences": list(split.videos[0].sentences),
            "pos_moments": [
                [[first["negative_video_id"], "in other words", [first["end"] - 0.1, first["end"] + 5]]],
                [],
            ],
        }
    }
    (tmp_path / "positives.json").write_text(json.dumps(listed))
    mined = mine(
        index, model, split, nothing_alike, count=1, positives=read_positives(tmp_path / "positives.json")
    )
    again = mined.table.to_pylist()[0]
    assert (again["video_id"], again["sentence"]) == (first["video_id"], first["sentence"])
    assert again["negative_video_id"] != first["negative_video_id"]
    assert again["score"] <= first["score"]
    assert mined.left_out[LISTED] == 1
    (tmp_path / "broken.json").write_text(json.dumps({"v0": {"sentences": ["a"], "pos_moments": []}}))
    with pytest.raises(AnnotationError, match="Expected, as in MVMR"):
        read_positives(tmp_path / "broken.json")


def test_the_command(world: Path, tmp_path: Path, command: Command, index: MomentIndex, model: MMN) -> None:
    split = read_annotations(world / "train.json")
    out = tmp_path / "negatives.parquet"
    said = command.ok(
        "mine",
        "--index",
        world / "collection.mmn",
        "--annotations",
        world / "train.json",
        "--count",
        3,
        "-o",
        out,
    )
    alike = Alike.of(model, meanings(split)[0], cosine=0.9, labels=True)
    mined = mine(index, model, split, alike, count=3)
    assert pq.read_table(out).equals(mined.table)
    assert f"{len(mined.table)} negatives of 12 sentences" in said.stderr
    assert f"left out, overlap a moment of an alike sentence: {mined.left_out[ALIKE]}" in said.stderr
    assert f"50 %: {mined.margins([50])[0]:.3f}" in said.stderr
    content = json.loads((world / "train.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**content, "elsewhere": content["v0"]}))
    part = ("mine", "--index", world / "collection.mmn", "--annotations", tmp_path / "other.json", "-o", out)
    assert command.run(*part, "--count", 3).exit_code == 3
    assert pq.read_table(out).equals(mined.table)
    assert "no video 'elsewhere'" in (tmp_path / "negatives.parquet.left-out.txt").read_text()
    command.fails(*part, "--strict", says="no video 'elsewhere'")
    command.fails(
        "mine",
        "--index",
        world / "collection.mmn",
        "--annotations",
        world / "train.json",
        "-o",
        tmp_path / "no" / "x",
        says="cannot be written",
    )
