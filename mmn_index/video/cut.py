"""A part of a video file as a file of its own, without decoding: packets are copied.

A decoder can begin at key frames only. So the part begins at the last one at or before its start, and no
picture loses quality.
"""

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import av

from ..errors import VideoError
from .container import VideoFile, open_video
from .encode import refused
from .media import Media
from .opening import BROKEN

# Formats that are kept, by FFmpeg's name of the format; the first suffix is that of other names of a format.
_KEPT = {"mp4": (".mp4", ".mov", ".m4v"), "matroska": (".mkv", ".webm"), "avi": (".avi",)}
_MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
_EARLIER = (0.0, 1.0, 4.0, 16.0, 64.0)  # seconds that a seek aims before the start, where one landed too late
_AHEAD = 2.0  # seconds of other streams that are looked through behind the last picture
_FAILURES = 1000  # one after another, until a container counts as broken off
_SAME = 1e-6  # seconds; times closer than this are one time, told with different rounding

_Timed: TypeAlias = tuple["av.Packet[Any]", float]


def suffix_of(path: Path) -> str:
    """The suffix of a file that parts of another are copied to: the same, or .mkv, which holds anything.

    Raises:
        VideoError: it is no video.
    """
    own = path.suffix.lower()
    with open_video(path) as video:
        names = video.container.format.name.split(",")
    for name, suffixes in _KEPT.items():
        if name in names:
            return own if own in suffixes else suffixes[0]
    return ".mkv"


def copy_part(media: Media, start: float, end: float, out: Path, suffix: str, note: str) -> float:
    """Copy [start, end) seconds of a video with its sound.

    Args:
        out: the file to write.
        suffix: which format; one that `suffix_of` gives.
        note: kept in the file as its comment.

    Returns:
        How many seconds before `start` the part begins.

    Raises:
        VideoError: the file cannot be cut.
        OutputError: `out` cannot be written.
    """
    media.check_cuttable()
    for earlier in (*_EARLIER, None):
        with open_video(media.path) as video:
            aim = start + media.zero - (earlier or 0.0)
            # The last try is from the first packet on, which needs no seek.
            if earlier is not None and (aim <= media.zero or not video.seek(aim)):
                continue
            part = _Part(video, start + media.zero, end + media.zero, from_first=earlier is None)
            packets = part.packets()
            first = next(packets, None)
            if first is not None:
                _write(media, part, chain([first], packets), out, suffix, note)
                return start + media.zero - part.origin
    raise VideoError(f"{media.path}: has no key frame around {start:g} s, so it cannot be cut by time.")


class _Part:
    """The packets of a part.

    Args:
        start, end: raw times.
        from_first: the file is at its first packet, so that the first key frame will do.
    """

    def __init__(self, video: VideoFile, start: float, end: float, *, from_first: bool) -> None:
        self.streams = [video.stream, *(s for s in video.container.streams.audio if s.codec_context)]
        self.begin = 0.0  # raw time of the first picture, once a packet has come
        self._video, self._start, self._end, self._from_first = video, start, end, from_first

    @property
    def origin(self) -> float:
        """The raw time that counts as 0 in the part: its first picture's, or its start if that is first."""
        return min(self.begin, self._start)

    def packets(self) -> Iterator["av.Packet[Any]"]:
        """Those that a decoder needs, in the order of decoding; none if there is no key frame to begin at."""
        source = self._timed()
        opening = self._opening(source)
        if not opening:
            return
        late: list[av.Packet[Any]] = []  # pictures behind the end, which others before it may need
        last = -math.inf
        for packet, time in chain(opening, source):
            if not self._is_picture(packet):
                if self._is_heard(packet, time):
                    yield packet
            elif time < self.begin:  # it needs what came before the key frame
                continue
            elif time >= self._end - _SAME and time > last:
                late.append(packet)
            else:
                last = max([last, time, *map(_time, late)])
                yield from (*late, packet)
                late = []

    def _opening(self, source: Iterator[_Timed]) -> list[_Timed]:
        """All from the last key frame at or before the start to the first picture behind it."""
        found: list[_Timed] = []
        begun = False
        for packet, time in source:
            picture, after = self._is_picture(packet), time > self._start + _SAME
            if picture and packet.is_keyframe and (not after or not begun):
                if after and not self._from_first:
                    return []
                self.begin, begun = time, True
                found = [other for other in found if not self._is_picture(other[0])]
            if begun or not picture:
                found.append((packet, time))
            if begun and picture and after:
                break
        return found if begun else []

    def _is_picture(self, packet: "av.Packet[Any]") -> bool:
        return bool(packet.stream.index == self.streams[0].index)

    def _is_heard(self, packet: "av.Packet[Any]", time: float) -> bool:
        length = float((packet.duration or 0) * packet.time_base)
        return time + length > self.origin and time < self._end

    def _timed(self) -> Iterator[_Timed]:
        """Packets with their raw times, until all streams have come to the end."""
        open_streams = {stream.index for stream in self.streams}
        failures = 0
        while failures < _FAILURES:
            try:
                for packet in self._video.container.demux(*self.streams):
                    failures = 0
                    stamp = packet.pts if packet.dts is None else packet.dts
                    if not packet.size or not packet.time_base or stamp is None:
                        continue
                    order = float(stamp * packet.time_base)
                    if order >= self._end:
                        open_streams.discard(packet.stream.index)
                        if not open_streams or order > self._end + _AHEAD:
                            return
                    yield packet, _time(packet)
                return
            except BROKEN:
                failures += 1  # damaged bytes; what follows them may be whole


def _time(packet: "av.Packet[Any]") -> float:
    return float(((packet.dts if packet.pts is None else packet.pts) or 0) * packet.time_base)


def _write(
    media: Media, part: _Part, packets: Iterator["av.Packet[Any]"], out: Path, suffix: str, note: str
) -> None:
    try:
        with av.open(str(out), "w", format=_MUXERS[suffix]) as container:
            container.metadata["comment"] = note
            made = {}
            for stream in part.streams:
                made[stream.index] = copy = container.add_stream_from_template(stream, opaque=True)
                copy.metadata.update({k: v for k, v in stream.metadata.items() if k == "language"})
                if stream.codec_context.codec_tag == "hvc1":  # else Apple's programs do not play it
                    copy.codec_context.codec_tag = "hvc1"
            for packet in packets:
                shift = round(part.origin / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts - shift
                packet.dts = None if packet.dts is None else packet.dts - shift
                packet.stream = made[packet.stream.index]
                container.mux(packet)
    except BROKEN as error:
        raise refused(
            error,
            out,
            f"{media.path}: cannot be copied in parts as {suffix} ({error}). --exact encodes it again.",
        ) from error
