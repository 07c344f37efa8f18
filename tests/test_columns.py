"""Columns that come from the files by themselves, and how a user's own go with them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import h5py
import pyarrow as pa
import pytest
from conftest import Command
from mmn_index.index_build.columns import columns_from, joined
from mmn_index.index_build.extract import extract
from test_extract import make_video

from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.origin import content_hash, same_content
from mmn_index.video.recording import about_recording, camera_of, recorded

NOW = datetime(2026, 11, 26, tzinfo=UTC)
LATE = "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"creation_time": "2026-03-01T12:00:00.000000Z"}, LATE),
        ({"com.apple.quicktime.creationdate": "2026-03-01T14:00:00+0200"}, LATE),
        # An edited copy keeps the time of the recording in one, and has its own in the other.
        (
            {
                "com.apple.quicktime.creationdate": "2026-03-01T14:00:00+0200",
                "creation_time": "2026-05-01T00:00:00Z",
            },
            LATE,
        ),
        ({"creation_time": "1904-01-01T00:00:00.000000Z", "date": "2026:03:01 12:00:00"}, LATE),
        ({"date": "20260301T120000.000Z"}, LATE),
        ({"date": "Sun Mar  1 12:00:00 2026"}, LATE),
        ({"date": "2026/03/01 12:00"}, LATE),
        ({"date_recorded": "1969-07-20"}, "1969-07-20T00:00:00+00:00"),
        ({"creation_time": "1904-01-01T00:00:00.000000Z"}, None),
        ({"creation_time": "1970-01-01T00:00:00.000000Z"}, None),
        ({"creation_time": "1980-01-06T00:00:00Z"}, None),
        ({"creation_time": "1970-01-05T02:00:00Z"}, None),  # a clock that began at zero, and ran
        ({"creation_time": "2040-02-06T00:00:00Z"}, None),
        ({"creation_time": (NOW + timedelta(hours=13)).isoformat()}, "2026-11-26T13:00:00+00:00"),
        ({"date": "1970-01-01"}, None),
        ({"date": "2019"}, None),
        ({"date": "0001-01-01T00:00:00+23:00"}, None),
        ({"date": "yesterday"}, None),
        ({"creation_time": ""}, None),
        ({}, None),
    ],
)
def test_a_time_of_recording_is_believed_only_if_it_can_be_true(
    tags: Mapping[str, str], expected: str | None
) -> None:
    found = recorded(tags, NOW)
    assert (None if found is None else found.isoformat()) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (
            {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.model": "iPhone 15 Pro"},
            "Apple iPhone 15 Pro",
        ),
        ({"com.android.manufacturer": "Google", "com.android.model": "Pixel 8"}, "Google Pixel 8"),
        ({"make": "Canon", "model": "Canon EOS R5"}, "Canon EOS R5"),
        ({"make": "SONY\0", "model": " ILCE-7M3\n"}, "SONY ILCE-7M3"),
        ({"model": "x" * 500}, "x" * 100),
        ({"handler_name": "\tGoPro AVC  ", "firmware": "HD9.01.01.72.00"}, "GoPro"),
        ({"major_brand": "XAVC"}, "Sony"),
        ({"make": "Apple"}, None),
        ({"handler_name": "VideoHandler"}, None),
        ({}, None),
    ],
)
def test_a_camera_is_its_make_and_model(tags: Mapping[str, str], expected: str | None) -> None:
    assert camera_of(tags) == expected


def film(path: Path, seed: int, **tags: str) -> Path:
    """A small video whose container has tags."""
    plain = make_video(path.with_name(f"plain-{path.name}"), seed)
    with av.open(str(plain)) as source, av.open(str(path), "w", options=options(path)) as target:
        target.metadata.update(tags)
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    plain.unlink()
    return path


def options(path: Path) -> dict[str, str]:
    return {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}


APPLE = {
    "com.apple.quicktime.creationdate": "2026-03-01T14:00:00+0200",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15",
}
ANDROID = {
    "creation_time": "2026-03-01T12:00:00.000000Z",
    "com.android.manufacturer": "Google",
    "com.android.model": "Pixel 8",
}


@pytest.mark.parametrize(
    ("name", "tags", "camera"),
    [
        ("a.mov", APPLE, "Apple iPhone 15"),
        ("a.mp4", ANDROID, "Google Pixel 8"),
        ("a.mkv", {"DATE_RECORDED": "2026-03-01 12:00:00", "MAKE": "DJI", "MODEL": "Mini 3"}, "DJI Mini 3"),
        ("a.avi", {"date": "2026-03-01 12:00:00"}, None),
    ],
)
def test_containers_say_when_and_with_what(
    tmp_path: Path, name: str, tags: dict[str, str], camera: str | None
) -> None:
    about = about_recording(film(tmp_path / name, 1, **tags), NOW)
    assert (about["width"], about["height"], about["fps"]) == (64, 48, 10.0)
    assert (about.get("recorded"), about.get("camera")) == (LATE, camera)


def test_a_content_hash_sees_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    content = bytearray(i % 251 for i in range(1 << 19))
    path.write_bytes(content)
    known = content_hash(path)
    assert same_content(path, known)
    for place in (
        0,
        len(content) // 2,
        len(content) - 1,
        100_000,
    ):  # the last is in no block of the quick hash
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert not same_content(path, known)
    assert content_hash(path).partition("-")[0] == known.partition("-")[0]
    path.write_bytes(content + b"x")
    assert not same_content(path, known)
    for small in (b"", b"x"):
        path.write_bytes(small)
        assert same_content(path, content_hash(path))


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of three videos, one of which says nothing of its recording."""
    folder = tmp_path_factory.mktemp("filmed")
    (folder / "videos" / "porch").mkdir(parents=True)
    film(folder / "videos" / "a.mov", 1, **APPLE)
    film(folder / "videos" / "porch" / "b.mp4", 2, creation_time="2026-06-01T00:00:00Z")
    film(folder / "videos" / "porch" / "c.mkv", 3)
    extract([folder / "videos"], folder / "features.h5")
    return folder


def build(command: Command, filmed: Path, model: Path, index: Path, *more: object) -> list[dict[str, Any]]:
    command.ok("build", model, filmed / "features.h5", "-o", index, *more)
    found: list[dict[str, Any]] = MomentIndex(index).videos.to_pylist()
    return found


def test_what_files_say_becomes_columns(
    filmed: Path, pixel_model: Path, command: Command, tmp_path: Path
) -> None:
    rows = build(command, filmed, pixel_model, tmp_path / "c.mmn")
    assert [row["video_id"] for row in rows] == ["a", "porch/b", "porch/c"]
    for row, (name, folder, camera, time) in zip(
        rows,
        [
            ("a.mov", "", "Apple iPhone 15", LATE),
            ("b.mp4", "porch", None, "2026-06-01T00:00:00+00:00"),
            ("c.mkv", "porch", None, None),
        ],
        strict=True,
    ):
        stat = Path(row["uri"]).stat()
        assert (row["name"], row["folder"], row["camera"]) == (name, folder, camera)
        assert row["recorded"] == (time and datetime.fromisoformat(time))
        assert (row["width"], row["height"], row["fps"], row["size"]) == (64, 48, 10.0, stat.st_size)
        assert abs(row["modified"].timestamp() - stat.st_mtime) < 1e-5
        assert same_content(Path(row["uri"]), row["content_hash"])
    index = MomentIndex(tmp_path / "c.mmn")
    for condition, count in (
        ("recorded>=2026-05-01", 1),
        ("folder=porch", 2),
        ("width=64", 3),
        ("fps>10", 0),
        ("camera=Apple iPhone 15", 1),
        ("modified>2020-01-01", 3),
        ("size>1000000", 0),
    ):
        parts = index.parts(index.where([condition]))
        assert sum(part.count for part in parts) == count * 29, condition
    text = command.ok("info", "--index", tmp_path / "c.mmn").stdout
    assert [line.split() for line in text.splitlines() if line.startswith("recorded")] == [
        ["recorded", "time,", "UTC", "2", "of", "3"]
    ]
    about = json.loads(command.ok("info", "--index", tmp_path / "c.mmn", "--json").stdout)
    assert about["column_types"]["camera"] == "string"
    assert list(about["column_types"]) == about["columns"]


def test_a_users_columns_win_over_those_of_the_files(
    filmed: Path, pixel_model: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(
        "video_id,camera,recorded,width,who\na,porch cam,2020-01-01,wide,Ann\nporch/c,,2021-01-01,,\n"
    )
    rows = build(command, filmed, pixel_model, tmp_path / "c.mmn", "--metadata", tmp_path / "m.csv")
    assert [row["camera"] for row in rows] == ["porch cam", None, None]
    assert [row["recorded"].year for row in rows] == [2020, 2026, 2021]
    assert [row["width"] or None for row in rows] == ["wide", None, None]  # of another kind: the user's alone
    assert [row["who"] or None for row in rows] == ["Ann", None, None]
    # An index that has such a column keeps its kind, whatever new files say.
    command.ok("update", filmed / "features.h5", "--index", tmp_path / "c.mmn")
    rows = MomentIndex(tmp_path / "c.mmn").videos.to_pylist()[-3:]
    assert [row["camera"] for row in rows] == ["Apple iPhone 15", None, None]
    (tmp_path / "n.csv").write_text("video_id,recorded\na,2019-01-01\n")
    command.ok(
        "update", filmed / "features.h5", "--index", tmp_path / "c.mmn", "--metadata", tmp_path / "n.csv"
    )
    rows = MomentIndex(tmp_path / "c.mmn").videos.to_pylist()[-3:]
    assert [row["recorded"] and row["recorded"].year for row in rows] == [2019, 2026, None]
    (tmp_path / "m.csv").write_text("video_id,content_hash\na,1\n")
    command.fails(
        "update",
        filmed / "features.h5",
        "--index",
        tmp_path / "c.mmn",
        "--metadata",
        tmp_path / "m.csv",
        says="column 'content_hash' is one of the index's own",
    )


def test_an_index_whose_column_is_of_another_kind_keeps_it() -> None:
    records = [{"recorded": NOW, "width": 64, "camera": "x"}, {}]
    known = pa.schema([("recorded", pa.date32()), ("width", pa.float64()), ("camera", pa.int64())])
    found = columns_from(records, known)
    assert found is not None
    assert found.schema == pa.schema([("width", pa.float64())])
    assert found["width"].to_pylist() == [64.0, None]
    assert columns_from([{}, {}], known) is None
    assert joined(found, None) is found


def test_features_that_say_no_more_than_before_give_no_columns(filmed: Path, tmp_path: Path) -> None:
    """Those of other programs, whose attributes may mean anything; those of earlier versions say less."""
    old = tmp_path / "old.h5"
    old.write_bytes((filmed / "features.h5").read_bytes())
    with h5py.File(old, "r+") as file:
        for name in ("recorded", "camera", "width", "height", "fps", "content_hash"):
            file["a"].attrs.pop(name, None)
        for name in ("size", "modified"):
            del file["porch/b"].attrs[name]
        file["porch/c"].attrs.update({"recorded": "soon", "camera": 7, "width": "wide", "fps": "x"})
    from mmn_index.index_build.columns import columns_of

    with FeatureFile(old) as features:
        table, remarks = columns_of(features, features.video_ids, None)
    assert table is not None
    assert remarks == []
    first, second, third = table.to_pylist()
    assert {name for name, value in first.items() if value is not None} == {
        "name",
        "folder",
        "size",
        "modified",
    }
    assert set(second.values()) == {None}
    assert {name for name in third if third[name] is not None} == {
        "name",
        "folder",
        "height",
        "size",
        "modified",
        "content_hash",
    }
