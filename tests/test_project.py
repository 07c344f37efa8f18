"""The shape of the project: which way imports point, what is packaged, and that every command explains
itself.
"""

import ast
import configparser
import re
from pathlib import Path

import click
import pytest
from mmn_index.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "mmn_index": "mmn_index",
    "mmn_index.train": "train",
    "mmn_index.index_build": "index_build",
    "mmn_index.cli": "cli",
}
MAY_IMPORT = {
    "mmn_index": set(),
    "train": {"mmn_index"},
    "index_build": {"mmn_index"},
    "cli": {"mmn_index", "train", "index_build"},
}
ONLY_IN = {
    "h5py": {"mmn_index/features.py"},
    "faiss": {"mmn_index/index/vectors.py"},
    "av": {"mmn_index/video/decode.py", "train/playhouse/render.py"},
}


def sources() -> list[Path]:
    return [path for folder in PACKAGES.values() for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, relative ones resolved."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = [PACKAGE_OF[parts[0]], *parts[1:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join(".".join(package).split(".")[: len(".".join(package).split(".")) - node.level + 1])
                if node.level
                else ""
            )
            found |= {
                ".".join(filter(None, [base, node.module])),
                *(".".join(filter(None, [base, node.module, a.name])) for a in node.names),
            }
    return found


PACKAGE_OF = {folder: package for package, folder in PACKAGES.items()}


def room(module: str) -> str | None:
    """Which top folder a module of ours belongs to."""
    for package in sorted(PACKAGES, key=len, reverse=True):
        if module == package or module.startswith(f"{package}."):
            return PACKAGES[package]
    return None


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    here = path.relative_to(ROOT).parts[0]
    for module in imports(path):
        assert module.split(".")[0] not in ("train", "cli", "index_build"), (
            f"{module} would load a second copy"
        )
        there = room(module)
        assert there is None or there == here or there in MAY_IMPORT[here], f"{here} must not import {module}"
        for library, places in ONLY_IN.items():
            if module.split(".")[0] == library:
                assert path.relative_to(ROOT).as_posix() in places, f"{library} belongs to {places}"
        if module.split(".")[0] == "click":
            assert here == "cli"


def test_no_room_without_a_purpose() -> None:
    for path in sources():
        assert not {"utils", "helpers", "common", "misc"} & set(path.with_suffix("").parts), path


def test_every_folder_with_code_is_packaged() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {
        ".".join([PACKAGE_OF[p.relative_to(ROOT).parts[0]], *p.parent.relative_to(ROOT).parts[1:]])
        for p in sources()
    }
    assert listed == found


@pytest.mark.parametrize("command", list(main.commands.values()), ids=lambda command: command.name)
def test_every_command_has_help_with_an_example_and_is_in_the_readme(command: click.Command) -> None:
    assert command.help
    assert f"mmn-index {command.name} " in command.help
    assert f"mmn-index {command.name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_module() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = set(re.findall(r"(\w+)\.py", text))
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if path.stem != "__init__" and path.stem not in names
    ]
    assert not missing


def test_the_tests_that_the_documentation_names_exist() -> None:
    named = re.findall(
        r"(test_\w+\.py)::(test_\w+)", (ROOT / "docs" / "reproducing.md").read_text(encoding="utf-8")
    )
    assert len(set(named)) > 30
    missing = [
        f"{file}::{test}"
        for file, test in set(named)
        if f"def {test}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]
    assert not missing
