"""The folder that keeps an evaluation (report.json, report.md, report.html), or a comparison of two."""

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from ..errors import OutputError
from .compare import Comparison
from .compare_page import comparison_document, records
from .report_file import NAME, Report, as_json
from .report_page import document, html, markdown

REPORT = (NAME, "report.md", "report.html")
COMPARISON = ("comparison.json", "comparison.md", "comparison.html")


def write_report(folder: Path, report: Report) -> None:
    """Write a report into a folder, which is made.

    Raises:
        OutputError: the folder cannot be written; what was there is there still.
        DependencyError: matplotlib is not installed.
    """
    page = document(report)
    _write(folder, dict(zip(REPORT, (as_json(report), markdown(page), html(page)), strict=True)))


def write_comparison(folder: Path, found: Comparison) -> None:
    """Write a comparison into a folder, which is made.

    Raises:
        OutputError, DependencyError: as `write_report`.
    """
    page = comparison_document(found)
    content = json.dumps(records(found), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    _write(folder, dict(zip(COMPARISON, (content, markdown(page), html(page)), strict=True)))


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Replace all files or none: first each is written under another name, then all get their names; where
    one cannot get it, those before it get their old content back.
    """
    new = {folder / name: folder / f".{name}.part" for name in files}
    old = {path: folder / f".{path.name}.old" for path in new}
    with ExitStack() as stack:
        for leftover in (*new.values(), *old.values()):
            stack.callback(_remove, leftover)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for (_, part), text in zip(new.items(), files.values(), strict=True):
                part.write_text(text, encoding="utf-8", errors="backslashreplace")
            _rename(new, old)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(
                f"{folder}: the report cannot be written ({reason}). Choose another place with -o."
            ) from error


def _rename(new: Mapping[Path, Path], old: Mapping[Path, Path]) -> None:
    done: list[Path] = []
    try:
        for path, part in new.items():
            if path.exists():
                path.replace(old[path])
            done.append(path)
            part.replace(path)
    except OSError:
        for path in done:
            with suppress(OSError):
                if old[path].exists():
                    old[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
