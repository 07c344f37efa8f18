"""mmn-index train: annotations and features to a checkpoint."""

from pathlib import Path
from typing import Any

import click

from .output import progress, say


@click.command()
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="Training split, json.")
@click.option("--val", type=click.Path(path_type=Path), help="Validation split, json: chooses the epoch that is kept.")
@click.option("--features", type=click.Path(path_type=Path), required=True, help="Snippet features, HDF5.")
@click.option("--config", default="charades", show_default=True,
              help="charades, activitynet, tacos, playhouse, ucf-moments, or a YAML file.")  # fmt: skip
@click.option("--text-model", help="Hub id or local directory of the text encoder; overrides the setting's.")
@click.option("--seed", type=click.IntRange(0), help="Overrides the setting's.")
@click.option("--device", default="cpu", show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="New folder for the run.")
def train(
    annotations: Path,
    val: Path | None,
    features: Path,
    config: str,
    text_model: str | None,
    seed: int | None,
    device: str,
    out: Path,
) -> None:
    """Train an MMN. OUT/model is the checkpoint, OUT/metrics.jsonl has a line an epoch.

    \b
    Example:
        mmn-index train --annotations train.json --val val.json --features features.h5 --config mine.yaml -o run
    """
    from mmn_index.train.annotations import read_annotations
    from mmn_index.train.config import load_setting, override
    from mmn_index.train.loop import train as run

    from mmn_index.features import FeatureFile

    changes: dict[str, dict[str, Any]] = {}
    if text_model is not None:
        changes["model"] = {"text_model": text_model}
    if seed is not None:
        changes["train"] = {"seed": seed}
    setting = override(load_setting(config), changes, "options")
    split = read_annotations(annotations)
    held_out = read_annotations(val) if val else None
    if split.dropped:
        say(f"{annotations}: {split.dropped} sentences whose start is not before their end are left out.")
    with progress("training") as report, FeatureFile(features) as opened:
        result = run(
            setting, split, opened, out, validation=held_out, device=device,
            report=lambda what, done, total, note: report(done, total, note, what),
        )  # fmt: skip
    scores = " ".join(f"{name} {value:.1f}" for name, value in (result.validation or {}).items())
    say(f"{result.checkpoint}: weights of epoch {result.epoch}{', validation ' + scores if scores else ''}.")
