"""mmn-index upgrade: an index of an earlier version, made readable for this one."""

from pathlib import Path

import click

from .build import index_argument
from .output import progress, say


@click.command()
@index_argument
def upgrade(root: Path) -> None:
    """Convert an index that an earlier version made to the format of this version.

    Nothing is embedded again, and embeddings are not copied if the file system has hard links. Running
    searches are not disturbed. If it is killed or interrupted, run the same command again.

    \b
    Example:
        mmn-index upgrade collection.mmn
    """
    from mmn_index.index_build.upgrade import upgrade as run

    from mmn_index.index.manifest import FORMAT

    with progress("upgrading segments") as report:
        result = run(root, report)
    for remark in result.remarks:
        say(remark)
    if result.found == FORMAT:
        say(f"{root}: has format {FORMAT} already, nothing to do.")
        return
    say(
        f"{root}: format {result.found} is now format {FORMAT}; {result.moments:,} moments of "
        f"{result.videos:,} videos."
    )
