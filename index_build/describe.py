"""One video as snippets: its frames go through a backbone, and the snippets into a part, block by block."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError, VideoError
from ..feature_part import GrowingPart, PartPlace
from ..origin import content_hash
from ..video.backbones import Backbone, load_backbone
from ..video.bookmark import Bookmark
from ..video.decode import FrameWalk, frames_at_rate, num_ticks
from ..video.recording import About, about_recording

# What a file states may be longer than what decodes by this much of it, in whole or in seconds, before the
# rest counts as lost: containers are a little off, and sound often lasts longer.
_LOST_SHARE, _LOST_SECONDS = 0.02, 1.0
_PAUSE = 0.3  # seconds between two words on how far it is

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Task:
    """A video to describe, and where to collect its snippets."""

    path: Path
    place: PartPlace


@dataclass(frozen=True)
class Described:
    """One video as snippets, which lie in its part.

    Attributes:
        rows, width: of the snippets; snippet k stands for the time (k + 0.5) / rate. The part may hold more.
        duration: seconds that were decoded.
        stated: seconds that the file states, where much of them could not be decoded; else None.
        about: what the file says of its recording, and its content hash.
    """

    rows: int
    width: int
    duration: float
    stated: float | None = None
    about: About = field(default_factory=dict)


def describer(
    backbone: str, rate: float, device: str = "cpu"
) -> Callable[[Task, Tell], Described | str | OutputError]:
    """`attempt` with a backbone that is loaded here, for a process of its own."""
    return partial(attempt, load_backbone(backbone, device), rate)


def attempt(model: Backbone, rate: float, task: Task, tell: Tell) -> Described | str | OutputError:
    """Describe a video.

    Args:
        rate: snippets a second.
        tell: called now and then with the seconds that were described.

    Returns:
        What it came to, or why there are no snippets, or why nothing can be written.
    """
    try:
        with GrowingPart(task.place) as part:
            try:
                # Before it is decoded: should it change meanwhile, the hash is that of the earlier content.
                about = {**about_recording(task.path), "content_hash": content_hash(task.path)}
                return replace(describe(task.path, model, rate, part, tell), about=about)
            except VideoError as error:
                part.discard()
                return str(error)
    except OutputError as error:
        return error
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or error or "memory is short"
        return f"{task.path}: cannot be read ({why})."


def describe(path: Path, backbone: Backbone, rate: float, part: GrowingPart, tell: Tell) -> Described:
    """One video's snippets: as many as there are of their times before its end, at least 1.

    What the part holds already is left as it is, and the walk goes on there. Blocks begin at the same frames
    as in a walk from the beginning, so that all snippets are the same to the bit.

    Raises:
        VideoError: the video cannot be decoded, or the backbone makes values of it that are not finite.
        OutputError: the part cannot be written.
    """
    frames = _frames(path, backbone, rate, part)
    told = 0.0
    try:
        for block in backbone(frames, resumed=part.rows > 0):
            if not np.isfinite(block).all():
                raise VideoError(f"{path}: {backbone.name} made values of it that are not finite.")
            part.append(block)
            if part.rows % backbone.block == 0:
                part.keep(partial(_mark, frames, _first_frame(part.rows, backbone)))
            if time.monotonic() - told > _PAUSE:
                told = time.monotonic()
                tell(min(part.rows / rate, frames.duration))
    finally:
        frames.close()
    duration, stated = frames.duration, frames.stated
    if stated is not None and stated - duration <= max(_LOST_SECONDS, _LOST_SHARE * stated):
        stated = None
    # A last snippet of which less than half is there has frames, but its middle lies past the end.
    return Described(min(part.rows, num_ticks(duration, rate)), part.width, duration, stated)


def _first_frame(snippet: int, backbone: Backbone) -> int:
    """The first frame that is needed to go on at a snippet, the first of a block."""
    return max(snippet * backbone.frames_per_snippet - backbone.reach, 0)


def _frames(path: Path, backbone: Backbone, rate: float, part: GrowingPart) -> FrameWalk:
    try:
        bookmark = None if part.mark is None else Bookmark.from_json(part.mark)
    except (KeyError, TypeError, ValueError, IndexError):  # of another version of this program
        bookmark = None
    return frames_at_rate(
        path,
        rate * backbone.frames_per_snippet,
        size=backbone.size,
        begin=_first_frame(part.rows, backbone),
        bookmark=bookmark,
    )


def _mark(frames: FrameWalk, tick: int) -> dict[str, Any] | None:
    bookmark = frames.bookmark(tick)
    return None if bookmark is None else bookmark.as_json()
