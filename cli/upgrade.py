"""mmn-index upgrade: an index of an earlier version, made readable for this one."""

from pathlib import Path

import click

from .output import progress, say


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
def upgrade(index: Path) -> None:
    """Bring INDEX, made by an earlier version, to the format of this one.

    Nothing is embedded again, and embeddings are not copied where the file system has hard links. Searches
    that began before are not disturbed. Killed or interrupted, the same command does it.

    \b
    Example:
        mmn-index upgrade collection.mmn
    """
    from mmn_index.index_build.upgrade import upgrade as run

    from mmn_index.index.manifest import FORMAT

    with progress("upgrading segments") as report:
        result = run(index, report)
    for remark in result.remarks:
        say(remark)
    if result.found == FORMAT:
        say(f"{index}: has format {FORMAT} already, nothing to do.")
        return
    say(
        f"{index}: format {result.found} is now format {FORMAT}; {result.moments:,} moments of "
        f"{result.videos:,} videos."
    )
