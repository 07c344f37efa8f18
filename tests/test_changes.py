"""What is written is read; and whatever changes an index, its answers are those of an index that was built so
at once.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SENTENCES, Command, write_features
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.index_build import candidates
from mmn_index.index_build.build import add
from mmn_index.index_build.candidates import Wish
from mmn_index.index_build.change import compact, remove
from mmn_index.index_build.embed import encode
from mmn_index.index_build.source import Source
from mmn_index.index_build.verify import _rows, verify
from test_index import edit, entries
from test_search import GRID, make_index, random_queries

from mmn_index import checkpoint
from mmn_index.errors import MmnIndexError
from mmn_index.features import FeatureFile
from mmn_index.index import IndexWriter, Manifest, MomentIndex, PlannedVideo
from mmn_index.model import MMN
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import SCORES, Embeddings, Score
from mmn_index.search import SearchOptions, search_embeddings
from mmn_index.windows import Window, WindowOf

GRIDS = (ProposalGrid(3, (2,)), ProposalGrid(1, ()), ProposalGrid(14, (3, 2)))  # divisions that are not exact
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)  # no HDF5 name has a 0
COLUMNS = {
    "plain": (pa.string(), TEXT),
    "with, comma": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "real": (pa.float64(), st.floats(allow_nan=False)),
    "truth": (pa.bool_(), st.booleans()),
    "at": (pa.timestamp("us"), st.datetimes()),
    "list": (pa.list_(pa.int16()), st.lists(st.integers(-5, 5), max_size=3)),
}


@st.composite
def videos_of_a_segment(draw: st.DrawFn, ids: list[str]) -> tuple[list[PlannedVideo], pa.Table | None]:
    """Videos with any ids, places and durations, and any columns of the user's."""
    duration = st.floats(1e-3, 1e6, allow_nan=False)
    planned = [PlannedVideo(video_id, draw(st.none() | TEXT), draw(duration)) for video_id in ids]
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True))
    columns = {name: [draw(st.none() | COLUMNS[name][1]) for _ in ids] for name in names}
    own = {name: pa.array(values, COLUMNS[name][0]) for name, values in columns.items()}
    return planned, pa.table(own) if own else None


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    grid=st.sampled_from(GRIDS),
    dim=st.integers(1, 9),
    ids=st.lists(TEXT, min_size=1, max_size=6, unique=True),
    seed=st.integers(0, 1000),
    cut=st.integers(0, 5),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    grid: ProposalGrid,
    dim: int,
    ids: list[str],
    seed: int,
    cut: int,
) -> None:
    folder = tmp_path_factory.mktemp("x")
    (folder / "model").mkdir()
    written: list[tuple[PlannedVideo, np.ndarray, Mapping[str, Any]]] = []
    random = np.random.default_rng(seed)
    for part in (ids[: cut + 1], ids[cut + 1 :]):
        if not part:
            continue
        planned, own = data.draw(videos_of_a_segment(part))
        with IndexWriter(folder / "index") as writer:
            segment = writer.segment(grid, dim, planned, "test", own)
            for row, video in enumerate(planned):
                made = random.normal(size=(len(grid), 2 * dim)).astype(np.float32)
                segment.add(made)
                written.append((video, made, own.slice(row, 1).to_pylist()[0] if own else {}))
            old = writer.manifest or Manifest("f" * 64, None, dim, grid, Score(), ())
            entry = segment.finish()
            writer.publish(Manifest(**{**old.__dict__, "segments": (*old.segments, entry)}), folder / "model")
    index = MomentIndex(folder / "index")
    assert index.video_ids == ids
    assert index.manifest.grid == grid
    assert index.num_moments == len(ids) * len(grid)
    columns = index.videos.to_pylist()
    for number, (video, made, own_row) in enumerate(written):
        rows = index.rows_of(number)
        assert index.number_of(video.video_id) == number
        assert (index.video(number).video_id, index.video(number).uri, index.video(number).duration) == (
            video.video_id,
            video.uri,
            video.duration,
        )
        assert torch.equal(
            torch.cat(list(index.embeddings(rows)), dim=1), torch.from_numpy(made.astype(np.float16))
        )
        assert index.spans(rows).tobytes() == grid.seconds(video.duration).numpy().tobytes()
        assert {name: value for name, value in columns[number].items() if name in own_row} == own_row
        assert all(
            columns[number][name] is None
            for name in columns[number]
            if name in COLUMNS and name not in own_row
        )
    assert [
        text for segment in index.segments for text in _rows(segment)
    ] == []  # moments.parquet says the same


def test_moments_are_written_in_groups_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmn_index.index.segment_writer._GROUP", 3 * len(GRID))
    index = make_index(tmp_path, 1, videos=8, durations=(30.0, 31.0))
    written = pq.ParquetFile(index.segments[0].folder / "moments.parquet")
    assert written.num_row_groups == 3
    assert written.read()["video"].to_pylist() == np.repeat(np.arange(8), len(GRID)).tolist()
    assert list(_rows(index.segments[0])) == []


Found = list[tuple[str, float, float, float]]


def moments(index: MomentIndex, queries: Embeddings, score: Score, options: SearchOptions) -> list[Found]:
    """The answers without the numbers that say where in the index they lie."""
    answers = search_embeddings(index, queries, score, options, [""] * len(queries.iou))
    assert all(answer.exact for answer in answers)
    return [[(hit.video_id, hit.start, hit.end, hit.score) for hit in answer.hits] for answer in answers]


@pytest.mark.parametrize("copies", [False, True])
def test_seven_segments_answer_as_one_does(tmp_path: Path, copies: bool) -> None:
    one = make_index(tmp_path / "1", 4, videos=14, copies=copies)
    seven = make_index(tmp_path / "7", 4, videos=14, copies=copies, segments=7)
    assert (len(one.segments), len(seven.segments)) == (1, 7)
    queries = random_queries(8, 8)
    choices = (SearchOptions(), SearchOptions(k=40, nms=1.0), SearchOptions(k=5, nms=0.2, per_video=1))
    expected = {
        (name, options.k): moments(one, queries, Score(name), options)
        for name in SCORES
        for options in choices
    }
    ties = [answer for answer in expected["collection", 40] if len({hit[3] for hit in answer}) < len(answer)]
    assert bool(ties) is copies
    for name in SCORES:
        for options in choices:
            assert moments(seven, queries, Score(name), options) == expected[name, options.k]
    compact(seven.root, Wish())
    merged = MomentIndex(seven.root)
    assert len(merged.segments) == 1
    assert moments(merged, queries, Score(), choices[1]) == expected["collection", 40]


# "old" features hold v0 to v5 as they were indexed, "new" the same videos filmed again, and v6 and v7.


@pytest.fixture(scope="module")
def files(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder / "new.h5", 8, seed=77)
    return {"old": lively / "features.h5", "new": folder / "new.h5"}


@pytest.fixture(scope="module")
def model(lively: Path) -> MMN:
    return checkpoint.load(lively / "model")


def whole(features: FeatureFile, video_ids: Sequence[str]) -> list[WindowOf]:
    """Videos, each as one window."""
    return [
        WindowOf(video_id, seconds, Window(0.0, seconds))
        for video_id in video_ids
        if (seconds := features.duration(video_id))
    ]


@pytest.fixture(scope="module")
def embedded(files: dict[str, Path], model: MMN) -> dict[tuple[str, str], np.ndarray]:
    """What a video's stored embeddings have to be, by file and id."""
    found = {}
    for name, path in files.items():
        with FeatureFile(path) as features:
            arrays = [
                array
                for batch in encode(model, features, whole(features, features.video_ids))
                for array in batch
            ]
            found.update(
                {(name, video_id): array for video_id, array in zip(features.video_ids, arrays, strict=True)}
            )
    every = list(found.values())
    assert (
        min(np.abs(a - b).max() for a in every for b in every if a is not b) > 0.1
    )  # no video can be taken for another
    return found


CHANGE = st.tuples(
    st.sampled_from(["add old", "add new", "update old", "update new", "remove", "compact"]),
    st.lists(st.integers(0, 7).map(lambda n: f"v{n}"), min_size=1, max_size=5, unique=True),
)


@settings(max_examples=12, deadline=None)
@given(changes=st.lists(CHANGE, min_size=2, max_size=7))
def test_any_course_of_changes(
    tmp_path_factory: pytest.TempPathFactory,
    lively: Path,
    files: dict[str, Path],
    embedded: dict[tuple[str, str], np.ndarray],
    changes: list[tuple[str, list[str]]],
) -> None:
    root = Path(shutil.copytree(lively / "collection.mmn", tmp_path_factory.mktemp("x") / "c.mmn"))
    there = dict.fromkeys((f"v{n}" for n in range(6)), "old")  # video -> file that it is from
    version = MomentIndex(root).version
    for verb, ids in changes:
        refused = {
            "add": ("`update` replaces videos", any(video in there for video in given_ids(verb, ids))),
            "remove": ("the index has no video", any(video not in there for video in ids)),
            "compact": ("nothing to compact", not there),
            "update": ("", False),
        }[verb.split()[0]]
        if refused[1]:
            before = (root / "manifest.json").read_bytes()
            with pytest.raises(MmnIndexError, match=refused[0]):
                change(root, files, verb, ids)
            assert (root / "manifest.json").read_bytes() == before
            continue
        change(root, files, verb, ids)
        version += 1
        if verb == "remove":
            there = {video: file for video, file in there.items() if video not in ids}
        elif verb != "compact":
            there |= dict.fromkeys(given_ids(verb, ids), verb.split()[1])
        index = MomentIndex(root)
        assert index.version == version
        assert sorted(index.video_ids) == sorted(there)
        assert index.num_moments == len(there) * len(index.manifest.grid)
        for video_id, file in there.items():
            stored = (
                torch.cat(list(index.embeddings(index.rows_of(index.number_of(video_id)))), dim=1)
                .float()
                .numpy()
            )
            assert np.abs(stored - embedded[file, video_id]).max() < 1e-3
        assert len(list((root / "segments").iterdir())) == len(index.segments)
        if verb == "compact":
            assert [segment.live.all() for segment in index.segments] == [True]
    assert verify(root) == []


def given_ids(verb: str, ids: list[str]) -> list[str]:
    """The old file has no v6 and v7."""
    return [video for video in ids if verb.endswith("new") or video < "v6"] or ["v0"]


def change(root: Path, files: dict[str, Path], verb: str, ids: list[str]) -> None:
    if verb == "remove":
        remove(root, ids)
    elif verb == "compact":
        compact(root, Wish())
    else:
        with FeatureFile(files[verb.split()[1]]) as features:
            durations = {video: features.duration(video) for video in given_ids(verb, ids)}
            add(root, Source(features, durations), update=verb.startswith("update"))


@pytest.fixture
def copy(lively: Path, tmp_path: Path) -> Path:
    """An index that a test may change."""
    return Path(shutil.copytree(lively / "collection.mmn", tmp_path / "collection.mmn"))


def ask(index: Path, model: MMN, **options: Any) -> list[Found]:
    """Answers to all sentences, with so many moments that every change shows."""
    found = MomentIndex(index)
    return moments(
        found,
        model.embed_sentences(list(SENTENCES)),
        found.manifest.score,
        SearchOptions(**{"k": 60, **options}),
    )


def only(features: Path, target: Path, *video_ids: str) -> Path:
    """A feature file with some of the videos of another one."""
    shutil.copy(features, target)
    with h5py.File(target, "r+") as file:
        for name in set(file) - set(video_ids):
            del file[name]
    return target


def same(one: list[Found], other: list[Found]) -> bool:
    """Equal but for the last bit of a float32 embedding, which depends on the videos that are embedded
    together.
    """
    return [[hit[:3] for hit in part] for part in one] == [
        [hit[:3] for hit in part] for part in other
    ] and all(
        math.isclose(a[3], b[3], abs_tol=1e-2)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@torch.inference_mode()
def test_removing_and_adding_again_changes_no_answer(
    lively: Path, copy: Path, model: MMN, command: Command, tmp_path: Path
) -> None:
    before = ask(copy, model)
    some = only(lively / "features.h5", tmp_path / "some.h5", "v1", "v4")
    assert (
        "2 videos removed; 116 moments of 4 videos are left"
        in command.ok("remove", "v1", "v4", "--index", copy).stderr
    )
    between = ask(copy, model)
    assert not any(hit[0] in ("v1", "v4") for answer in between for hit in answer)
    assert any(hit[0] == "v1" for answer in before for hit in answer)
    command.ok("add", some, "--index", copy)
    assert same(ask(copy, model), before)
    assert MomentIndex(copy).video_ids == ["v0", "v2", "v3", "v5", "v1", "v4"]


@torch.inference_mode()
def test_update_replaces_videos_in_one_change(
    lively: Path, copy: Path, model: MMN, command: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    some = only(files["new"], tmp_path / "some.h5", "v2", "v6")
    version, before = MomentIndex(copy).version, ask(copy, model)
    command.fails(
        "add",
        some,
        "--index",
        copy,
        says="has 1 of these 2 videos already, e.g. 'v2'. `update` replaces videos",
    )
    assert (MomentIndex(copy).version, ask(copy, model)) == (version, before)
    command.ok("update", some, "--index", copy)
    index = MomentIndex(copy)
    assert index.version == version + 1
    assert sorted(index.video_ids) == [f"v{n}" for n in range(7)]
    with FeatureFile(files["new"]) as new, FeatureFile(lively / "features.h5") as old:
        for video_id, features in (("v2", new), ("v6", new), ("v3", old)):
            made = next(encode(model, features, whole(features, [video_id])))[0]
            stored = torch.cat(
                list(index.embeddings(index.rows_of(index.number_of(video_id)))), dim=1
            ).numpy()
            assert np.abs(stored - made).max() < 1e-3
    command.ok("update", only(lively / "features.h5", tmp_path / "old.h5", "v2"), "--index", copy)
    command.ok("remove", "v6", "--index", copy)
    assert same(ask(copy, model), before)


@torch.inference_mode()
def test_compacting_keeps_every_answer_and_drops_what_was_removed(
    copy: Path, model: MMN, command: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    command.ok("add", only(files["new"], tmp_path / "a.h5", "v6"), "--index", copy)
    command.ok("update", only(files["new"], tmp_path / "b.h5", "v7", "v2"), "--index", copy)
    command.ok("remove", "v0", "v7", "--index", copy)
    before, index = ask(copy, model), MomentIndex(copy)
    rows = sum(entry.moments for entry in index.manifest.segments)
    assert (len(index.segments), rows // len(index.manifest.grid)) == (3, 9)
    folders = {path.name for path in (copy / "segments").iterdir()}
    result = command.ok("compact", "--index", copy)
    assert (
        "174 moments of 6 videos in one segment, scanned exactly: up to 200,000 moments that is quick enough."
        in result.stderr
    )
    assert ask(copy, model) == before  # to the last bit: nothing was embedded again
    after = MomentIndex(copy)
    assert after.version == index.version + 1
    assert after.video_ids == index.video_ids
    assert [entry.moments for entry in after.manifest.segments] == [174]
    assert len(np.load(next((copy / "segments").iterdir()) / "embeddings.npy")) == 174
    assert (
        len({path.name for path in (copy / "segments").iterdir()} | folders) == 4
    )  # one, and the three old ones are gone
    assert after.video(0).uri == "/nowhere/v1.mp4"


def test_what_is_not_there_cannot_be_removed(copy: Path, command: Command) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    command.fails(
        "remove", "v1", "v55", "--index", copy, says="no video 'v55' (6 videos). Did you mean 'v5'?"
    )
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    command.ok("remove", "v1", "--index", copy)
    command.fails("remove", "v1", "--index", copy, says="no video 'v1'")
    assert MomentIndex(copy).video_ids == ["v0", "v2", "v3", "v4", "v5"]


@torch.inference_mode()
def test_an_index_without_videos_is_an_index(lively: Path, copy: Path, model: MMN, command: Command) -> None:
    before = ask(copy, model)
    command.ok("remove", *(f"v{n}" for n in range(6)), "--index", copy)
    assert list((copy / "segments").iterdir()) == []
    index = ["--index", copy]
    for query in (
        ["door"],
        ["door", "--then", "book"],
        ["door", "--not", "book"],
        ["door", "--after", 3],
        ["door", "--where", "duration>1"],
    ):
        found = command.ok("search", *query, *index)
        assert (found.stdout, found.stderr) == (
            "",
            f"{copy}: is empty: all videos were removed. `mmn-index add` adds some.\n",
        )
        assert command.ok("search", *query, *index, "--json").stdout == ""
    command.fails("search", "--like", "v0@1-5", *index, says="no video 'v0' (0 videos)")
    command.fails("remove", "v0", *index, says="no video 'v0' (0 videos)")
    command.fails("compact", *index, says="has no videos, there is nothing to compact")
    assert "version 2: 0 moments of 0 videos" in command.ok("info", *index).stdout
    assert json.loads(command.ok("info", *index, "--json").stdout)["segments"] == []
    assert "nothing is wrong" in command.ok("verify", *index).stderr
    assert "nothing is wrong" in command.ok("verify", *index, "--features", lively / "features.h5").stderr
    command.ok("add", lively / "features.h5", *index)
    assert same(ask(copy, model), before)
    assert MomentIndex(copy).version == 3


def test_info_says_what_is_in_an_index(
    copy: Path, command: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("video_id,camera\nv6,porch\n")
    some = only(files["new"], tmp_path / "a.h5", "v6", "v7")
    command.ok("add", some, "--index", copy, "--metadata", tmp_path / "m.csv", "--vectors", "IVF2,SQ8")
    command.ok("remove", "v1", "v2", "--index", copy)
    index = MomentIndex(copy)
    sizes = [sum(path.stat().st_size for path in segment.folder.iterdir()) for segment in index.segments]
    about = json.loads(command.ok("info", "--index", copy, "--json").stdout)
    assert about["version"] == 3
    assert (about["videos"], about["removed_videos"], about["moments"]) == (6, 2, 6 * 29)
    assert (about["bytes"], about["bytes_per_moment"]) == (sum(sizes), round(sum(sizes) / (8 * 29), 1))
    assert about["model"] == index.manifest.fingerprint
    assert (about["features"], about["joint_dim"], about["score"]) == ("random", 6, "collection")
    assert about["columns"] == ["video_id", "uri", "duration", "camera"]
    scanned, found = about["segments"]
    assert (scanned["videos"], scanned["moments"], scanned["removed_videos"], scanned["bytes"]) == (
        6,
        174,
        2,
        sizes[0],
    )
    assert scanned["candidates"] is None
    assert (found["videos"], found["moments"], found["removed_videos"], found["bytes"]) == (
        2,
        58,
        0,
        sizes[1],
    )
    assert (found["candidates"]["factory"], found["candidates"]["nprobe"]) == ("IVF2,SQ8", 2)
    assert 0.9 < found["candidates"]["recall"] <= 1
    text = command.ok("info", "--index", copy)
    for part in (
        "version 3: 174 moments of 6 videos, 2 removed videos still on disk",
        "columns for --where: video_id, uri, duration, camera",
        f"model {index.manifest.fingerprint[:16]}, features random, score collection",
        "IVF2,SQ8",
        "1 (exact)",
    ):
        assert part in text.stdout
    assert "`mmn-index compact` merges the segments" in text.stderr
    command.ok("compact", "--index", copy)
    assert "compact" not in command.ok("info", "--index", copy).stderr


def test_verify_finds_nothing_wrong_in_what_changes_leave(
    lively: Path, copy: Path, command: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    result = command.ok("verify", "--index", copy, "--features", lively / "features.h5").stderr
    assert "right: 6 videos embedded again, equal within float16" in result
    assert "embedded again" not in command.ok("verify", "--index", copy).stderr
    command.ok(
        "add", only(files["new"], tmp_path / "a.h5", "v6", "v7"), "--index", copy, "--vectors", "IVF2,SQ8"
    )
    command.ok("remove", "v1", "v7", "--index", copy)
    result = command.ok("verify", "--index", copy).stderr
    assert "right: checksums of 11 files and of the model" in result
    assert "in all 232 rows" in result
    assert re.search(
        r"right: candidate index: recall@10 after NMS (0\.9\d\d|1\.000) against the exact scan", result
    )
    command.fails(
        "verify",
        "--index",
        copy,
        "--features",
        only(files["new"], tmp_path / "b.h5", "v7"),
        says="has none of the index's videos",
    )


def test_verify_tells_changed_features_from_rounding(
    lively: Path, copy: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copy(lively / "features.h5", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v3"][...] = file["v3"][...] * np.float32(1 + 1e-6)
    command.ok("verify", "--index", copy, "--features", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["v3"][...] = file["v3"][...] + np.float32(0.1)
    result = command.fails(
        "verify",
        "--index",
        copy,
        "--features",
        tmp_path / "f.h5",
        says="video 'v3' embedded again differs by 0.",
    )
    assert "'v2'" not in result.stderr


@pytest.mark.parametrize("name", ["moments.parquet", "videos.parquet", "embeddings.npy", "background.npy"])
def test_verify_finds_a_changed_byte(copy: Path, command: Command, name: str) -> None:
    path = next((copy / "segments").iterdir()) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = command.run("verify", "--index", copy)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert name in result.stderr or "cannot be read" in result.stderr


@pytest.mark.parametrize(
    ("column", "row", "change"),
    [("start", 29, 0.5), ("end", 173, -0.25), ("video", 60, 1), ("video_id", 0, "v9")],
)
def test_verify_finds_rows_that_do_not_fit_the_grid_though_their_checksum_does(
    copy: Path, command: Command, column: str, row: int, change: float | str
) -> None:
    path = next((copy / "segments").iterdir()) / "moments.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = change if isinstance(change, str) else values[row] + change
    place = table.column_names.index(column)
    table = table.set_column(
        place, table.schema.field(column), pa.array(values, table.schema.field(column).type)
    )
    pq.write_table(table, path)
    content = path.read_bytes()
    about = [len(content), hashlib.sha256(content).hexdigest()]
    (entry,) = entries(copy)
    edit(copy, segments=[{**entry, "files": {**entry["files"], path.name: about}}])
    command.fails(
        "verify", "--index", copy, says=f"{path}: row {row} disagrees with videos.parquet and the grid"
    )


@torch.inference_mode()
def test_a_candidate_index_can_be_had_and_given_up(copy: Path, model: MMN, command: Command) -> None:
    before = ask(copy, model)
    result = command.ok("compact", "--index", copy, "--vectors", "IVF4,SQ8")
    assert "174 moments of 6 videos in one segment, IVF4,SQ8, as asked for." in result.stderr
    entry = MomentIndex(copy).manifest.segments[0]
    assert entry.candidates is not None
    assert (entry.candidates.factory, entry.candidates.nprobe) == ("IVF4,SQ8", 4)
    assert entry.candidates.recall is not None
    assert entry.candidates.recall > 0.9
    assert entry.candidates.noise
    assert "vectors.faiss" in entry.files
    assert ask(copy, model, exact=True) == before
    assert (
        "proven exact: 174 of 174 moments scored" in command.ok("search", "door", "--index", copy).stderr
    )  # as few as there are
    result = command.ok("compact", "--index", copy, "--vectors", "ivf-sq8")
    assert re.search(r"in one segment, IVF\d+,SQ8, as asked for\.", result.stderr)
    result = command.ok("compact", "--index", copy, "--vectors", "exact")
    assert "in one segment, scanned exactly, as asked for." in result.stderr
    assert MomentIndex(copy).manifest.segments[0].candidates is None
    assert ask(copy, model) == before


def test_a_candidate_index_that_cannot_be(lively: Path, copy: Path, command: Command, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    index = ["--index", copy]
    for factory in ("HNSW32", "Flat", "flat", "", "OPQ4,IVF4,SQ8", "ivf"):
        command.fails(
            "compact",
            *index,
            "--vectors",
            factory,
            says=f"'{factory}' is no candidate index: expected exact, ivf-sq8",
        )
    for factory in ("IVF4,SQ9", "IVF4,", "IVF4"):
        command.fails(
            "compact", *index, "--vectors", factory, says=f"FAISS does not know the index '{factory}'"
        )
    command.fails(
        "compact", *index, "--vectors", "IVF4096,SQ8", says="4,096 lists are more than the 174 moments"
    )
    command.fails(
        "compact",
        *index,
        "--vectors",
        "IVF4,PQ8",
        says="FAISS cannot make 'IVF4,PQ8' of 174 vectors of width 12",
    )
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    command.fails(
        "build",
        lively / "model",
        lively / "features.h5",
        "-o",
        tmp_path / "c.mmn",
        "--vectors",
        "HNSW32",
        says="HNSW32",
    )
    assert not (tmp_path / "c.mmn").exists()


def test_room_for_a_moment(lively: Path, copy: Path, command: Command, tmp_path: Path) -> None:
    says = (
        "--max-bytes-per-moment 23: the embeddings alone take 24 bytes a moment (12 float16 numbers), which "
        "exact scores need."
    )
    build = ["build", lively / "model", lively / "features.h5", "-o", tmp_path / "c.mmn"]
    command.fails(*build, "--max-bytes-per-moment", 23, says=says)
    assert not (tmp_path / "c.mmn").exists()
    command.fails("compact", "--index", copy, "--max-bytes-per-moment", 23, says=says)
    assert MomentIndex(copy).version == 1
    result = command.ok(*build, "--max-bytes-per-moment", 24)
    assert (
        "174 moments of 6 videos, scanned exactly: up to 200,000 moments that is quick enough."
        in result.stderr
    )


def test_what_can_be_scanned_in_time_is_scanned(
    lively: Path, copy: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def milliseconds(moments: int, width: int) -> float:
        assert (moments, width) == (174, 12)
        return 3.0

    assert 0 < candidates.scan_milliseconds(200_000, 64) < candidates.scan_milliseconds(20_000_000, 64)
    monkeypatch.setattr(candidates, "scan_milliseconds", milliseconds)
    for most, reason in (
        (3, "scanned exactly: a scan takes about 3.0 ms here, 3 are allowed"),
        (2, "32 lists, about twice"),
    ):
        command.ok("compact", "--index", copy, "--max-latency", most)
        entry = MomentIndex(copy).manifest.segments[0]
        assert entry.reason.startswith(reason)
        assert (entry.candidates is None) == (most == 3)
        shown = command.ok("info", "--index", copy)
        assert f"search: {entry.reason}" in shown.stdout
        assert (
            json.loads(command.ok("info", "--index", copy, "--json").stdout)["segments"][0]["reason"]
            == entry.reason
        )
    version = MomentIndex(copy).version
    command.fails(
        "compact", "--index", copy, "--max-latency", 0, says="--max-latency 0: expected milliseconds"
    )
    command.fails(
        "compact",
        "--index",
        copy,
        "--max-latency",
        5,
        "--vectors",
        "exact",
        says="--vectors exact has chosen",
    )
    assert MomentIndex(copy).version == version


def test_an_index_whose_manifest_gives_no_reasons_is_read(copy: Path, command: Command) -> None:
    edit(copy, segments=[{key: entry[key] for key in entry if key != "reason"} for entry in entries(copy)])
    assert MomentIndex(copy).manifest.segments[0].reason == ""
    assert "search: " not in command.ok("info", "--index", copy).stdout
