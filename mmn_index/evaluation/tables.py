"""Results of a collection for people: tables for stdout and results.md, a picture, and the folder that keeps
all of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DependencyError, OutputError
from .corpus import DEPTHS, IOUS, NO_NMS
from .refusal import CONFIDENCE
from .report import CANDIDATES, CEILING, EXACT, GROUPS, LISTS, PROPOSAL, SIZES, TIES, CorpusReport

Record = Mapping[str, Any]
JSON, MARKDOWN, PICTURE = "results.json", "results.md", "results.png"
_MEANINGS = {"own": "own moment", "text": "same text", "label": "same label"}


@dataclass(frozen=True)
class Table:
    """One table: a title, a header, rows of cells; the first `left` columns are names."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int

    def markdown(self) -> str:
        """The table in Markdown, its title in bold above it."""
        line = ["---"] * self.left + ["---:"] * (len(self.header) - self.left)
        return "\n".join(
            [
                f"**{self.title}**",
                "",
                *(f"| {' | '.join(cells)} |" for cells in (self.header, line, *self.rows)),
            ]
        )


def tables(result: CorpusReport, *, with_intervals: bool) -> list[Table]:
    """The main table first; what was not measured has no table.

    Args:
        with_intervals: the interval of every number of the main table; else the half width of the widest one
            of a row.
    """
    main = next(part for part in (EXACT, LISTS) if result.of(part))
    return [
        main_table(result.of(main), main.capitalize(), with_intervals=with_intervals),
        *([ends_table(result.records)] if result.of(CEILING) else []),
        *([candidates_table(result.of(EXACT), result.of(CANDIDATES))] if result.of(CANDIDATES) else []),
        *([sizes_table(result.of(SIZES))] if result.of(SIZES) else []),
        groups_table(result.of(GROUPS), result.nms),
        *([confidence_table(result.of(CONFIDENCE))] if result.of(CONFIDENCE) else []),
    ]


def main_table(found: Sequence[Record], title: str, *, with_intervals: bool) -> Table:
    """Every outcome of a part, with the chance of the deepest k where it is known; intervals as in
    `tables`.
    """
    columns = [name for name in found[0] if name.startswith("R@")]
    columns += ["MedRank", *["AP"] * any("AP" in one for one in found)]
    deepest, with_chance = columns[columns.index("MedRank") - 1], any("chance" in one for one in found)
    measured = columns if with_intervals else [*columns, "± 95 %"]
    header = ["task", "NMS", "right", "IoU", *measured, *[f"chance {deepest}"] * with_chance]
    rows = []
    for one in found:
        ends = one.get("interval", {})
        cells = [_cell(one.get(name)) for name in columns]
        if with_intervals:
            cells = [
                f"{c} [{ends[n][0]:.1f}, {ends[n][1]:.1f}]" if n in ends else c
                for n, c in zip(columns, cells, strict=True)
            ]
        else:
            cells.append(_cell(max(((high - low) / 2 for low, high in ends.values()), default=None)))
        rows.append([*_names(one), *cells, *[_cell(one.get("chance", {}).get(deepest))] * with_chance])
    return Table(title, header, rows, 4)


def ends_table(found: Sequence[Record]) -> Table:
    """The index between what cannot be exceeded and what costs nothing: own moments, IoU 0.5, no NMS."""
    wanted = {"SVMR R@1": ("SVMR", 1), "VR R@1": ("VR", 1)} | {f"VCMR R@{k}": ("VCMR", k) for k in DEPTHS}
    own = [
        one
        for one in found
        if one.get("right") == "own"
        and one["nms"] in (None, NO_NMS)
        and one["iou"] in (None, IOUS[0])
        and one["queries"] == "all"
    ]
    by_part = {
        part: {one["task"]: one for one in own if one["part"] == part}
        for part in dict.fromkeys(one["part"] for one in own)
        if part not in (SIZES, CANDIDATES)
    }
    best = {
        one["ceiling"]: one["recall"]
        for one in found
        if one["part"] == CEILING and one["iou"] in (None, IOUS[0])
    }
    index = by_part.pop(EXACT)
    rows: dict[str, dict[str, Any]] = {
        PROPOSAL: dict.fromkeys([name for name in wanted if not name.startswith("VR")], best[PROPOSAL]),
        "right video given": {f"VCMR R@{k}": index["SVMR"][f"R@{k}"] for k in DEPTHS},
        TIES: {"VR R@1": best[TIES]},
        "the index": {name: index[task][f"R@{k}"] for name, (task, k) in wanted.items()},
    }
    rows |= {
        part: {name: tasks[task][f"R@{k}"] for name, (task, k) in wanted.items()}
        for part, tasks in by_part.items()
    }
    rows["chance"] = {name: index[task]["chance"][f"R@{k}"] for name, (task, k) in wanted.items()}
    cells = [[name, *(_cell(values.get(column)) for column in wanted)] for name, values in rows.items()]
    return Table(
        f"Ceilings, the index, and what needs no query (own, IoU {IOUS[0]}, no NMS)", ["", *wanted], cells, 1
    )


def candidates_table(exact: Sequence[Record], candidates: Sequence[Record]) -> Table:
    """The same numbers by the exact scan and through the candidate index."""
    columns = [f"R@{k}" for k in DEPTHS]
    rows = []
    for one in candidates:
        other = next(record for record in exact if _names(record) == _names(one))
        pairs = [f"{_cell(other[name])} / {_cell(one[name])}" for name in columns]
        rows.append([*_names(one), *pairs, f"{one['proven exact']:,} of {one['num_queries']:,}"])
    return Table(
        "Exact scan / candidate index", ["task", "NMS", "right", "IoU", *columns, "proven exact"], rows, 4
    )


def sizes_table(found: Sequence[Record]) -> Table:
    """VCMR against the size of the collection."""
    columns = [f"R@{k}" for k in DEPTHS]
    rows = [
        [
            f"{one['videos']:,}",
            f"{one['moments']:,}",
            f"{one['num_queries']:,}",
            _nms(one["nms"]),
            f"{one['iou']:g}",
            *(_cell(one[column]) for column in [*columns, "MedRank"]),
            _cell(one["chance"][columns[-1]]),
        ]
        for one in found
    ]
    header = ["videos", "moments", "queries", "NMS", "IoU", *columns, "MedRank", f"chance {columns[-1]}"]
    return Table("Size of the collection (VCMR, own)", header, rows, 0)


def groups_table(found: Sequence[Record], nms: float | None) -> Table:
    """Groups of queries, IoU 0.5, by the lists with this NMS."""
    meanings = [right for right in ("own", "text", "label") if any(one["right"] == right for one in found)]
    tasks = {one["task"] for one in found}
    wanted = {"SVMR R@1": ("SVMR", "own", 1), "VR R@1": ("VR", "own", 1)}
    wanted |= {
        f"VCMR {right} R@{k}": ("VCMR", right, k)
        for right in meanings
        for k in ((1, 10, 100) if right == "own" else (1, 10))
    }
    wanted = {name: key for name, key in wanted.items() if key[0] in tasks}
    rows = []
    for name in dict.fromkeys(one["queries"] for one in found):
        mine = [
            one
            for one in found
            if one["queries"] == name and one["nms"] in (None, nms) and one["iou"] in (None, IOUS[0])
        ]
        by_key = {(one["task"], one["right"]): one for one in mine}
        cells = [_cell(by_key[task, right][f"R@{k}"]) for task, right, k in wanted.values()]
        rows.append([name, f"{mine[0]['num_queries']:,}", *cells])
    return Table(
        f"Groups of queries (IoU {IOUS[0]}{'' if nms is None else f', NMS {_nms(nms)}'})",
        ["", "queries", *wanted],
        rows,
        1,
    )


def confidence_table(found: Sequence[Record]) -> Table:
    """What thresholds on the confidence answer and refuse."""
    *thresholds, about = found
    rows = [
        [f"{one['answered']:g} %", f"{one['threshold']:.3f}", _cell(one["refused"])] for one in thresholds
    ]
    title = (
        f"Confidence: {about['searches']:,} sentences, {about['absent searches']:,} without all videos that "
        "are right for them; "
        f"area under the curve {about['area']:.3f}, calibration error {about['calibration error']:.3f} "
        f"({about['calibration error, present alone']:.3f} of the first alone)"
    )
    return Table(title, ["present answered", "threshold", "absent refused, %"], rows, 1)


def _names(one: Record) -> list[str]:
    return [one["task"], _nms(one["nms"]), one["right"], "" if one["iou"] is None else f"{one['iou']:g}"]


def _nms(nms: float | None) -> str:
    return "" if nms is None else "off" if nms == NO_NMS else f"{nms:g}"


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2g}"


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
    sizes = [own, *(one for one in chosen if one["part"] == SIZES)]
    sure = result.of(CONFIDENCE)
    figure = Figure(figsize=(11, 9.2 if sure else 4.6), layout="constrained")  # no global state, no window
    (left, right), *below = figure.subplots(2 if sure else 1, 2, squeeze=False)
    videos = [one["videos"] for one in sizes]
    for k in DEPTHS:
        line = left.plot(videos, [one[f"R@{k}"] for one in sizes], marker="o", label=f"R@{k}")[0]
        left.plot(videos, [one["chance"][f"R@{k}"] for one in sizes], ":", color=line.get_color())
    left.set_xscale("log")
    left.set_xticks(videos, [f"{count:,}" for count in videos])
    left.minorticks_off()
    left.set_xlabel("videos in the collection, halved at random")
    left.set_title("own moment, by size of the collection", fontsize="medium")
    for one in whole:
        values = [one[f"R@{k}"] for k in DEPTHS]
        line = right.plot(DEPTHS, values, marker="o", label=_MEANINGS[one["right"]])[0]
        low, high = zip(*(one["interval"][f"R@{k}"] for k in DEPTHS), strict=True)
        right.fill_between(DEPTHS, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        right.plot(DEPTHS, [one["chance"][f"R@{k}"] for k in DEPTHS], ":", color=line.get_color())
    right.set_xscale("log")
    right.set_xticks(DEPTHS, [str(k) for k in DEPTHS])
    right.minorticks_off()
    right.set_xlabel("k, length of the list")
    right.set_title("whole collection, by what counts as right, with 95 % intervals", fontsize="medium")
    for axes in (left, right):
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
        f"VCMR, IoU ≥ {IOUS[0]}, NMS {_nms(result.nms)}, {own['num_queries']:,} queries, {own['moments']:,} "
        "moments"
    )
    figure.savefig(picture, dpi=120)


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
