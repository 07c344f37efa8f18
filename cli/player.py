"""A moment in the system's video player: started at its second, and left alone."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from mmn_index.errors import ConfigError, DependencyError, VideoError
from mmn_index.origin import MOVED, path_of

from .output import clock, say, short_path

VARIABLE = "MMN_PLAYER"
_ENDS_AT_ONCE = 0.5  # seconds within which a player ends that cannot play
# The players, the first that is installed is taken, and how each is told the second to begin at.
_BEGIN = {
    "mpv": ("--start={}",),
    "vlc": ("--start-time={}",),
    "ffplay": ("-ss", "{}"),
}
_ALIVE: list["subprocess.Popen[bytes]"] = []  # players are left running, of which Python would warn otherwise


def play(video_id: str, source: str | None, start: float) -> None:
    """Start a player and do not wait for its end.

    Args:
        source: the video's file, see `mmn_index.origin.source_of`.
        start: seconds.

    Raises:
        VideoError: the file is not known, or gone.
        DependencyError: there is no player, or it ends at once.
        ConfigError: MMN_PLAYER names something else.
    """
    if not source:
        raise VideoError(
            f"--open: the index does not say which file '{video_id}' is. Features that `mmn-index extract` "
            "makes say it."
        )
    path = path_of(source).absolute()  # never begins with "-", which a player would take for an option
    shown = short_path(path)
    if not os.path.isfile(path):
        raise VideoError(f"--open: {shown}: no such file; the video '{video_id}' was read from it. {MOVED}")
    kind, program = _player(f"{shown} at {clock(start)}")
    begin = [part.format(f"{start:.3f}") for part in _BEGIN[kind]]
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's player, no shell, an absolute path
            [program, *begin, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise DependencyError(f"--open: {program}: cannot be started ({error.strerror}).") from error
    _ALIVE.append(process)
    code = None
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(_ENDS_AT_ONCE)
    # ffplay ends with code 0 as well where it cannot play, and does not end where it can.
    if code or (code == 0 and kind == "ffplay"):
        raise DependencyError(
            f"--open: {program} ended at once with exit code {code}: is there a screen, and can it play "
            f"{shown}?"
        )
    say(f"{kind} plays {shown} from {clock(start)}.")


def _player(what: str) -> tuple[str, str]:
    """Which of the players, and its program."""
    named = os.environ.get(VARIABLE)
    if named:
        program = shutil.which(os.path.expanduser(named))
        kind = next((kind for kind in _BEGIN if kind in Path(named).name.lower()), None)
        if program is None or kind is None:
            why = "is not installed" if program is None else "is none of them"
            raise ConfigError(
                f"{VARIABLE}: '{named}' {why}; expected the name or path of {_players('or')}. To play: "
                f"{what}."
            )
        return kind, program
    for kind in _BEGIN:
        if program := shutil.which(kind):
            return kind, program
    raise DependencyError(
        f"--open: no video player found, {_players('and')} are looked for; {VARIABLE} names one of them that "
        f"lies elsewhere. To play: {what}."
    )


def _players(joint: str) -> str:
    *first, last = _BEGIN
    return f"{', '.join(first)} {joint} {last}"
