"""Videos for the tests of cutting: every frame shows its number, and the sound is a tone.

Used by test_cutting.py and test_export.py.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, BLOCK = 80, 32, 16  # a frame is 5 x 2 blocks: the ten bits of its number, white or black
NTSC = Fraction(30000, 1001)
TONE = 440.0  # Hz


def frame_of(number: int) -> np.ndarray:
    bits = np.array([number >> bit & 1 for bit in range(10)], np.uint8).reshape(2, 5)
    return np.repeat((np.kron(bits, np.ones((BLOCK, BLOCK), np.uint8)) * 200 + 20)[..., None], 3, axis=2)


def number_in(image: np.ndarray) -> int:
    """Of a picture, (H, W) or (H, W, 3), whatever its size."""
    grey = image.astype(float).mean(axis=2) if image.ndim == 3 else image.astype(float)
    height, width = grey.shape
    rows = [(2 * n + 1) * height // 4 for n in range(2)]
    columns = [(2 * n + 1) * width // 10 for n in range(5)]
    bits = [
        grey[row - 2 : row + 2, column - 2 : column + 2].mean() > 120 for row in rows for column in columns
    ]
    return sum(1 << bit for bit, on in enumerate(bits) if on)


@cache
def tone(begin: int, count: int) -> np.ndarray:
    """Samples of both channels, 48000 per second."""
    wave = 0.3 * np.sin(2 * np.pi * TONE * (begin + np.arange(count)) / 48000)
    return np.stack([wave, wave]).astype(np.float32)


def make_video(
    path: Path,
    *,
    rate: Fraction = Fraction(25),
    times: Sequence[float] | None = None,
    seconds: float = 12.0,
    codec: str = "libx264",
    sound: str | None = "aac",
    gop: int = 250,
    bframes: int = 2,
    rotation: int = 0,
    aspect: Fraction = Fraction(1),
    timecode: str | None = None,
) -> Path:
    """A video whose frame n is shown from times[n] seconds on, or from n / rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = 1 / rate if times is None else Fraction(1, 1000)
    times = [n / float(rate) for n in range(round(seconds * rate))] if times is None else times
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1  # threads would cost more than such small pictures
        stream.codec_context.time_base = base
        stream.codec_context.sample_aspect_ratio = aspect
        if codec == "libx264":
            stream.options = {
                "crf": "10",
                "preset": "veryfast",
                "x264-params": f"bframes={bframes}:scenecut=0:keyint={gop}",
            }
        if rotation:
            stream.set_display_rotation(rotation)
        if timecode is not None:
            container.metadata["timecode"] = timecode
        heard = None if sound is None else container.add_stream(sound, rate=48000, layout="stereo")
        done = 0
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(frame_of(number), "rgb24").reformat(
                format="yuv420p", threads=1
            )
            frame.pts, frame.time_base = round(time / base), base
            container.mux(stream.encode(frame))
            while heard is not None and done < 48000 * (time + float(1 / rate)):
                samples = av.AudioFrame.from_ndarray(tone(done, 960), "fltp", "stereo")
                samples.sample_rate, samples.pts, samples.time_base = 48000, done, Fraction(1, 48000)
                container.mux(heard.encode(samples))
                done += 960
        for one in (stream, heard):
            if one is not None:
                container.mux(one.encode(None))
    return path


class Read:
    """What an independent reader finds in a video file: numbers of frames with their times, size, sound.

    Args:
        turned: by how many degrees counterclockwise the pictures were turned.
    """

    def __init__(self, path: Path, turned: int = 0) -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            self.format = container.format.name
            self.codec = stream.codec_context.name
            self.rate = stream.average_rate
            self.aspect = stream.sample_aspect_ratio or Fraction(1)
            self.duration = container.duration / 1e6
            stream.codec_context.thread_count = 1
            frames = list(container.decode(stream))
        self.rotation = frames[0].rotation
        self.size = frames[0].width, frames[0].height
        self.colours = frames[0].color_range, frames[0].colorspace
        self.times = [frame.time for frame in frames]
        self.keys = [number for number, frame in enumerate(frames) if frame.key_frame]
        self.images = [frame.reformat(format="rgb24", threads=1).to_ndarray() for frame in frames]
        self.numbers = [number_in(np.rot90(image, -turned // 90)) for image in self.images]
        self.samples: np.ndarray | None = None
        self.heard_from = 0.0
        with av.open(str(path)) as container:
            if container.streams.audio:
                decoded = list(container.decode(container.streams.audio[0]))
                self.heard_from = decoded[0].time
                self.sound_rate = decoded[0].sample_rate
                self.samples = np.concatenate(
                    [
                        frame.to_ndarray().reshape(-1, frame.samples)
                        if frame.format.is_planar
                        else frame.to_ndarray().reshape(frame.samples, -1).T
                        for frame in decoded
                    ],
                    axis=1,
                ).astype(float)

    def is_tone(self, begin: float, end: float) -> bool:
        """Whether the tone is heard from one second to another."""
        assert self.samples is not None
        part = self.samples[0, round(begin * self.sound_rate) : round(end * self.sound_rate)]
        strength = np.abs(np.fft.rfft(part * np.hanning(len(part))))
        loudest = strength.argmax() * self.sound_rate / len(part)
        return bool(np.abs(part).max() > 0.1 * 0.3 and abs(loudest - TONE) < 3 / (end - begin))
