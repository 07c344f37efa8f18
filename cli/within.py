"""The part of `mmn-index eval` that measures a checkpoint within annotated videos."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmn_index.errors import FeatureError
from mmn_index.evaluation.benchmarks import Benchmark, Files, departures

from .corpus import window_sections
from .features import open_features, usable_split
from .output import progress, say
from .report import perhaps
from .sentences import fitting

if TYPE_CHECKING:
    from torch import Tensor

    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.evaluation.sections import Section
    from mmn_index.features import FeatureFile
    from mmn_index.left_out import LeftOut
    from mmn_index.model import MMN


@dataclass(frozen=True)
class Within:
    """What was measured within videos.

    Attributes:
        values: of all queries, which published numbers are compared with.
        remarks: in what it is not the benchmark's own evaluation.
    """

    sections: "list[Section]"
    values: Mapping[str, float]
    remarks: list[str]
    left_out: "list[LeftOut]"


@dataclass(frozen=True)
class Metric:
    """How moments are ranked and measured within a video."""

    score: str
    nms: float
    recalls: tuple[tuple[int, float], ...]
    own_score: str  # the data set's, which an option may have overridden
    own_nms: float

    def __str__(self) -> str:
        score = f"score {self.score}" + (
            "" if self.score == self.own_score else f" (the data set's own is {self.own_score})"
        )
        return f"{score}, NMS {self.nms:g}" + (
            "" if self.nms == self.own_nms else f" (the data set's own is {self.own_nms:g})"
        )


def metric_of(benchmark: Benchmark | None, score: str | None, nms: float | None) -> Metric:
    """The data set's own, with what options override."""
    from mmn_index.train.settings import SETTINGS

    from mmn_index.evaluation.within_video import RECALLS

    own_score, own_nms, recalls = "product", 0.5, RECALLS
    if benchmark:
        own_score, own_nms, recalls = (
            SETTINGS[benchmark.setting].train.score,
            benchmark.nms,
            benchmark.recalls,
        )
    return Metric(score or own_score, own_nms if nms is None else nms, recalls, own_score, own_nms)


def recall_within(
    checkpoint: Path,
    benchmark: Benchmark | None,
    files: Files,
    metric: Metric,
    train: "Annotations | None",
    digest: str,
    *,
    windows: bool,
    device: str,
    strict: bool,
) -> Within:
    """What a model reaches within the right video.

    Args:
        digest: SHA-256 of the annotations.
        windows: measure answers of several windows as well, as the sentences allow.
    """
    from mmn_index import checkpoint as checkpoints
    from mmn_index.clips import stored_pre_clips
    from mmn_index.evaluation.within_section import within_section
    from mmn_index.evaluation.within_video import evaluate_videos

    model = checkpoints.load(checkpoint, device)
    with open_features(files.features) as opened, progress("within the video") as report:
        split, left_out = usable_split(files.annotations, opened, model.config.input_dim, strict=strict)
        if benchmark and left_out:
            raise _incomplete(benchmark, left_out, len(split.videos))
        split = fitting(split, model)
        remarks = _departures(benchmark, split, opened.dim, model) if benchmark else []

        def pre_clips(video_id: str) -> "Tensor":
            return stored_pre_clips(opened, video_id, model.config)

        found = evaluate_videos(
            model,
            split.videos,
            pre_clips,
            score=metric.score,
            nms=metric.nms,
            recalls=metric.recalls,
            report=report,
        )
        sections = []
        if windows:
            with perhaps("Windows", strict=strict or benchmark is not None):
                sections = _windows(model, files.annotations, split, opened, pre_clips, metric, digest)
    section = within_section(
        _title(benchmark, metric, len(found.sentences), len(split.videos)),
        found,
        split.videos,
        nms=metric.nms,
        digest=digest,
        wordings={sentence for video in train.videos for sentence in video.sentences} if train else None,
        benchmark=benchmark,
    )
    return Within([section, *sections], found.table(), remarks, left_out)


def _departures(benchmark: Benchmark, split: "Annotations", width: int, model: "MMN") -> list[str]:
    """In what it is not the benchmark's own evaluation; said, too."""
    from mmn_index.train.settings import SETTINGS

    own = SETTINGS[benchmark.setting].model
    remarks = departures(benchmark, "test", split, width=width, model=model.config, own=own)
    for remark in remarks:
        say(f"Warning: {remark}")
    return remarks


def _title(benchmark: Benchmark | None, metric: Metric, queries: int, videos: int) -> str:
    if benchmark:
        return f"{benchmark.name}, within the right video, {queries:,} queries of {videos:,} videos, {metric}"
    return f"Within the right video, {queries:,} queries, score {metric.score}, NMS {metric.nms:g}"


def _windows(
    model: "MMN",
    annotations: Path,
    split: "Annotations",
    features: "FeatureFile",
    pre_clips: "Callable[[str], Tensor]",
    metric: Metric,
    digest: str,
) -> "list[Section]":
    """The first windows of each sentence in its video, absent sentences included."""
    from mmn_index.evaluation.annotations import read_durations
    from mmn_index.evaluation.window_files import read_questions
    from mmn_index.evaluation.within_windows import answer_within

    durations = {video.video_id: video.duration for video in split.videos}
    # Videos of which every sentence is absent are no part of the split.
    for video_id, seconds in read_durations(annotations).items():
        length = features.stated(video_id) if seconds is None and video_id in features else seconds
        if video_id not in durations and length and video_id in features:
            try:
                features.check(video_id, model.config.input_dim)
            except FeatureError:
                continue
            durations[video_id] = length
    questions = [one for one in read_questions(annotations) if one.video in durations]
    cut = model.shortened([one.sentence for one in questions])
    questions = [replace(one, sentence=text) for one, text in zip(questions, cut, strict=True)]
    with progress("windows") as report:
        answers = answer_within(
            model, questions, durations, pre_clips, score=metric.score, nms=metric.nms, report=report
        )
    return window_sections(list(zip(questions, answers, strict=True)), digest)


def _incomplete(benchmark: Benchmark, left_out: "Sequence[LeftOut]", others: int) -> FeatureError:
    """Published numbers are over all videos: a number over fewer would not be comparable."""
    return FeatureError(
        f"{len(left_out):,} of the {len(left_out) + others:,} videos of {benchmark.name} cannot be used, and "
        f"its numbers are over all of them. {left_out[0].why} Without --dataset they are left out."
    )
