"""The HTTP API holds what its description says, whatever it is asked (schemathesis).

All calls together are asked some 2,000 times. MMN_SCHEMA_EXAMPLES=1000 asks each so often.
"""

import importlib.util
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from conftest import Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moving import make_video
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from test_tube_page import root as tube_root  # noqa: F401  (a fixture)

from mmn_index.server.app import api, create_app
from mmn_index.server.settings import Settings

EXAMPLES = int(os.environ.get("MMN_SCHEMA_EXAMPLES", "180"))
VIDEO, DOOR, TIMES = "kitchen", "a person opens the door", {"start": 0.4, "end": 1.5}
CALLS = [(path, method) for path, calls in api().openapi()["paths"].items() for method in calls]
ONLY_OF_TUBES = ("/v1/videos/{video}/boxes",)
# Whether a request can be answered depends on more than a schema can say: on the length of the video, say.
UNSAID = [positive_data_acceptance]


def test_the_reference_is_that_of_the_description() -> None:
    path = Path(__file__).parent.parent / "docs" / "http_api.py"
    spec = importlib.util.spec_from_file_location("http_api", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(made := importlib.util.module_from_spec(spec))
    assert path.with_name("http-api.md").read_text(encoding="utf-8") == made.reference(api().openapi()), (
        "run `python docs/http_api.py > docs/http-api.md`"
    )


@pytest.fixture(scope="module")
def schema(pixel_model: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Iterator[Any]:
    """The description of a running server, whose index has a video that can be played."""
    folder = tmp_path_factory.mktemp("schema")
    make_video(folder / f"{VIDEO}.mp4", seconds=2.5)
    command.ok("build", folder, "--model", pixel_model, "-o", folder / "films.mmn")
    with _serving(folder / "films.mmn") as found:
        yield found


@pytest.fixture(scope="module")
def schema_of_tubes(tube_root: Path) -> Iterator[Any]:  # noqa: F811
    """The same of an index of tubes."""
    with _serving(tube_root) as found:
        yield found


@contextmanager
def _serving(root: Path) -> Iterator[Any]:
    told = Settings((root,), cache_dir=root.parent / "cache")
    config = uvicorn.Config(create_app(told), log_level="warning")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/openapi.json")
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(("path", "method"), CALLS, ids=[f"{method} {path}" for path, method in CALLS])
def test_every_answer_is_one_that_is_described(
    path: str, method: str, request: pytest.FixtureRequest
) -> None:
    of_tubes = path in ONLY_OF_TUBES
    call = request.getfixturevalue("schema_of_tubes" if of_tubes else "schema")[path][method]
    cases = call.as_strategy()
    if call.definition.raw.get("parameters") or call.definition.raw.get("requestBody"):
        cases |= call.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    answered: list[int] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases, real=st.integers(0, 3))
    def ask(case: Any, real: int) -> None:
        # Nearly all would be of videos that are not there; what must be refused stays as it is.
        if real and case.meta.generation.mode.is_positive:
            make_real(case, "a" if of_tubes else VIDEO, whole=real == 3)
        answered.append(case.call_and_validate(excluded_checks=UNSAID, timeout=60).status_code)

    ask()
    assert any(status < 300 for status in answered), "nothing but refusals was seen"


def make_real(case: Any, video: str, *, whole: bool) -> None:
    """Ask for what the index has.

    Args:
        whole: leave out what can hardly be answered by chance, too.
    """
    if "video" in case.path_parameters:
        case.path_parameters["video"] = video
    if isinstance(case.path_parameters.get("row"), int):
        case.path_parameters["row"] %= 200
        case.query["version"] = 1
    if case.query:
        case.query.pop("index", None)
        if whole and {"start", "end"} <= case.query.keys():
            case.query |= TIMES
        if whole and "tube" in case.query:
            case.query["tube"] = 0
    if case.path.endswith("/export"):
        case.body.pop("index", None)
        for moment in case.body["moments"]:
            moment |= {"video": VIDEO, **(TIMES if whole else {})}
        if whole and case.body["format"] != "clips":
            case.body.pop("padding", None)
    elif case.path.endswith("/search"):
        case.body.pop("index", None)
        if whole:
            case.body = plain(case.body)


def plain(body: dict[str, Any]) -> dict[str, Any]:
    """A search that has an answer, which keeps what it can of another one."""
    kept = ("k", "nms", "per_video", "after", "before", "min_length", "max_length", "exact")
    found = {name: body[name] for name in kept if name in body}
    found["k"] = found.get("k", 10) % 1000 + 1
    if body.get("like") is not None:
        return found | {"like": {"video": VIDEO, **TIMES}}
    if body.get("queries"):
        return found | {"queries": [DOOR for _ in body["queries"]][:10]}
    more = next((name for name in ("not", "and", "then") if body.get(name) is not None), None)
    return found | {"query": DOOR} | ({more: "a person sits down"} if more else {})
