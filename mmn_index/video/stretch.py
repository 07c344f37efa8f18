"""What is seen and heard between two times of a video file, found by seeking."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame

from .container import VideoFile, open_video
from .media import Media, Sound, sound_stream
from .opening import BROKEN

_SAME = 1e-6  # seconds; times closer than this are one time, told with different rounding
_SHORTEST = 1e-4  # seconds; what is shown for less is not
_SEEK_AHEAD = 2.0  # seconds; what is closer than this is reached faster by decoding on than by a seek
_SETTLE = 0.5  # seconds that decoders of sound need before what they give is right
_GAP = 0.05  # seconds; less between two frames of sound is rounding


class Shown(NamedTuple):
    """A frame, when it is shown after the start of a stretch, and for how long; seconds."""

    frame: VideoFrame
    time: float
    length: float


def pictures(media: Media, start: float, end: float) -> Iterator[Shown]:
    """The frames that are shown in [start, end) seconds, as they are stored. The first one is that shown at
    `start`; where nothing is shown yet, the first of the video.

    Raises:
        VideoError: nothing decodes, or the file cannot be searched by time.
    """
    media.check_cuttable()
    far = start > media.first + _SEEK_AHEAD
    for seek in (True, False) if far else (False,):
        with open_video(media.path) as video:
            frames = _timed(video, start if seek else None)
            first = next(frames, None)
            if first is None and not seek:
                raise video.nothing_decodes()
            if first is None or (seek and (first[0] > start + _SAME or first[1].time is None)):
                continue  # a file that cannot be searched by time is decoded from its beginning
            yield from _shown(media, first, frames, start, end)
            return


def _timed(video: VideoFile, start: float | None) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with their seconds, from the key frame before a time on."""
    clock = video.clock()
    frames = clock.in_order(video.frames())
    if start is not None:
        next(frames, None)  # which sets the clock
        if not video.seek(start + clock.zero):
            return
        frames = clock.in_order(video.frames())
    yield from frames


def _shown(
    media: Media,
    first: tuple[float, VideoFrame],
    frames: Iterator[tuple[float, VideoFrame]],
    start: float,
    end: float,
) -> Iterator[Shown]:
    since, (own, frame) = start, first
    for time, following in frames:
        if time >= end - _SAME:
            break
        if time > since + _SHORTEST:  # of two frames at one time, as in damaged files, the second is seen
            yield Shown(frame, since - start, time - since)
            since = time
        own, frame = time, following
    else:
        length = float((frame.duration or 0) * (frame.time_base or 0)) or float(1 / media.rate)
        end = max(min(end, own + length), since + float(1 / media.rate))
    yield Shown(frame, since - start, end - since)


def heard(media: Media, start: float, end: float, form: Sound) -> Iterator[np.ndarray]:
    """The sound of [start, end) seconds, (channels, samples) float32 at a time: round((end - start) * rate)
    samples in all, silence where there is none.
    """
    total, done = round((end - start) * form.rate), 0
    for at, samples in () if media.sound is None else _pieces(media, start, end, form):
        place = round(at * form.rate)
        if place > done:
            yield from _silence(min(place, total) - done, form)
            done = min(place, total)
        piece = samples[:, max(0, done - place) : max(0, total - place)]
        if piece.shape[1]:
            yield piece
            done += piece.shape[1]
    yield from _silence(total - done, form)


def _silence(count: int, form: Sound) -> Iterator[np.ndarray]:
    for begin in range(0, count, form.rate):
        yield np.zeros((form.channels, min(form.rate, count - begin)), np.float32)


def _pieces(media: Media, start: float, end: float, form: Sound) -> Iterator[tuple[float, np.ndarray]]:
    """Samples of a form, and the seconds after `start` at which they begin."""
    with open_video(media.path) as video:
        stream = sound_stream(video)
        video.seek_in(stream, start + media.zero - _SETTLE)
        resampler: AudioResampler | None = None
        taken: tuple[str, str, int] | None = None
        expected = at = 0.0
        for frame in _sounding(video, stream):
            time = expected if frame.time is None else frame.time - media.zero
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or kind != taken or abs(time - expected) > _GAP:
                if resampler is not None:
                    yield from _held(resampler, at)
                resampler, taken, at = AudioResampler("fltp", layout(form), form.rate), kind, time - start
            if time >= end:
                return
            expected = time + frame.samples / frame.sample_rate
            for made in resampler.resample(frame):
                yield at, made.to_ndarray()
                at += made.samples / form.rate
        if resampler is not None:
            yield from _held(resampler, at)


def _held(resampler: AudioResampler, at: float) -> Iterator[tuple[float, np.ndarray]]:
    """The samples that a resampler kept for what would follow."""
    for left in resampler.resample(None):
        yield at, left.to_ndarray()


def _sounding(video: VideoFile, stream: Any) -> Iterator[AudioFrame]:
    """Frames of sound from here on that decode; where the container breaks off, the sound ends."""
    try:
        for packet in video.container.demux(stream):
            try:
                yield from packet.decode()
            except BROKEN:
                continue
    except BROKEN:
        return


def layout(form: Sound) -> str:
    """FFmpeg's name of the speakers of a form."""
    return {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}[form.channels]
