"""What is to be indexed, as the options of build, add and update say it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .features import feature_options
from .left_out import strict_option
from .numbers import Real

if TYPE_CHECKING:
    from mmn_index.index_build.candidates import Wish
    from mmn_index.index_build.source import Source

    from mmn_index.features import FeatureFile
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
        help="Milliseconds that a search may take. As many moments as this machine scans in that "
        "time are scanned; the rest get a candidate index.  [default: up to 200,000 moments are "
        "scanned]",
    )(command)
    return click.option(
        "--max-bytes-per-moment",
        type=Real(),
        help="Bytes per moment, for embeddings and candidate index together.",
    )(command)


def wish_of(options: Mapping[str, Any]) -> "Wish":
    """Which candidate index."""
    from mmn_index.index_build.candidates import Wish

    return Wish(options["vectors"], options["max_bytes_per_moment"], options["max_latency"])


def check_tables(videos: Path | None, metadata: Path | None, ids: Sequence[str]) -> None:
    """Read what the options name, so that a mistake shows before hours of work.

    Args:
        ids: of the videos that are given.

    Raises:
        AnnotationError: a file cannot be read, or names none of these videos.
    """
    from mmn_index.index_build.columns import read_own
    from mmn_index.index_build.metadata import rows_for

    from mmn_index.evaluation.annotations import read_durations
    from mmn_index.index.segment_files import VIDEO_COLUMNS

    if videos is not None:
        ids = list(_given(read_durations(videos), ids, videos))
    if metadata is not None:
        rows_for(read_own(metadata, VIDEO_COLUMNS), ids, metadata)


def made_source(
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
    """What is to be indexed, as the options say it.

    Args:
        only: the videos that were given; the features may be of others, too.

    Raises:
        AnnotationError: the annotations cannot be read, or name none of these.
    """
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
