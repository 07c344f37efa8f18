"""Runs `mmn-index` and kills its own process, with SIGKILL, at a chosen point; see test_training.py.

python worker_killed.py POINT ARGUMENTS...
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    import torch
    from mmn_index.train.loop import Run
    from mmn_index.train.resume import RunFolder

    name, _, number = point.partition(":")
    if name == "step":
        left, step = [int(number)], Run.step

        def counted(self: Run, *arguments: Any) -> Any:
            left[0] -= 1
            return die() if left[0] == 0 else step(self, *arguments)

        Run.step = counted  # type: ignore[method-assign]
    elif (
        name == "refresh"
    ):  # negatives are being mined: the index of the training videos is written, nothing more
        import mmn_index.train.loop as loop

        loop.mine_negatives = die  # type: ignore[assignment]
    elif name == "before-state":  # the epoch's metrics and model are written, its state is not
        RunFolder.save = die  # type: ignore[method-assign,assignment]
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
        RunFolder.finish = die  # type: ignore[method-assign,assignment]
    else:
        raise ValueError(point)


if __name__ == "__main__":
    from mmn_index.cli.main import main

    arm(sys.argv[1])
    main(sys.argv[2:])
