"""Tables on stdout: plain and at full width for programs, fitted to the terminal for people."""

import io
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING

import click

from mmn_index.origin import path_of

from .output import printable

if TYPE_CHECKING:
    from rich.text import Text

_GAP = 2  # columns of the terminal between two of the table
_NAME, _NARROW_NAME = 24, 10  # how narrow names become before headings are folded, and after
_WORD, _FOLDED = (
    7,
    6,
)  # words of a heading up to this length are kept whole; longer ones may be folded to that
_DUMB = ("", "dumb", "unknown")  # what TERM says of terminals without escape sequences
_LINKLESS = ("linux",)  # and of one that shows links as text


@dataclass(frozen=True)
class VideoName:
    """A cell that names a video; on a terminal that knows links, it opens the file.

    Attributes:
        source: where its file was, see `mmn_index.origin.source_of`; None where that is not known.
    """

    video_id: str
    source: str | None

    @property
    def link(self) -> str | None:
        """The file as a percent-encoded URI, in which no control character is left; None if it is gone."""
        if not self.source:
            return None
        path = path_of(self.source)
        return path.absolute().as_uri() if os.path.isfile(path) else None


Cell = str | VideoName


def print_table(header: Sequence[str], rows: Sequence[Sequence[Cell]], *, left: int = 1) -> None:
    """An aligned table on stdout; the first `left` columns are names and flush left, the others right.

    On a terminal long names are folded, then long headings. What is still too wide is printed in blocks of
    columns, each with the names.
    """
    shown = [[_text(cell) for cell in line] for line in [header, *rows]]
    widths = [max(_cell_len(line[column]) for line in shown) for column in range(len(header))]
    if sys.stdout is None or not sys.stdout.isatty():
        for line in shown:
            cells = starmap(_padded, zip(line, widths, (c < left for c in range(len(header))), strict=True))
            click.echo("  ".join(cells).rstrip())
        return
    room = shutil.get_terminal_size().columns
    floors = [_floors([line[column] for line in shown], column < left) for column in range(len(header))]
    for number, columns in enumerate(_blocks([floor[-1] for floor in floors], left, room)):
        if number:
            click.echo()
        chosen = [widths[column] for column in columns]
        for stage in zip(*(floors[column] for column in columns), strict=True):
            _shrink(chosen, stage, room - _GAP * (len(columns) - 1))
        _print_fitted([[line[column] for column in columns] for line in [header, *rows]], chosen, left)


def _cell_len(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len as measured

    return measured(text)


def _text(cell: Cell) -> str:
    return printable(cell.video_id if isinstance(cell, VideoName) else cell)


def _padded(text: str, width: int, is_name: bool) -> str:
    space = " " * (width - _cell_len(text))
    return text + space if is_name else space + text


def _floors(texts: Sequence[str], is_name: bool) -> tuple[int, int, int]:
    """How narrow a column may become: at first, when that was not enough, and at last."""
    heading, *others = map(_cell_len, texts)
    widest = max(others, default=0)
    if is_name:
        widest = max(widest, heading)
        return min(widest, _NAME), min(widest, _NAME), min(widest, _NARROW_NAME)
    words = map(_cell_len, _parts(texts[0]).split())
    folded = max([widest, *(word if word <= _WORD else _FOLDED for word in words)])
    return max(widest, heading), folded, folded


def _parts(heading: str) -> str:
    """Where a heading such as R@1,IoU=0.5 may be folded."""
    return heading.replace(",", ", ")


def _shrink(widths: list[int], floors: Sequence[int], room: int) -> None:
    """Take from the columns that have most to give until all fit, or no column can give more."""
    while sum(widths) > room:
        column = max(range(len(widths)), key=lambda c: widths[c] - floors[c])
        if widths[column] <= floors[column]:
            return
        widths[column] -= 1


def _blocks(widths: Sequence[int], left: int, room: int) -> list[list[int]]:
    """The numbers of columns that fit side by side; each block begins with the names."""
    blocks = [[*range(left)]]
    for column in range(left, len(widths)):
        block = blocks[-1]
        if len(block) > left and sum(widths[c] + _GAP for c in block) + widths[column] > room:
            blocks.append(block := [*range(left)])
        block.append(column)
    return blocks


def _print_fitted(lines: Sequence[Sequence[Cell]], widths: Sequence[int], left: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = os.environ.get("TERM", "").lower()
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    header, *rows = [[_styled(cell, links=terminal not in _LINKLESS) for cell in line] for line in lines]
    for column, (heading, width) in enumerate(zip(header, widths, strict=True)):
        if heading.cell_len > width:
            heading = Text(_parts(heading.plain))
        heading.stylize("bold")
        table.add_column(heading, width=width, justify="left" if column < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    drawn = io.StringIO()
    console = Console(
        file=drawn,
        force_terminal=True,
        color_system=None if terminal in _DUMB else "standard",
        legacy_windows=False,
        width=sum(widths) + _GAP * (len(widths) - 1),
    )
    console.print(table)
    for line in drawn.getvalue().split("\n")[:-1]:
        click.echo(line.rstrip())


def _styled(cell: Cell, *, links: bool) -> "Text":
    """Text without markup: brackets and :names: of emoji in an id are what they are."""
    from rich.style import Style
    from rich.text import Text

    text = Text(_text(cell))
    if links and isinstance(cell, VideoName) and (link := cell.link):
        text.stylize(Style(link=link))
    return text
