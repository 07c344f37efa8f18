"""Whatever happens to a folder, and wherever synchronisations of it are killed: in the end the index is one
that is built anew of what is there.

MMN_SYNC_COURSES=200 pytest tests/test_sync_kills.py   as many courses; else 15
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from folders import films
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

COURSES = int(os.environ.get("MMN_SYNC_COURSES", "15"))
Step = tuple[str, Any, Any]

NAMES = st.sampled_from(["a.mp4", "b.mp4", "c.mkv", "porch/a.mp4", "porch/d.mp4"])
FILMS = st.integers(0, 6)
STEP = st.one_of(
    st.tuples(st.just("write"), NAMES, FILMS),
    st.tuples(st.sampled_from(["write", "break"]), NAMES, FILMS),
    st.tuples(st.sampled_from(["delete", "touch"]), NAMES, st.just(0)),
    st.tuples(st.sampled_from(["move", "swap", "copy"]), NAMES, NAMES),
    st.tuples(st.just("sync"), st.just(0), st.just(0)),
    # Many steps are over soon, and few are the last ones: all magnitudes alike.
    st.tuples(st.just("kill"), st.just("calls"), st.integers(0, 70)),
    st.tuples(st.just("kill"), st.just("lines"), st.integers(0, 12).flatmap(lambda n: st.integers(1, 2**n))),
)
Ask = Callable[[list[Step]], dict[str, Any]]


@pytest.fixture(scope="module")
def ask(pixel_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    folder = tmp_path_factory.mktemp("sync")
    line = [sys.executable, str(Path(__file__).with_name("worker_sync.py"))]
    line += [str(pixel_model), str(films(folder / "films")), str(folder / "work")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(steps: list[Step]) -> dict[str, Any]:
            process.stdin.write(json.dumps(steps) + "\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(process.stdout.readline())
            return found

        yield run
        process.stdin.close()
    assert process.returncode == 0


def test_the_worker_kills_and_sees_what_is_wrong(ask: Ask) -> None:
    """A kill within the work, and one that would come after it."""
    first: list[Step] = [("write", "a.mp4", 1), ("write", "b.mp4", 2)]
    assert ask([*first, ("kill", "lines", 100), ("kill", "calls", 9)]) | {"seconds": 0} == {
        "wrong": [],
        "kills": 2,
        "seconds": 0,
    }
    assert ask([*first, ("kill", "calls", 10**6)])["kills"] == 0


@settings(max_examples=COURSES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=4, max_size=14))
def test_any_course_with_kills_ends_in_an_index_that_is_built_anew(ask: Ask, steps: list[Step]) -> None:
    found = ask(steps)
    event(f"{found['kills']} killed")
    assert found["wrong"] == []
