"""mmn-index train: annotations and features to a checkpoint."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .build import self_contained_option
from .features import feature_options, open_features, usable_split
from .left_out import strict_option, tell_left_out
from .numbers import Whole
from .output import progress, say

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mmn_index.train.config import Setting, TrainConfig
    from mmn_index.train.resume import TrainResult

    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.evaluation.tube_truths import TubeTruths
    from mmn_index.features import FeatureFile
    from mmn_index.left_out import LeftOut
    from mmn_index.tube_file import TubeFile


@click.command()
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="Training split.")
@click.option(
    "--val",
    type=click.Path(path_type=Path),
    help="Validation split, measured after each epoch. With `train.select: best` it decides "
    "which epoch is kept.",
)
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    required=True,
    help="Snippet features: HDF5, or a folder of .npy files; for stvg the tubes of videos.",
)
@click.option(
    "--config",
    default="collection",
    show_default=True,
    help="collection, charades, activitynet, tacos, stvg, stvg-corrected, ucf-moments, playhouse, "
    "playhouse-small, or a YAML file.",
)
@click.option("--text-model", help="Hub id or local directory of the text encoder; overrides the setting's.")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="Begin with the weights of this checkpoint, text encoder included.",
)
@click.option(
    "--hard-negatives",
    type=click.Path(path_type=Path),
    help="File that `mmn-index mine` wrote; train.hard_negatives says how many of its videos go "
    "into a group.",
)
@click.option("--seed", type=Whole(0), help="Overrides the setting's.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="cpu or cuda; with torchrun, cuda is one GPU per process.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the run in OUT, or begin it if there is none.",
)
@self_contained_option
@click.option(
    "--tensorboard", is_flag=True, help="Write OUT/tensorboard too (needs the package tensorboard)."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="New folder for the run.",
)
@feature_options
@strict_option
def train(
    annotations: Path,
    val: Path | None,
    features: Path,
    config: str,
    text_model: str | None,
    init: Path | None,
    hard_negatives: Path | None,
    seed: int | None,
    device: str,
    resume: bool,
    self_contained: bool,
    tensorboard: bool,
    out: Path,
    strict: bool,
) -> None:
    """Train an MMN. OUT/model is the checkpoint, OUT/metrics.jsonl has a line per epoch, OUT/curves.png shows
    them.

    An interrupted run resumes with --resume and ends with the same weights. In several processes:
    torchrun --no-python --nproc-per-node 4 mmn-index train ... --device cuda

    \b
    Example:
        mmn-index train --annotations train.json --val val.json --features f.h5 --config mine.yaml -o run
    """
    # First of all, before anything that takes its time: a wrong name of a model is told at once.
    setting = _setting(config, text_model, init, seed)
    from mmn_index.train.distributed import first_process, world
    from mmn_index.train.run import train as run

    first = first_process()
    with (
        progress("training") as report,
        _opened(features, setting, quiet=not first) as opened,
        world(device) as (processes, _),
    ):
        told = report if first else _silent
        fitting = _splits(annotations, val, opened, strict) if first else None
        split, held_out, left_out = processes.share(fitting)  # all processes leave out the same
        if first:
            tell_about(split, held_out, setting.train)
        result = run(
            setting,
            split,
            opened,
            out,
            validation=held_out,
            init=init,
            hard_negatives=hard_negatives,
            device=device,
            resume=resume,
            tensorboard=tensorboard,
            self_contained=self_contained,
            tell=say if first else _silent,
            report=lambda what, done, total, note: told(done, total, note, what),
        )
    if first:
        _tell_result(result, left_out, out, alone=processes.size == 1)


def _silent(*_: Any, **__: Any) -> None:
    """What the other processes of a run report."""


def _setting(config: str, text_model: str | None, init: Path | None, seed: int | None) -> "Setting":
    """The named setting with what options override."""
    from mmn_index.hub import model_folder

    if init is not None and text_model is not None:
        raise click.UsageError(
            "--init brings its text encoder along: leave out --text-model.", click.get_current_context()
        )
    if text_model:
        model_folder(text_model)
    from mmn_index.train.distributed import first_process
    from mmn_index.train.settings import load_setting, override

    changes: dict[str, dict[str, Any]] = {}
    if text_model is not None:
        changes["model"] = {"text_model": text_model}
    if seed is not None:
        changes["train"] = {"seed": seed}
    setting = override(load_setting(config), changes, "options")
    if init is None and not text_model and first_process():
        tell_text_model(setting.model.text_model)
    return setting


def _opened(
    features: Path, setting: "Setting", *, quiet: bool
) -> "AbstractContextManager[FeatureFile | TubeFile]":
    """The features that a setting trains on."""
    from mmn_index.tube_file import TubeFile

    return TubeFile(features) if setting.model.tubes else open_features(features, quiet=quiet)


def _splits(
    annotations: Path, val: Path | None, features: "FeatureFile | TubeFile", strict: bool
) -> "tuple[Annotations | TubeTruths, Annotations | TubeTruths | None, list[LeftOut]]":
    """What can be trained on, what can be validated on, and what is left out of them."""
    from mmn_index.tube_file import TubeFile

    if isinstance(features, TubeFile):
        return _tube_splits(annotations, val, features, strict)
    split, left_out = usable_split(annotations, features, features.dim, strict=strict)
    if val is None:
        return split, None, left_out
    held_out, more = usable_split(val, features, features.dim, strict=strict)
    return split, held_out, [*dict.fromkeys([*left_out, *more])]


def _tube_splits(
    annotations: Path, val: Path | None, tubes: "TubeFile", strict: bool
) -> "tuple[TubeTruths, TubeTruths | None, list[LeftOut]]":
    """As `_splits`. Videos without a tube cannot be trained on; in a validation they count 0."""
    from mmn_index.errors import FeatureError
    from mmn_index.evaluation.tube_truths import read_truths
    from mmn_index.evaluation.usable_tubes import usable_tubes
    from mmn_index.left_out import refuse

    split, left_out = usable_tubes(read_truths(annotations), tubes, with_tubes=True)
    held_out, more = (None, []) if val is None else usable_tubes(read_truths(val), tubes)
    left_out = [*dict.fromkeys([*left_out, *more])]
    if strict:
        refuse(left_out, FeatureError)
    return split, held_out, left_out


def _tell_result(result: "TrainResult", left_out: "Sequence[LeftOut]", out: Path, *, alone: bool) -> None:
    if result.before:
        say(
            f"{out}: this run has ended already, nothing was trained. Train on with --init "
            f"{result.checkpoint} and a new -o."
        )
    scores = " ".join(f"{name} {value:.1f}" for name, value in (result.validation or {}).items())
    say(f"{result.checkpoint}: weights of epoch {result.epoch}{', validation ' + scores if scores else ''}.")
    draw_curves(out)
    # To torchrun another exit code is a failure: it would print a traceback, or start the run again.
    with nullcontext() if alone else suppress(click.exceptions.Exit):
        tell_left_out(left_out, out)


def tell_text_model(name: str) -> None:
    """Which text encoder a setting takes, and whence; where there is none, the trainer says so."""
    from mmn_index.hub import local_folder

    folder = local_folder(name) if name else None
    if folder is not None:
        say(f"Text encoder {name}, as the setting says (--text-model names another), from {folder}.")
    elif name:
        say(f"The text encoder {name}, as the setting says, is not on this machine: the Hub is asked.")


def tell_about(
    split: "Annotations | TubeTruths", held_out: "Annotations | TubeTruths | None", config: "TrainConfig"
) -> None:
    """Remarks on what will be trained on and how an epoch is chosen."""
    from mmn_index.evaluation.annotations import Annotations

    videos = split.videos if isinstance(split, Annotations) else ()
    if config.alike_labels and (without := sum(video.labels is None for video in videos)):
        say(
            f"{split.path}: {without} of {len(videos)} videos have no labels; of their sentences only equal "
            "texts count as alike (train.alike_labels)."
        )
    if held_out is None and config.select == "best":
        if config.hold_out:
            say(
                f"No validation split: {config.hold_out:.0%} of the training videos are held out to choose "
                "by (train.hold_out)."
            )
        else:
            say("No validation split: the last epoch is kept.")


def draw_curves(out: Path) -> None:
    """OUT/curves.png out of OUT/metrics.jsonl."""
    from mmn_index.train.curves import draw

    from mmn_index.errors import DependencyError

    try:
        draw(out / "metrics.jsonl", out / "curves.png")
    except DependencyError as error:
        say(f"No curves.png: {error}")
    except OSError as error:
        say(f"No curves.png: it cannot be written ({error.strerror}).")
