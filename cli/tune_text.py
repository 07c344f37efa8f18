"""mmn-index tune-text: the text side of a checkpoint, tuned against its frozen video side."""

from functools import partial
from pathlib import Path

import click

from .features import feature_options, open_features, usable_split
from .left_out import strict_option, tell_left_out
from .numbers import Real, Whole
from .output import progress, say


@click.command("tune-text")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="Training split.")
@click.option(
    "--val",
    type=click.Path(path_type=Path),
    help="Validation split. It decides which epoch is kept, 0 included.",
)
@click.option("--features", type=click.Path(path_type=Path), required=True, help="Snippet features.")
@click.option("--epochs", type=Whole(1), default=10, show_default=True)
@click.option("--lr", type=Real(0, min_open=True), default=1e-4, show_default=True, help="Learning rate.")
@click.option(
    "--negatives",
    type=Whole(1),
    default=100,
    show_default=True,
    help="How many of the best-ranked moments of the collection each sentence is compared with.",
)
@click.option(
    "--alike",
    type=Real(0, 1),
    default=0.9,
    show_default=True,
    help="Sentences whose embeddings have at least this cosine count as alike, and so do those "
    "of equal text or label.",
)
@click.option("--seed", type=Whole(0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="New checkpoint."
)
@feature_options
@strict_option
def tune_text(
    checkpoint: Path,
    annotations: Path,
    val: Path | None,
    features: Path,
    epochs: int,
    lr: float,
    negatives: int,
    alike: float,
    seed: int,
    device: str,
    out: Path,
    strict: bool,
) -> None:
    """Tune the text side of CHECKPOINT for searching a whole collection; what is indexed with it stays valid.

    Each sentence is compared with the moments that a search of all training videos ranks best. Only the text
    side's heads change.

    \b
    Example:
        mmn-index tune-text run/model --annotations train.json --val val.json --features features.h5 -o tuned
    """
    from mmn_index.train.tune_text import TuneConfig
    from mmn_index.train.tune_text import tune_text as run

    from mmn_index.places import check_folder

    _refuse_tubes(checkpoint)
    check_folder(out)
    config = TuneConfig(epochs=epochs, lr=lr, negatives=negatives, alike=alike, seed=seed)
    held_out = None
    with progress("tuning") as report, open_features(features) as opened:
        check = partial(usable_split, features=opened, dim=opened.dim, strict=strict)
        split, left_out = check(annotations)
        if val:
            held_out, more = check(val)
            left_out = [*dict.fromkeys([*left_out, *more])]
        result = run(
            checkpoint,
            split,
            opened,
            out,
            validation=held_out,
            config=config,
            device=device,
            tell=say,
            report=lambda what, done, total, note: report(done, total, note, what),
        )
    losses = " ".join(f"{loss:.3f}" for loss in result.losses)
    say(f"loss of each epoch: {losses}")
    if result.validation:
        values = " ".join(f"{value:.1f}" for value in result.validation)
        say(f"validation, {result.metric}, from epoch 0 on: {values}")
    say(
        f"{result.checkpoint}: text side of epoch "
        f"{result.epoch}{' (untouched)' if result.epoch == 0 else ''}."
    )
    tell_left_out(left_out, out)


def _refuse_tubes(path: Path) -> None:
    """Before annotations are read in a form that a model over tubes does not have."""
    from mmn_index import checkpoint
    from mmn_index.models import refuse_tubes

    if checkpoint.is_checkpoint(path):
        refuse_tubes(path, "text sides cannot be tuned", tubes=checkpoint.info(path).config.tubes)
