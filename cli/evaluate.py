"""mmn-index eval: a checkpoint within annotated videos (within.py), an index as a whole (corpus.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mmn_index.errors import ConfigError
from mmn_index.evaluation.benchmarks import Benchmark, Files, Published, further_off, locate
from mmn_index.evaluation.data_sets import BENCHMARKS

from .build import index_option
from .features import feature_options
from .left_out import strict_option, tell_left_out
from .numbers import Real
from .output import say
from .sentences import read_split
from .within import Metric, metric_of, recall_within
from .within_tubes import viou_within

if TYPE_CHECKING:
    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.left_out import LeftOut


_KEEPS = "-o and --write-predictions keep the results of --corpus."


@dataclass(frozen=True)
class Asked:
    """The options as they were given."""

    checkpoint: Path | None
    dataset: str | None
    data: Path | None
    features: Path | None
    annotations: Path | None
    corpus: bool
    root: Path
    seen: Path | None
    folder: Path | None
    write_predictions: Path | None
    predictions: Path | None
    metric: str | None
    mvmr: Path | None
    score: str | None
    hub: float | None
    nms: float | None
    points: float | None
    everything: bool
    as_json: bool
    device: str
    strict: bool

    def unused(self, *names: str) -> str:
        """Those of some options that were given, to be named in an error."""
        return ", ".join(f"--{name}" for name in names if getattr(self, name) is not None)


@click.command("eval")
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option(
    "--dataset",
    type=click.Choice(list(BENCHMARKS)),
    help="Evaluate on the test split of this data set, by its own metric, beside its published numbers.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with the files of --dataset.  [default: data/NAME]",
)
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    help="Snippet features: HDF5, or a folder of .npy files.  [default: those of --dataset]",
)
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    help="Split to evaluate.  [default: that of --dataset]",
)
@click.option("--corpus", is_flag=True, help="Search an index: SVMR, VR and VCMR over its whole collection.")
@index_option
@click.option(
    "--seen",
    type=click.Path(path_type=Path),
    help="Training split: sentences that it has and sentences that it does not have are also shown apart.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    help="With --corpus: write results.json, results.md and results.png there.",
)
@click.option(
    "--write-predictions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --corpus: write the lists there, in the submission format of TVR, or of QVHighlights if the "
    "name ends in .jsonl. Of a model over tubes: its answers, in the form of HC-STVG's challenge.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Score the lists of a file in that format, of whatever system; no index is needed.",
)
@click.option(
    "--metric",
    type=click.Choice(["ndcg", "qvhighlights", "gmr", "viou"]),
    help="Score --predictions against --annotations by this metric, in its own format: NDCG of TVR-Ranking, "
    "mAP and R1 of QVHighlights, refusals of generalised moment retrieval, vIoU of HC-STVG.",
)
@click.option(
    "--mvmr",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Search each sentence of an MVMR file (json) in its own pool of the index's videos.",
)
@click.option(
    "--score",
    help="collection, product, contrastive or iou. Default: within a video product, or that of --dataset; "
    "over a collection the index's own.",
)
@click.option(
    "--hub",
    type=float,
    help="Over a collection: hub correction from 0 (none) to 1; the index's default if not given.",
)
@click.option(
    "--nms",
    type=Real(0, 1),
    help="Temporal IoU above which NMS drops the worse moment; a collection is also measured without it.  "
    "[default: 0.5, or that of --dataset]",
)
@click.option(
    "--assert-within",
    "points",
    type=Real(0),
    metavar="POINTS",
    help="With --dataset: exit code 1 if a result lies further off a published number that was verified.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Over a collection: print every table, not the main lines alone.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--device", default="cpu", show_default=True)
@feature_options
@strict_option
def evaluate(**options: Any) -> None:
    """Evaluate CHECKPOINT within annotated videos, beside chance and what was published; with --corpus, an
    index as a whole.

    \b
    Examples:
        mmn-index eval run/model --features features.h5 --annotations test.json --seen train.json
        mmn-index eval charades.mmn-model --dataset charades --data data/charades --assert-within 0.5
        mmn-index eval --corpus --index collection.mmn --annotations test.json --seen train.json -o results
        mmn-index eval --predictions theirs.json --annotations test.json
        mmn-index eval --metric gmr --predictions theirs.jsonl --annotations test.jsonl
        mmn-index eval --mvmr charades_test_mvmr.json --index charades.mmn
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.index import MomentIndex

    from .corpus import corpus_recall, pool_recall, predictions_recall, score_by

    asked = Asked(**options)
    if asked.metric:
        score_by(asked.metric, *_two_files(asked), as_json=asked.as_json)
        return
    _check_usage(asked)
    _check_places(asked)
    benchmark = BENCHMARKS[asked.dataset] if asked.dataset else None
    reference = _reference(benchmark, asked.points)
    metric = metric_of(benchmark, asked.score, asked.nms)
    shared: dict[str, Any] = {
        "score": asked.score,
        "hub": asked.hub,
        "nms": metric.nms,
        "as_json": asked.as_json,
        "device": asked.device,
    }
    if asked.mvmr:  # is its own annotation file
        pool_recall(asked.root, asked.mvmr, **shared)
    if not (asked.checkpoint or asked.corpus or asked.predictions):
        return
    files = _files(benchmark, asked)
    train = read_split(asked.seen, estimate=True) if asked.seen else None
    tables = {"everything": asked.everything, "as_json": asked.as_json}
    if asked.predictions:
        predictions_recall(asked.predictions, read_split(files.annotations), train, **tables)
    values: Mapping[str, float] = {}
    remarks: list[str] = []
    left_out: list[LeftOut] = []
    shared["strict"] = asked.strict or benchmark is not None
    if asked.checkpoint is not None:
        if asked.corpus:
            found = checkpoints.info(asked.checkpoint).fingerprint
            MomentIndex(asked.root).check_model(found, str(asked.checkpoint))
        values, remarks, left_out = _within(asked, asked.checkpoint, benchmark, files, metric, train)
    if asked.corpus:
        shared["folder"], shared["predictions"] = asked.folder, asked.write_predictions
        left_out += corpus_recall(asked.root, files.annotations, train, everything=asked.everything, **shared)
    if reference is not None and asked.points is not None:
        _assert_within(values, reference, asked.points, remarks)
    tell_left_out([*dict.fromkeys(left_out)], files.annotations)


def _within(
    asked: Asked,
    checkpoint: Path,
    benchmark: Benchmark | None,
    files: Files,
    metric: Metric,
    train: "Annotations | None",
) -> "tuple[Mapping[str, float], list[str], list[LeftOut]]":
    """What a checkpoint reaches within videos, remarks, and what is left out."""
    from mmn_index import checkpoint as checkpoints

    how: dict[str, Any] = {"as_json": asked.as_json, "device": asked.device}
    if not checkpoints.info(checkpoint).config.tubes:
        if asked.write_predictions and not asked.corpus:
            raise click.UsageError(_KEEPS)
        return recall_within(checkpoint, benchmark, files, metric, train, strict=asked.strict, **how)
    if left := ", ".join(filter(None, [asked.unused("seen", "score", "nms"), "--corpus" * asked.corpus])):
        raise click.UsageError(f"{checkpoint} is a model over tubes: leave out {left}.")
    values, left_out = viou_within(checkpoint, files, asked.write_predictions, **how)
    return values, [], left_out


def _two_files(asked: Asked) -> tuple[Path, Path]:
    """Of --metric: the right answers and the predictions; nothing else is looked at."""
    if asked.annotations is None or asked.predictions is None:
        raise click.UsageError("--metric scores --predictions FILE against --annotations FILE: give both.")
    context = click.get_current_context()
    looked_at = {"metric", "annotations", "predictions", "as_json"}
    if left := [
        parameter.opts[-1] if isinstance(parameter, click.Option) else "CHECKPOINT"
        for parameter in context.command.params
        if parameter.name not in looked_at
        and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]:
        raise click.UsageError(
            f"--metric scores two files and looks at nothing else: leave out {', '.join(left)}."
        )
    return asked.annotations, asked.predictions


def _check_places(asked: Asked) -> None:
    """Try where results are written, before anything is computed."""
    from mmn_index.places import check_file, check_folder

    if asked.folder:
        check_folder(asked.folder)
    if asked.write_predictions:
        check_file(asked.write_predictions, regular=False)


def _check_usage(asked: Asked) -> None:
    """Refuse options that nothing would look at."""
    within, over = asked.checkpoint is not None, asked.corpus or asked.mvmr is not None
    if not (within or over or asked.predictions):
        raise click.UsageError(
            "Give a CHECKPOINT to evaluate within videos, or one of --corpus, --predictions and --mvmr."
        )
    named = click.get_current_context().get_parameter_source("root") is ParameterSource.COMMANDLINE
    if named and not over:
        raise click.UsageError("--index is searched by --corpus and --mvmr: add one of them.")
    if asked.hub is not None and not over:
        raise click.UsageError("--hub corrects over a collection: add --corpus or --mvmr.")
    alone: object = asked.mvmr and not (within or asked.corpus or asked.predictions)
    if alone and (left := asked.unused("annotations", "features", "seen")):
        raise click.UsageError(
            f"--mvmr is its own annotation file, and its videos are in the index: leave out {left}."
        )
    alone = asked.predictions and not (within or over)
    if alone and (left := asked.unused("features", "score", "nms")):
        raise click.UsageError(f"--predictions are ranked already: leave out {left}.")
    if (asked.folder or (asked.write_predictions and not within)) and not asked.corpus:
        raise click.UsageError(_KEEPS)
    if asked.everything and not (asked.corpus or asked.predictions):
        raise click.UsageError("--all prints every table of --corpus or --predictions: add one of them.")
    if asked.points is not None and not within:
        raise click.UsageError("--assert-within compares results within videos: give a CHECKPOINT.")


def _files(benchmark: Benchmark | None, asked: Asked) -> Files:
    # A collection's moments are embedded already: no features are read for it.
    features = asked.features if asked.checkpoint else Path()
    data, annotations = asked.data, asked.annotations
    if benchmark:
        return locate(benchmark, data=data, annotations=annotations, features=features)
    if data:
        raise ConfigError("--data is the folder of a data set: name the data set with --dataset.")
    if features is None or annotations is None:
        option = "--features" if features is None else "--annotations"
        raise click.UsageError(f"Missing option '{option}'.", click.get_current_context())
    return Files(annotations, features)


def _reference(benchmark: Benchmark | None, points: float | None) -> Published | None:
    """The numbers to assert, checked before anything is computed."""
    if points is None:
        return None
    if benchmark is None:
        raise ConfigError(
            "--assert-within compares with the published numbers of a data set: name it with --dataset."
        )
    if benchmark.reference is None:
        raise ConfigError(
            f"--assert-within: nothing is published for {benchmark.name}, there is no number to compare with."
        )
    return benchmark.reference


def _assert_within(
    values: Mapping[str, float], reference: Published, points: float, remarks: Sequence[str]
) -> None:
    far = further_off(values, reference, points)
    count = (
        f"{len(far)} of {len(reference.values)} compared numbers more than {points:g} points off "
        f"({reference.name})"
    )
    if far:
        raise click.ClickException(f"{count}: {'; '.join(far)}.")
    say(f"{count}.{' Mind the warnings above.' if remarks else ''}")
