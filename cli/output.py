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
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import click

from mmn_index.readable import clock, is_control, printable

__all__ = ["clock", "print_json", "print_line", "printable", "progress", "say", "streams"]

_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a stream says that takes no more


def say(message: str) -> None:
    """A remark for people, on stderr; a progress bar on a terminal makes way for it."""
    with _bars_aside():
        click.echo(printable(message), err=True)


def _bars_aside() -> AbstractContextManager[None]:
    tqdm = sys.modules.get("tqdm")  # where nothing has loaded it, there are no bars
    if tqdm is None or sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    aside: AbstractContextManager[None] = tqdm.tqdm.external_write_mode(file=sys.stderr)
    return aside


def print_line(line: str, *, apart: bool = False) -> None:
    """A line for people, on stdout; `apart` leaves a line free above it."""
    click.echo("\n" * apart + printable(line))


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line, on stdout; what a terminal would obey is escaped as JSON does it."""
    text = json.dumps(value, ensure_ascii=sys.stdout is not None and sys.stdout.encoding.lower() != "utf-8")
    click.echo("".join(json.dumps(c)[1:-1] if is_control(c) else c for c in text))


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


def short_path(path: Path) -> str:
    """A path as people would type it: from the current folder on, if the file lies below."""
    with suppress(OSError):  # the current folder may be gone
        if path.is_relative_to(here := Path.cwd()):
            return str(path.relative_to(here))
    return str(path)


# What a line of progress shows, from the most to the least, so that a note is shown whole where it can be.
_LAYOUTS = (
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}, {postfix[0]}]",
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}] {postfix[0]}",
    "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}] {postfix[0]}",
    "{desc}: {n_fmt}/{total_fmt} {postfix[0]}",
)
_TOLD = (  # the same where the note tells counts and times
    "{desc}: {percentage:3.0f}%|{bar}| {postfix[0]}",
    "{desc}: {postfix[0]}",
    "{postfix[0]}",
)
_BAR = 4  # its least width


@contextmanager
def progress(what: str) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; yields report(done, total, note="", what=...). A new `what` begins a
    new bar.

    On a narrow terminal the note takes the place of bar, rate and times. A note that begins with the label
    and a colon tells counts and times itself, and takes their place on any terminal.
    """
    if sys.stderr is None:  # closed
        yield lambda *_args, **_named: None
        return
    from tqdm import tqdm

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
            # miniters: a note that changes is shown although `done` stays, as within a long file.
            bar = tqdm(
                total=total, desc=label, file=sys.stderr, mininterval=pause, miniters=0, dynamic_ncols=True
            )
        bar.total, bar.postfix, bar.bar_format = total, None, None
        if note:
            rest = note.removeprefix(f"{label}: ")
            bar.postfix = [printable(rest)]
            bar.bar_format = _layout(bar.format_dict, _LAYOUTS if rest == note else _TOLD)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


def _layout(meter: Mapping[str, Any], layouts: Sequence[str]) -> str:
    """The fullest layout in which a line fits whole; the last where none does, and the line is cut."""
    from tqdm import tqdm
    from tqdm.utils import disp_len

    if not (width := meter["ncols"]):  # no terminal
        return layouts[0]
    for layout in layouts:
        whole = layout.replace("{bar}", " " * _BAR)
        if disp_len(tqdm.format_meter(**{**meter, "ncols": None, "bar_format": whole})) <= width:
            return layout
    return layouts[-1]
