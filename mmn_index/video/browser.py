"""Whether a browser plays a video file as it is."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..errors import VideoError
from .container import VideoFile, open_video
from .media import describe, sound_stream

Way = Literal["direct", "transcode", "none"]

# Pictures of 8 bits and half the colours, which decoders in hardware have. Those of AV1 have 10 as well.
_PLAIN = frozenset(("yuv420p", "yuvj420p"))
_PICTURES = {"h264": _PLAIN, "vp8": _PLAIN, "vp9": _PLAIN, "av1": _PLAIN | {"yuv420p10le"}}
_MP4 = (("h264", "vp9", "av1"), ("aac", "mp3", "opus", "flac"))
_WEBM = (("vp8", "vp9", "av1"), ("opus", "vorbis"))
# By the suffix, which tells browsers what they are sent: FFmpeg's name of the format, pictures, sound.
_PLAYED = {
    ".mp4": ("mp4", *_MP4),
    ".m4v": ("mp4", *_MP4),
    ".mov": ("mp4", *_MP4),
    ".webm": ("webm", *_WEBM),
}
_NAMES = {
    "h264": "H.264",
    "hevc": "H.265 (HEVC)",
    "mpeg4": "MPEG-4",
    "msmpeg4v3": "DivX 3",
    "mpeg1video": "MPEG-1",
    "mpeg2video": "MPEG-2",
    "mjpeg": "Motion JPEG",
    "prores": "ProRes",
    "dnxhd": "DNxHD",
    "dvvideo": "DV",
    "vc1": "VC-1",
    "flv1": "Sorenson H.263",
    "av1": "AV1",
    "ac3": "AC-3",
    "eac3": "E-AC-3",
    "dts": "DTS",
    "alac": "ALAC",
    "aac": "AAC",
    "mp2": "MPEG layer 2",
}
_CONTAINERS = {
    "mov": "QuickTime",
    "mp4": "MP4",
    "matroska": "Matroska",
    "avi": "AVI",
    "mpegts": "an MPEG transport stream",
    "mpeg": "an MPEG program stream",
    "asf": "Windows Media",
    "flv": "Flash Video",
    "ogg": "Ogg",
    "mxf": "MXF",
}
_BESIDE = "browsers do not play it, so it is converted while you watch."


@dataclass(frozen=True)
class Playback:
    """How a browser gets to see a video.

    Attributes:
        way: "direct" plays the file itself; "transcode" what is made of it; "none" nothing can be made.
        reason: why not directly, in a line for people.
    """

    way: Way
    reason: str | None = None


def playback(path: Path) -> Playback:
    """How a browser gets to see a file as it is now; decodes a frame."""
    try:
        about = os.stat(path)
    except OSError:
        return Playback("none", "The file is not there any more.")
    return _playback(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def _playback(path: Path, _size: int, _modified: int) -> Playback:
    try:
        with open_video(path) as video:
            first = next(video.frames(), None)
            if first is None:
                raise video.nothing_decodes()
            trouble = _trouble(video, first.format.name)
            joined = video.may_start_again
        if joined:
            describe(path).check_cuttable()
    except VideoError as error:
        return Playback("none", sentence(error, path))
    return Playback("direct") if trouble is None else Playback("transcode", f"{trouble}: {_BESIDE}")


def sentence(error: VideoError, path: Path) -> str:
    """What is wrong with a file, without its place on this machine."""
    said = str(error).removeprefix(f"{path}: ")
    return said[:1].upper() + said[1:]


def _trouble(video: VideoFile, pixels: str) -> str | None:
    """What a browser does not play; None where it plays all of it."""
    formats = video.container.format.name.split(",")
    codec, sound = video.stream.codec_context.codec.canonical_name, sound_stream(video)
    family, pictures, sounds = _PLAYED.get(video.path.suffix.lower(), (None, (), ()))
    container = next((_CONTAINERS[name] for name in formats if name in _CONTAINERS), formats[0].upper())
    if {"mov", "webm"} & set(formats):
        container = {".mov": "QuickTime", ".webm": "WebM"}.get(
            video.path.suffix.lower(), "MP4" if "mov" in formats else "Matroska"
        )
    if family not in formats or codec not in pictures:
        return f"{_name(codec)} in {container}"
    if pixels not in _PICTURES[codec]:
        return f"{_name(codec)} with {pixels} pixels"
    shown = [s for s in video.container.streams.video if s.disposition == video.stream.disposition]
    if shown and shown[0].index != video.stream.index:
        return "Several videos in one file, of which the first is another one"
    heard = None if sound is None else sound.codec_context.codec.canonical_name
    return None if heard is None or heard in sounds else f"{_name(heard)} sound in {container}"


def _name(codec: str) -> str:
    return _NAMES.get(codec, codec.upper())
