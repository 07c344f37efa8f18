"""The ladder from the paper's score to what ships for a collection, trained and measured by one command;
writes docs/negatives.md.

    python benchmarks/negatives.py WORK --text-model MINILM --ucf-moments data/ucf-moments --playhouse
        data/playhouse --seeds 3

Every step of every seed has its folder WORK/<data set>/<step>/seed<n>, and a row of
benchmarks/results/negatives.json once it is measured. Neither is made again, so an interrupted run goes on,
and a new step costs what it costs alone; without the file everything is measured anew. --page writes the page
of what the file has.
"""

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import ladder
import torch
import yaml
from mmn_index.index_build.build import build
from mmn_index.index_build.build_plan import Hubs
from mmn_index.index_build.calibration import fit_confidence, validation_index
from mmn_index.index_build.source import Source
from negatives_page import COLLECTION, PRODUCT, SHIPPED, Step, write_page

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.evaluation.annotations import Annotations, read_annotations
from mmn_index.evaluation.data_sets import BENCHMARKS
from mmn_index.evaluation.queries import indexed, queries_of
from mmn_index.evaluation.refusal import CONFIDENCE, absent_hits, confidence_records, present_hits, wordings
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.search import SearchOptions, search

RESULT = Path(__file__).parent / "results" / "negatives.json"
CALIBRATED = ("paper", "kept", "labels", "late", "alike")  # steps whose confidences are measured


Measured = dict[str, list[dict[str, Any]]]  # by step, one a seed


_KEPT = {"late_contrastive_factor": 1.0}
_ACROSS = {"iou_negatives": 0.5}


def _more(epochs: int, **train: Any) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "lr": 2e-4,
        "milestones": [epochs - 1],
        "freeze_text_epochs": epochs,
        "select": "last",
        **_KEPT,
        **train,
    }


STEPS = {
    "ucf-moments": (
        Step("paper", "the official schedule", {}),
        Step("kept", "contrastive weight kept to the end", {"train": _KEPT}),
        Step("across", "kept, IoU head trained across videos", {"train": _KEPT, "loss": _ACROSS}),
        Step(
            "labels",
            "kept, sentences of one label not negatives: the setting collection",
            {"base": "collection"},
        ),
        Step(
            "texts",
            "kept, across, sentences of equal text not negatives",
            {"train": {**_KEPT, "alike_cosine": 1.0}, "loss": _ACROSS},
        ),
        Step(
            "cosine",
            "kept, across, sentences of similar text (cosine 0.7) not negatives",
            {"train": {**_KEPT, "alike_cosine": 0.7}, "loss": _ACROSS},
        ),
        Step(
            "alike",
            "kept, across, sentences of one label not negatives",
            {"train": {**_KEPT, "alike_labels": True}, "loss": _ACROSS},
        ),
        Step(
            "mined",
            "two epochs more of the row before, four mined videos in each group",
            {"train": _more(2, alike_labels=True, hard_negatives=4), "loss": _ACROSS},
            "alike",
            mined=True,
        ),
        Step(
            "tuned",
            "text side of the row before that tuned against the frozen videos",
            {},
            "alike",
            tuned=True,
        ),
    ),
    "playhouse": (
        Step("kept", "the setting playhouse (contrastive weight kept)", {}),
        Step("control", "three epochs more of that", {"train": _more(3)}, "kept"),
        Step(
            "late",
            "three epochs more, sentences of one label not negatives, IoU head trained across videos",
            {"train": _more(3, alike_labels=True), "loss": _ACROSS},
            "kept",
        ),
        Step(
            "mined",
            "three epochs more like that, four mined videos in each group",
            {"train": _more(3, alike_labels=True, hard_negatives=4), "loss": _ACROSS},
            "kept",
            mined=True,
        ),
        Step(
            "alike",
            "the setting playhouse, sentences of one label not negatives, IoU head across videos, from the "
            "first epoch",
            {"train": {"alike_labels": True}, "loss": _ACROSS},
        ),
        Step(
            "cosine",
            "the same with sentences of similar text (cosine 0.7) in place of one label",
            {"train": {"alike_cosine": 0.7}, "loss": _ACROSS},
        ),
        Step(
            "tuned",
            "text side of those of three epochs more tuned against the frozen videos",
            {},
            "late",
            tuned=True,
        ),
    ),
}


@dataclass(frozen=True)
class Data:
    """A data set's files."""

    name: str
    folder: Path

    @property
    def features(self) -> Path:
        """Of all splits."""
        return self.folder / BENCHMARKS[self.name].features

    def split(self, name: str) -> Path:
        """An annotation file."""
        return self.folder / f"{name}.json"


def run(*arguments: object) -> None:
    """One command of mmn-index."""
    click.echo(f"mmn-index {' '.join(map(str, arguments))}", err=True)
    subprocess.run([str(Path(sys.executable).with_name("mmn-index")), *map(str, arguments)], check=True)


def make(data: Data, step: Step, seed: int, work: Path, text_model: str) -> Path:
    """The checkpoint of a step; trained if it is not there."""
    out = work / data.name / step.name / f"seed{seed}"
    model = out if step.tuned else out / "model"
    if (out if step.tuned else out / "result.json").exists():
        return model
    files = ["--annotations", data.split("train"), "--val", data.split("val"), "--features", data.features]
    more: list[object] = ["--text-model", text_model]
    if step.parent:
        parent = make(
            data,
            next(other for other in STEPS[data.name] if other.name == step.parent),
            seed,
            work,
            text_model,
        )
        more = ["--init", parent]
        if step.tuned:
            run("tune-text", parent, *files, "--epochs", 5, "--seed", seed, "-o", out)
            return model
        if step.mined:
            index, mined = (
                work / data.name / f"train{seed}.mmn",
                work / data.name / f"negatives{seed}.parquet",
            )
            run("build", parent, data.features, "--videos", data.split("train"), "-o", index, "--overwrite")
            run("mine", "--index", index, "--annotations", data.split("train"), "-o", mined)
            more += ["--hard-negatives", mined]
    setting = work / data.name / f"{step.name}.yaml"
    setting.parent.mkdir(parents=True, exist_ok=True)
    setting.write_text(yaml.safe_dump({"base": data.name, **step.changes}))
    run("train", *files, "--config", setting, "--seed", seed, *more, "-o", out, "--resume")
    return model


def measure(
    data: Data, steps: Sequence[Step], seeds: int, work: Path, text_model: str, known: Measured
) -> Iterator[Measured]:
    """Everything about one data set, after each model that was not known."""
    train, test, val = (read_annotations(data.split(name)) for name in ("train", "test", "val"))
    found: Measured = {step.name: list(known.get(step.name, [])) for step in steps}
    with FeatureFile(data.features) as features:
        for step in steps:
            for seed in range(seeds):
                if any(row["seed"] == seed for row in found[step.name]):
                    continue
                model = make(data, step, seed, work, text_model)
                world = ladder.collection(model, features, test, train)
                row = {"model": checkpoint.info(model).fingerprint, "seed": seed}
                row |= measure_model(model, world, step is steps[0], features, test)
                if step.name in CALIBRATED:
                    row["confidence"] = confidence(model, data, features, test, val)
                if step is steps[0] and seed == 0:
                    check_index(model, data, features, test, torch.tensor(row["values"][SHIPPED]), world)
                found[step.name].append(row)
                yield {name: rows for name, rows in found.items() if rows}


def measure_model(
    model: Path, world: ladder.Collection, everything: bool, features: FeatureFile, test: Annotations
) -> dict[str, Any]:
    """What a model reaches by every score, or by those that the ladder shows; lists by wording."""
    values = {
        name: ladder.measured(ladder.ranked(x, world), world)
        for name, x in ladder.scores(world)
        if everything or name in (PRODUCT, COLLECTION, SHIPPED)
    }
    lines = {name: 100 * ladder.weighted(values[name][:, 0], world.counts) for name in (PRODUCT, SHIPPED)}
    click.echo(f"{model}: {', '.join(f'{name} {value:.1f}' for name, value in lines.items())}", err=True)
    return {
        "within": within(model, features, test),
        "values": {name: value.tolist() for name, value in values.items()},
        "counts": world.counts.tolist(),
        "seen": world.seen.tolist(),
    }


def within(model_path: Path, features: FeatureFile, test: Annotations) -> dict[str, float]:
    """The paper's own numbers: R@n,IoU=m in the right video by its product."""
    model = checkpoint.load(model_path)
    return evaluate_videos(
        model, test.videos, lambda video: stored_pre_clips(features, video, model.config)
    ).table()


def check_index(
    model: Path,
    data: Data,
    features: FeatureFile,
    test: Annotations,
    expected: torch.Tensor,
    world: ladder.Collection,
) -> None:
    """What ships has to give the same average precision through `build` and the search of an index."""
    with tempfile.TemporaryDirectory() as aside:
        index = banked(model, data, features, test, Path(aside) / "c.mmn")
        answers = search(
            index,
            checkpoint.load(model),
            world.sentences,
            options=SearchOptions(k=ladder.LENGTH, nms=ladder.NMS),
        )
        rows = torch.tensor([[hit.row for hit in answer.hits] for answer in answers])
        same = ladder.measured(rows, world)
    off = float((same[:, 0] - expected[:, 0]).abs().max())
    if off > 0.002 or not all(answer.exact for answer in answers):
        raise click.ClickException(f"the index differs from brute force by {off:.4f} of average precision")


def banked(model: Path, data: Data, features: FeatureFile, split: Annotations, root: Path) -> MomentIndex:
    """An index of a split as it ships: with the training sentences as its bank."""
    sentences = [
        sentence for video in read_annotations(data.split("train")).videos for sentence in video.sentences
    ]
    durations = {video.video_id: video.duration for video in split.videos}
    build(model, Source(features, durations), root, hubs=Hubs(sentences))
    return MomentIndex(root)


def confidence(
    model: Path, data: Data, features: FeatureFile, test: Annotations, val: Annotations
) -> dict[str, Any]:
    """Confidences fitted on the validation split and measured on the test split."""
    with tempfile.TemporaryDirectory() as aside:
        index = banked(model, data, features, test, Path(aside) / "test.mmn")
        durations = {video.video_id: video.duration for video in val.videos}
        loaded = checkpoint.load(model)
        held = validation_index(index, loaded, features, durations, Path(aside) / "val.mmn")
        hits = []
        for one, split in ((held, val), (index, test)):
            corpus = indexed(one)
            queries = queries_of(split, corpus)
            embeddings = loaded.embed_collection(queries.sentences)
            numbers = wordings(queries) if one is held else list(range(len(queries)))
            score = one.manifest.score
            present = present_hits(one, embeddings, score, queries, numbers)
            hits.append((present, absent_hits(one, embeddings, score, queries, corpus, numbers)))
    records = confidence_records(*hits[1], fit_confidence(*hits[0]))
    about = next(record for record in records if "area" in record)
    kept = ("area", "calibration error", "calibration error, present alone", "reliability")
    return {
        "refused": {
            f"{one['answered']:g}": one["refused"]
            for one in records
            if "answered" in one and one["part"] == CONFIDENCE
        },
        **{key: about[key] for key in kept},
    }


@click.command(help=__doc__)
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--text-model", default="")
@click.option("--ucf-moments", type=click.Path(path_type=Path, exists=True))
@click.option("--playhouse", type=click.Path(path_type=Path, exists=True))
@click.option("--seeds", default=3, show_default=True)
@click.option("--page", is_flag=True, help="Only write the page, from what was measured before.")
def main(
    work: Path, text_model: str, ucf_moments: Path | None, playhouse: Path | None, seeds: int, page: bool
) -> None:
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {"data": {}}
    for name, folder in (("ucf-moments", ucf_moments), ("playhouse", playhouse)):
        if folder is not None and not page:
            before = known["data"].get(name, {"steps": {}})["steps"]
            for rows in measure(Data(name, folder), STEPS[name], seeds, work, text_model, before):
                known["data"][name] = {"steps": rows}
                known["environment"] = {
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                    "seeds": seeds,
                }
                RESULT.write_text(json.dumps(known) + "\n")
    write_page(known, STEPS)


if __name__ == "__main__":
    main()
