"""The option --shard, and one shard of a build, for several processes or machines."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmn_index.readable import typed

from .cluster import tell_embedded
from .features import open_source
from .left_out import tell_left_out
from .output import printable, progress, say
from .source import made_source, wish_of

if TYPE_CHECKING:
    from mmn_index.index_build.build_plan import Hubs
    from mmn_index.index_build.ingest import ChosenModel
    from mmn_index.index_build.publish import PublishResult
    from mmn_index.index_build.shard_store import ShardStore
    from mmn_index.index_build.shards import ShardResult
    from mmn_index.index_build.share import Share

    from mmn_index.cluster.session import Session
    from mmn_index.left_out import LeftOut
    from mmn_index.windows import WindowRule

    from .ingest import Films


def shard_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Do a part of the work; the others are done by other processes."""
    return click.option("--shard", "share", metavar="I/N", callback=_share, help=what)


def _share(context: click.Context, option: click.Parameter, value: str | None) -> "Share | None":
    from mmn_index.index_build.share import MOST, Share

    from mmn_index.errors import ConfigError

    if value is None:
        return None
    number, _, of = value.partition("/")
    try:
        return Share(int(number), int(of))
    except (ValueError, ConfigError):
        raise click.BadParameter(
            f"{value}: expected I/N with I from 1 to N and N up to {MOST:,}, such as 1/4."
        ) from None


def check_sharing(share: "Share | None", cluster: str | None, options: Mapping[str, Any]) -> None:
    """Refuse options that do not go together.

    Args:
        options: of `source_options`.
    """
    from mmn_index.index_build.candidates import Wish

    if share is not None and cluster is not None:
        raise click.UsageError("--ray and --shard exclude each other: a cluster shares the work itself.")
    if share is not None and wish_of(options) != Wish():
        raise click.UsageError("The candidate index is made of all shards: give its options to `publish`.")


@dataclass(frozen=True)
class Wanted:
    """What `build` is to make, as its options say it."""

    out: Path
    score: str | None
    hubs: "Hubs"
    self_contained: bool
    device: str
    gpus: bool  # of a cluster
    windows: "WindowRule | None"
    overwrite: bool


def build_part(
    chosen: "ChosenModel",
    wanted: Wanted,
    share: "Share",
    features: Path,
    films: "Films | None",
    options: Mapping[str, Any],
) -> "ShardResult":
    """Embed one share of the videos.

    Args:
        films: what videos were described, where features were not given.
        options: of `source_options`.
    """
    from mmn_index.index_build.build_plan import plan_build
    from mmn_index.index_build.shards import build_shard, whole_of, write_empty

    from mmn_index.evaluation.annotations import read_durations
    from mmn_index.index import ShardAbout

    names, annotations = None if films is None else films.ids, options["videos"]
    files = None if films is None else dict(films.common)
    if files is not None and annotations is not None:
        files["--videos"] = hashlib.sha256(annotations.read_bytes()).hexdigest()
        annotated = read_durations(annotations)
        names = [name for name in names or () if name in annotated]
    if films is not None and not names:
        common = whole_of(
            chosen.info,
            wanted.score,
            wanted.hubs,
            wanted.windows,
            options["metadata"],
            self_contained=wanted.self_contained,
        )
        about = ShardAbout(share.number, share.of, {**common, **(files or {})})
        return write_empty(chosen.info, about, wanted.out, tuple(films.left_out))
    with open_source(features) as opened, progress("checking features") as report:
        source = made_source(opened, report, only=names, windows=wanted.windows, **options)
        plan = plan_build(
            chosen.path, source, wanted.score, wanted.hubs, self_contained=wanted.self_contained
        )
        result = build_shard(
            plan,
            wanted.out,
            share,
            files=files,
            device=wanted.device,
            report=partial(report, what="embedding videos"),
        )
    return replace(result, left_out=(*(films.left_out if films else ()), *result.left_out))


def build_on(
    session: "Session",
    chosen: "ChosenModel",
    wanted: Wanted,
    features: Path,
    films: "Films | None",
    options: Mapping[str, Any],
) -> "list[LeftOut]":
    """Build an index with all workers of a cluster. Returns what was left out."""
    from mmn_index.index_build.build_plan import plan_build
    from mmn_index.index_build.spread import build_spread

    with open_source(features) as opened, progress("checking features") as report:
        only = films.ids if films else None
        source = made_source(opened, report, only=only, windows=wanted.windows, **options)
        plan = plan_build(
            chosen.path, source, wanted.score, wanted.hubs, self_contained=wanted.self_contained
        )
        embedding = partial(report, what="embedding videos")
        result, done = build_spread(
            plan,
            wanted.out,
            session,
            source.wish,
            overwrite=wanted.overwrite,
            gpus=wanted.gpus,
            report=embedding,
        )
    for remark in plan.remarks:
        say(remark)
    tell_embedded(done)
    tell_published(result)
    return [*(films.left_out if films else ()), *result.left_out]


def tell_published(result: "PublishResult") -> None:
    """Say what has become of the shards."""
    say(
        f"{result.root}: {result.moments:,} moments of {result.videos:,} videos in "
        f"{result.segments:,} segments, {result.reason}."
    )


def store_of(url: str | None, share: "Share | None") -> "ShardStore | None":
    """Where --store says that shards are stored; None where it does not.

    Raises:
        ConfigError, DependencyError, OutputError: nothing can be stored there.
    """
    if url is None:
        return None
    if share is None:
        raise click.UsageError("--store stores a shard: name which with --shard.")
    from mmn_index.index_build.shard_store import ShardStore

    store = ShardStore(url)
    store.check()
    return store


def tell_shard(result: "ShardResult", wanted: Wanted, store: "ShardStore | None" = None) -> None:
    """Store a shard where it is to be stored; say what it holds, and what is to be done next. End with code 3
    where something was left out.
    """
    for remark in result.remarks:
        say(remark)
    done, more = "was complete already" if result.there else "is complete", ""
    if store is not None:
        store.put(wanted.out, result.share, "".join(f"{printable(one.why)}\n" for one in result.left_out))
        done, more = f"is stored at {store.shown}", f" --store {typed(store.shown)}"
    more += " --overwrite" * wanted.overwrite
    say(
        f"{result.place}: shard {result.share} {done}, {result.moments:,} moments of {result.videos:,} "
        f"videos. Once all {result.share.of} are: mmn-index publish {typed(wanted.out)}{more}"
    )
    tell_left_out(result.left_out, result.place)
