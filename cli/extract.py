"""mmn-index extract: video files to snippet features."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmn_index.readable import counted

from .cluster import ray_option, session_of, tell_described
from .film_bar import film_progress
from .left_out import SAME_COMMAND, strict_option, tell_left_out
from .numbers import Real, Whole
from .output import say
from .paths import LocalPath, is_typed
from .shards import shard_option

if TYPE_CHECKING:
    from mmn_index.index_build.extract import ExtractResult
    from mmn_index.index_build.share import Share


@click.command()
@click.argument("videos", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=LocalPath(dir_okay=False),
    required=True,
    help="HDF5 file to write or to extend.",
)
@click.option(
    "--backbone",
    default="pixels",
    show_default=True,
    help="'pixels' (no weights), or a model (CLIP, SigLIP, X-CLIP, VideoMAE ...): hub id or local directory.",
)
@click.option(
    "--rate", type=Real(0, min_open=True), help="Snippets per second; if not given, that of the backbone."
)
@click.option("--device", default="cpu", show_default=True, help="Where a model backbone runs.")
@click.option(
    "--workers",
    type=Whole(1),
    help="Processes that decode ('pixels' only).  [default: one per core]",
)
@click.option(
    "--prefix",
    default="",
    help="Text before each video's id, such as 'camB/', where files of several folders have the same names.",
)
@click.option("--follow-links", is_flag=True, help="Enter folders that are linked.")
@shard_option(
    "Extract the I-th of N parts of the videos into a file of its own, such as features.1-of-4.h5. The same "
    "command without --shard then makes one file of all parts."
)
@ray_option(
    "Extract with the workers of a Ray cluster, whose nodes see videos and features under these paths."
)
@strict_option
def extract(
    videos: tuple[Path, ...],
    out: Path,
    backbone: str,
    rate: float | None,
    device: str,
    workers: int | None,
    prefix: str,
    follow_links: bool,
    share: "Share | None",
    cluster: str | None,
    strict: bool,
) -> None:
    """Compute snippet features of VIDEOS, files or folders of files.

    A video's id is its file name without the suffix, or its path below the folder that you name. In folders,
    files with the suffix of a video are used, but no pictures (.gif included). A file that you name is tried
    whatever its suffix.

    Run it again after an interruption, or with more videos: it does what is missing or has changed, and
    continues a long file where it stopped. Files that cannot be decoded, or only in part, are listed.

    \b
    Examples:
        mmn-index extract holiday.mp4 archive/ -o features.h5
        mmn-index extract camB -o features.h5 --prefix camB/
        mmn-index extract archive/ -o features.h5 --shard 1/4
        mmn-index extract archive/ -o features.h5 --ray
    """
    from mmn_index.index_build.extract import Describers, usual_workers
    from mmn_index.index_build.extract import extract as run

    if cluster is not None and share is not None:
        raise click.UsageError("--ray and --shard exclude each other: a cluster shares the work itself.")
    if backbone == "pixels" and device != "cpu":
        raise click.UsageError(
            "--device is where a model backbone runs; 'pixels' runs on the CPU: leave it out."
        )
    with session_of(cluster) as session, film_progress("extracting features") as report:
        helpers = None if session is None else Describers(session, backbone)
        result = run(
            videos,
            out,
            backbone=backbone,
            rate=rate,
            device=device,
            workers=workers or usual_workers(backbone),
            prefix=prefix,
            follow_links=follow_links,
            share=share,
            strict=strict,
            report=report,
            helpers=helpers,
        )
    tell_described(helpers.done if helpers else ())
    _tell(result)


def _tell(result: "ExtractResult") -> None:
    for remark in result.remarks:
        say(remark)
    again = f" ({result.again:,} of them again, as their files have changed)" if result.again else ""
    there = f"{result.skipped:,} {'was' if result.skipped == 1 else 'were'} there already"
    say(f"{result.out}: {counted(result.extracted, 'video')} extracted{again}, {there}.")
    if not is_typed("backbone"):
        say(
            "Described by 'pixels', which needs no weights and is made for the sample world. For other "
            "videos, name a model with --backbone."
        )
    tell_left_out(result.left_out, result.out, SAME_COMMAND)
