"""mmn-index build, add and update: a checkpoint and features to an index."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .features import feature_options, open_features
from .left_out import strict_option, tell_left_out
from .numbers import Real
from .output import progress, say
from .sentences import read_sentences

if TYPE_CHECKING:
    from mmn_index.index_build.build import BuildResult
    from mmn_index.index_build.source import Source

    from mmn_index.features import FeatureFile

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
        click.option("--device", default="cpu", show_default=True),
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
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("features", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Index directory, such as collection.mmn.",
)
@click.option(
    "--score",
    default="collection",
    show_default=True,
    help="Default ranking: collection, product, contrastive or iou.",
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
    checkpoint: Path,
    features: Path,
    out: Path,
    score: str,
    bank: Path | None,
    hub: float | None,
    hub_kind: str,
    overwrite: bool,
    self_contained: bool,
    device: str,
    **source: Any,
) -> None:
    """Embed every proposal of every video of FEATURES with CHECKPOINT and write a searchable index.

    Killed or interrupted, the same command resumes where it stopped.

    \b
    Example:
        mmn-index build run/model features.h5 -o collection.mmn
        mmn-index build run/model features.h5 -o collection.mmn --metadata cameras.csv
        mmn-index build converted features.h5 -o collection.mmn --bank train.json
    """
    from mmn_index.index_build.build import Hubs
    from mmn_index.index_build.build import build as run

    hubs = Hubs(None if bank is None else read_sentences(bank), hub_kind, hub)
    with open_features(features) as opened, progress("checking features") as report:
        made = _source(opened, report, **source)
        result = run(
            checkpoint,
            made,
            out,
            score=score,
            hubs=hubs,
            overwrite=overwrite,
            self_contained=self_contained,
            device=device,
            report=partial(report, what="embedding videos"),
        )
    _tell(result)
    if result.bank is None:
        say(
            "No hub correction: the checkpoint does not say which sentences it was trained with. Name some "
            "with --bank."
        )
    else:
        whose = f"of {bank}" if bank else "that the model was trained with"
        say(f"Hubs are measured by {result.bank:,} sentences {whose}; hub correction {result.hub:g}.")
    tell_left_out(result.left_out, out)


@click.command()
@click.argument("features", type=click.Path(path_type=Path))
@index_option
@source_options
def add(features: Path, root: Path, device: str, **source: Any) -> None:
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
def update(features: Path, root: Path, device: str, **source: Any) -> None:
    """Add the videos of FEATURES to an index, in place of those that it has already.

    \b
    Example:
        mmn-index update again.h5
    """
    _add(features, root, device, update=True, **source)


def _add(features: Path, root: Path, device: str, *, update: bool, **source: Any) -> None:
    from mmn_index.index_build.build import add as run

    with open_features(features) as opened, progress("checking features") as report:
        embedding = partial(report, what="embedding videos")
        made = _source(opened, report, **source)
        result = run(root, made, update=update, device=device, report=embedding)
    _tell(result)
    tell_left_out(result.left_out, root)


def _source(
    features: "FeatureFile",
    report: Callable[[int, int], None],
    videos: Path | None,
    metadata: Path | None,
    vectors: str,
    max_bytes_per_moment: float | None,
    max_latency: float | None,
    strict: bool,
) -> "Source":
    from mmn_index.index_build.candidates import Wish
    from mmn_index.index_build.source import Source

    from mmn_index.evaluation.annotations import read_durations

    durations = read_durations(videos) if videos else None
    wish = Wish(vectors, max_bytes_per_moment, max_latency)
    return Source(features, durations, videos, metadata, wish, None, strict, report)


def _tell(result: "BuildResult") -> None:
    for remark in result.remarks:
        say(remark)
    say(f"{result.root}: {result.moments:,} moments of {result.videos:,} videos, {result.entry.reason}.")
