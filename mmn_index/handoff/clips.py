"""Each hit as a file of its own."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..errors import VideoError
from ..left_out import LeftOut
from ..places import Hold, aside
from ..readable import printable
from ..video.container import open_video
from ..video.cut import copy_part, suffix_of
from ..video.encode import encodable, write_mp4
from ..video.media import Media
from ..video.picture import upright
from ..video.stretch import heard, pictures
from .excerpt import Excerpt, Take
from .names import clip_name, numbered, safe

_QUERY_ROOM = 80  # bytes of a folder's name


@dataclass(frozen=True)
class Clip:
    """A file that was written, or was there from an equal run.

    Attributes:
        excerpt: what it shows, with its padding.
        earlier: seconds that it begins before that; None where it was there.
    """

    path: Path
    excerpt: Excerpt
    earlier: float | None


def write_clips(
    chosen: Sequence[Take],
    folder: Path,
    *,
    exact: bool = False,
    padding: float = 0.0,
    several: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Clip], list[LeftOut]]:
    """Write a file for each hit. A file that is there is never replaced: a clip that an equal run made is
    kept, and beside another file the clip gets a name with a number.

    Args:
        exact: encode again, so that a clip begins and ends with its moment; else packets are copied from the
            key frame before it.
        padding: seconds that are added before and after.
        several: a folder for each query.

    Returns:
        The clips, and the videos that cannot be cut.

    Raises:
        OutputError: a folder cannot be written, or another process writes there.
    """
    clips, left_out = [], []
    holds: dict[Path, Hold] = {}
    digits = max((len(str(take.excerpt.rank)) for take in chosen), default=2)
    try:
        for done, take in enumerate(chosen):
            report(done, len(chosen))
            place = folder / folder_of(take.excerpt) if several else folder
            if place not in holds:
                holds[place] = Hold(place, f"{place}: another `mmn-index export` writes clips there.")
            try:
                clips.append(_clip(take, place, max(2, digits), exact, padding))
            except VideoError as error:
                left_out.append(LeftOut(take.excerpt.video_id, str(error)))
        report(len(chosen), len(chosen))
    finally:
        for hold in holds.values():
            hold.release()
    return clips, left_out


def folder_of(excerpt: Excerpt) -> str:
    """The name of the folder for the clips of a query, where there are several."""
    return f"{excerpt.number:02d}_{safe(excerpt.query, _QUERY_ROOM)}"


def _clip(take: Take, folder: Path, digits: int, exact: bool, padding: float) -> Clip:
    media, part = take.media, take.excerpt.padded(padding, take.media)
    suffix = ".mp4" if exact else suffix_of(media.path)
    name = clip_name(part.rank, digits, part.video_id, part.start, part.end, suffix)
    note = (
        f"{printable(part.video_id)}, {part.start:.3f} to {part.end:.3f} s, "
        f"{'exactly' if exact else 'from a key frame on'}; cut by mmn-index out of {media.size} bytes"
    )
    for path in (folder / numbered(name, n) for n in count(1)):
        if not os.path.lexists(path):
            break
        if comment_of(path) == note:
            return Clip(path, part, None)
    with aside(path) as unfinished:
        if exact:
            _encode(media, part, unfinished, note)
            return Clip(path, part, 0.0)
        return Clip(path, part, copy_part(media, part.start, part.end, unfinished, suffix, note))


def _encode(media: Media, part: Excerpt, out: Path, note: str) -> None:
    end, form = min(part.end, media.info.duration), encodable(media.sound)
    shown = (one._replace(frame=upright(one.frame)) for one in pictures(media, part.start, end))
    sound = None if form is None else heard(media, part.start, end, form)
    write_mp4(
        out, shown, sound, rate=media.rate, aspect=media.aspect, form=form, note=note, of=str(media.path)
    )


def comment_of(path: Path) -> str | None:
    """What a video file says of itself; None where it says nothing, or is no video."""
    try:
        with open_video(path) as video:
            said = {key.lower(): value for key, value in video.container.metadata.items()}
    except VideoError:
        return None
    return said.get("comment")
