"""What `mmn-index eval` measures: what the model or index can do, and what the annotations ask for."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmn_index.errors import CheckpointError, ConfigError
from mmn_index.evaluation.benchmarks import Benchmark, Files, locate

from .asked import Asked

if TYPE_CHECKING:
    from mmn_index.evaluation.data_form import DataForm


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        model: measured within videos, where features are given; None: not at all.
        tubes: it is over tubes.
        searched: the index that is searched as a whole; None: none is.
        fingerprint: of the model.
    """

    model: Path | None
    tubes: bool
    searched: Path | None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Plan:
    """Which parts are measured, and why, in one line.

    Attributes:
        windows: of sentences with several right moments or none.
        pools: the file with them.
    """

    within: bool
    collection: bool
    windows: bool
    ranking: bool
    pools: Path | None
    why: str
    tubes: bool = False  # of an index, within videos and over the collection


def subject_of(asked: Asked) -> Subject:
    """Find out what is evaluated, by small files alone, and refuse what it cannot do.

    Raises:
        CheckpointError, MomentIndexError: it is not there, or damaged.
        click.UsageError: an option that it has no use for.
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.index import MomentIndex

    searched = asked.index if asked.over or asked.mvmr else None
    if asked.indexed:
        index = MomentIndex(asked.index)
        # A model over tubes is measured by boxes, in a call of its own.
        model = None if index.manifest.tubes else index.model_path
        return Subject(model, False, searched, index.manifest.fingerprint)
    if asked.model is None:
        return Subject(None, False, searched)
    _check_there(asked.model)
    about = checkpoints.info(asked.model)
    if about.config.tubes:
        options = ("seen", "score", "nms", "mvmr", "hub", "predictions")
        if left := ", ".join(filter(None, [asked.unused(*options), "--corpus" * asked.corpus])):
            raise click.UsageError(f"{asked.model} is a model over tubes: leave out {left}.")
    elif asked.write_predictions and not asked.corpus:
        raise click.UsageError(
            "--write-predictions would keep the results of --corpus, or the answers of a model over tubes."
        )
    if asked.corpus:
        MomentIndex(asked.index).check_model(about.fingerprint, str(asked.model))
    return Subject(asked.model, about.config.tubes, searched, about.fingerprint)


def _check_there(path: Path) -> None:
    if not os.path.exists(path):
        raise CheckpointError(
            f"{path}: does not exist, expected an index (`mmn-index build` makes one) or a model "
            "(`mmn-index train`)."
        )
    if os.path.isdir(path) and not any(
        os.path.exists(path / name) for name in ("config.json", "zero_shot.json")
    ):
        raise CheckpointError(
            f"{path}: is neither an index, which has a manifest.json, nor a model, which has a config.json."
        )


def files_of(asked: Asked, benchmark: Benchmark | None) -> Files:
    """Which annotations and features are read; features are Path() where none are.

    Raises:
        AnnotationError, FeatureError, ConfigError: a file of the data set is missing, or --data has none.
        click.UsageError: an option is missing.
    """
    # A collection's moments are embedded already: no features are needed for it.
    features = asked.features if asked.model else asked.features or Path()
    if benchmark:
        there = (asked.data or benchmark.folder) / benchmark.features
        if asked.indexed and features == Path() and there.is_file():
            features = there
        return locate(benchmark, data=asked.data, annotations=asked.annotations, features=features)
    if asked.data:
        raise ConfigError("--data is the folder of a data set: name the data set with --dataset.")
    if features is None or asked.annotations is None:
        option = "--features" if features is None else "--annotations"
        raise click.UsageError(f"Missing option '{option}'.", click.get_current_context())
    return Files(asked.annotations, features)


def plan_of(asked: Asked, subject: Subject, files: Files) -> Plan:
    """Choose what fits the data.

    Raises:
        ConfigError: the model or index cannot do what the data asks for.
        click.UsageError: an option that nothing would look at.
        AnnotationError: the annotations cannot be read.
    """
    from mmn_index.evaluation.data_form import BOXES, JUDGEMENTS, form_of
    from mmn_index.index.manifest import read_manifest

    form = form_of(files.annotations)
    if subject.tubes:
        if form.kind != BOXES:
            raise ConfigError(
                f"{files.annotations}: has no boxes, and {subject.model} is a model over tubes. Expected "
                "HC-STVG's annotations."
            )
        return Plan(True, False, False, False, None, "vIoU of HC-STVG, as the annotations have boxes")
    if form.kind == BOXES and subject.searched is not None and read_manifest(subject.searched).tubes:
        if left := asked.unused("seen", "features", "predictions"):
            raise click.UsageError(f"An index of tubes has all that boxes are measured by: leave out {left}.")
        why = "vIoU of HC-STVG within each video and over the collection, as the annotations have boxes"
        return Plan(False, False, False, False, None, why, tubes=True)
    if form.kind == BOXES:
        raise ConfigError(
            f"{files.annotations}: has boxes, which a model over tubes is measured by; "
            f"{subject.searched or subject.model} is measured by moments in seconds."
        )
    if form.kind == JUDGEMENTS:
        if subject.searched is None:
            raise ConfigError(
                f"{files.annotations}: its moments have a graded relevance and lie in several videos, and a "
                "model answers within one. Give an index."
            )
        if left := asked.unused("seen", "write_predictions", "features", "predictions"):
            raise click.UsageError(
                f"Moments with a graded relevance are searched in the whole collection: leave out {left}."
            )
        why = "NDCG of TVR-Ranking over the collection, as moments have a graded relevance"
        return Plan(False, False, False, True, None, why)
    return _moments(asked, subject, files, form)


def _moments(asked: Asked, subject: Subject, files: Files, form: "DataForm") -> Plan:
    within = subject.model is not None and files.features != Path()
    reasons = []
    if asked.indexed and asked.features and subject.model is None:
        raise ConfigError(
            f"{asked.index}: has moments of tubes, and is measured over the collection. Leave out "
            "--features, or name a model over tubes in its place, with annotations that have boxes."
        )
    if within and asked.indexed and _dual(subject.model):
        if asked.features:
            raise ConfigError(
                f"{asked.index}: was built with a dual encoder, which is measured over the collection alone. "
                "Leave out --features."
            )
        within = False
    if within:
        what = "index's model" if asked.indexed else "model"
        reasons.append(f"within videos, as the {what} and features are given")
    collection = subject.searched is not None and asked.over
    if collection:
        reasons.append("over the collection, as an index is given")
    pools = files.annotations if form.pools and collection else None
    if pools:
        reasons.append("in pools, as the file has them (MVMR)")
    if form.several:
        reasons.append(f"as QVHighlights does, as {form.several:,} sentences have several right moments")
    if form.absent:
        reasons.append(f"refusals, as {form.absent:,} sentences have no moment in their video")
    return Plan(within, collection, form.windows, False, pools, "; ".join(reasons))


def _dual(model: Path | None) -> bool:
    from mmn_index.zero_shot import is_zero_shot

    return model is not None and is_zero_shot(model)
