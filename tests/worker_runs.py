"""Runs `mmn-index` in forks of one process that has imported everything, so that a run begins at once; kills
some of them, with SIGKILL, at a chosen point. See test_training.py.

python worker_runs.py

Each line of stdin is a plan, as JSON: rounds, one after another; each a list of runs that go side by side: the
point at which one dies, or null; variables of its environment; arguments. A line of JSON answers: for every run
of every round, its exit code (below 0: the signal that ended it) and what it wrote to stdout and to stderr.

Nothing is computed in this process: forks of a process in which torch or FAISS has already worked hang.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401
import torch._dynamo  # imported late by its optimisers
from mmn_index.cli.main import main
from mmn_index.train import curves, loop, resume, run  # noqa: F401
from transformers import AutoConfig, AutoModel, BertModel  # noqa: F401

from mmn_index.evaluation import within_video  # noqa: F401


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    name, _, number = point.partition(":")
    if name == "step":
        left, step = [int(number)], loop.Run.step

        def counted(self: loop.Run, *arguments: Any) -> Any:
            left[0] -= 1
            return die() if left[0] == 0 else step(self, *arguments)

        loop.Run.step = counted  # type: ignore[method-assign]
    elif (
        name == "refresh"
    ):  # negatives are being mined: the index of the training videos is written, nothing more
        loop.mine_negatives = die  # type: ignore[assignment]
    elif name == "before-state":  # the epoch's metrics and model are written, its state is not
        resume.RunFolder.save = die  # type: ignore[method-assign,assignment]
    elif name == "half-state":

        def half(_: Any, file: Any) -> None:
            file.write(b"PK\x03\x04 half of a state")
            file.flush()
            die()

        torch.save = half
    elif name == "between-renames":  # the old checkpoint is moved away, the new one is not in place
        replace = Path.replace

        def careful(self: Path, target: Path) -> Path:
            return die() if (self.name, target.name) == ("model.tmp", "model") else replace(self, target)  # type: ignore[return-value]

        Path.replace = careful  # type: ignore[method-assign,assignment]
    elif name == "before-result":
        resume.RunFolder.finish = die  # type: ignore[method-assign,assignment]
    else:
        raise ValueError(point)


def begin(point: str | None, environment: dict[str, str], arguments: list[str], streams: list[Path]) -> int:
    """The process id of a fork that runs the command, its stdout and stderr in files."""
    child = os.fork()
    if child:
        return child
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    if point is not None:
        arm(point)
    code = 1
    try:
        main(arguments)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_all(
    plan: list[list[tuple[str | None, dict[str, str], list[str]]]],
) -> list[list[tuple[int, str, str]]]:
    found = []
    for runs in plan:
        with tempfile.TemporaryDirectory() as folder:
            files = [[Path(folder, f"{number}.{n}") for n in (1, 2)] for number in range(len(runs))]
            children = [begin(*one, streams) for one, streams in zip(runs, files, strict=True)]
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            found.append(
                [
                    (code, *(p.read_text() for p in streams))
                    for code, streams in zip(codes, files, strict=True)
                ]
            )
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run_all(json.loads(line))) + "\n")
        sys.stdout.flush()
