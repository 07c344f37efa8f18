"""The video side against the official form of it: embedding and training steps of every setting, in turns.

    python benchmarks/embedding.py [--settings charades ...] [--videos N] [--official 2] [--out FILE]

The official form is the same weights as a dense stack: the whole padded map in contiguous layout, BatchNorm
unfolded, then the weights of the masked rule. It takes so long that it gets `--official` videos, ours as many
as `build` puts into a batch; in training, 8. Each number is the best of some rounds, a video. Beside it: how
far the embeddings differ, which form each layer takes, and the share of the processor's measured rate for
products of matrices (of tiles alone; null where a layer takes another form). Weights and features are random;
neither changes the time.
"""

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from machine import about, product_rate
from mmn_index.train.settings import SETTINGS
from torch import Tensor
from torch.nn import functional

from mmn_index.config import ModelConfig
from mmn_index.embedding import batch_size
from mmn_index.model import unit
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings
from mmn_index.video_encoder import VideoEncoder

WIDTH = 512  # of features, where a setting takes them as they are
TRAINED = 8  # videos of a training step


def official(encoder: VideoEncoder, pre_clips: Tensor) -> Embeddings:
    conv = encoder.proposal_conv
    x = encoder.proposal_map(encoder.featpool(pre_clips))
    for layer, (layer_conv, norm) in enumerate(zip(conv.convs, conv.norms, strict=True)):
        count = conv.get_buffer(f"count_{layer}")
        x = norm(layer_conv(x)).relu() * torch.where(count > 0, 1 / count, 0)
    return conv.heads(x[:, :, conv.cells[:, 0], conv.cells[:, 1]].transpose(1, 2))


def encoder_of(config: ModelConfig, pre_clips: Tensor) -> VideoEncoder:
    """Random weights, and statistics of BatchNorm that fit them."""
    encoder = VideoEncoder(config)
    for norm in encoder.proposal_conv.norms:
        norm.momentum = None
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.3)
    with torch.no_grad():
        encoder.train()(pre_clips)
    return encoder.eval()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """The best time of each."""
    ours()
    times = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return min(one for one, _ in times), min(other for _, other in times)


def share(products: float, took: float) -> float | None:
    """What some multiplications reach of the processor's rate; None where they are not known."""
    return None if math.isnan(products) else round(products / took / product_rate(), 3)


def measured(name: str, asked: argparse.Namespace) -> dict[str, object]:
    torch.manual_seed(0)
    config = SETTINGS[name].model
    config = replace(config, input_dim=config.input_dim or WIDTH)
    videos = asked.videos or batch_size(ProposalGrid(config.num_clips, config.pooling_counts))
    most = max(videos, asked.official, TRAINED)
    pre_clips = functional.normalize(torch.randn(most, config.num_pre_clips, config.input_dim), dim=2)
    encoder = encoder_of(config, pre_clips[:2])
    many, few = pre_clips[:videos], pre_clips[: asked.official]
    with torch.inference_mode():
        ours, theirs = in_turns(lambda: encoder(many), lambda: official(encoder, few), asked.rounds)
        pairs = zip(unit(encoder(few)), unit(official(encoder, few)), strict=True)
        off = max(float((one - other).abs().max()) for one, other in pairs)
    embedding = ours / videos, theirs / asked.official
    forms, needed = [], 0.0
    widths = [config.featpool_dim] + [config.conv_dim] * config.conv_layers
    for layer, sparse in enumerate(encoder.proposal_conv.sparse):
        both = widths[layer], widths[layer + 1]
        form, tiled = sparse.form(*both, videos)
        forms.append(form if tiled is None else f"{tiled.tiles} tiles of {tiled.tile}")
        needed += math.nan if tiled is None else tiled.products(*both, videos, thin=1.0)
    result = {
        "videos": videos,
        "embedding a video": compared(*embedding),
        "largest difference of unit embeddings": off,
        "layers": forms,
        "share of the processor's rate": share(needed, ours),
    }
    if not asked.embed_only:
        encoder.train()

        def step(form: Callable[[Tensor], Embeddings], given: Tensor) -> None:
            sum(x.square().sum() for x in form(given)).backward()  # type: ignore[union-attr]
            encoder.zero_grad()

        ours, theirs = in_turns(
            lambda: step(encoder, pre_clips[:TRAINED]),
            lambda: step(lambda x: official(encoder, x), few),
            max(1, asked.rounds - 1),
        )
        result["training step a video"] = compared(ours / TRAINED, theirs / asked.official)
        # Backward makes two products for each one forward.
        result["share of the processor's rate in training"] = share(3 * needed * TRAINED / videos, ours)
    return result


def compared(ours: float, theirs: float) -> dict[str, float]:
    return {
        "ours_ms": round(1000 * ours, 1),
        "official_ms": round(1000 * theirs, 1),
        "ratio": round(theirs / ours, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--videos", type=int, help="of ours in embedding")
    parser.add_argument("--official", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embed-only", action="store_true", help="no training steps")
    parser.add_argument("--out", type=Path, help="a file for the JSON that is printed")
    asked = parser.parse_args()
    found: dict[str, object] = {
        "command": " ".join(["python", "benchmarks/embedding.py", *sys.argv[1:]]),
        "machine": about(),
        "products, multiplications a second": product_rate(),
        "official videos": asked.official,
    }
    for name in asked.settings:
        found[name] = measured(name, asked)
        print(name, json.dumps(found[name]), flush=True)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
