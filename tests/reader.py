"""A reader of the documentation, who types what a page says into a shell.

Used by test_tutorials.py, test_recipes.py and test_typed_pages.py.
"""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from conftest import Command

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_PATIENCE = 900  # seconds for a block on a machine that has other work
# Hands its words to the process of the test, and ends as that says.
_PROGRAM = """#!{python} -IS
import json, os, socket, sys
variables = {{name: value for name, value in os.environ.items() if name.startswith("MMN_")}}
with socket.create_connection(("127.0.0.1", {port})) as connection:
    connection.sendall(json.dumps([sys.argv[1:], variables]).encode())
    connection.shutdown(socket.SHUT_WR)
    with connection.makefile("rb") as answer:
        code, out, err = json.load(answer)
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


def pages() -> list[Path]:
    """What people read, the two pages at the root first."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "benchmarks" / "README.md",
        *sorted(DOCS.glob("*.md")),
    ]


def sections(page: Path) -> Iterator[tuple[str, str]]:
    """The headings of a page, and what stands below each up to the next one. A heading inside a block is none."""
    title, lines, inside = "", [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
        if not inside and (heading := re.fullmatch(r"#+ (.*)", line)):
            yield title, "\n".join(lines)
            title, lines = heading[1], []
        lines.append(line)
    yield title, "\n".join(lines)


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a text: in which language, and what."""
    return _BLOCK.findall(f"{text}\n")


class Reader:
    """A shell, in a folder that is also the home.

    What it is given is run as it stands, but for the port of a server, so that tests can run side by side. `mmn-index` is a program that
    hands its words to this process, which has torch loaded already. A server runs until the reader goes, and a watch until it waits.

    Args:
        folder: the home.
        apart: `mmn-index` runs in a process of its own.
    """

    def __init__(self, folder: Path, *, apart: bool = False) -> None:
        self.folder, self._apart = folder, apart
        self._servers: list[subprocess.Popen[str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.02)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._bin = tempfile.TemporaryDirectory(prefix="reader")
        self._put("mmn-index", _PROGRAM.format(python=sys.executable, port=self._listener.getsockname()[1]))
        self._put("mpv", "#!/bin/sh\n")
        self._python = Path(sys.executable).parent
        self._path = os.pathsep.join([self._bin.name, str(self._python), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": self._path, "HOME": str(folder), "OMP_NUM_THREADS": "1"}

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            self._end(server)
        self._listener.close()
        self._bin.cleanup()

    def _put(self, name: str, content: str) -> None:
        path = Path(self._bin.name) / name
        path.write_text(content)
        path.chmod(0o755)

    def type(self, block: str) -> str:
        """Run a block of commands, each of which has to end with code 0; what was printed."""
        with tempfile.TemporaryFile("w+") as printed:
            running = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", self._here(block)],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
            try:
                end = time.monotonic() + _PATIENCE
                while running.poll() is None:
                    assert time.monotonic() < end, f"not done after {_PATIENCE} s:\n{block}"
                    self._answer()
            finally:
                running.kill()
                running.wait()
            printed.seek(0)
            text = printed.read()
        assert running.returncode == 0, f"exit code {running.returncode}:\n{block}\n{text}"
        return text

    def run(self, program: str) -> str:
        """Run a Python program, in this process; what it printed. Its main part, if it has one, is left out."""
        printed = io.StringIO()
        with redirect_stdout(printed), mock.patch.dict(os.environ, self._environment):
            exec(compile(self._here(program), "<page>", "exec"), {"__name__": "page"})
        return printed.getvalue()

    def _here(self, text: str) -> str:
        return text.replace("localhost:8000", f"localhost:{self._port}")

    def _answer(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            return
        with connection:
            connection.settimeout(_PATIENCE)
            with connection.makefile("rb") as asked:
                words, variables = json.load(asked)
            connection.sendall(json.dumps(self._told(words, variables)).encode())

    def _told(self, words: Sequence[str], variables: dict[str, str]) -> tuple[int, str, str]:
        """The exit code of mmn-index, and what it printed."""
        environment = self._environment | variables
        if (words[:1] == ["serve"] and "--get" not in words) or "--watch" in words:
            return self._endless(words, environment)
        if self._apart:
            command = [self._python / "mmn-index", *words]
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=_PATIENCE
            )
            return done.returncode, done.stdout, done.stderr
        with mock.patch.dict(os.environ, environment):
            result = Command().run(*words)
        error = "" if result.exception is None or result.exit_code != 1 else repr(result.exception)
        return result.exit_code, result.stdout, f"{result.stderr}{error}"

    def _endless(self, words: Sequence[str], environment: dict[str, str]) -> tuple[int, str, str]:
        serves = words[0] == "serve"
        running = subprocess.Popen(
            [self._python / "mmn-index", *words, *(["--port", str(self._port)] if serves else [])],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed = ""
        assert running.stdout is not None
        while "Ctrl-C ends it" not in printed and (line := running.stdout.readline()):
            printed += line
        if serves and running.poll() is None:
            self._servers.append(running)
            return 0, printed, ""
        return self._end(running), printed, ""

    def _end(self, running: "subprocess.Popen[str]") -> int:
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=_PATIENCE)
        assert running.returncode == 0, rest
        return running.returncode
