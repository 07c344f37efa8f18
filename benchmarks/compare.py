"""Two results of the same benchmark, number by number.

    python benchmarks/compare.py BEFORE.json AFTER.json [--least 1.1]

Prints each number that both have, what became of it, and at the end what only one has. `--least` leaves out
what changed by less than this factor.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any


def numbers(content: Any, place: str = "") -> dict[str, float]:
    """The numbers of nested JSON by their places."""
    if isinstance(content, bool) or content is None or isinstance(content, str):
        return {}
    if isinstance(content, (int, float)):
        return {place: float(content)}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found: dict[str, float] = {}
    for name, value in items:
        found |= numbers(value, f"{place} > {name}" if place else str(name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--least", type=float, default=1.0)
    asked = parser.parse_args()
    contents = [json.loads(path.read_text()) for path in (asked.before, asked.after)]
    for content, which in zip(contents, ("before", "after"), strict=True):
        about = content.get("machine")
        if isinstance(about, dict):
            about = "{commit:.12}, {cores} x {processor}".format_map(about)
        print(f"{which}: {about or 'made by an unknown version on an unknown machine'}")
    before, after = map(numbers, contents)
    for place in before:
        if place not in after:
            continue
        old, new = before[place], after[place]
        factor = new / old if old else (1.0 if new == old else math.inf)
        if factor <= 0 or max(factor, 1 / factor) >= asked.least:
            print(f"{old:14.6g} {new:14.6g} {factor:8.2f}  {place}")
    for name, own, other in (("before", before, after), ("after", after, before)):
        if only := sorted(own.keys() - other.keys()):
            print(f"only {name}: {', '.join(only)}")


if __name__ == "__main__":
    main()
