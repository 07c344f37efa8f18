"""A server as the machine sees it: its processes, its connections, and clients that mean no good."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from conftest import Command
from moving import make_video

from mmn_index.index.scan import Deadline
from mmn_index.server import connections, run, searching
from mmn_index.server.app import create_app
from mmn_index.server.settings import Settings

QUESTION = {"query": "a person opens the door"}


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    """An index that a test may change."""
    return Path(shutil.copytree(world / "collection.mmn", tmp_path / "films.mmn"))


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def processes(root: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server in processes of its own: its address, and the first of them."""
    code = "from mmn_index.cli.main import main; main()"
    line = [sys.executable, "-c", code, "serve", str(root), "--port", "0", *arguments]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        try:
            yield said.split("Serving on ")[1].split(";")[0], process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                rest = process.communicate(timeout=40)[1]
                assert "Traceback" not in rest, rest
        finally:
            for child in workers(process):
                os.kill(child, signal.SIGKILL)
            process.kill()


def workers(process: "subprocess.Popen[str]") -> set[int]:
    """The processes of a server that answer."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return {int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()}
    except OSError:
        return set()


def test_a_killed_worker_loses_nothing_but_its_requests(root: Path, command: Command) -> None:
    with processes(root, "--workers", "2") as (url, process):
        until(lambda: len(workers(process)) == 2)
        failed: list[str] = []
        versions: list[int] = []
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                try:
                    answer = httpx.post(f"{url}/v1/search", json=QUESTION, timeout=60)
                except httpx.TransportError as error:
                    failed.append(repr(error))
                    continue
                assert answer.status_code == 200, answer.text
                versions.append(answer.json()["version"])

        with ThreadPoolExecutor(3) as clients:
            asking = [clients.submit(ask) for _ in range(3)]
            try:
                until(lambda: len(versions) > 5)
                victim = min(workers(process))
                os.kill(victim, signal.SIGKILL)
                at = len(versions)
                until(lambda: len(versions) > at + 20)  # the other one goes on alone
                until(lambda: len(workers(process) - {victim}) == 2)
                command.ok("remove", "v0", "--index", root)
                # Both take up the new version: no old one for a while.
                until(lambda: len(versions) > 40 and set(versions[-40:]) == {2})
            finally:
                ended.set()
            for one in asking:
                one.result()
        assert len(failed) <= 3  # one that was under way for each client
        said = httpx.get(f"{url}/v1/metrics").text
        asked = sum(
            float(line.split()[-1])
            for line in said.splitlines()
            if line.startswith("mmn_index_requests_total") and "search" in line and '"200"' in line
        )
        # Of all workers, the killed one included: all that was answered, and what it was about to answer.
        assert len(versions) <= asked <= len(versions) + len(failed)
        assert 'mmn_index_index_version{index="films"} 2.0' in said
        assert "mmn_index_waiting_sentences 0.0" in said
    until(lambda: not workers(process))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_what_has_arrived_is_answered_before_the_end(root: Path, end: int) -> None:
    with processes(root, "--batch-wait", "1") as (url, process), ThreadPoolExecutor(3) as clients:
        asking = [clients.submit(httpx.post, f"{url}/v1/search", json=QUESTION) for _ in range(3)]
        until(lambda: "mmn_index_waiting_sentences 3.0" in httpx.get(f"{url}/v1/metrics").text)
        process.send_signal(end)
        assert [one.result().status_code for one in asking] == [200] * 3
        # A terminal's Ctrl-C ends it well; a manager of services sees the signal that it sent.
        assert process.wait(10) == (0 if end == signal.SIGINT else -signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_work_without_an_end_does_not_hold_up_the_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def endless(*moment: Any, deadline: Deadline, **options: Any) -> None:
        begun.set()
        while True:
            deadline.check(0, 1)
            time.sleep(0.01)

    monkeypatch.setattr(run, "_GRACE", 1)
    monkeypatch.setattr(searching, "search_like", endless)
    like = {"like": {"video": "v0", "start": 0, "end": 5}}
    with serving(Settings((root,))) as ((host, port), server, thread), ThreadPoolExecutor(2) as clients:
        url, asking = f"http://{host}:{port}/v1/search", []
        for question in (like, QUESTION):  # the second waits for the first
            asking.append(clients.submit(httpx.post, url, json=question, timeout=30))
            assert begun.wait(10)
        until(lambda: len(server.server_state.connections) == 2)
        began = time.monotonic()
        server.should_exit = True
        answers = [one.result() for one in asking]
        thread.join(10)
        assert time.monotonic() - began < 5
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "being stopped" in answer.json()["detail"]


def test_a_second_ctrl_c_ends_at_once_and_quietly(
    pixel_model: Path, tmp_path: Path, command: Command
) -> None:
    video, root = tmp_path / "films/one.mp4", tmp_path / "films.mmn"
    make_video(video, seconds=2, sound=None)
    command.ok("build", video.parent, "--model", pixel_model, "-o", root)
    os.truncate(video, 64 << 20)  # far more than fits between a server and a client that reads nothing
    with processes(root) as (url, process), socket.socket() as client:
        client.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        client.sendall(b"GET /v1/videos/one/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None  # it waits for what it was asked for
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_worker_that_hangs_holds_up_neither_signals_nor_the_end(root: Path) -> None:
    with processes(root, "--workers", "2") as (url, process):
        until(lambda: len(workers(process)) == 2)
        until(lambda: httpx.get(f"{url}/v1/health/ready", timeout=30).status_code == 200)
        os.kill(min(workers(process)), signal.SIGSTOP)
        time.sleep(2)
        assert httpx.get(f"{url}/v1/health/ready").status_code == 200  # the other one answers
        process.send_signal(signal.SIGTERM)
        assert process.wait(34) == 0
        assert process.stderr is not None
        assert "it is killed" in process.stderr.read()


def test_an_address_of_ipv6(root: Path, command: Command) -> None:
    with processes(root, "--host", "[::1]") as (url, _):
        assert url.startswith("http://[::1]:")
        assert httpx.get(f"{url}/v1/health/ready").json()["status"] == "ready"
        port = url.rpartition(":")[2]
        command.fails("serve", root, "--host", "::1", "--port", port, says="Another program uses the port")
    far = ["serve", root, "--host", "192.0.2.1", "--no-auth"]
    command.fails(*far, says="--host takes an address of this machine")


def test_an_index_that_cannot_be_opened_starts_no_workers(tmp_path: Path, command: Command) -> None:
    command.fails("serve", tmp_path / "none.mmn", "--workers", 2, "--port", 0, says="none.mmn")


@pytest.fixture
def address(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A server of this process that is impatient and has room for six connections."""
    monkeypatch.setattr(connections, "HEAD_WAIT", 0.5)
    with serving(Settings((root,), max_connections=6, body_wait=0.5)) as (address, _, _):
        yield address


@contextmanager
def serving(settings: Settings) -> "Iterator[tuple[tuple[str, int], uvicorn.Server, threading.Thread]]":
    """A server in a thread of this process: its address, itself, and the thread."""
    server = uvicorn.Server(run._config(create_app(settings), settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        try:
            yield listener.getsockname(), server, thread
        finally:
            server.should_exit = True
            thread.join()


def answered(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """What a server says before it closes."""
    connection.settimeout(10)
    said = b""
    while more := connection.recv(1 << 16):
        said += more
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


HEAD = (
    b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
)


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", "the head of the request"),
        (HEAD, "the head of the request"),
        (HEAD + b"Content-Length: 40\r\n\r\n" + b'{"query": ', "the body did not come"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n", "the body did not come"),
    ],
    ids=["nothing", "half a head", "half a body", "half of the chunks"],
)
def test_a_client_that_sends_slowly_is_not_waited_for(
    address: tuple[str, int], sent: bytes, says: str
) -> None:
    with socket.create_connection(address) as slow:
        slow.sendall(sent)
        status, problem = answered(slow)
    assert (status, problem["status"]) == (408, 408)
    assert says in problem["detail"]
    assert httpx.get(f"http://{address[0]}:{address[1]}/v1/health/live").status_code == 200


def test_a_client_that_sends_byte_by_byte_has_no_more_time(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as slow:
        began = time.monotonic()
        with suppress(OSError):  # reset or broken pipe, as the system likes
            for byte in HEAD * 100:
                slow.send(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - began < 5


def test_a_connection_between_two_requests_is_kept(address: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        for _ in range(3):
            assert client.post("/v1/search", json=QUESTION).status_code == 200
            time.sleep(0.8)  # longer than a head may take to come


def test_one_connection_too_many(address: tuple[str, int]) -> None:
    held = [socket.create_connection(address) for _ in range(6)]
    with socket.create_connection(address) as late:
        status, problem = answered(late)
        assert (status, problem["title"]) == (503, "Service Unavailable")
        assert "6 connections are open" in problem["detail"]
    for one in held:
        one.close()

    def again() -> bool:
        return httpx.get(f"http://{address[0]}:{address[1]}/v1/health/live").status_code == 200

    until(again)


@pytest.mark.parametrize(
    "host",
    ["rebound.example", "rebound.example:8000", "localhost.example", "", "[::2]:80", "[::1]evil", "[::1"],
)
def test_a_name_that_others_own_is_refused(address: tuple[str, int], host: str) -> None:
    url = f"http://{address[0]}:{address[1]}/v1/indexes"
    answer = httpx.get(url, headers={"Host": host})
    assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
    for own in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1", "127.0.0.2", "[0:0::1]:80"):
        assert httpx.get(url, headers={"Host": own}).status_code == 200, own


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HEAD,
    ],
)
def test_what_is_not_http_is_a_problem(address: tuple[str, int], sent: bytes) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(sent)
        status, problem = answered(connection)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")


def test_nonsense_after_a_request_breaks_no_answer(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Its body is not looked at: the answer has been sent when the body turns out to be nonsense."""
    with socket.create_connection(address) as connection:
        connection.sendall(
            b"GET /v1/indexes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 200"
        with suppress(OSError):
            connection.sendall(b"zz\r\n")
            while connection.recv(1 << 16):
                pass
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
