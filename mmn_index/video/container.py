"""Video files: what a file says of its video, and its frames. How it is opened stands in opening.py."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.format import Flags
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..errors import VideoError
from .clock import Clock, seconds
from .opening import BROKEN, fps_of, moving_of, opened, video_streams

_COMPLETE = 1.0  # seconds; a file whose packets come this close to its stated end is complete
_FAILURES = 1000  # one after another, until a container counts as broken off
_REMEMBERED = 1024  # packets whose places are known
_SMALL = 320 * 240  # pixels; below, starting decoder threads costs more than they save


class VideoFile:
    """An open file and the one stream of it that is decoded.

    Times of this class are raw: seconds as the file stamps them.

    Attributes:
        fps: the average frame rate.
        aspect: the width of a stored pixel over its height.
        start: the raw time that players count as 0; None if the file stamps nothing.
        of_video: whether a length that the header states is the video's own, and not the longest stream's.
        may_start_again: whether the clock may start again in the middle of such a file.
        damaged: whether something of what was read so far could not be read or decoded as it should.
        tags: what the file says of itself, by name in lower case.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self.path = path
        self.fps = fps_of(stream)
        aspect = stream.sample_aspect_ratio or 1
        self.aspect = float(aspect) if 0.2 < aspect < 5 else 1.0
        self.start = None if container.start_time is None else container.start_time / av.time_base
        flags = Flags(container.format.flags)
        # Formats that recorders cut and join without touching the stamps.
        self.may_start_again = bool(flags & Flags.ts_discont) or container.format.name == "flv"
        self.damaged = False
        # The container's own win: those of the stream are often of a program that joined it in.
        told = {**stream.metadata, **container.metadata}
        self.tags = {name.lower(): text for name, text in told.items()}
        self._container = container
        self._stream = stream
        self._of_stream = bool(stream.duration and stream.time_base and stream.duration > 0)
        self.of_video = self._of_stream or len(container.streams) == 1
        # FFmpeg estimates the length of formats whose clock may start again, and of those without a clock.
        self._told = not flags & (Flags.ts_discont | Flags.no_timestamps)
        self._end_of_all = 0.0  # the latest end among the packets of all streams so far
        self._delay: float | None = None  # between decoding and showing the first packet, nan if not known
        self._decoded_until: float | None = None
        self._places: dict[int, int] = {}  # the stamps of the last packets, and the bytes where they begin
        self._earlier: Progress | None = None

    @property
    def container(self) -> InputContainer:
        """All its streams."""
        return self._container

    @property
    def stream(self) -> VideoStream:
        """The one that is the video."""
        return self._stream

    @property
    def stated(self) -> float | None:
        """Where the file's header says that its video ends, in seconds after `start`; None if it does not.

        A length of the container alone is one of all streams. It says nothing of the video once a packet of
        any stream has come close to it: the file is complete, and something else lasts longer.
        """
        if not self._told:
            return None
        stream, start = self._stream, self.start or 0.0
        # Some headers count from 0, wherever the streams begin.
        offset = max(start, 0.0) if self._container.format.name.startswith(("matroska", "asf")) else 0.0
        if self._of_stream and stream.duration and stream.time_base:
            own = start if stream.start_time is None else float(stream.start_time * stream.time_base)
            # FFmpeg shortens the length of an AVI file that was cut short, but not the number of frames.
            frames = stream.frames if self._container.format.name == "avi" else 0
            return own - start - offset + float(max(stream.duration, frames) * stream.time_base)
        length = (self._container.duration or 0) / av.time_base - offset
        if length <= 0 or (not self.of_video and self._end_of_all >= length - _COMPLETE):
            return None
        return length

    @property
    def estimated(self) -> float | None:
        """How long FFmpeg takes the file to be, in seconds; it may be far off."""
        length = (self._container.duration or 0) / av.time_base
        return length if length > 0 else None

    @property
    def end_of_decoding(self) -> float | None:
        """The raw time at which the packets decoded so far have all been shown; None if they do not say.

        A packet's own length is the distance to the next one decoded. Where frames are stored out of order,
        that is the length of another frame; but the lengths of all together are those of all frames.
        """
        if self._delay is None or math.isnan(self._delay) or self._decoded_until is None:
            return None
        return self._decoded_until + self._delay

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame from here on that decodes. A broken packet is passed over; where the container breaks
        off for good, the video ends.
        """
        for packet in self._packets():
            try:
                for frame in packet.decode():
                    self.damaged |= frame.is_corrupt
                    yield frame
            except BROKEN:
                self.damaged = True
        try:
            held = self._stream.codec_context.decode(None)
        except BROKEN:
            return
        for frame in held:
            if self._stream.time_base is not None:
                frame.time_base = self._stream.time_base  # which PyAV sets from packets, and here is none
            yield frame

    def _packets(self) -> "Iterator[av.Packet[Any]]":
        """Packets of the video, without the empty ones that tell a decoder the end."""
        self._delay = self._decoded_until = None
        if self._earlier is not None:
            delay, self._end_of_all = self._earlier
            self._delay = math.nan if delay is None else delay
        failures = 0
        while failures < _FAILURES:
            # Packets of other streams are read only where they tell whether the file is complete.
            packets = self._container.demux(*([self._stream] if self._of_stream else []))
            try:
                for packet in packets:
                    failures = 0
                    wanted = packet.size > 0 and packet.stream.index == self._stream.index
                    self._note(packet, wanted)
                    if wanted:
                        yield packet
                return
            except BROKEN:
                self.damaged = True
                failures += 1  # damaged bytes; what follows them may be whole

    def _note(self, packet: "av.Packet[Any]", wanted: bool) -> None:
        base, length = packet.time_base, packet.duration or 0
        if not base or not packet.size:
            return
        pts = packet.pts
        if pts is not None:
            self._end_of_all = max(self._end_of_all, seconds(pts + length, base) - (self.start or 0))
        if not wanted:
            return
        dts = packet.dts
        if self._delay is None:
            self._delay = math.nan if pts is None or dts is None else seconds(pts - dts, base)
        if pts is not None and packet.pos is not None:
            self._places[pts] = packet.pos
            if len(self._places) > _REMEMBERED:
                del self._places[next(iter(self._places))]
        if dts is not None:
            self._decoded_until = seconds(dts + length, base) if length else None

    def clock(self, settle: Callable[[Any], object] | None = None) -> Clock:
        """A clock for the frames of this video (`settle` as there)."""
        return Clock(1 / self.fps, self.start, self.stated, settle)

    def measured(self) -> tuple[float, bool]:
        """Where the last packet ends, in seconds, and whether the clock starts again before that. Reads the
        file from here to its end, and decodes nothing.
        """
        clock = self.clock()
        last, length = 0.0, 0.0
        for time, stamp in clock.in_order(self._stamps()):
            last, length = time, stamp.length
        return clock.end(last, length, self.end_of_decoding), clock.started_again

    def first_time(self) -> tuple[float, float]:
        """Seconds at which the first picture is shown, and the raw time that counts as 0. Reads some packets
        from here on, and decodes nothing.

        Raises:
            VideoError: there is none.
        """
        clock = self.clock()
        first = next(clock.in_order(self._stamps()), None)
        if first is None:
            raise self.nothing_decodes()
        return first[0], clock.zero

    def _stamps(self) -> Iterator["_Stamp"]:
        for packet in self._packets():
            base = packet.time_base
            if base:
                raw = packet.dts if packet.pts is None else packet.pts
                time = None if raw is None else seconds(raw, base)
                yield _Stamp(time, seconds(packet.duration or 0, base))

    @property
    def progress(self) -> "Progress":
        """What was learnt from the packets so far."""
        known = self._delay is not None and not math.isnan(self._delay)
        return Progress(self._delay if known else None, self._end_of_all)

    def place(self, stamp: int | None) -> int | None:
        """The byte of the file where the packet of the frame with this stamp begins; None if not known."""
        place = None if stamp is None else self._places.get(stamp)
        return place if place is not None and place >= 0 else None

    def seek(self, time: float, earlier: "Progress | None" = None) -> bool:
        """Continue at the key frame before a raw time; False if the file cannot do that.

        Args:
            earlier: what was learnt from the packets before.
        """
        self._earlier = earlier
        base = self._stream.time_base
        try:
            self._container.seek(int(time / base) if base else 0, stream=self._stream)
        except BROKEN:
            return False
        return True

    def seek_in(self, stream: Any, time: float) -> None:
        """Continue a little before a raw time by the clock of another stream; where the file cannot do that,
        from where it is.
        """
        with suppress(*BROKEN):
            self._container.seek(max(0, int(time / stream.time_base)), stream=stream)

    def nothing_decodes(self) -> VideoError:
        """The error to raise when no frame came."""
        return VideoError(
            f"{self.path}: no frame of its video can be decoded. Is the file damaged, or cut short?"
        )


class Progress(NamedTuple):
    """What packets tell that is asked for at the end of a file.

    Attributes:
        delay: seconds between decoding and showing the first packet; None if they do not say.
        end_of_all: where the last of all streams ended so far, in seconds.
    """

    delay: float | None
    end_of_all: float


class _Stamp(NamedTuple):
    time: float | None
    length: float


@contextmanager
def open_video(path: Path) -> Iterator[VideoFile]:
    """The file, ready to be decoded.

    Raises:
        VideoError: not a regular file, or not a video.
    """
    with opened(path) as container:
        candidates = video_streams(path, container)
        stream = candidates[0] if len(candidates) == 1 else candidates[moving_of(path, candidates)]
        small = 0 < stream.codec_context.width * stream.codec_context.height <= _SMALL
        stream.thread_type = "NONE" if small else "AUTO"
        yield VideoFile(path, container, stream)
