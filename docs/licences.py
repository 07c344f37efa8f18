"""`make licences`: the page about licences, and a bill of materials, of what a user installs.

It is given what pip-licenses and cyclonedx-py say of an environment that also holds the tools of the project,
and keeps what mmn-index and its extras need.
"""

import configparser
import importlib.metadata
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

_OF_DEVELOPERS = ("docs", "test")
# What the environment cannot have (one FAISS excludes the other) or need not, as their projects say.
_ELSEWHERE = {"faiss-gpu": "MIT", "sentencepiece": "Apache-2.0"}
_COPYLEFT = re.compile(r"GPL|MPL|EPL|Mozilla|CDDL")

_MADE = "<!-- What follows is written by `make licences`. -->\n\n"


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs() -> dict[str, list[str]]:
    """Each package that is named in setup.cfg, and the extras that need it ("": always)."""
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    found: dict[str, list[str]] = {}
    always = {"": config["options"]["install_requires"]}
    for extra, lines in {**always, **config["options.extras_require"]}.items():
        for line in lines.split("\n"):
            if line and not line.startswith("#") and extra not in _OF_DEVELOPERS:
                found.setdefault(_name(Requirement(line).name), []).append(extra)
    return found


def _closure(names: Iterable[str]) -> set[str]:
    """These and all that they need, as far as it is installed."""
    found: set[str] = set()
    waiting = {(name, "binary" if name == "psycopg" else "") for name in names}
    while waiting:
        name, extra = waiting.pop()
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        for wanted in map(Requirement, lines):
            if not wanted.marker or wanted.marker.evaluate({"extra": extra}):
                every = {(_name(wanted.name), inner) for inner in {"", *wanted.extras}}
                waiting |= {pair for pair in every if pair[0] not in found}
    return found


def _tables(needs: Mapping[str, list[str]], licences: Mapping[str, Mapping[str, str]], all_: set[str]) -> str:
    lines = [
        "## What mmn-index needs itself",
        "",
        "| package | version | licence | needed |",
        "|---|---|---|---|",
    ]
    for name, extras in sorted(needs.items()):
        about = licences.get(name, {"Version": "", "License": _ELSEWHERE.get(name, "")})
        where = "always" if "" in extras else ", ".join(f"`{extra}`" for extra in extras)
        lines.append(f"| {name} | {about['Version'].split('+')[0]} | {about['License']} | {where} |")
    others = sorted(all_ - set(needs) - {"mmn-index"})
    lines += ["", "## What these need", "", "By licence; copyleft licences first.", ""]
    kinds = Counter(licences[name]["License"] for name in others)
    lines += ["| licence | packages |", "|---|---|"]
    for kind in sorted(kinds, key=lambda kind: (not _COPYLEFT.search(kind), -kinds[kind], kind)):
        lines.append(
            f"| {kind} | {', '.join(name for name in others if licences[name]['License'] == kind)} |"
        )
    return "\n".join(lines) + "\n"


def _bill(environment: dict[str, Any], kept: set[str]) -> dict[str, Any]:
    components = [part for part in environment["components"] if _name(part["name"]) in kept]
    refs = {part["bom-ref"] for part in components}
    root = environment["metadata"].get("component", {}).get("bom-ref")
    edges = [
        {**edge, "dependsOn": [ref for ref in edge.get("dependsOn", []) if ref in refs]}
        for edge in environment["dependencies"]
        if edge["ref"] in refs or edge["ref"] == root
    ]
    return {**environment, "components": components, "dependencies": edges}


def main(licences: str, environment: str, page: str, bill: str) -> None:
    """Read what the two programs wrote, write the tables of the page, and the bill."""
    stated = {_name(entry["Name"]): entry for entry in json.loads(Path(licences).read_text())}
    needs = _needs()
    kept = _closure(needs)
    if nameless := [name for name in kept if stated[name]["License"] == "UNKNOWN"]:
        sys.exit(
            f"no licence is stated by {', '.join(sorted(nameless))}: look it up, and add it to _ELSEWHERE"
        )
    text, _, _ = Path(page).read_text(encoding="utf-8").partition(_MADE)
    Path(page).write_text(text + _MADE + _tables(needs, stated, kept), encoding="utf-8")
    everything = json.loads(Path(environment).read_text())
    Path(bill).write_text(
        json.dumps(_bill(everything, kept | {"mmn-index"}), indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
