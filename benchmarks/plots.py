"""The pictures of docs/performance.md and docs/training.md; the same results give the same bytes."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# No date, no random ids; text stays text.
_SVG = {"svg.hashsalt": "mmn-index", "svg.fonttype": "none", "font.size": 9.0}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")  # Okabe and Ito
_MARKS = "osD^vPX"
# Dark text is read on these.
_PALE = ("#66aad0", "#e69a60", "#66c2aa", "#e0afca", "#f0c566", "#9ad3f2", "#b0b0b0")
SEARCHING = {
    "exact scan, 64 queries": "exact scan, 64 queries",
    "exact scan, 1 query": "exact scan, 1 query",
    "candidate index, 64 queries": "candidate index, 64 queries",
    "candidate index, 1 query": "candidate index, 1 query",
    "opening": "opening the index",
    "filter that leaves one in 16": "filter by metadata",
}
BUILDING = {
    "building, s > candidate index": "candidate index",
    "building, s > lists and depth chosen": "choosing its lists and depth",
    "building, s > tables": "tables",
    "building, s > embeddings": "writing embeddings",
    "changing, s > verify": "verify",
    "changing, s > compact, without a candidate index": "compact, scanned",
    "changing, s > sync of unchanged files": "sync, nothing to do",
}
STAGES = {
    "tokenise": "tokenise",
    "encode": "text encoder",
    "scan": "scan",
    "rank and NMS": "rank, NMS",
    "hits": "hits",
    "evidence": "confidences",
    "rest": "rest",
}


def scaling(results: Mapping[str, Any], path: Path) -> None:
    """Seconds over videos: searching beside building and changing."""
    with rc_context(_SVG):
        figure = Figure(figsize=(9.5, 5.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        reading = {f"searching, s > {key}": label for key, label in SEARCHING.items()}
        for axes, chosen, title in (
            (left, reading, "searching"),
            (right, BUILDING, "building and changing"),
        ):
            _curves(axes, results, chosen)
            axes.set_title(title)
        _save(figure, path)


def _curves(axes: Axes, results: Mapping[str, Any], chosen: Mapping[str, str]) -> None:
    videos = [size["videos"] for size in results["sizes"]]
    for number, (place, label) in enumerate(chosen.items()):
        group, name = place.split(" > ")
        values = [size[group][name] for size in results["sizes"]]
        fit = results["exponents"].get(place)
        if fit is not None:
            label += f": {fit['exponent']:.2f} ± {fit['standard error']:.2f}"
        axes.plot(videos, values, marker=_MARKS[number], color=_COLOURS[number], label=label, markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"videos, {results['moments a video']} moments each")
    axes.set_ylabel("seconds")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, title="exponent")


def speed(results: Mapping[str, Any], names: Mapping[str, str], path: Path) -> None:
    """How many times as fast as the official form, for embedding and training."""
    with rc_context(_SVG):
        figure = Figure(figsize=(7.5, 3.4), layout="constrained")
        axes = figure.subplots()
        kinds = {"embedding a video": "embedding", "training step a video": "training step"}
        for number, (key, label) in enumerate(kinds.items()):
            places = [place + 0.4 * number - 0.2 for place in range(len(names))]
            values = [results[name][key]["ratio"] for name in names]
            bars = axes.bar(places, values, 0.38, color=_COLOURS[number], label=label)
            axes.bar_label(bars, fmt="%.1f", padding=2)
        axes.axhline(1, color="0.3", linestyle=":", label="official form")
        axes.set_xticks(range(len(names)), list(names.values()))
        axes.set_ylabel("times as fast")
        axes.margins(y=0.12)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        _save(figure, path)


def stages(warm: Mapping[str, Any], kinds: Sequence[str], path: Path) -> None:
    """Shares of the stages in the time of a warm search."""
    with rc_context(_SVG):
        figure = Figure(figsize=(9.5, 2.8), layout="constrained")
        axes = figure.subplots()
        for row, kind in enumerate(kinds):
            begin, whole = 0.0, warm[kind]["all"]
            for number, (stage, label) in enumerate(STAGES.items()):
                share = 100 * warm[kind].get(stage, 0.0) / whole
                bar = axes.barh(
                    row,
                    share,
                    0.62,
                    left=begin,
                    color=_PALE[number],
                    label=None if row else label,
                    edgecolor="white",
                )
                if share >= 5:
                    axes.bar_label(bar, [f"{share:.0f}"], label_type="center", color="black")
                begin += share
            axes.text(101, row, f"{whole:,.1f} ms", va="center")
        axes.set_yticks(range(len(kinds)), list(kinds))
        axes.invert_yaxis()
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel("% of the time")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=7, frameon=False, columnspacing=1.2, handlelength=1.2)
        _save(figure, path)


def training_size(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], path: Path) -> None:
    """Metrics over annotated videos: the mean of the seeds, and a bar from the lowest to the highest."""
    with rc_context(_SVG):
        figure = Figure(figsize=(6.5, 4.0), layout="constrained")
        axes = figure.subplots()
        videos = sorted({row["videos"] for row in rows})
        for number, name in enumerate(metrics):
            found = [[row[name] for row in rows if row["videos"] == count] for count in videos]
            means = [statistics.mean(values) for values in found]
            low = [mean - min(values) for mean, values in zip(means, found, strict=True)]
            high = [max(values) - mean for mean, values in zip(means, found, strict=True)]
            look = {"marker": _MARKS[number], "color": _COLOURS[number], "markersize": 4, "capsize": 3}
            axes.errorbar(videos, means, yerr=[low, high], label=name, **look)
            if name in rows[0]["chance"]:
                axes.axhline(
                    rows[0]["chance"][name], color=_COLOURS[number], linestyle=":", label=f"{name}, chance"
                )
        axes.set_xscale("log")
        axes.set_xticks(videos, list(map(str, videos)), minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("annotated videos to train on, 4 sentences each")
        axes.set_ylabel("%")
        axes.set_ylim(0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
