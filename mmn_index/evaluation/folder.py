"""The folder that keeps the results of a collection: results.json, results.md, results.png."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DependencyError, OutputError
from .corpus import DEPTHS, IOUS
from .refusal import CONFIDENCE
from .report import EXACT, SIZES, CorpusReport
from .tables import MEANINGS, Record, nms_name, tables

JSON, MARKDOWN, PICTURE = "results.json", "results.md", "results.png"


def write_report(folder: Path, about: Mapping[str, Any], result: CorpusReport) -> None:
    """Write results.json, results.md and results.png into a folder, which is made.

    Args:
        about: what was measured with what; each entry a value or a mapping of values.

    Raises:
        OutputError: the folder cannot be written.
        DependencyError: matplotlib is not installed.
    """
    lines = [f"- {key}: {_inline(value)}" for key, value in about.items()]
    picture = f"![Recall against the size of the collection, and by what counts as right]({PICTURE})"
    text = ["# Recall over a collection", "\n".join(lines), picture]
    text += [table.markdown() for table in tables(result, with_intervals=True)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps({**about, "records": result.records}, indent=1, ensure_ascii=False)
        (folder / JSON).write_text(content + "\n", encoding="utf-8")
        (folder / MARKDOWN).write_text("\n\n".join(text) + "\n", encoding="utf-8")
        draw(result, folder / PICTURE)
    except OSError as error:
        raise OutputError(
            f"{folder}: results cannot be written ({error}). Choose another place with -o."
        ) from error


def _inline(value: Any) -> str:
    return (
        ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, Mapping) else str(value)
    )


def draw(result: CorpusReport, picture: Path) -> None:
    """Draw VCMR's R@k against the size of the collection, and against k for each meaning of right, as a PNG.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            "matplotlib is not installed. Add it with `pip install 'mmn-index[plots]'`."
        ) from error
    chosen = [
        one
        for one in result.records
        if one.get("task") == "VCMR" and one["nms"] == result.nms and one["iou"] == IOUS[0]
    ]
    whole = [one for one in chosen if one["part"] == EXACT]
    own = next(one for one in whole if one["right"] == "own")
    sure = result.of(CONFIDENCE)
    figure = Figure(figsize=(11, 9.2 if sure else 4.6), layout="constrained")  # no global state, no window
    (left, right), *below = figure.subplots(2 if sure else 1, 2, squeeze=False)
    _draw_sizes(left, [own, *(one for one in chosen if one["part"] == SIZES)])
    _draw_meanings(right, whole)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_ylabel("R@k, %")
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
        axes.plot([], [], ":", color="0.4", label="chance")
        axes.legend(
            fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=5, frameon=False
        )  # hides no curve
    if sure:
        _draw_confidence(below[0][0], below[0][1], sure[-1])
    figure.suptitle(
        f"VCMR, IoU ≥ {IOUS[0]}, NMS {nms_name(result.nms)}, {own['num_queries']:,} queries, "
        f"{own['moments']:,} moments"
    )
    figure.savefig(picture, dpi=120)


def _draw_sizes(axes: Any, sizes: Sequence[Record]) -> None:
    """Recall of the sentence's own moment, by the size of the collection."""
    videos = [one["videos"] for one in sizes]
    for k in DEPTHS:
        line = axes.plot(videos, [one[f"R@{k}"] for one in sizes], marker="o", label=f"R@{k}")[0]
        axes.plot(videos, [one["chance"][f"R@{k}"] for one in sizes], ":", color=line.get_color())
    axes.set_xscale("log")
    axes.set_xticks(videos, [f"{count:,}" for count in videos])
    axes.set_xlabel("videos in the collection, halved at random")
    axes.set_title("own moment, by size of the collection", fontsize="medium")


def _draw_meanings(axes: Any, whole: Sequence[Record]) -> None:
    """Recall in the whole collection, by what counts as right."""
    for one in whole:
        values = [one[f"R@{k}"] for k in DEPTHS]
        line = axes.plot(DEPTHS, values, marker="o", label=MEANINGS[one["right"]])[0]
        low, high = zip(*(one["interval"][f"R@{k}"] for k in DEPTHS), strict=True)
        axes.fill_between(DEPTHS, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.plot(DEPTHS, [one["chance"][f"R@{k}"] for k in DEPTHS], ":", color=line.get_color())
    axes.set_xscale("log")
    axes.set_xticks(DEPTHS, [str(k) for k in DEPTHS])
    axes.set_xlabel("k, length of the list")
    axes.set_title("whole collection, by what counts as right, with 95 % intervals", fontsize="medium")


def _draw_confidence(curve: Any, reliability: Any, about: Record) -> None:
    """What thresholds answer and refuse, and how often hits of a confidence are right."""
    answered, refused = zip(*about["curve"], strict=True)
    curve.step(answered, refused, where="post")
    curve.plot([0, 100], [100, 0], ":", color="0.4", label="chance")
    curve.set_xlabel("searches for something present that are answered, %")
    curve.set_ylabel("searches for something absent that are refused, %")
    curve.set_title(f"no match, by threshold; area {about['area']:.3f}", fontsize="medium")
    sure, right, counts = zip(*about["reliability"], strict=True)
    sizes = [8 + 70 * (n / max(counts)) ** 0.5 for n in counts]
    reliability.scatter(
        [100 * x for x in sure],
        [100 * x for x in right],
        s=sizes,
        label="hits, larger: more of them",
        zorder=3,
    )
    reliability.plot([0, 100], [0, 100], ":", color="0.4", label="confidence = share of right ones")
    reliability.set_xlabel("confidence, %")
    reliability.set_ylabel("right, %")
    reliability.set_title(
        f"reliability; calibration error {about['calibration error']:.3f}", fontsize="medium"
    )
    for axes in (curve, reliability):
        axes.set_xlim(-2, 102)
        axes.set_ylim(-2, 102)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
