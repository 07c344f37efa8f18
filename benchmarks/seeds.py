r"""Train, build and evaluate with several seeds through the commands of mmn-index; print mean and standard
deviation.

    python benchmarks/seeds.py WORK RESULT.json --seed 0 --seed 1 --seed 2 --config playhouse
        --text-model DIR --features demo/features.h5 --train demo/world/train.json --val demo/world/val.json
        --test demo/world/test.json

Each seed has its folder WORK/seed<n> with run/ and collection.mmn/. Where both or run/ stand, they are not
made again: remove the folder of a run that was interrupted. RESULT.json holds every block that `mmn-index
eval --json` printed, with the score for collections and with the paper's product; the table on stdout is the
mean over seeds, with the standard deviation where there are several.
"""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import torch


def run(*arguments: object) -> str:
    """One command of mmn-index; its stdout. Progress goes to the terminal."""
    command = [str(Path(sys.executable).with_name("mmn-index")), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@dataclass(frozen=True)
class Given:
    """What every seed is trained and measured with."""

    config: str
    text_model: str
    features: str
    train_split: str
    val: str
    test: str
    opposites: str | None


def make(seed: int, folder: Path, given: Given) -> None:
    """Train and build what the folder has not."""
    if (folder / "collection.mmn" / "manifest.json").exists():
        return
    if not (folder / "run" / "model").exists():
        splits = ["--annotations", given.train_split, "--val", given.val, "--features", given.features]
        setting = ["--config", given.config, "--text-model", given.text_model, "--seed", seed]
        run("train", *splits, *setting, "-o", folder / "run")
    run(
        "build",
        folder / "run" / "model",
        given.features,
        "--videos",
        given.test,
        "-o",
        folder / "collection.mmn",
    )


def measure(seed: int, folder: Path, given: Given) -> list[dict[str, object]]:
    """The blocks that the commands print of one seed."""
    blocks = []
    for score in ("collection", "product"):
        split = ["--annotations", given.test, "--seen", given.train_split, "--features", given.features]
        where = ["--corpus", "--index", folder / "collection.mmn", "--json", "--score", score]
        printed = run("eval", folder / "run" / "model", *split, *where)
        blocks += [{"seed": seed, "score": score, **json.loads(line)} for line in printed.splitlines()]
    if given.opposites:
        script = str(Path(__file__).with_name("opposites.py"))
        files = [str(folder / "run" / "model"), given.features, given.test, given.opposites]
        command = [sys.executable, script, *files]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        blocks += [{"seed": seed, "scope": "opposites", **json.loads(line)} for line in printed.splitlines()]
    return blocks


@click.command(help=__doc__)
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2))
@click.option("--config", required=True)
@click.option("--text-model", required=True)
@click.option("--features", required=True)
@click.option("--train", "train_split", required=True)
@click.option("--val", required=True)
@click.option("--test", required=True)
@click.option("--opposites", help="Also run benchmarks/opposites.py with this file.")
def main(work: Path, result: Path, seeds: tuple[int, ...], **given: Any) -> None:
    blocks = []
    for seed in seeds:
        folder = work / f"seed{seed}"
        make(seed, folder, Given(**given))
        blocks += measure(seed, folder, Given(**given))
    about = {
        "config": given["config"],
        "seeds": list(seeds),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    lines = ",\n".join(
        json.dumps({key: round(x, 3) if isinstance(x, float) else x for key, x in one.items()})
        for one in blocks
    )
    result.write_text(f'{json.dumps(about)[:-1]}, "blocks": [\n{lines}\n]}}\n', encoding="utf-8")
    for line in table(blocks):
        click.echo(line)


def table(blocks: list[dict[str, object]]) -> list[str]:
    """Means over seeds as Markdown, a row for everything that was measured."""
    about = ("scope", "score", "queries", "part", "task", "nms", "right", "iou", "videos", "ceiling", "hub")
    groups: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for block in blocks:
        groups.setdefault(tuple(str(block[key]) for key in about if block.get(key) is not None), []).append(
            block
        )
    lines = []
    for key, members in groups.items():
        # A median rank beyond the lists is no number.
        numbers = [
            name
            for name in members[0]
            if name not in about and all(isinstance(m.get(name), float) for m in members)
        ]
        cells = []
        for name in numbers:
            values = [float(str(member[name])) for member in members]
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 and "chance" not in key else ""
            cells.append(f"{name} {mean(values):.1f}{spread}")
        lines.append(f"| {' | '.join(key)} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
