"""The shape of the project: which way imports point, what is packaged, and that every command explains
itself.
"""

import ast
import configparser
import re
from pathlib import Path

import click
import click.testing
import pytest
from mmn_index.cli.main import SECTIONS, main

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
# Rooms of the library from the ground up: each may import from those before it. A name without a folder
# stands for the modules that lie beside the folders.
FLOORS = [
    "mmn_index",
    "mmn_index.doctor",
    "mmn_index.video",
    "mmn_index.index",
    "mmn_index.search",
    "mmn_index.databases",
    "mmn_index.cluster",
    "mmn_index.evaluation",
    "mmn_index.handoff",
    "mmn_index.server",
]
ONLY_IN = {
    "h5py": {
        "mmn_index/feature_writer.py",
        "mmn_index/feature_hdf5.py",
        "mmn_index/tube_file.py",
        "mmn_index/tube_writer.py",
    },
    "faiss": {"mmn_index/index/vectors.py"},
    "ray": {
        "mmn_index/cluster/session.py",
        "mmn_index/cluster/crew.py",
        "mmn_index/cluster/actor.py",
    },
    "psycopg": {f"mmn_index/databases/postgres{part}.py" for part in ("", "_reader", "_sql", "_writer")},
    "qdrant_client": {
        f"mmn_index/databases/qdrant_{part}.py" for part in ("query", "reader", "server", "writer")
    },
    "av": {
        "mmn_index/video/container.py",
        "mmn_index/video/picture.py",
        # What is written: parts of files, as packets or encoded anew, and the frames and samples for it.
        "mmn_index/video/cut.py",
        "mmn_index/video/opening.py",
        "mmn_index/video/stretch.py",
        "mmn_index/video/encode.py",
        "train/playhouse/render.py",
    },
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


def modules() -> dict[str, Path]:
    """Every module of ours by its full name."""
    found = {}
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        names = [PACKAGE_OF[parts[0]], *(part for part in parts[1:] if part != "__init__")]
        found[".".join(names)] = path
    return found


def test_no_import_runs_up_inside_the_library() -> None:
    for name, path in modules().items():
        if room(name) != "mmn_index" or name == "mmn_index":
            continue
        for other in imports(path) & set(modules()):
            if other != "mmn_index" and room(other) == "mmn_index":
                assert floor(other) <= floor(name), f"{name} imports {other}, which lies above it"


def floor(module: str) -> int:
    return max(
        number for number, name in enumerate(FLOORS) if module == name or module.startswith(f"{name}.")
    )


def test_no_imports_form_a_circle_even_inside_functions() -> None:
    graph = {name: (imports(path) & set(modules())) - {name} for name, path in modules().items()}
    # A package's __init__ imports its own modules, which lie below it, and a module's import of a
    # neighbour names the package as well.
    packages = {name for name, path in modules().items() if path.stem == "__init__"}
    for name in graph:
        own = {package for package in packages if name.startswith(f"{package}.")}
        graph[name] -= own
    order: list[str] = []
    while ready := [name for name, needed in graph.items() if name not in order and needed <= {*order}]:
        order += ready
    assert set(order) == set(graph), f"in a circle: {sorted(set(graph) - set(order))}"


def test_the_overview_lists_every_command_in_a_line_that_fits() -> None:
    listed = [command for commands in SECTIONS.values() for command in commands]
    assert sorted(command.name or "" for command in listed) == sorted(main.commands)
    assert all(len(line) <= 60 for commands in SECTIONS.values() for line in commands.values())


@pytest.mark.parametrize("command", list(main.commands.values()), ids=lambda command: command.name)
def test_help_says_ranges_in_words(command: click.Command) -> None:
    text = click.testing.CliRunner().invoke(command, ["-h"], prog_name="mmn-index").output
    assert "None" not in text
    assert not re.search(r"\bx[<>]", text)


LARGEST = 350  # lines of a module; a function has at most 60
CODE = sorted(path for folder in [*PACKAGES.values(), "benchmarks"] for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_of_a_size_to_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LARGEST
    assert "fmt: skip" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is longer than 60 lines"


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


def requirements(section: str) -> set[str]:
    """The names of the packages in a section of setup.cfg, without the tools of developers."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = (lines for extra, lines in config[section].items() if extra not in ("docs", "test"))
    found = {
        re.match(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)$", line) for text in lines for line in text.split("\n")
    }
    return {f"{match[1]}=={match[2]}" for match in found if match}


def test_the_oldest_versions_are_listed_and_every_licence_is_told() -> None:
    needed = requirements("options") | requirements("options.extras_require")
    oldest = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").split()
    # Another FAISS than the one of the tests; torch, see there.
    unlisted = {
        line for line in needed if line not in oldest and not line.startswith(("faiss-gpu", "torch="))
    }
    assert {line for line in unlisted if f"{line}.0" not in oldest and f"{line}.0.0" not in oldest} == set()
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert [line for line in needed if f"| {line.partition('==')[0]} | " not in page] == []


def test_links_lead_somewhere_in_the_repository_too() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\((?![a-z]+:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 100
    # The reference of the commands is made when the site is.
    missing = {target for page, target in links if not (page.parent / target).exists()} - {"commands.md"}
    assert missing == set()


@pytest.mark.parametrize("command", list(main.commands.values()), ids=lambda command: command.name)
def test_every_command_has_help_with_an_example_and_is_documented(command: click.Command) -> None:
    assert command.help
    assert f"mmn-index {command.name} " in command.help
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"mmn-index {command.name}" in page.read_text(encoding="utf-8") for page in pages)


def test_the_map_names_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = set(re.findall(r"(\w+)\.py", text))
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if path.stem != "__init__" and path.stem not in names
    ]
    assert not missing


def test_every_function_of_the_tests_is_a_test_or_is_used() -> None:
    """A test whose name lacks `test_` never runs."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").glob("*.py")}
    # By name, as a fixture that is an argument, or as one that a string names.
    used = {
        name
        for tree in trees.values()
        for node in ast.walk(tree)
        for name in (getattr(node, key, None) for key in ("id", "attr", "arg", "value"))
        if isinstance(name, str)
    }
    used |= {
        alias.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    unused = [
        f"{path.name}: {node.name}"
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith(("test_", "pytest_"))
        and node.name not in used
        and not any("autouse" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert not unused


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
