"""Decoding is checked against videos made here: every frame's brightness is its number."""

import gc
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from mmn_index.errors import ConfigError, QueryError, VideoError
from mmn_index.video.clock import Clock
from mmn_index.video.container import VideoFile
from mmn_index.video.decode import frames_at_rate, probe
from mmn_index.video.picture import FrameSize, Picture, Scaler
from mmn_index.video.thumbnails import thumbnails

REAL = Path(__file__).parents[2] / "shared" / "videos"
STEP = 6  # grey levels between the brightness of a frame and of the next one


def grey(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), 10 + STEP * number, np.uint8)


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 10) / STEP)


def make_video(
    path: Path, times: Sequence[float], images: Sequence[np.ndarray] | None = None, gop: int = 5
) -> Path:
    """A video whose frame n is shown from times[n] seconds on."""
    images = [grey(n) for n in range(len(times))] if images is None else images
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = images[0].shape[1], images[0].shape[0]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = gop
        stream.options = {"crf": "4", "preset": "ultrafast", "x264-params": "bframes=2"}
        for time, image in zip(times, images, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown_at(times: Sequence[float], time: float) -> int:
    """The slow way to know which frame is shown."""
    number = 0
    for n, start in enumerate(times):
        if start - times[0] <= time + 1e-9:
            number = n
    return number


def numbers(path: Path, rate: float) -> list[int]:
    return [number_of(image) for image in frames_at_rate(path, rate, size=(32, 24))]


def expected_numbers(times: Sequence[float], duration: float, rate: float) -> list[int]:
    ticks = [(k + 0.5) / rate for k in range(1000)]
    return [shown_at(times, tick) for tick in ticks if tick < duration] or [0]


def real_videos() -> list[Path]:
    if not REAL.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{REAL}: the real videos are missing")
        pytest.skip(f"{REAL}: the real videos are not here")
    return sorted(path for path in REAL.iterdir() if path.suffix != ".md")


STEADY = [n / 10 for n in range(20)]
VARIABLE = [0.0, 0.05, 0.4, 0.45, 0.5, 1.7, 1.75, 1.8, 3.0, 3.05]


@pytest.mark.parametrize("rate", [1.0, 4.0, 8.0, 10.0, 25.0])
@pytest.mark.parametrize(
    "times", [STEADY, VARIABLE, [t + 7.3 for t in VARIABLE]], ids=["steady", "variable", "late start"]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_the_frame_shown_at_each_tick_is_given(
    tmp_path: Path, times: list[float], rate: float, suffix: str
) -> None:
    path = make_video(tmp_path / f"video{suffix}", times)
    walk = frames_at_rate(path, rate, size=(32, 24))
    found = [number_of(image) for image in walk]
    # Containers round timestamps and tell the last frame's length in their own way.
    assert times[-1] - times[0] < walk.duration < times[-1] - times[0] + 1.3
    assert found == expected_numbers(times, walk.duration, rate)


def test_the_duration_counts_the_last_frame(tmp_path: Path) -> None:
    walk = frames_at_rate(make_video(tmp_path / "video.mkv", STEADY), 8, size=(32, 24))
    assert walk.duration == 0
    assert len(list(walk)) == 16
    assert walk.duration == pytest.approx(2.0, abs=0.01)
    assert probe(tmp_path / "video.mkv").duration == pytest.approx(2.0, abs=0.11)


def test_a_video_of_one_frame_is_one_frame_long(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mkv", [0.0])
    walk = frames_at_rate(path, 2, size=(32, 24))
    assert [number_of(image) for image in walk] == [0]
    assert walk.duration == pytest.approx(0.1, abs=0.001)
    assert probe(path).duration == pytest.approx(0.1, abs=0.01)
    assert len(thumbnails(path, [0.0, 9.0], 24)) == 2


def test_frames_without_timestamps_come_at_the_average_rate(tmp_path: Path) -> None:
    found = numbers(make_video(tmp_path / "raw.h264", STEADY), 25)  # FFmpeg's rate where a file tells none
    assert found == sorted(found)
    assert set(found) == set(range(20))


def fakes(*times: float | None) -> Any:
    return [SimpleNamespace(time=time, number=n) for n, time in enumerate(times)]


def clock(duration: float | None = None) -> Clock:
    return Clock(0.1, stated=duration)


def ordered(c: Clock, frames: Any) -> list[tuple[float, int]]:
    return [(round(time, 6), frame.number) for time, frame in c.in_order(frames)]


def test_neighbours_out_of_order_are_put_in_order() -> None:
    assert ordered(clock(), fakes(5.0, 5.2, 5.1, 5.4, 5.3)) == [
        (0, 0),
        (0.1, 2),
        (0.2, 1),
        (0.3, 4),
        (0.4, 3),
    ]


def test_a_missing_timestamp_is_one_average_frame_after_the_last() -> None:
    assert ordered(clock(), fakes(2.0, None, None, 2.5)) == [(0, 0), (0.1, 1), (0.2, 2), (0.5, 3)]
    assert ordered(clock(), fakes(None, None)) == [(0, 0), (0.1, 1)]


def test_a_clock_that_starts_again_goes_on() -> None:
    assert ordered(clock(), fakes(8.0, 8.1, 0.0, 0.1, 0.3)) == [
        (0, 0),
        (0.1, 1),
        (0.2, 2),
        (0.3, 3),
        (0.5, 4),
    ]


def test_a_leap_ahead_is_believed_only_if_the_file_has_room_for_it() -> None:
    assert ordered(clock(), fakes(0.0, 4e5, 4e5 + 0.2)) == [(0, 0), (0.1, 1), (0.3, 2)]
    assert ordered(clock(200.0), fakes(0.0, 150.0)) == [(0, 0), (150.0, 1)]


def quarters(width: int = 64, height: int = 48) -> np.ndarray:
    """Red at the top left, green at the top right, blue at the bottom left, white at the bottom right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 0] = 255
    image[: height // 2, width // 2 :, 1] = 255
    image[height // 2 :, : width // 2, 2] = 255
    image[height // 2 :, width // 2 :] = 255
    return image


def corners(image: np.ndarray) -> str:
    """Colours of the corners, row by row."""
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    h, w = image.shape[0], image.shape[1]
    picks = [image[y, x] > 128 for y in (h // 5, h - h // 5) for x in (w // 5, w - w // 5)]
    return "".join(names.get(tuple(int(v) for v in pick), "?") for pick in picks)


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into an mp4's track header, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "seen", "rotation"),
    [
        ((1, 0, 0, 1), "rgbw", 0),
        ((0, 1, -1, 0), "brwg", 270),  # a phone held upright: shown turned clockwise
        ((-1, 0, 0, -1), "wbgr", 180),
        ((0, -1, 1, 0), "gwrb", 90),
        ((-1, 0, 0, 1), "grwb", 0),  # mirrored
    ],
)
def test_frames_come_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], seen: str, rotation: int
) -> None:
    path = with_matrix(make_video(tmp_path / "phone.mp4", [0.0, 0.1], [quarters()] * 2), *matrix)
    turned = rotation in (90, 270)
    info = probe(path)
    assert (info.width, info.height) == ((48, 64) if turned else (64, 48))
    assert info.rotation == rotation
    with av.open(str(path)) as container:  # PyAV's own reading of the matrix, counterclockwise
        told = next(container.decode(video=0)).rotation
    if matrix != (-1, 0, 0, 1):
        assert told % 360 == rotation
    assert corners(next(frames_at_rate(path, 10, size=(40, 40)))) == seen
    picture = thumbnails(path, [0.0], 32)[0]
    assert corners(picture) == seen
    assert picture.shape == (32, 24 if turned else 43, 3)


def test_a_cut_out_frame_keeps_its_shape(tmp_path: Path) -> None:
    image = np.zeros((48, 96, 3), np.uint8)
    image[:, 24:72] = 255  # the middle square
    path = make_video(tmp_path / "wide.mp4", [0.0], [image])
    whole = next(frames_at_rate(path, 1, size=FrameSize(24, 24)))
    middle = next(frames_at_rate(path, 1, size=FrameSize(24, 24, short_side=24)))
    assert whole.shape == middle.shape == (24, 24, 3)
    assert whole.mean() == pytest.approx(128, abs=12)
    assert middle.mean() > 245


@pytest.mark.parametrize(
    "times", [STEADY, [t + 3.7 for t in VARIABLE]], ids=["steady", "variable, late start"]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_thumbnails_are_the_frames_shown(tmp_path: Path, times: list[float], suffix: str) -> None:
    path = make_video(tmp_path / f"video{suffix}", times)
    asked = [2.9, 0.02, 1.44, 0.31, 99.0, -1.0, 0.02]
    for time, picture in zip(asked, thumbnails(path, asked, 24), strict=True):
        assert number_of(picture) == shown_at(times, time)


def test_thumbnails_of_a_long_video_are_found_by_seeking(tmp_path: Path) -> None:
    times = [n / 2 for n in range(40)]
    path = make_video(tmp_path / "long.mp4", times, gop=8)
    assert [number_of(p) for p in thumbnails(path, [18.0, 3.1, 11.6], 24)] == [36, 6, 23]


def test_nothing_of_a_video_is_kept_after_its_pictures_are_made(tmp_path: Path) -> None:
    """A server that makes many had dozens of decoders, with their threads and pictures, wait for a collection."""
    path = make_video(
        tmp_path / "long.mp4", [n / 2 for n in range(40)], gop=8
    )  # which is not read to its end

    def kept() -> int:
        return sum(type(one) is VideoFile for one in gc.get_objects())  # isinstance asks odd objects

    gc.collect()
    gc.disable()
    try:
        before = kept()
        thumbnails(path, [0.5, 1.5], 24)
        assert kept() == before
    finally:
        gc.enable()


def test_a_broken_tail_gives_what_decodes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(20)]
    whole = make_video(tmp_path / "whole.mkv", STEADY, noisy)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) * 6 // 10])
    walk = frames_at_rate(cut, 10, size=(32, 24))
    assert 5 < len(list(walk)) < 18
    assert 0.5 < walk.duration < 1.8


def test_a_file_cut_short_still_states_its_length(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(20)]
    data = make_video(tmp_path / "whole.mkv", STEADY, noisy).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 6 // 10])
    for name, complete in (("whole.mkv", True), ("cut.mkv", False)):
        walk = frames_at_rate(tmp_path / name, 10, size=(32, 24))
        list(walk)
        assert walk.stated == pytest.approx(2.0, abs=0.11)
        assert (walk.duration > walk.stated - 0.15) == complete


def test_broken_packets_are_passed_over(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(20)]
    data = bytearray(make_video(tmp_path / "video.mp4", STEADY, noisy).read_bytes())
    middle = data.index(b"mdat") + (len(data) // 2)
    data[middle : middle + 4000] = bytes(4000)
    (tmp_path / "video.mp4").write_bytes(data)
    assert len(list(frames_at_rate(tmp_path / "video.mp4", 10, size=(32, 24)))) == 20


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for n in range(8):
            samples = np.sin(np.arange(1024) / 10 + n).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, n * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def bad_files(folder: Path) -> dict[Path, str]:
    """Paths that are no video, and a word that the message must hold."""
    good = make_video(folder / "good.mp4", STEADY)
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    texts = {
        "notes.mp4": "just some notes\n" * 50,
        "notes.txt": "just some notes\n" * 50,
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ngood.mp4\n#EXT-X-ENDLIST\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{good}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile good.mp4\n",
        "concat.mp4": "ffconcat version 1.0\nfile good.mp4\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "empty.mp4").touch()
    (folder / "half.mp4").write_bytes(good.read_bytes()[:400])
    av.VideoFrame.from_ndarray(grey(5), "rgb24").to_image().save(folder / "still.png")
    sound(folder / "sound.mp4")
    words = {
        "nowhere.mp4": "no such file",
        "folder.mp4": "folder",
        "pipe.mp4": "regular",
        "empty.mp4": "empty",
        "half.mp4": "complete",
        "still.png": "still",
        "sound.mp4": "audio only",
    }
    return {folder / name: words.get(name, "is no video") for name in [*texts, *words]}


def test_what_is_no_video_is_a_video_error_of_one_line(tmp_path: Path) -> None:
    for path, word in bad_files(tmp_path).items():
        for attempt in (
            lambda p: next(frames_at_rate(p, 4, size=(8, 8))),
            probe,
            lambda p: thumbnails(p, [0.0], 8),
        ):
            with pytest.raises(VideoError) as error:
                attempt(path)
            assert str(error.value).startswith(f"{path}: ")
            assert word in str(error.value)
            assert "\n" not in str(error.value)


def test_a_name_is_never_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = make_video(tmp_path / "good.mp4", [0.0, 0.1])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError, match="no such file"):
        probe("concat:good.mp4|good.mp4")
    good.rename("concat:good.mp4")
    assert probe("concat:good.mp4").width == 64


def test_ffmpeg_writes_nothing_to_stderr(tmp_path: Path) -> None:
    data = bytearray(make_video(tmp_path / "video.mp4", STEADY).read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    (tmp_path / "video.mp4").write_bytes(data)
    code = (
        "import sys, mmn_index.video.decode as d; print(len(list(d.frames_at_rate(sys.argv[1], 4, size=(8, "
        "8)))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "video.mp4")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 0
    assert done.stderr == ""


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "video.mp4", [0.0])
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError):
            frames_at_rate(path, rate, size=(8, 8))
    with pytest.raises(ConfigError):
        frames_at_rate(path, 1, size=(0, 8))
    with pytest.raises(ConfigError):
        FrameSize(32, 32, short_side=16)
    for times, height in (([float("nan")], 8), ([0.0], 0)):
        with pytest.raises(QueryError):
            thumbnails(path, times, height)


def test_frames_are_let_go_at_once(tmp_path: Path) -> None:
    """Without waiting for Python to look for circles of references."""
    path = make_video(tmp_path / "video.mp4", [n / 10 for n in range(200)], [grey(5)] * 200)
    gc.collect()
    gc.disable()
    try:
        walk = frames_at_rate(path, 10, size=(8, 8))
        assert len(list(islice(walk, 190))) == 190
        assert sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) < 40
        walk.close()
    finally:
        gc.enable()


def test_real_videos_decode() -> None:
    for path in real_videos():
        info = probe(path)
        walk = frames_at_rate(path, 1, size=(16, 12))
        count = len(list(walk))
        assert walk.duration == pytest.approx(info.duration, abs=0.1), path.name
        assert abs(count - info.duration) <= 0.6, path.name
        picture = thumbnails(path, [info.duration / 2], 24)[0]
        assert picture.shape[1] == pytest.approx(24 * info.width / info.height, abs=1), path.name


@pytest.mark.parametrize("unknown", [3, 8, 14, 142])
def test_a_colour_space_that_the_scaler_does_not_know_counts_as_none(unknown: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 32), dtype=np.uint8)
    images = []
    for space in (2, unknown):
        frame = av.VideoFrame.from_ndarray(noise, "yuv420p")
        frame.colorspace = space
        images.append(Picture(frame, FrameSize(16, 16), 1.0).image())
    assert np.array_equal(*images)


def test_one_scaler_serves_frames_whose_size_and_colours_change() -> None:
    scaler, rng = Scaler(), np.random.default_rng(0)
    forms = ("yuv420p", "yuv444p", "yuvj420p", "yuv420p10le")
    for n in range(24):
        width, height = ((64, 48), (224, 168), (100, 60))[n % 3]
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=forms[n % 4], threads=1)
        frame.colorspace, frame.color_range = (1, 5, 9)[n // 2 % 3], (0, 1, 2)[n // 3 % 3]
        shared = Picture(frame, FrameSize(96, 72), 1.0, scaler).image()
        assert np.array_equal(shared, Picture(frame, FrameSize(96, 72), 1.0).image()), n
