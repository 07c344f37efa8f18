"""Progress over videos, by seconds of film, with the time that is left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .output import printable


@contextmanager
def film_progress(what: str) -> Iterator[Callable[[float, float, str], None]]:
    """A progress bar on stderr; yields report(seconds done, seconds in all, note).

    What is done at the first call was done before, and says nothing of the speed.
    """
    from tqdm import tqdm

    if sys.stderr is None:  # closed
        yield lambda _done, _total, _note: None
        return
    bar: tqdm[None] | None = None
    # Where nobody watches, a line now and then is enough.
    pause = 0.2 if sys.stderr.isatty() else 10.0

    def report(done: float, total: float, note: str) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(
                desc=what,
                total=total,
                initial=done,
                file=sys.stderr,
                mininterval=pause,
                smoothing=0.05,  # files differ, and workers report in turns
                dynamic_ncols=True,
                bar_format="{desc}, {remaining} left |{bar}|",
            )
        bar.total = max(total, done)
        bar.set_description_str(f"{what}: {printable(note)}, {film(done, total)}", refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            bar.refresh()

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


def film(done: float, total: float) -> str:
    """How much of how much film, in the unit that suits the whole.

    >>> film(11160, 35280), film(90, 600), film(3.04, 8)
    ('3.1 of 9.8 h', '1.5 of 10.0 min', '3 of 8 s')
    """
    seconds, unit, digits = (
        (3600, "h", 1) if total >= 3600 else (60, "min", 1) if total >= 60 else (1, "s", 0)
    )
    return f"{done / seconds:,.{digits}f} of {total / seconds:,.{digits}f} {unit}"
