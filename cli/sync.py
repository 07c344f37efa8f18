"""mmn-index sync: an index kept in step with folders."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmn_index.left_out import SHOWN
from mmn_index.readable import counted

from .build import index_option
from .cluster import ray_option, session_of, tell_described
from .film_bar import film_progress
from .ingest import pick_device
from .left_out import SAME_COMMAND, strict_option, tell_left_out
from .numbers import Real, Whole
from .output import progress, say

if TYPE_CHECKING:
    from mmn_index.index_build.sync import Places, Recipe, SyncResult
    from mmn_index.index_build.sync_plan import SyncPlan


@click.command()
@click.argument("videos", type=click.Path(path_type=Path), nargs=-1, required=True)
@index_option
@click.option("--watch", is_flag=True, help="Keep running, and follow what changes in the folders.")
@click.option("--keep-missing", is_flag=True, help="Keep videos in the index whose files are gone.")
@click.option(
    "--remove-missing",
    is_flag=True,
    help="Remove videos whose files are gone, even where a whole folder or most of them are gone. Without "
    "it, that is refused: a disk may not be mounted.",
)
@click.option(
    "--metadata",
    type=click.Path(path_type=Path),
    help="CSV or Parquet with a column video_id and columns of your own, for --where.",
)
@click.option(
    "--prefix",
    default="",
    help="Text before the id of each new video, such as 'camB/', where folders have files of the same names.",
)
@click.option("--follow-links", is_flag=True, help="Enter folders that are linked.")
@click.option(
    "--backbone",
    help="Backbone of the index's features: 'pixels', a hub id or a local directory. If not "
    "given, the one that the index names.",
)
@click.option(
    "--rate", type=Real(0, min_open=True), help="Snippets per second; if not given, that of the index."
)
@click.option("--device", help="Where models run, such as cpu or cuda.  [default: a GPU if there is one]")
@click.option(
    "--workers",
    type=Whole(1),
    default=1,
    show_default=True,
    help="Processes that decode ('pixels' only).",
)
@ray_option("Describe videos with the workers of a Ray cluster, whose nodes see them under these paths.")
@strict_option
def sync(
    videos: tuple[Path, ...],
    root: Path,
    watch: bool,
    keep_missing: bool,
    remove_missing: bool,
    metadata: Path | None,
    prefix: str,
    follow_links: bool,
    backbone: str | None,
    rate: float | None,
    device: str | None,
    workers: int,
    cluster: str | None,
    strict: bool,
) -> None:
    """Make an index match VIDEOS, folders or files: add new videos, describe changed ones again, follow
    renamed ones without describing them, and remove deleted ones. All of it is one change of the index.

    Videos of other folders stay as they are. If it is killed or interrupted, run the same command again: it
    resumes.

    \b
    Examples:
        mmn-index sync archive/ --index collection.mmn
        mmn-index sync archive/ camera/ --watch
    """
    from mmn_index.index_build.sync import Places, Recipe
    from mmn_index.index_build.watch import need_watchfiles

    if keep_missing and remove_missing:
        raise click.UsageError("--keep-missing and --remove-missing exclude each other.")
    if watch and strict:
        raise click.UsageError("--watch and --strict exclude each other: a watch never ends with an error.")
    if watch:
        need_watchfiles()
    places = Places(videos, prefix, follow_links, metadata, keep_missing, remove_missing, strict)
    recipe = Recipe(backbone, rate, pick_device(device), workers)
    with session_of(cluster) as session:
        recipe = replace(recipe, session=session)
        if watch:
            _watch(root, places, recipe)
            return
        result = _sync_once(root, places, recipe)
    for remark in result.remarks:
        say(remark)
    tell_described(result.done)
    _tell(root, result)
    tell_left_out(result.left_out, root, SAME_COMMAND)


def _sync_once(root: Path, places: "Places", recipe: "Recipe") -> "SyncResult":
    from mmn_index.index_build.sync import EXTRACTING
    from mmn_index.index_build.sync import sync as run

    with film_progress("extracting features") as film, progress("embedding videos") as bar:

        def report(done: float, total: float, note: str, what: str) -> None:
            if what == EXTRACTING:
                film(done, total, note)
            else:
                bar(done, total, note)

        return run(root, places, recipe, tell=_announce, report=report)


def _watch(root: Path, places: "Places", recipe: "Recipe") -> None:
    """Follow the folders until the user interrupts."""
    from contextlib import suppress

    from mmn_index.index_build.watch import Listener, watch

    told: set[str] = set()

    def done(result: "SyncResult") -> None:
        _tell(root, result)
        for one in result.left_out:
            if one.why not in told:
                say(f"left out: {one.why}")
        told.update(one.why for one in result.left_out)

    with suppress(KeyboardInterrupt):
        say(f"Watching {', '.join(map(str, places.videos))}; Ctrl-C ends it.")
        watch(root, places, recipe, Listener(_announce, done, say))
    say(f"{root}: not watched any more.")


def _announce(plan: "SyncPlan") -> None:
    """What is to be done, before it is."""
    renamed = len(plan.renamed)
    counts = {
        "new": len(plan.added),
        "changed": len(plan.changed),
        "renamed": renamed,
        "copied or touched": len(plan.followed) - renamed,
        "being written": len(plan.waiting),
        "gone": len(plan.missing),
    }
    if text := ", ".join(f"{count:,} {what}" for what, count in counts.items() if count):
        say(f"Videos: {text}.")
    if plan.missing:
        names = ", ".join(one.video_id for one in plan.missing[:SHOWN])
        more = f" and {len(plan.missing) - SHOWN:,} more" if len(plan.missing) > SHOWN else ""
        done = "Removed from the index, as" if plan.ended else "Kept in the index, though"
        say(f"{done} their files are gone: {names}{more}.")


def _tell(root: Path, result: "SyncResult") -> None:
    counts = f"{result.moments:,} moments of {counted(result.videos, 'video')}"
    say(f"{root}: {counts}; {result.described:,} {'was' if result.described == 1 else 'were'} described.")
