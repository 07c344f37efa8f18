"""mmn-index push: an index to a database that people already run."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmn_index.databases.target import parse_target

from .output import print_json, progress, say
from .paths import LocalPath

if TYPE_CHECKING:
    from mmn_index.index_build.push import Pushed


@click.command()
@click.argument("index", type=LocalPath())
@click.argument("target")
@click.option("--overwrite", is_flag=True, help="Replace what the collection holds, whatever it is.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with what was done.")
def push(index: Path, target: str, *, overwrite: bool, as_json: bool) -> None:
    """Copy the moments of INDEX to TARGET, a collection in Qdrant or in PostgreSQL with pgvector.

    \b
    TARGET is one of
        qdrant://HOST:PORT/COLLECTION (qdrants:// for TLS)
        postgresql://USER@HOST/DATABASE#COLLECTION

    The API key of Qdrant is read from QDRANT_API_KEY. The password of PostgreSQL is read from where psql
    finds it: PGPASSWORD or ~/.pgpass. Run it again after every change of the index: only what changed is
    sent, and searches see the old version or the new one. The next push continues an interrupted one.

    \b
    Example:
        mmn-index push collection.mmn qdrant://localhost/porch
        mmn-index push collection.mmn postgresql://me@localhost/videos#porch
        mmn-index search "person opens door" --index qdrant://localhost/porch
    """
    from mmn_index.index_build.push import push as run

    from mmn_index.databases.connect import open_database
    from mmn_index.index import MomentIndex

    where = parse_target(target)
    opened = MomentIndex(index)
    database = open_database(where)
    try:
        with progress("sending moments") as report:
            pushed = run(opened, database, report, overwrite=overwrite)
    finally:
        database.close()
    _tell(pushed, index, where.shown, as_json=as_json)


def _tell(pushed: "Pushed", index: Path, shown: str, *, as_json: bool) -> None:
    about = pushed.published
    if as_json:
        print_json(
            {
                "target": shown,
                "version": about.version,
                "moments": about.moments,
                "sent": pushed.sent,
                "segments": pushed.segments,
                "videos_removed": pushed.removed,
                "recall": about.recall,
            }
        )
        return
    if pushed.unchanged:
        say(f"{shown}: already holds version {about.version} of {index}: nothing was sent.")
        return
    how = "everything is scanned"
    if about.lists:
        how = f"a search looks at {about.probes:,} of {about.lists:,} lists"
    found = "" if about.recall is None else f" and finds {about.recall:.1%} of the exact top 10"
    say(
        f"{shown}: holds version {about.version} of {index}, {about.moments:,} moments; {pushed.sent:,} "
        f"sent in {pushed.segments} segments, {pushed.removed} videos removed; {how}{found}."
    )
    if pushed.left_out:
        say(f"Columns without values, or of kinds that are not stored: {', '.join(pushed.left_out)}.")
