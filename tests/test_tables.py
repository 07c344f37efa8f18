"""Another program reads the tables of an index as docs/index-format.md describes them."""

import json
import re
from pathlib import Path

import duckdb
import numpy as np
from conftest import Command, write_features
from test_changes import only

from mmn_index.index import MomentIndex

ROOT = Path(__file__).resolve().parents[1]


def documented(name: str) -> dict[str, str]:
    """Columns and types that docs/index-format.md lists for a table."""
    text = (ROOT / "docs" / "index-format.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition(f"## {name}")[2], flags=re.MULTILINE)[0]
    found = {}
    for columns, kind in re.findall(r"^\| (`.+?) \| (.+?) \| .*\|$", section, flags=re.MULTILINE):
        found.update(dict.fromkeys(re.findall(r"`(\w+)`", columns), kind))
    return found


DUCK = {
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "string or null": "VARCHAR",
    "dictionary of strings": "VARCHAR",
}


def test_another_program_reads_the_tables_as_documented(
    lively: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("video_id,camera,height\nv0,porch,1.5\nv3,porch,2\nv4,yard,\n")
    index = tmp_path / "c.mmn"
    command.ok(
        "build", lively / "model", lively / "features.h5", "-o", index, "--metadata", tmp_path / "m.csv"
    )
    own = {"camera": "VARCHAR", "height": "DOUBLE"}
    with duckdb.connect() as db:
        for name, more in (("moments", {}), ("videos", own)):
            path = next((index / "segments").glob(f"*/{name}.parquet"))
            db.execute(f"create view {name} as select * from read_parquet('{path}')")
            columns = {column: kind for column, kind, *_ in db.execute(f"describe {name}").fetchall()}
            expected = {column: DUCK[kind] for column, kind in documented(f"{name}.parquet").items()}
            assert len(expected) > 4
            assert columns == {**expected, **more}
        found = db.execute(
            'select camera, m.video_id, count(*), min(m.start), max(m."end"), min(v.duration) from moments m '
            "join videos v on m.video_id = v.video_id where camera is not null group by camera, m.video_id "
            "order by m.video_id"
        ).fetchall()
        assert found == [
            ("porch", "v0", 29, 0.0, 20.0, 20.0),
            ("porch", "v3", 29, 0.0, 23.0, 23.0),
            ("yard", "v4", 29, 0.0, 24.0, 24.0),
        ]
        # The row of the embeddings is first_moment and what follows; `video` is the row in videos.parquet.
        numbered = "select row_number() over () - 1 as row, * from"
        wrong = db.execute(
            f"select count(*) from ({numbered} moments) m join ({numbered} videos) v on m.video = v.row "
            "where m.video_id <> v.video_id or m.row < v.first_moment or m.row >= v.first_moment + "
            "v.num_moments"
        ).fetchone()
        assert wrong == (0,)
        assert db.execute(
            "select count(*) from moments m join videos v on m.video_id = v.video_id"
        ).fetchone() == (174,)
    spans = MomentIndex(index).spans(np.arange(174))
    with duckdb.connect() as db:
        path = next((index / "segments").glob("*/moments.parquet"))
        read = db.execute(f"select start, \"end\" from read_parquet('{path}')").fetchnumpy()
    assert np.array_equal(np.stack([read["start"], read["end"]], axis=1), spans)


def test_the_documented_query_joins_the_segments(lively: Path, command: Command, tmp_path: Path) -> None:
    write_features(tmp_path / "new.h5", 8, seed=3)
    (tmp_path / "m.csv").write_text("video_id,camera\nv0,porch\nv1,yard\nv6,porch\n")
    index = tmp_path / "collection.mmn"
    command.ok(
        "build", lively / "model", lively / "features.h5", "-o", index, "--metadata", tmp_path / "m.csv"
    )
    command.ok(
        "add",
        only(tmp_path / "new.h5", tmp_path / "a.h5", "v6"),
        "--index",
        index,
        "--metadata",
        tmp_path / "m.csv",
    )
    text = (ROOT / "docs" / "index-format.md").read_text(encoding="utf-8")
    query = re.search(r"^```sql\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert query is not None
    asked = query[1].replace("collection.mmn/", f"{index}/")
    here = MomentIndex(index)
    expected = [
        ("porch", *span)
        for video in ("v0", "v6")
        for span in here.spans(here.rows_of(here.number_of(video))).tolist()
    ]
    with duckdb.connect() as db:
        assert sorted(db.execute(asked).fetchall()) == sorted(expected)
        # Segments with other columns, and removed videos: the manifest says which rows of videos.parquet
        # those are.
        command.ok("add", only(tmp_path / "new.h5", tmp_path / "b.h5", "v7"), "--index", index)
        command.ok("remove", "v1", "--index", index)
        videos = f"read_parquet('{index}/segments/*/videos.parquet', union_by_name=true)"
        rows = dict(db.execute(f"select video_id, camera from {videos}").fetchall())
        assert rows == {
            "v0": "porch",
            "v1": "yard",
            "v6": "porch",
            **dict.fromkeys(("v2", "v3", "v4", "v5", "v7")),
        }
        manifest = json.loads((index / "manifest.json").read_text())
        removed = {entry["id"]: entry["removed"] for entry in manifest["segments"] if entry["removed"]}
        ((folder, numbers),) = removed.items()
        table = (
            "(select row_number() over () - 1 as row, * from "
            f"read_parquet('{index}/segments/{folder}/videos.parquet'))"
        )
        assert [db.execute(f"select video_id from {table} where row = {n}").fetchone() for n in numbers] == [
            ("v1",)
        ]
