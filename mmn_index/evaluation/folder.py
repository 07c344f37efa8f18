"""The folder that keeps an evaluation (report.json, report.md, report.html), or a comparison of two."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import OutputError
from ..places import Hold
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


def check_names(folder: Path, names: Iterable[str]) -> None:
    """Find out whether a folder has folders where files of a report will be.

    Raises:
        OutputError: it has.
    """
    for name in names:
        if os.path.isdir(folder / name):
            raise OutputError(f"{folder / name}: is a folder, and a file of the report has to get its name.")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Replace all files or none: first each is written under another name, then all get their names; where
    one cannot get it, those before it get their old content back.
    """
    hold = Hold(folder, f"{folder}: another process writes a report there. Wait until it has finished.")
    new = {folder / name: folder / f".{name}.part" for name in files}
    old = {path: folder / f".{path.name}.old" for path in new}
    try:
        check_names(folder, files)
        for path, text in zip(new, files.values(), strict=True):
            # What UTF-8 cannot say is written as JSON escapes it.
            new[path].write_text(text, encoding="utf-8", errors="backslashreplace")
        _rename(new, old)
    except OSError as error:
        raise OutputError(
            f"{folder}: the report cannot be written ({error.strerror or error}). Choose another place "
            "with -o."
        ) from error
    finally:
        for leftover in (*new.values(), *old.values()):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)
        hold.release()


def _rename(new: Mapping[Path, Path], old: Mapping[Path, Path]) -> None:
    """Give files their names; what had them is copied first, so that no name is ever without a file."""
    done: list[Path] = []
    try:
        for path in new:
            if path.exists():
                shutil.copyfile(path, old[path])
        for path, part in new.items():
            part.replace(path)
            done.append(path)
    except OSError:
        for path in done:
            with suppress(OSError):
                if old[path].exists():
                    old[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
        raise
