"""mmn-index eval: a model within annotated videos, an index as a whole, or what fits the annotations."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mmn_index.errors import ConfigError, OutputError
from mmn_index.evaluation.benchmarks import Benchmark, Published, further_off
from mmn_index.evaluation.data_sets import BENCHMARKS

from .asked import Asked, check_usage, only, two_files
from .build import index_option
from .features import feature_options
from .left_out import strict_option, tell_left_out
from .measure import Found, measure, measure_pools, open_index
from .numbers import Real
from .output import say
from .plan import files_of, subject_of
from .report import compare_reports, keep_report, show_section
from .within import metric_of


@click.command("eval")
@click.argument("subject", metavar="[INDEX|MODEL]", type=click.Path(path_type=Path), required=False)
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
    help="Snippet features: HDF5, or a folder of .npy files. With an INDEX its model is also measured within "
    "videos.  [default: those of --dataset]",
)
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    help="Split to evaluate.  [default: that of --dataset]",
)
@click.option(
    "--corpus",
    is_flag=True,
    help="Search --index as a whole, beside a MODEL of the same weights; `eval INDEX` does so by itself.",
)
@index_option
@click.option(
    "--seen",
    type=click.Path(path_type=Path),
    help="Training split. Sentences that occur in it and sentences that do not are also shown separately.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder to write report.json, report.md and report.html to; with --compare comparison.json, .md and "
    ".html.",
)
@click.option(
    "--write-predictions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Of an index: write the lists there, in the submission format of TVR, or of QVHighlights if the "
    "name ends in .jsonl. Of a model over tubes: its answers, in the form of HC-STVG's challenge.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Score a file in that format, from any system; no index is needed.",
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
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A B",
    help="Two reports, or their folders: their numbers side by side, and which differences are real.",
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
    help="With --dataset: exit code 1 if a result differs by more than this from a published "
    "number that was verified.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Print every table, not only the main lines; with --compare every metric.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--device", default="cpu", show_default=True)
@feature_options
@strict_option
def evaluate(**options: Any) -> None:
    """Evaluate an INDEX over its whole collection, or a MODEL within annotated videos, beside chance and
    published numbers. The annotations decide what else is measured.

    \b
    Examples:
        mmn-index eval collection.mmn --annotations test.json --seen train.json -o report
        mmn-index eval run/model --features features.h5 --annotations test.json --seen train.json
        mmn-index eval charades.mmn-model --dataset charades --data data/charades --assert-within 0.5
        mmn-index eval --compare report-before report-after
        mmn-index eval --predictions theirs.json --annotations test.json -o report
        mmn-index eval --metric gmr --predictions theirs.jsonl --annotations test.jsonl
        mmn-index eval --mvmr charades_test_mvmr.json --index charades.mmn
    """
    asked = Asked(**options)
    if asked.compare:
        only(
            "--compare",
            {"compare", "folder", "everything", "as_json"},
            "looks at two reports and nothing else",
        )
        _check_places(asked)
        compare_reports(
            asked.compare, folder=asked.folder, everything=asked.everything, as_json=asked.as_json
        )
        return
    if asked.metric:
        _score_by(asked, asked.metric)
        return
    check_usage(asked)
    _check_places(asked)
    benchmark = BENCHMARKS[asked.dataset] if asked.dataset else None
    reference = _reference(benchmark, asked.points)
    metric = metric_of(benchmark, asked.score, asked.nms)
    subject = subject_of(asked)
    found = Found(asked)
    files = files_of(asked, benchmark) if asked.model or asked.over or asked.predictions else None
    _check_inputs(asked, *((files.annotations, files.features) if files else ()))
    if asked.mvmr:  # is its own annotation file
        measure_pools(found, open_index(asked, subject, metric), asked.mvmr)
    if files is not None:
        measure(found, subject, files, benchmark, metric)
    if asked.folder:
        keep_report(asked.folder, found.chosen, found.sections, found.about)
    if reference is not None and asked.points is not None:
        _assert_within(found.values, reference, asked.points, found.remarks)
    if files is not None:
        tell_left_out([*dict.fromkeys(found.left_out)], files.annotations)


def _score_by(asked: Asked, metric: str) -> None:
    """Score a file of predictions by another field's metric, in its own format."""
    from dataclasses import replace

    from mmn_index.evaluation.made_elsewhere import METRICS

    truth, predictions = two_files(asked)
    _check_places(asked)
    _check_inputs(asked, truth)
    section = METRICS[metric](truth, predictions)
    scope = {"scope": "predictions", "metric": metric}
    show_section(replace(section, scope=scope), everything=asked.everything, as_json=asked.as_json)
    if asked.folder:
        about = {
            "evaluated": {"predictions": str(predictions)},
            "annotations": {"path": str(truth), "sha256": section.conditions["annotations"]},
        }
        keep_report(asked.folder, f"{metric}, as --metric says", [section], about)


def _check_places(asked: Asked) -> None:
    """Try where results are written, before anything is computed."""
    from mmn_index.evaluation.folder import COMPARISON, REPORT, check_names
    from mmn_index.evaluation.plots import check_library
    from mmn_index.places import check_file, check_folder

    if asked.folder:
        check_folder(asked.folder)
        check_names(asked.folder, COMPARISON if asked.compare else REPORT)
        check_library()
    if asked.write_predictions:
        check_file(asked.write_predictions, regular=False)


def _check_inputs(asked: Asked, *inputs: Path) -> None:
    """Refuse to write over a file that is read; `inputs` are those that options did not name."""
    from mmn_index.evaluation.folder import REPORT

    read = [one for one in (*inputs, asked.seen, asked.predictions, asked.mvmr) if one is not None]
    written = [asked.folder / name for name in REPORT] if asked.folder else []
    for out in [*written, *filter(None, [asked.write_predictions])]:
        if any(os.path.exists(out) and os.path.exists(one) and os.path.samefile(out, one) for one in read):
            raise OutputError(f"{out}: is read here, and would be written over. Choose another place.")
    if asked.write_predictions and asked.write_predictions.absolute() in [one.absolute() for one in written]:
        raise OutputError(f"{asked.write_predictions}: is a file of the report of -o. Choose another place.")


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
