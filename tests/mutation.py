"""Puts bugs into the core, one at a time, and looks whether its tests notice.

    pip install cosmic-ray==8.7.0
    OMP_NUM_THREADS=1 python tests/mutation.py WORK --count 200 --seed 0 --minutes 60

Cosmic Ray makes the bugs, in a copy of the package that is installed in WORK. Each group of modules gets its
share of the count, drawn by the seed; a bug meets the test files of its group, up to the first failure.
What is no behaviour is left alone: types, decorators, errors' texts. WORK/mutants.jsonl gets a line for each bug.
"""

import argparse
import ast
import collections
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import WorkItem

ROOT = Path(__file__).resolve().parents[1]


class Group(NamedTuple):
    share: float  # of all bugs
    modules: str  # names or patterns, below mmn_index
    tests: str  # the quickest to notice first


GROUPS = (
    Group(0.15, "scoring.py", "scoring search negatives zero_shot calibration"),
    Group(0.1, "moments.py windows.py", "moments search windows search_command evaluate"),
    Group(0.1, "proposals.py", "proposals moments golden_forward search columns"),
    Group(
        0.15,
        "train/losses.py train/objective.py",
        "losses steps alike golden_losses::test_losses_alone hard_negatives",
    ),
    Group(0.1, "train/tube_losses.py", "tube_losses golden_tubes"),
    Group(
        0.2, "search/*.py negatives.py", "search conformance_local queries negatives calibration tube_index"
    ),
    Group(
        0.2,
        "index/*.py",
        "index columns scan selection search negatives changes conformance_local tube_index",
    ),
)


def left_alone(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a module has what is no behaviour: begins and ends, each a line and a column."""
    found: list[ast.AST | None] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found += [getattr(node, "annotation", None), getattr(node, "returns", None)]
        found += getattr(node, "decorator_list", [])
        found += [node] if isinstance(node, ast.Raise | ast.JoinedStr) else []
        found += [node.value] if isinstance(node, ast.keyword) and node.arg == "strict" else []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            found += node.args[1:]
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in found
        if isinstance(node, ast.expr | ast.stmt)
    ]


def bugs(paths: list[Path]) -> list[WorkItem]:
    """Every bug that Cosmic Ray can make in some modules, in an order that is the same each time."""
    alone = {path: left_alone(path) for path in paths}
    with use_db(":memory:") as database:
        init(paths, database, {})
        items = list(database.work_items)

    def behaves(item: WorkItem) -> bool:
        bug = item.mutations[0]
        return not any(low <= bug.start_pos and bug.end_pos <= high for low, high in alone[bug.module_path])

    def place(item: WorkItem) -> tuple[str, str, int]:
        bug = item.mutations[0]
        return str(bug.module_path), bug.operator_name, bug.occurrence

    return sorted(filter(behaves, items), key=place)


def drawn(package: Path, count: int, seed: int) -> Iterator[tuple[Group, WorkItem]]:
    """The bugs, those of the groups mixed, so that an end by time hits all alike."""
    found = []
    for group in GROUPS:
        paths = sorted(path for pattern in group.modules.split() for path in package.glob(pattern))
        every = bugs(paths)
        some = random.Random(seed).sample(every, min(len(every), round(count * group.share)))
        found += [(group, item) for item in some]
    random.Random(seed).shuffle(found)
    yield from found


def command(group: Group) -> str:
    parts = [name.partition("::") for name in group.tests.split()]
    files = [str(ROOT / "tests" / f"test_{name}.py{colons}{test}") for name, colons, test in parts]
    # Not `python -m pytest`: that would import the tree, not the copy.
    return " ".join(
        [str(Path(sys.executable).parent / "pytest"), "-x", "-q", "-p", "no:cacheprovider", *files]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    package = (options.work / "package").resolve()
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--upgrade", "--target", package, ROOT], check=True)
    os.environ["PYTHONPATH"] = str(package)
    limits = {}
    for group in GROUPS:
        began = time.monotonic()
        if subprocess.run(command(group).split(), stdout=subprocess.DEVNULL).returncode:
            sys.exit(f"The tests of {group.modules} fail without a bug: {command(group)}")
        limits[group] = 60 + 5 * (time.monotonic() - began)
        sys.stderr.write(f"{group.modules}: {time.monotonic() - began:.0f} s without a bug\n")
    results = collections.Counter[str]()
    end = time.monotonic() + 60 * options.minutes
    with (options.work / "mutants.jsonl").open("w", encoding="utf-8") as file:
        for group, item in drawn(package / "mmn_index", options.count, options.seed):
            if time.monotonic() > end:
                break
            result = mutate_and_test(item.mutations, command(group), limits[group])
            results[result.test_outcome.value] += 1
            line = {
                "result": result.test_outcome.value,
                "bug": result.diff,
                "output": (result.output or "")[-1000:],
            }
            file.write(json.dumps(line) + "\n")
            file.flush()
    sys.stdout.write(f"{dict(results)}\n")


if __name__ == "__main__":
    main()
