"""How many annotated videos are enough: the sample world's model by the number of videos it was trained on.

    python benchmarks/training_size.py WORK --videos 10,20,40,80,160 --seeds 3

Every run trains with the setting `playhouse-small` for as many steps as the largest would take in the
setting's epochs (but at most 160 epochs), and keeps the epoch that is best on the validation videos. What is
measured is kept in benchmarks/results/training_size.json; an interrupted run is resumed. The table is printed
for docs/training.md, and docs/training-size.svg drawn.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import plots
import yaml
from machine import about

RESULT = Path(__file__).parent / "results" / "training_size.json"
_PICTURE = Path(__file__).parents[1] / "docs" / "training-size.svg"
_TEST, _VALIDATION, _EPOCHS, _MOST_EPOCHS = 60, 20, 20, 160
_METRICS = ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")


def _run(*args: object) -> None:
    program = Path(sys.executable).parent / "mmn-index"
    subprocess.run([program, *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def _prepare(work: Path, most: int) -> None:
    if not (work / "world" / "train.json").is_file():
        _run("playhouse", work / "world", "--train", most, "--val", _VALIDATION, "--test", _TEST)
    _run(
        "extract",
        *(work / "world" / split for split in ("train", "val", "test")),
        "-o",
        work / "all.h5",
        "--backbone",
        "pixels",
    )


def _measure(work: Path, videos: int, most: int, seed: int) -> dict[str, Any]:
    folder = work / f"{videos}-{seed}"
    whole = json.loads((work / "world" / "train.json").read_text(encoding="utf-8"))
    # Another seed trains on other videos, too.
    names = sorted(whole)
    first = seed * videos % len(names)
    chosen = [*names, *names][first : first + videos]
    folder.mkdir(exist_ok=True)
    (folder / "train.json").write_text(json.dumps({name: whole[name] for name in chosen}))
    epochs = min(_MOST_EPOCHS, round(_EPOCHS * most / videos))
    # As in the setting, the text encoder stays frozen and the contrastive weight is never cut.
    train: dict[str, Any] = dict.fromkeys(("epochs", "freeze_text_epochs", "full_contrastive_epochs"), epochs)
    train["milestones"] = [round(0.7 * epochs), round(0.9 * epochs)]
    (folder / "config.yaml").write_text(yaml.safe_dump({"base": "playhouse-small", "train": train}))
    begin = time.perf_counter()
    options = ["--features", work / "all.h5", "--config", folder / "config.yaml", "--seed", seed]
    _run(
        *("train", "--annotations", folder / "train.json", "--val", work / "world" / "val.json"),
        *(*options, "-o", folder / "run"),
    )
    seconds = time.perf_counter() - begin
    _run(
        *("eval", folder / "run" / "model", "--features", work / "all.h5", "--score", "collection"),
        *("--annotations", work / "world" / "test.json", "-o", folder / "report"),
    )
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    metrics = {one["name"]: one for one in report["sections"][0]["metrics"]}
    sentences = sum(len(one["sentences"]) for name, one in whole.items() if name in set(chosen))
    return {
        "videos": videos,
        "sentences": sentences,
        "seed": seed,
        "epochs": epochs,
        "train_s": round(seconds, 1),
        **{name: metrics[name]["value"] for name in _METRICS},
        "chance": {name: metrics[name]["chance"] for name in _METRICS[:2]},
    }


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| videos | sentences | R@1,IoU=0.5 | R@1,IoU=0.7 | mIoU | minutes |"
    yield "|---|---|---|---|---|---|"
    for videos in sorted({row["videos"] for row in rows}):
        some = [row for row in rows if row["videos"] == videos]
        found = [[row[name] for row in some] for name in _METRICS]
        values = [f"{statistics.mean(one):.1f} ± {statistics.pstdev(one):.1f}" for one in found]
        sentences = statistics.mean(row["sentences"] for row in some)
        minutes = statistics.mean(row["train_s"] for row in some) / 60
        yield f"| {videos} | {sentences:.0f} | {' | '.join(values)} | {minutes:.1f} |"


@click.command()
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--videos", default="10,20,40,80,160", show_default=True)
@click.option("--seeds", default=3, show_default=True)
def main(work: Path, videos: str, seeds: int) -> None:
    """Train and measure whatever is not measured yet, in WORK; print the table."""
    counts = [int(count) for count in videos.split(",")]
    work.mkdir(parents=True, exist_ok=True)
    _prepare(work, max(counts))
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {"rows": []}
    known = {(row["videos"], row["seed"]) for row in result["rows"]}
    for seed in range(seeds):
        for count in counts:
            if (count, seed) in known:
                continue
            result["rows"].append(_measure(work, count, max(counts), seed))
            result["machine"] = about()
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
    plots.training_size(result["rows"], _METRICS, _PICTURE)
    click.echo("\n".join(_table(result["rows"])))


if __name__ == "__main__":
    main()
