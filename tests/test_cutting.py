"""Parts of videos are checked against what the frames themselves say: each shows its number."""

import errno
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from moving import NTSC, Read, make_video
from test_decode import real_videos

from mmn_index.errors import OutputError, VideoError
from mmn_index.video import cut
from mmn_index.video.cut import copy_part, suffix_of
from mmn_index.video.encode import encodable, write_mp4
from mmn_index.video.media import Media, Sound, describe, standard_rate
from mmn_index.video.picture import upright
from mmn_index.video.stretch import heard, pictures
from mmn_index.video.timecode import Timebase

VARIABLE = [n / 20 + (0.4 if n % 7 > 3 else 0.0) + n // 7 * 0.5 for n in range(100)]
KINDS: dict[str, dict[str, Any]] = {
    "steady.mp4": {},
    "ntsc.mp4": {"rate": NTSC},
    "variable.mkv": {"times": VARIABLE, "rate": Fraction(20)},
    "rotated.mp4": {"rotation": 90},
    "upside-down.mov": {"rotation": 180, "sound": None},
    "wide.mkv": {"aspect": Fraction(4, 3)},
    "wide-rotated.mp4": {"aspect": Fraction(4, 3), "rotation": 270},
    "web.webm": {"codec": "libvpx-vp9", "sound": "libopus", "gop": 40},
    "old.avi": {"codec": "mpeg4", "sound": "mp3", "gop": 30},
    "stream.ts": {"gop": 30},
    "short-gops.m4v": {"gop": 5},
    "flash.flv": {"gop": 50},
    "late.mp4": {"times": [1.5 + n / 25 for n in range(200)]},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name, kind in KINDS.items():
        make_video(folder / name, **kind)
    return folder


@pytest.fixture(scope="module")
def whole_of(archive: Path) -> Callable[[str], Read]:
    """What is in a file of the archive; each is read once."""
    return cache(lambda name: Read(archive / name))


def frame_at(whole: Read, media: Media, seconds: float) -> int:
    """Which frame a player shows; the slow way."""
    return max((n for n, time in enumerate(whole.times) if time - media.zero <= seconds + 1e-3), default=0)


def encode(path: Path, start: float, end: float, out: Path) -> None:
    media = describe(path)
    form = encodable(media.sound)
    shown = (one._replace(frame=upright(one.frame)) for one in pictures(media, start, end))
    sound = None if form is None else heard(media, start, end, form)
    write_mp4(out, shown, sound, rate=media.rate, aspect=media.aspect, form=form, note="note", of=str(path))


@pytest.mark.parametrize("span", [(0.0, 1.0), (5.03, 7.51), (9.9, 11.2)])
@pytest.mark.parametrize("name", KINDS)
def test_an_encoded_part_is_the_moment_to_within_a_frame(
    archive: Path, whole_of: Callable[[str], Read], tmp_path: Path, name: str, span: tuple[float, float]
) -> None:
    source = describe(archive / name)
    start, end = (min(time, source.info.duration - 0.2) for time in span)
    if end - start < 0.3:
        start -= 0.5
    encode(archive / name, start, end, tmp_path / "part.mp4")
    part = Read(tmp_path / "part.mp4", KINDS[name].get("rotation", 0))
    whole = whole_of(name)
    period = float(1 / source.rate)
    assert (part.codec, part.rotation, part.times[0]) == ("h264", 0, 0.0)
    assert abs(part.duration - (end - start)) < period + 0.03  # sound comes in steps of 1024 samples
    assert part.numbers[0] == frame_at(whole, source, start)
    assert part.numbers[-1] == frame_at(whole, source, end - 2e-3)
    for number, time in list(zip(part.numbers, part.times, strict=True))[1:]:
        assert abs(time + start - whole.times[whole.numbers.index(number)] + source.zero) < 0.002
    # Upright pictures in the shape that players show.
    info = source.info
    width, height = part.size[0] * max(part.aspect, 1), part.size[1] / min(part.aspect, 1)
    assert width / height == pytest.approx(info.width / info.height, rel=0.03)
    if source.sound is None:
        assert part.samples is None
    else:
        assert part.samples is not None
        assert part.samples.shape[1] / part.sound_rate == pytest.approx(end - start, abs=0.05)
        assert part.is_tone(0.1, end - start - 0.1)


@pytest.mark.parametrize("start", [0.0, 0.3, 5.03, 9.9])
@pytest.mark.parametrize("name", KINDS)
def test_a_copied_part_begins_at_the_key_frame_before_it(
    archive: Path, whole_of: Callable[[str], Read], tmp_path: Path, name: str, start: float
) -> None:
    media, suffix = describe(archive / name), suffix_of(archive / name)
    start = min(start, media.info.duration - 1)
    end = min(start + 2, media.info.duration)
    out = tmp_path / f"part{suffix}"
    earlier = copy_part(media, start, end, out, suffix, "of a test")
    part, whole = Read(out), whole_of(name)
    assert part.numbers == list(range(part.numbers[0], part.numbers[-1] + 1))
    assert abs(whole.times[part.numbers[0]] - media.zero - max(start - earlier, media.first)) < 0.005
    assert part.numbers[0] == max(
        (n for n in whole.keys if whole.times[n] - media.zero <= start + 1e-3), default=0
    )
    # Frames that others need may follow the last one.
    assert 0 <= part.numbers[-1] - frame_at(whole, media, end - 2e-3) <= 3
    assert (part.rotation, part.aspect) == (whole.rotation, whole.aspect)
    assert part.codec == whole.codec
    for one in (0, len(part.images) // 2):
        different = part.images[one].astype(int) - whole.images[part.numbers[one]]
        assert np.abs(different).max() == 0
    if media.sound is None:
        assert part.samples is None
    else:
        assert part.samples is not None
        assert part.heard_from + part.samples.shape[1] / part.sound_rate == pytest.approx(
            end - start + earlier, abs=0.2
        )
        assert part.is_tone(0.3, end - start + earlier - 0.2)
    with av.open(str(out)) as container:
        assert "of a test" in container.metadata.values()


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("steady.mp4", ".mp4"),
        ("upside-down.mov", ".mov"),
        ("short-gops.m4v", ".m4v"),
        ("web.webm", ".webm"),
        ("variable.mkv", ".mkv"),
        ("old.avi", ".avi"),
        ("stream.ts", ".mkv"),
        ("flash.flv", ".mkv"),
    ],
)
def test_a_copy_stays_in_its_family_of_formats(archive: Path, name: str, suffix: str) -> None:
    assert suffix_of(archive / name) == suffix


def test_a_misnamed_file_gets_the_suffix_of_what_it_is(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "film.dat").symlink_to(archive / "steady.mp4")
    (tmp_path / "film.avi").symlink_to(archive / "web.webm")
    assert suffix_of(tmp_path / "film.dat") == ".mp4"
    assert suffix_of(tmp_path / "film.avi") == ".mkv"


def test_sound_without_gaps_or_with_silence_in_them(archive: Path, whole_of: Callable[[str], Read]) -> None:
    media, form = describe(archive / "late.mp4"), Sound(48000, 2)
    parts = list(heard(media, 0.0, 15.0, form))
    sound = np.concatenate(parts, axis=1)
    assert sound.shape == (2, 15 * 48000)
    assert max(part.shape[1] for part in parts) <= 48000
    assert np.abs(sound[:, -4 * 48000 :]).max() == 0  # the video lasts 9.5 s
    whole = whole_of("steady.mp4")
    assert whole.samples is not None
    steady = describe(archive / "steady.mp4")
    part = np.concatenate(list(heard(steady, 3.0, 4.0, form)), axis=1)
    begin = round((3.0 - whole.heard_from) * 48000)
    assert np.abs(part - whole.samples[:, begin : begin + 48000]).max() < 1e-3
    silent = describe(archive / "upside-down.mov")
    assert not np.concatenate(list(heard(silent, 1.0, 2.5, Sound(44100, 1))), axis=1).any()


def test_a_file_whose_clock_starts_again_is_refused(archive: Path, tmp_path: Path) -> None:
    once = (archive / "stream.ts").read_bytes()
    (tmp_path / "joined.ts").write_bytes(once + once)
    media = describe(tmp_path / "joined.ts")
    assert media.starts_again
    with pytest.raises(VideoError, match=r"joined.ts: its clock starts again in the middle"):
        copy_part(media, 1.0, 2.0, tmp_path / "out.mkv", ".mkv", "")
    with pytest.raises(VideoError, match="its clock starts again"):
        next(pictures(media, 1.0, 2.0))


def test_full_disks_end_the_work_and_odd_streams_only_their_part(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = describe(archive / "steady.mp4")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="cannot be written"):
        copy_part(media, 1.0, 2.0, tmp_path / "missing" / "a.mp4", ".mp4", "")
    web = describe(archive / "web.webm")
    monkeypatch.setattr(cut, "_MUXERS", {".avi": "wav"})
    with pytest.raises(VideoError, match=r"web.webm: cannot be copied in parts as .avi .*--exact"):
        copy_part(web, 1.0, 2.0, tmp_path / "a.avi", ".avi", "")
    monkeypatch.setattr(av, "open", full)
    with pytest.raises(OutputError, match=r"No space left.*Is the disk full"):
        write_mp4(tmp_path / "b.mp4", pictures_of(archive), None, rate=Fraction(25), note="", of="b.mp4")


def pictures_of(archive: Path) -> Iterator[Any]:
    return iter([None])


def test_what_a_file_says_of_itself(archive: Path, tmp_path: Path) -> None:
    media = describe(archive / "ntsc.mp4")
    assert (media.rate, media.sound, media.timecode) == (NTSC, Sound(48000, 2), None)
    assert describe(archive / "late.mp4").first == pytest.approx(1.5, abs=0.01)
    coded = make_video(tmp_path / "coded.mov", seconds=1, rate=NTSC, timecode="01:00:00;00")
    assert describe(coded).timecode == "01:00:00;00"
    with pytest.raises(VideoError, match=r"none.mp4: no such file. Was it moved or deleted"):
        describe(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text.mp4: is no video"):
        describe(tmp_path / "text.mp4")


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        (Fraction(2997, 100), NTSC),
        (Fraction(30), Fraction(30)),
        (Fraction(24), Fraction(24)),
        (Fraction(23976, 1000), Fraction(24000, 1001)),
        (Fraction(5994, 100), Fraction(60000, 1001)),
        (Fraction(19001, 317), Fraction(60000, 1001)),
        (Fraction(2499999, 100000), Fraction(25)),
        (Fraction(149, 10), Fraction(149, 10)),
    ],
)
def test_rates_that_files_round(told: Fraction, meant: Fraction) -> None:
    assert standard_rate(told) == meant


RATES = (Fraction(24000, 1001), NTSC, Fraction(60000, 1001), *(Fraction(n) for n in (24, 25, 30, 50, 60)))


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_time_codes_are_those_of_opentimelineio(rate: Fraction, drop: bool) -> None:
    otio = pytest.importorskip("opentimelineio").opentime
    base = Timebase.of(rate, "00:00:00;00" if drop else "00:00:00:00")
    assert base.drop == (drop and rate in (NTSC, Fraction(60000, 1001)))
    for frame in [*range(0, 40_000, 7), *range(1790, 1810), *range(3590, 3610), 107_892, 2_000_000]:
        time = otio.RationalTime(frame, float(rate))
        assert base.write(frame) == time.to_timecode(float(rate), base.drop)
        assert base.read(base.write(frame)) == frame


def test_drop_frame_follows_the_clock_and_is_the_default_where_there_is_one() -> None:
    base = Timebase.of(NTSC)
    assert base.drop
    assert base.write(base.frame(3600.0)) == "01:00:00;00"
    assert base.write(base.frame(60.1)) == "00:01:00;03"
    assert Timebase.of(NTSC, "01:00:00:00").write(107_892) == "00:59:56:12"
    assert not Timebase.of(Fraction(24000, 1001)).drop
    assert Timebase.of(NTSC, "not a time code").drop
    assert base.read("nonsense") == 0


def test_parts_of_the_real_videos(tmp_path: Path) -> None:
    for path in real_videos():
        media, suffix = describe(path), suffix_of(path)
        start = media.info.duration * 0.4
        end = min(start + 1.0, media.info.duration)
        earlier = copy_part(media, start, end, tmp_path / f"copy{suffix}", suffix, "")
        encode(path, start, end, tmp_path / "exact.mp4")
        copied, exact = (lengths(tmp_path / name) for name in (f"copy{suffix}", "exact.mp4"))
        assert copied[0] == pytest.approx(end - start + earlier, abs=0.25)
        assert exact[0] == pytest.approx(end - start, abs=0.06)
        assert copied[1] == exact[1] == (media.sound is not None)


def lengths(path: Path) -> tuple[float, bool]:
    """Seconds, and whether there is sound."""
    with av.open(str(path)) as container:
        return container.duration / 1e6, bool(container.streams.audio)
