"""A push that is killed at any request leaves the old version or the new one, and the next push completes it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conformance import Collection

HERE = Path(__file__).parent
KILLS = 10


@pytest.mark.parametrize("engine", ["postgres", "edge"])
def test_a_killed_push_is_completed_by_the_next(
    tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    collection = Collection(tmp_path / "c.mmn", videos=20)
    shutil.copytree(collection.root, tmp_path / "before.mmn")
    collection.remove(["v3"])
    collection.add(["v4", "v5", "new"])
    shutil.copytree(collection.root, tmp_path / "after.mmn")
    place = request.getfixturevalue("postgres_server") if engine == "postgres" else str(tmp_path)
    plan = {"engine": engine, "place": place, "kills": KILLS, "seed": 3}
    plan |= {name: str(tmp_path / f"{name}.mmn") for name in ("before", "after")}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "worker_push_kills.py", json.dumps(plan)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    kills = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(kills) == KILLS, ended.stderr
    for kill in kills:
        assert kill["died"], kill
        assert kill["right"], kill
        assert kill["end"], kill
        assert not kill["again"], kill
        assert not kill["beside"], kill
    assert {kill["state"] for kill in kills} >= {"nothing", "before"}
