"""mmn-index convert: a checkpoint of the official implementation to one of this project."""

from pathlib import Path

import click

from .output import say


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Checkpoint directory, such as charades.mmn-model.",
)
@click.option(
    "--setting",
    help="charades, activitynet or tacos; needed if the shapes do not tell it (those of Charades "
    "and TACoS are the same).",
)
@click.option(
    "--tokenizer",
    default="distilbert-base-uncased",
    show_default=True,
    help="Hub id or local directory of the text encoder's tokenizer.",
)
def convert(checkpoint: Path, out: Path, setting: str | None, tokenizer: str) -> None:
    """Turn CHECKPOINT, a .pth file of the official MMN code, into a checkpoint directory.

    A tensor that is missing or unknown is an error. Only tensors are loaded from the file.

    \b
    Example:
        mmn-index convert best_charades.pth -o charades.mmn-model --setting charades
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.errors import OutputError
    from mmn_index.official import convert as run
    from mmn_index.places import check_folder

    if out.exists():
        raise OutputError(f"{out}: exists already; choose another place with -o.")
    check_folder(out)
    model = run(checkpoint, tokenizer, setting)
    checkpoints.save(model, out)
    config = model.config
    say(
        f"{out}: {len(model.grid)} proposals a video ({config.map_type} map, {config.num_clips} clips), "
        f"features of width {config.input_dim}, power {config.power:g}."
    )
