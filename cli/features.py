"""How commands open snippet features: which arrays of a file, and what is said of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .numbers import Real
from .output import progress, say
from .sentences import read_split

if TYPE_CHECKING:
    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.features import FeatureFile
    from mmn_index.left_out import LeftOut
    from mmn_index.tube_videos import TubeVideos

_NAMES, _RATE = "mmn_index.feature_names", "mmn_index.rate"


def feature_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that reads features understands; `open_features` looks it up."""
    command = click.option(
        "--feature-name",
        multiple=True,
        metavar="NAME",
        expose_value=False,
        callback=_keep_names,
        help="Which features to read if videos have several arrays of them, such as rgb and "
        "flow; rgb,flow reads both side by side.",
    )(command)
    return click.option(
        "--rate",
        type=Real(0, min_open=True),
        expose_value=False,
        callback=_keep_rate,
        help="Snippets per second: how many to compute from videos, or how many features have, "
        "if their file does not say it.",
    )(command)


def chosen_names() -> tuple[str, ...]:
    """What --feature-name says."""
    names: tuple[str, ...] = click.get_current_context().meta.get(_NAMES, ())
    return names


def stated_rate() -> float | None:
    """What --rate says."""
    rate: float | None = click.get_current_context().meta.get(_RATE)
    return rate


@contextmanager
def open_features(path: Path, *, quiet: bool = False) -> "Iterator[FeatureFile]":
    """The features of a command's options; what a user should know of the file is said, unless it is quiet.

    Raises:
        FeatureError: it cannot be read.
    """
    from mmn_index.features import FeatureFile

    rate = click.get_current_context().meta.get(_RATE)
    with FeatureFile(path, chosen_names(), rate) as opened:
        for remark in () if quiet else opened.remarks:
            say(remark)
        yield opened


@contextmanager
def open_source(path: Path) -> "Iterator[FeatureFile | TubeVideos]":
    """What an index is built of: features, or a file of tubes.

    Raises:
        FeatureError: it cannot be read, or options are for the other kind.
    """
    from mmn_index.errors import FeatureError
    from mmn_index.tube_file import is_tube_file
    from mmn_index.tube_videos import TubeVideos

    if not is_tube_file(path):
        with open_features(path) as features:
            yield features
        return
    if chosen_names() or stated_rate():
        raise FeatureError(f"{path}: is a file of tubes: leave out --feature-name and --rate.")
    with TubeVideos(path) as tubes:
        yield tubes


def usable_split(
    path: Path, features: "FeatureFile", dim: int, *, strict: bool
) -> "tuple[Annotations, list[LeftOut]]":
    """The videos of an annotation file that the features are there for, and those that are left out.

    Raises:
        AnnotationError, FeatureError: a file cannot be used, or a video cannot and it is strict.
    """
    from mmn_index.errors import FeatureError
    from mmn_index.evaluation.usable import usable
    from mmn_index.left_out import refuse

    split = read_split(path, features.stated)
    with progress("checking features") as report:
        split, left_out = usable(split, features, dim, report=report)
    if strict:
        refuse(left_out, FeatureError)
    return split, left_out


def _keep_names(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    names = [name.strip().strip("/") for text in value for name in text.split(",")]
    context.meta[_NAMES] = tuple(dict.fromkeys(name for name in names if name))


def _keep_rate(context: click.Context, _: click.Parameter, value: float | None) -> None:
    context.meta[_RATE] = value
