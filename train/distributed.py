"""One training run over several processes, as torchrun starts them: gloo on CPUs, nccl on GPUs.

    torchrun --no-python --nproc-per-node 4 mmn-index train ... --device cuda

Started without torchrun, a run is a world of one process and nothing here does anything.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.nn import functional

from mmn_index.device import find_device

_TIMEOUT = timedelta(hours=2)  # the others wait while the first process evaluates a validation split


@dataclass(frozen=True)
class World:
    """The processes of a run; each knows its rank."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come this far."""
        if self.size > 1:
            distributed.barrier()

    def share(self, value: Any) -> Any:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes; no gradient."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def join(self, rows: Tensor) -> Tensor:
        """Rows of all processes, by rank; gradients flow back to the process that a row came from, summed
        over all losses.

        Args:
            rows: (n, ...) with an n of each process's own.
        """
        if self.size == 1:
            return rows
        counts = torch.zeros(self.size, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        sizes = self.sum(counts).tolist()
        if not sum(sizes):
            return rows
        before, after = sum(sizes[: self.rank]), sum(sizes[self.rank + 1 :])
        padded = torch.cat(
            [rows.new_zeros(before, *rows.shape[1:]), rows, rows.new_zeros(after, *rows.shape[1:])]
        )
        joined: Tensor = functional.all_reduce(padded)  # type: ignore[no-untyped-call]
        return joined


def first_process() -> bool:
    """Whether this is the process that reports, also before and after `world`."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def world(device: str) -> Iterator[tuple[World, torch.device]]:
    """Join the run that torchrun started, if it did; yields this process's place and device. Within another
    `world`, the same.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(), find_device(device)
        return
    local = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    place = find_device(local)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    outermost = not distributed.is_initialized()
    if outermost:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_TIMEOUT)
    yield World(distributed.get_rank(), size), place
    # Only after a clean end: where one process has failed, waiting for it here would hide its message.
    if outermost:
        # Gloo's threads let go of the last collective's tensors under the interpreter's lock. The end of the
        # group waits for these threads and holds it: on a busy machine, a process would hang after all of its
        # work was done.
        time.sleep(0.5)
        distributed.destroy_process_group()
