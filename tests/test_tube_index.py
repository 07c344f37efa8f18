"""Tubes in an index: found exactly as a loop over all of them finds them, with their boxes, through every
change of the index.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Command
from mmn_index.index_build.candidates import Wish
from mmn_index.index_build.change import compact, remove
from mmn_index.index_build.verify import _tubes, verify
from test_search import DIM, GRID, random_queries, slow_iou
from tube_world import SENTENCES, SETTING, WIDTH, make_world, tube

from mmn_index import checkpoint
from mmn_index.errors import MomentIndexError, QueryError
from mmn_index.evaluation.queries import indexed
from mmn_index.evaluation.tube_truths import read_truths
from mmn_index.index import (
    CandidateAbout,
    IndexWriter,
    Manifest,
    MomentIndex,
    PlannedTube,
    PlannedVideo,
    Restriction,
)
from mmn_index.moments import nms_lists
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import SearchOptions, score_map, search_embeddings, search_like
from mmn_index.search.pairs import search_pair_embeddings
from mmn_index.tube_file import Footage, FoundTube, TubeFile
from mmn_index.tube_writer import write_tubes
from mmn_index.tubes import tube_iou

INVERTED = CandidateAbout("IVF4,SQ8", nprobe=4, depth=64, recall=0.9)
# Frames of the tubes of one video after another: of fewer than 16 some proposals hold none.
LENGTHS = ((40, 5), (3,), (16, 17, 2), (90,), (1, 1), (33, 12, 9, 64), (15,), (250, 31))
RATES = (25.0, 10.0, 29.97)


def boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corner = random.uniform(0, 100, (count, 2))
    return np.concatenate([corner, corner + random.uniform(1, 50, (count, 2))], axis=1).astype(np.float32)


def make_index(folder: Path, *, segments: int = 1, vectors: CandidateAbout | None = None) -> MomentIndex:
    """Random embeddings; those of a video are alike."""
    random, root = np.random.default_rng(5), folder / "index"
    (folder / "model").mkdir(parents=True)
    manifest = Manifest("f" * 64, None, DIM, GRID, Score(), (), tubes=True)
    for numbers in np.array_split(np.arange(len(LENGTHS)), segments):
        videos, all_boxes = [], []
        for number in numbers.tolist():
            rate = RATES[number % len(RATES)]
            tubes = [
                PlannedTube(place, 1 + int(random.integers(0, 30)), length, rate, 320, 240, 0.5)
                for place, length in enumerate(LENGTHS[number])
            ]
            videos.append(PlannedVideo(f"v{number}", None, 300 / rate, tubes=tuple(tubes)))
            all_boxes += [boxes(random, length) for length in LENGTHS[number]]
        with IndexWriter(root) as writer:
            segment = writer.segment(GRID, DIM, videos, "test")
            for _ in range(segment.windows):
                raw = random.normal(size=(1, 2 * DIM)) + 0.5 * random.normal(size=(len(GRID), 2 * DIM))
                halves = raw.reshape(-1, 2, DIM)
                segment.add((halves / np.linalg.norm(halves, axis=2, keepdims=True)).reshape(-1, 2 * DIM))
            old = writer.manifest.segments if writer.manifest else ()
            entry = segment.finish(vectors, None, iter(all_boxes))
            writer.publish(replace(manifest, segments=(*old, entry)), folder / "model")
    return MomentIndex(root)


def by_hand(index: MomentIndex) -> list[dict[str, Any]]:
    """Every row as the tables say it, its frames worked out one by one."""
    rows = []
    for segment, first in zip(index.segments, index.rows.first, strict=False):
        tubes = pq.read_table(segment.folder / "tubes.parquet").to_pylist()
        for row in range(segment.entry.moments):
            window, proposal = divmod(row, len(GRID))
            about, (low, high) = tubes[window], GRID.cells[proposal].tolist()
            begin, end = (
                round(float(np.float32(np.float32(edge) / np.float32(16)) * np.float32(about["frames"])))
                for edge in (low, high + 1)
            )
            video = int(segment.window_videos[window])
            start, stop = (np.float32((about["first_frame"] - 1 + x) / about["rate"]) for x in (begin, end))
            rows.append(
                {
                    "row": int(first) + row,
                    "video": str(segment.names[video]),
                    "live": bool(segment.live[video]),
                    "tube": about["tube"],
                    "frames": (about["first_frame"] + begin, about["first_frame"] + end),
                    "span": (start, stop),
                }
            )
    return rows


def brute_force(
    index: MomentIndex,
    rows: Sequence[dict[str, Any]],
    query: Embeddings,
    options: SearchOptions,
    without: Embeddings | None = None,
) -> list[int]:
    """Rows of the right answer to one query."""

    def log_of(sentence: Embeddings) -> np.ndarray:
        parts = index.embeddings(np.arange(len(rows)))
        c, i = (p.double() @ s[0].double() for p, s in zip(parts, sentence, strict=True))
        return Score().log(c, i).numpy()

    log = log_of(query)
    if without is not None:
        log = log - np.logaddexp(0, log_of(without) - log)
    kept: list[dict[str, Any]] = []
    for one in sorted(rows, key=lambda one: (-log[one["row"]], one["row"])):
        start, end = one["span"]
        if not one["live"] or one["frames"][0] >= one["frames"][1]:
            continue
        if not options.restriction.allows(np.array([one["span"]]))[0]:
            continue
        named = options.restriction.videos
        if named is not None and one["video"] not in named:
            continue
        same = [other for other in kept if other["video"] == one["video"]]
        if options.per_video is not None and len(same) >= options.per_video:
            continue
        own = [other for other in same if other["tube"] == one["tube"]]
        if all(slow_iou((start, end), other["span"]) <= options.nms for other in own):
            kept.append(one)
        if len(kept) == options.k:
            break
    return [one["row"] for one in kept]


@pytest.fixture(scope="module", params=["one", "several", "candidates"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MomentIndex:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "one":
        return make_index(folder)
    if request.param == "candidates":
        return make_index(folder, vectors=INVERTED)
    root = make_index(folder, segments=3).root
    remove(root, ["v2", "v4"])
    return MomentIndex(root)


OPTIONS = (
    SearchOptions(exact=True),
    SearchOptions(k=40, nms=1.0, exact=True),
    SearchOptions(k=30, nms=0.0, exact=True),
    SearchOptions(k=12, per_video=2, exact=True),
    SearchOptions(k=400, nms=0.9, exact=True),
    SearchOptions(restriction=Restriction(videos=("v0", "v5", "v7"), after=0.5)),
    SearchOptions(k=25, restriction=Restriction(max_length=0.7, before=3.0)),
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_answer_is_the_right_one(index: MomentIndex, options: SearchOptions) -> None:
    rows, queries, others = by_hand(index), random_queries(1, 6), random_queries(2, 6)
    answers = search_embeddings(index, queries, Score(), options, [f"q{n}" for n in range(6)])
    against = search_embeddings(index, queries, Score(), options, [f"q{n}" for n in range(6)], others)
    for q, (answer, other) in enumerate(zip(answers, against, strict=True)):
        query, without = (Embeddings(*(x[q : q + 1] for x in part)) for part in (queries, others))
        assert answer.exact
        assert [hit.row for hit in answer.hits] == brute_force(index, rows, query, options)
        assert [hit.row for hit in other.hits] == brute_force(index, rows, query, options, without)
        for hit in answer.hits:
            about = rows[hit.row]
            assert (hit.video_id, hit.tube) == (about["video"], about["tube"])
            assert (hit.start, hit.end) == about["span"]
            moment = index.rows.tube(hit.row)
            assert moment is not None
            assert moment.tube.frames.tolist() == list(range(*about["frames"]))


def test_what_holds_no_frame_is_never_counted_nor_found(index: MomentIndex) -> None:
    rows = by_hand(index)
    full = [one for one in rows if one["live"] and one["frames"][0] < one["frames"][1]]
    assert len(full) < sum(one["live"] for one in rows)
    assert index.num_moments == len(full)
    sample, _, weights = index.background
    assert set(sample.tolist()) <= {one["row"] for one in full}
    assert weights.sum() == pytest.approx(len(full))
    # a candidate index as well, however much is asked of it
    answers = search_embeddings(
        index, random_queries(3, 8), Score(), SearchOptions(k=len(rows), nms=1.0), ["q"] * 8
    )
    for answer in answers:
        assert {hit.row for hit in answer.hits} <= {one["row"] for one in full}
    assert answers[0].moments == len(full)


def test_an_evaluation_knows_the_moments_of_tubes(index: MomentIndex) -> None:
    corpus, rows = indexed(index), by_hand(index)
    full = [one for one in rows if one["live"] and one["frames"][0] < one["frames"][1]]
    assert corpus.num_moments == len(full)
    for number, name in corpus.ids.items():
        own = [one["span"] for one in full if one["video"] == name]
        assert np.array_equal(corpus.spans(number), np.array(own, dtype=np.float32))
        assert corpus.count(number) == len(own)


def test_maps_have_no_score_where_no_frame_is(index: MomentIndex) -> None:
    rows, query = by_hand(index), random_queries(6, 1)
    for window in range(len(rows) // len(GRID)):
        cells = score_map(index, GRID, query, window, Score())
        own = rows[window * len(GRID) : (window + 1) * len(GRID)]
        full = [one["frames"][0] < one["frames"][1] for one in own]
        assert np.array_equal(np.isfinite(cells[tuple(GRID.cells.T.numpy())]), full)


def test_pairs_are_the_best_of_all_pairs(index: MomentIndex) -> None:
    queries, rows = random_queries(4, 2), by_hand(index)
    parts = index.embeddings(np.arange(len(rows)))
    c, i = (p.double() @ s.double().T for p, s in zip(parts, queries, strict=True))
    log = Score().log(c, i).numpy()
    full = [one for one in rows if one["live"] and one["frames"][0] < one["frames"][1]]
    for in_order in (False, True):
        best = {}
        for one in full:
            for other in full:
                if one["video"] != other["video"]:
                    continue
                fits = not in_order or other["span"][0] >= one["span"][1] - 1e-3
                total = log[one["row"], 0] + log[other["row"], 1]
                if fits and total > best.get(one["video"], (-np.inf,))[0]:
                    best[one["video"]] = total, one["tube"], other["tube"]
        found = search_pair_embeddings(index, queries, Score(), in_order, SearchOptions(k=3))
        expected = sorted(best.items(), key=lambda item: -item[1][0])[:3]
        assert [pair.video_id for pair in found] == [name for name, _ in expected]
        for pair, (_, (total, *tubes)) in zip(found, expected, strict=True):
            assert pair.score == pytest.approx(total)
            assert list(pair.tubes or ()) == tubes


def test_moments_like_one_of_a_tube(index: MomentIndex) -> None:
    rows = by_hand(index)
    one = next(
        one
        for one in rows
        if one["video"] == "v5" and one["tube"] == 3 and one["span"][1] - one["span"][0] > 1
    )
    start, end = one["span"]
    options = SearchOptions(k=2000, nms=0.5, exact=True)
    found = search_like(index, "v5", float(start), float(end), tube=3, options=options)
    mine = [other for other in rows if other["video"] == "v5" and other["tube"] == 3]
    beside = {o["row"] for o in mine if slow_iou(o["span"], one["span"]) > 0.5}
    assert one["row"] in beside
    assert not beside & {hit.row for hit in found.hits}
    assert any(hit.video_id == "v5" and hit.tube != 3 for hit in found.hits)  # others who are there then
    with pytest.raises(QueryError, match=r"no tube 9; its tubes are 0, 1, 2, 3"):
        search_like(index, "v5", 0.0, 1.0, tube=9)


def test_tubes_suppress_themselves_alone() -> None:
    spans = torch.tensor([[[0.0, 4], [0, 4], [0, 4], [0, 4], [5, 6]]])
    videos, tubes = torch.tensor([[0, 0, 0, 1, 0]]), torch.tensor([[7, 8, 7, 9, 8]])
    valid = torch.ones(1, 5, dtype=torch.bool)
    assert nms_lists(spans, videos, valid, 0.5, 5).tolist() == [[0, 3, 4, -1, -1]]
    assert nms_lists(spans, videos, valid, 0.5, 5, tubes=tubes).tolist() == [[0, 1, 3, 4, -1]]
    assert nms_lists(spans, videos, valid, 0.5, 5, 1, tubes=tubes).tolist() == [[0, 3, -1, -1, -1]]
    assert nms_lists(spans, videos, valid, 0.5, 5, 2, tubes=tubes).tolist() == [[0, 1, 3, -1, -1]]


# The same, from files of tubes and with a trained model


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, text_model: Path, command: Command) -> Path:
    folder = tmp_path_factory.mktemp("tube_index")
    make_world(folder)
    setting = SETTING.format(base="stvg-corrected", text=text_model)
    longer = setting.replace("{epochs: 6", "{epochs: 30").replace("[5]", "[25]")
    (folder / "mine.yaml").write_text(longer.replace("freeze_text_epochs: 6", "freeze_text_epochs: 0"))
    files = ("--annotations", folder / "truths.json", "--features", folder / "tubes.h5")
    command.ok("train", *files, "--config", folder / "mine.yaml", "-o", folder / "run")
    command.ok("build", folder / "run" / "model", folder / "tubes.h5", "-o", folder / "shelf.mmn")
    return folder


def hits(command: Command, root: Path, *more: object) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in command.ok("search", *more, "--index", root, "--json").stdout.splitlines()
    ]


def test_a_search_gives_the_boxes_of_the_file(shelf: Path, command: Command) -> None:
    found = hits(command, shelf / "shelf.mmn", SENTENCES[0], "-k", 20)
    assert len(found) == 20
    with TubeFile(shelf / "tubes.h5") as tubes:
        for hit in found:
            own = tubes.tubes(hit["video"])[hit["tube"]].tube
            first = hit["first_frame"] - own.first
            rows = own.rows(first, first + len(hit["boxes"]))
            assert np.allclose(hit["boxes"], rows.boxes, atol=0.006)
            assert hit["frame_size"] == [320, 240]
            assert hit["frame_rate"] == 10.0
            assert hit["start"] == pytest.approx((rows.first - 1) / 10, abs=1e-3)
            assert hit["end"] == pytest.approx(rows.last / 10, abs=1e-3)
    told = command.ok("search", SENTENCES[0], "--index", shelf / "shelf.mmn")
    assert told.stdout.split()[:4] == ["rank", "video", "tube", "start"]
    assert "NMS 0.5 within each tube" in told.stderr
    pair = hits(command, shelf / "shelf.mmn", SENTENCES[0], "--then", SENTENCES[1], "-k", 2)
    assert all(part["boxes"] and part["tube"] >= 0 for one in pair for part in (one["first"], one["second"]))
    like = f"{found[0]['video']}@{found[0]['start']}-{found[0]['end']}"
    one = hits(command, shelf / "shelf.mmn", "--like", f"{like}#{found[0]['tube']}")
    assert found[0]["start"] not in [
        h["start"] for h in one if h["video"] == found[0]["video"] and h["tube"] == found[0]["tube"]
    ]
    command.fails("search", "--like", f"{like}#77", "--index", shelf / "shelf.mmn", says="has no tube 77")


def test_the_right_person_is_found(shelf: Path, command: Command) -> None:
    """What somebody does is seen in the features of one tube alone."""
    truths = json.loads((shelf / "truths.json").read_text())
    right = 0
    for name, truth in truths.items():
        best = hits(command, shelf / "shelf.mmn", truth["English"], "--video", name[:-4], "-k", 1)[0]
        frames = range(best["first_frame"], best["first_frame"] + len(best["boxes"]))
        both = [n for n in frames if truth["st_frame"] <= n <= truth["ed_frame"]]
        right += (
            bool(both)
            and abs(best["boxes"][both[0] - frames[0]][0] - truth["bbox"][both[0] - truth["st_frame"]][0])
            < 0.01
        )
    assert right > 0.8 * len(truths)


def test_rows_hold_what_the_model_makes(shelf: Path) -> None:
    index = MomentIndex(shelf / "shelf.mmn")
    model = checkpoint.load(index.model_path)
    model.eval()
    with TubeFile(shelf / "tubes.h5") as tubes, torch.inference_mode():
        for name in index.video_ids[:5]:
            found = tubes.tubes(name)
            pre_clips = torch.stack([tubes.pre_clips(name, one, model.config) for one in found])
            made = torch.cat(model.embed_videos(pre_clips), dim=2).flatten(0, 1)
            rows = index.rows_of(index.number_of(name))
            assert (index.vectors(rows).float() - made).abs().max() < 2e-3
            assert np.array_equal(index.rows.tubes(rows), np.repeat(np.arange(len(found)), len(model.grid)))
            planned = index.rows.tubes_of(index.number_of(name))
            assert all(np.array_equal(x, one.tube.boxes) for (_, x), one in zip(planned, found, strict=True))


def test_an_evaluation_of_the_index_is_that_of_its_model(
    shelf: Path, tmp_path: Path, command: Command
) -> None:
    truths = ("--annotations", shelf / "truths.json")
    of_model = command.ok(
        "eval", shelf / "run" / "model", *truths, "--features", shelf / "tubes.h5", "--json"
    ).stdout
    told = command.ok(
        "eval",
        shelf / "shelf.mmn",
        *truths,
        "--json",
        "-o",
        tmp_path / "report",
        "--write-predictions",
        tmp_path / "a.json",
    ).stdout
    own, other = ([json.loads(line) for line in text.splitlines()] for text in (told, of_model))
    assert own[0]["what"] == "this index"
    for name in ("m_vIoU", "vIoU@0.3", "vIoU@0.5", "m_tIoU"):
        assert own[0][name] == pytest.approx(other[0][name], abs=0.1)
    assert own[1:4] == other[1:4]  # chance and its like
    command.ok("eval", "--metric", "viou", *truths, "--predictions", tmp_path / "a.json")
    # over the collection, by a search of everything
    index, right = MomentIndex(shelf / "shelf.mmn"), {1: 0, 10: 0, 100: 0}
    for truth in read_truths(shelf / "truths.json").videos:
        found = hits(command, index.root, truth.sentence, "-k", 100)
        overlaps = [
            float(tube_iou(moment.tube, truth.tube)) if hit["video"] == truth.video_id else 0.0
            for hit in found
            if (
                moment := index.rows.tube_between(
                    index.number_of(hit["video"]), hit["tube"], hit["start"], hit["end"]
                )
            )
        ]
        for k in right:
            right[k] += max(overlaps[:k]) > 0.5
    by_name = {row["metric"]: row["value"] for row in own if "metric" in row}
    assert {k: by_name[f"R@{k},vIoU>0.5"] for k in right} == {
        k: pytest.approx(100 * n / 24) for k, n in right.items()
    }
    assert 0 < right[1] < right[100]
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.json",
        "report.md",
        "report.html",
    }
    command.ok("eval", "--compare", tmp_path / "report", tmp_path / "report")
    command.ok("eval", shelf / "shelf.mmn", *truths, "--nms", 0.2, "-o", tmp_path / "other")
    said = command.ok("eval", "--compare", tmp_path / "report", tmp_path / "other").stderr
    assert "Over the collection: not comparable, as they differ in NMS (0.5 and 0.2)" in said
    told = command.run("eval", shelf / "shelf.mmn", *truths, "--features", shelf / "tubes.h5")
    assert "leave out --features" in told.stderr


def short_tubes(path: Path, names: Sequence[str], seed: int = 3) -> None:
    """Videos with tubes of one frame and of many."""
    random = np.random.default_rng(seed)
    videos = []
    for name in names:
        found = []
        for length in (1, 3, 8, 70):
            features = torch.from_numpy(random.normal(0, 1, (length, 2 * WIDTH)).astype(np.float32))
            found.append(FoundTube(tube(random, length, 4), 0.5, features.split(WIDTH, dim=1)))
        videos.append((name, Footage(640, 480, 25.0, 80), found))
    write_tubes(path, videos, backbone="made up")


def content(root: Path) -> dict[str, Any]:
    """What an index says of each video, however it is laid out."""
    index = MomentIndex(root)
    found = {}
    for name in index.video_ids:
        number = index.number_of(name)
        rows = index.rows_of(number)
        tubes = [(vars(one), own.tolist()) for one, own in index.rows.tubes_of(number)]
        found[name] = index.vectors(rows).tolist(), index.spans(rows).tolist(), tubes
    return found


def test_every_change_keeps_tubes_and_boxes(shelf: Path, tmp_path: Path, command: Command) -> None:
    root, more, again = tmp_path / "a.mmn", tmp_path / "more.h5", tmp_path / "again.h5"
    short_tubes(more, ("new/a", "new/b"))
    short_tubes(again, ("new/b", "shelf/v03"), seed=4)
    told = command.ok("build", shelf / "tubes.h5", "--model", shelf / "run" / "model", "-o", root).stderr
    assert f"{MomentIndex(root).num_moments:,} moments of 24 videos" in told
    before = content(root)
    had = MomentIndex(root).num_moments
    told = command.ok("add", more, "--index", root).stderr
    index = MomentIndex(root)
    assert f"{index.num_moments - had:,} moments of 2 videos" in told
    assert index.num_moments < sum(entry.moments for entry in index.manifest.segments)
    told = json.loads(command.ok("info", "--index", root, "--json").stdout)
    assert told["tubes"] == 24 * 2.5 + 2 * 4
    assert sum(part["moments"] for part in told["segments"]) == told["moments"] == index.num_moments
    assert "moments of 68 tubes" in command.ok("info", "--index", root).stdout
    command.fails("add", again, "--index", root, says="already")
    command.ok("update", again, "--index", root)
    command.ok("remove", "shelf/v05", "--index", root)
    changed = content(root)
    assert set(changed) == {*before, "new/a", "new/b"} - {"shelf/v05"}
    assert all(changed[name] == before[name] for name in before if name not in ("shelf/v03", "shelf/v05"))
    assert len(changed["shelf/v03"][2]) == 4
    assert changed["new/b"][2][3][0]["width"] == 640
    told = command.ok("verify", "--index", root, "--features", shelf / "tubes.h5").stderr
    assert "differs by" not in told
    assert "videos embedded again, equal" in told
    command.ok("compact", "--index", root)
    assert len(MomentIndex(root).segments) == 1
    assert content(root) == changed
    assert verify(root) == []
    assert all(len(hit["boxes"]) for hit in hits(command, root, SENTENCES[0], "-k", 500, "--nms", 1))
    (segment,) = MomentIndex(root).segments
    table = pq.read_table(segment.folder / "moments.parquet")
    assert table["tube"].to_pylist()[:: segment.per_window] == [
        one["number"] for _, _, tubes in changed.values() for one, _ in tubes
    ]


def test_verify_compares_the_tables_of_tubes(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (segment,) = MomentIndex(shelf / "shelf.mmn").segments
    assert list(_tubes(segment)) == []
    assert segment.tubes is not None
    others = {"first_frames": segment.tubes.first_frames + 1, "frames": np.roll(segment.tubes.frames, 1)}
    for name, values in others.items():
        with monkeypatch.context() as patch:
            patch.setattr(segment.tubes, name, values)
            assert any("boxes.parquet: row" in text for text in _tubes(segment))
    with monkeypatch.context() as patch:
        patch.setattr(segment, "starts", segment.starts + 0.5)
        (said,) = _tubes(segment)
        assert "windows.parquet" in said


def test_kills_leave_the_state_before_or_after(shelf: Path, tmp_path: Path, command: Command) -> None:
    """As of every index (test_faults.py), with the tables of tubes among what is compared."""
    model, base, index = str(shelf / "run" / "model"), tmp_path / "base.mmn", ["--index", "{root}"]
    for name, names in (("more", "abc"), ("new", "de"), ("again", "bcf")):
        short_tubes(tmp_path / f"{name}.h5", [f"short/{letter}" for letter in names], seed=len(name))
    command.ok("build", model, tmp_path / "more.h5", "-o", base)
    commands = {
        "build": ["build", model, str(tmp_path / "new.h5"), "-o", "{root}"],
        "add": ["add", str(tmp_path / "new.h5"), *index],
        "update": ["update", str(tmp_path / "again.h5"), *index],
        "compact": ["compact", *index],
    }
    plan = {
        name: {"base": None if name == "build" else str(base), "arguments": line, "again": [line]}
        for name, line in commands.items()
    }
    (tmp_path / "plan.json").write_text(
        json.dumps({"folder": str(tmp_path), "kills": 40, "seed": 0, "commands": plan})
    )
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "worker_kills.py", tmp_path / "plan.json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert [kill for kill in kills if kill["wrong"]] == []
    assert [kill["status"] for kill in kills] == [9] * 40
    assert {(kill["command"], kill["state"]) for kill in kills} == {
        (name, state) for name in plan for state in ("before", "after")
    }


@pytest.mark.parametrize("name", ["tubes.parquet", "boxes.parquet"])
def test_damage_to_the_tables_is_found(name: str, shelf: Path, tmp_path: Path, command: Command) -> None:
    root = tmp_path / "a.mmn"
    command.ok("build", shelf / "run" / "model", shelf / "tubes.h5", "-o", root)
    (segment,) = MomentIndex(root).segments
    path = segment.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    assert any(name in text for text in verify(root))
    with pytest.raises(MomentIndexError, match=name):
        compact(root, Wish("auto"))
    path.unlink()
    with pytest.raises(MomentIndexError, match=name):
        MomentIndex(root)


def test_videos_without_a_tube_and_broken_ones_are_left_out(
    shelf: Path, tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "t.h5"
    short_tubes(path, ("good", "wide", "late", "torn", "none"))
    with h5py.File(path, "a") as file:
        for name in ("0", "1", "2", "3"):
            del file[f"none/{name}"]
        file["wide/1/features_0"], kept = np.ones((3, 9), np.float32), file["wide/1"].pop("features_0")
        assert kept is not None
        file["late"].attrs["frames"] = 20
        del file["torn/2/boxes"]
    made = command.run("build", shelf / "run" / "model", path, "-o", tmp_path / "i.mmn")
    assert made.exit_code == 3, made.output
    assert MomentIndex(tmp_path / "i.mmn").video_ids == ["good"]
    for said in ("has no tube", "width 15", "ends with frame 73", "boxes"):
        assert said in (tmp_path / "i.mmn.left-out.txt").read_text(), said
    command.fails(
        "build", shelf / "run" / "model", path, "-o", tmp_path / "j.mmn", "--strict", says="And 1 more"
    )


def test_a_bad_video_never_keeps_others_out(shelf: Path, tmp_path: Path, command: Command) -> None:
    """The first of them by name as little as the last, whatever is wrong."""
    path = tmp_path / "t.h5"
    names = ["array", "late", "linked", "named", "rate", "short", "side", "still", "vast", "wide", "zero"]
    short_tubes(path, [*names, "zz/good"])
    with h5py.File(path, "a") as file:
        file["array"].attrs["width"] = np.array([1, 2])
        file["late/2"].attrs["first"] = 1e300
        del file["linked/1/boxes"]
        file["linked/1/boxes"] = h5py.SoftLink("/wide/1/boxes")
        file.move("named/3", "named/" + "9" * 5000)
        file["rate"].attrs["rate"] = 1e-320
        file["short"].attrs["frames"] = 0.5
        file["side"].attrs["height"] = 0.5
        file["still/1/features_0"][...] = np.nan
        del file["vast/0/features_0"]
        file["vast/0"].create_dataset("features_0", (1 << 24, 1 << 20), "f4", chunks=(64, 64))
        del file["wide/0/features_0"]
        file["wide/0/features_0"] = np.ones((3, 9), np.float32)
        file["zero/0"].attrs["first"] = 0
    made = command.run("build", shelf / "run" / "model", path, "-o", tmp_path / "i.mmn")
    assert made.exit_code == 3, made.output
    assert MomentIndex(tmp_path / "i.mmn").video_ids == ["zz/good"]
    left_out = (tmp_path / "i.mmn.left-out.txt").read_text()
    assert all(f"video '{name}'" in left_out for name in names)
    assert "begins with frame 0" in left_out


@pytest.mark.parametrize("name", ["format", "version"])
def test_a_file_whose_format_is_a_list_is_no_file_of_tubes(
    name: str, shelf: Path, tmp_path: Path, command: Command
) -> None:
    short_tubes(tmp_path / "t.h5", ("good",))
    with h5py.File(tmp_path / "t.h5", "a") as file:
        file.attrs[name] = [1, 1]
    command.fails("build", shelf / "run" / "model", tmp_path / "t.h5", "-o", tmp_path / "i.mmn", says="t.h5")


def test_an_open_index_keeps_its_boxes(tmp_path: Path) -> None:
    """Also those that it has not read when another process compacts what it has open."""
    random = np.random.default_rng(1)
    index = make_index(tmp_path, segments=2)
    before = [index.rows.tubes_of(number)[0][1].copy() for number in range(len(LENGTHS))]
    opened = MomentIndex(index.root)
    compact(index.root, Wish("auto"))
    assert not any(segment.folder.exists() for segment in opened.segments)
    for number in random.permutation(len(LENGTHS)).tolist():
        assert np.array_equal(opened.rows.tubes_of(number)[0][1], before[number])
    assert opened.rows.tube(int(opened.rows_of(0)[0])) is not None


@pytest.mark.parametrize("name", ["tubes.parquet", "boxes.parquet"])
def test_damage_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    """Wherever it is met: opening, or when boxes are read."""
    index, random = make_index(tmp_path), np.random.default_rng(2)
    path = index.segments[0].folder / name
    data, told = path.read_bytes(), list[str]()
    for place in random.integers(0, len(data), 400).tolist():
        path.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << int(random.integers(8))]) + data[place + 1 :]
        )
        try:
            opened = MomentIndex(index.root)
            for number in range(len(LENGTHS)):
                opened.rows.tubes_of(number)
                opened.rows.tube_between(number, 0, 0.0, 1e6)
        except MomentIndexError as error:
            told.append(str(error))
    assert sum(name in text for text in told) > 20
    assert not any("\n" in text for text in told)


def test_verify_compares_boxes_with_the_file(
    shelf: Path, world: Path, tmp_path: Path, command: Command
) -> None:
    path, root = tmp_path / "t.h5", tmp_path / "i.mmn"
    short_tubes(path, ("a",))
    command.ok("build", shelf / "run" / "model", path, "-o", root)
    command.ok("verify", "--index", root, "--features", path)
    with h5py.File(path, "a") as file:
        file["a/3/boxes"][5] += 1
    said = command.run("verify", "--index", root, "--features", path)
    assert said.exit_code == 1
    assert "video 'a' has other tubes" in said.output
    with h5py.File(path, "a") as file:
        del file["a/3"]
    assert "video 'a' has other tubes" in command.run("verify", "--index", root, "--features", path).output
    other = ("--features", world / "features.h5")
    command.fails("verify", "--index", root, *other, says="holds features of whole videos")
    command.fails("verify", "--index", world / "collection.mmn", "--features", path, says="holds tubes")


def test_tubes_keep_their_numbers(shelf: Path, tmp_path: Path, command: Command) -> None:
    """Whoever dropped some tubes from the file finds the others by their names there."""
    path, root = tmp_path / "t.h5", tmp_path / "i.mmn"
    short_tubes(path, ("a", "b"))
    with h5py.File(path, "a") as file:
        file.move("a/2", "a/12")
        file.move("a/0", "a/7")
    command.ok("build", shelf / "run" / "model", path, "-o", root)
    assert verify(root) == []
    index = MomentIndex(root)
    rows = index.rows_of(index.number_of("a"))
    assert np.unique(index.rows.tubes(rows)).tolist() == [1, 3, 7, 12]
    with h5py.File(path) as file:
        for hit in hits(command, root, SENTENCES[0], "--video", "a", "-k", 100, "--nms", 1):
            group = file[f"a/{hit['tube']}"]
            first = hit["first_frame"] - int(group.attrs["first"])
            assert np.allclose(hit["boxes"], group["boxes"][first : first + len(hit["boxes"])], atol=0.006)
            found = index.rows.tube_between(index.number_of("a"), hit["tube"], hit["start"], hit["end"])
            assert found is not None
            assert found.tube.first == hit["first_frame"]
    assert index.rows.tube_between(index.number_of("a"), 0, 0.0, 9.0) is None
    command.fails("search", "--like", "a@0-9#0", "--index", root, says="its tubes are 1, 3, 7, 12")


def test_a_manifest_that_denies_its_tubes_is_refused(shelf: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(shelf / "shelf.mmn", tmp_path / "i.mmn"))
    replace(MomentIndex(root).manifest, tubes=False).write(root)
    with pytest.raises(MomentIndexError, match="the manifest says no tubes"):
        MomentIndex(root)


def test_videos_and_tubes_do_not_mix(shelf: Path, world: Path, tmp_path: Path, command: Command) -> None:
    model, tubes, out = shelf / "run" / "model", shelf / "tubes.h5", tmp_path / "i.mmn"
    command.fails("build", model, world / "features.h5", "-o", out, says="holds features of whole videos")
    command.fails("build", world / "run" / "model", tubes, "-o", out, says="holds tubes")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_bytes(b"0")
    command.fails("build", tmp_path / "films", "--model", model, "-o", out, says="`mmn-index tubes`")
    command.fails("build", model, tubes, "-o", out, "--window", 5, says="a tube has one map")
    command.fails("build", model, tubes, "-o", out, "--rate", 5, says="--rate")
    assert not out.exists()
    root = shelf / "shelf.mmn"
    command.fails("sync", tmp_path / "films", "--index", root, says="tubes")
    command.fails("add", world / "features.h5", "--index", root, says="holds features of whole videos")
    own = ("--annotations", world / "train.json")
    command.fails("calibrate", world / "features.h5", *own, "--index", root, says="tubes")
    command.fails("mine", *own, "--index", root, "-o", tmp_path / "n.parquet", says="tubes")
