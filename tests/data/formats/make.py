"""Makes the stored index of one earlier version, with that version's code; see README.md.

Usage: make.py VERSION FOLDER, with the tree of that version on the path.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

WORDS = ["[PAD]", "[UNK]", "a", "person", "opens", "closes", "the", "door", "reads", "book", "sits", "down"]
SENTENCES = ("a person opens the door", "a person closes the door", "a person reads a book", "person sits")
DIM = 8
VIDEOS = {"first": ("cam1/a", "cam1/b", "cam2/c"), "second": ("cam2/d", "cam3/e")}


def text_model(folder: Path) -> None:
    """A BERT of one layer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **sizes)).save_pretrained(folder)


def checkpoint(folder: Path, text: Path, **about: Any) -> None:
    """A model of random weights whose embeddings fill the sphere."""
    from mmn_index import checkpoint
    from mmn_index.config import ModelConfig
    from mmn_index.model import MMN

    try:
        from mmn_index.pretrained import load_pretrained
    except ImportError:
        from mmn_index.text_encoder import load_pretrained
    config = ModelConfig(
        input_dim=DIM,
        num_pre_clips=8,
        num_clips=4,
        pooling_counts=(3,),
        featpool_kernel=2,
        conv_kernel=3,
        conv_layers=1,
        featpool_dim=6,
        conv_dim=6,
        joint_dim=4,
        text_model=str(text),
    )
    torch.manual_seed(1)
    model = MMN(config, *load_pretrained(str(text)))
    conv = model.video_encoder.proposal_conv
    pre_clips = torch.randn(64, 8, DIM)
    with torch.no_grad():
        for norm in conv.norms:
            norm.momentum = None
            norm.reset_running_stats()
        model.video_encoder.train()(pre_clips)
        heads = (conv.contrastive_head, conv.iou_head)
        for head, made in zip(heads, model.video_encoder.eval()(pre_clips), strict=True):
            head.bias -= made.mean(dim=(0, 1))
        texts = model.text_encoder(*model.tokenizer(list(SENTENCES)))
        for head, made in zip(
            (model.text_encoder.contrastive_head, model.text_encoder.iou_head), texts, strict=True
        ):
            head.bias -= made.mean(dim=0)
    checkpoint.save(model, folder, features="random", **about)


def features(
    path: Path, videos: tuple[str, ...], seed: int, length: float = 20.0, backbone: str = "random"
) -> None:
    """Random snippets, one a second, written as that version's `extract` does."""
    try:
        from mmn_index.feature_writer import FeatureWriter
    except ImportError:
        from mmn_index.features import FeatureWriter
    rng = np.random.default_rng(seed)
    with FeatureWriter(path, backbone=backbone, rate=1.0) as writer:
        for number, video_id in enumerate(videos):
            seconds = length + number
            rows = rng.normal(size=(int(seconds), DIM)).astype(np.float32)
            writer.add(video_id, rows, duration=seconds, source=f"/nowhere/{video_id}.mp4")


def run(*args: object) -> str:
    """A command of that version."""
    from click.testing import CliRunner
    from mmn_index.cli.main import main

    result = CliRunner().invoke(main, [str(arg) for arg in args])
    if result.exit_code:
        raise RuntimeError(f"{args}: {result.output} {result.exception!r}")
    return result.stdout


def answers(root: Path, questions: list[list[str]]) -> list[dict[str, Any]]:
    """What that version's `search --json` finds."""
    found = []
    for question in questions:
        lines = run("search", *question, "--index", root, "-k", 4, "--json").splitlines()
        keys = ("video", "start", "end", "score", "confidence", "exact", "first", "second")
        hits = [{key: hit[key] for key in keys if key in hit} for hit in map(json.loads, lines)]
        found.append({"question": question, "hits": hits})
    return found


def format_1(folder: Path) -> list[dict[str, Any]]:
    """No command yet: by the library."""
    from mmn_index.index_build.build import build

    from mmn_index import checkpoint
    from mmn_index.features import FeatureFile
    from mmn_index.index import MomentIndex
    from mmn_index.search import SearchOptions, search

    with FeatureFile(folder / "first.h5") as opened:
        build(folder / "model", opened, folder / "index.mmn")
    index = MomentIndex(folder / "index.mmn")
    model, found = checkpoint.load(folder / "model"), []
    for sentence in SENTENCES:
        for score in ("collection", "product"):
            (answer,) = search(index, model, [sentence], score=score, options=SearchOptions(k=4))
            hits = [
                {"video": h.video_id, "start": h.start, "end": h.end, "score": h.score, "exact": answer.exact}
                for h in answer.hits
            ]
            found.append({"question": [sentence, "--score", score], "hits": hits})
    return found


QUESTIONS = [
    *([sentence] for sentence in SENTENCES),
    [SENTENCES[0], "--score", "product"],
    [SENTENCES[1], "--where", "room=hall"],
    [SENTENCES[2], "--video", "cam1/a", "--nms", "1"],
    [SENTENCES[3], "--not", SENTENCES[1]],
    [SENTENCES[0], "--then", SENTENCES[2]],
]


def grown(folder: Path, *bank: object) -> None:
    """Built with a candidate index, added to, and without one video."""
    (folder / "rooms.csv").write_text(
        "video_id,room,seen\ncam1/a,hall,1\ncam2/c,yard,2\ncam2/d,hall,3\n", encoding="utf-8"
    )
    options = ("--metadata", folder / "rooms.csv")
    candidates = ("--vectors", "IVF2,SQ8")
    run(
        "build",
        folder / "model",
        folder / "first.h5",
        "-o",
        folder / "index.mmn",
        *candidates,
        *options,
        *bank,
    )
    run("add", folder / "second.h5", "--index", folder / "index.mmn", *options)
    run("remove", "cam1/b", "--index", folder / "index.mmn")


def format_2(folder: Path) -> list[dict[str, Any]]:
    """Several segments, one with a candidate index, a removed video, columns."""
    grown(folder)
    return answers(folder / "index.mmn", QUESTIONS)


def format_3(folder: Path) -> list[dict[str, Any]]:
    """The same with a bank."""
    (folder / "bank.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    grown(folder, "--bank", folder / "bank.txt")
    return answers(folder / "index.mmn", [*QUESTIONS, [SENTENCES[0], "--hub", "0"]])


def calibrated(folder: Path) -> None:
    """Confidences, fitted on sentences that the bank has not."""
    content, chosen = {}, ("person opens", "person closes the book", "a person reads", "the person sits down")
    for number, name in enumerate(VIDEOS["first"]):
        two = [chosen[number], chosen[number + 1]]
        content[name] = {
            "duration": 20.0 + number,
            "timestamps": [[2.0, 9.5], [10.0, 16.0]],
            "sentences": two,
        }
    (folder / "val.json").write_text(json.dumps(content), encoding="utf-8")
    run(
        "calibrate",
        folder / "first.h5",
        "--annotations",
        folder / "val.json",
        "--index",
        folder / "index.mmn",
    )


def last_format_3(folder: Path) -> list[dict[str, Any]]:
    """A frozen text encoder inside, calibrated, with background.npy."""
    grown(folder)
    calibrated(folder)
    return answers(folder / "index.mmn", [*QUESTIONS, [SENTENCES[0], "--hub", "0"]])


def first_format_4(folder: Path) -> list[dict[str, Any]]:
    """Windows: the model knows shorter videos than the second file has."""
    return last_format_3(folder)


def dual_encoder(folder: Path) -> list[dict[str, Any]]:
    """The first format 4 without training."""
    from mmn_index.index_build.build import build
    from mmn_index.index_build.source import Source

    from mmn_index.features import FeatureFile
    from mmn_index.windows import WindowRule
    from mmn_index.zero_shot import ZeroShotConfig, make
    from tests.tiny_dual_encoders import save

    save("clip", folder / "clip")
    config = ZeroShotConfig(num_clips=4, pooling_counts=(3,), windows=WindowRule(16))
    backbone = make(str(folder / "clip"), folder / "model", config)
    features(folder / "first.h5", VIDEOS["first"], 5, 50.0, backbone)
    with FeatureFile(folder / "first.h5") as opened:
        build(folder / "model", Source(opened), folder / "index.mmn")
    return answers(folder / "index.mmn", [[sentence] for sentence in SENTENCES])


MAKE = {
    "1": (format_1, {}),
    "2": (format_2, {}),
    "3": (format_3, {}),
    "3-last": (last_format_3, {"sentences": SENTENCES, "self_contained": True}),
    "4-first": (first_format_4, {"sentences": SENTENCES, "self_contained": True, "durations": (10.0, 14.0)}),
}


def main() -> None:
    """Make one."""
    version, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if version == "4-dual":
        found = dual_encoder(folder)
    else:
        made, about = MAKE[version]
        text_model(folder / "text")
        checkpoint(folder / "model", folder / "text", **about)
        features(folder / "first.h5", VIDEOS["first"], 2)
        features(folder / "second.h5", VIDEOS["second"], 3)
        found = made(folder)
    (folder / "answers.json").write_text(json.dumps(found, indent=0), encoding="utf-8")


main()
