"""`mmn-index export`: what it writes is read back by other programs' readers: FFmpeg, OpenTimelineIO, and the
parsers of Python.
"""

import csv
import gc
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import h5py
import numpy as np
import pytest
from conftest import DIM, SENTENCES, Command
from moving import NTSC, Read, make_video, number_in

from mmn_index.errors import DependencyError
from mmn_index.handoff.caption import Caption
from mmn_index.handoff.clips import write_clips
from mmn_index.handoff.edl import as_edl
from mmn_index.handoff.excerpt import Excerpt, Take, takes
from mmn_index.handoff.fcpxml import as_fcpxml
from mmn_index.handoff.names import clip_name, one_line, safe
from mmn_index.handoff.otio import as_otio
from mmn_index.handoff.reel import write_reel
from mmn_index.handoff.subtitles import as_srt, as_vtt
from mmn_index.handoff.timeline import Timeline, lay_out
from mmn_index.origin import source_of
from mmn_index.places import Hold
from mmn_index.video.media import describe

VIDEOS: dict[str, dict[str, Any]] = {
    "porch/cam1.mp4": {"rate": NTSC},
    "garden/cam1.mp4": {"rotation": 90, "sound": None},
    "garden/web.webm": {"codec": "libvpx-vp9", "sound": "libopus", "gop": 30},
    "film.mov": {"rate": Fraction(24000, 1001), "timecode": "10:00:00:00"},
    "tape.mov": {"rate": NTSC, "timecode": "01:00:00;00"},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, lively: Path, command: Command) -> Path:
    """A folder with videos and an index of them, collection.mmn."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(5)
    with h5py.File(folder / "features.h5", "w") as file:
        file.attrs.update({"backbone": "random", "rate": 8.0})
        for name, kind in VIDEOS.items():
            path = make_video(folder / name, **kind)
            data = rng.normal(size=(96, DIM)).astype(np.float32)
            file.create_dataset(str(Path(name).with_suffix("")), data=data).attrs.update(
                {"duration": describe(path).info.duration, "source": source_of(path)}
            )
    command.ok("build", lively / "model", folder / "features.h5", "-o", folder / "collection.mmn")
    return folder


def excerpt(path: Path, start: float, end: float, **more: Any) -> Excerpt:
    return Excerpt(
        **{
            "query": "a door opens",
            "rank": 1,
            "video_id": path.stem,
            "uri": str(path),
            "start": start,
            "end": end,
        }
        | more
    )


def take(path: Path, start: float, end: float, **more: Any) -> Take:
    return Take(excerpt(path, start, end, **more), describe(path))


def hits(command: Command, archive: Path, *arguments: object) -> list[dict[str, Any]]:
    result = command.ok("search", *arguments, "--index", archive / "collection.mmn", "--json")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_clips_and_their_second_run(archive: Path, command: Command, tmp_path: Path) -> None:
    search = [SENTENCES[0], "-k", 4, "--per-video", 1, "--max-length", 5]
    run = ["export", *search, "--index", archive / "collection.mmn", "--clips", tmp_path / "c", "--exact"]
    said = command.ok(*run).stderr
    expected = hits(command, archive, *search)
    assert len(expected) == 4
    paths = sorted((tmp_path / "c").iterdir())
    for path, hit in zip(paths, expected, strict=True):
        assert path.name == clip_name(hit["rank"], 2, hit["video"], hit["start"], hit["end"], ".mp4")
        assert str(path) in said
        kind = next(kind for name, kind in VIDEOS.items() if name.startswith(f"{hit['video']}."))
        clip, source = Read(path, kind.get("rotation", 0)), describe(Path(hit["uri"]))
        assert clip.duration == pytest.approx(hit["end"] - hit["start"], abs=float(1 / source.rate) + 0.03)
        assert clip.numbers[0] == int(hit["start"] * source.rate + 0.02)
        assert (clip.samples is None) == (source.sound is None)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
    said = command.ok(*run).stderr
    assert said.count("is there already") == 4
    assert {
        path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (tmp_path / "c").iterdir()
    } == before
    # Another content of the same name: copied, padded or somebody else's.
    paths[0].write_bytes(b"mine")
    command.ok(*run)
    assert paths[0].read_bytes() == b"mine"
    assert Read(paths[0].with_name(f"{paths[0].stem}-2.mp4")).codec == "h264"
    said = command.ok(*run[:-1]).stderr
    assert "s earlier, at a key frame" in said
    assert len(list((tmp_path / "c").iterdir())) == 5 + 4


def test_several_queries_get_a_folder_each_and_padding_stays_inside(
    archive: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "q.txt").write_text("../../a person opens the door\na person opens the door\n-rf: *?\n")
    command.ok(
        *("export", "--queries", tmp_path / "q.txt", "-k", 2, "--index", archive / "collection.mmn"),
        *("--clips", tmp_path / "c", "--padding", 100),
    )
    folders = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert folders == ["01_a-person-opens-the-door", "02_a-person-opens-the-door", "03_rf"]
    for path in (tmp_path / "c").rglob("*.*"):
        assert "_00-00.0_00-12.0" in path.name or "_00-00.0_00-12.1" in path.name


HOSTILE = (
    "../../x",
    "-rf",
    "new\nline",
    "..",
    "/etc/passwd",
    "\x1b[31m",
    "caf\udce9",
    "",
    "a" * 500,
    "\u3042" * 200,
)


@pytest.mark.parametrize("video_id", HOSTILE)
def test_no_id_leaves_the_folder_or_looks_like_an_option(
    tmp_path: Path, archive: Path, video_id: str
) -> None:
    made, left_out = write_clips(
        [take(archive / "garden/web.webm", 1.0, 2.0, video_id=video_id)], tmp_path / "in" / "c"
    )
    assert not left_out
    assert [path.resolve() for path in (tmp_path / "in" / "c").iterdir()] == [made[0].path.resolve()]
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["in", "c", made[0].path.name])
    name = made[0].path.name
    assert len(os.fsencode(name)) <= 120
    assert name.isprintable()
    assert name.startswith("01_")
    assert not safe(video_id).startswith(("-", "."))
    again, _ = write_clips(
        [take(archive / "garden/web.webm", 1.0, 2.0, video_id=video_id)], tmp_path / "in" / "c"
    )
    assert again[0].earlier is None


def test_ids_that_become_one_name_stay_two_clips(tmp_path: Path, archive: Path) -> None:
    path = archive / "garden/web.webm"
    both = [take(path, 1.0, 2.0, video_id="a/b"), take(path, 1.0, 2.0, video_id="a-b")]
    for _ in range(2):
        made, _ = write_clips(both, tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "01_a-b_00-01.0_00-02.0-2.webm",
            "01_a-b_00-01.0_00-02.0.webm",
        ]
    assert [clip.earlier for clip in made] == [None, None]


def test_files_that_are_gone_or_changed_are_left_out(
    archive: Path, command: Command, lively: Path, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name in ("gone", "short", "text", "whole", "unknown"):
            data = file.create_dataset(
                name, data=np.random.default_rng(1).normal(size=(96, DIM)).astype("f4")
            )
            data.attrs["duration"] = 12.0
            if name != "unknown":
                data.attrs["source"] = str(tmp_path / f"{name}.mp4")
    (tmp_path / "whole.mp4").symlink_to(archive / "porch/cam1.mp4")
    (tmp_path / "text.mp4").write_text("no longer a video")
    make_video(tmp_path / "short.mp4", seconds=0.2)
    command.ok("build", lively / "model", tmp_path / "f.h5", "-o", tmp_path / "i.mmn")
    run = ["export", SENTENCES[0], "-k", 10, "--per-video", 2, "--after", 1, "--index", tmp_path / "i.mmn"]
    result = command.run(*run, "--clips", tmp_path / "c", "-o", tmp_path / "a.edl")
    assert result.exit_code == 3
    assert {path.name.split("_")[1] for path in (tmp_path / "c").iterdir()} == {"whole"}
    listed = (tmp_path / "c.left-out.txt").read_text()
    assert "gone.mp4: no such file. Was it moved or deleted since it was indexed?" in listed
    assert "It has changed since it was indexed" in listed
    assert "text.mp4: is no video" in listed
    assert "unknown: the features do not say which file this video is" in listed
    assert (tmp_path / "a.edl").read_text().count("FROM CLIP NAME: whole.mp4") == 2
    command.fails(*run, "--reel", tmp_path / "r.mp4", "--strict", says="Without --strict they are left out")
    assert not (tmp_path / "r.mp4").exists()
    # Tables need no files.
    rows = command.ok(*run, "--format", "csv", "--strict").stdout.splitlines()
    assert len(rows) == 11


def test_a_reel_joins_all_with_captions_and_sound(archive: Path, tmp_path: Path) -> None:
    parts = [
        take(archive / "porch/cam1.mp4", 2.0, 4.0, rank=1),
        take(archive / "garden/cam1.mp4", 5.0, 6.5, rank=2),
        take(archive / "tape.mov", 1.0, 2.0, rank=3),
    ]
    out = tmp_path / "reel.mp4"
    assert write_reel(parts, out) == []
    reel = Read(out)
    assert reel.rate == NTSC
    assert reel.size == (80, 32)
    assert reel.duration == pytest.approx(4.5, abs=0.1)
    assert len(reel.times) == 60 + 45 + 30
    assert np.allclose(np.diff(reel.times), 1001 / 30000, atol=1e-3)
    # The upper row of blocks is free of the caption; the lower one holds it.
    top = [number_in(image) & 31 for image in reel.images]
    assert top[0] == 60 & 31
    assert top[59] == (60 + 59) & 31
    assert top[105] == 30 & 31
    first, plain = reel.images[0], Read(archive / "porch/cam1.mp4").images[60]
    assert np.abs(first[:16].astype(int) - plain[:16]).mean() < 12
    assert np.abs(first[20:].astype(int) - plain[20:]).mean() > 25
    turned = reel.images[80]  # upright in the middle, black beside it
    assert turned[:16, :20].max() < 40
    assert turned[:16, 34:46].max() > 150
    assert reel.samples is not None
    assert reel.is_tone(0.2, 1.8)
    assert np.abs(reel.samples[:, round(2.3 * 48000) : round(3.2 * 48000)]).max() < 0.01
    assert reel.is_tone(3.7, 4.3)
    longer = tmp_path / "padded.mp4"
    write_reel(parts[:1], longer, padding=1.0)
    assert Read(longer).duration == pytest.approx(4.0, abs=0.1)
    silent = tmp_path / "silent.mp4"
    write_reel(parts[1:2], silent)
    assert Read(silent).samples is None
    assert Read(silent).size == (32, 80)


def test_decoders_are_freed_with_their_files(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for Python to look for circles of references: each decoder holds many frames. What a
    decoder reads is held by it, and by nobody else once it is closed.
    """
    opened: list[weakref.ref[Any]] = []
    real = av.open

    def opening(file: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(file, str):
            opened.append(weakref.ref(file))
        return real(file, *arguments, **options)

    monkeypatch.setattr(av, "open", opening)
    alive: list[int] = []

    def report(done: int, total: int) -> None:
        alive.append(sum(one() is not None for one in opened))

    parts = [take(archive / name, 1.0, 2.0, rank=n) for n, name in enumerate(VIDEOS, 1)]
    gc.disable()
    try:
        for exact in (True, False):
            write_clips(parts, tmp_path / "c", exact=exact, report=report)
        assert set(alive) == {0}
        write_reel(parts, tmp_path / "r.mp4", report=report)
    finally:
        gc.enable()
    assert len(opened) > 20
    assert max(alive) <= 3  # the pictures and the sound of one part, or of two
    assert not any(one() for one in opened)


def test_a_reel_replaces_reels_only(archive: Path, command: Command, tmp_path: Path) -> None:
    run = [
        "export",
        SENTENCES[0],
        "-k",
        2,
        "--max-length",
        3,
        "--index",
        archive / "collection.mmn",
        "--reel",
    ]
    command.ok(*run, tmp_path / "r.mp4")
    first = (tmp_path / "r.mp4").read_bytes()
    command.ok(*run, tmp_path / "r.mp4")
    # The same pictures; the encoder's threads have given other bytes once.
    again = (tmp_path / "r.mp4").read_bytes()
    assert len(again) == pytest.approx(len(first), rel=0.02)
    source = archive / "porch/cam1.mp4"
    before = source.read_bytes()
    command.fails(*run, source, says="is there already, and is no reel of mmn-index")
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.mp4"]


def test_captions_fit(tmp_path: Path) -> None:
    for width, height in ((1920, 1080), (64, 48), (16, 400), (8, 2)):
        for text in ("door", "a long sentence " * 50, "", "\u4e2d\u6587"):
            picture = np.full((height, width, 3), 200, np.uint8)
            Caption(text, "00:01.0 - 00:02.0", width, height).draw(picture)
            assert picture.min() < 200
            if height > 100:
                assert (picture[: height // 2] == 200).all()


def line_of(archive: Path, *names: str, title: str = "doors") -> Timeline:
    return lay_out([take(archive / name, 2.0, 5.0, rank=n) for n, name in enumerate(names, 1)], title)


def test_an_edl_that_opentimelineio_reads(archive: Path) -> None:
    otio = pytest.importorskip("opentimelineio")
    rate = float(NTSC)
    text = as_edl(line_of(archive, "porch/cam1.mp4", "tape.mov"))
    assert text.splitlines()[:2] == ["TITLE: doors", "FCM: DROP FRAME"]
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=rate)
    assert sorted(track.name for track in timeline.tracks) == ["A1", "A2", "V"]
    clips = list(timeline.video_tracks()[0])
    assert [clip.name for clip in clips] == ["cam1.mp4", "tape.mov"]
    assert [clip.metadata["cmx_3600"]["reel"] for clip in clips] == ["CAM1", "TAPE"]
    assert [clip.source_range.start_time.to_frames() for clip in clips] == [60, 107_892 + 60]
    assert [clip.source_range.duration.to_frames() for clip in clips] == [90, 90]
    assert " 00:00:02;00 00:00:05;00 01:00:00;00 01:00:03;00" in text
    assert " 01:00:02;00 01:00:05;00 01:00:03;00 01:00:06;00" in text


def test_an_edl_counts_each_file_at_its_own_rate(archive: Path) -> None:
    timeline = line_of(archive, "film.mov", "porch/cam1.mp4", "garden/cam1.mp4", "tape.mov")
    lines = as_edl(timeline).splitlines()
    assert timeline.base.rate == NTSC
    assert [line for line in lines if line.startswith("FCM")] == [
        "FCM: DROP FRAME",
        "FCM: NON-DROP FRAME",
        "FCM: DROP FRAME",
        "FCM: NON-DROP FRAME",
        "FCM: DROP FRAME",
    ]
    events = [line.split() for line in lines if line[:3].isdigit()]
    assert [event[1:5] for event in events] == [
        ["FILM", "AA/V", "C", "10:00:02:00"],
        ["CAM1", "AA/V", "C", "00:00:02;00"],
        ["CAM1_2", "V", "C", "00:00:02:00"],
        ["TAPE", "AA/V", "C", "01:00:02;00"],
    ]
    assert events[0][5] == "10:00:05:00"
    assert events[2][5] == "00:00:05:00"
    ends = [event[7] for event in events]
    assert [event[6] for event in events] == ["01:00:00;00", *ends[:-1]]


def test_reels_of_an_edl_are_short_and_differ(archive: Path, tmp_path: Path) -> None:
    names = [
        "a long name 1.mp4",
        "a long name 2.mp4",
        "\u4e2d\u6587.mp4",
        "\u65e5\u672c.mp4",
        "bl.mp4",
        "new\nline.mp4",
    ]
    for name in names:
        (tmp_path / name).symlink_to(archive / "tape.mov")
    text = as_edl(lay_out([take(tmp_path / name, 1.0, 2.0, query="x\ny") for name in names], "t\nu"))
    events = [line for line in text.splitlines() if line[:3].isdigit()]
    reels = [line[5:13].strip() for line in events]
    assert len(set(reels)) == len(names)
    assert all(reel and reel.isascii() and reel != "BL" for reel in reels)
    assert {len(line) for line in events} == {len(events[0])}
    otio = pytest.importorskip("opentimelineio")
    read = otio.adapters.read_from_string(text, "cmx_3600", rate=float(NTSC))
    assert len(read.video_tracks()[0]) == len(names)


def test_opentimelineio_reads_its_own_format(archive: Path) -> None:
    otio = pytest.importorskip("opentimelineio")
    line = line_of(archive, "film.mov", "garden/cam1.mp4", "tape.mov")
    timeline = otio.adapters.read_from_string(as_otio(line), "otio_json")
    video, audio = timeline.tracks
    assert (video.kind, audio.kind) == ("Video", "Audio")
    for clip, event in zip(video, line.events, strict=True):
        rate = float(event.media.rate)
        assert clip.source_range.start_time == otio.opentime.RationalTime(event.origin + event.begin, rate)
        assert clip.source_range.duration.to_seconds() == pytest.approx(3.0, abs=1 / rate)
        available = clip.media_reference.available_range
        assert available.start_time.value == event.origin
        assert available.duration.to_seconds() == pytest.approx(12.0, abs=0.1)
        assert available.contains(clip.source_range)
        assert clip.media_reference.target_url == event.media.path.as_uri()
        assert clip.metadata["mmn-index"]["query"] == "a door opens"
    assert [type(item).__name__ for item in audio] == ["Clip", "Gap", "Clip"]
    assert [item.duration().to_seconds() for item in audio] == [
        item.duration().to_seconds() for item in video
    ]


def seconds(text: str | None) -> Fraction:
    assert text is not None
    return Fraction(text.removesuffix("s"))


def test_final_cuts_xml_is_whole_frames(archive: Path) -> None:
    names = ("tape.mov", "film.mov", "garden/cam1.mp4", "porch/cam1.mp4", "tape.mov")
    text = as_fcpxml(line_of(archive, *names, title="a < b & c"))
    root = ElementTree.fromstring(text.encode())
    assert (root.tag, root.attrib["version"]) == ("fcpxml", "1.8")
    formats = {one.attrib["id"]: one.attrib for one in root.iter("format")}
    assets = {one.attrib["id"]: one.attrib for one in root.iter("asset")}
    assert len({one.attrib["id"] for one in root.iter() if "id" in one.attrib}) == len(formats) + len(assets)
    assert len(assets) == 4
    assert root.find(".//project").attrib["name"] == "a < b & c"  # type: ignore[union-attr]
    sequence = root.find(".//sequence")
    assert sequence is not None
    tick = seconds(formats[sequence.attrib["format"]]["frameDuration"])
    assert tick == 1 / NTSC
    at = Fraction(0)
    for clip, name in zip(root.iter("asset-clip"), names, strict=True):
        asset = assets[clip.attrib["ref"]]
        assert asset["src"] == (archive / name).as_uri()
        own = seconds(formats[asset["format"]]["frameDuration"])
        assert own == 1 / describe(archive / name).rate
        for value, unit in (
            (clip.attrib["offset"], tick),
            (clip.attrib["duration"], tick),
            (clip.attrib["start"], own),
        ):
            assert (seconds(value) / unit).denominator == 1
        assert seconds(clip.attrib["offset"]) == at
        at += seconds(clip.attrib["duration"])
        begin = seconds(clip.attrib["start"]) - seconds(asset["start"])
        assert abs(begin - 2) <= own / 2
        assert abs(seconds(clip.attrib["duration"]) - 3) <= own
        assert (asset.get("hasAudio") == "1") == (describe(archive / name).sound is not None)
        rates = [one.attrib["srcFrameRate"] for one in clip.iter("conform-rate")]
        assert rates == {"film.mov": ["23.98"], "garden/cam1.mp4": ["25"]}.get(name, [])
    assert seconds(sequence.attrib["duration"]) == at
    starts = {asset["name"]: seconds(asset["start"]) for asset in assets.values()}
    assert starts["tape.mov"] == 107_892 / NTSC
    assert starts["film.mov"] == 10 * 3600 * Fraction(1001, 1000)


def test_time_lines_of_rates_that_no_editor_has(tmp_path: Path) -> None:
    for rate, meant in ((10, Fraction(30)), (12.5, Fraction(25)), (15, Fraction(30))):
        path = make_video(tmp_path / f"{rate}.mp4", rate=Fraction(rate), seconds=3, sound=None)
        line = lay_out([take(path, 1.0, 2.0)], "t")
        assert line.base.rate == meant
        assert abs(line.events[0].count - rate) < 1
        assert line.length == line.events[0].count / Fraction(rate) * meant
    assert as_edl(lay_out([], "t")) == "TITLE: t\nFCM: NON-DROP FRAME\n"
    assert ElementTree.fromstring(as_fcpxml(lay_out([], "t")).encode()).find(".//spine") is not None


def test_subtitles(archive: Path, tmp_path: Path) -> None:
    cues = [
        excerpt(archive / "film.mov", 3723.5, 3725.0004, query="a <b> & --> c\nd", rank=2),
        excerpt(archive / "film.mov", 1.25, 2.0),
    ]
    assert as_srt(cues) == textwrap.dedent(
        """\
        1
        00:00:01,250 --> 00:00:02,000
        a door opens

        2
        01:02:03,500 --> 01:02:05,000
        a <b> & --> c d
        """
    )
    assert as_vtt(cues).splitlines() == [
        *("WEBVTT", "", "00:00:01.250 --> 00:00:02.000", "a door opens", ""),
        *("01:02:03.500 --> 01:02:05.000", "a &lt;b&gt; &amp; --&gt; c d"),
    ]
    for name, text in (("a.srt", as_srt(cues)), ("a.vtt", as_vtt(cues))):
        (tmp_path / name).write_text(text)
        with av.open(str(tmp_path / name)) as container:
            packets = [packet for packet in container.demux() if packet.size]
            assert [float(packet.pts * packet.time_base) for packet in packets] == [1.25, 3723.5]
            assert [float(packet.duration * packet.time_base) for packet in packets] == [0.75, 1.5]


def test_subtitles_of_one_video_and_of_several(archive: Path, command: Command, tmp_path: Path) -> None:
    index = ["--index", archive / "collection.mmn"]
    command.fails("export", SENTENCES[0], *index, "--format", "srt", says="subtitles are of one video")
    command.fails("export", SENTENCES[0], *index, "-o", tmp_path / "a.vtt", says="-o for a file per video")
    one = command.ok("export", SENTENCES[0], *index, "-k", 3, "--video", "film", "-o", tmp_path / "a.srt")
    assert one.stdout == ""
    assert (tmp_path / "a.srt").read_text().count(SENTENCES[0]) == 3
    command.ok("export", SENTENCES[0], *index, "-k", 20, "--format", "vtt", "-o", tmp_path / "all")
    found = hits(command, archive, SENTENCES[0], "-k", 20)
    assert {path.stem for path in (tmp_path / "all").iterdir()} == {safe(hit["video"]) for hit in found}
    for path in (tmp_path / "all").iterdir():
        assert path.read_text().count("-->") == sum(safe(hit["video"]) == path.stem for hit in found)


def test_tables_hold_what_a_search_finds(archive: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n".join(SENTENCES[:2]))
    search = ["--queries", tmp_path / "q.txt", "-k", 3]
    found = hits(command, archive, *search)
    run = ["export", *search, "--index", archive / "collection.mmn", "--format"]
    assert [json.loads(line) for line in command.ok(*run, "jsonl").stdout.splitlines()] == found
    assert json.loads(command.ok(*run, "json").stdout) == found
    rows = list(csv.DictReader(io.StringIO(command.ok(*run, "csv").stdout)))
    assert [
        (row["query"], row["video"], float(row["start"]), float(row["score"]), row["uri"]) for row in rows
    ] == [(hit["query"], hit["video"], hit["start"], hit["score"], hit["uri"]) for hit in found]
    command.ok(*run[:-1], "-o", tmp_path / "hits.csv")
    assert list(csv.DictReader(io.StringIO((tmp_path / "hits.csv").read_text()))) == rows
    single = hits(command, archive, SENTENCES[0])
    one = command.ok(
        "export", SENTENCES[0], "--index", archive / "collection.mmn", "--format", "jsonl"
    ).stdout
    assert [json.loads(line) for line in one.splitlines()] == [
        {"query": SENTENCES[0], **hit} for hit in single
    ]


def test_every_output_in_one_run(archive: Path, command: Command, tmp_path: Path) -> None:
    pytest.importorskip("opentimelineio")
    for form in ("edl", "fcpxml", "otio", "csv"):
        command.ok(
            *(
                "export",
                "--like",
                "film@2-6",
                "-k",
                2,
                "--max-length",
                3,
                "--index",
                archive / "collection.mmn",
            ),
            *("--clips", tmp_path / "c", "--reel", tmp_path / "r.mp4", "-o", tmp_path / f"t.{form}"),
        )
        assert (tmp_path / f"t.{form}").stat().st_size > 100
    assert len(list((tmp_path / "c").iterdir())) == 2
    assert Read(tmp_path / "r.mp4").duration > 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Give at least one of --clips, --reel, --format"),
        (["-o", "a.txt"], "-o a.txt: expected a name that ends in .csv, .json, .jsonl, .srt, .vtt, .edl"),
        (["-o", "a.txt", "--clips", "c"], "-o a.txt: expected a name that ends in .csv"),
        (["-o", "a.txt", "--format", "csv"], "-o is the name of a file that ends in .csv"),
        (["-o", "a.csv", "--exact"], "--exact is how --clips are cut"),
        (["-o", "a.csv", "--padding", "1"], "--padding is for --clips and --reel"),
        (["--clips", "c", "--padding", "-1"], "-1"),
        (["--reel", "a.avi"], "--reel is the name of an mp4 file"),
        (["--clips", "c", "--queries", "q.txt"], "Give one of QUERY, --queries and --like"),
        (["--clips", "c", "--format", "docx"], "docx"),
    ],
)
def test_usage(
    archive: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command.run("export", "door", *arguments, "--index", archive / "collection.mmn")
    assert result.exit_code == 2
    assert says in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(
    archive: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["export", "door", "--index", archive / "collection.mmn", "-k", 1]
    (tmp_path / "file").write_text("")
    command.fails(*run, "--clips", tmp_path / "file" / "c", says="cannot be written")
    command.fails(*run, "-o", tmp_path / "none" / "a.csv", says="cannot be written")
    held = Hold(tmp_path / "c", "busy")
    command.fails(*run, "--clips", tmp_path / "c", says="another `mmn-index export` writes clips there")
    held.release()
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    command.fails(*run, "-o", tmp_path / "a.otio", says="pip install 'mmn-index[editors]'")
    with pytest.raises(DependencyError):
        as_otio(lay_out([], "t"))
    nothing = command.ok(*run, "--max-length", 0.01, "--reel", tmp_path / "r.mp4", "-o", tmp_path / "a.edl")
    assert "no moment of the index fits" in nothing.stderr
    assert not (tmp_path / "r.mp4").exists()


def test_a_killed_export_leaves_no_half_clip(archive: Path, tmp_path: Path) -> None:
    """The process is killed when the first clip is half written."""
    program = """
        import os, signal, sys
        from pathlib import Path
        from mmn_index.handoff.clips import write_clips
        from mmn_index.handoff.excerpt import Excerpt, takes
        from mmn_index.video import encode

        write = encode._PictureTrack.write
        written = []

        def dies(track, shown):
            write(track, shown)
            written.append(shown)
            if len(written) == 30:
                os.kill(os.getpid(), signal.SIGKILL)

        encode._PictureTrack.write = dies
        chosen, _ = takes([Excerpt("q", 1, "v", sys.argv[1], 1.0, 5.0)])
        write_clips(chosen, Path(sys.argv[2]), exact=True)
    """
    path = archive / "film.mov"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path), str(tmp_path / "c")], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not [p for p in (tmp_path / "c").iterdir() if not p.name.startswith(".")]
    made, _ = write_clips([take(path, 1.0, 5.0, video_id="v")], tmp_path / "c", exact=True)
    assert [p.name for p in (tmp_path / "c").iterdir()] == [made[0].path.name]
    assert Read(made[0].path).duration == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("exact", [True, False])
def test_a_full_disk_ends_the_work_and_leaves_nothing(archive: Path, tmp_path: Path, exact: bool) -> None:
    """A limit on the size of files acts as a full disk does."""
    program = """
        import resource, signal, sys
        from pathlib import Path
        from mmn_index.errors import OutputError
        from mmn_index.handoff.clips import write_clips
        from mmn_index.handoff.excerpt import Excerpt, takes

        chosen, _ = takes([Excerpt("q", 1, "v", sys.argv[1], 1.0, 9.0)])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        try:
            write_clips(chosen, Path(sys.argv[2]), exact=sys.argv[3] == "True")
        except OutputError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), archive / "film.mov", tmp_path / "c", str(exact)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"{tmp_path / 'c'}: cannot be written (File too large). Is the disk full" in done.stdout
    assert list((tmp_path / "c").iterdir()) == []


def test_takes_tell_a_file_once(tmp_path: Path) -> None:
    gone = [excerpt(tmp_path / "gone.mp4", n, n + 1.0) for n in range(3)]
    made, left_out = takes(gone)
    assert (made, len(left_out)) == ([], 1)
    assert one_line(" a\n\tb\x1b ") == "a b\\x1b"
