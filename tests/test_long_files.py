"""Long files: snippets come in blocks, a killed run goes on inside a file, and memory does not grow with it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mmn_index.cli.film_bar import film
from mmn_index.index_build import describe as describing
from mmn_index.index_build.extract import extract
from mmn_index.index_build.film import FilmProgress, estimate, lengths
from test_extract import make_video

from mmn_index import feature_part
from mmn_index.errors import OutputError
from mmn_index.feature_part import GrowingPart, PartPlace
from mmn_index.feature_writer import FeatureWriter
from mmn_index.features import FeatureFile
from mmn_index.origin import Origin
from mmn_index.video.backbones import load_backbone
from mmn_index.video.decode import frames_at_rate


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note after every block."""
    monkeypatch.setattr(feature_part, "_OFTEN_ROWS", 1)
    monkeypatch.setattr(feature_part, "_OFTEN_SECONDS", 0.0)


def floats(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)


def place(writer: FeatureWriter, source: Path) -> PartPlace:
    return writer.part("v", Origin.of(source))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"a video")
    return path


def test_snippets_come_in_blocks(tmp_path: Path, source: Path) -> None:
    values = floats(1000)
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
        with GrowingPart(place(writer, source)) as part:
            for begin in range(0, 1000, 64):
                part.append(values[begin : begin + 64])
            assert (part.rows, part.width) == (1000, 5)
        writer.finish("v", 993, 5, Origin(str(source), 7, 8, 248.3, 300.0))
        assert writer.done == {"v"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "v.mp4"]
    with FeatureFile(tmp_path / "f.h5") as file:
        assert np.array_equal(file.read("v"), values[:993])
        assert (file.duration("v"), file.source("v")) == (248.3, str(source))
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=4.0) as writer:
        assert writer.origin("v") == Origin(str(source), 7, 8, 248.3, 300.0)


def test_a_video_that_came_in_blocks_is_stored_like_one_that_came_at_once(
    tmp_path: Path, source: Path
) -> None:
    values, now = floats(300), Origin.of(source)
    with FeatureWriter(tmp_path / "blocks.h5", backbone="b", rate=4.0) as writer:
        with GrowingPart(place(writer, source)) as part:
            part.append(values[:100])
            part.append(values[100:])
        writer.finish("v", 300, 5, Origin(now.source, now.size, now.modified, 75.0))
    with FeatureWriter(tmp_path / "whole.h5", backbone="b", rate=4.0) as writer:
        writer.add("v", values, duration=75.0, source=str(source), size=now.size, modified=now.modified)
    assert (tmp_path / "blocks.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


_KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from mmn_index import feature_part
from mmn_index.feature_writer import FeatureWriter
from mmn_index.origin import Origin

feature_part._OFTEN_ROWS, feature_part._OFTEN_SECONDS = 1, 0.0
writer = FeatureWriter(sys.argv[1], backbone="b", rate=4.0)
part = feature_part.GrowingPart(writer.part("v", Origin.of(Path(sys.argv[2]))))
values = np.random.default_rng(0).normal(size=(1000, 5)).astype(np.float32)
part.append(values[:200])
part.keep(lambda: {"at": 200})
part.append(values[200:700])
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(out: Path, source: Path) -> None:
    subprocess.run([sys.executable, "-c", _KILLED, str(out), str(source)], check=False, cwd=out.parent)


def test_what_a_killed_process_noted_is_kept_and_is_not_done(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "f.h5"
    killed(out, source)
    with FeatureWriter(out, backbone="b", rate=4.0) as writer:
        assert writer.done == set()
        with GrowingPart(place(writer, source)) as part:
            assert (part.rows, part.width, part.mark) == (200, 5, {"at": 200})
            part.append(floats(1000)[200:])
        writer.finish("v", 1000, 5, Origin(str(source), duration=250.0))
    with FeatureFile(out) as file:
        assert np.array_equal(file.read("v"), floats(1000))


@pytest.mark.parametrize("what", ["size", "time", "rate", "backbone", "rows", "note", "no note", "list"])
def test_what_does_not_fit_is_thrown_away(tmp_path: Path, source: Path, what: str) -> None:
    out, rate, backbone = tmp_path / "f.h5", 4.0, "b"
    killed(out, source)
    (rows,), (note,) = tmp_path.rglob("*.rows"), tmp_path.rglob("*.note")
    if what == "size":
        source.write_bytes(b"another video")
    elif what == "time":
        import os

        os.utime(source, ns=(1, 1))
    elif what == "rate":
        rate = 2.0
    elif what == "backbone":
        backbone = "c"
    elif what == "rows":
        rows.write_bytes(rows.read_bytes()[:3999])
    elif what == "no note":
        note.unlink()
    else:
        note.write_text({"note": "{", "list": "[]"}[what])
    with (
        FeatureWriter(out, backbone=backbone, rate=rate) as writer,
        GrowingPart(place(writer, source)) as part,
    ):
        assert (part.rows, part.mark) == (0, None)


def test_an_unfinished_part_waits_for_its_video_and_is_dropped_without_it(
    tmp_path: Path, source: Path
) -> None:
    out = tmp_path / "f.h5"
    killed(out, source)
    for name in ("other", "another"):
        with FeatureWriter(out, backbone="b", rate=4.0) as writer:
            assert "v" not in writer.done
            writer.add(name, floats(3), duration=1, source=name)
        assert len([*tmp_path.rglob("*.note")]) == (name == "other")
        with FeatureFile(out) as file:
            assert "v" not in file
        source.write_bytes(b"changed")
    assert not (tmp_path / "f.h5.parts").exists()


def test_a_full_disk_is_no_broken_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "v" / "a.mp4", 1)
    make_video(tmp_path / "v" / "b.mp4", 2)

    def full(part: GrowingPart, snippets: np.ndarray) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr(GrowingPart, "append", full)
    with pytest.raises(OutputError, match="no space left"):
        extract([video.parent], tmp_path / "f.h5")


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("long") / "long.mkv", 3, seconds=50.3)


@pytest.fixture(scope="module")
def whole_features(long_video: Path) -> Path:
    extract([long_video], long_video.with_name("whole.h5"))
    return long_video.with_name("whole.h5")


@pytest.mark.parametrize("marks", [True, False], ids=["seek", "walk"])
@pytest.mark.parametrize("blocks", [1, 5, 12])
def test_a_video_that_is_resumed_has_the_same_snippets(
    long_video: Path,
    whole_features: Path,
    tmp_path: Path,
    often: None,
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
    marks: bool,
) -> None:
    """Killed after a number of blocks, of 13, the last one of which is shorter."""
    out = tmp_path / "f.h5"
    if not marks:
        monkeypatch.setattr(describing, "_mark", lambda *_: None)
    real, count = GrowingPart.keep, [0]

    def dying(part: GrowingPart, mark: Callable[[], dict[str, Any] | None]) -> None:
        real(part, mark)
        count[0] += 1
        if count[0] == blocks:
            raise KeyboardInterrupt

    walks: list[tuple[int, bool]] = []

    def walking(*arguments: Any, **named: Any) -> Any:
        walks.append((named["begin"], named["bookmark"] is not None))
        return frames_at_rate(*arguments, **named)

    monkeypatch.setattr(describing, "frames_at_rate", walking)
    with monkeypatch.context() as context:
        context.setattr(GrowingPart, "keep", dying)
        with pytest.raises(KeyboardInterrupt):
            extract([long_video], out)
    assert extract([long_video], out).extracted == 1
    assert out.read_bytes() == whole_features.read_bytes()
    assert walks == [(0, False), (32 * blocks - 6, marks)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5"]


@pytest.mark.parametrize("frames", [64, 65, 70, 71, 95, 96, 97, 128])
def test_pixels_go_on_at_a_block(frames: int) -> None:
    pixels = load_backbone("pixels")
    rng = np.random.default_rng(frames)
    images = rng.integers(0, 255, (frames, pixels.size.height, pixels.size.width, 3)).astype(np.uint8)
    whole = np.concatenate(list(pixels(images)))
    for begin in range(pixels.block, len(whole) + 1, pixels.block):
        rest = images[begin * pixels.frames_per_snippet - pixels.reach :]
        found = [*pixels(rest, resumed=True), np.empty((0, pixels.dim), np.float32)]
        assert np.array_equal(np.concatenate(found), whole[begin:])


def test_a_file_that_is_no_video_any_more_leaves_nothing(tmp_path: Path, source: Path) -> None:
    killed(tmp_path / "f.h5", source)
    with pytest.raises(Exception, match="No video gave features"):
        extract([source], tmp_path / "f.h5")


_RUN = """
import resource, sys
from pathlib import Path
import mmn_index.feature_part as feature_part
from mmn_index.index_build import describe
from mmn_index.index_build.extract import extract

class Flat:
    name, weights, dim, rate, frames_per_snippet, block, reach = "flat", None, 4096, 4.0, 1, 16, 0
    from mmn_index.video.picture import FrameSize
    size = FrameSize(8, 8)
    def __call__(self, frames, resumed=False):
        import numpy as np
        from itertools import islice
        frames = iter(frames)
        while batch := list(islice(frames, 16)):
            yield np.repeat(np.stack(batch).reshape(len(batch), -1)[:, :1], 4096, 1).astype(np.float32)

import mmn_index.index_build.extract as room
room.load_backbone = lambda name, device: Flat()
room.extract([Path(sys.argv[1])], Path(sys.argv[2]), rate=float(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_a_file(long_video: Path, tmp_path: Path) -> None:
    """Of the second run, the snippets weigh 75 MB more."""
    peaks = []
    for rate in ("5", "100"):
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(long_video), str(tmp_path / f"{rate}.h5"), rate],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout))
    assert (tmp_path / "100.h5").stat().st_size > 80e6
    assert peaks[1] - peaks[0] < 20_000  # KiB


def test_lengths_are_read_from_containers_or_reckoned_by_bytes(tmp_path: Path) -> None:
    videos = {
        name: make_video(tmp_path / f"{name}.mp4", 1, seconds) for name, seconds in (("a", 30), ("b", 6))
    }
    (tmp_path / "c.mp4").write_bytes(b"none")
    videos["c"] = tmp_path / "c.mp4"
    videos["d"] = tmp_path / "gone.mp4"
    found = lengths(videos)
    assert found == {"a": pytest.approx(30), "b": pytest.approx(6), "c": 0.0, "d": 0.0}
    hurried = lengths(videos, patience=0.0)  # the largest is opened at most
    assert hurried["b"] in (0.0, pytest.approx(6, abs=3))


def test_the_estimate_is_what_comes(tmp_path: Path) -> None:
    pixels = load_backbone("pixels")
    videos = {
        "a": make_video(tmp_path / "v" / "a.mp4", 1, 30),
        "b": make_video(tmp_path / "v" / "b.mkv", 2, 6.2),
    }
    expected = estimate(videos, rate=4.0, dim=pixels.dim)
    assert expected.seconds == pytest.approx(36.2, abs=0.1)
    extract([tmp_path / "v"], tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert sum(file[name].nbytes for name in file) == expected.size
    assert estimate({}, rate=4.0, dim=3).size == 0


def test_progress_counts_seconds_of_film() -> None:
    seen: list[tuple[float, float, str]] = []
    progress = FilmProgress([60.0, 0.0], {"a": 100.0, "b": 40.0}, lambda *told: seen.append(told))
    progress.reached("a", 30.0)
    progress.reached("b", 50.0)  # longer than it states
    progress.finished("b", 52.0)
    progress.finished("a", 0.0)  # broken after all
    assert seen == [
        (60.0, 200.0, "2 of 4 files"),
        (90.0, 200.0, "2 of 4 files"),
        (140.0, 210.0, "2 of 4 files"),
        (142.0, 212.0, "3 of 4 files"),
        (112.0, 112.0, "4 of 4 files"),
    ]


def test_every_worker_says_how_far_it_is(tmp_path: Path, long_video: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "v").mkdir(exist_ok=True)
        (tmp_path / "v" / f"{name}.mkv").write_bytes(long_video.read_bytes())
    seen: list[tuple[float, float, str]] = []
    extract([tmp_path / "v"], tmp_path / "f.h5", workers=2, report=lambda *told: seen.append(told))
    inside = [done for done, _, note in seen if note == "0 of 2 files"]
    assert len(inside) > 3
    assert inside == sorted(inside)
    assert seen[-1][0] == pytest.approx(2 * 50.3, abs=0.2)
    assert seen[0][:2] == (0.0, pytest.approx(2 * 50.3, abs=0.2))


def test_the_bar_says_where_it_is_and_what_is_left(long_video: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from mmn_index.cli.main import main; main(['extract', sys.argv[1], '-o', sys.argv[2]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(long_video), str(tmp_path / "f.h5")],
        capture_output=True,
        text=True,
        check=True,
    )
    last = [line for line in done.stderr.splitlines() if line.startswith("extracting")][-1]
    assert last.startswith("extracting features: 1 of 1 files, 50 of 50 s, 00:00 left |")
    assert film(11160, 35280) == "3.1 of 9.8 h"
