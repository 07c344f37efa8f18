"""Restrictions: filter first, then rank and suppress; exact for any share of the moments and any kind of
segment.
"""

import datetime
import operator
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Command, write_features
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmn_index.index_build.change import remove
from test_search import GRID, brute_force, make_index, random_queries

from mmn_index.errors import AnnotationError, QueryError
from mmn_index.index import CandidateAbout, MomentIndex, Restriction
from mmn_index.index.selection import parse_where, select
from mmn_index.scoring import SCORES, Embeddings, Score
from mmn_index.search import SearchOptions, search_embeddings

VIDEOS = 12
INVERTED = CandidateAbout("IVF4,SQ8", nprobe=1, depth=16)
KINDS = ("scanned", "several", "candidates", "mixed")
OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
VALUES: dict[str, list[Any]] = {
    "camera": ["porch", "yard", None, "it's = odd", "ost", "Yard"],
    "people": [3, None, -1, 0, 7],
    "height": [1.5, 0.1, None, 1e9],
    "day": [datetime.date(2026, 1, 1), datetime.date(2025, 12, 31), None],
    "seen": [
        datetime.datetime(2026, 1, 1, 12),
        None,
        datetime.datetime(2026, 1, 1),
        datetime.datetime(1999, 5, 5, 1, 2, 3),
    ],
    "night": [True, False, None],
}
TYPES = {
    "camera": pa.string(),
    "people": pa.int64(),
    "height": pa.float64(),
    "day": pa.date32(),
    "seen": pa.timestamp("s"),
    "night": pa.bool_(),
    "lens": pa.string(),
}


def columns(numbers: list[int], *names: str) -> pa.Table:
    """Metadata of some videos; `lens` is a column that only one segment of the mixed index has."""
    values = {**VALUES, "lens": ["wide", "long"]}
    return pa.table(
        {
            name: pa.array([values[name][n % len(values[name])] for n in numbers], TYPES[name])
            for name in names
        }
    )


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MomentIndex]:
    """One index of each of KINDS; the mixed one has two candidate indexes, segments without columns, and
    removed videos.
    """
    folder, every, durations = tmp_path_factory.mktemp("selection"), list(range(VIDEOS)), (30.0, 32.0, 28.0)
    fives = [part.tolist() for part in np.array_split(every, 5)]
    quarters = [part.tolist() for part in np.array_split(every, 4)]
    mixed = [
        columns(quarters[0], *VALUES),
        None,
        columns(quarters[2], "camera", "lens"),
        columns(quarters[3], *VALUES),
    ]
    found = {
        "scanned": make_index(folder / "a", 1, durations=durations, metadata=[columns(every, *VALUES)]),
        "several": make_index(
            folder / "b", 1, durations=durations, segments=5, metadata=[columns(n, *VALUES) for n in fives]
        ),
        "candidates": make_index(
            folder / "c", 1, durations=durations, metadata=[columns(every, *VALUES)], vectors=[INVERTED]
        ),
        "mixed": make_index(
            folder / "d",
            1,
            durations=durations,
            segments=4,
            metadata=mixed,
            vectors=[INVERTED, None, INVERTED, None],
            copies=True,
        ),
    }
    remove(found["mixed"].root, ["v00", "v04", "v08", "v10"])
    return {**found, "mixed": MomentIndex(found["mixed"].root)}


def fits(row: dict[str, Any], column: str, sign: str, value: Any) -> bool:
    """Whether a condition holds; never for a video without the value."""
    return row.get(column) is not None and bool(OPERATORS[sign](row[column], value))


def written(value: Any) -> str:
    """As one types it behind the operator."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def slow(
    index: MomentIndex, restriction: Restriction, conditions: list[tuple[str, str, Any]]
) -> Callable[[int, float, float], bool]:
    """What a restriction means, moment by moment."""
    rows = index.videos.to_pylist()

    def allowed(video: int, start: float, end: float) -> bool:
        row = rows[video]
        return (
            (restriction.videos is None or row["video_id"] in restriction.videos)
            and row["video_id"] not in restriction.exclude
            and all(fits(row, *condition) for condition in conditions)
            and (restriction.after is None or start >= restriction.after)
            and (restriction.before is None or end <= restriction.before)
            and (restriction.min_length is None or end - start >= restriction.min_length)
            and (restriction.max_length is None or end - start <= restriction.max_length)
        )

    return allowed


CONDITION = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.sampled_from(sorted(OPERATORS)),
        st.sampled_from([x for x in VALUES[name] if x is not None]),
    )
)
IDS = st.lists(st.integers(0, VIDEOS - 1).map(lambda n: f"v{n:02d}"), unique=True, max_size=VIDEOS)
SECONDS = st.none() | st.floats(0, 34, width=32)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    videos=st.none() | IDS,
    exclude=IDS,
    conditions=st.lists(CONDITION, max_size=2),
    after=SECONDS,
    before=SECONDS,
    shortest=SECONDS,
    longest=SECONDS,
    name=st.sampled_from(SCORES),
    k=st.integers(1, 40),
    nms=st.sampled_from([0.0, 0.5, 1.0]),
    per_video=st.none() | st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_a_restricted_search_is_the_unrestricted_one_filtered_first(
    indexes: dict[str, MomentIndex],
    kind: str,
    videos: list[str] | None,
    exclude: list[str],
    conditions: list[tuple[str, str, Any]],
    after: float | None,
    before: float | None,
    shortest: float | None,
    longest: float | None,
    name: str,
    k: int,
    nms: float,
    per_video: int | None,
    seed: int,
) -> None:
    index = indexes[kind]
    here = set(index.video_ids)
    where = index.where([f"{column}{sign}{written(value)}" for column, sign, value in conditions]).where
    only = None if videos is None else tuple(video for video in videos if video in here)
    restriction = Restriction(
        only, tuple(video for video in exclude if video in here), where, after, before, shortest, longest
    )
    assume(restriction)
    options = SearchOptions(k=k, nms=nms, per_video=per_video, restriction=restriction)
    queries = random_queries(seed, 2)
    for q, answer in enumerate(search_embeddings(index, queries, Score(name), options, ["a", "b"])):
        assert answer.exact
        assert answer.recall is None
        expected = brute_force(
            index, queries, q, Score(name), options, allowed=slow(index, restriction, conditions)
        )
        assert [hit.row for hit in answer.hits] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_videos_from_one_to_all(indexes: dict[str, MomentIndex], kind: str) -> None:
    index, queries = indexes[kind], random_queries(5, 3)
    ids = np.random.default_rng(0).permutation(index.video_ids).tolist()
    for count in sorted({1, 2, 3, 5, len(ids) - 1, len(ids)}):
        restriction = Restriction(videos=tuple(ids[:count]))
        options = SearchOptions(k=len(GRID) + 1, nms=1.0, restriction=restriction)
        for q, answer in enumerate(search_embeddings(index, queries, Score(), options, ["a", "b", "c"])):
            assert answer.exact
            assert answer.moments == count * len(GRID)
            assert [hit.row for hit in answer.hits] == brute_force(
                index, queries, q, Score(), options, allowed=slow(index, restriction, [])
            )


def seen_at(index: MomentIndex, row: int) -> Embeddings:
    """A query that is one moment of the index."""
    return Embeddings(*(part.float() for part in index.embeddings(np.array([row]))))


def test_moments_that_are_forbidden_stay_out_however_well_they_score(tmp_path: Path) -> None:
    index = make_index(tmp_path, 2, spread=0.05, vectors=[INVERTED])
    query = seen_at(index, 3 * len(GRID))
    free = search_embeddings(index, query, Score(), SearchOptions(nms=1.0), ["q"])[0]
    assert {hit.video_id for hit in free.hits} == {"v03"}  # all of the best are what will be forbidden
    others = tuple(video for video in index.video_ids if video != "v03")
    for restriction in (
        Restriction(exclude=("v03",)),
        Restriction(videos=others),
        index.where(["video_id!=v03"]),
    ):
        answer = search_embeddings(
            index, query, Score(), SearchOptions(nms=1.0, restriction=restriction), ["q"]
        )[0]
        assert answer.exact
        expected = brute_force(
            index, query, 0, Score(), SearchOptions(nms=1.0), allowed=lambda video, start, end: video != 3
        )
        assert [hit.row for hit in answer.hits] == expected
    latest = max(hit.start for hit in free.hits) + 1
    options = SearchOptions(nms=1.0, restriction=Restriction(after=latest))
    answer = search_embeddings(index, query, Score(), options, ["q"])[0]
    assert answer.exact
    assert all(hit.start >= latest for hit in answer.hits)
    assert [hit.row for hit in answer.hits] == brute_force(
        index, query, 0, Score(), options, allowed=lambda video, start, end: start >= latest
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("segments", [1, 3])
def test_a_removed_video_is_never_found(tmp_path: Path, segments: int, exact: bool) -> None:
    index = make_index(tmp_path, 2, spread=0.05, segments=segments, vectors=[INVERTED] * segments)
    options = SearchOptions(nms=1.0, exact=exact)
    left, query = list(index.video_ids), random_queries(4, 1)
    shown = 0
    while len(left) > 1:
        hits = search_embeddings(index, query, Score(), options, ["q"])[0].hits
        shown += bool(hits)
        gone = (
            hits[0].video_id if hits else left[0]
        )  # always the best; a candidate index need not find any of what is left
        left.remove(gone)
        remove(index.root, [gone])
        index = MomentIndex(index.root)
        answer = search_embeddings(index, query, Score(), options, ["q"])[0]
        assert {hit.video_id for hit in answer.hits} <= set(left)
        assert answer.exact or not exact
        assert len(answer.hits) == options.k  # lists of removed videos alone make way for a scan
        if exact:
            assert [hit.row for hit in answer.hits] == brute_force(index, query, 0, Score(), options)
        with pytest.raises(QueryError, match=f"no video '{gone}'"):
            index.parts(Restriction(videos=(gone,)))
    assert shown > 2


def test_nothing_fits(indexes: dict[str, MomentIndex]) -> None:
    for index in indexes.values():
        for restriction in (
            Restriction(after=1000.0),
            Restriction(videos=()),
            index.where(["camera=nowhere"]),
        ):
            answer = search_embeddings(
                index, random_queries(0, 1), Score(), SearchOptions(restriction=restriction), ["q"]
            )[0]
            assert (answer.hits, answer.exact, answer.moments) == ((), True, 0)


def test_times_and_lengths_are_seconds() -> None:
    for name in ("after", "before", "min_length", "max_length"):
        for wrong in (-1.0, float("nan")):
            with pytest.raises(QueryError, match=f"{name.replace('_', '-')} is {wrong:g}, expected seconds"):
                Restriction(**{name: wrong})


def chosen(index: MomentIndex, *conditions: str) -> str:
    """Videos that conditions leave, by the last letter of their ids."""
    parts = index.parts(index.where(conditions))
    rows = [
        first + row
        for first, part in zip(index.rows.first, parts, strict=False)
        for run in part.runs
        for row in range(*run)
    ]
    return "".join(
        index.video_id(video)[-1] for video in np.unique(index.videos_of(np.array(rows, dtype=int)))
    )


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> MomentIndex:
    """Videos 0 to 3; the last has no values."""
    table = pa.table(
        {
            "camera": ["porch", "yard", "a = b", None],
            "people": pa.array([3, -1, 10, None], pa.int32()),
            "height": [1.5, -0.25, 1e6, None],
            "day": pa.array(["2026-01-01", "2026-02-01", "1999-12-31", None]).cast(pa.date32()),
            "seen": pa.array(
                ["2026-01-01 00:00:00", "2026-01-01 13:30:00", "2026-01-02 00:00:00", None]
            ).cast(pa.timestamp("us")),
            "night": [True, False, True, None],
            "x.y z": [1, 2, 3, None],
            "tags": [["a"], ["b"], [], None],
            "unknown": pa.nulls(4),
            "first": pa.array(["porch", "yard", "porch", None]).dictionary_encode(),
        }
    )
    return make_index(tmp_path_factory.mktemp("four"), 1, videos=4, metadata=[table])


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["camera=porch"], "0"),
        (["camera!=porch"], "12"),
        (["camera>=porch"], "01"),
        (["camera<porch"], "2"),
        (["camera>yard"], ""),
        (["camera<=porch"], "02"),
        (["camera=a = b"], "2"),
        (["  camera =  porch "], "0"),
        (["camera==porch"], "0"),
        (["camera="], ""),
        (["people=3"], "0"),
        (["people!=3"], "12"),
        (["people>=3"], "02"),
        (["people<=3"], "01"),
        (["people>3"], "2"),
        (["people<3"], "1"),
        (["people=-1"], "1"),
        (["people>-2", "people<5"], "01"),
        (["people>-2", "camera=yard"], "1"),
        (["people=3", "people=10"], ""),
        (["height=1.5"], "0"),
        (["height<1"], "1"),
        (["height>=1e6"], "2"),
        (["height>1"], "02"),
        (["height=-0.25"], "1"),
        (["day=2026-01-01"], "0"),
        (["day>=2026-01-01"], "01"),
        (["day<2026-01-01"], "2"),
        (["day!=2026-01-01"], "12"),
        (["seen>2026-01-01"], "12"),
        (["seen>=2026-01-01 13:30:00"], "12"),
        (["seen=2026-01-01T13:30:00"], "1"),
        (["seen<=2026-01-01"], "0"),
        (["night=true"], "02"),
        (["night=false"], "1"),
        (["night!=true"], "1"),
        (["night=1"], "02"),
        (["x.y z>=2"], "12"),
        (["first=porch"], "02"),
        (["duration=30"], "0123"),
        (["duration>30"], ""),
        (["video_id=v02"], "2"),
        (["uri=x"], ""),
        (["uri!=x"], ""),
        ([], "0123"),
    ],
)
def test_conditions_choose_videos(four: MomentIndex, conditions: list[str], expected: str) -> None:
    assert chosen(four, *conditions) == expected


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("Camera=porch", "no column 'Camera', did you mean 'camera'"),
        ("qqqqq=1", "no column 'qqqqq'; there are video_id, uri"),
        ("people=three", "'people=three': column 'people' holds int32, 'three' is not one"),
        ("people=1.5", "holds int32"),
        ("people=", "holds int32"),
        ("people=99999999999", "holds int32"),
        ("height=tall", "holds double, 'tall' is not one"),
        ("day=yesterday", "holds date32"),
        ("day=2026-02-30", "holds date32"),
        ("seen=noon", "holds timestamp"),
        ("night=dark", "holds bool, 'dark' is not one"),
        ("tags=a", "holds list"),
        ("unknown=1", "holds null"),
        ("camera", "is no condition"),
        ("=porch", "is no condition"),
        ("", "is no condition"),
        ("camera porch", "expected COLUMN, one of"),
    ],
)
def test_conditions_that_do_not_fit(four: MomentIndex, condition: str, says: str) -> None:
    with pytest.raises(QueryError) as caught:
        four.where([condition])
    assert says in str(caught.value)


def test_segments_with_other_columns_or_none(indexes: dict[str, MomentIndex]) -> None:
    index = indexes[
        "mixed"
    ]  # 0-2: all columns, 3-5: none, 6-8: camera and lens, 9-11: all; removed: 0, 4, 8, 10
    assert index.columns.names[3:] == [*VALUES, "lens"]
    assert chosen(index, "camera!=nothing") == "16791"  # 01, 06, 07, 09 and 11; 02 has none
    assert chosen(index, "camera=porch") == "6"
    assert chosen(index, "lens=wide") == "6"
    assert chosen(index, "lens!=wide") == "7"
    assert chosen(index, "people>=-1") == "29"  # 02 and 09; 01 and 11 have none, 06 and 07 no such column
    assert chosen(index, "people>=-1", "lens=wide") == ""


def test_a_video_of_another_name_is_answered_with_the_nearest(world: Path, command: Command) -> None:
    search = ["search", "door", "--index", world / "collection.mmn"]
    command.fails(*search, "--video", "v55", says="no video 'v55' (6 videos). Did you mean 'v5'?")
    command.fails(*search, "--video", "v1", "--exclude", "qqqq", says="no video 'qqqq' (6 videos).")
    command.fails(*search, "--where", "duratoin>3", says="did you mean 'duration'")


@pytest.fixture
def porch(world: Path, command: Command, tmp_path: Path) -> Path:
    """An index with metadata, new.h5 with videos w0 to w2, and again.h5 with the index's own videos again."""
    (tmp_path / "cameras.csv").write_text("video_id,camera,people\nv0,porch,3\nv1,yard,\nv9,yard,4\n")
    command.ok(
        "build",
        world / "run" / "model",
        world / "features.h5",
        "-o",
        tmp_path / "c.mmn",
        "--metadata",
        tmp_path / "cameras.csv",
    )
    write_features(tmp_path / "new.h5", 3, prefix="w", seed=5)
    shutil.copy(world / "features.h5", tmp_path / "again.h5")
    return tmp_path


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def found(command: Command, root: Path, *options: str) -> set[str]:
    result = command.ok("search", "door", "--index", root, "-k", 1000, "--per-video", 1, *options)
    assert "proven exact" in result.stderr
    return {line.split()[1] for line in result.stdout.splitlines()[1:]}


def test_metadata_from_build_and_add_restrict_a_search(porch: Path, command: Command) -> None:
    index = porch / "c.mmn"
    command.ok("add", porch / "new.h5", "--index", index)  # without the columns
    assert found(command, index) == {*(f"v{n}" for n in range(6)), "w0", "w1", "w2"}
    assert found(command, index, "--where", "camera=yard") == {"v1"}
    assert found(command, index, "--where", "camera!=yard") == {"v0"}
    assert found(command, index, "--where", "people>=3", "--where", "camera=porch", "--exclude", "v1") == {
        "v0"
    }
    (porch / "lens.csv").write_text("video_id,lens,camera\nw1,wide,\nw0,long,yard\n")
    command.ok(
        "update", porch / "new.h5", "--index", index, "--metadata", porch / "lens.csv"
    )  # with one of them, and another
    assert found(command, index, "--where", "camera=yard") == {"v1", "w0"}
    assert found(command, index, "--where", "lens=wide") == {"w1"}
    assert found(command, index, "--where", "people>0") == {"v0"}
    command.ok("compact", "--index", index)
    assert found(command, index, "--where", "camera=yard") == {"v1", "w0"}
    assert found(command, index, "--where", "lens=wide") == {"w1"}


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("people\nw0,2.5", "column 'people' holds double, in the index int64"),
        ("people\nw0,many", "column 'people' holds string, in the index int64"),
    ],
)
def test_a_column_of_another_type_is_refused_before_anything_is_written(
    porch: Path, command: Command, column: str, says: str
) -> None:
    (porch / "other.csv").write_text(f"video_id,{column}\n")
    before = content(porch / "c.mmn")
    for verb in ("add", "update"):
        result = command.fails(
            verb, porch / "new.h5", "--index", porch / "c.mmn", "--metadata", porch / "other.csv", says=says
        )
        assert "embedding" not in result.stderr
        assert content(porch / "c.mmn") == before


def test_a_column_may_change_its_type_with_all_videos_that_have_it(porch: Path, command: Command) -> None:
    (porch / "numbers.csv").write_text("video_id,camera\nv0,7\nv1,8\n")
    command.ok("update", porch / "again.h5", "--index", porch / "c.mmn", "--metadata", porch / "numbers.csv")
    assert found(command, porch / "c.mmn", "--where", "camera>7") == {"v1"}
    (porch / "empty.csv").write_text("video_id,camera\nw0,\n")  # a column without values fits any
    command.ok("add", porch / "new.h5", "--index", porch / "c.mmn", "--metadata", porch / "empty.csv")
    assert found(command, porch / "c.mmn", "--where", "camera>7") == {"v1"}


def test_text_that_looks_like_numbers_stays_text(
    world: Path, porch: Path, command: Command, tmp_path: Path
) -> None:
    """What is guessed of one file must not depend on the values that it happens to have."""
    (porch / "v.csv").write_text("video_id,camera,width\nv1,yard,1.5\nv0,porch,\n")
    command.ok("update", porch / "again.h5", "--index", porch / "c.mmn", "--metadata", porch / "v.csv")
    for number, row in enumerate(("w0,7", "w0,007", "w0,yard")):
        (porch / "w.csv").write_text(f"video_id,camera\n{row}\n")
        command.ok("update", porch / "new.h5", "--index", porch / "c.mmn", "--metadata", porch / "w.csv")
        name = row.split(",")[1]
        assert found(command, porch / "c.mmn", "--where", f"camera={name}") == {"w0"} | (
            {"v1"} if name == "yard" else set()
        ), number
    (porch / "w.csv").write_text("video_id,width\nw0,2\n")  # a fraction in the index
    command.ok("update", porch / "new.h5", "--index", porch / "c.mmn", "--metadata", porch / "w.csv")
    assert found(command, porch / "c.mmn", "--where", "width>1.5") == {"w0"}
    assert found(command, porch / "c.mmn", "--where", "width>=1.5") == {"w0", "v1"}
    write_features(tmp_path / "numbered.h5", 2, prefix="00")
    (tmp_path / "numbered.csv").write_text("video_id,camera\n000,yard\n001,porch\n")
    made = ["build", world / "run" / "model", tmp_path / "numbered.h5", "-o", tmp_path / "n.mmn"]
    command.ok(*made, "--metadata", tmp_path / "numbered.csv")
    assert found(command, tmp_path / "n.mmn", "--where", "camera=yard") == {"000"}


def test_strings_are_strings_whoever_wrote_them(porch: Path, command: Command) -> None:
    table = pa.table(
        {"video_id": pa.array(["w0", "w1", "w2"]), "camera": pa.array(["yard", "porch", "yard"])}
    )
    for kind in (
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ):
        schema = pa.schema([("video_id", kind), ("camera", kind)])
        pq.write_table(table.cast(schema), porch / "w.parquet")
        command.ok("update", porch / "new.h5", "--index", porch / "c.mmn", "--metadata", porch / "w.parquet")
        assert found(command, porch / "c.mmn", "--where", "camera=yard") == {"v1", "w0", "w2"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"video_id,a,a\nv0,1,2\n", "two columns are called 'a'"),
        (b"video_id,video_id\nv0,v1\n", "two columns are called 'video_id'"),
        (b"video_id,a,\nv0,1,2\n", "column 3 has no name"),
        (b"video_id,a\xff\nv0,1\n", "cannot be read as csv"),
        (b"video_id,a\nv0\xff,1\n", "cannot be read as csv"),
        (b"video,a\nv0,1\n", "no column 'video_id'"),
        (b"", "cannot be read as csv"),
        (b"video_id,uri\nv0,x\n", "'uri' is one of the index's own"),
        (b"video_id,a\nv0,1\nv0,2\n", "names video 'v0' more than once"),
        (b"video_id,a\nw0,1\n", "names none of the 6 videos, e.g. 'v0' (it has 'w0')"),
        (b"video_id,a\nv0\n", "cannot be read as csv"),
    ],
)
def test_metadata_that_cannot_be_used(
    world: Path, command: Command, tmp_path: Path, text: bytes, says: str
) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    command.fails(
        "build",
        world / "run" / "model",
        world / "features.h5",
        "-o",
        tmp_path / "c.mmn",
        "--metadata",
        tmp_path / "m.csv",
        says=says,
    )
    assert not (tmp_path / "c.mmn").exists()


def test_so_many_conditions_and_no_more(indexes: dict[str, MomentIndex]) -> None:
    assert indexes["scanned"].where(["people>=0"] * 100).where is not None
    with pytest.raises(QueryError, match="101 conditions on metadata, expected at most 100"):
        indexes["scanned"].where(["people>=0"] * 101)


def test_metadata_in_parquet_that_cannot_be_used(tmp_path: Path) -> None:
    from mmn_index.index_build.metadata import read_metadata

    pq.write_table(pa.table({"video_id": [["v0"]]}), tmp_path / "lists.parquet")
    with pytest.raises(AnnotationError, match=r"lists\.parquet: cannot be read as parquet"):
        read_metadata(tmp_path / "lists.parquet")
    (tmp_path / "none.parquet").write_bytes(b"x" * 100)
    with pytest.raises(AnnotationError, match="cannot be read as parquet"):
        read_metadata(tmp_path / "none.parquet")
    pq.write_table(pa.table({"video_id": [17, 4], "a": [1, 2]}), tmp_path / "numbers.parquet")
    bad = pa.table({"video_id": ["v0"], "room": pa.array([b"\xff"]).view(pa.string())})
    pq.write_table(bad, tmp_path / "bytes.parquet")
    with pytest.raises(AnnotationError, match=r"cannot be read as parquet .*UTF8"):
        read_metadata(tmp_path / "bytes.parquet")
    assert read_metadata(tmp_path / "numbers.parquet")["video_id"].to_pylist() == ["17", "4"]


ZONED = "video_id,recorded\nv0,2026-01-04T10:00:00Z\nv1,2026-01-05T00:00:00Z\nv2,2026-01-06T01:00:00+02:00\n"
LOCAL = "video_id,recorded\nv0,2026-01-04 10:00:00.25\nv1,2026-01-05 00:00:00\nv2,2026-01-05 23:00:00\n"
LONG = "12345678901234567891"


@pytest.mark.parametrize(
    ("text", "condition", "expected"),
    [
        (ZONED, "recorded>=2026-01-05", "12"),
        (ZONED, "recorded>2026-01-05", "2"),
        (ZONED, "recorded<=2026-01-05", "01"),
        (ZONED, "recorded=2026-01-05T02:00:00+02:00", "1"),
        (ZONED, "recorded>=2026-01-05T23:00:00Z", "2"),
        (ZONED, "recorded>2026-01-05T23:00", ""),
        (ZONED, "recorded<2026-01-05 00:00:00", "0"),
        (LOCAL, "recorded>=2026-01-05", "12"),
        (LOCAL, "recorded<2026-01-04T10:00:00.26", "0"),
        ("video_id,at\nv0,09:30:00\nv1,18:00:00\n", "at>=18:00", "1"),
        ("video_id,at\nv0,09:30:00\nv1,18:00:00\n", "at=09:30:00", "0"),
        (f"video_id,n\nv0,{LONG}\nv1,{LONG[:-1]}2\n", f"n={LONG}", "0"),
        (f"video_id,n\nv0,{LONG}\nv1,{LONG[:-1]}2\nv2,5\nv3,\n", f"n>{LONG}", "1"),
        (f"video_id,n\nv0,{LONG * 3}\nv1,{LONG * 2}{LONG[:-1]}2\n", f"n={LONG * 3}", "0"),
        ("video_id,n\nv0,9223372036854775807\nv1,-9223372036854775808\n", "n=9223372036854775807", "0"),
        (" video_id , place \n v0 , porch \nv1,\tyard\n\n", "place=porch", "0"),
        ('video_id,place\nv0,"porch, left"\nv1,"two\nlines"\n', "place=porch, left", "0"),
        ("video_id,place\nv0,caf\u00e9\n", "place=caf\u00e9", "0"),
    ],
)
def test_what_a_csv_holds_is_compared_as_it_is_meant(
    tmp_path: Path, text: str, condition: str, expected: str
) -> None:
    from mmn_index.index_build.metadata import read_metadata

    (tmp_path / "m.csv").write_text(text, encoding="utf-8-sig")
    table = read_metadata(tmp_path / "m.csv")
    found = table.filter(parse_where([condition], table.schema))["video_id"].to_pylist()
    assert "".join(name[1:] for name in found) == expected


@pytest.mark.parametrize(
    ("values", "condition", "expected"),
    [
        (pa.array([1, 200], pa.uint8()), "x>=150", "1"),
        (pa.array([1, 2**64 - 1], pa.uint64()), f"x={2**64 - 1}", "1"),
        (pa.array([1, 2], pa.uint64()), "x=2", "1"),
        (pa.array([1.5, 2.5], pa.float32()), "x>2", "1"),
        (pa.array([1.5, 2.5]).cast(pa.float16()), "x<2", "0"),
        (pa.array([Decimal("1.25"), Decimal("2.50")]), "x>=2.5", "1"),
        (pa.array([datetime.time(9), datetime.time(18)], pa.time64("ns")), "x>12:00", "1"),
        (pa.array([datetime.time(9), datetime.time(18)], pa.time32("ms")), "x<12:00:00", "0"),
        (pa.array([datetime.date(2026, 1, 1), datetime.date(2026, 2, 1)], pa.date64()), "x=2026-02-01", "1"),
        (pa.array([datetime.datetime(2026, 1, 1), None], pa.timestamp("ns")), "x>2025-01-31", "0"),
        (pa.array([" a ", "b"], pa.large_string()), "x=a", "0"),
        (pa.array(["a", "b"]).dictionary_encode(), "x!=a", "1"),
        (pa.array([True, False]), "x=true", "0"),
        (pa.array([[1], [2]]), None, "holds list"),
        (pa.array([{"a": 1}, None]), None, "holds struct"),
        (pa.array([b"a", b"b"]), None, "holds binary"),
        (pa.array([datetime.timedelta(seconds=1), None]), None, "holds duration"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_every_type_of_a_parquet_file_is_compared_or_refused(
    tmp_path: Path, values: pa.Array, condition: str | None, expected: str
) -> None:
    from mmn_index.index_build.metadata import read_metadata

    pq.write_table(pa.table({"video_id": ["v0", "v1"], "x": values}), tmp_path / "m.parquet")
    if condition is None:
        with pytest.raises(AnnotationError, match=f"column 'x' {expected}.* cannot compare"):
            read_metadata(tmp_path / "m.parquet")
        return
    table = read_metadata(tmp_path / "m.parquet")
    found = table.filter(parse_where([condition], table.schema))["video_id"].to_pylist()
    assert "".join(name[1:] for name in found) == expected


def test_metadata_that_is_no_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    from mmn_index.index_build.metadata import read_metadata

    for encoding, line in (("latin-1", 3), ("utf-16", 1)):
        (tmp_path / "m.csv").write_bytes("video_id,place\nv0,bar\nv1,caf\u00e9\n".encode(encoding))
        with pytest.raises(AnnotationError, match=f"line {line} is not UTF-8"):
            read_metadata(tmp_path / "m.csv")


def test_rows_and_videos_that_do_not_match_are_counted(world: Path, command: Command, tmp_path: Path) -> None:
    rows = "".join(f"v{n}.mp4,yard\n" for n in range(1, 6))
    (tmp_path / "m.csv").write_text(f"video_id,camera\nv0,porch\n{rows}")
    made = ("build", world / "run" / "model", world / "features.h5", "-o", tmp_path / "c.mmn", "--overwrite")
    said = command.ok(*made, "--metadata", tmp_path / "m.csv").stderr
    assert "5 of its 6 rows name no video, e.g. 'v1.mp4'. Without the suffix '.mp4' 5 of these 5" in said
    assert "has no row for 5 of the 6 videos, e.g. 'v1'" in said
    (tmp_path / "m.csv").write_text("video_id,camera\n" + "".join(f"v{n},porch\n" for n in range(6)))
    said = command.ok(*made, "--metadata", tmp_path / "m.csv").stderr
    assert "rows name" not in said
    assert "has no row" not in said


def test_bounds_include_their_ends(tmp_path: Path) -> None:
    """Random times never hit a bound."""
    index = make_index(tmp_path, 1, videos=2)
    (part,) = index.segments
    spans = part.spans(np.arange(part.entry.moments))
    lengths = spans[:, 1] - spans[:, 0]
    for name, values, inside in (
        ("before", spans[:, 1], np.less_equal),
        ("max_length", lengths, np.less_equal),
        ("after", spans[:, 0], np.greater_equal),
        ("min_length", lengths, np.greater_equal),
    ):
        bound = np.sort(np.unique(values))[len(np.unique(values)) // 2]
        restriction = Restriction(**{name: float(bound)})
        allowed = restriction.allows(spans)
        assert np.array_equal(allowed, inside(values, bound)), name
        assert allowed[values == bound].all()
        assert (values == bound).any()
        assert not allowed.all()
        assert select(index.segments, restriction)[0].count == allowed.sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_is_found_exactly(indexes: dict[str, MomentIndex], kind: str) -> None:
    index = indexes[kind]
    for number in np.flatnonzero(index.live).tolist():
        video_id = index.video_id(number)
        assert index.number_of(video_id) == number
        rows = index.rows_in(index.parts(Restriction(videos=(video_id,))))
        assert rows.tolist() == index.rows_of(number).tolist()
        for other in (f"{video_id}\0", f"{video_id} ", video_id.upper() + "x", ""):
            with pytest.raises(QueryError, match="has no video"):
                index.number_of(other)
            with pytest.raises(QueryError, match="has no video"):
                index.parts(Restriction(exclude=(other,)))
    for number in np.flatnonzero(~index.live).tolist():
        with pytest.raises(QueryError, match="has no video"):
            index.number_of(index.video_id(number))
