"""mmn-index playhouse: render the sample world."""

from pathlib import Path

import click

from .numbers import Whole
from .output import progress, say


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--train",
    "train_videos",
    type=Whole(0),
    default=400,
    show_default=True,
    help="Videos of the training split.",
)
@click.option(
    "--val",
    "val_videos",
    type=Whole(0),
    default=40,
    show_default=True,
    help="Videos of the validation split.",
)
@click.option(
    "--test",
    "test_videos",
    type=Whole(0),
    default=60,
    show_default=True,
    help="Videos of the test split.",
)
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Another seed gives another world.")
@click.option("--workers", type=Whole(1), default=2, show_default=True, help="Processes that render.")
def playhouse(
    out: Path, train_videos: int, val_videos: int, test_videos: int, seed: int, workers: int
) -> None:
    """Render Playhouse, a small world of homes and everyday actions, as video files with annotations.

    The same seed gives the same files. Videos that are there already are kept.

    \b
    Example:
        mmn-index playhouse world --train 400 --val 40 --test 60
    """
    from mmn_index.train.playhouse import make_playhouse

    counts = {"train": train_videos, "val": val_videos, "test": test_videos}
    with progress("rendering videos") as report:
        make_playhouse(out, counts=counts, seed=seed, workers=workers, report=report)
    say(f"{out}: {sum(counts.values())} videos with annotations train.json, val.json, test.json.")
