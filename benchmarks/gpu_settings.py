"""The paper's three settings on a GPU, on random features of their shapes: videos embedded a second, and
training steps a second, with the memory that they take.

    python benchmarks/gpu_settings.py WORK RESULT.json --text-model MINILM --device cuda

Embedding is the video side in the batches that `build` makes, in every form: the whole map in float32, TF32
(torch's default for convolutions) and bfloat16, and tiles in the frequency domain in float32, TF32 and
float16, which is how `build` embeds; then as `build` does it, from and to the processor. A share is that of
the convolutions' operations in what a large product reaches in the same precision on the same card; cosines
are with the first form. A training step is the trainer's own, groups, negatives and optimiser included. The
text encoder is a DistilBERT of random weights with the words of MINILM's tokenizer.
(`--device cpu --width 16` runs the same code with narrow layers, for a look at the script.)
"""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import torch
from mmn_index.train.batches import TrainingSet, split_epoch
from mmn_index.train.config import PRECISIONS, Setting
from mmn_index.train.distributed import World
from mmn_index.train.loop import Run
from mmn_index.train.optimiser import start_epoch
from mmn_index.train.settings import load_setting, override
from torch.nn import functional
from transformers import DistilBertConfig, DistilBertModel

from mmn_index.embedding import batch_size, embed_in_batches
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.features import FeatureFile
from mmn_index.half_tiles import HalfTiles
from mmn_index.hub import model_folder
from mmn_index.model import MMN, unit
from mmn_index.pretrained import load_pretrained
from mmn_index.scoring import Embeddings

# Of each data set's training videos, in the middle: seconds, snippets, sentences; and how many are made here.
ABOUT = {"charades": (30, 92, 2, 96), "activitynet": (118, 240, 4, 96), "tacos": (287, 400, 130, 12)}
WORDS = "a person opens the door and sits down on the chair then takes a cup from the table"


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


def matmul_peak(device: str, precision: str) -> float:
    """Operations a second of a large product."""
    size = 8192 if device != "cpu" else 1024
    dtype = torch.float32 if precision in ("float32", "TF32") else getattr(torch, precision)
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    with fast(precision == "TF32"):
        return 2 * size**3 / seconds(lambda: one @ other, most=1)


@contextmanager
def fast(allowed: bool) -> Iterator[None]:
    """Whether products and convolutions of float32 may be made in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    with torch.backends.cudnn.flags(allow_tf32=allowed):
        yield
    torch.backends.cuda.matmul.allow_tf32 = before


def text_encoder(work: Path, tokenizer_of: str) -> str:
    folder = work / "distilbert"
    if not folder.exists():
        torch.manual_seed(0)
        DistilBertModel(DistilBertConfig()).save_pretrained(folder)
        shutil.copy(model_folder(tokenizer_of) / "tokenizer.json", folder)
    return str(folder)


def embedding(setting: Setting, model: MMN, peaks: dict[str, float]) -> Iterator[dict[str, Any]]:
    """Videos a second through the video side in each form, and how near its embeddings are to float32."""
    config, encoder = setting.model, model.video_encoder
    several = batch_size(model.grid) if model.device.type == "cuda" else 2  # halves are slow elsewhere
    videos = torch.randn(several, config.num_pre_clips, config.input_dim, device=model.device)
    for (
        norm
    ) in encoder.proposal_conv.norms:  # statistics that fit the weights: proposals hardly differ otherwise
        norm.momentum = None
    with torch.no_grad():
        encoder.train()(videos[:2])
    conv = encoder.eval().proposal_conv
    counts = [conv.get_buffer(f"count_{layer}").numel() for layer in range(config.conv_layers)]
    whole = 2 * config.conv_kernel**2 * config.conv_dim**2 * sum(counts)

    def autocast(given: torch.Tensor) -> Embeddings:
        with torch.autocast(model.device.type, torch.bfloat16):
            return encoder(given)

    forms: list[tuple[str, str, Callable[[torch.Tensor], Embeddings]]] = [
        ("whole map", "float32", encoder),
        ("whole map", "TF32", encoder),
        ("whole map", "bfloat16", autocast),
    ]
    tiles = {"float32": torch.float32, "TF32": torch.float32, "float16": torch.float16}
    forms += [("tiles", precision, HalfTiles(encoder, dtype)) for precision, dtype in tiles.items()]
    reference: Embeddings | None = None
    for form, precision, run in forms:
        with torch.inference_mode(), fast(precision == "TF32"):
            found = Embeddings(*(x.float() for x in unit(run(videos))))
            took = seconds(lambda: unit(run(videos)), most=2)  # noqa: B023
        reference = reference or found
        operations = several * (run.operations if isinstance(run, HalfTiles) else whole)
        yield {
            "form": form,
            "precision": precision,
            "videos embedded a second": several / took,
            "share of the product in this precision": operations / took / peaks[precision],
            "lowest cosine with the first": min(map(lowest, found, reference)),
            "the same without what all have in common": min(map(lowest_apart, found, reference)),
        }
    host = videos.cpu()
    numbers = list(range(several)) * 8
    took = seconds(lambda: list(embed_in_batches(model, host.__getitem__, numbers)), most=4, times=8)
    yield {
        "form": "as build embeds, from and to the processor",
        "videos embedded a second": len(numbers) / took,
    }


def lowest(one: torch.Tensor, other: torch.Tensor) -> float:
    """The lowest cosine of two sets of vectors."""
    return float(functional.cosine_similarity(one.double(), other.double(), dim=2).min())


def lowest_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The same after the mean of the second was taken off both."""
    mean = other.mean(dim=(0, 1))
    return lowest(one - mean, other - mean)


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
    text, rows = text_encoder(work, text_model), []
    peaks = {name: matmul_peak(device, name) for name in ("float32", "TF32", "bfloat16", "float16")}
    for name in ABOUT:
        narrow = {"conv_dim": width, "featpool_dim": width} if width else {}
        for precision in PRECISIONS:
            changes = {"model": {"text_model": text, **narrow}, "train": {"precision": precision}}
            setting = override(load_setting(name), changes, "options")
            torch.manual_seed(0)
            model = MMN(setting.model, *load_pretrained(text)).to(device)
            if precision == "float32":
                random_split(work, name, setting.model.input_dim)
                for row in embedding(setting, model, peaks):
                    rows.append({"setting": name, **row})
                    click.echo(rows[-1])
            for row in training(setting, model, work, name):
                rows.append({"setting": name, **row})
                click.echo(rows[-1])
    about = {
        "command": " ".join(["python", sys.argv[0], "WORK", "RESULT.json", *sys.argv[3:]]),
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "products, TFLOP/s": {name: peak / 1e12 for name, peak in peaks.items()},
    }
    result.write_text(json.dumps({**about, "figures": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
