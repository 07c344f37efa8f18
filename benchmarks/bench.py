"""Every benchmark that needs nothing but the demo, small: a few minutes, one JSON file.

    python benchmarks/bench.py DEMO RESULT.json [--only embedding query ...]

DEMO is the folder that `make demo` leaves. RESULT.json names the commit, the versions, the processor and its
cores, so that `compare.py` can hold two of them against each other.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("torch", "transformers", "faiss-cpu", "faiss-gpu", "numpy", "pyarrow", "av")


def commands(demo: Path, work: Path) -> dict[str, list[str | Path]]:
    model, features, index = demo / "run" / "model", demo / "features.h5", demo / "collection.mmn"
    small = ["--videos", "8", "--official", "1", "--rounds", "2"]
    return {
        "embedding": ["embedding.py", "--settings", "charades", "ucf-moments", "playhouse", *small],
        "extraction": ["extraction.py", work / "extraction", work / "extraction.json", "--videos", "12"],
        "query": ["query.py", index],
        "search": ["search.py", work / "search", work / "search.json", "--videos", "181"],
        "serving": [
            "serving.py",
            model,
            features,
            work / "serving",
            *("--moments", "20000", "--clients", "50", "--seconds", "10", "--still"),
        ],
    }


def machine() -> dict[str, Any]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return {
        "commit": (commit.stdout.strip() or "unknown") + (" and changes" if changed.stdout.strip() else ""),
        "python": platform.python_version(),
        "packages": found,
        "processor": processor(),
        "cores": os.cpu_count(),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def last_object(text: str) -> Any:
    """The JSON that a benchmark prints at its end."""
    start = 0 if text.startswith("{") else text.rfind("\n{\n") + 1
    return json.loads(text[start:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--only", nargs="+")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "results": {}}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, (script, *arguments) in commands(asked.demo.resolve(), work).items():
            if asked.only and name not in asked.only:
                continue
            began = time.perf_counter()
            line = [sys.executable, HERE / script, *arguments]
            ended = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False)
            if ended.returncode:
                failed.append(name)
                continue
            written = work / f"{name}.json"
            text = written.read_text() if written.exists() else ended.stdout
            found["results"][name] = {"seconds": round(time.perf_counter() - began, 1), **last_object(text)}
            print(f"{name}: {found['results'][name]['seconds']} s", flush=True)
    asked.result.write_text(json.dumps(found, indent=1) + "\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
