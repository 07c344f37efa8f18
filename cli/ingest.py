"""The videos that `build` is given: which model describes them, what it will take, and their features."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmn_index.readable import counted, weight

from .cluster import tell_described
from .features import stated_rate
from .film_bar import film_progress
from .left_out import add_apart
from .numbers import Real, Whole
from .output import say, short_path
from .paths import LocalPath

if TYPE_CHECKING:
    from mmn_index.index_build.extract import Describers, ExtractResult
    from mmn_index.index_build.ingest import ChosenModel, Need
    from mmn_index.index_build.share import Share
    from mmn_index.index_build.video_files import VideoFiles

    from mmn_index.cluster.session import Session
    from mmn_index.left_out import LeftOut
    from mmn_index.video.backbones import Backbone
    from mmn_index.windows import WindowRule

_HDF5 = (".h5", ".hdf5", ".hdf")


@dataclass(frozen=True)
class Ingest:
    """How videos become features and windows, as the options say it."""

    template: str
    context: float
    window: float | None
    backbone: str | None
    features_out: Path | None
    workers: int | None
    prefix: str
    follow_links: bool
    yes: bool

    def rule(self, model: "ChosenModel") -> "WindowRule | None":
        """How videos are cut; None as the model asks for.

        Raises:
            ConfigError: the model takes tubes, which are not cut.
        """
        from mmn_index.errors import ConfigError
        from mmn_index.windows import WindowRule

        if self.window is not None and model.info.tubes:
            raise ConfigError("--window cuts whole videos; a tube has one map: leave it out.")
        if self.window is None:
            return None
        return WindowRule(self.window or None, coarse=model.info.spaces == 1)


def ingest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How videos are described and cut."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--window",
        type=Real(0),
        help="Seconds of a window. Longer videos are cut into overlapping windows; 0 never cuts.  [default: "
        "64 for a dual encoder; as long as its training videos for a trained model]",
    ),
    click.option(
        "--template",
        default="{}",
        show_default=True,
        help='Text around every sentence for a dual encoder, such as "a video of {}".',
    ),
    click.option(
        "--context",
        type=Real(0, 1),
        default=0.5,
        show_default=True,
        help="For a dual encoder: how much of a moment's surroundings is subtracted from the moment.",
    ),
    click.option(
        "--backbone",
        help="What describes frames, if the model does not name it: 'pixels', a hub id or a directory.",
    ),
    click.option(
        "--features-out",
        type=LocalPath(dir_okay=False),
        help="HDF5 file that keeps the features.  [default: beside the index, such as "
        "collection.features.h5]",
    ),
    click.option(
        "--workers",
        type=Whole(1),
        help="Processes that decode.  [default: one per core for 'pixels', else 1]",
    ),
    click.option("--prefix", default="", help="Text before each video's id, such as 'camB/'."),
    click.option("--follow-links", is_flag=True, help="Enter folders that are linked."),
    click.option("-y", "--yes", is_flag=True, help="Do not ask before it starts."),
)


def sort_inputs(sources: Sequence[Path], model: str | None) -> tuple[str, list[Path]]:
    """The model and what is to be indexed. Without --model the first of several may be a model, and before a
    feature file it is one.

    Raises:
        ConfigError: they do not go together, or something is not there.
    """
    from mmn_index.index_build.ingest import is_model

    from mmn_index.errors import ConfigError
    from mmn_index.hub import DEFAULT_MODEL

    inputs = list(sources)
    if model is None and len(inputs) > 1 and (is_model(inputs[0]) or _is_feature_file(inputs[1])):
        model = str(inputs.pop(0))
    for path in inputs:
        if _is_feature_file(path) and len(inputs) > 1:
            raise ConfigError(f"{path}: is a feature file; give one of those, or videos, and not both.")
        if not (path.exists() or _is_feature_file(path)):
            raise ConfigError(f"{path}: no such file or folder.")
        if is_model(path):
            raise ConfigError(f"{path}: is a model, expected videos or features. Name it with --model.")
    return model or DEFAULT_MODEL, inputs


def is_features(inputs: Sequence[Path]) -> bool:
    """Whether it is a feature file, or a folder of NumPy files without videos."""
    (path, *rest) = inputs
    if rest or _is_feature_file(path):
        return not rest
    return path.is_dir() and not is_film(path) and any(path.rglob("*.np[yz]"))


def _is_feature_file(path: Path) -> bool:
    return path.suffix.lower() in _HDF5


def is_film(path: Path) -> bool:
    """Whether a folder has video files in it."""
    from mmn_index.video.suffixes import SUFFIXES

    return any(Path(name).suffix.lower() in SUFFIXES for _, _, names in os.walk(path) for name in names)


def pick_device(device: str | None) -> str:
    """The device that was asked for; else a GPU, where there is one."""
    if device is not None:
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def chosen_model(name: str, ingest: Ingest) -> "Iterator[ChosenModel]":
    """The model that a name stands for; what is written of it is removed in the end."""
    import tempfile

    from mmn_index.index_build.ingest import choose_model

    from mmn_index.zero_shot import ZeroShotConfig

    with tempfile.TemporaryDirectory(prefix="mmn-index-") as aside:
        yield choose_model(name, Path(aside), ZeroShotConfig(ingest.template, ingest.context))


@dataclass(frozen=True)
class Films:
    """Videos that were described.

    Attributes:
        features: the file of their features.
        ids: of those that were given and have features.
        left_out: what could not be described.
        common: what all shards of a build from these files have in common.
        then: how what was left out comes in; empty where nothing was, or there is no such way.
    """

    features: Path
    ids: list[str]
    left_out: list["LeftOut"]
    common: Mapping[str, str]
    then: str = ""


def found_videos(videos: Sequence[Path], ingest: Ingest, out: Path) -> "VideoFiles":
    """The video files that `build` is given.

    Raises:
        VideoError, ConfigError: see `find_videos`.
    """
    from mmn_index.index_build.video_files import find_videos

    return find_videos(
        videos, prefix=ingest.prefix, follow_links=ingest.follow_links, apart=partial(add_apart, out)
    )


def describe_videos(
    found: "VideoFiles",
    model: "ChosenModel",
    ingest: Ingest,
    out: Path,
    device: str,
    *,
    strict: bool,
    share: "Share | None" = None,
    session: "Session | None" = None,
    gpus: bool = True,
) -> Films:
    """Compute the features of videos, after saying what it will take.

    Args:
        share: of the files; perhaps none of it gives features.
        session: a cluster whose workers do it.
        gpus: whether they get GPUs, where it has some.
    """
    from mmn_index.index_build.extract import Describers, nothing_described, usual_workers
    from mmn_index.index_build.ingest import check_described, described_by, needed
    from mmn_index.index_build.shards import files_of

    from mmn_index.errors import ConfigError, VideoError
    from mmn_index.feature_shards import shard_file
    from mmn_index.feature_writer import check_free
    from mmn_index.models import load_model
    from mmn_index.places import beside
    from mmn_index.video.backbones import load_backbone

    if model.info.tubes:
        raise ConfigError(
            f"{model.info.name}: is a model over tubes, and takes a file of tubes in place of videos. "
            "Make it with `mmn-index tubes`, then give it here."
        )
    name = described_by(model, ingest.backbone)
    whole = out.with_suffix("") if out.suffix == ".mmn" else out
    features = ingest.features_out or beside(whole, ".features.h5")
    features = features if share is None else shard_file(features, share.number, share.of)
    with _own_words(features):
        check_free(features)
    on = "cpu" if name == "pixels" else device
    backbone = load_backbone(name, on)
    check_described(backbone, model.info)
    if session is None and model.info.spaces == 2:  # of a dual encoder, the backbone is a part
        load_model(model.path, device)  # its text encoder may lie elsewhere, and be gone
    rate = stated_rate() or backbone.rate
    workers = ingest.workers or usual_workers(name)
    common = files_of(found, backbone.name, rate) if share else {}
    found = found if share is None else share.of_files(found)
    with nullcontext() if share is None else suppress(VideoError, StopIteration):
        need = needed(found, model.info, backbone, rate, ingest.rule(model) or model.info.windows, out)
        how = f"{workers} decoding" if session is None else "a cluster decoding"
        _ask(need, f"{name} on {on}, {rate:g} snippets a second, {how}", yes=ingest.yes)
    helpers = None if session is None else Describers(session, name, gpus=gpus)
    result = _extracted(found, features, backbone, rate, workers, helpers, strict=strict)
    if not result.video_ids and share is None:
        raise VideoError(nothing_described(result.left_out))
    return Films(features, list(result.video_ids), result.left_out, common)


def _extracted(
    found: "VideoFiles",
    features: Path,
    backbone: "Backbone",
    rate: float,
    workers: int,
    helpers: "Describers | None",
    *,
    strict: bool,
) -> "ExtractResult":
    from mmn_index.index_build.extract import extract_found

    from mmn_index.places import check_folder

    check_folder(features.parent)
    with _own_words(features), film_progress("extracting features") as report:
        result = extract_found(
            found,
            features,
            backbone=backbone,
            rate=rate,
            workers=workers,
            strict=strict,
            report=report,
            helpers=helpers,
        )
    tell_described(helpers.done if helpers else ())
    for remark in result.remarks:
        say(remark)
    say(f"{short_path(features)}: features of {counted(result.extracted + result.skipped, 'video')}.")
    return result


@contextmanager
def _own_words(features: Path) -> Iterator[None]:
    """What `extract` says of its file, for somebody who did not name it."""
    from mmn_index.errors import BusyError, FeatureError

    try:
        yield
    except BusyError as error:
        raise BusyError(
            f"{short_path(features)}: another process extracts these features. If it is the same build, wait "
            "until it has finished: it makes this index. Else choose another place with -o."
        ) from error
    except FeatureError as error:
        first = str(error).partition(" Features of two kinds")[0]
        raise FeatureError(
            f"{first} Remove {short_path(features)}, or keep these with --features-out in another file."
        ) from error


def _ask(need: "Need", how: str, *, yes: bool) -> None:
    """Say what it will take; where somebody sits at a terminal, ask whether to begin."""
    takes = f"about {weight(need.features + need.index)} of features and index, " if need.seconds else ""
    say(f"{counted(need.videos, 'video')}, {need.length}: {takes}{weight(need.free)} are free. {how}.")
    if not yes and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm("Begin?", default=True, abort=True, err=True)
