"""Plots as SVG inside a page: text stays text, and the colours are the page's own, light or dark."""

import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..errors import DependencyError

# Sentinels that matplotlib draws with, and the names that a page gives them.
_NAMES = {"#010203": "--ink", "#020304": "--soft", "#030405": "--line"} | {
    f"#0405{number:02d}": f"--series-{number}" for number in range(1, 7)
}
_INK, _SOFT, _LINE, *_SERIES = _NAMES
_MARKS = "osD^vP"
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mmn-index",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _INK,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
}


@dataclass(frozen=True)
class Series:
    """One line, or the bars of one colour.

    Attributes:
        style: line, dotted, step or points.
        low, high: a band around a line, or whiskers around points.
        colour: number of the colour; dotted lines share that of the line they belong to. None is grey.
        sizes: of points.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: str = "line"
    colour: int | None = 0
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    sizes: Sequence[float] | None = None


@dataclass(frozen=True)
class Plot:
    """What is drawn.

    Attributes:
        labels: of the ticks at the first series' xs (of bars, and of a log axis), or of rows.
        kind: lines, bars (one group at each x), or rows (points one below the other, with whiskers).
        top: upper end of the y axis.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    kind: str = "lines"
    log: bool = False
    labels: Sequence[str] = ()
    top: float | None = 102


def check_library() -> None:
    """Whether plots can be drawn, before anything is computed.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "matplotlib is not installed. Add it with `pip install 'mmn-index[plots]'`."
        ) from error


def svg(plot: Plot) -> str:
    """The plot as an <svg> element for a page that defines --ink, --soft, --line and --series-1 to -6.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    check_library()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_RC):
        rows = len(plot.series[0].xs) if plot.kind == "rows" else 0
        figure = Figure(figsize=(4.4, 0.8 + 0.36 * rows if rows else 3.1), layout="constrained")
        axes = figure.subplots()
        {"lines": _lines, "bars": _bars, "rows": _rows}[plot.kind](axes, plot)
        axes.set_xlabel(plot.x)
        axes.set_ylabel(plot.y)
        named = [one for one in plot.series if one.name]
        if len(named) > 1 or (named and plot.kind == "lines"):
            figure.legend(
                loc="outside lower center", ncols=min(len(named), 4), frameon=False, fontsize="small"
            )
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(written.getvalue(), plot)


def _inline(text: str, plot: Plot) -> str:
    """A file of matplotlib's as an element that scales and takes the page's colours."""
    opening, rest = text[text.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    label = escape(f"{plot.title}. {plot.y or plot.kind} against {plot.x}.", quote=True)
    for colour, name in _NAMES.items():
        rest = rest.replace(colour, f"var({name})")
    rest = re.sub(r"<metadata>.*?</metadata>\s*", "", rest, flags=re.DOTALL).replace(
        "'DejaVu Sans'", "system-ui"
    )
    # Several plots share a page: ids of one must not meet those of another.
    mark = f"p{zlib.crc32(repr(plot).encode('utf-8', 'backslashreplace')):x}-"
    rest = re.sub(r' id="', f' id="{mark}', rest)
    rest = re.sub(r'(href="#|url\(#)', rf"\g<1>{mark}", rest)
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg role="img" aria-label="{label}" {box[0] if box else ""} {links}>{rest}'


def _colour(one: Series) -> str:
    return _SOFT if one.colour is None else _SERIES[one.colour % len(_SERIES)]


def _lines(axes: Any, plot: Plot) -> None:
    for number, one in enumerate(plot.series):
        colour = _colour(one)
        if one.style == "points":
            axes.scatter(one.xs, one.ys, s=one.sizes, color=colour, label=one.name or None, zorder=3)
        elif one.style == "step":
            axes.step(one.xs, one.ys, where="post", color=colour, label=one.name or None)
        elif one.style == "dotted":
            axes.plot(one.xs, one.ys, ":", color=colour, label=one.name or None)
        else:
            mark = _MARKS[number % len(_MARKS)] if len(one.xs) <= 12 else ""
            axes.plot(one.xs, one.ys, marker=mark, markersize=4, color=colour, label=one.name or None)
        if one.low is not None and one.high is not None:
            axes.fill_between(one.xs, one.low, one.high, color=colour, alpha=0.18, linewidth=0)
    if plot.log:
        axes.set_xscale("log")
        axes.minorticks_off()
    if plot.labels:
        axes.set_xticks(plot.series[0].xs, plot.labels)
    if plot.top is not None:
        axes.set_ylim(-0.02 * plot.top, plot.top)
    axes.grid(alpha=0.8, linewidth=0.6)


def _bars(axes: Any, plot: Plot) -> None:
    width = 0.8 / len(plot.series)
    for number, one in enumerate(plot.series):
        places = [x - 0.4 + (number + 0.5) * width for x in one.xs]
        axes.bar(places, one.ys, width=0.92 * width, color=_colour(one), label=one.name or None)
    folded = [re.sub(r",|(?<=mAP) |(?=@0)", lambda found: f"{found[0].strip()}\n", x) for x in plot.labels]
    axes.set_xticks(range(len(plot.labels)), folded)
    if plot.top is not None:
        axes.set_ylim(0, plot.top)
    axes.grid(axis="y", alpha=0.8, linewidth=0.6)
    axes.set_axisbelow(True)


def _rows(axes: Any, plot: Plot) -> None:
    """Differences with their intervals, the first above."""
    one = plot.series[0]
    places = range(len(one.xs))
    for place, x, low, high in zip(places, one.xs, one.low or one.xs, one.high or one.xs, strict=True):
        real = low > 0 or high < 0
        colour = _SERIES[0] if real else _SOFT
        axes.plot([low, high], [place, place], "-", color=colour, linewidth=1.6)
        axes.plot([x], [place], "o" if real else "D", color=colour, markersize=5 if real else 4)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(places, plot.labels)
    axes.set_ylim(len(one.xs) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.8, linewidth=0.6)
