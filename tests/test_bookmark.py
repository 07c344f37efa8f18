"""A walk that begins in the middle of a file gives the frames that a whole walk gives there, for every kind of
file of test_player_times.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import test_player_times
from test_player_times import PAUSES, joined, make, restamped, shifted, spoilt, steady

from mmn_index.errors import ConfigError
from mmn_index.video import decode
from mmn_index.video.bookmark import Bookmark
from mmn_index.video.container import VideoFile
from mmn_index.video.decode import FrameWalk, frames_at_rate

SIZE = (16, 12)
Maker = Callable[[Path], Path]


@cache
def patches(stamp: int, pix: str, size: tuple[int, int]) -> np.ndarray:
    """What a frame of 8 x 6 patches of any colours stores."""
    image = np.random.default_rng(stamp).integers(0, 255, (6, 8, 3), np.uint8)
    image = image.repeat(size[1] // 6, axis=0).repeat(size[0] // 8, axis=1)
    return av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pix, threads=1).to_ndarray()


def noise(_color: object, time: float, pix: str, size: tuple[int, int]) -> av.VideoFrame:
    """A picture of its own for every time."""
    stamp = round(time * 1000)
    frame = av.VideoFrame.from_ndarray(patches(stamp, pix, size), pix)
    frame.pts, frame.time_base = stamp, Fraction(1, 1000)
    return frame


@pytest.fixture(autouse=True)
def _different_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_player_times, "plain", noise)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every opening of a file, and every seek. A walk that no seek led to its bookmark opens once more."""
    made: list[str] = []
    real_open, real_seek = decode.open_video, VideoFile.seek

    def opening(path: Path) -> AbstractContextManager[VideoFile]:
        made.append("open")
        return real_open(path)

    def seeking(video: VideoFile, *arguments: Any) -> bool:
        made.append("seek")
        return real_seek(video, *arguments)

    monkeypatch.setattr(decode, "open_video", opening)
    monkeypatch.setattr(VideoFile, "seek", seeking)
    return made


def walked(walk: FrameWalk) -> tuple[list[np.ndarray], float, float | None]:
    return list(walk), walk.duration, walk.stated


def marked(path: Path, rate: float, every: int = 20) -> tuple[Any, dict[int, Bookmark | None]]:
    """A whole walk, and its bookmarks: of the tick to come, and of ticks that lie some way back."""
    walk = frames_at_rate(path, rate, size=SIZE)
    images, marks = [], {}
    for tick, image in enumerate(walk, 1):
        images.append(image)
        if tick % every == 0:
            marks[tick] = walk.bookmark(tick)
        if tick % every == 14 and tick > 20:
            marks[tick - 16] = walk.bookmark(tick - 16)
    return (images, walk.duration, walk.stated), marks


def same(found: Any, whole: Any, begin: int) -> bool:
    return (
        len(found[0]) == max(len(whole[0]) - begin, 0)
        and all(np.array_equal(a, b) for a, b in zip(found[0], whole[0][begin:], strict=True))
        and found[1:] == whole[1:]
    )


def resumed(path: Path, rate: float, calls: list[str]) -> str:
    """Begin at many places of a file, with a bookmark where there is one, and compare. Without bookmarks,
    every third place will do, as all that lies before is decoded for each.

    Returns:
        A letter a place, in their order: s(eek), w(alk) in spite of a bookmark, or - for none.
    """
    whole, marks = marked(path, rate)
    letters = ""
    for number, (tick, mark) in enumerate(sorted(marks.items())):
        if mark is not None:
            if number % 3 == 0:
                assert same(walked(frames_at_rate(path, rate, size=SIZE, begin=tick)), whole, tick), tick
            mark = Bookmark.from_json(json.loads(json.dumps(mark.as_json())))
        calls.clear()
        found = walked(frames_at_rate(path, rate, size=SIZE, begin=tick, bookmark=mark))
        assert same(found, whole, tick), tick
        letters += "-" if mark is None else "s" if calls.count("open") == calls.count("seek") else "w"
    return letters


def film(suffix: str, **options: Any) -> Maker:
    def maker(folder: Path) -> Path:
        times = options.pop("times", steady(30))
        return make(folder / f"film.{suffix}", times, 15.0, coarse=suffix == "avi", **options)

    return maker


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "ts"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sound": 36.0},
        {"times": steady(30, 7.0)},
        {"times": [*steady(9), *steady(25, 40.0)]},
        {"options": {"movflags": "frag_keyframe+empty_moov", "live": "1"}},
    ],
    ids=["plain", "sound", "late", "pause", "live"],
)
def test_plain_files_are_sought(
    tmp_path: Path, calls: list[str], suffix: str, options: dict[str, Any]
) -> None:
    if "options" in options:
        key = "movflags" if suffix in ("mp4", "mov") else "live"
        options = {"options": {key: options["options"][key]}} if suffix in ("mp4", "webm", "mkv") else {}
    letters = resumed(film(suffix, **options)(tmp_path), 4.0, calls)
    assert len(letters) >= 10
    assert set(letters) == {"s"}


@pytest.mark.parametrize(
    ("suffix", "sound"), [("flv", 0.0), ("flv", 36.0), ("avi", 0.0), ("avi", 36.0), ("wmv", 0.0)]
)
def test_files_whose_seeks_are_coarse_are_sought_behind_their_beginning(
    tmp_path: Path, calls: list[str], suffix: str, sound: float
) -> None:
    letters = resumed(film(suffix, sound=sound)(tmp_path), 4.0, calls)
    assert set(letters[4:]) == {"s"}
    assert len(letters) > 8


@pytest.mark.parametrize("suffix", ["flv", "wmv", "webm", "mp4"])
def test_a_screen_that_is_still(tmp_path: Path, calls: list[str], suffix: str) -> None:
    path = make(tmp_path / f"still.{suffix}", PAUSES, 92.0)
    letters = resumed(path, 2.0, calls)
    assert set(letters) == ({"w"} if suffix in ("flv", "wmv") else {"s"})


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4", "ts"])
@pytest.mark.parametrize("numbers", [[200], list(range(200, 230))], ids=["one", "three seconds"])
def test_behind_a_wrong_stamp_is_no_bookmark(
    tmp_path: Path, calls: list[str], suffix: str, numbers: list[int]
) -> None:
    codec = "mpeg4" if suffix in ("mkv", "mp4") else None
    path = film(suffix, codec=codec, stamp=shifted(numbers, 15.0))(tmp_path)
    letters = resumed(path, 4.0, calls)
    assert letters.rstrip("-").count("s") == len(letters.rstrip("-")) > 5
    assert letters.count("-") > 2


def test_a_first_stamp_that_is_wrong_allows_no_bookmark(tmp_path: Path, calls: list[str]) -> None:
    path = film("mkv", codec="mpeg4", stamp=shifted([0], 15.0))(tmp_path)
    assert set(resumed(path, 4.0, calls)) == {"-"}


@pytest.mark.parametrize("seconds", [-5.0, 15.0])
def test_a_stamp_that_no_muxer_writes(tmp_path: Path, calls: list[str], seconds: float) -> None:
    path = restamped(film("flv")(tmp_path), [150, 151, 155], seconds)
    letters = resumed(path, 4.0, calls)
    assert "-" not in letters[:4]
    assert set(letters[7:]) == {"-"}


@pytest.mark.parametrize("start", [0.0, 20000.0])
def test_a_clock_that_starts_again(tmp_path: Path, calls: list[str], start: float) -> None:
    """With a start of 0, both parts have the same stamps and pictures: only their bytes lie elsewhere."""
    one = make(tmp_path / "1.ts", steady(15), 5.0)
    two = make(tmp_path / "2.ts", steady(15, start), 5.0 + start)
    letters = resumed(joined(tmp_path / "both.ts", one, two), 4.0, calls)
    assert set(letters[:4]) <= {"s", "w"}
    assert set(letters[-5:]) == {"-"}


def test_a_transport_stream_that_wraps_around(tmp_path: Path, calls: list[str]) -> None:
    start = 2**33 / 90000 - 9
    resumed(film("ts", options={"output_ts_offset": f"{start:.3f}"})(tmp_path), 4.0, calls)


@pytest.mark.parametrize("fill", [bytes, lambda size: np.random.default_rng(1).bytes(size)], ids=["0", "any"])
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "webm", "flv"])
def test_a_hole_of_damaged_bytes(
    tmp_path: Path, calls: list[str], suffix: str, fill: Callable[[int], bytes]
) -> None:
    resumed(spoilt(film(suffix, sound=30.0)(tmp_path), fill), 4.0, calls)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "flv"])
def test_a_file_cut_short(tmp_path: Path, calls: list[str], suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = film(suffix, options=options)(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: (max(data.find(b"mdat"), 0) + len(data)) // 2])
    resumed(path, 4.0, calls)


def test_frames_without_stamps(tmp_path: Path, calls: list[str]) -> None:
    with av.open(str(tmp_path / "raw.h264"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(200):
            out.mux(stream.encode(noise(None, n / 10, "yuv420p", (64, 48))))
        out.mux(stream.encode(None))
    assert set(resumed(tmp_path / "raw.h264", 4.0, calls)) == {"-"}


@pytest.mark.parametrize(("rate", "seconds"), [(0.7, 90), (25.0, 8)])
def test_rates_that_fit_no_frame(tmp_path: Path, calls: list[str], rate: float, seconds: float) -> None:
    letters = resumed(film("mkv", times=steady(seconds))(tmp_path), rate, calls)
    assert len(letters) >= 4
    assert set(letters) == {"s"}


def test_a_bookmark_of_another_file_rate_or_size_misleads_nobody(tmp_path: Path) -> None:
    one, other = film("mkv")(tmp_path), make(tmp_path / "other.mkv", steady(30, 0.05), 15.0)
    walk = frames_at_rate(one, 4.0, size=SIZE)
    for _ in range(60):
        next(walk)
    mark = walk.bookmark(60)
    assert mark is not None
    walk.close()
    for path, rate, size in ((other, 4.0, SIZE), (one, 5.0, SIZE), (one, 4.0, (12, 16))):
        whole = walked(frames_at_rate(path, rate, size=size))
        assert same(walked(frames_at_rate(path, rate, size=size, begin=60, bookmark=mark)), whole, 60)


def test_beyond_the_end_there_is_nothing(tmp_path: Path) -> None:
    path = film("mp4", times=steady(3))(tmp_path)
    walk = frames_at_rate(path, 4.0, size=SIZE, begin=500)
    assert list(walk) == []
    assert walk.duration == pytest.approx(3.0)
    with pytest.raises(ConfigError, match="Frame -1"):
        frames_at_rate(path, 4.0, size=SIZE, begin=-1)


def test_bookmarks_are_of_the_last_ticks(tmp_path: Path) -> None:
    walk = frames_at_rate(film("mp4")(tmp_path), 4.0, size=SIZE)
    assert walk.bookmark(0) is None
    for _ in range(100):
        next(walk)
    assert walk.bookmark(101) is None
    assert walk.bookmark(20) is None
    assert walk.bookmark(100) is not None
    assert walk.bookmark(50) is not None


def test_what_lies_before_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film("mp4", times=steady(120))(tmp_path)
    walk = frames_at_rate(path, 4.0, size=SIZE)
    for _ in range(400):
        next(walk)
    mark = walk.bookmark(400)
    decoded = [0]
    real = VideoFile.frames

    def counted(video: VideoFile) -> Iterator[av.VideoFrame]:
        for frame in real(video):
            decoded[0] += 1
            yield frame

    monkeypatch.setattr(VideoFile, "frames", counted)
    assert len(list(frames_at_rate(path, 4.0, size=SIZE, begin=400, bookmark=mark))) == 80
    assert decoded[0] < 300  # of 1200
