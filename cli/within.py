"""The part of `mmn-index eval` that measures a checkpoint within annotated videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmn_index.errors import FeatureError
from mmn_index.evaluation.benchmarks import Benchmark, Files, departures, differences

from .features import open_features, usable_split
from .output import print_json, print_line, progress, say
from .sentences import fitting
from .table import print_table

if TYPE_CHECKING:
    from mmn_index.evaluation.annotations import Annotations
    from mmn_index.evaluation.within_video import VideoRecall
    from mmn_index.left_out import LeftOut

_HIT = "IoU >= m (inclusive, float32)"


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
    *,
    as_json: bool,
    device: str,
    strict: bool,
) -> "tuple[Mapping[str, float], list[str], list[LeftOut]]":
    """Print the results within the right video; returns those of all queries, in what they are not the
    benchmark's, and the videos that are left out.
    """
    from mmn_index.train.settings import SETTINGS

    from mmn_index import checkpoint as checkpoints
    from mmn_index.clips import stored_pre_clips
    from mmn_index.evaluation.within_video import evaluate_videos

    model = checkpoints.load(checkpoint, device)
    with open_features(files.features) as opened, progress("within the video") as report:
        split, left_out = usable_split(files.annotations, opened, model.config.input_dim, strict=strict)
        if benchmark and left_out:
            raise _incomplete(benchmark, left_out, len(split.videos))
        split = fitting(split, model)
        remarks = []
        if benchmark:
            own = SETTINGS[benchmark.setting].model
            remarks = departures(benchmark, "test", split, width=opened.dim, model=model.config, own=own)
        for remark in remarks:
            say(f"Warning: {remark}")
        within = evaluate_videos(
            model,
            split.videos,
            lambda video_id: stored_pre_clips(opened, video_id, model.config),
            score=metric.score,
            nms=metric.nms,
            recalls=metric.recalls,
            report=report,
        )
    results = _groups(
        within, {sentence for video in train.videos for sentence in video.sentences} if train else None
    )
    if benchmark:
        _show_comparison(benchmark, metric, results, len(within.sentences), len(split.videos), as_json)
    else:
        title = (
            f"Within the right video, {len(within.sentences)} queries, score {metric.score}, NMS "
            f"{metric.nms:g}"
        )
        _show(title, results, as_json)
    return results["all"], remarks, left_out


def _incomplete(benchmark: Benchmark, left_out: "Sequence[LeftOut]", others: int) -> FeatureError:
    """Published numbers are over all videos: a number over fewer would not be comparable."""
    return FeatureError(
        f"{len(left_out):,} of the {len(left_out) + others:,} videos of {benchmark.name} cannot be used, and "
        f"its numbers are over all of them. {left_out[0].why} Without --dataset they are left out."
    )


def _groups(result: "VideoRecall", wordings: set[str] | None) -> dict[str, dict[str, float]]:
    """Results in percent: of all queries, then by whether training had their wording, then chance."""
    import torch

    groups = {"all": result.table()}
    if wordings is not None:
        known = torch.tensor([sentence in wordings for sentence in result.sentences])
        for name, rows in (("seen wordings", known), ("unseen wordings", ~known)):
            if rows.any():
                groups[f"{name} ({int(rows.sum())})"] = result.table(rows)
    return {**groups, "chance": result.chance()}


def _show(title: str, groups: Mapping[str, Mapping[str, float]], as_json: bool) -> None:
    """One block of results."""
    if as_json:
        for name, values in groups.items():
            _print_values(title, name, values, {})
        return
    print_line(f"{title}:", apart=True)
    columns = list(groups["all"])
    print_table(["", *columns], [[name, *_cells(values, columns, ".1f")] for name, values in groups.items()])


def _show_comparison(
    benchmark: Benchmark,
    metric: Metric,
    groups: Mapping[str, Mapping[str, float]],
    queries: int,
    videos: int,
    as_json: bool,
) -> None:
    """Results within a video in the layout of the papers: ours, the published ones, the difference."""
    title = f"{benchmark.name}, within the right video, {queries:,} queries of {videos:,} videos, {metric}"
    reference, ours = benchmark.reference, groups["all"]
    if as_json:
        about = {
            "dataset": benchmark.name,
            "nms": metric.nms,
            "iou_rule": _HIT,
            "num_queries": queries,
            "num_videos": videos,
        }
        for name, values in groups.items():
            compared = _compared(benchmark, ours) if name == "all" else {}
            _print_values(title, name, values, {**about, **compared})
        return
    columns = list(ours)
    rows = [
        ["ours" if name == "all" else name, *_cells(values, columns, ".2f")]
        for name, values in groups.items()
    ]
    if reference:
        compared_rows = [[reference.name, *_cells(reference.values, columns, ".2f")]]
        compared_rows += [["difference", *_cells(differences(ours, reference), columns, "+.2f")]]
        compared_rows += [
            [other.name, *_cells(other.values, columns, ".2f")] for other in benchmark.published[1:]
        ]
        rows[1:1] = compared_rows
    print_line(f"{title}:", apart=True)
    print_table(["", *columns], rows)
    for published in benchmark.published:
        rest = (
            "" if published.values.keys() >= set(columns) else " Empty cells: not reported, or not verified."
        )
        print_line(f"{published.name}: {published.source}.{rest}")
    print_line(
        f"NMS {metric.nms:g}: drops a moment whose temporal IoU with a better one is above {metric.nms:g}; "
        f"a hit has {_HIT}; n survivors at most."
    )


def _compared(benchmark: Benchmark, values: Mapping[str, float]) -> dict[str, Any]:
    if not benchmark.reference:
        return {"reference": None, "difference": None, "source": None}
    first, *others = benchmark.published
    return {
        "reference": dict(first.values),
        "difference": differences(values, first),
        "source": first.source,
        "quoted": [{"source": other.source, "values": dict(other.values)} for other in others],
    }


def _print_values(title: str, name: str, values: Mapping[str, float], about: Mapping[str, Any]) -> None:
    finite = {key: round(value, 3) for key, value in values.items() if value == value}
    print_json({"scope": "video", "queries": name, "title": title, **finite, **about})


def _cells(values: Mapping[str, float], columns: Sequence[str], form: str) -> list[str]:
    """One row of a table; a number that there is none of stays empty."""
    found = [values.get(column) for column in columns]
    return ["" if value is None or value != value else format(value, form) for value in found]
