"""How commands tell of what they left out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mmn_index.left_out import SHOWN, LeftOut
from mmn_index.readable import typed

from .output import printable, say, short_path

EXIT_CODE = 3  # the command did its work, and left something out


def strict_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """All or nothing."""
    return click.option(
        "--strict",
        is_flag=True,
        help="End with an error if something cannot be used. Without it, such things are left "
        "out and listed, and the exit code is 3.",
    )(command)


SAME_COMMAND = "Once they are mended, the same command takes them in."


def tell_left_out(found: Sequence[LeftOut], beside: Path, then: str = "") -> None:
    """Say what was left out: the first few on stderr, all of it in `<beside>.left-out.txt`; end with code 3.

    Nothing is said or written where nothing was left out; a list of an earlier run is removed then.

    Args:
        then: a line on how they come in after all.

    Raises:
        click.exceptions.Exit: something was left out.
    """
    from mmn_index.places import beside as place_beside

    path = place_beside(beside, ".left-out.txt")
    if not found:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            say(f"{path}: is of an earlier run, but cannot be removed ({error.strerror}).")
        return
    for one in found[:SHOWN]:
        say(f"left out: {one.why}")
    first = f" (the first {SHOWN} are shown)" if len(found) > SHOWN else ""
    try:
        path.write_text("".join(f"{printable(one.why)}\n" for one in found), encoding="utf-8")
        say(f"{len(found):,} left out in all{first}; the whole list is in {path}.")
    except OSError as error:
        say(f"{len(found):,} left out in all{first}; {path} cannot be written ({error.strerror}).")
    if then:
        say(then)
    raise click.exceptions.Exit(EXIT_CODE)


def add_apart(out: Path, video: Path, prefix: str) -> str:
    """How a video whose name another one has comes into an index that is being made."""
    sync = f"mmn-index sync {typed(short_path(video))} --index {typed(out)} --prefix {typed(prefix)}"
    return f"add it with `{sync}`"


def catch_up(
    videos: Sequence[Path], out: Path, *, prefix: str, follow_links: bool, metadata: Path | None
) -> str:
    """A line on how videos come into an index that `build` made without them, as it makes none twice."""
    places = " ".join(map(typed, videos[:SHOWN])) + " ..." * (len(videos) > SHOWN)
    line = f"mmn-index sync {places} --index {typed(out)}"
    line += f" --prefix {typed(prefix)}" if prefix else ""
    line += " --follow-links" if follow_links else ""
    line += f" --metadata {typed(metadata)}" if metadata else ""
    return f"Once they are mended, `{line}` takes them in."
