"""mmn-index eval: recall within a video, of a checkpoint; over a collection, see corpus.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mmn_index.errors import ConfigError
from mmn_index.evaluation.benchmarks import (
    BENCHMARKS,
    Benchmark,
    Files,
    Published,
    departures,
    differences,
    further_off,
    locate,
)

from .build import index_option
from .numbers import Real
from .output import print_json, print_table, progress, say
from .sentences import read_split

if TYPE_CHECKING:
    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.evaluation.within_video import VideoRecall

_HIT = "IoU >= m (inclusive, float32)"


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
    help="Snippet features, HDF5.  [default: those of --dataset]",
)
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    help="Split to evaluate, json.  [default: that of --dataset]",
)
@click.option("--corpus", is_flag=True, help="Search an index: SVMR, VR and VCMR over its whole collection.")
@index_option
@click.option(
    "--seen",
    type=click.Path(path_type=Path),
    help="Training split: its wordings are also evaluated apart from those that it does not have.",
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
    help="With --corpus: write the lists there, in the submission format of TVR.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Score the lists of a file in that format, of whatever system; no index is needed.",
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
    help="Temporal IoU above which NMS drops; a collection is also measured without it.  [default: 0.5, or "
    "that of "
    "--dataset]",
)
@click.option(
    "--assert-within",
    "points",
    type=Real(0),
    metavar="POINTS",
    help="With --dataset: exit code 1 if a result lies further off a published number that was verified.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--device", default="cpu", show_default=True)
def evaluate(
    checkpoint: Path | None,
    dataset: str | None,
    data: Path | None,
    features: Path | None,
    annotations: Path | None,
    corpus: bool,
    root: Path,
    seen: Path | None,
    folder: Path | None,
    write_predictions: Path | None,
    predictions: Path | None,
    mvmr: Path | None,
    score: str | None,
    hub: float | None,
    nms: float | None,
    points: float | None,
    as_json: bool,
    device: str,
) -> None:
    """Evaluate CHECKPOINT within annotated videos, beside chance and what was published; with --corpus, an
    index as a whole.

    \b
    Examples:
        mmn-index eval run/model --features features.h5 --annotations test.json --seen train.json
        mmn-index eval charades.mmn-model --dataset charades --data data/charades --assert-within 0.5
        mmn-index eval --corpus --index collection.mmn --annotations test.json --seen train.json -o results
        mmn-index eval --predictions theirs.json --annotations test.json
        mmn-index eval --mvmr charades_test_mvmr.json --index charades.mmn
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.evaluation.annotations import read_annotations
    from mmn_index.index import MomentIndex

    from .corpus import corpus_recall, pool_recall, predictions_recall

    given = {
        "annotations": annotations,
        "features": features,
        "seen": seen,
        "score": score,
        "hub": hub,
        "nms": nms,
    }
    _check_usage(bool(checkpoint), corpus, bool(predictions), bool(mvmr), given)
    if (folder or write_predictions) and not corpus:
        raise click.UsageError("-o and --write-predictions keep the results of --corpus.")
    if points is not None and checkpoint is None:
        raise click.UsageError("--assert-within compares results within videos: give a CHECKPOINT.")
    benchmark = BENCHMARKS[dataset] if dataset else None
    reference = _reference(benchmark, points)
    metric = _metric(benchmark, score, nms)
    shared: dict[str, Any] = {
        "score": score,
        "hub": hub,
        "nms": metric.nms,
        "as_json": as_json,
        "device": device,
    }
    if mvmr:  # is its own annotation file
        pool_recall(root, mvmr, **shared)
    if not (checkpoint or corpus or predictions):
        return
    # A collection's moments are embedded already: no features are read for it.
    files = _files(benchmark, data, annotations, features if checkpoint else Path())
    split = read_split(files.annotations)
    train = read_annotations(seen) if seen else None
    if predictions:
        predictions_recall(predictions, split, train, as_json=as_json)
    values: Mapping[str, float] = {}
    remarks: list[str] = []
    if checkpoint is not None:
        if corpus:
            MomentIndex(root).check_model(checkpoints.info(checkpoint).fingerprint, str(checkpoint))
        values, remarks = _within(
            checkpoint, benchmark, files, metric, split, train, as_json=as_json, device=device
        )
    if corpus:
        corpus_recall(root, split, train, folder=folder, predictions=write_predictions, **shared)
    if reference is not None and points is not None:
        _assert_within(values, reference, points, remarks)


def _check_usage(
    within: bool, corpus: bool, predictions: bool, mvmr: bool, given: Mapping[str, object]
) -> None:
    """Refuse options that nothing would look at."""

    def unused(*names: str) -> str:
        return ", ".join(f"--{name}" for name in names if given[name] is not None)

    if not (within or corpus or predictions or mvmr):
        raise click.UsageError(
            "Give a CHECKPOINT to evaluate within videos, or one of --corpus, --predictions and --mvmr."
        )
    named = click.get_current_context().get_parameter_source("root") is ParameterSource.COMMANDLINE
    if named and not (corpus or mvmr):
        raise click.UsageError("--index is searched by --corpus and --mvmr: add one of them.")
    if given["hub"] is not None and not (corpus or mvmr):
        raise click.UsageError("--hub corrects over a collection: add --corpus or --mvmr.")
    if mvmr and not (within or corpus or predictions) and (left := unused("annotations", "features", "seen")):
        raise click.UsageError(
            f"--mvmr is its own annotation file, and its videos are in the index: leave out {left}."
        )
    if predictions and not (within or corpus or mvmr) and (left := unused("features", "score", "nms")):
        raise click.UsageError(f"--predictions are ranked already: leave out {left}.")


def _within(
    checkpoint: Path,
    benchmark: Benchmark | None,
    files: Files,
    metric: "_Metric",
    split: "Annotations",
    train: "Annotations | None",
    *,
    as_json: bool,
    device: str,
) -> tuple[Mapping[str, float], list[str]]:
    """Print the results within the right video; returns those of all queries, and in what they are not the
    benchmark's.
    """
    from mmn_index.train.config import SETTINGS

    from mmn_index import checkpoint as checkpoints
    from mmn_index.clips import stored_pre_clips
    from mmn_index.evaluation.within_video import evaluate_videos
    from mmn_index.features import FeatureFile

    model = checkpoints.load(checkpoint, device)
    with FeatureFile(files.features) as opened, progress("within the video") as report:
        remarks = []
        if benchmark:
            own = SETTINGS[benchmark.setting].model
            remarks = departures(benchmark, "test", split, width=opened.dim, model=model.config, own=own)
        for remark in remarks:
            say(f"Warning: {remark}")
        within = evaluate_videos(
            model,
            split.videos,
            lambda video_id: stored_pre_clips(opened, video_id, model.config),
            score=metric.score,
            nms=metric.nms,
            recalls=metric.recalls,
            report=report,
        )
    results = _groups(
        within, {sentence for video in train.videos for sentence in video.sentences} if train else None
    )
    if benchmark:
        _show_comparison(benchmark, metric, results, len(within.sentences), len(split.videos), as_json)
    else:
        title = (
            f"Within the right video, {len(within.sentences)} queries, score {metric.score}, NMS "
            f"{metric.nms:g}"
        )
        _show(title, results, as_json)
    return results["all"], remarks


@dataclass(frozen=True)
class _Metric:
    """How moments are ranked and measured within a video."""

    score: str
    nms: float
    recalls: tuple[tuple[int, float], ...]
    own_score: str  # the data set's, which an option may have overridden
    own_nms: float

    def __str__(self) -> str:
        score = f"score {self.score}" + (
            "" if self.score == self.own_score else f" (the data set's own is {self.own_score})"
        )
        return f"{score}, NMS {self.nms:g}" + (
            "" if self.nms == self.own_nms else f" (the data set's own is {self.own_nms:g})"
        )


def _metric(benchmark: Benchmark | None, score: str | None, nms: float | None) -> _Metric:
    from mmn_index.train.config import SETTINGS

    from mmn_index.evaluation.within_video import RECALLS

    own_score, own_nms, recalls = "product", 0.5, RECALLS
    if benchmark:
        own_score, own_nms, recalls = (
            SETTINGS[benchmark.setting].train.score,
            benchmark.nms,
            benchmark.recalls,
        )
    return _Metric(score or own_score, own_nms if nms is None else nms, recalls, own_score, own_nms)


def _files(
    benchmark: Benchmark | None, data: Path | None, annotations: Path | None, features: Path | None
) -> Files:
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


def _groups(result: "VideoRecall", wordings: set[str] | None) -> dict[str, dict[str, float]]:
    """Results in percent: of all queries, then by whether training had their wording, then chance."""
    import torch

    groups = {"all": result.table()}
    if wordings is not None:
        known = torch.tensor([sentence in wordings for sentence in result.sentences])
        for name, rows in (("seen wordings", known), ("unseen wordings", ~known)):
            if rows.any():
                groups[f"{name} ({int(rows.sum())})"] = result.table(rows)
    return {**groups, "chance": result.chance()}


def _show(title: str, groups: Mapping[str, Mapping[str, float]], as_json: bool) -> None:
    """One block of results."""
    if as_json:
        for name, values in groups.items():
            _print_values(title, name, values, {})
        return
    click.echo(f"\n{title}:")
    columns = list(groups["all"])
    print_table(["", *columns], [[name, *_cells(values, columns, ".1f")] for name, values in groups.items()])


def _show_comparison(
    benchmark: Benchmark,
    metric: _Metric,
    groups: Mapping[str, Mapping[str, float]],
    queries: int,
    videos: int,
    as_json: bool,
) -> None:
    """Results within a video in the layout of the papers: ours, the published ones, the difference."""
    title = f"{benchmark.name}, within the right video, {queries:,} queries of {videos:,} videos, {metric}"
    reference, ours = benchmark.reference, groups["all"]
    if as_json:
        about = {
            "dataset": benchmark.name,
            "nms": metric.nms,
            "iou_rule": _HIT,
            "num_queries": queries,
            "num_videos": videos,
        }
        for name, values in groups.items():
            compared = _compared(benchmark, ours) if name == "all" else {}
            _print_values(title, name, values, {**about, **compared})
        return
    columns = list(ours)
    rows = [
        ["ours" if name == "all" else name, *_cells(values, columns, ".2f")]
        for name, values in groups.items()
    ]
    if reference:
        compared_rows = [[reference.name, *_cells(reference.values, columns, ".2f")]]
        compared_rows += [["difference", *_cells(differences(ours, reference), columns, "+.2f")]]
        compared_rows += [
            [other.name, *_cells(other.values, columns, ".2f")] for other in benchmark.published[1:]
        ]
        rows[1:1] = compared_rows
    click.echo(f"\n{title}:")
    print_table(["", *columns], rows)
    for published in benchmark.published:
        rest = (
            "" if published.values.keys() >= set(columns) else " Empty cells: not reported, or not verified."
        )
        click.echo(f"{published.name}: {published.source}.{rest}")
    click.echo(
        f"NMS {metric.nms:g}: drops a moment whose temporal IoU with a better one is above {metric.nms:g}; "
        f"a hit has {_HIT}; n survivors at most."
    )


def _compared(benchmark: Benchmark, values: Mapping[str, float]) -> dict[str, Any]:
    if not benchmark.reference:
        return {"reference": None, "difference": None, "source": None}
    first, *others = benchmark.published
    return {
        "reference": dict(first.values),
        "difference": differences(values, first),
        "source": first.source,
        "quoted": [{"source": other.source, "values": dict(other.values)} for other in others],
    }


def _print_values(title: str, name: str, values: Mapping[str, float], about: Mapping[str, Any]) -> None:
    finite = {key: round(value, 3) for key, value in values.items() if value == value}
    print_json({"scope": "video", "queries": name, "title": title, **finite, **about})


def _cells(values: Mapping[str, float], columns: Sequence[str], form: str) -> list[str]:
    """One row of a table; a number that there is none of stays empty."""
    found = [values.get(column) for column in columns]
    return ["" if value is None or value != value else format(value, form) for value in found]
