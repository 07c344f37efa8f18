"""Runs of `mmn-index` in forks of one process that has imported it: see worker_runs.py."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch

WORKER = Path(__file__).with_name("worker_runs.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class Run(NamedTuple):
    arguments: list[str]
    point: str | None = None  # where it is killed
    environment: Mapping[str, str] = MappingProxyType({})


class Ended(NamedTuple):
    code: int
    said: str  # stdout
    errors: str  # stderr


@cache
def _worker() -> "subprocess.Popen[str]":
    """One for all tests of this process; it ends with this process, which closes its stdin."""
    return subprocess.Popen(
        [sys.executable, str(WORKER)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def in_forks(*rounds: list[Run]) -> list[list[Ended]]:
    """Rounds of runs, those of a round side by side."""
    plan = [[(run.point, dict(run.environment), run.arguments) for run in runs] for runs in rounds]
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(plan) + "\n")
    worker.stdin.flush()
    return [[Ended(*ended) for ended in runs] for runs in json.loads(worker.stdout.readline())]


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes in this process as a run in a fork does: sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def kill_at(points: Sequence[str], command: list[str]) -> None:
    """Run a command again and again, each time up to the next point."""
    for point, [ended] in zip(points, in_forks(*([Run(command, p)] for p in points)), strict=True):
        assert ended.code == -signal.SIGKILL, (point, ended.errors)


def side_by_side(processes: int, command: list[str]) -> list[Ended]:
    """One run over several processes, with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    ranks = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    return in_forks([Run(command, environment=rank) for rank in ranks])[0]
