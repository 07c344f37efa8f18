"""mmn-index publish: the shards of a build become an index."""

from functools import partial
from pathlib import Path

import click

from .left_out import tell_left_out
from .output import progress
from .paths import LocalPath
from .shards import tell_published
from .source import vector_options


@click.command()
@click.argument("root", metavar="INDEX", type=LocalPath(), envvar="MMN_INDEX", default="collection.mmn")
@click.option("--overwrite", is_flag=True, help="Replace an existing index.")
@click.option("--store", metavar="URL", help="Where `build --shard --store` has stored the shards.")
@vector_options
def publish(
    root: Path,
    overwrite: bool,
    store: str | None,
    vectors: str,
    max_bytes_per_moment: float | None,
    max_latency: float | None,
) -> None:
    """Make INDEX of the shards that `build --shard` made for it.

    All shards have to be complete, and made from the same model and videos. The index appears, or changes,
    in one step; then the shards are removed. If it is killed or interrupted, run the same command again: it
    resumes.

    \b
    Examples:
        mmn-index build features.h5 --model run/model --shard 1/2
        mmn-index build features.h5 --model run/model --shard 2/2
        mmn-index publish collection.mmn
        mmn-index publish collection.mmn --store s3://bucket/run1
    """
    from mmn_index.index_build.candidates import Wish
    from mmn_index.index_build.publish import publish as run

    wish = Wish(vectors, max_bytes_per_moment, max_latency)
    with progress("filling candidate indexes") as report:
        if store is None:
            result = run(root, wish, overwrite=overwrite, report=report)
        else:
            from mmn_index.index_build.publish_stored import publish_stored
            from mmn_index.index_build.shard_store import ShardStore

            fetching = partial(report, what="fetching shards")
            kept = ShardStore(store)
            result = publish_stored(root, kept, wish, overwrite=overwrite, fetching=fetching, report=report)
    tell_published(result)
    tell_left_out(result.left_out, root)
