"""One epoch of the Charades-STA setting on synthetic features of the true width: videos a second of this
project's training set against the straightforward loader that reads and averages one item at a time, in the
same run.

    python benchmarks/loading.py WORK RESULT.json charades_train.json --text-model DIR [--device cuda]
        [--steps N]

WORK holds the features, (snippets, 4096) float32 for every video of the annotations, about 3 snippets a
second; they are made once (4 GB). Then:

- loading alone, a whole epoch in groups of 12: this project (pre-clips prepared once, memory-mapped; IoU
  targets and tokens computed once), and the straightforward way (a Dataset that for each item opens nothing
  anew but reads the features, averages them, tokenises its sentences and computes its IoU targets, in a
  DataLoader with 0 and with --workers workers);
- training: --steps steps of 4 groups of 12 videos through the trainer's own code, or the whole epoch where
--steps is 0.
"""

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import torch
from mmn_index.train.batches import TrainingSet, derived_seed, split_epoch
from mmn_index.train.config import Setting
from mmn_index.train.distributed import World
from mmn_index.train.loop import Run, start_epoch
from mmn_index.train.settings import load_setting, override
from torch.utils.data import DataLoader, Dataset

from mmn_index.clips import pool_to_pre_clips
from mmn_index.config import ModelConfig
from mmn_index.evaluation.annotations import AnnotatedVideo, Annotations, read_annotations
from mmn_index.features import FeatureFile
from mmn_index.model import MMN
from mmn_index.pretrained import load_pretrained, load_tokenizer
from mmn_index.proposals import ProposalGrid

WIDTH, RATE = 4096, 3.0  # of VGG features; snippets a second


class OneItemAtATime(Dataset[dict[str, torch.Tensor]]):
    """The straightforward loader: everything about a video, each time it is asked for."""

    def __init__(
        self, path: Path, videos: tuple[AnnotatedVideo, ...], config: ModelConfig, text_model: str
    ) -> None:
        self._path, self._videos, self._config, self._text_model = path, videos, config, text_model
        self._grid = ProposalGrid(config.num_clips, config.pooling_counts)
        self._file: h5py.File | None = None
        self._tokenizer: Any = None

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        if self._file is None:  # once a worker
            self._file = h5py.File(self._path, "r")
            self._tokenizer = load_tokenizer(self._text_model, 512)
        video = self._videos[number]
        snippets = torch.from_numpy(self._file[video.video_id][()])
        ids, mask = self._tokenizer(list(video.sentences))
        return {
            "pre_clips": pool_to_pre_clips(snippets, self._config.num_pre_clips),
            "targets": self._grid.iou_targets(video.moments, video.duration),
            "ids": ids,
            "mask": mask,
        }


def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, Any]:
    """A group: pre-clips stacked, the rest as lists."""
    return {"pre_clips": torch.stack([item["pre_clips"] for item in items]), "rest": items}


def write_features(path: Path, annotations: Annotations) -> None:
    """Random features of all videos, once."""
    if path.exists():
        return
    aside = path.with_suffix(".tmp")
    random = np.random.default_rng(0)
    block = random.normal(size=(2048, WIDTH)).astype(np.float32)
    with h5py.File(aside, "w") as file:
        for video in annotations.videos:
            count = max(4, int(RATE * video.duration))
            first = int(random.integers(0, len(block) - count))
            file.create_dataset(video.video_id, data=block[first : first + count])
    aside.replace(path)


def videos_a_second(groups: Callable[[], Iterator[int]]) -> float:
    """Speed of something that yields how many videos each group has."""
    started, seen = time.perf_counter(), 0
    for count in groups():
        seen += count
    return seen / (time.perf_counter() - started)


def loading(
    data: TrainingSet,
    plan: list[list[list[int]]],
    work: Path,
    split: Annotations,
    config: ModelConfig,
    text_model: str,
    workers: int,
) -> dict[str, float]:
    """Videos a second of an epoch's reading, here and one item at a time."""

    def ours() -> Iterator[int]:
        for step in plan:
            for number, group in enumerate(step):
                yield len(data.group(group, number, seed=0, epoch=1).pre_clips)

    figures = {f"loading, this project{epoch}": videos_a_second(ours) for epoch in ("", ", second epoch")}
    for count in dict.fromkeys((0, workers)):
        # no open file goes to a worker
        plain = OneItemAtATime(work / "features.h5", split.videos, config, text_model)
        loader = DataLoader(
            plain,
            batch_size=12,
            shuffle=True,
            num_workers=count,
            collate_fn=collate,
            multiprocessing_context="spawn" if count else None,
        )
        name = f"loading, one item at a time, {count} workers"
        figures[name] = videos_a_second(lambda loader=loader: (len(group["pre_clips"]) for group in loader))  # type: ignore[misc]
        figures[f"ratio to {name}"] = figures["loading, this project, second epoch"] / figures[name]
    return figures


def training(
    setting: Setting, model: MMN, data: TrainingSet, plan: list[list[list[int]]], steps: int
) -> Iterator[int]:
    """The trainer's own steps; yields the videos of each."""
    run = Run(setting, model, data, World(), lambda what, done, total, note: None)
    weight = start_epoch(model, setting.train, setting.loss, 1)
    for number, step in enumerate(plan[: steps or None]):
        groups = [
            data.group(group, place, seed=derived_seed(0, 1, number, place), epoch=1)
            for place, group in enumerate(step)
        ]
        losses, _ = run.step(groups, len(step), weight)
        if number % 10 == 0:
            click.echo(f"step {number + 1}/{len(plan)}: losses {losses.tolist()}", err=True)
        yield sum(len(group) for group in step)
    if model.device.type == "cuda":
        torch.cuda.synchronize()


@click.command(help=__doc__)
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option("--text-model", required=True)
@click.option("--device", default="cpu")
@click.option("--steps", default=0, help="Training steps of 48 videos; 0 is the whole epoch.")
@click.option("--workers", default=2)
@click.option("--precision", default="float32")
def main(
    work: Path,
    result: Path,
    annotations: Path,
    text_model: str,
    device: str,
    steps: int,
    workers: int,
    precision: str,
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    split = read_annotations(annotations)
    write_features(work / "features.h5", split)
    setting = override(
        load_setting("charades"),
        {"model": {"text_model": text_model}, "train": {"precision": precision}},
        "options",
    )
    torch.manual_seed(0)
    bert, tokenizer, _ = load_pretrained(text_model)
    model = MMN(setting.model, bert, tokenizer).to(device)
    figures: dict[str, float] = {}
    with FeatureFile(work / "features.h5") as features:
        started = time.perf_counter()
        data = TrainingSet(split, features, model, work / "pre_clips.bin")
        figures["preparation, seconds, once a run"] = time.perf_counter() - started
    order = torch.randperm(len(split.videos)).tolist()
    plan = split_epoch(order, setting.train)

    figures |= loading(data, plan, work, split, setting.model, text_model, workers)
    name = f"training, {steps or len(plan)} of {len(plan)} steps of an epoch"
    figures[name] = videos_a_second(lambda: training(setting, model, data, plan, steps))
    about = {
        "command": " ".join(["python", sys.argv[0], "WORK", "RESULT.json", *sys.argv[3:]]),
        "unit": "videos a second, unless said otherwise",
        "videos": len(split.videos),
        "sentences": split.num_sentences,
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu",
        "precision": precision,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    result.write_text(
        json.dumps({**about, "figures": {k: round(v, 3) for k, v in figures.items()}}, indent=1) + "\n",
        encoding="utf-8",
    )
    for name, value in figures.items():
        click.echo(f"{name:60} {value:10.2f}")


if __name__ == "__main__":
    main()
