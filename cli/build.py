"""mmn-index build, add and update: a checkpoint and features to an index."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmn_index.readable import counted

from .cluster import ray_option, session_of
from .features import open_source
from .ingest import (
    Films,
    Ingest,
    chosen_model,
    describe_videos,
    found_videos,
    ingest_options,
    is_features,
    pick_device,
    sort_inputs,
)
from .left_out import catch_up, tell_left_out
from .output import progress, say
from .paths import IndexPath, LocalPath, is_typed
from .sentences import read_sentences
from .shards import Wanted, build_on, build_part, check_sharing, shard_option, store_of, tell_shard
from .source import check_tables, made_source, source_options, wish_of

if TYPE_CHECKING:
    from mmn_index.index_build.build import BuildResult
    from mmn_index.index_build.ingest import ChosenModel
    from mmn_index.index_build.share import Share

    from mmn_index.cluster.session import Session


def self_contained_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Whether what is written needs nothing else."""
    return click.option(
        "--self-contained",
        is_flag=True,
        help="Keep a copy of a text encoder that training did not change. Without it, only its "
        "name and SHA-256 are kept.",
    )(command)


def index_option(command: Callable[..., Any], *, databases: bool = False) -> Callable[..., Any]:
    """The index that a command works on.

    Args:
        databases: whether it also takes the URL of a database.
    """
    return click.option(
        "--index",
        "root",
        type=IndexPath() if databases else LocalPath(),
        envvar="MMN_INDEX",
        default="collection.mmn",
        show_default=True,
        show_envvar=True,
        help="Index directory, or a database that `push` filled." if databases else "Index directory.",
    )(command)


def index_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The index that a command is about, as its only argument or as --index."""

    @wraps(command)
    def wrapped(index: Path | None, root: Path, **options: Any) -> Any:
        if index is None:
            index = root
        elif is_typed("root"):
            raise click.UsageError(f"{index} and --index {root}: name one index.")
        return command(root=index, **options)

    return click.argument("index", type=LocalPath(), required=False)(index_option(wrapped))


@click.command()
@click.argument("sources", metavar="VIDEOS...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=LocalPath(),
    default="collection.mmn",
    show_default=True,
    help="Index directory.",
)
@click.option(
    "--model",
    help="A trained model's directory, or a dual encoder such as CLIP, by hub id or directory. If not given, "
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K.",
)
@ingest_options
@click.option(
    "--score",
    help="Default ranking: collection, product, contrastive or iou.  [default: collection; contrastive for a "
    "dual encoder]",
)
@click.option(
    "--bank",
    type=click.Path(path_type=Path),
    help="Reference sentences, by which --hub finds moments that are similar to every sentence: "
    "an annotation file, or a text file with one sentence per line. If not given, those that "
    "the model was trained with.",
)
@click.option(
    "--hub",
    type=float,
    help="How far moments similar to every sentence are ranked lower, 0 (not at all) to 1; 0.5 if not given.",
)
@click.option("--hub-kind", default="csls", show_default=True, help="How --hub is computed: csls or softmax.")
@click.option("--overwrite", is_flag=True, help="Replace an existing index, once the new one is complete.")
@shard_option(
    "Do part I of N of the work, in a folder beside the index; `mmn-index publish` then makes "
    "the index from all parts."
)
@click.option(
    "--store",
    metavar="URL",
    help="Store the shard there as well, such as s3://bucket/run1, for machines that share no folders.",
)
@ray_option("Work with the workers of a Ray cluster, whose nodes see all of these files under these paths.")
@self_contained_option
@source_options
def build(
    sources: tuple[Path, ...],
    out: Path,
    model: str | None,
    score: str | None,
    bank: Path | None,
    hub: float | None,
    hub_kind: str,
    overwrite: bool,
    share: "Share | None",
    store: str | None,
    cluster: str | None,
    self_contained: bool,
    device: str | None,
    **options: Any,
) -> None:
    """Build a searchable index of VIDEOS, files or folders of files: features, then moments.

    Without --model a pre-trained dual encoder is used, which needs no training. A feature file can take the
    place of the videos. `build CHECKPOINT FEATURES` does the same as `build FEATURES --model CHECKPOINT`.

    If it is killed or interrupted, run the same command again: it resumes where it stopped. Several machines
    that see the same folders share the work with --shard, or as a Ray cluster with --ray.

    \b
    Examples:
        mmn-index build ~/Videos
        mmn-index build ~/Videos --model run/model -o collection.mmn
        mmn-index build run/model features.h5 -o collection.mmn
        mmn-index build features.h5 --model run/model --metadata cameras.csv --bank train.json
        mmn-index build features.h5 --model run/model --shard 1/4
        mmn-index build ~/Videos --model run/model --shard 1/4 --store s3://bucket/run1
        mmn-index build ~/Videos --model run/model --ray
    """
    from mmn_index.index_build.build import check_free
    from mmn_index.index_build.build_plan import Hubs

    hubs = Hubs(None if bank is None else read_sentences(bank), hub_kind, hub)
    ingest = Ingest(**{field.name: options.pop(field.name) for field in fields(Ingest)})
    name, inputs = sort_inputs(sources, model)
    check_free(out, overwrite=overwrite)
    check_sharing(share, cluster, options)
    stored = store_of(store, share)
    with session_of(cluster) as session, chosen_model(name, ingest) as chosen:
        place, window = pick_device(device), ingest.rule(chosen)
        wanted = Wanted(out, score, hubs, self_contained, place, device != "cpu", window, overwrite)
        films = (
            None if is_features(inputs) else _films(inputs, chosen, ingest, wanted, share, session, options)
        )
        features = inputs[0] if films is None else films.features
        if share is not None:
            tell_shard(build_part(chosen, wanted, share, features, films, options), wanted, stored)
            return
        if session is not None:
            left_out = build_on(session, chosen, wanted, features, films, options)
            tell_left_out(left_out, out, films.then if films else "")
            return
        result = _build_whole(chosen, wanted, features, films, options)
    _tell_whole(result, bank, trained=chosen.info.spaces == 2)
    tell_left_out([*(films.left_out if films else ()), *result.left_out], out, films.then if films else "")


def _films(
    videos: Sequence[Path],
    chosen: "ChosenModel",
    ingest: Ingest,
    wanted: Wanted,
    share: "Share | None",
    session: "Session | None",
    options: Mapping[str, Any],
) -> Films:
    """Describe videos, once it is clear that an index can be made of them."""
    from mmn_index.index_build.build_plan import check_wish

    wish = wish_of(options)
    check_wish(chosen.info, wanted.score, wanted.hubs, wish, self_contained=wanted.self_contained)
    found = found_videos(videos, ingest, wanted.out)
    check_tables(options["videos"], options["metadata"], list(found.videos))
    strict, gpus = options["strict"], wanted.gpus
    where = wanted.out, wanted.device
    films = describe_videos(
        found, chosen, ingest, *where, strict=strict, share=share, session=session, gpus=gpus
    )
    if not films.left_out or options["videos"] is not None:
        return films  # with --videos, `sync` would also add what is not to be indexed
    prefix, links, metadata = ingest.prefix, ingest.follow_links, options["metadata"]
    then = catch_up(videos, wanted.out, prefix=prefix, follow_links=links, metadata=metadata)
    return replace(films, then=then)


def _build_whole(
    chosen: "ChosenModel",
    wanted: Wanted,
    features: Path,
    films: Films | None,
    options: Mapping[str, Any],
) -> "BuildResult":
    from mmn_index.index_build.build import build as run

    with open_source(features) as opened, progress("checking features") as report:
        only = films.ids if films else None
        return run(
            chosen.path,
            made_source(opened, report, only=only, windows=wanted.windows, **options),
            wanted.out,
            score=wanted.score,
            hubs=wanted.hubs,
            overwrite=wanted.overwrite,
            self_contained=wanted.self_contained,
            device=wanted.device,
            report=partial(report, what="embedding videos"),
        )


def _tell_whole(result: "BuildResult", bank: Path | None, *, trained: bool) -> None:
    _tell(result)
    if result.bank is not None:
        whose = f"of {bank}" if bank else "that the model was trained with"
        say(f"Hubs are measured by {result.bank:,} sentences {whose}; hub correction {result.hub:g}.")
    elif not trained:
        say("Scores compare moments of one search; for probabilities, run `mmn-index calibrate`.")
    else:
        say(
            "No hub correction: the checkpoint does not say which sentences it was trained with. Name some "
            "with --bank."
        )


@click.command()
@click.argument("features", type=click.Path(path_type=Path))
@index_option
@source_options
def add(features: Path, root: Path, device: str | None, **source: Any) -> None:
    """Add the videos of FEATURES to an index.

    \b
    Example:
        mmn-index add new.h5
    """
    _add(features, root, device, update=False, **source)


@click.command()
@click.argument("features", type=click.Path(path_type=Path))
@index_option
@source_options
def update(features: Path, root: Path, device: str | None, **source: Any) -> None:
    """Add the videos of FEATURES to an index, replacing those that it already has.

    \b
    Example:
        mmn-index update again.h5
    """
    _add(features, root, device, update=True, **source)


def _add(features: Path, root: Path, device: str | None, *, update: bool, **source: Any) -> None:
    from mmn_index.index_build.build import add as run

    with open_source(features) as opened, progress("checking features") as report:
        embedding = partial(report, what="embedding videos")
        made = made_source(opened, report, **source)
        result = run(root, made, update=update, device=pick_device(device), report=embedding)
    _tell(result)
    tell_left_out(result.left_out, root)


def _tell(result: "BuildResult") -> None:
    for remark in result.remarks:
        say(remark)
    videos = counted(result.videos, "video")
    say(f"{result.root}: {result.moments:,} moments of {videos}, {result.entry.reason}.")
