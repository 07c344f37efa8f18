"""What the benchmarks aimed at, and whether it was reached."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAMES = {
    "activitynet": "ActivityNet Captions",
    "tacos": "TACoS",
    "charades": "Charades-STA",
    "ucf-moments": "ucf-moments",
    "playhouse": "playhouse",
    "playhouse-small": "playhouse-small",
}
LISTS = "64 lists of 100, one moment a video"
MILLION, LARGEST = 1_000_224, 5_393_040  # moments of the indexes of search.json that have goals
EMBEDDING = {"activitynet": 6.0, "tacos": 3.0, "charades": 3.0}
TRAINING = {"activitynet": 3.0, "ucf-moments": 1.5, "playhouse": 1.5}
SCAN = {"1 query": 1.1, "64 queries": 1.25}
# What explains a goal that is missed; {NAME} is a figure of the page.
WHY = {
    "embedding": "the layers' products run at {lowest share} to {highest share} % of the processor's rate.",
    "training": "the layers' products run at {lowest share} to {highest share} % of the processor's rate.",
    "pixels": (
        "decoding and scaling take {walk share} % of its time, NumPy's passes over each frame the rest, hues "
        "and directions above all. More needs compiled code, a new dependency."
    ),
    "renderer": (
        "encoding and the way to the encoder take {encoder share of rendering} % of its time; the rest draws "
        "one shape after another, in Python. More needs another way to draw."
    ),
    "busy": (
        "the start of the processes counts, and at the end not every worker has a video. {idle} % of the "
        "machine was idle in this run; what else is missing was taken by other work on it."
    ),
    "lists": (
        "ranking and NMS take {list rank} ms, confidences {list evidence} ms, beside {list text} ms of the "
        "text encoder."
    ),
    "1 query": "it reads {scan rate} GB/s; a copy moves {copy rate} GB/s, read and written.",
    "64 queries": (
        "the bare product makes one number of a query and a moment. The scan makes two cosines and a score."
    ),
    "candidates": "{candidate now} ms a query, before {candidate before} ms, by turns.",
}


@dataclass(frozen=True)
class Goal:
    """What was aimed at, and what came of it.

    Attributes:
        key: of WHY.
    """

    key: str
    name: str
    aim: float
    measured: float
    unit: str = " x"
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.measured >= self.aim if self.at_least else self.measured <= self.aim

    def cells(self) -> list[str]:
        """Of a row of a table."""
        number = f"{self.measured:.2f}" if self.measured < 10 else f"{self.measured:.1f}"
        aim = f"{'at least' if self.at_least else 'at most'} {self.aim:g}{self.unit}"
        return [self.name, aim, number + self.unit, "yes" if self.met else "**no**"]


def goals(results: Mapping[str, Any]) -> Iterator[Goal]:
    """All of them, from the content of the result files by their names."""
    embedding, film = results["embedding"], results["extraction"]
    now = {size["moments"]: size for size in results["search"]["sizes"]}
    for name, aim in EMBEDDING.items():
        yield Goal(
            "embedding", f"embedding, {NAMES[name]}", aim, embedding[name]["embedding a video"]["ratio"]
        )
    for name, aim in TRAINING.items():
        ratio = embedding[name]["training step a video"]["ratio"]
        yield Goal("training", f"training step, {NAMES[name]}", aim, ratio)
    yield Goal("pixels", "`pixels`, for the same features", 3, film["pixels"]["times_the_earlier"])
    yield Goal("renderer", "renderer, for the same files", 3, film["rendering"]["times_the_earlier"])
    yield Goal("busy", "`extract`: cores busy", 85, 100 * film["pixels"]["busy"], " %")
    ratio = results["query"]["warm, ms"][LISTS]["all but text, times text"]
    what = f"{LISTS}: all but the text encoder, over its time"
    yield Goal("lists", what, 3, ratio, at_least=False)
    for kind, aim in SCAN.items():
        ratio = now[MILLION][f"exact scan over bare, {kind}"]
        what = f"exact scan of {MILLION:,} moments over the bare product, {kind}"
        yield Goal(kind, what, aim, ratio, at_least=False)
    what = f"candidate index of {LARGEST:,} moments, 1 query, beside the version before"
    ratio = results["search_beside"]["times as fast, median of rounds"]["1 query, ms"]
    yield Goal("candidates", what, 1.5, ratio)
