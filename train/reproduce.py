"""A benchmark from its files to a verdict: train with the paper's setting, evaluate on the test split,
compare.

OUT/seed0/ ...       the folder of each run (resume.py), with test.json, its result on the test split
OUT/results.json     all seeds, mean and deviation, what was published, the differences
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.errors import AnnotationError, ConfigError, FeatureError
from mmn_index.evaluation.annotations import Annotations, read_annotations
from mmn_index.evaluation.benchmarks import Benchmark, differences, further_off, missing
from mmn_index.evaluation.tube_answers import answer_tubes, tube_table
from mmn_index.evaluation.tube_truths import TubeTruths, read_truths
from mmn_index.evaluation.usable_tubes import usable_tubes
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.features import FeatureFile
from mmn_index.tube_file import TubeFile

from .config import Setting
from .distributed import first_process, world
from .loop import Report
from .run import train

WITHIN = 0.5  # points; what MMN's authors call a good reproduction (MCG-NJU/MMN issue 5)
SELECTIONS = ("validation", "test", "last")


@dataclass(frozen=True)
class Reproduction:
    """Results of all seeds on the test split, in percent by column."""

    benchmark: Benchmark
    seeds: Mapping[int, Mapping[str, float]]
    epochs: Mapping[int, int]  # whose weights were kept
    selection: str

    @property
    def mean(self) -> dict[str, float]:
        """Of each column over the seeds."""
        return {
            column: mean(values[column] for values in self.seeds.values())
            for column in next(iter(self.seeds.values()))
        }

    @property
    def deviation(self) -> dict[str, float]:
        """Standard deviation of each column over the seeds; empty for a single seed."""
        if len(self.seeds) < 2:
            return {}
        return {column: stdev([values[column] for values in self.seeds.values()]) for column in self.mean}

    def verdict(self) -> str:
        """Whether the mean lies within half a point of every published number that was verified, and what
        chance does to it.
        """
        reference = self.benchmark.reference
        if reference is None:
            return f"Nothing is published for {self.benchmark.name}: there is no verdict."
        count = len(reference.values)
        far = further_off(self.mean, reference, WITHIN)
        if not far:
            return (
                f"Reproduced: within {WITHIN} points of {'all ' * (count > 1)}{count} of {reference.name}'s "
                "verified numbers."
            )
        below = [text for text in far if differences(self.mean, reference)[text.split(" is ")[0]] < 0]
        word = "Not reproduced" if below else "Better"
        text = (
            f"{word}: {len(far)} of {count} verified numbers lie more than {WITHIN} points off "
            f"({'; '.join(far)})."
        )
        # Half a point is less than chance moves the mean of a few seeds of a small data set.
        error = {
            column: value / len(self.seeds) ** 0.5
            for column, value in self.deviation.items()
            if column in reference.values
        }
        unclear = [column for column, value in error.items() if value > WITHIN]
        if unclear:
            widest = max(unclear, key=error.__getitem__)
            text += (
                f" {len(self.seeds)} seeds cannot tell half a point apart here: the standard error of the "
                f"mean is up to {error[widest]:.1f} ({widest})."
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        reference = self.benchmark.reference
        return {
            "dataset": self.benchmark.name,
            "selection": self.selection,
            "seeds": {str(seed): dict(values) for seed, values in self.seeds.items()},
            "epochs": {str(seed): epoch for seed, epoch in self.epochs.items()},
            "mean": self.mean,
            "deviation": self.deviation,
            "published": [
                {"name": p.name, "source": p.source, "values": dict(p.values)}
                for p in self.benchmark.published
            ],
            "difference": differences(self.mean, reference) if reference else {},
            "verdict": self.verdict(),
        }


def reproduce(
    benchmark: Benchmark,
    setting: Setting,
    out: Path,
    *,
    data: Path,
    features: Path | None = None,
    feature_names: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    selection: str = "validation",
    device: str = "cpu",
    report: Report = lambda what, done, total, note: None,
) -> Reproduction:
    """Train once a seed and evaluate on the test split. Called again, it takes up what is unfinished.

    Args:
        setting: the benchmark's own, or another for an experiment.
        data: folder with the benchmark's files.
        features: this file in place of the folder's.
        feature_names: of several arrays below each video's name, the ones to read; see FeatureFile.
        selection: which epoch is kept. "validation": the best on the validation split or, where the data set
            has none, on the setting's hold-out; "test": the best on the test split, as the paper's authors
            chose by their logs, which flatters the result; "last".

    Raises:
        ConfigError, AnnotationError, FeatureError: the files are not in place; the message says what to get
            and where from.
    """
    if selection not in SELECTIONS:
        raise ConfigError(f"the selection is '{selection}', expected one of {', '.join(SELECTIONS)}.")
    splits = _splits(benchmark, data, features)
    path = features or data / benchmark.features
    results, epochs = {}, {}
    with TubeFile(path) if benchmark.tubes else FeatureFile(path, feature_names) as opened, world(device):
        check_features(benchmark, opened, splits.values())
        validation = splits.get("test" if selection == "test" else "val")
        for seed in seeds:
            choice = "last" if selection == "last" else "best"
            own = replace(setting, train=replace(setting.train, seed=seed, select=choice))
            run = out / f"seed{seed}"
            told = partial(_tell, report, seed)
            result = train(
                own,
                splits["train"],
                opened,
                run,
                validation=validation,
                device=device,
                resume=True,
                report=told,
            )
            if first_process():
                epochs[seed] = result.epoch
                results[seed] = _evaluate(benchmark, own, splits["test"], opened, run, device, told)
    found = Reproduction(benchmark, results, epochs, selection)
    if first_process():
        (out / "results.json").write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
    return found


def _tell(report: Report, seed: int, what: str, done: int, total: int, note: str) -> None:
    report(f"seed {seed}, {what}", done, total, note)


def _splits(
    benchmark: Benchmark, data: Path, features: Path | None
) -> dict[str, Annotations] | dict[str, TubeTruths]:
    names = list(benchmark.splits)
    lacking = missing(benchmark, names, data=data, features=features)
    if lacking:
        raise ConfigError(f"{len(lacking)} files of {benchmark.name} are not in place. " + " ".join(lacking))
    if benchmark.tubes:
        return {name: read_truths(data / benchmark.splits[name]) for name in names}
    splits = {name: read_annotations(data / benchmark.splits[name]) for name in names}
    for name, split in splits.items():
        for what, found, known in (
            ("videos", len(split.videos), benchmark.videos),
            ("sentences", split.num_sentences, benchmark.sentences),
        ):
            if found != known.get(name, found):
                raise AnnotationError(
                    f"{split.path}: has {found:,} {what}, the {name} split of {benchmark.name} has "
                    f"{known[name]:,}. Get it from {benchmark.where_annotations}."
                )
    return splits


def check_features(
    benchmark: Benchmark, features: FeatureFile | TubeFile, splits: Iterable[Annotations | TubeTruths]
) -> None:
    """Whether the features of every video are there, of the right width. A video may have no tube.

    Raises:
        FeatureError: with the number of the missing ones, examples, and what was expected from where; or
            tubes were made of other pictures than the annotated ones.
    """
    if isinstance(features, TubeFile):
        for split in splits:
            assert isinstance(split, TubeTruths)
            if left_out := usable_tubes(split, features)[1]:
                raise FeatureError(f"{left_out[0].why} {len(left_out):,} videos cannot be measured.")
        return
    wanted = [video.video_id for split in splits for video in split.videos]
    lacking = [video for video in wanted if video not in features]
    expected = (
        f"Expected {benchmark.where_features}: HDF5, {benchmark.keys}, of shape (snippets, "
        f"{benchmark.width or 'width'})."
    )
    if lacking:
        raise FeatureError(
            f"{features.path}: lacks {len(lacking):,} of the {len(wanted):,} videos of {benchmark.name}, "
            f"e.g. '{lacking[0]}'; it has '{features.video_ids[0]}'. {expected}"
        )
    if features.dim != (benchmark.width or features.dim):
        raise FeatureError(f"{features.path}: has features of width {features.dim}. {expected}")


def _evaluate(
    benchmark: Benchmark,
    setting: Setting,
    test: Annotations | TubeTruths,
    features: FeatureFile | TubeFile,
    run: Path,
    device: str,
    report: Report,
) -> dict[str, float]:
    """Recall on the test split of the model that a run kept; read back where it stands already."""
    fingerprint = checkpoint.info(run / "model").fingerprint
    path = run / "test.json"
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["fingerprint"] == fingerprint:
            return dict(known["values"])
    model = checkpoint.load(run / "model", device)

    def told(done: int, total: int) -> None:
        report("test split", done, total, "")

    if isinstance(test, TubeTruths):
        assert isinstance(features, TubeFile)
        values = tube_table(answer_tubes(model, test.videos, features, report=told))
    else:
        assert isinstance(features, FeatureFile)
        own = features
        values = evaluate_videos(
            model,
            test.videos,
            lambda video: stored_pre_clips(own, video, model.config),
            score=setting.train.score,
            nms=benchmark.nms,
            recalls=benchmark.recalls,
            report=told,
        ).table()
    path.write_text(
        json.dumps({"fingerprint": fingerprint, "values": values}, indent=1) + "\n", encoding="utf-8"
    )
    return values
