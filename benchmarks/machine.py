"""What a benchmark ran on, and what that machine can do at most."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
PACKAGES = ("torch", "transformers", "faiss-cpu", "faiss-gpu", "numpy", "pyarrow", "av")
_COPIED = 1 << 29  # bytes: far more than the caches hold


def about() -> dict[str, Any]:
    """Commit, versions, processor, cores and threads."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    commit, changed = (
        subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    )
    return {
        "commit": (commit or "unknown") + (" and changes" if changed else ""),
        "python": platform.python_version(),
        "packages": found,
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def product_rate() -> float:
    """Multiplications a second of products of float32 matrices, with the threads that torch has."""
    a, b = torch.randn(32, 256, 512), torch.randn(32, 512, 512)
    out = torch.bmm(a, b)
    return 32 * 256 * 512 * 512 / _best(lambda: torch.bmm(a, b, out=out), 20)


def copy_rate() -> float:
    """Bytes a second that a large copy in memory reads and writes, with the threads that torch has."""
    source, target = torch.ones(_COPIED // 4), torch.empty(_COPIED // 4)
    target.copy_(source)
    return 2 * _COPIED / _best(lambda: target.copy_(source), 5)


def _best(work: Callable[[], object], times: int) -> float:
    """Seconds of the quickest of some runs."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)
