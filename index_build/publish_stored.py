"""Shards that are stored elsewhere (shard_store.py) become an index, and are removed there."""

from collections.abc import Mapping
from pathlib import Path

from mmn_index.errors import MomentIndexError
from mmn_index.index import Manifest
from mmn_index.index.manifest import NAME, read_manifest
from mmn_index.readable import typed

from .build import check_free, there_already
from .candidates import Wish
from .publish import PublishResult, check_parts, finished, is_of, perhaps_published, publish
from .shard_store import ShardStore
from .shards import check_counts, place_of, shards_of, shares_begun
from .share import Share
from .source import Report


def publish_stored(
    root: Path,
    store: ShardStore,
    wish: Wish | None = None,
    *,
    overwrite: bool = False,
    fetching: Report = lambda done, total: None,
    report: Report = lambda done, total: None,
) -> PublishResult:
    """As `publish`, of shards that are stored elsewhere, which are removed there in the end.

    Args:
        fetching: called with (shards fetched, shards in all).

    Raises:
        ConfigError, MomentIndexError, OutputError: as `publish`; or the storage cannot be reached.
    """
    earlier = finished(root, store.clear)
    stored = store.manifests()
    if earlier is not None and not stored and not shards_of(root).exists():
        return earlier
    _check(root, store, {share: manifest for share, (manifest, _) in stored.items()}, overwrite=overwrite)
    for done, (share, known) in enumerate(stored.items()):
        fetching(done, len(stored))
        store.fetch(root, share, known)
    fetching(len(stored), len(stored))
    return publish(root, wish, overwrite=overwrite, report=report, also=store.clear)


def _check(root: Path, store: ShardStore, stored: Mapping[Share, Manifest], *, overwrite: bool) -> None:
    """Whether what is stored, with what is here already, can be published: before anything is fetched."""
    if not stored:
        raise MomentIndexError(
            f"{store.shown}: has no complete shard. `mmn-index build ... --shard 1/N --store "
            f"{typed(store.shown)}` stores the first of N.{perhaps_published(root)}"
        )
    here = shares_begun(root)
    remedy = f"Remove {shards_of(root)}, or what is stored, whichever is not wanted."
    check_counts(f"{store.shown} and {shards_of(root)}: have", [*stored, *here], remedy)
    complete = {
        share: read_manifest(place_of(root, share))
        for share in here
        if (place_of(root, share) / NAME).is_file()
    }
    parts = {**complete, **stored}
    parts = {share: parts[share] for share in sorted(parts, key=lambda share: share.number)}
    check_parts(root, sorted({*here, *stored}, key=lambda share: share.number), parts)
    known = read_manifest(root) if (root / NAME).is_file() and not overwrite else None
    if known is None:
        check_free(root, overwrite=overwrite)
    elif not is_of(known, parts.values()):
        raise there_already(root)
