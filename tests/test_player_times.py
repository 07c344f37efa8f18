"""Times, sizes and streams of videos as a player takes them: red turns blue at a second that is known."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from test_decode import corners, quarters, with_matrix

from mmn_index.video.clock import Clock
from mmn_index.video.decode import frames_at_rate, probe
from mmn_index.video.picture import FrameSize
from mmn_index.video.thumbnails import thumbnails

RATE = 10
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
CODECS = {
    "mp4": ("libx264", "aac"),
    "mov": ("libx264", "aac"),
    "mkv": ("libx264", "aac"),
    "ts": ("libx264", "aac"),
    "webm": ("libvpx", "libopus"),
    "flv": ("flv", "mp3"),
    "avi": ("mpeg4", "mp3"),
    "wmv": ("wmv2", "wmav2"),
}
QUICK = {"libx264": {"preset": "veryfast"}, "libvpx": {"cpu-used": "5"}}  # with B-frames all the same
Stamp = Callable[[int, av.Packet], None]


@cache
def planes(color: tuple[int, int, int], pix: str, size: tuple[int, int]) -> np.ndarray:
    """What a frame of one colour stores."""
    image = np.full((size[1], size[0], 3), color, np.uint8)
    return av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pix, threads=1).to_ndarray()


def plain(color: tuple[int, int, int], time: float, pix: str, size: tuple[int, int]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(planes(color, pix, size), pix)
    frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
    return frame


def make(
    path: Path,
    times: Sequence[float],
    blue_from: float,
    *,
    sound: float = 0.0,
    codec: str | None = None,
    options: dict[str, str] | None = None,
    stamp: Stamp = lambda number, packet: None,
    still: int | None = None,
    still_first: bool = True,
    coarse: bool = False,
) -> Path:
    """A video with frames at these times, red, then blue from a second on. Optional: sound from 0 to `sound`;
    a second video stream, of `still` green pictures; a change to the stamps of each packet.
    """
    video_codec, sound_codec = CODECS[path.suffix[1:]]
    with av.open(
        str(path), "w", format="asf" if path.suffix == ".wmv" else None, options=options or {}
    ) as out:
        picture = out.add_stream("mjpeg", rate=RATE) if still is not None and still_first else None
        video = out.add_stream(codec or video_codec, rate=RATE)
        if still is not None and not still_first:
            picture = out.add_stream("mjpeg", rate=RATE)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, RATE if coarse else 1000)
        video.codec_context.gop_size = 50
        video.options = QUICK.get(video.codec_context.name, {})
        video.codec_context.thread_count = 1  # threads would cost more than such small pictures
        frames: list[tuple[float, int, Any, Any]] = []
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 32, 24, "yuvj420p"
            picture.codec_context.time_base = Fraction(1, 1000)
            frames += [
                (n / RATE, 0, picture, plain(GREEN, n / RATE, "yuvj420p", (32, 24)))
                for n in range(still or 0)
            ]
        audio = out.add_stream(sound_codec, rate=48000 if sound_codec != "mp3" else 44100) if sound else None
        if audio is not None:
            size = audio.codec_context.frame_size or 1024
            for n in range(int(sound * audio.rate / size)):
                kind = "flt" if sound_codec == "libopus" else "fltp"
                piece = av.AudioFrame.from_ndarray(np.zeros((1, size), np.float32), kind, "mono")
                piece.sample_rate, piece.pts = audio.rate, n * size
                piece.time_base = Fraction(1, audio.rate)
                frames.append((n * size / audio.rate, 1, audio, piece))
        for time in times:
            color = RED if time < blue_from else BLUE
            frames.append((time, 2, video, plain(color, time, "yuv420p", (64, 48))))
        number = 0
        for stream, frame in [
            *((s, f) for _, _, s, f in sorted(frames, key=lambda f: f[:2])),
            *((s, None) for s in (audio, picture, video) if s is not None),
        ]:
            for packet in stream.encode(frame):
                if stream is video:
                    stamp(number, packet)
                    number += 1
                out.mux(packet)
    return path


def steady(seconds: float, start: float = 0.0) -> list[float]:
    return [start + n / RATE for n in range(round(seconds * RATE))]


def color_at(image: np.ndarray) -> str:
    return "rgb"[int(image.reshape(-1, 3).mean(0).argmax())]


def seen(path: Path) -> tuple[str, float, float]:
    """The colours in the order they come, the first blue second, and the duration."""
    walk = frames_at_rate(path, RATE, size=(8, 8))
    colors = "".join(color_at(image) for image in walk)
    order = "".join(c for n, c in enumerate(colors) if n == 0 or colors[n - 1] != c)
    return order, colors.find("b") / RATE, walk.duration


def check(path: Path, blue: float, duration: float, tolerance: float = 0.06) -> None:
    """The walk, the thumbnails and the probe agree on where blue begins and where the video ends."""
    order, begins, ends = seen(path)
    assert order == "rb", path.name
    assert begins == pytest.approx(blue, abs=0.11), path.name
    assert ends == pytest.approx(duration, abs=tolerance), path.name
    assert probe(path).duration == pytest.approx(duration, abs=tolerance), path.name
    times = [0.0, blue - 0.3, blue + 0.3, duration - 0.2, duration + 9]
    assert "".join(color_at(p) for p in thumbnails(path, times, 24)) == "rrbbb", path.name


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "ts", "webm", "flv"])
def test_times_count_from_the_start_of_the_sound(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"late.{suffix}", steady(10, 5.0), 10.0, sound=15.0)
    check(path, 10.0, 15.0)
    assert color_at(next(frames_at_rate(path, 1, size=(8, 8)))) == "r"  # nothing to show yet: the first frame


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "webm", "flv", "wmv"])
def test_times_count_from_the_first_picture_where_nothing_comes_before(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"late.{suffix}", steady(6, 7.0), 10.0)
    check(path, 3.0, 6.0)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm", "flv", "ts"])
def test_sound_that_lasts_longer_says_nothing_of_the_video(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"long.{suffix}", steady(6), 3.0, sound=12.0)
    check(path, 3.0, 6.0)
    walk = frames_at_rate(path, 4, size=(8, 8))
    list(walk)
    assert walk.stated is None or walk.stated == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("first", [True, False], ids=["in front", "behind"])
@pytest.mark.parametrize("stills", [1, 0])
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "avi", "wmv"])
def test_a_picture_or_an_empty_stream_is_not_the_video(
    tmp_path: Path, suffix: str, stills: int, first: bool
) -> None:
    path = make(
        tmp_path / f"clip.{suffix}", steady(6), 3.0, still=stills, still_first=first, coarse=suffix == "avi"
    )
    check(path, 3.0, 6.0)
    assert (probe(path).width, probe(path).height) == (64, 48)


def test_a_file_of_one_picture_is_still_a_video(tmp_path: Path) -> None:
    path = make(tmp_path / "one.mkv", [0.0], 3.0, still=1)
    assert seen(path)[0] == "g"


PAUSES = [0.0, 1.0, 2.0, 92.0, 93.0, 94.0]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("webm", {"live": "1"}),
        ("webm", {}),
        ("mkv", {"live": "1"}),
        ("mp4", {}),
        ("mov", {}),
        ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("flv", {}),
        ("flv", {"flvflags": "no_duration_filesize"}),
        ("wmv", {}),
    ],
)
def test_a_still_screen_stores_no_frames_and_lasts(
    tmp_path: Path, suffix: str, options: dict[str, str]
) -> None:
    path = make(tmp_path / f"still.{suffix}", PAUSES, 92.0, options=options)
    check(path, 92.0, 94.1, tolerance=0.11)
    # What is shown in the pause is the picture before it, even where the one after it is nearer.
    assert color_at(thumbnails(path, [80.0], 24)[0]) == "r"


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_the_last_frame_does_not_stay_for_as_long_as_another_one(
    tmp_path: Path, options: dict[str, str]
) -> None:
    path = make(tmp_path / "vfr.mp4", [0.0, 1.0, 2.0, 42.0, 43.0, 44.0], 42.0, options=options)
    with av.open(str(path)) as container:  # what is handled here: a length stored with the wrong frame
        last = max(container.decode(video=0), key=lambda frame: frame.pts)
        assert float(last.duration * last.time_base) > 30
    check(path, 42.0, 44.1)


def test_the_end_of_the_last_frame() -> None:
    assert Clock(0.1).end(5.0, 0.5) == pytest.approx(5.5)
    assert Clock(0.1).end(5.0, 0.0) == pytest.approx(5.1)
    assert Clock(0.1).end(5.0, 4000.0) == pytest.approx(5.1)
    assert Clock(0.1, stated=5.3).end(5.0, 4000.0) == pytest.approx(5.3)
    assert Clock(0.1, stated=95.0).end(5.0, 90.0) == pytest.approx(95.0)
    assert Clock(0.1, stated=95.0).end(5.0, 0.1) == pytest.approx(5.1)  # cut short
    assert Clock(0.1, stated=3.0).end(5.0, 0.5) == pytest.approx(5.5)
    assert Clock(0.1).end(5.0, 40.0, end_of_decoding=5.2) == pytest.approx(5.2)


def shifted(numbers: Sequence[int], seconds: float) -> Stamp:
    def stamp(number: int, packet: av.Packet) -> None:
        if number in numbers:
            packet.pts += int(seconds / packet.time_base)

    return stamp


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4", "ts"])
@pytest.mark.parametrize(
    "numbers",
    [[200], [0], [599], [200, 203, 204, 310], list(range(200, 230)), list(range(100, 250))],
    ids=["one", "first", "last", "scattered", "three seconds", "fifteen seconds"],
)
def test_late_stamps_are_no_new_clock(tmp_path: Path, suffix: str, numbers: list[int]) -> None:
    if suffix == "mp4" and numbers == [0]:
        pytest.skip("the muxer writes an edit list that begins with the wrong stamp, which players obey")
    codec = "mpeg4" if suffix in ("mkv", "mp4") else None  # no B-frames, so that any stamp can be changed
    path = make(tmp_path / f"w.{suffix}", steady(60), 30.0, codec=codec, stamp=shifted(numbers, 15.0))
    if numbers == [599]:  # the header counts the wrong stamp, and so does a player
        assert seen(path)[:2] == ("rb", 30.0)
        return
    order, begins, ends = seen(path)
    assert (order, begins) == ("rb", 30.0)
    assert ends == pytest.approx(60.0, abs=0.11)


def restamped(path: Path, numbers: Sequence[int], seconds: float) -> Path:
    """Change the stamps of some tags of an flv file, which no muxer would write."""
    data = bytearray(path.read_bytes())
    at, number = 13, -1
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        number += data[at] == 9
        if data[at] == 9 and number in numbers:
            stamp = int.from_bytes(data[at + 4 : at + 7], "big") + round(seconds * 1000)
            data[at + 4 : at + 7] = max(stamp, 0).to_bytes(3, "big")
        at += 11 + size + 4
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module", params=[0.0, 60.0], ids=["silent", "sound"])
def minute(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of one minute."""
    folder = tmp_path_factory.mktemp("minute")
    return make(folder / "w.flv", steady(60), 30.0, sound=request.param).read_bytes()


@pytest.mark.parametrize("seconds", [-15.0, 15.0])
@pytest.mark.parametrize(
    "numbers", [[400], [400, 403, 404], list(range(400, 430))], ids=["one", "some", "a run"]
)
def test_early_and_late_stamps_are_no_new_clock(
    tmp_path: Path, minute: bytes, numbers: list[int], seconds: float
) -> None:
    path = tmp_path / "w.flv"
    path.write_bytes(minute)
    order, begins, ends = seen(restamped(path, numbers, seconds))
    assert (order, begins) == ("rb", 30.0)
    assert ends == pytest.approx(60.0, abs=0.11)


def test_a_first_stamp_that_is_wrong_moves_nothing(tmp_path: Path) -> None:
    path = make(tmp_path / "w.mkv", steady(20), 10.0, sound=20.0, codec="mpeg4", stamp=shifted([0, 1], 15.0))
    order, begins, ends = seen(path)
    assert (order, begins) == ("rb", 10.0)
    assert ends == pytest.approx(20.0, abs=0.11)


def spoilt(path: Path, fill: Callable[[int], bytes]) -> Path:
    """A twentieth of the file, before its middle, overwritten."""
    data = bytearray(path.read_bytes())
    at, size = len(data) * 3 // 10, len(data) // 20
    data[at : at + size] = fill(size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("fill", [bytes, lambda size: np.random.default_rng(1).bytes(size)], ids=["0", "any"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "webm", "flv"])
def test_a_hole_of_damaged_bytes_moves_nothing(
    tmp_path: Path, suffix: str, fill: Callable[[int], bytes]
) -> None:
    path = spoilt(make(tmp_path / f"hole.{suffix}", steady(40), 30.0, sound=40.0), fill)
    _, begins, ends = seen(path)
    assert begins == pytest.approx(30.0, abs=0.3)
    assert ends == pytest.approx(40.0, abs=0.11)


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("sound", [0.0, 10.0])
@pytest.mark.parametrize("start", [0.0, 20000.0, -20000.0])
def test_joined_recordings_go_on(tmp_path: Path, start: float, sound: float) -> None:
    if sound and start:
        pytest.skip("sound is made from second 0 on")
    one = make(tmp_path / "1.ts", steady(10, max(-start, 0.0)), 5.0 + max(-start, 0.0), sound=sound)
    two = make(tmp_path / "2.ts", steady(10, max(start, 0.0)), 5.0 + max(start, 0.0), sound=sound)
    path = joined(tmp_path / "both.ts", one, two)
    order, begins, ends = seen(path)
    assert (order, begins) == ("rbrb", 5.0)
    assert ends == pytest.approx(20.0, abs=0.25)
    assert probe(path).duration == pytest.approx(20.0, abs=0.25)
    assert "".join(color_at(p) for p in thumbnails(path, [2.0, 7.0, 12.5, 17.5], 24)) == "rbrb"


@pytest.mark.parametrize("before", [0.05, 4.0, 70.0], ids=["at once", "soon", "late"])
def test_a_transport_stream_wraps_around(tmp_path: Path, before: float) -> None:
    start = 2**33 / 90000 - before
    path = make(
        tmp_path / "wrap.ts",
        steady(80),
        40.0,
        options={"output_ts_offset": f"{start:.3f}", "muxdelay": "0"},
    )
    with av.open(str(path)) as container:
        raw = container.streams.video[0].start_time
    assert raw is not None
    check(path, 40.0, 80.0)


def stamped(*times: float | None) -> Any:
    return [SimpleNamespace(time=time, number=n) for n, time in enumerate(times)]


def ordered(clock: Clock, *times: float | None) -> list[float]:
    return [round(time, 3) for time, _ in clock.in_order(stamped(*times))]


def test_the_clock_counts_from_the_start_that_the_file_tells() -> None:
    assert ordered(Clock(0.1, start=2.0), 5.0, 5.1) == [3.0, 3.1]
    assert ordered(Clock(0.1, start=-1.0), 0.0, 0.1) == [1.0, 1.1]
    assert ordered(Clock(0.1, start=4.95), 5.0, 5.1) == [0.0, 0.1]  # the padding of a coder
    assert ordered(Clock(0.1, start=0.0), 9e5, 9e5 + 0.1) == [0.0, 0.1]  # no such pause
    assert ordered(Clock(0.1, start=0.0), None, 5.1, 5.2) == [5.0, 5.1, 5.2]


def test_a_leap_that_is_taken_back_is_spread_between_its_neighbours() -> None:
    truth = [n / 10 for n in range(30)]
    for wrong in (15.0, -15.0, 9e6):
        for run in (1, 2, 12):
            stamps = [t + wrong if 8 <= n < 8 + run else t for n, t in enumerate(truth)]
            assert ordered(Clock(0.1), *stamps) == pytest.approx(truth, abs=0.01)


def test_a_pause_stays_a_pause_even_if_a_stamp_after_it_is_wrong() -> None:
    after = [35.0 + n / 10 for n in range(20)]
    stamps = [0.0, 0.1, 0.2, *after]
    stamps[6] = 2.0
    assert ordered(Clock(0.1), *stamps)[-1] == pytest.approx(36.9)
    assert ordered(Clock(0.1), 0.0, 0.1, 92.0)[-1] == pytest.approx(92.0)


def test_a_leap_out_of_the_stated_length_is_a_wrong_stamp() -> None:
    times = [n / 10 for n in range(100)]
    assert ordered(Clock(0.1, stated=10.0), *times[:-1], 24.9) == pytest.approx(times, abs=0.01)
    assert ordered(Clock(0.1), *times[:-1], 24.9)[-1] == pytest.approx(24.9)


def disc(path: Path, width: int, aspect: Fraction, codec: str = "libx264") -> Path:
    y, x = np.mgrid[:288, :512]
    image = np.zeros((288, 512, 3), np.uint8)
    image[(x - 256) ** 2 + (y - 144) ** 2 < 100**2] = 255
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, 288, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for n in range(3):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(width, 288, "yuv420p", threads=1)
            frame.pts, frame.time_base = n, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def extent(image: np.ndarray) -> tuple[int, int]:
    """Width and height of what is bright."""
    bright = image.mean(2) > 128
    return int(bright.any(0).sum()), int(bright.any(1).sum())


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "ts", "avi"])
@pytest.mark.parametrize(("width", "aspect"), [(360, Fraction(64, 45)), (768, Fraction(2, 3))])
def test_pixels_that_are_not_square_are_shown_as_players_do(
    tmp_path: Path, suffix: str, width: int, aspect: Fraction
) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = disc(tmp_path / f"wide.{suffix}", width, aspect, codec)
    across, down = extent(next(frames_at_rate(path, 1, size=FrameSize(224, 224, short_side=224))))
    assert across == pytest.approx(200 * 224 / 288, abs=3)
    assert down == pytest.approx(200 * 224 / 288, abs=3)
    info = probe(path)
    assert info.width / info.height == pytest.approx(512 / 288, abs=0.01)
    assert info.width >= width
    assert info.height >= 288
    picture = thumbnails(path, [0.0], 96)[0]
    assert picture.shape == (96, 171, 3)
    assert extent(picture)[0] == pytest.approx(extent(picture)[1], abs=2)


def test_pixels_are_stretched_before_a_frame_is_turned(tmp_path: Path) -> None:
    path = with_matrix(disc(tmp_path / "phone.mp4", 360, Fraction(64, 45)), 0, 1, -1, 0)
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (288, 512, 270)
    across, down = extent(next(frames_at_rate(path, 1, size=FrameSize(224, 224, short_side=224))))
    assert across == pytest.approx(down, abs=3)
    assert thumbnails(path, [0.0], 96)[0].shape == (96, 54, 3)
    assert corners(quarters()) == "rgbw"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "flv"])
@pytest.mark.parametrize("sound", [0.0, 40.0], ids=["silent", "sound"])
def test_a_file_cut_short_tells_how_long_it_was(tmp_path: Path, suffix: str, sound: float) -> None:
    path = make(
        tmp_path / f"half.{suffix}",
        steady(40),
        20.0,
        sound=sound,
        coarse=suffix == "avi",
        options={"movflags": "faststart"} if suffix == "mp4" else {},
    )
    data = path.read_bytes()
    begin = max(data.find(b"mdat"), 0)  # behind the tables
    path.write_bytes(data[: (begin + len(data)) // 2])
    walk = frames_at_rate(path, 4, size=(8, 8))
    assert list(walk)
    assert walk.stated == pytest.approx(40.0, abs=0.2)
    assert walk.duration < 32


def test_a_decoder_gives_up_what_it_holds_where_the_file_breaks_off(tmp_path: Path) -> None:
    """Frames stored out of order wait in the decoder; those of the last packets come only when asked for."""
    path = make(tmp_path / "half.mp4", steady(10), 5.0, options={"movflags": "faststart"})
    data = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    for count in (20, 47, 90):
        kept, last = packets[:count], packets[count - 1]
        (tmp_path / "cut.mp4").write_bytes(data[: last.pos + last.size + 3])
        shown = sorted(float(p.pts * p.time_base) for p in kept)
        walk = frames_at_rate(tmp_path / "cut.mp4", RATE, size=(8, 8))
        number = len(list(walk))
        assert walk.duration == pytest.approx(shown[-1] + 1 / RATE)
        assert number == round((shown[-1] + 1 / RATE) * RATE)
