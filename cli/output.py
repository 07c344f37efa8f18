"""What the commands print: results on stdout, progress and remarks on stderr.

Ids, paths and sentences come from strangers. Whatever people read goes through `printable`, so that no name
can steer a terminal or tear a line in two.
"""

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from mmn_index.readable import clock, is_control, printable

__all__ = ["clock", "print_json", "print_line", "print_table", "printable", "progress", "say", "streams"]

_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a stream says that takes no more


def say(message: str) -> None:
    """A remark for people, on stderr."""
    click.echo(printable(message), err=True)


def print_line(line: str, *, apart: bool = False) -> None:
    """A line for people, on stdout; `apart` leaves a line free above it."""
    click.echo("\n" * apart + printable(line))


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line, on stdout; what a terminal would obey is escaped as JSON does it."""
    text = json.dumps(value, ensure_ascii=sys.stdout is not None and sys.stdout.encoding.lower() != "utf-8")
    click.echo("".join(json.dumps(c)[1:-1] if is_control(c) else c for c in text))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """An aligned table on stdout; the first `left` columns are flush left, the others right."""
    lines = [[printable(cell) for cell in line] for line in [header, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [
            cell.ljust(w) if c < left else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


@contextmanager
def streams() -> Iterator[None]:
    """Around a command: characters that stdout's encoding lacks are escaped, and a full disk behind stdout or
    stderr ends the command with one line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        with suppress(OSError):
            say(f"Error: the output cannot be written ({error.strerror}).")
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # Python would try once more at its end, and print a traceback
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(1)


@contextmanager
def progress(what: str) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; yields report(done, total, note="", what=...). A new `what` begins a
    new bar.
    """
    from tqdm import tqdm

    if sys.stderr is None:  # closed
        yield lambda *_args, **_named: None
        return
    bar: tqdm[Any] | None = None
    label = what
    # Where nobody watches, a line now and then is enough.
    pause = 0.2 if sys.stderr.isatty() else 10.0

    def report(done: int, total: int, note: str = "", what: str | None = None) -> None:
        nonlocal bar, label
        if bar is None or (what is not None and what != label):
            if bar is not None:
                bar.close()
            label = what or label
            bar = tqdm(total=total, desc=label, file=sys.stderr, mininterval=pause, dynamic_ncols=True)
        bar.set_postfix_str(printable(note), refresh=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
