"""mmn-index extract: video files to snippet features."""

from pathlib import Path

import click

from .numbers import Real, Whole
from .output import progress, say


@click.command()
@click.argument("videos", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="HDF5 file to write or to extend.",
)
@click.option(
    "--backbone",
    default="pixels",
    show_default=True,
    help="'pixels' (no weights), or a CLIP, SigLIP or VideoMAE model: hub id or local directory.",
)
@click.option(
    "--rate", type=Real(0, min_open=True), help="Snippets a second; the backbone's own if not given."
)
@click.option("--device", default="cpu", show_default=True, help="Where a model backbone runs.")
@click.option(
    "--workers",
    type=Whole(1),
    default=1,
    show_default=True,
    help="Processes that decode ('pixels' only).",
)
def extract(
    videos: tuple[Path, ...], out: Path, backbone: str, rate: float | None, device: str, workers: int
) -> None:
    """Compute snippet features of VIDEOS, files or folders of files.

    Run again after an interruption, or with more videos, it does only what is missing. A file that cannot be
    decoded is reported and skipped; the exit code is then 1.

    \b
    Example:
        mmn-index extract holiday.mp4 archive/ -o features.h5
    """
    from mmn_index.index_build.extract import extract as run

    if backbone == "pixels" and device != "cpu":
        raise click.UsageError(
            "--device is where a model backbone runs; 'pixels' runs on the CPU: leave it out."
        )
    with progress("extracting features") as report:
        result = run(videos, out, backbone=backbone, rate=rate, device=device, workers=workers, report=report)
    for _path, message in result.failed:
        say(f"skipped: {message}")
    say(
        f"{out}: {result.extracted} videos extracted, {result.skipped} were there already, "
        f"{len(result.failed)} failed."
    )
    if result.failed:
        raise click.exceptions.Exit(1)
