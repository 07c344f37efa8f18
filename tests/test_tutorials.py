"""The commands of the documentation's pages, typed as they stand, each page in a fresh folder."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$(?:\n```text\n(.*?)^```$)?", re.M | re.S)
_PATIENCE = 300  # seconds for one command


def blocks(page: str) -> Iterator[tuple[list[str], list[str]]]:
    """What a page has its reader type, and what it says is printed."""
    for typed, printed in _BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        lines = typed.replace("\\\n", " ").splitlines()
        yield (
            [line for line in lines if line.strip()],
            [line for line in printed.splitlines() if line.strip()],
        )


class Shell:
    """A reader's shell, in a folder that is also the home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": programs, "HOME": str(folder), "OMP_NUM_THREADS": "1"}

    def type(self, line: str) -> str:
        """Run a command; what it printed. One that runs until it is told to end is told so."""
        endless = line.startswith("mmn-index serve") or "--watch" in line
        running = subprocess.Popen(
            f"exec {line}",
            shell=True,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if endless:
            printed = self._first_line(running)
            running.send_signal(signal.SIGINT)
            rest, _ = running.communicate(timeout=_PATIENCE)
            assert running.returncode == 0, f"{line}\n{printed}{rest}"
            return printed + rest
        printed, _ = running.communicate(timeout=_PATIENCE)
        assert running.returncode == 0, f"{line}: exit code {running.returncode}\n{printed}"
        return printed

    def _first_line(self, running: "subprocess.Popen[str]") -> str:
        assert running.stdout is not None
        printed = ""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and "Ctrl-C ends it" not in printed:
            line = running.stdout.readline()
            if not line:  # it has ended
                break
            printed += line
        return printed


def shape(text: str) -> str:
    """What is the same on every machine: all but digits, and how wide columns are."""
    return " ".join(re.sub(r"\d+", "0", text).split())


@pytest.mark.parametrize("page", ["quickstart.md"])
def test_a_page(page: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    typed = list(blocks(page))
    assert typed
    for lines, expected in typed:
        printed = shape("\n".join(shell.type(line) for line in lines))
        for line in expected:
            assert shape(line) in printed, f"{line}\nis not printed by {lines}:\n{printed}"
