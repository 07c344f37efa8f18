"""Names of files and folders out of ids and sentences of strangers."""

import unicodedata

from ..readable import clock, printable

_LONGEST = 120  # bytes of a name; file systems take 255, and what copies files may add to it
_NUMBER = 4  # bytes that are kept free for a number that tells equal names apart


def safe(text: str, room: int = _LONGEST) -> str:
    """A part of a name: letters, digits, dots, underscores and dashes; neither hidden nor an option, of at
    most `room` bytes.

    >>> safe("../../porch/cam 1"), safe("-rf"), safe("?")
    ('porch-cam-1', 'rf', 'untitled')
    """
    normal = unicodedata.normalize("NFC", text)
    kept = "".join(c if c in "._" or unicodedata.category(c)[0] in "LMN" else "-" for c in normal)
    parts = "-".join(part for part in kept.split("-") if part.strip("."))
    cut = parts.strip("-. ").encode()[:room].decode(errors="ignore").rstrip("-.")
    return cut or "untitled"


def clip_name(rank: int, digits: int, video_id: str, start: float, end: float, suffix: str) -> str:
    """The name of a clip, without folders.

    >>> clip_name(1, 2, "porch/cam1", 12.0, 18.5, ".mp4")
    '01_porch-cam1_00-12.0_00-18.5.mp4'
    """
    times = "_".join(clock(seconds).replace(":", "-") for seconds in (start, end))
    before, after = f"{rank:0{digits}d}_", f"_{times}{suffix}"
    return before + safe(video_id, _LONGEST - _NUMBER - len(before) - len(after)) + after


def numbered(name: str, number: int) -> str:
    """The first, second ... name for what should have the same.

    >>> numbered("a.b.mp4", 1), numbered("a.b.mp4", 2)
    ('a.b.mp4', 'a.b-2.mp4')
    """
    stem, dot, suffix = name.rpartition(".")
    return name if number == 1 else f"{stem}-{number}{dot}{suffix}"


def one_line(text: str) -> str:
    """A text for a line of a file: line breaks become blanks, other control characters are escaped."""
    return printable(" ".join(text.split()))
