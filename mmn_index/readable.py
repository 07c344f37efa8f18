"""Texts of strangers, times and sizes, as people read them."""

import json
import shlex
import unicodedata
from pathlib import Path


def printable(text: str) -> str:
    r"""A text on one line, with escapes in place of what a terminal or a page would not show but obey.

    These are control characters, line breaks, marks that turn the direction of writing, and bytes of file
    names that are not UTF-8.

    >>> print(printable("\x1b[31mred\n\u202e\udce9"))
    \x1b[31mred\n\u202e\xe9
    """
    return text if text.isprintable() else "".join(_escape(c) if is_control(c) else c for c in text)


def typed(word: str | Path) -> str:
    r"""A path or another word of a command, as somebody can type it in a shell.

    >>> print(typed("my videos.mmn"), typed("-c.mmn"), typed("two\nlines"))
    'my videos.mmn' ./-c.mmn $'two\nlines'
    """
    text = f"./{word}" if str(word).startswith("-") else str(word)
    if any(is_control(c) for c in text):
        text = text.replace("\\", "\\\\").replace("'", "\\'")
        # Of "\x9b" a shell would make a byte.
        return (
            "$'" + "".join(f"\\u{ord(c):04x}" if "\x80" <= c <= "\xff" else printable(c) for c in text) + "'"
        )
    return shlex.quote(text)


def quoted(text: str) -> str:
    """A text in quotation marks; of a long one the beginning.

    >>> quoted("a dog"), quoted("dog " * 100)
    ("'a dog'", "'dog dog dog dog dog dog dog dog dog dog dog dog dog dog ...'")
    """
    return repr(text if len(text) <= 60 else f"{text[:56]}...")


def reason(error: Exception) -> str:
    """Why a file cannot be used, by the error that reading or writing it raised, without Python's own names.

    >>> reason(FileNotFoundError(2, "No such file or directory", "a.txt")), reason(KeyError("grid"))
    ('No such file or directory', "it lacks 'grid'")
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, json.JSONDecodeError):
        return (
            "it is empty"
            if not error.doc.strip()
            else f"it is no JSON from line {error.lineno}, column {error.colno} on"
        )
    if isinstance(error, UnicodeDecodeError):
        return f"it is no text in UTF-8: byte 0x{error.object[error.start]:02x} in position {error.start}"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, TypeError | AttributeError):
        return "a value in it is of another kind than expected"
    return str(error)


def is_control(character: str) -> bool:
    """Whether a terminal obeys a character, or a page would not show it."""
    kind = unicodedata.category(character)
    # Words of Persian and Hindi and many pictograms are written with these two joiners.
    return kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in "\u200c\u200d")


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte of a file name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


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


def counted(number: int, noun: str) -> str:
    """How many of something.

    >>> counted(1, "video"), counted(1200, "moment")
    ('1 video', '1,200 moments')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def weight(size: float) -> str:
    """Bytes in the unit that suits them.

    >>> weight(2.51e9), weight(31e6), weight(900)
    ('2.5 GB', '31.0 MB', '0.9 kB')
    """
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB") if size >= 1e6 else (1e3, "kB")
    return f"{size / unit:,.1f} {name}"
