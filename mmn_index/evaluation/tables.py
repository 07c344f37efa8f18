"""Results of a collection as tables for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..confidence import rounded_down
from .corpus import DEPTHS, IOUS, NO_NMS
from .refusal import CONFIDENCE
from .report import CANDIDATES, CEILING, EXACT, GROUPS, LISTS, PROPOSAL, SIZES, TIES, CorpusReport

Record = Mapping[str, Any]
MEANINGS = {"own": "own moment", "text": "same text", "label": "same label"}


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
                *([f"**{self.title}**", ""] if self.title else []),
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


def summary_table(result: CorpusReport) -> Table:
    """The lines to read first: every task with NMS at the first IoU, by the sentence's own moment; moments of
    all videos also by the widest meaning of right, for all sentences and for seen and unseen wordings.
    """
    main = next(part for part in (EXACT, LISTS) if result.of(part))
    wanted = [one for one in result.of(main) if _is_first(one, result.nms)]
    widest = next(
        meaning for meaning in ("label", "text", "own") if any(one["right"] == meaning for one in wanted)
    )
    lines = [one for one in wanted if one["right"] == "own"]
    lines += [one for one in wanted if one["task"] == "VCMR" and one["right"] == widest != "own"]
    lines += [
        one
        for one in result.of(GROUPS)
        if _is_first(one, result.nms)
        and one["task"] == "VCMR"
        and one["right"] == widest
        and "wordings" in one["queries"]
    ]
    columns = [name for name in lines[0] if name.startswith("R@")]
    columns += [name for name in ("MedRank", "AP") if any(name in one for one in lines)]
    known = [name for name in columns if any(name in one.get("chance", {}) for one in lines)]
    middle = known[len(known) // 2] if known else None
    header = ["task", "right answer", "sentences", *columns, *([f"chance {middle}"] if middle else [])]
    rows = [
        [
            one["task"],
            MEANINGS[one["right"]],
            f"{one['queries']}, {one['num_queries']:,}",
            *(_cell(one.get(name)) for name in columns),
            *([_cell(one.get("chance", {}).get(middle))] if middle else []),
        ]
        for one in lines
    ]
    how = "" if result.nms is None else f", NMS {nms_name(result.nms)}"
    return Table(f"{main.capitalize()}, IoU {IOUS[0]}{how}", header, rows, 3)


def _is_first(one: Record, nms: float | None) -> bool:
    return one["nms"] in (None, nms) and one["iou"] in (None, IOUS[0])


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
            nms_name(one["nms"]),
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
        mine = [one for one in found if one["queries"] == name and _is_first(one, nms)]
        by_key = {(one["task"], one["right"]): one for one in mine}
        cells = [_cell(by_key[task, right][f"R@{k}"]) for task, right, k in wanted.values()]
        rows.append([name, f"{mine[0]['num_queries']:,}", *cells])
    return Table(
        f"Groups of queries (IoU {IOUS[0]}{'' if nms is None else f', NMS {nms_name(nms)}'})",
        ["", "queries", *wanted],
        rows,
        1,
    )


def confidence_table(found: Sequence[Record]) -> Table:
    """What thresholds on the confidence answer and refuse."""
    *thresholds, about = found
    rows = [
        [f"{one['answered']:g} %", f"{rounded_down(one['threshold']):.3g}", _cell(one["refused"])]
        for one in thresholds
    ]
    title = (
        f"Confidence: {about['searches']:,} sentences, {about['absent searches']:,} without all videos that "
        "are right for them; "
        f"area under the curve {about['area']:.3f}, calibration error {about['calibration error']:.3f} "
        f"({about['calibration error, present alone']:.3f} of the first alone)"
    )
    return Table(title, ["present answered", "threshold", "absent refused, %"], rows, 1)


def _names(one: Record) -> list[str]:
    return [one["task"], nms_name(one["nms"]), one["right"], "" if one["iou"] is None else f"{one['iou']:g}"]


def nms_name(nms: float | None) -> str:
    """An NMS threshold in a table."""
    return "" if nms is None else "off" if nms == NO_NMS else f"{nms:g}"


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2g}"
