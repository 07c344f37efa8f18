"""Every benchmark that needs nothing but the demo, small: a few minutes, one JSON file.

    python benchmarks/bench.py DEMO RESULT.json [--only embedding query ...]

DEMO is the folder that `make demo` leaves. RESULT.json names the commit, the versions, the processor and its
cores, so that `compare.py` can hold two of them against each other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import HERE, about

NAMES = ("embedding", "extraction", "query", "search", "serving", "scaling")


def commands(demo: Path, work: Path) -> dict[str, list[str | Path]]:
    """Each benchmark writes its JSON into `work`, under its own name."""
    model, features, index = demo / "run" / "model", demo / "features.h5", demo / "collection.mmn"
    small = ["--videos", "8", "--official", "1", "--rounds", "2"]
    out = {name: work / f"{name}.json" for name in NAMES}
    return {
        "embedding": [
            *("embedding.py", "--settings", "charades", "ucf-moments", "playhouse", *small),
            *("--out", out["embedding"]),
        ],
        "extraction": ["extraction.py", work / "extraction", out["extraction"], "--videos", "12"],
        "query": ["query.py", index, "--out", out["query"]],
        "search": ["search.py", work / "search", out["search"], "--videos", "181"],
        "serving": [
            *("serving.py", model, features, work / "serving", "--moments", "20000", "--clients", "50"),
            *("--seconds", "10", "--still", "--out", out["serving"]),
        ],
        "scaling": ["scaling.py", work / "scaling", out["scaling"], "--most", "316"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--only", nargs="+", choices=NAMES)
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": about(), "results": {}}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, (script, *arguments) in commands(asked.demo.resolve(), work).items():
            if asked.only and name not in asked.only:
                continue
            began = time.perf_counter()
            line = [sys.executable, HERE / script, *arguments]
            if subprocess.run(line, stdout=subprocess.DEVNULL, check=False).returncode:
                failed.append(name)
                continue
            seconds = round(time.perf_counter() - began, 1)
            found["results"][name] = {"seconds": seconds, **json.loads((work / f"{name}.json").read_text())}
            print(f"{name}: {seconds} s", flush=True)
    asked.result.write_text(json.dumps(found, indent=1) + "\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
