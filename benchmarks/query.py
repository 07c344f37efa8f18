"""Where a millisecond of a query goes: in a new process, in one that is warm, and at a server.

    python benchmarks/query.py INDEX [--rounds 5] [--out FILE]

INDEX is one of a trained model, such as that of `make demo`. All in one run:

- cold: `mmn-index search`, `mmn-index search --server`, and `import torch, transformers` as a reference, in
  turns;
- warm: the stages of one sentence, of 64, and of 64 whose lists hold 100 moments, at most one of a video.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from machine import about, product_rate
from serving import COMMAND, sentences, served

from mmn_index.index import MomentIndex
from mmn_index.model import MMN
from mmn_index.models import load_model
from mmn_index.search import SearchOptions, engine, search
from mmn_index.search.evidence import Rest

STAGES = {
    "tokenise": (MMN, "tokenizer"),
    "scan": (MomentIndex, "candidates"),
    "rank and NMS": (engine, "rank"),
    "hits": (engine, "hits_of"),
    "evidence": (Rest, "judge"),
}


@contextmanager
def timed(model: MMN, spent: dict[str, float]) -> Iterator[None]:
    """Adds the seconds of each stage to `spent`."""

    def wrapped(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - began

        return measured

    with ExitStack() as patches:
        for stage, (owner, name) in STAGES.items():
            where = model if owner is MMN else owner
            patches.enter_context(mock.patch.object(where, name, wrapped(stage, getattr(where, name))))
        forward = wrapped("encode", model.text_encoder.forward)
        patches.enter_context(mock.patch.object(model.text_encoder, "forward", forward))
        yield


def warm(root: Path, rounds: int) -> dict[str, Any]:
    index = MomentIndex(root)
    model = load_model(index.model_path)
    asked, rate = sentences(0), product_rate()
    linear = [part for part in model.text_encoder.modules() if isinstance(part, torch.nn.Linear)]
    weights = sum(part.weight.numel() for part in linear)
    found: dict[str, Any] = {"moments": index.num_moments, "products, multiplications a second": rate}
    for name, count, options in (
        ("1 sentence", 1, SearchOptions()),
        ("64 sentences", 64, SearchOptions()),
        ("64 lists of 100, one moment a video", 64, SearchOptions(k=100, per_video=1)),
    ):
        runs, tokens = [], 0
        for _ in range(rounds + 1):
            given = [next(asked) for _ in range(count)]
            tokens += sum(map(model.tokenizer.count, given))
            spent: dict[str, float] = {}
            with timed(model, spent):
                began = time.perf_counter()
                search(index, model, given, options=options)
                whole = time.perf_counter() - began
            runs.append({**spent, "rest": whole - sum(spent.values()), "all": whole})
        whole = sorted(runs[1:], key=lambda run: run["all"])[rounds // 2]  # the one in the middle
        stages = {stage: 1000 * whole.get(stage, 0.0) for stage in [*STAGES, "encode", "rest", "all"]}
        text = stages["tokenise"] + stages["encode"]
        found[name] = {stage: round(ms, 2) for stage, ms in stages.items()}
        found[name]["all but text, times text"] = round((stages["all"] - text) / text, 2)
        least = 1000 * weights * tokens / (rounds + 1) / rate
        found[name]["products of the text encoder at the processor's rate"] = round(least, 2)
    return found


def cold(root: Path, rounds: int) -> dict[str, Any]:
    with served(root) as (url, _):
        lines = {
            "import torch, transformers": [sys.executable, "-c", "import torch, transformers"],
            "mmn-index search": [COMMAND, "search", "a person opens the door", "--index", str(root)],
            "mmn-index search --server": [COMMAND, "search", "a person opens the door", "--server", url],
        }
        took: dict[str, list[float]] = {name: [] for name in lines}
        for number in range(rounds + 1):
            for name, line in lines.items():
                began = time.perf_counter()
                subprocess.run(line, check=True, capture_output=True)
                if number:  # the first one reads the files from the disk
                    took[name].append(time.perf_counter() - began)
    seconds = {name: statistics.median(times) for name, times in took.items()}
    reference = seconds["import torch, transformers"]
    return {
        name: {"s": round(found, 2), "times the reference": round(found / reference, 2)}
        for name, found in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a file for the JSON that is printed")
    asked = parser.parse_args()
    found: dict[str, Any] = {
        "command": f"python benchmarks/query.py INDEX --rounds {asked.rounds}",
        "machine": about(),
    }
    with torch.inference_mode():
        found["warm, ms"] = warm(asked.index, asked.rounds)
    found["cold"] = cold(asked.index, asked.rounds)
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
