"""What the pages of the documentation have their reader type: the blocks of each section, in a fresh folder
that holds what the section takes for granted. What is not typed is listed in printed.py with the reason, and
is parsed.

The quickstart and the recipes have files of their own: test_tutorials.py and test_recipes.py.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from conftest import Command, be_at_home
from mmn_index.cli.main import main
from mmn_index.train import settings
from printed import (
    COMMANDS,
    bare,
    check,
    check_options,
    check_script,
    invocations,
    is_whole,
    to_type,
    whole,
    why_left,
)
from reader import DOCS, Reader, blocks, pages, sections
from shelf import fill
from test_shard_store import s3  # noqa: F401 - a fixture

# By page and heading what is there, made by `shelf`; with a / at the end, it is unpacked. Where there are bars, each block has a folder of
# its own.
NEEDED = {
    "README.md": {
        "mmn-index": "Videos",
        "Your own videos": "Videos cameras.csv | videos train.json val.json",
        "Searching": "collection.mmn sentences.txt",
        "Evaluating, and reproducing the paper": "collection.mmn run features.h5 test.json report-before",
    },
    "index.md": {"mmn-index": "Videos"},
    "quickstart.md": {"Your own videos": "Videos"},
    "your-videos.md": {
        "One command, no training": "Videos",
        "Features by themselves": "videos",
        "Annotate and train": "videos features.h5 train.json val.json",
        "Build the index from features": "run features.h5",
        "A folder that changes": "archive camera",
        "When videos come and go": "collection.mmn new.h5 again.h5 features.h5",
    },
    "searching.md": {
        "Searching": "collection.mmn",
        "Watch a moment": "collection.mmn",
        "Restrict and combine": "collection.mmn sentences.txt",
        "Better answers, and no answer where nothing fits": "collection.mmn features.h5 val.json",
        "Python": "collection.mmn",
        "A better text side for an existing index": "collection.mmn train.mmn run features.h5 train.json val.json",
    },
    "training.md": {
        "From annotations to answers": "videos train.txt val.txt",
        "Hard negatives": "run features.h5 train.json val.json mined.yaml",
        "The text side alone": "run features.h5 train.json val.json",
    },
    "tubes.md": {
        "Tubes: who, not only when": "who/",
        "Search a collection": "found/",
        "On the sample world": "homes/",
    },
    "export.md": {"Handing results on": "collection.mmn sentences.txt"},
    "serving.md": {
        "Serving an index": "Videos",
        "Watching and handing on": "collection.mmn",
        "Who may call it": "collection.mmn",
    },
    "scale.md": {
        "With shards": "archive pixels/ | archive pixels/ | ",
        "Without a common folder": "archive pixels/",
    },
    "evaluation.md": {
        "Evaluation": "collection.mmn run features.h5 train.json test.json test.jsonl theirs.json theirs.jsonl report-before report-after",
        "Groups, sizes, intervals": "collection.mmn test.json",
        "Several moments per sentence, or none": "charades.mmn charades_sta_test2.0.json",
    },
    "reproducing.md": {"Over tubes: MMN-STVG": "homes/"},
    "python.md": {"Python": "collection.mmn"},
    "compatibility.md": {"An index of an earlier version": "collection.mmn"},
}
# What runs already, where a section takes that for granted.
BEFORE = {"A folder that changes": "mmn-index build archive/", "Watching and handing on": "mmn-index serve"}
TYPED_ELSEWHERE = {"quickstart.md": "test_tutorials.py", "recipes.md": "test_recipes.py"}
# Programs that are run by another test, or by none.
PROGRAMS_ELSEWHERE = {
    "From your annotation tool": "test_annotation_tools.py",
    "Sentences": "test_tube_recipes.py",
    "The file of tubes": "test_tube_recipes.py",
    "Searching on a cluster": "needs a Ray cluster; test_ray_search.py has one",
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, text_model: Path, command: Command) -> Iterator[Path]:
    """A folder with what readers have. Until it goes, the settings that pages train with are small ones."""
    folder = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        be_at_home(folder, patch)
        fill(command, text_model, patch)
        text = (DOCS / "training.md").read_text(encoding="utf-8").partition("`mined.yaml`")[2]
        Path("mined.yaml").write_text(next(block for kind, block in blocks(text) if kind == "yaml"))
        yield folder


def found() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Page, heading, and the blocks below it that are typed or run here."""
    result = []
    for page in pages():
        for heading, text in sections(page):
            if page.name in TYPED_ELSEWHERE and heading not in NEEDED.get(page.name, ()):
                continue
            kinds = {"sh"} if heading in PROGRAMS_ELSEWHERE else {"sh", "python"}
            chosen = [(kind, block) for kind, block in blocks(text) if kind in kinds]
            if any(kind == "python" or to_type(block).strip() for kind, block in chosen):
                result.append((page.name, heading, chosen))
    return result


def put(needed: str, shelf: Path, home: Path) -> None:
    for name in needed.split():
        if name.endswith("/"):
            shutil.copytree(shelf / name, home, dirs_exist_ok=True)
        elif (shelf / name).is_dir():
            shutil.copytree(shelf / name, home / name)
        else:
            shutil.copy2(shelf / name, home)


@pytest.mark.parametrize(
    ("page", "heading", "given"), [pytest.param(*one, id=f"{one[0]}-{one[1]}") for one in found()]
)
def test_a_section(
    page: str,
    heading: str,
    given: list[tuple[str, str]],
    shelf: Path,
    home: Path,
    request: pytest.FixtureRequest,
) -> None:
    if "s3://" in str(given):
        request.getfixturevalue("s3")
    needed = NEEDED.get(page, {}).get(heading, "").split("|")
    with Reader(home) as reader:
        for number, (kind, block) in enumerate(given):
            if number < len(needed):
                if number:
                    for path in home.iterdir():
                        if path.name != ".cache":
                            shutil.rmtree(path) if path.is_dir() else path.unlink()
                put(needed[number], shelf, home)
            if not number and heading in BEFORE:
                reader.type(BEFORE[heading])
            if kind == "sh":
                reader.type(to_type(block))
            else:
                reader.run(block)


LINES = [
    (page.name, line)
    for page in pages()
    for kind, block in blocks(page.read_text(encoding="utf-8"))
    if kind == "sh"
    for line in whole(block)
]


def test_what_is_not_typed_can_be_typed() -> None:
    """Commands, options and choices are there."""
    left = [(page, line) for page, line in LINES if is_whole(line) and why_left(line)]
    assert len(left) > 50
    for page, line in left:
        try:
            for words in invocations(line):
                check(words)
        except click.UsageError as error:
            pytest.fail(f"{page}: {line}: {error.format_message()}")
        if " benchmarks/" in line:
            check_script(line)


def test_what_is_not_typed_is_printed() -> None:
    printed = {bare(line) for _, line in LINES if is_whole(line)}
    assert sorted(set(COMMANDS) - printed) == []


def test_what_sections_need_is_for_sections_that_are_there() -> None:
    there = {(page, heading) for page, heading, _ in found()}
    assert {(page, heading) for page in NEEDED for heading in NEEDED[page]} - there == set()


def test_no_command_stands_outside_a_block_for_shells() -> None:
    """Others have no colours, and are not typed by a test."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        other = [block for kind, block in blocks(text) if kind not in ("sh", "ini")]
        bare_text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        stray = [
            line
            for one in [bare_text, *other]
            for line in one.splitlines()
            if re.match(rf"\s*(\$ )?mmn-index ({'|'.join(main.commands)})\b", line)
        ]
        assert not stray, page.name


def test_commands_in_running_text_are_there() -> None:
    for page in pages():
        for span in re.findall(r"`mmn-index ([^`]+)`", page.read_text(encoding="utf-8")):
            try:
                check_options(span.replace("...", "").split())
            except click.UsageError as error:
                pytest.fail(f"{page.name}: {span}: {error.format_message()}")


def test_programs_import_what_is_there() -> None:
    for page in pages():
        for kind, block in blocks(page.read_text(encoding="utf-8")):
            if kind == "python":
                exec("\n".join(re.findall(r"^(?:from|import) .*", block, flags=re.M)), {})


def test_commands_in_units_of_systemd_are_there() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in pages())
    started = re.findall(r"ExecStart=\S+/mmn-index ([^\n`]+)", text)
    assert len(started) == 2
    for words in started:
        check(words.split())


@pytest.mark.parametrize("command", list(main.commands.values()), ids=lambda command: command.name)
def test_examples_of_help_can_be_typed(command: click.Command) -> None:
    lines = [line for line in (command.help or "").replace("\\\n", " ").splitlines() if "mmn-index " in line]
    examples = [words for line in lines if line.startswith(" ") for words in invocations(line)]
    assert examples
    for words in examples:
        check(words)


def test_what_is_not_there_is_noticed() -> None:
    for words in (
        ["serch", "a"],
        ["search", "a", "--wher", "b"],
        ["search", "a", "b"],
        ["search", "a", "-k", "x"],
    ):
        with pytest.raises(click.UsageError):
            check(words)


@pytest.mark.parametrize("page", ["training.md", "tubes.md", "recipes.md"])
def test_settings_can_be_loaded(page: str, tmp_path: Path) -> None:
    shown = [block for kind, block in blocks((DOCS / page).read_text(encoding="utf-8")) if kind == "yaml"]
    assert shown
    for block in shown:
        content = {"base": "collection", **yaml.safe_load(block)}
        (tmp_path / "setting.yaml").write_text(yaml.safe_dump(content))
        settings.load_setting(str(tmp_path / "setting.yaml"))
