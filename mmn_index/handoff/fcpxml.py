"""Final Cut Pro X's XML, which DaVinci Resolve reads as well.

The adapter of OpenTimelineIO knows rates as decimals, and leaves out the frame duration of 29.97; here, all
times are fractions of whole frames.
"""

from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

from ..video.media import Media
from .names import one_line
from .timeline import Event, Timeline

_NO_XML = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}  # what no XML may hold, and is no control character
_VERSION = "1.8"  # the last one whose files are named in their assets themselves
# What a clip may say of its rate where the time line has another one.
_CONFORMED = {
    Fraction(24000, 1001): "23.98",
    Fraction(24): "24",
    Fraction(25): "25",
    Fraction(30000, 1001): "29.97",
    Fraction(30): "30",
    Fraction(60000, 1001): "59.94",
    Fraction(60): "60",
}


def as_fcpxml(timeline: Timeline) -> str:
    """One project, whose clips refer to the files."""
    root = ET.Element("fcpxml", version=_VERSION)
    resources = _Resources(ET.SubElement(root, "resources"))
    whole = resources.format(timeline.base.rate, _shape(timeline))
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name="mmn-index")
    sequence = ET.SubElement(
        ET.SubElement(event, "project", name=timeline.title),
        "sequence",
        format=whole,
        duration=_time(timeline.length, timeline.base.rate),
        tcStart="0s",
        tcFormat="DF" if timeline.base.drop else "NDF",
    )
    spine = ET.SubElement(sequence, "spine")
    for one in timeline.events:
        _clip(spine, one, timeline.base.rate, resources)
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode").translate(_NO_XML)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _shape(timeline: Timeline) -> tuple[int, int]:
    info = timeline.events[0].media.info if timeline.events else None
    return (1920, 1080) if info is None else (info.width, info.height)


def _clip(spine: ET.Element, event: Event, rate: Fraction, resources: "_Resources") -> None:
    clip = ET.SubElement(
        spine,
        "asset-clip",
        name=event.name,
        ref=resources.asset(event),
        offset=_time(event.at, rate),
        start=_time(event.origin + event.begin, event.media.rate),
        duration=_time(event.length, rate),
        tcFormat="DF" if event.base.drop else "NDF",
    )
    ET.SubElement(clip, "note").text = f"{one_line(event.excerpt.query)} (rank {event.excerpt.rank})"
    if event.media.rate != rate and event.media.rate in _CONFORMED:
        ET.SubElement(clip, "conform-rate", scaleEnabled="0", srcFrameRate=_CONFORMED[event.media.rate])


class _Resources:
    """What clips refer to, each once."""

    def __init__(self, parent: ET.Element) -> None:
        self._parent = parent
        self._formats: dict[tuple[Fraction, tuple[int, int]], str] = {}
        self._assets: dict[Path, str] = {}

    def format(self, rate: Fraction, size: tuple[int, int]) -> str:
        if (rate, size) not in self._formats:
            self._formats[rate, size] = identity = self._next()
            width, height = (str(side) for side in size)
            ET.SubElement(
                self._parent, "format", id=identity, frameDuration=_time(1, rate), width=width, height=height
            )
        return self._formats[rate, size]

    def asset(self, event: Event) -> str:
        media = event.media
        if media.path not in self._assets:
            size = self.format(media.rate, (media.info.width, media.info.height))
            self._assets[media.path] = identity = self._next()
            asset = {
                "id": identity,
                "name": event.name,
                "src": media.path.absolute().as_uri(),
                "start": _time(event.origin, media.rate),
                "duration": _time(event.available, media.rate),
                "hasVideo": "1",
                "format": size,
            }
            ET.SubElement(self._parent, "asset", asset | _sound(media))
        return self._assets[media.path]

    def _next(self) -> str:
        return f"r{len(self._formats) + len(self._assets) + 1}"


def _sound(media: Media) -> dict[str, str]:
    if media.sound is None:
        return {}
    channels, rate = str(media.sound.channels), str(media.sound.rate)
    return {"hasAudio": "1", "audioSources": "1", "audioChannels": channels, "audioRate": rate}


def _time(frames: int, rate: Fraction) -> str:
    """A number of frames in seconds.

    >>> _time(30, Fraction(30000, 1001)), _time(50, Fraction(25))
    ('1001/1000s', '2s')
    """
    seconds = frames / rate
    return (
        f"{seconds.numerator}s" if seconds.denominator == 1 else f"{seconds.numerator}/{seconds.denominator}s"
    )
