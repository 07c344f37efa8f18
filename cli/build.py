"""mmn-index build, add and update: a checkpoint and features to an index."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .features import feature_options, open_source
from .ingest import (
    Ingest,
    chosen_model,
    describe_videos,
    ingest_options,
    is_features,
    pick_device,
    sort_inputs,
)
from .left_out import strict_option, tell_left_out
from .numbers import Real
from .output import progress, say
from .sentences import read_sentences

if TYPE_CHECKING:
    from mmn_index.index_build.build import BuildResult
    from mmn_index.index_build.source import Source

    from mmn_index.features import FeatureFile
    from mmn_index.left_out import LeftOut
    from mmn_index.tube_videos import TubeVideos
    from mmn_index.windows import WindowRule

_VECTORS = "auto, exact, ivf-pq, ivf-sq8, ivf-rabitq or a FAISS factory string such as IVF4096,SQ8"


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What build, add and update have in common."""
    for option in (
        click.option(
            "--videos",
            type=click.Path(path_type=Path),
            help="Annotation file: index only its videos, with its durations.",
        ),
        click.option(
            "--metadata",
            type=click.Path(path_type=Path),
            help="CSV or Parquet with a column video_id and columns of your own, for --where.",
        ),
        click.option(
            "--device", help="Where models run, such as cpu or cuda.  [default: a GPU if there is one]"
        ),
    ):
        command = option(command)
    return vector_options(feature_options(strict_option(command)))


def vector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which candidate index."""
    command = click.option(
        "--vectors", default="auto", show_default=True, help=f"Candidate index: {_VECTORS}."
    )(command)
    command = click.option(
        "--max-latency",
        type=float,
        help="Milliseconds that a search may take: what this machine scans within "
        "them is scanned, the rest gets a candidate index.  [default: up to 200,000 moments are "
        "scanned]",
    )(command)
    return click.option(
        "--max-bytes-per-moment", type=Real(), help="Room for embeddings and candidate index together."
    )(command)


def self_contained_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Whether what is written needs nothing else."""
    return click.option(
        "--self-contained",
        is_flag=True,
        help="Keep a copy of a text encoder that training left as it was; else only its name and SHA-256 are "
        "kept.",
    )(command)


def index_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The index that a command works on."""
    return click.option(
        "--index",
        "root",
        type=click.Path(path_type=Path),
        envvar="MMN_INDEX",
        default="collection.mmn",
        show_default=True,
        show_envvar=True,
        help="Index directory.",
    )(command)


@click.command()
@click.argument("sources", metavar="VIDEOS...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
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
    help="Sentences to measure moments against, so that hubs can be corrected: an annotation file, or text "
    "with a sentence a line. If not given, those that the model was trained with.",
)
@click.option("--hub", type=float, help="Default hub correction, from 0 (none) to 1; 0.5 if not given.")
@click.option("--hub-kind", default="csls", show_default=True, help="csls or softmax.")
@click.option(
    "--overwrite", is_flag=True, help="Replace an index that is there, once the new one is complete."
)
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
    self_contained: bool,
    device: str | None,
    **options: Any,
) -> None:
    """Build a searchable index of VIDEOS, files or folders of files: features, then moments.

    Without --model a pre-trained dual encoder is used, which needs no training. A feature file can take the
    place of the videos; `build CHECKPOINT FEATURES` is another way to say that.

    Killed or interrupted, the same command resumes where it stopped.

    \b
    Examples:
        mmn-index build ~/Videos
        mmn-index build ~/Videos --model run/model -o collection.mmn
        mmn-index build run/model features.h5 -o collection.mmn
        mmn-index build features.h5 --model run/model --metadata cameras.csv --bank train.json
    """
    from mmn_index.index_build.build import Hubs, check_free, check_wish
    from mmn_index.index_build.build import build as run
    from mmn_index.index_build.candidates import Wish

    hubs = Hubs(None if bank is None else read_sentences(bank), hub_kind, hub)
    ingest = Ingest(**{field.name: options.pop(field.name) for field in fields(Ingest)})
    name, inputs = sort_inputs(sources, model)
    check_free(out, overwrite=overwrite)
    place = pick_device(device)
    with chosen_model(name, ingest) as chosen:
        features, names, left_out = inputs[0], None, list["LeftOut"]()
        if not is_features(inputs):
            strict = options["strict"]
            wish = Wish(options["vectors"], options["max_bytes_per_moment"], options["max_latency"])
            check_wish(chosen.info, score, hubs, wish, self_contained=self_contained)
            _check_tables(options["videos"], options["metadata"])
            features, names, left_out = describe_videos(inputs, chosen, ingest, out, place, strict=strict)
        with open_source(features) as opened, progress("checking features") as report:
            made = _source(opened, report, only=names, windows=ingest.rule(chosen), **options)
            result = run(
                chosen.path,
                made,
                out,
                score=score,
                hubs=hubs,
                overwrite=overwrite,
                self_contained=self_contained,
                device=place,
                report=partial(report, what="embedding videos"),
            )
    _tell(result)
    _tell_hubs(result, bank, trained=chosen.info.spaces == 2)
    tell_left_out([*left_out, *result.left_out], out)


def _check_tables(videos: Path | None, metadata: Path | None) -> None:
    """Read what the options name, so that a mistake shows before hours of work."""
    from mmn_index.index_build.columns import read_own

    from mmn_index.evaluation.annotations import read_durations
    from mmn_index.index.segment_files import VIDEO_COLUMNS

    if videos is not None:
        read_durations(videos)
    if metadata is not None:
        read_own(metadata, VIDEO_COLUMNS)


def _tell_hubs(result: "BuildResult", bank: Path | None, *, trained: bool) -> None:
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
    """Add the videos of FEATURES to an index, in place of those that it has already.

    \b
    Example:
        mmn-index update again.h5
    """
    _add(features, root, device, update=True, **source)


def _add(features: Path, root: Path, device: str | None, *, update: bool, **source: Any) -> None:
    from mmn_index.index_build.build import add as run

    with open_source(features) as opened, progress("checking features") as report:
        embedding = partial(report, what="embedding videos")
        made = _source(opened, report, **source)
        result = run(root, made, update=update, device=pick_device(device), report=embedding)
    _tell(result)
    tell_left_out(result.left_out, root)


def _source(
    features: "FeatureFile | TubeVideos",
    report: Callable[[int, int], None],
    videos: Path | None,
    metadata: Path | None,
    vectors: str,
    max_bytes_per_moment: float | None,
    max_latency: float | None,
    strict: bool,
    only: Sequence[str] | None = None,
    windows: "WindowRule | None" = None,
) -> "Source":
    from mmn_index.index_build.candidates import Wish
    from mmn_index.index_build.source import Source

    from mmn_index.evaluation.annotations import read_durations

    durations = read_durations(videos) if videos else None
    if only is not None:  # the file may hold others, of earlier commands
        durations = _given(durations, only, videos)
    wish = Wish(vectors, max_bytes_per_moment, max_latency)
    return Source(features, durations, videos, metadata, wish, windows, strict, report)


def _given(
    annotated: Mapping[str, float | None] | None, only: Sequence[str], videos: Path | None
) -> dict[str, float | None]:
    """Seconds of the videos that were given; where there are annotations, of those that they name."""
    from mmn_index.errors import AnnotationError
    from mmn_index.ids import likely_cause

    if annotated is None:
        return dict.fromkeys(only)
    if found := {name: annotated[name] for name in only if name in annotated}:
        return found
    strangers = [*annotated]
    raise AnnotationError(
        f"{videos}: names none of the {len(only):,} videos that were given, e.g. '{only[0]}' (it has "
        f"'{strangers[0]}'). {likely_cause(strangers, only)}".rstrip()
    )


def _tell(result: "BuildResult") -> None:
    for remark in result.remarks:
        say(remark)
    say(f"{result.root}: {result.moments:,} moments of {result.videos:,} videos, {result.entry.reason}.")
