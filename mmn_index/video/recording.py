"""When a video was recorded, by which camera, and in which size, as its file says.

Cameras whose clock was never set write the zero of their clock (1904, 1970, 1980), and editors write a year.
Such a time says nothing, and none is better than a wrong one.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .container import open_video
from .picture import shown_size

About = dict[str, str | int | float]

# Clocks of containers: nobody recorded to a file of theirs before.
_CLOCKS, _FIRST_OF_CLOCKS = ("com.apple.quicktime.creationdate", "creation_time"), 1981
_WRITTEN = ("date_recorded", "date-recorded", "date_digitized", "date")  # may tell of older films
_FIRST_FILM = 1888
_ZEROS = frozenset([(1903, 12, 31), (1904, 1, 1), (1969, 12, 31), (1970, 1, 1)])
_AHEAD = timedelta(days=1)  # a camera in a zone whose clock is ahead of UTC, written without the zone
_CAMERAS = (
    ("com.apple.quicktime.make", "com.apple.quicktime.model"),
    ("com.android.manufacturer", "com.android.model"),
    ("make", "model"),
    ("manufacturer", "model"),
)
_LONGEST = 100  # characters of a camera's name


def about_recording(path: Path, now: datetime | None = None) -> About:
    """What a file says of its recording, as far as it does; decodes one frame.

    Returns:
        `recorded` (UTC, in ISO form), `camera`, `width` and `height` (pixels as shown), `fps`.

    Raises:
        VideoError: the file cannot be opened as a video, or no frame decodes.
    """
    with open_video(path) as video:
        first = next(video.frames(), None)
        if first is None:
            raise video.nothing_decodes()
        width, height = shown_size(first, video.aspect)
        tags, fps = video.tags, video.fps
    time, camera = recorded(tags, now or datetime.now(UTC)), camera_of(tags)
    found: About = {"width": round(width), "height": round(height), "fps": fps}
    if time is not None:
        found["recorded"] = time.isoformat()
    if camera is not None:
        found["camera"] = camera
    return found


def recorded(tags: Mapping[str, str], now: datetime) -> datetime | None:
    """The time of recording in UTC; None where the tags have none, or none that can be true.

    Args:
        tags: by name in lower case.

    >>> recorded({"creation_time": "2026-01-31T18:00:00.000000Z"}, datetime(2026, 11, 1, tzinfo=UTC))
    datetime.datetime(2026, 1, 31, 18, 0, tzinfo=datetime.timezone.utc)
    """
    for names, first in ((_CLOCKS, _FIRST_OF_CLOCKS), (_WRITTEN, _FIRST_FILM)):
        for name in names:
            time = _time(tags.get(name, ""))
            if time is None or time.year < first or time > now + _AHEAD:
                continue
            if (time.year, time.month, time.day) not in _ZEROS:
                return time
    return None


def camera_of(tags: Mapping[str, str]) -> str | None:
    """Make and model of the camera; None where the tags do not say.

    >>> camera_of({"make": "Canon", "model": "Canon EOS R5"}), camera_of({"com.android.model": "Pixel 8"})
    ('Canon EOS R5', 'Pixel 8')
    """
    for names in _CAMERAS:
        make, model = (_line(tags.get(name, "")) for name in names)
        if model:
            return model if model.lower().startswith(make.lower()) else f"{make} {model}"
    if "gopro" in tags.get("handler_name", "").lower():
        return "GoPro"
    if tags.get("major_brand", "").strip() == "XAVC":
        return "Sony"
    return None


def _time(text: str) -> datetime | None:
    """A time as containers and editors write it, in UTC; one without a zone is taken for UTC."""
    text = re.sub(r"^(\d{4})[:/](\d\d)[:/](\d\d)", r"\1-\2-\3", text.strip())  # as EXIF writes days
    found = None
    for read in (datetime.fromisoformat, lambda text: datetime.strptime(text, "%a %b %d %H:%M:%S %Y")):
        with suppress(ValueError):
            found = read(text)
            break
    if found is None:
        return None
    try:
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        return None


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST]
