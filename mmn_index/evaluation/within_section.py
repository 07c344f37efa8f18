"""Recall within the right video as a section of a report, beside chance and what was published."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .annotations import AnnotatedVideo
from .benchmarks import Benchmark, differences
from .plots import Plot, Series
from .recall import hits
from .sections import WITHIN, Metric, Query, Section, rounded
from .tables import Table
from .within_video import VideoRecall

HIT = "IoU >= m (inclusive, float32)"


def within_section(
    title: str,
    found: VideoRecall,
    videos: Sequence[AnnotatedVideo],
    *,
    nms: float,
    digest: str,
    wordings: set[str] | None = None,
    benchmark: Benchmark | None = None,
) -> Section:
    """What a model reaches within videos.

    Args:
        digest: SHA-256 of the annotation file.
        wordings: sentences of the training split: those that it has are also shown apart.
        benchmark: whose published numbers stand beside.
    """
    groups = _groups(found, wordings)
    records = [
        {"queries": name, "title": title, **_finite(values), **_about(benchmark, found, videos, nms)}
        | (_compared(benchmark, values) if benchmark and name == "all" else {})
        for name, values in groups.items()
    ]
    table = _compared_table(benchmark, groups) if benchmark else _plain_table(groups)
    return Section(
        WITHIN,
        title,
        "recall within the right video",
        _queries(videos),
        _metrics(found, groups, benchmark),
        {"annotations": digest, "NMS": f"{nms:g}"},
        records,
        {"scope": "video"},
        summary=(table,),
        notes=_notes(benchmark, groups["all"], nms),
        tables=(table,),
        plots=_plots(found, groups, benchmark),
    )


def _queries(videos: Sequence[AnnotatedVideo]) -> tuple[Query, ...]:
    return tuple(
        Query(str(video.positions[same[0]]), video.video_id, video.sentences[same[0]])
        for video in videos
        for same in video.alike
    )


def _groups(found: VideoRecall, wordings: set[str] | None) -> dict[str, dict[str, float]]:
    """Results in percent: of all queries, then by whether training had their wording, then chance."""
    groups = {"all": found.table()}
    if wordings is not None:
        known = torch.tensor([sentence in wordings for sentence in found.sentences])
        for name, rows in (("seen wordings", known), ("unseen wordings", ~known)):
            if rows.any():
                groups[f"{name} ({int(rows.sum())})"] = found.table(rows)
    return {**groups, "chance": found.chance()}


def _metrics(
    found: VideoRecall, groups: Mapping[str, Mapping[str, float]], benchmark: Benchmark | None
) -> tuple[Metric, ...]:
    each = {
        f"R@{n},IoU={m}": 100 * hits(found.ious[:, :n], m).any(dim=1).double() for n, m in found.recalls
    } | {"mIoU": 100 * found.ious[:, 0].clamp(min=0).double()}
    published = benchmark.published if benchmark else ()
    return tuple(
        Metric(
            name,
            groups["all"][name],
            values=rounded(values),
            chance=groups["chance"].get(name),
            published={one.name: one.values[name] for one in published if name in one.values},
            main=True,
        )
        for name, values in each.items()
    )


def _about(
    benchmark: Benchmark | None, found: VideoRecall, videos: Sequence[AnnotatedVideo], nms: float
) -> dict[str, Any]:
    if benchmark is None:
        return {}
    return {
        "dataset": benchmark.name,
        "nms": nms,
        "iou_rule": HIT,
        "num_queries": len(found.sentences),
        "num_videos": len(videos),
    }


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


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in values.items() if value == value}


def _plain_table(groups: Mapping[str, Mapping[str, float]]) -> Table:
    columns = list(groups["all"])
    rows = [[name, *_cells(values, columns, ".1f")] for name, values in groups.items()]
    return Table("", ["", *columns], rows, 1)


def _compared_table(benchmark: Benchmark, groups: Mapping[str, Mapping[str, float]]) -> Table:
    """In the layout of the papers: ours, the published ones, the difference."""
    ours, columns = groups["all"], list(groups["all"])
    rows = [
        ["ours" if name == "all" else name, *_cells(values, columns, ".2f")]
        for name, values in groups.items()
    ]
    if reference := benchmark.reference:
        compared = [[reference.name, *_cells(reference.values, columns, ".2f")]]
        compared += [["difference", *_cells(differences(ours, reference), columns, "+.2f")]]
        compared += [[other.name, *_cells(other.values, columns, ".2f")] for other in benchmark.published[1:]]
        rows[1:1] = compared
    return Table("", ["", *columns], rows, 1)


def _notes(benchmark: Benchmark | None, columns: Mapping[str, float], nms: float) -> list[str]:
    if benchmark is None:
        return []
    notes = []
    for published in benchmark.published:
        complete = published.values.keys() >= set(columns)
        rest = "" if complete else " Empty cells: not reported, or not verified."
        notes.append(f"{published.name}: {published.source}.{rest}")
    return [
        *notes,
        (
            f"NMS {nms:g}: drops a moment whose temporal IoU with a better one is above {nms:g}; "
            f"a hit has {HIT}; n survivors at most."
        ),
    ]


def _cells(values: Mapping[str, float], columns: Sequence[str], form: str) -> list[str]:
    """One row of a table; a number that there is none of stays empty."""
    found = [values.get(column) for column in columns]
    return ["" if value is None or value != value else format(value, form) for value in found]


def _plots(
    found: VideoRecall, groups: Mapping[str, Mapping[str, float]], benchmark: Benchmark | None
) -> tuple[Plot, ...]:
    """Each number beside chance and what was published; and recall against the IoU that is asked for."""
    columns = list(groups["all"])
    reference = benchmark.reference if benchmark else None
    rows: list[tuple[str, Mapping[str, float], int | None]] = [("this model", groups["all"], 0)]
    rows += [(reference.name, reference.values, 1)] if reference else []
    rows += [("chance", groups["chance"], None)]
    bars = [
        Series(name, range(len(columns)), [values.get(column, 0.0) for column in columns], colour=colour)
        for name, values, colour in rows
    ]
    steps = [number / 50 for number in range(1, 51)]
    depths = sorted({n for n, _ in found.recalls})
    curves = [
        Series(
            f"R@{n}",
            steps,
            [100 * float(hits(found.ious[:, :n], m).any(dim=1).double().mean()) for m in steps],
            colour=number,
        )
        for number, n in enumerate(depths)
    ]
    beside = "Beside chance and what was published" if reference else "Beside chance"
    return (
        Plot(beside, "", "%", bars, "bars", labels=columns),
        Plot("Recall by the IoU that a hit needs", "m, temporal IoU", "R@n,IoU=m, %", curves),
    )
