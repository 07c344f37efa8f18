"""A candidate index beside that of an earlier version: the same queries, by turns, each time in a process of
its own.

    python benchmarks/search_beside.py EARLIER BEFORE.mmn NOW.mmn RESULT.json [--rounds 3]

EARLIER is a folder with an earlier version of the package, made by `pip install --no-deps --target EARLIER
"git+file://$PWD@COMMIT"`. Each index was built by its own version of search.py. Its files are read once
before it is asked, so that they are in memory: one after the other they may not both stay there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 31  # neither that of tuning nor that of search.py


def ask(root: Path) -> None:
    """Print milliseconds of one query and of 64, by the version of the package that Python finds."""
    sys.path.insert(0, str(HERE))
    import synthetic

    from mmn_index.index import MomentIndex
    from mmn_index.scoring import Embeddings, Score
    from mmn_index.search import SearchOptions, search_embeddings

    index, queries = MomentIndex(root), synthetic.queries(1024, seed=SEED)
    score, options = Score("collection", tau=0.1), SearchOptions(k=10, exact=False)

    def took(first: int, count: int) -> float:
        part = Embeddings(*(x[first : first + count] for x in queries))
        began = time.perf_counter()
        search_embeddings(index, part, score, options, [""] * count)
        return 1e3 * (time.perf_counter() - began)

    for number in range(50):
        took(number, 1)
    single = [took(number, 1) for number in range(500)]
    many = [took(64 * number, 64) for number in range(12)]
    print(json.dumps({"1 query, ms": statistics.median(single), "64 queries, ms": statistics.median(many)}))


def asked(root: Path, earlier: Path | None) -> dict[str, float]:
    for file in sorted(root.rglob("*")):
        if file.is_file():
            with file.open("rb") as content:
                while content.read(1 << 26):
                    pass
    own = {} if earlier is None else {"PYTHONPATH": str(earlier.resolve())}
    line = [sys.executable, "-P", str(Path(__file__).resolve()), "--ask", str(root)]
    ended = subprocess.run(line, env={**os.environ, **own}, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("earlier", type=Path, nargs="?")
    parser.add_argument("before", type=Path, nargs="?")
    parser.add_argument("now", type=Path, nargs="?")
    parser.add_argument("result", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.ask:
        ask(given.ask)
        return
    if given.result is None:
        parser.error("EARLIER, BEFORE.mmn, NOW.mmn and RESULT.json are needed")
    rounds: list[dict[str, Any]] = []
    for _ in range(given.rounds):
        rounds.append({"before": asked(given.before, given.earlier), "now": asked(given.now, None)})
        print(rounds[-1], flush=True)
    found = {
        "command": "python benchmarks/search_beside.py EARLIER BEFORE.mmn NOW.mmn RESULT.json",
        "rounds": rounds,
        "times as fast, median of rounds": {
            kind: statistics.median(one["before"][kind] / one["now"][kind] for one in rounds)
            for kind in rounds[0]["now"]
        },
    }
    given.result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
