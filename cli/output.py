"""What the commands print: results on stdout, progress and remarks on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click


def say(message: str) -> None:
    """A remark for people, on stderr."""
    click.echo(message, err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line, on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """An aligned table on stdout; the first `left` columns are flush left, the others right."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    for line in [header, *rows]:
        cells = [
            cell.ljust(w) if c < left else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def clock(seconds: float) -> str:
    """mm:ss.s, with hours where there are any.

    >>> clock(83.25), clock(59.96), clock(3723.5)
    ('01:23.2', '01:00.0', '1:02:03.5')
    """
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{text}" if hours else text


@contextmanager
def progress(what: str) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; yields report(done, total, note="", what=...). A new `what` begins a
    new bar.
    """
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
            bar = tqdm(total=total, desc=label, file=sys.stderr, mininterval=pause, dynamic_ncols=True)
        bar.set_postfix_str(note, refresh=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
