"""A data set that results are compared on: its files, its metric, and what was published about it.

    DIR/<split>.json, DIR/<features>.hdf5      DIR is data/<name> unless another one is named

A published number stands here with the place it was read in. What could not be read anywhere is left out,
so a comparison covers what was verified and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AnnotationError, ConfigError, FeatureError

if TYPE_CHECKING:
    from ..config import ModelConfig
    from .annotations import Annotations


@dataclass(frozen=True)
class Published:
    """Numbers that somebody reported for the test split."""

    name: str  # as a row of a table is called
    source: str  # where they were read
    values: Mapping[str, float]  # percent, by column (`R@1,IoU=0.5`, `mIoU`); only the verified ones


@dataclass(frozen=True)
class Benchmark:
    """One data set: what lies where, how it is measured, what others reached."""

    name: str
    setting: str  # name in train.settings.SETTINGS
    splits: Mapping[str, str]  # split -> file name
    videos: Mapping[str, int]  # videos of a split, where known
    sentences: Mapping[str, int]  # sentences of a split after the official filter, where known
    features: str  # file name
    keys: str  # how the dataset of a video is called, with an example
    width: int  # D of a snippet; 0 takes any
    recalls: tuple[tuple[int, float], ...]  # the n and m of R@n,IoU=m
    nms: float  # temporal IoU above which the worse moment is dropped
    published: tuple[Published, ...]  # the first is the one that results are compared with
    where_features: str  # what to get, and from where
    where_annotations: str
    tubes: bool = False  # of tubes: measured by vIoU, not by `recalls`

    @property
    def folder(self) -> Path:
        """Where its files are looked for unless another folder is named."""
        return Path("data") / self.name

    @property
    def reference(self) -> Published | None:
        """The numbers that results are compared with."""
        return self.published[0] if self.published else None


@dataclass(frozen=True)
class Files:
    """The two files that an evaluation reads."""

    annotations: Path
    features: Path


def locate(
    benchmark: Benchmark,
    split: str = "test",
    *,
    data: Path | None = None,
    annotations: Path | None = None,
    features: Path | None = None,
) -> Files:
    """Where a split and the features lie.

    Args:
        data: the folder that holds both; None takes the benchmark's own.
        annotations: this file in place of the folder's, and so `features`; they are not looked at here.

    Raises:
        ConfigError: there is no such split.
        AnnotationError, FeatureError: a file is not in the folder; the message says what to get, from where,
            and where to put it.
    """
    found = _files(benchmark, split, data)
    lacking_split = [] if annotations else _lacking_split(benchmark, split, found.annotations)
    lacking_features = [] if features else _lacking_features(benchmark, found.features)
    if lacking_split:
        raise AnnotationError(" ".join(lacking_split + lacking_features))
    if lacking_features:
        raise FeatureError(*lacking_features)
    return Files(annotations or found.annotations, features or found.features)


def missing(
    benchmark: Benchmark, splits: Sequence[str], *, data: Path | None = None, features: Path | None = None
) -> list[str]:
    """What of the splits and the features is not in the folder, a paragraph a file: what to get, from where,
    where to put it.

    Args:
        features: this file in place of the folder's; it is not looked at here.

    Raises:
        ConfigError: there is no such split.
    """
    lacking = [
        text
        for split in splits
        for text in _lacking_split(benchmark, split, _files(benchmark, split, data).annotations)
    ]
    return lacking + (
        [] if features else _lacking_features(benchmark, (data or benchmark.folder) / benchmark.features)
    )


def _files(benchmark: Benchmark, split: str, data: Path | None) -> Files:
    if split not in benchmark.splits:
        raise ConfigError(
            f"{benchmark.name} has no split '{split}'; there are {', '.join(benchmark.splits)}."
        )
    folder = data or benchmark.folder
    return Files(folder / benchmark.splits[split], folder / benchmark.features)


def _lacking_split(benchmark: Benchmark, split: str, path: Path) -> list[str]:
    if path.is_file():
        return []
    counts = [f"{number[split]:,} {what}" for what, number in _counts(benchmark) if split in number]
    size = f" ({', '.join(counts)})" if counts else ""
    what = f"It is the {split} split of {benchmark.name}{size}: {benchmark.where_annotations}."
    return [f"{path}: no such file. {what} Put it there, or name the file with --annotations."]


def _lacking_features(benchmark: Benchmark, path: Path) -> list[str]:
    if path.is_file():
        return []
    shape = f"(snippets, {benchmark.width or 'width'})"
    what = f"It holds {benchmark.where_features}: HDF5, {benchmark.keys}, of shape {shape}."
    return [f"{path}: no such file. {what} Put it there, or name the file with --features."]


def _counts(benchmark: Benchmark) -> tuple[tuple[str, Mapping[str, int]], ...]:
    return (("videos", benchmark.videos), ("sentences", benchmark.sentences))


def departures(
    benchmark: Benchmark,
    split: str,
    annotations: "Annotations",
    *,
    width: int | None = None,
    model: "ModelConfig | None" = None,
    own: "ModelConfig | None" = None,
) -> list[str]:
    """In what an evaluation is not the benchmark's own, a line each; empty where nothing differs.

    Args:
        annotations: what is evaluated in place of the split.
        width: of the features.
        model: of the checkpoint; its proposals and its score are part of the protocol.
        own: the benchmark's own, which `model` is held against.
    """
    found = {"videos": len(annotations.videos), "sentences": annotations.num_sentences}
    counts = [
        f"{found[what]:,} {what} instead of {number[split]:,}"
        for what, number in _counts(benchmark)
        if found[what] != number.get(split, found[what])
    ]
    lines = []
    if counts:
        lines.append(
            f"{annotations.path}: this is not the {split} split of {benchmark.name}: {', '.join(counts)}."
        )
    if width is not None and width != (benchmark.width or width):
        lines.append(
            f"these are not the features of {benchmark.name}: their width is {width}, not {benchmark.width}."
        )
    if model is not None and own is not None:
        values = [
            (name, getattr(model, name), getattr(own, name))
            for name in ("num_clips", "pooling_counts", "power")
        ]
        if differing := [
            f"{name} is {value}, not {expected}" for name, value, expected in values if value != expected
        ]:
            lines.append(f"the checkpoint was not made for {benchmark.name}: {', '.join(differing)}.")
    return lines


def differences(values: Mapping[str, float], published: Published) -> dict[str, float]:
    """Points by which values in percent lie above the published ones, to the hundredth, as papers print
    them.
    """
    return {column: round(values[column] - number, 2) for column, number in published.values.items()}


def further_off(values: Mapping[str, float], published: Published, points: float) -> list[str]:
    """Which values lie more than so many points from the published ones, each with both numbers; empty where
    none does.
    """
    return [
        f"{column} is {values[column]:.2f}, published {published.values[column]:.2f}, {difference:+.2f}"
        for column, difference in differences(values, published).items()
        if abs(difference) > points
    ]
