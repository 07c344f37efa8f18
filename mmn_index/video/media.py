"""What editing programs need to know of a video file: its rate, its start, its size, its sound."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import VideoError
from ..origin import MOVED
from .container import VideoFile, open_video
from .decode import VideoInfo, probe

# Rates at which cameras and editing programs run. Files round them, as 2997/100 or to whole milliseconds.
_NTSC = [Fraction(nominal * 1000, 1001) for nominal in (24, 30, 48, 60, 120)]
_RATES = (*_NTSC, *(Fraction(n) for n in (12, 15, 24, 25, 30, 48, 50, 60, 90, 100, 120)))
_NEAR = 2e-4  # relative; 24 and 23.976 frames per second differ by five times as much
_LARGEST = 10_000  # of numerator and denominator of another rate


class Sound(NamedTuple):
    """The form of a stream of sound."""

    rate: int  # samples per second
    channels: int


@dataclass(frozen=True)
class Media:
    """A video file that a part is taken of.

    Attributes:
        path, size: the file and its bytes.
        rate: frames per second, on average.
        first: seconds at which the first picture is shown; sound may come before it.
        zero: the raw time that counts as second 0.
        starts_again: whether the file's clock starts again in the middle.
        timecode: of the first picture, such as 01:00:00:00 or 01:00:00;00, if the file has one.
        info: length and size, as shown.
        aspect: the width of a pixel over its height, as shown.
        sound: None where there is none.
    """

    path: Path
    size: int
    rate: Fraction
    first: float
    zero: float
    starts_again: bool
    timecode: str | None
    info: VideoInfo
    aspect: Fraction
    sound: Sound | None

    def check_cuttable(self) -> None:
        """Make sure that a second of the clock is one place of the file.

        Raises:
            VideoError: it is not.
        """
        if self.starts_again:
            raise VideoError(
                f"{self.path}: its clock starts again in the middle, so it cannot be cut by time. Make a "
                "file with one clock of it first, for instance with `ffmpeg -i OLD NEW.mkv`."
            )


def describe(path: Path) -> Media:
    """What the file is now.

    Raises:
        VideoError: it is not there, or no video.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise VideoError(
            f"{path}: no such file. Was it moved or deleted since it was indexed? {MOVED}"
        ) from error
    return _described(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _described(path: Path, size: int, _modified: int) -> Media:
    info = probe(path)
    with open_video(path) as video:
        rate, timecode, heard = _rate(video), _timecode(video), sound_stream(video)
        sound = None if heard is None else Sound(heard.rate, heard.channels)
        aspect = Fraction(video.aspect).limit_denominator(1000)
        first, zero = video.first_time()
        may_start_again = video.may_start_again
    starts_again = False
    if may_start_again:
        with open_video(path) as video:
            starts_again = video.measured()[1]
    aspect = 1 / aspect if info.rotation in (90, 270) else aspect
    return Media(path, size, rate, max(first, 0.0), zero, starts_again, timecode, info, aspect, sound)


def sound_stream(video: VideoFile) -> Any:
    """The stream of sound that players play; None where there is none that can be decoded."""
    streams = [s for s in video.container.streams.audio if s.codec_context is not None and s.rate]
    return min(streams, key=lambda s: not s.disposition & s.disposition.default, default=None)


def standard_rate(rate: Fraction) -> Fraction:
    """The rate that a file means.

    >>> standard_rate(Fraction(2997, 100)), standard_rate(Fraction(299, 10))
    (Fraction(30000, 1001), Fraction(299, 10))
    """
    near = min(_RATES, key=lambda known: abs(known - rate))
    if abs(near - rate) <= _NEAR * rate:
        return near
    return rate.limit_denominator(max(1, int(_LARGEST / max(float(rate), 1.0))))


def _rate(video: VideoFile) -> Fraction:
    for rate in (video.stream.average_rate, video.stream.base_rate):
        if rate and 0.01 < rate <= 1000:
            return standard_rate(Fraction(rate))
    return standard_rate(Fraction(video.fps))


def _timecode(video: VideoFile) -> str | None:
    """Of a tape, a camera or an editing program: said by the video, a track of its own, or the file."""
    streams = [video.stream, *(s for s in video.container.streams if s.type == "data")]
    said = [s.metadata for s in streams] + [video.container.metadata]
    keys = ("timecode", "TIMECODE", "time_code")
    return next((held[key] for held in said for key in keys if held.get(key)), None)
