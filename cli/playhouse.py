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
@click.option(
    "--people",
    is_flag=True,
    help="Two or three people in every video, one sentence about one of them, and the boxes of everybody.",
)
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Another seed gives another world.")
@click.option("--workers", type=Whole(1), default=2, show_default=True, help="Processes that render.")
def playhouse(
    out: Path, train_videos: int, val_videos: int, test_videos: int, people: bool, seed: int, workers: int
) -> None:
    """Render Playhouse, a small world of homes and everyday actions, as video files with annotations.

    The same seed gives the same files. Existing videos are kept.

    With --people, a sentence describes what one of several people does. Each split gets four files:
    SPLIT.json says who is meant, with a box on every frame of the moment; SPLIT-every.json has a sentence
    about each action of each person; SPLIT-boxes.json has the true boxes of everybody; SPLIT-detected.json
    has boxes with the errors of a detector and a tracker.

    \b
    Examples:
        mmn-index playhouse world --train 400 --val 40 --test 60
        mmn-index playhouse people --people
    """
    from mmn_index.train.playhouse import make_playhouse

    counts = {"train": train_videos, "val": val_videos, "test": test_videos}
    with progress("rendering videos") as report:
        make_playhouse(out, counts=counts, seed=seed, people=people, workers=workers, report=report)
    boxes = " Boxes are in SPLIT-boxes.json and SPLIT-detected.json." if people else ""
    say(f"{out}: {sum(counts.values())} videos with annotations train.json, val.json, test.json.{boxes}")
