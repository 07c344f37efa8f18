"""mmn-index mine: an index of the training videos to hard negatives."""

from pathlib import Path

import click

from .left_out import strict_option, tell_left_out
from .numbers import Real, Whole
from .output import progress, say
from .sentences import fitting, searchable_split


@click.command()
@click.option("--index", type=click.Path(path_type=Path), required=True, help="Index of the training videos.")
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="Training split.")
@click.option(
    "--count",
    type=Whole(1),
    default=10,
    show_default=True,
    help="Negatives per sentence, each from another video.",
)
@click.option(
    "--alike",
    type=Real(0, 1),
    default=0.9,
    show_default=True,
    help="Sentences whose embeddings have at least this cosine count as alike, and so do those "
    "of equal text or label.",
)
@click.option(
    "--margin",
    type=Real(),
    help="Leave out moments that do not score at least this much below the sentence's own moment.",
)
@click.option(
    "--positives",
    type=click.Path(path_type=Path),
    help="Further right moments of each sentence (json as in MVMR).",
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Parquet file to write.",
)
@strict_option
def mine(
    index: Path,
    annotations: Path,
    count: int,
    alike: float,
    margin: float | None,
    positives: Path | None,
    device: str,
    out: Path,
    strict: bool,
) -> None:
    """Find moments that the model wrongly takes for right answers: hard negatives for `train
    --hard-negatives`.

    They are, for every training sentence, the best-scored moments of other videos, without those that overlap
    a moment of an alike sentence.

    \b
    Example:
        mmn-index mine --index train.mmn --annotations train.json -o negatives.parquet
    """
    from mmn_index.train.alike import Alike, meanings
    from mmn_index.train.mining import mine as run
    from mmn_index.train.mining import read_positives, write_negatives

    from mmn_index import checkpoint
    from mmn_index.evaluation.queries import indexed
    from mmn_index.index import MomentIndex
    from mmn_index.models import refuse_tubes
    from mmn_index.places import check_file

    check_file(out)
    listed = read_positives(positives) if positives else None
    opened = MomentIndex(index, device)
    refuse_tubes(index, "negatives of whole videos cannot be mined", tubes=opened.manifest.tubes)
    split, left_out = searchable_split(annotations, indexed(opened), index, strict=strict)
    model = checkpoint.load(opened.model_path, device)
    split = fitting(split, model)
    similar = Alike.of(model, meanings(split)[0], cosine=alike, labels=True)
    with progress("mining") as report:
        mined = run(
            opened, model, split, similar, count=count, margin=margin, positives=listed, report=report
        )
    write_negatives(mined.table, out)
    say(f"{out}: {len(mined.table):,} negatives of {split.num_sentences:,} sentences.")
    for reason, moments in mined.left_out.items():
        say(f"left out, {reason}: {moments:,}")
    points = (5, 25, 50, 75, 95)
    margins = "  ".join(f"{p} %: {value:.3f}" for p, value in zip(points, mined.margins(points), strict=True))
    say(f"below the own moment's score, percentiles: {margins}")
    tell_left_out(left_out, out)
