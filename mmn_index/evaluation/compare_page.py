"""A comparison of two reports for people, and as records."""

from collections.abc import Sequence
from typing import Any

from .compare import LEAST, RESAMPLES, SEED, Compared, Comparison, Difference
from .plots import Plot, Series
from .report_page import Document, Part
from .sections import DEFINITIONS, NAMES
from .tables import Table

_LISTED = 8  # metrics that a sentence names
_WORDS = {True: "real", False: "not told from chance", None: "no interval"}


def _word(one: Difference) -> str:
    return "none" if one.same else _WORDS[one.real]


def chosen(found: Compared, *, everything: bool) -> list[Difference]:
    """The metrics to look at first, or all."""
    main = [one for one in found.differences if one.main]
    return list(found.differences) if everything or not main else main


def section_table(found: Compared, *, everything: bool) -> Table:
    """Both values, the difference and its interval, a row for each metric."""
    rows = []
    for one in chosen(found, everything=everything):
        digits = 2 if one.unit == "%" else 4
        cells = [_number(x, digits) for x in (one.a, one.b)]
        ends = ""
        if one.low is not None and one.high is not None:
            ends = f"[{one.low:+.{digits}f}, {one.high:+.{digits}f}]"
        rows.append([one.metric, *cells, _number(one.difference, digits, "+"), ends, _word(one)])
    name = NAMES.get(found.name, found.title)
    title = f"{name}: {found.queries:,} sentences of {found.videos:,} videos are common"
    return Table(title, ["", "A", "B", "B - A", "95 % interval", "difference"], rows, 1)


def _number(value: float, digits: int, sign: str = "") -> str:
    return "" if value != value else f"{value:{sign}.{digits}f}"


def verdict(differences: Sequence[Difference]) -> list[str]:
    """Which differences are real, in words."""
    alike = [one.metric for one in differences if one.same]
    tested = [one for one in differences if one.real is not None and not one.same]
    lines = [f"No difference: {_listed(alike)}."] if alike else []
    if not tested:
        return lines or ["No difference can be told from chance: there is no interval."]
    for better, sign in (("B", 1), ("A", -1)):
        names = [one.metric for one in tested if one.real and sign * one.difference > 0]
        if names:
            lines.append(f"{better} is really better in {len(names)} of {len(tested)}: {_listed(names)}.")
    if unclear := [one.metric for one in tested if not one.real]:
        lines.append(f"Not told from chance, {len(unclear)} of {len(tested)}: {_listed(unclear)}.")
    if len(tested) > 1:
        lines.append(
            f"{len(tested)} metrics are compared and none is corrected for that: of metrics without any "
            "difference about one in twenty would seem real by chance alone."
        )
    return lines


def _listed(names: Sequence[str]) -> str:
    more = f"; and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return "; ".join(names[:_LISTED]) + more


def comparison_document(found: Comparison) -> Document:
    """The page of a comparison."""
    parts = []
    for one in found.sections:
        first = chosen(one, everything=False)
        every = section_table(one, everything=True)
        short = section_table(one, everything=False)
        parts.append(
            Part(
                NAMES.get(one.name, one.title),
                (short,),
                verdict(first),
                _plots(first),
                () if every.rows == short.rows else (every,),
            )
        )
    reports = {
        name: {"path": str(one.path), **one.about.get("evaluated", {}), **one.about.get("options", {})}
        for name, one in found.named
    }
    used = dict.fromkeys(
        section.definition
        for section in found.a.sections
        for one in found.sections
        if section.name == one.name
    )
    return Document(
        "Two evaluations side by side",
        (*(f"{name}: {one.path}" for name, one in found.named), *found.remarks),
        parts,
        {
            **reports,
            "interval": {
                "how": "paired bootstrap over videos with all their sentences, percentiles",
                "resamples": RESAMPLES,
                "seed": SEED,
                "least videos": LEAST,
            },
        },
        {name: DEFINITIONS[name] for name in used if name in DEFINITIONS},
    )


def _plots(differences: Sequence[Difference]) -> tuple[Plot, ...]:
    drawn = [one for one in differences if one.low is not None and one.high is not None and one.unit == "%"]
    if all(one.same for one in drawn):
        return ()
    series = Series(
        "",
        [one.difference for one in drawn],
        range(len(drawn)),
        low=[one.low or 0.0 for one in drawn],
        high=[one.high or 0.0 for one in drawn],
    )
    labels = [one.metric.replace(", ", ",\n", 1) if len(one.metric) > 24 else one.metric for one in drawn]
    return (Plot("Differences with their intervals", "B - A, points", "", (series,), "rows", labels=labels),)


def records(found: Comparison) -> list[dict[str, Any]]:
    """A record for each metric, not rounded."""
    return [
        {
            "section": section.name,
            "metric": one.metric,
            "unit": one.unit,
            "A": _finite(one.a),
            "B": _finite(one.b),
            "difference": _finite(one.difference),
            "interval": None if one.low is None else [one.low, one.high],
            "real": one.real,
            "sentences": one.queries,
            "videos": one.videos,
            "main": one.main,
            "reports": [str(found.a.path), str(found.b.path)],
        }
        for section in found.sections
        for one in section.differences
    ]


def _finite(value: float) -> float | None:
    return value if value == value else None
