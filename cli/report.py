"""How `mmn-index eval` shows what it measured, and keeps it in a folder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import print_json, print_line, say
from .table import print_table

if TYPE_CHECKING:
    from mmn_index.evaluation.sections import Section
    from mmn_index.evaluation.tables import Table


def show_section(section: "Section", *, everything: bool, as_json: bool) -> None:
    """The main lines of a section on stdout, or every table, or its records."""
    for record in section.records if as_json else ():
        print_json({**section.scope, **record})
    if not as_json:
        print_line(f"{section.title}:", apart=True)
        tables = section.tables if everything else section.summary
        for table in tables:
            show_table(table, below=section.title)
        more = list(section.tables) != list(section.summary) and not everything
        lines = [*section.notes, *(section.fine_print if everything else ())]
        if more:
            lines[-1:] = [f"{''.join(lines[-1:])} --all prints every table.".lstrip()]
        for line in lines:
            print_line(line)
    for remark in section.remarks:
        say(remark)


def show_table(table: "Table", below: str = "") -> None:
    """A table on stdout, with its title, unless that stands above it."""
    if table.title and table.title != below:
        print_line(f"{table.title}:", apart=bool(below))
    print_table(table.header, table.rows, left=table.left)


@contextmanager
def perhaps(what: str, *, strict: bool) -> Iterator[None]:
    """A part that was chosen by the annotations: where they do not suit it after all, that is said, and what
    else was measured counts.

    Args:
        strict: raise the error.
    """
    from mmn_index.errors import AnnotationError

    try:
        yield
    except AnnotationError as error:
        if strict:
            raise
        say(f"{what} are not measured: {error}")


def keep_report(
    folder: Path, chosen: str, sections: "Sequence[Section]", about: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write report.json, report.md and report.html."""
    from mmn_index.evaluation.folder import REPORT, write_report
    from mmn_index.evaluation.report_file import Report

    write_report(folder, Report(chosen, tuple(sections), {**about, "versions": versions()}))
    say(f"{folder}: {', '.join(REPORT)}.")


def versions() -> dict[str, str]:
    """Of what numbers depend on."""
    import platform

    import torch

    from mmn_index._version import __version__

    return {"mmn-index": __version__, "torch": torch.__version__, "python": platform.python_version()}


def compare_reports(pair: tuple[Path, Path], *, folder: Path | None, everything: bool, as_json: bool) -> None:
    """Two reports side by side."""
    from mmn_index.evaluation.compare import compare
    from mmn_index.evaluation.compare_page import chosen, records, section_table, verdict
    from mmn_index.evaluation.folder import COMPARISON, write_comparison
    from mmn_index.evaluation.report_file import read_report

    found = compare(*map(read_report, pair))
    for remark in found.remarks:
        say(f"Warning: {remark}")
    for record in records(found) if as_json else ():
        print_json(record)
    if not as_json:
        for number, (name, one) in enumerate(found.named):
            print_line(f"{name}: {one.path}", apart=not number)
    for section in () if as_json else found.sections:
        table = section_table(section, everything=everything)
        print_line(f"{table.title}:", apart=True)
        print_table(table.header, table.rows, left=table.left)
        for line in verdict(chosen(section, everything=everything)):
            print_line(line)
        if len(section.differences) > len(table.rows):
            print_line(f"--all compares all {len(section.differences)} metrics.")
    if folder:
        write_comparison(folder, found)
        say(f"{folder}: {', '.join(COMPARISON)}.")
