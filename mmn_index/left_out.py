"""What a command leaves out so that one broken video does not end the work on thousands."""

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import MmnIndexError

SHOWN = 3  # of what was left out; the rest is counted


@dataclass(frozen=True)
class LeftOut:
    """One thing that could not be used."""

    what: str  # a video's id, or the path of a file
    why: str  # one line that names it


def refuse(found: Sequence[LeftOut], kind: type[MmnIndexError]) -> None:
    """Raise an error if anything would be left out, for those who want all or nothing.

    Raises:
        MmnIndexError: of this kind; it names the first few and counts the rest.
    """
    if found:
        more = f" And {len(found) - SHOWN:,} more." if len(found) > SHOWN else ""
        raise kind(" ".join(one.why for one in found[:SHOWN]) + more + " Without --strict they are left out.")
