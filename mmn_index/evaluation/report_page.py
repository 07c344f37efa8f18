"""A report as text (Markdown) and as one page (HTML): no script, nothing from the network, light and dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..readable import printable
from .plots import Plot, svg
from .report_file import Report
from .sections import DEFINITIONS, Section
from .tables import Table

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1b22; --soft: #6b6975; --paper: #fbfaf7; --card: #ffffff;
        --line: #e2dfd8; --series-1: #0072b2; --series-2: #c2500a; --series-3: #00795a; --series-4: #a8528a;
        --series-5: #9a6a00; --series-6: #2f7fb0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ecebf0; --soft: #a09eab; --paper: #17161b; --card: #211f27; --line: #37343f;
          --series-1: #62b5ec; --series-2: #ff8f55; --series-3: #3fc9a0; --series-4: #e69cc8;
          --series-5: #e8b64c; --series-6: #a5d6f7; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem; max-width: 70rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; text-wrap: balance; }
h2 { margin: 0 0 .8rem; font-size: 1.15rem; line-height: 1.3; overflow-wrap: anywhere; }
h3 { margin: 1.2rem 0 .3rem; font-size: .95rem; }
p { margin: .5rem 0; overflow-wrap: anywhere; }
.lead { margin: .2rem 0; color: var(--soft); }
h1 + .lead { margin-top: .7rem; }
.lead + section { margin-top: 1.5rem; }
.note { color: var(--soft); font-size: .88rem; }
section { margin-bottom: 1.5rem; padding: 1.2rem 1.25rem; background: var(--card);
          border: 1px solid var(--line); border-radius: 10px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
.caption { font-weight: 600; font-size: .88rem; margin: .8rem 0 .1rem; }
th, td { padding: .22rem .7rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; }
th { font-weight: 600; vertical-align: bottom; }
.name { text-align: left; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
         gap: 1.2rem; margin-top: 1.2rem; }
figure { margin: 0; }
figcaption { font-size: .88rem; font-weight: 600; margin-bottom: .3rem; }
figure svg { display: block; width: 100%; height: auto; max-width: 34rem; }
details { margin-top: 1rem; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; margin: .4rem 0 0;
     font-size: .88rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: 1.25rem .75rem; } section { padding: 1rem .85rem; }
                            dl { grid-template-columns: minmax(0, 1fr); } dd { margin-bottom: .4rem; } }
"""


@dataclass(frozen=True)
class Part:
    """What stands under one heading: tables to read first, notes, plots, and all tables."""

    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    rest: Sequence[Table] = ()


@dataclass(frozen=True)
class Document:
    """What a page says, in the order in which it says it.

    Attributes:
        facts: groups of entries, such as what was measured with what.
    """

    title: str
    lead: Sequence[str]
    parts: Sequence[Part]
    facts: Mapping[str, Mapping[str, Any]]
    definitions: Mapping[str, str]


def document(report: Report) -> Document:
    """A report as a document."""
    used = dict.fromkeys(section.definition for section in report.sections)
    return Document(
        "Evaluation",
        (*(f"{kind}: {what}" for kind, what in _subject(report)), f"Measured: {report.chosen}."),
        [_part(section) for section in report.sections],
        report.about,
        {name: DEFINITIONS[name] for name in used},
    )


def _subject(report: Report) -> list[tuple[str, str]]:
    """What was evaluated, for the first lines."""
    given = report.about.get("evaluated", {})
    found = [(kind, str(given[kind])) for kind in ("index", "model", "predictions") if kind in given]
    if "annotations" in report.about:
        found.append(("annotations", str(report.about["annotations"].get("path"))))
    return found


def _part(section: Section) -> Part:
    rest = section.detailed or section.tables
    return Part(
        section.title,
        section.summary,
        (*section.notes, *section.fine_print, *section.remarks),
        section.plots,
        () if list(rest) == list(section.summary) else rest,
    )


def markdown(page: Document) -> str:
    """The document as Markdown; plots are in the page alone."""
    blocks = [f"# {_line(page.title)}", *map(_line, page.lead)]
    for part in page.parts:
        blocks.append(f"## {_line(part.title)}")
        blocks += [table.markdown() for table in part.tables]
        blocks += map(_line, part.notes)
        blocks += [table.markdown() for table in part.rest]
    if page.facts:
        blocks.append("## Measured with")
        entries = [(name, _inline(group)) for name, group in page.facts.items()]
        blocks.append("\n".join(f"- {_line(name)}: {_line(text)}" for name, text in entries))
    blocks.append("## Definitions")
    blocks.append("\n".join(f"- {name}: {text}" for name, text in page.definitions.items()))
    return "\n\n".join(blocks) + "\n"


def _line(text: str) -> str:
    """Text of strangers on a line of Markdown: printable, and without markup."""
    return "".join(f"\\{c}" if c in "\\`*_<>[]#|" else c for c in printable(text))


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_inline(one)}" for key, one in value.items())
    return "none" if value is None else str(value)


def html(page: Document) -> str:
    """The document as one page.

    Raises:
        DependencyError: matplotlib, which draws the plots, is not installed.
    """
    lead = "\n".join(f'<p class="lead">{_text(line)}</p>' for line in page.lead)
    facts = "".join(f"<h3>{_text(name)}</h3>\n{_entries(group)}\n" for name, group in page.facts.items())
    measured = f"<section>\n<h2>Measured with</h2>\n{facts}</section>\n" if facts else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(page.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{_text(page.title)}</h1>\n{lead}\n"
        + "\n".join(_section(part) for part in page.parts)
        + f"\n{measured}<section>\n<h2>Definitions</h2>\n{_entries(page.definitions)}\n</section>\n"
        "</main>\n</body>\n</html>\n"
    )


def _section(part: Part) -> str:
    drawn = "\n".join(
        f"<figure>\n<figcaption>{_text(plot.title)}</figcaption>\n{svg(plot)}</figure>" for plot in part.plots
    )
    rest = "\n".join(map(_table, part.rest))
    return "\n".join(
        [
            "<section>",
            f"<h2>{_text(part.title)}</h2>",
            *(_table(table, part.title) for table in part.tables),
            *(f'<p class="note">{_text(note)}</p>' for note in part.notes),
            f'<div class="plots">\n{drawn}\n</div>' if drawn else "",
            f"<details>\n<summary>Every table</summary>\n{rest}\n</details>" if rest else "",
            "</section>",
        ]
    )


def _table(table: Table, below: str = "") -> str:
    shown = table.title and table.title != below
    caption = f'<p class="caption">{_text(table.title)}</p>\n' if shown else ""
    label = escape(printable(table.title or below), quote=True)

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="name"' if number < table.left else "" for number in range(len(cells))]
        tags = [tag if cell else "td" for cell in cells]  # an empty heading is none
        filled = (f"<{t}{k}>{_text(cell)}</{t}>" for t, k, cell in zip(tags, kinds, cells, strict=True))
        return f"<tr>{''.join(filled)}</tr>"

    body = "\n".join(row(cells, "td") for cells in table.rows)
    return (
        f'{caption}<div class="wide" tabindex="0" role="group" aria-label="{label}">\n'
        f"<table>\n<thead>\n{row(table.header, 'th')}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _entries(group: Mapping[str, Any]) -> str:
    pairs = "\n".join(
        f"<dt>{_text(name)}</dt><dd>{_text(_inline(value))}</dd>" for name, value in group.items()
    )
    return f"<dl>\n{pairs}\n</dl>"


def _text(text: str) -> str:
    """Of strangers, for a page."""
    return escape(printable(text))
