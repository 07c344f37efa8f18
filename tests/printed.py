"""Commands as the documentation prints them: which are typed by a test, and whether the others exist as they are printed."""

import re
import shlex
from pathlib import Path

import click
from mmn_index.cli.main import main
from reader import ROOT

# What no test types. Programs of others, by their first word:
PROGRAMS = {
    "git": "fetches the project",
    "hf": "downloads a model",
    "make": "installs, and runs everything",
    "pip": "installs packages",
    "pre-commit": "changes the repository",
    "python": "a benchmark, which takes long; its options are looked for in its script",
    "python3": "makes an environment for what pip installs",
    "ray": "starts a cluster, which outlives the command",
    "source": "enters an environment",
    "srun": "needs Slurm",
    "torchrun": "needs several machines",
}
_BENCHMARK = "needs the files of a benchmark"
_CLUSTER = "needs a Ray cluster; tests/test_ray_build.py and test_ray_search.py have one"
_DATABASE = "needs a database at this address; tests/test_databases.py has some"
_LARGE = "renders or trains for long; the world of the test has it smaller"
# And commands of ours, which are parsed.
COMMANDS = {
    "mmn-index build ~/Videos --model /models/CLIP-ViT-B-32": "the path is the reader's",
    "mmn-index build archive/ --model run/model --ray": _CLUSTER,
    "mmn-index extract archive/ -o features.h5 --ray": _CLUSTER,
    "mmn-index sync archive/ --index collection.mmn --ray HEAD:6379": _CLUSTER,
    "mmn-index serve /shared/porch.mmn --ray 10.0.0.1:6379": _CLUSTER,
    'mmn-index search "a person opens the door" --server http://localhost:8000': _CLUSTER,
    "mmn-index push collection.mmn postgresql://me@localhost/films#porch": _DATABASE,
    "mmn-index push collection.mmn qdrant://localhost/porch": _DATABASE,
    'mmn-index search "person opens door" --index qdrant://localhost/porch': _DATABASE,
    "mmn-index build runs/ucf/seed0/model data/features.hdf5 --videos data/test.json --hub 0 -o ucf.mmn": _BENCHMARK,
    "mmn-index eval --corpus --index ucf.mmn --annotations data/test.json --seen data/train.json -o results": _BENCHMARK,
    "mmn-index reproduce charades --data data/charades --seeds 3 --device cuda -o runs/charades": _BENCHMARK,
    "mmn-index reproduce stvg --data data/stvg --seeds 3 --device cuda -o runs/stvg": _BENCHMARK,
    "mmn-index convert best_charades.pth -o charades.mmn-model --setting charades": "needs a checkpoint of the official code; "
    "tests/test_official.py converts some",
    "mmn-index eval run/model --dataset charades": _BENCHMARK,
    "mmn-index playhouse world": _LARGE,
    "mmn-index playhouse people --people": _LARGE,
    "mmn-index playhouse people --people --train 240": _LARGE,
    "mmn-index playhouse world --train 1 --val 1 --test 160": _LARGE,
}
_ENDS = {"|", ">", ";", "&&"}


def why_left(line: str) -> str | None:
    """Why no test types a line; None if one does."""
    if not (words := shlex.split(line, comments=True)):
        return None
    first = next(word for word in words if not re.match(r"[A-Z_]+=", word))
    return PROGRAMS.get(first) or COMMANDS.get(bare(line))


def bare(line: str) -> str:
    """A command without its comment and the blanks around it."""
    return re.sub(r"\s+# .*", "", line).strip()


def whole(block: str) -> list[str]:
    """Lines of a block, those that go on in the next one joined."""
    return block.replace("\\\n", " ").splitlines()


def to_type(block: str) -> str:
    """What of a block is typed."""
    return "\n".join(line for line in whole(block) if not is_whole(line) or why_left(line) is None)


def is_whole(line: str) -> bool:
    """Whether it is a command, and no part of a text in quotes that goes over several lines."""
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return False
    return True


def invocations(line: str) -> list[list[str]]:
    """The words after each `mmn-index` of a line, also of one that another program starts."""
    words = shlex.split(line, comments=True)
    if "-c" in words and words[0] in PROGRAMS:
        return invocations(words[words.index("-c") + 1])
    found: list[list[str]] = []
    for place, word in enumerate(words):
        if word == "mmn-index" and words[place + 1 :]:
            rest = words[place + 1 :]
            found.append(rest[: next((n for n, one in enumerate(rest) if one in _ENDS), len(rest))])
    return found


def check(words: list[str]) -> None:
    """Raises click.UsageError if mmn-index has no such command, option or choice."""
    if "..." in words:
        check_options(words)
        return
    if (command := main.commands.get(words[0])) is None:
        raise click.UsageError(f"no command {words[0]}")
    context = click.Context(command, info_name=words[0])
    values, left, _ = command.make_parser(context).parse_args(words[1:])
    if left:
        raise click.UsageError(f"{words[0]} does not take {left}")
    for parameter in command.params:
        given = values.get(parameter.name or "")
        if parameter.required and given in (None, ()):
            raise click.MissingParameter(ctx=context, param=parameter)
        if isinstance(parameter.type, click.Path) or given is None or "$" in str(given):
            continue  # paths need not be there
        parameter.type_cast_value(context, given)


def check_options(words: list[str]) -> None:
    """The same of a command that may have placeholders, or lack what it needs."""
    if not words or words[0].startswith("-") or words[0].isupper():
        return
    if (command := main.commands.get(words[0])) is None:
        raise click.UsageError(f"no command {words[0]}")
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"-h", "--help"}
    for word in words[1:]:
        if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known:
            raise click.UsageError(f"{words[0]} has no option {word}")


def check_script(line: str) -> None:
    """A benchmark is there, and names the options that the line has."""
    words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
    script = ROOT / words[1]
    text = script.read_text(encoding="utf-8")
    near = [Path(script.parent / f"{name}.py") for name in re.findall(r"^(?:from|import) (\w+)", text, re.M)]
    text += "".join(path.read_text(encoding="utf-8") for path in near if path.is_file())
    for word in words[2:]:
        if word.startswith("--"):
            assert re.search(rf'"{word}[/"]', text) or f"{word[2:].replace('-', '_')}:" in text, (
                f"{script.name} has no option {word}"
            )
