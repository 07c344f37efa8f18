"""mmn-index reproduce: train and evaluate on a benchmark, beside its published numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmn_index.evaluation.data_sets import BENCHMARKS

from .features import chosen_names, feature_options
from .numbers import Whole
from .output import print_json, print_line, progress, say
from .table import print_table
from .train import draw_curves

if TYPE_CHECKING:
    from mmn_index.train.reproduce import Reproduction

_KEPT = {
    "validation": "the best epoch on the validation split or hold-out",
    "test": "the best epoch ON THE TEST SPLIT (the paper's practice: it flatters)",
    "last": "the last epoch",
}


@click.command()
@click.argument(
    "dataset", type=click.Choice([name for name, one in BENCHMARKS.items() if "train" in one.splits])
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with the data set's files.  [default: data/DATASET]",
)
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    help="Snippet features, HDF5.  [default: those in the folder]",
)
@click.option(
    "--seeds",
    type=Whole(1),
    default=1,
    show_default=True,
    help="How many runs; their mean is compared.",
)
@click.option(
    "--select",
    "selection",
    type=click.Choice(["validation", "test", "last"]),
    help="Which epoch is kept: the best on the validation split (or a hold-out), the best on the test split "
    "(the paper's practice; it flatters), or the last.  [default: as the setting says]",
)
@click.option("--config", help="Another setting than the data set's own, for experiments.")
@click.option("--text-model", help="Hub id or local directory of the text encoder; overrides the setting's.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="cpu or cuda; with torchrun, cuda is one GPU per process.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the runs; unfinished runs in it resume.",
)
@feature_options
def reproduce(
    dataset: str,
    data: Path | None,
    features: Path | None,
    seeds: int,
    selection: str | None,
    config: str | None,
    text_model: str | None,
    device: str,
    as_json: bool,
    out: Path,
) -> None:
    """Train on DATASET with its setting, evaluate on its test split, and compare with what was published.

    If files are missing, it says what to download. Run it again after an interruption: it resumes.

    \b
    Example:
        mmn-index reproduce charades --data data/charades --seeds 3 --device cuda -o runs/charades
    """
    from mmn_index.hub import model_folder

    if text_model:
        model_folder(text_model)  # before all that takes its time: a wrong name is told at once
    from mmn_index.train.distributed import first_process
    from mmn_index.train.reproduce import reproduce as run
    from mmn_index.train.settings import load_setting, override

    benchmark = BENCHMARKS[dataset]
    setting = load_setting(config or benchmark.setting)
    if text_model is not None:
        setting = override(setting, {"model": {"text_model": text_model}}, "options")
    first = first_process()
    chosen = selection or ("last" if setting.train.select == "last" else "validation")
    if first and chosen == "validation" and "val" not in benchmark.splits:
        share = f"{setting.train.hold_out:.0%} of the training videos"
        say(f"{dataset} has no validation split: {share} are held out to choose by.")
    with progress("training") as report:
        result = run(
            benchmark,
            setting,
            out,
            data=data or benchmark.folder,
            features=features,
            feature_names=chosen_names(),
            seeds=range(seeds),
            selection=chosen,
            device=device,
            report=lambda what, done, total, note: report(done, total, note, what) if first else None,
        )
    if not first:
        return
    for seed in result.seeds:
        draw_curves(out / f"seed{seed}")
    if as_json:
        print_json(result.to_json())
        return
    name = f"{config}, not the data set's own" if config else benchmark.setting
    score = "" if benchmark.tubes else f", score {setting.train.score}"
    _show(result, f"setting {name}, {_KEPT[chosen]}{score}")


def _show(result: "Reproduction", how: str) -> None:
    """Every seed beside what was published, and the verdict."""
    columns, benchmark = list(result.mean), result.benchmark
    measure = "vIoU of HC-STVG's challenge" if benchmark.tubes else f"NMS {benchmark.nms:g}"
    print_line(f"{benchmark.name}, test split, {how}, {measure}:", apart=True)

    def row(name: str, values: Mapping[str, float], form: str = ".2f") -> list[str]:
        return [name, *(f"{values[c]:{form}}" if c in values else "" for c in columns)]

    rows = [
        row(f"seed {seed} (epoch {result.epochs[seed]})", values) for seed, values in result.seeds.items()
    ]
    if result.deviation:
        rows += [row("mean", result.mean), row("standard deviation", result.deviation)]
    rows += [row(published.name, published.values) for published in benchmark.published]
    if benchmark.reference:
        rows.append(row("difference", result.to_json()["difference"], "+.2f"))
    print_table(["", *columns], rows)
    for published in benchmark.published:
        print_line(f"{published.name}: {published.source}.")
    print_line(result.verdict())
