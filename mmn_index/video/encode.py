"""Pictures and sound written as H.264 and AAC in mp4, which plays everywhere."""

import errno
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame

from ..errors import MmnIndexError, OutputError, VideoError
from .media import Sound
from .opening import BROKEN
from .stretch import Shown, layout

_TICKS = 90_000  # of the clock per second: a multiple of most frame rates
_FINE = 18  # what x264 calls the constant rate factor: differences that eyes hardly find
_SOUND_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # of AAC
_SOUND_BITS = 96_000  # per second and channel
_KEYS = 60  # frames, at most, from one that can be decoded by itself to the next
_PART = 500_000  # microseconds of a part
# Errors of a place, as no stream causes them.
_PLACE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
)


class Sink(Protocol):
    """What bytes are written to, one after another."""

    def write(self, data: bytes) -> int: ...


def encodable(sound: Sound | None) -> Sound | None:
    """The form of sound that AAC can have and that is nearest to another one."""
    if sound is None:
        return None
    rate = sound.rate if sound.rate in _SOUND_RATES else 48000
    return Sound(rate, sound.channels if sound.channels in (1, 2, 3, 4, 5, 6, 8) else 2)


@dataclass(frozen=True)
class Coding:
    """How a file is encoded.

    Attributes:
        crf: less is finer and larger.
        threads: that encode pictures; 0 is as many as FFmpeg likes.
        live: for a reader who begins before the end: no wait for pictures to come, and parts that can be
            played one by one.
    """

    crf: int = _FINE
    threads: int = 0
    live: bool = False

    def of_pictures(self) -> dict[str, str]:
        """Options of the encoder. No B-frames: packets come in the order shown, so that each one's length is
        that of its picture.
        """
        tuned = {"tune": "zerolatency"} if self.live else {}
        parameters = (
            f"bframes=0:sliced-threads=0:sync-lookahead=0:keyint={_KEYS}" if self.live else "bframes=0"
        )
        return {"crf": str(self.crf), "preset": "veryfast", "x264-params": parameters} | tuned

    def of_container(self) -> dict[str, str]:
        """Options of the mp4."""
        if not self.live:
            return {"movflags": "faststart"}
        # The list of tracks waits for the first part: only then is it known where sound begins before 0.
        return {"movflags": "frag_keyframe+delay_moov+default_base_moof", "frag_duration": str(_PART)}


def write_mp4(
    out: Path | Sink,
    pictures: Iterator[Shown],
    sound: Iterator[np.ndarray] | None,
    *,
    rate: Fraction,
    aspect: Fraction = Fraction(1),
    form: Sound | None = None,
    note: str,
    of: str,
    coding: Coding = Coding(),
) -> None:
    """Write a file; pictures and sound are taken as they are needed, so that memory stays small.

    Args:
        pictures: upright and yuv420p, in order; the first one tells the size.
        sound: (channels, samples) float32 at a time, of the form.
        rate: frames per second, on average.
        aspect: of a pixel.
        note: kept in the file as its comment.
        of: what is encoded, for errors.
        coding: how; to what is no path only a live one can be written.

    Raises:
        VideoError: what was given cannot be encoded.
        OutputError: `out` cannot be written.
    """
    first = next(pictures)
    try:
        target = str(out) if isinstance(out, Path) else out
        with av.open(target, "w", format="mp4", options=coding.of_container()) as container:
            container.metadata["comment"] = note
            picture_track = _PictureTrack(container, first, rate, aspect, coding)
            sound_track = None if sound is None or form is None else _SoundTrack(container, sound, form)
            for shown in chain([first], pictures):
                if sound_track is not None:
                    sound_track.write_until(shown.time)
                picture_track.write(shown)
            picture_track.end()
            if sound_track is not None:
                sound_track.end()
    except BROKEN as error:
        said = f"{of}: cannot be encoded ({getattr(error, 'strerror', None) or error})."
        raise (refused(error, out, said) if isinstance(out, Path) else VideoError(said)) from error


def refused(error: Exception, out: Path, message: str) -> MmnIndexError:
    """The error to raise where FFmpeg did not write a file: the disk's, or one of this video alone."""
    if getattr(error, "errno", None) in _PLACE:
        return OutputError(
            f"{out.parent}: cannot be written ({getattr(error, 'strerror', error)}). Is the disk full or the "
            "folder read-only?"
        )
    return VideoError(message)


class _PictureTrack:
    def __init__(
        self, container: Any, first: Shown, rate: Fraction, aspect: Fraction, coding: Coding
    ) -> None:
        self._container = container
        self._stream = container.add_stream("libx264", rate=rate, options=coding.of_pictures())
        self._stream.width, self._stream.height = first.frame.width, first.frame.height
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.thread_count = coding.threads
        context.sample_aspect_ratio = aspect
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(first.frame, name))
        self._lengths: deque[int] = deque()

    def write(self, shown: Shown) -> None:
        begin, end = (round(time * _TICKS) for time in (shown.time, shown.time + shown.length))
        shown.frame.pts, shown.frame.time_base = begin, Fraction(1, _TICKS)
        shown.frame.pict_type = 0  # not that of the file it comes from
        self._lengths.append(max(1, end - begin))
        self._mux(self._stream.encode(shown.frame))

    def end(self) -> None:
        self._mux(self._stream.encode(None))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            packet.duration = self._lengths.popleft()
            self._container.mux(packet)


class _SoundTrack:
    def __init__(self, container: Any, sound: Iterator[np.ndarray], form: Sound) -> None:
        self._container, self._sound, self._form = container, sound, form
        self._stream = container.add_stream("aac", rate=form.rate)
        self._stream.layout = layout(form)
        self._stream.bit_rate = _SOUND_BITS * form.channels
        self._written = 0  # samples

    def write_until(self, time: float) -> None:
        """Seconds."""
        while self._written <= time * self._form.rate:
            samples = next(self._sound, None)
            if samples is None:
                return
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout(self._form))
            frame.sample_rate, frame.time_base = self._form.rate, Fraction(1, self._form.rate)
            frame.pts = self._written
            self._written += samples.shape[1]
            self._container.mux(self._stream.encode(frame))

    def end(self) -> None:
        self.write_until(float("inf"))
        self._container.mux(self._stream.encode(None))
