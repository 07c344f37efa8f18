"""The paper's three settings on a GPU, on random features of their shapes: videos embedded a second, and
training steps a second, with the memory that they take.

    python benchmarks/gpu_settings.py WORK RESULT.json --text-model MINILM --device cuda

Embedding is the video side in batches of 16, in torch's default precision (float32, convolutions in TF32),
without the way from and to the processor; its share is that of the dense convolutions' operations in what a
large product reaches in TF32 on the same card. A training step is the trainer's own, groups, negatives and
optimiser included. The text encoder is a DistilBERT of random weights with the words of MINILM's tokenizer.
(`--device cpu --width 16` runs the same code with narrow layers, for a look at the script.)
"""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import torch
from mmn_index.train.batches import TrainingSet, split_epoch
from mmn_index.train.config import PRECISIONS, Setting, load_setting, override
from mmn_index.train.distributed import World
from mmn_index.train.loop import Run
from mmn_index.train.optimiser import start_epoch
from transformers import DistilBertConfig, DistilBertModel

from mmn_index.evaluation.annotations import read_annotations
from mmn_index.features import FeatureFile
from mmn_index.hub import model_folder
from mmn_index.model import MMN, unit
from mmn_index.pretrained import load_pretrained

# Of each data set's training videos, in the middle: seconds, snippets, sentences; and how many are made here.
ABOUT = {"charades": (30, 92, 2, 96), "activitynet": (118, 240, 4, 96), "tacos": (287, 400, 130, 12)}
WORDS = "a person opens the door and sits down on the chair then takes a cup from the table"
BATCH = 16


def seconds(run: Callable[[], Any], *, most: float, times: int = 60) -> float:
    """Median seconds, warmed up twice; for `most` seconds or so many times."""
    took: list[float] = []
    while len(took) < 5 or (sum(took) < most and len(took) < times):
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append(time.perf_counter() - started)
    return statistics.median(took[2:])


def matmul_peak(device: str) -> float:
    """Operations a second of a large product in TF32, or in what a CPU has."""
    size = 8192 if device != "cpu" else 1024
    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    took = seconds(lambda: one @ other, most=1)
    torch.set_float32_matmul_precision(before)
    return 2 * size**3 / took


def text_encoder(work: Path, tokenizer_of: str) -> str:
    folder = work / "distilbert"
    if not folder.exists():
        torch.manual_seed(0)
        DistilBertModel(DistilBertConfig()).save_pretrained(folder)
        shutil.copy(model_folder(tokenizer_of) / "tokenizer.json", folder)
    return str(folder)


def embedding(setting: Setting, model: MMN, peak: float) -> dict[str, Any]:
    """Videos a second through the video side."""
    config, encoder = setting.model, model.video_encoder.eval()
    videos = torch.randn(BATCH, config.num_pre_clips, config.input_dim, device=model.device)
    with torch.inference_mode():
        took = seconds(lambda: unit(encoder(videos)), most=2)
    conv = encoder.proposal_conv
    counts = [conv.get_buffer(f"count_{layer}").numel() for layer in range(config.conv_layers)]
    operations = 2 * BATCH * config.conv_kernel**2 * config.conv_dim**2 * sum(counts)
    return {"videos embedded a second": BATCH / took, "share of the TF32 product": operations / took / peak}


def random_split(work: Path, name: str, width: int) -> None:
    """Features and annotations of random videos."""
    random = np.random.default_rng(0)
    duration, snippets, sentences, videos = ABOUT[name]
    content = {}
    with h5py.File(work / f"{name}.h5", "w") as file:
        for number in range(videos):
            file[f"v{number}"] = random.normal(size=(snippets, width)).astype(np.float32)
            start = duration * random.uniform(0, 0.7, sentences)
            end = start + duration * random.uniform(0.05, 0.3, sentences)
            content[f"v{number}"] = {
                "duration": duration,
                "timestamps": np.stack([start, end], axis=1).tolist(),
                "sentences": [" ".join(random.choice(WORDS.split(), 12)) for _ in range(sentences)],
            }
    (work / f"{name}.json").write_text(json.dumps(content))


def training(setting: Setting, model: MMN, work: Path, name: str) -> Iterator[dict[str, Any]]:
    """Steps a second, the text encoder frozen and trained."""
    split = read_annotations(work / f"{name}.json")
    with FeatureFile(work / f"{name}.h5") as features:
        data = TrainingSet(split, features, model, work / "pre_clips.bin")
    for frozen in (True, False):
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        run = Run(setting, model, data, World(), lambda what, done, total, note: None)
        epoch = 1 if frozen else setting.train.freeze_text_epochs + 1
        weight = start_epoch(model, setting.train, setting.loss, epoch)
        run.wrap(not frozen)
        numbers = iter(range(1 << 30))

        def step(run: Run = run, epoch: int = epoch, weight: float = weight) -> None:
            groups = split_epoch(torch.randperm(len(data.videos)).tolist(), setting.train)[0]
            seed = next(numbers)  # noqa: B023
            made = [data.group(videos, place, seed=seed, epoch=epoch) for place, videos in enumerate(groups)]
            run.step(made, len(groups), weight)

        took = seconds(step, most=4)
        yield {
            "precision": setting.train.precision,
            "text encoder": "frozen" if frozen else "trained",
            "steps a second": 1 / took,
            "videos a second": setting.train.batch_size / took,
            "memory, GiB": torch.cuda.max_memory_allocated() / 2**30 if model.device.type == "cuda" else None,
        }


@click.command(help=__doc__)
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--text-model", required=True)
@click.option("--device", default="cuda", show_default=True)
@click.option("--width", type=int, help="Of the layers, instead of the paper's 512.")
def main(work: Path, result: Path, text_model: str, device: str, width: int | None) -> None:
    work.mkdir(parents=True, exist_ok=True)
    text, peak, rows = text_encoder(work, text_model), matmul_peak(device), []
    for name in ABOUT:
        narrow = {"conv_dim": width, "featpool_dim": width} if width else {}
        for precision in PRECISIONS:
            changes = {"model": {"text_model": text, **narrow}, "train": {"precision": precision}}
            setting = override(load_setting(name), changes, "options")
            torch.manual_seed(0)
            model = MMN(setting.model, *load_pretrained(text)).to(device)
            if precision == "float32":
                random_split(work, name, setting.model.input_dim)
                rows.append({"setting": name, **embedding(setting, model, peak)})
                click.echo(rows[-1])
            for row in training(setting, model, work, name):
                rows.append({"setting": name, **row})
                click.echo(rows[-1])
    about = {
        "command": " ".join(["python", sys.argv[0], "WORK", "RESULT.json", *sys.argv[3:]]),
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "product in TF32, TFLOP/s": peak / 1e12,
    }
    result.write_text(json.dumps({**about, "figures": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
