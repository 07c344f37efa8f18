"""Extraction: whole runs over small videos that are made here."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
from mmn_index.index_build.crew import Crew
from mmn_index.index_build.extract import extract, usual_workers

from mmn_index.errors import ConfigError, FeatureError, OutputError, VideoError
from mmn_index.features import FeatureFile
from mmn_index.origin import path_of
from mmn_index.video.backbones import load_backbone
from mmn_index.video.decode import frames_at_rate

Contents = dict[
    str, tuple[np.ndarray, float | None, str | None]
]  # snippets, seconds and source of each video
REAL = Path(__file__).parents[2] / "shared" / "videos"


def make_video(
    path: Path, seed: int, seconds: float = 1.5, fps: int = 10, options: dict[str, str] | None = None
) -> Path:
    """A square on a textured wall, moving in a direction of its own."""
    rng = np.random.default_rng(seed)
    wall = np.kron(rng.integers(60, 140, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    step = rng.uniform(-2, 2, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for n in range(round(seconds * fps)):
            image = wall.copy()
            y, x = (np.array([18, 26]) + step * (n % 8)).astype(int)
            image[y : y + 12, x : x + 12] = 230
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos, two of them in a folder of their own, and things that are none."""
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(["a.mp4", "b.mkv", "c.MP4", "porch/cam1.mp4", "porch/cam2.mp4"]):
        make_video(folder / name, seed, seconds=1 + 0.3 * seed)
    (folder / "notes.txt").write_text("no video")
    (folder / "._a.mp4").write_bytes(b"what macOS leaves behind")
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:300])
    return folder


def contents(path: Path) -> Contents:
    with FeatureFile(path) as features:
        return {v: (features.read(v), features.duration(v), features.source(v)) for v in features.video_ids}


def assert_equal_files(a: Path, b: Path) -> None:
    assert_same(contents(a), contents(b))


def assert_same(first: Contents, second: Contents) -> None:
    assert first.keys() == second.keys()
    for video_id, (snippets, duration, source) in first.items():
        assert np.array_equal(snippets, second[video_id][0])
        assert (duration, source) == second[video_id][1:]


def test_a_folder_becomes_a_feature_file(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, float, str]] = []
    out = tmp_path / "f.h5"
    result = extract([folder], out, report=lambda done, total, note: seen.append((done, total, note)))
    assert (result.extracted, result.skipped, result.out) == (5, 0, out)
    assert [one.what for one in result.left_out] == [str(folder / "broken.mp4")]
    assert result.left_out[0].why.startswith(str(folder / "broken.mp4"))
    assert "\n" not in result.left_out[0].why
    assert list(dict.fromkeys(note for _, _, note in seen)) == [f"{n} of 6 files" for n in range(7)]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[0][0] == 0.0
    assert {round(total, 1) for _, total, _ in seen} == {8.0} == {round(seen[-1][0], 1)}  # seconds
    pixels = load_backbone("pixels")
    with FeatureFile(out) as features:
        assert (features.backbone, features.rate) == ("pixels", 4.0)
        assert features.video_ids == ["a", "b", "c", "porch/cam1", "porch/cam2"]
        for seed, (video_id, suffix) in enumerate(
            {"a": "mp4", "b": "mkv", "c": "MP4", "porch/cam1": "mp4"}.items()
        ):
            path = folder / f"{video_id}.{suffix}"
            duration = 1 + 0.3 * seed
            assert features.duration(video_id) == pytest.approx(duration, abs=0.02)
            assert features.source(video_id) == str(path)
            expected = np.concatenate(list(pixels(frames_at_rate(path, 8, size=pixels.size))))
            snippets = features.read(video_id, dim=pixels.dim)
            ticks = [k for k in range(99) if (k + 0.5) / 4 < duration - 1e-3]
            assert len(snippets) == len(ticks)
            assert np.array_equal(snippets, expected[: len(snippets)])


def test_another_rate_gives_other_snippets(folder: Path, tmp_path: Path) -> None:
    extract([folder / "a.mp4"], tmp_path / "f.h5", rate=10)
    with FeatureFile(tmp_path / "f.h5") as features:
        assert (features.rate, len(features.read("a"))) == (10.0, 10)
    with pytest.raises(FeatureError, match="do not mix"):
        extract([folder / "b.mkv"], tmp_path / "f.h5")


def test_a_file_is_taken_whatever_its_suffix_and_once(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "camera.dat"
    odd.write_bytes((folder / "a.mp4").read_bytes())
    result = extract([odd, odd, tmp_path / "gone.mp4"], tmp_path / "f.h5")
    assert result.extracted == 1
    assert [one.why for one in result.left_out] == [f"{tmp_path / 'gone.mp4'}: no such file."]
    assert contents(tmp_path / "f.h5").keys() == {"camera"}


def test_relative_paths_are_stored_absolute(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    extract([Path("a.mp4"), Path("porch")], tmp_path / "f.h5")
    sources = {video_id: source for video_id, (_, _, source) in contents(tmp_path / "f.h5").items()}
    assert sources["a"] == str(folder / "a.mp4")
    assert sources["cam1"] == str(folder / "porch" / "cam1.mp4")


def test_two_files_of_one_name_are_told_of(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "other" / "a.webm"
    twin.parent.mkdir()
    twin.write_bytes((folder / "a.mp4").read_bytes())
    below = make_video(tmp_path / "third" / "a" / "x.mp4", 9)
    result = extract([folder / "a.mp4", twin, tmp_path / "third"], tmp_path / "f.h5")
    assert result.extracted == 1
    assert [one.what for one in result.left_out] == [str(twin), str(below)]
    for one in result.left_out:
        assert one.what in one.why
        assert str(folder / "a.mp4") in one.why
    assert contents(tmp_path / "f.h5")["a"][2] == str(folder / "a.mp4")


def test_a_second_run_does_what_is_left(folder: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "f.h5", tmp_path / "whole.h5"
    assert extract([folder / "a.mp4"], out).extracted == 1
    before = contents(out)
    result = extract([folder], out)
    assert (result.extracted, result.skipped) == (4, 1)
    assert extract([folder], out).skipped == 5
    extract([folder], whole)
    assert_equal_files(out, whole)
    assert np.array_equal(contents(out)["a"][0], before["a"][0])


def test_the_number_of_workers_changes_nothing(folder: Path, tmp_path: Path) -> None:
    one, three = tmp_path / "one.h5", tmp_path / "three.h5"
    alone = extract([folder], one)
    crew = extract([folder], three, workers=3)
    assert (crew.extracted, crew.left_out) == (alone.extracted, alone.left_out)
    assert_equal_files(one, three)


# A shell that starts the tests in the background makes them ignore interrupts, and children inherit that.
_RUN = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
import mmn_index.index_build.extract as room

if __name__ == "__main__":
    videos, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    room.extract([videos], out, workers=workers, report=lambda done, total, note: print(note, flush=True))
"""


def start(tmp_path: Path, videos: Path, out: Path, workers: int) -> "subprocess.Popen[str]":
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    command = [sys.executable, str(script), str(videos), str(out), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough videos for a run to be interrupted."""
    folder = tmp_path_factory.mktemp("many")
    first = make_video(folder / "v00.mp4", 0, seconds=20)
    for n in range(1, 12):
        (folder / f"v{n:02}.mp4").write_bytes(first.read_bytes())
    return folder


def children(process: int) -> list[int]:
    """Processes whose parent is this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(stat.parent.name))
    return found


def workers_of(process: int) -> list[int]:
    """Its children that decode; the resource tracker is a child, too."""
    return [
        child for child in children(process) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(("workers", "how"), [(1, signal.SIGKILL), (2, signal.SIGKILL), (2, signal.SIGINT)])
def test_a_run_that_is_killed_goes_on_where_it_was(
    many: Path, tmp_path: Path, workers: int, how: signal.Signals
) -> None:
    out = tmp_path / "f.h5"
    process = start(tmp_path, many, out, workers)
    assert process.stdout is not None
    assert any(line.startswith("2 of") for line in process.stdout)
    crew = children(process.pid)
    assert len(crew) >= (workers if workers > 1 else 0)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    assert not out.exists()
    deadline = time.monotonic() + 5
    while any(alive(child) for child in crew) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in crew if alive(child)]
    result = extract([many], out)
    assert 2 <= result.skipped < 12
    assert result.extracted == 12 - result.skipped
    assert not out.with_name("f.h5.parts").exists()
    with FeatureFile(out) as features:
        first = features.read("v00")
        assert len(features) == 12
        assert all(np.array_equal(features.read(v), first) for v in features.video_ids)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_worker_that_dies_costs_its_video_only(many: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(done: float, total: float, note: str) -> None:
        if not killed and not note.startswith("0 of"):
            killed.append(workers_of(os.getpid())[-1])
            os.kill(killed[0], signal.SIGKILL)

    result = extract([many], tmp_path / "f.h5", workers=2, report=kill_one)
    assert killed
    assert result.extracted == 11
    assert len(result.left_out) == 1
    path, why = result.left_out[0].what, result.left_out[0].why
    assert Path(path).parent == many
    assert why.startswith(f"{path}: the process that decoded it died (exit code -9)")
    assert not workers_of(os.getpid())


def test_workers_do_not_import_torch() -> None:
    code = (
        "import sys, mmn_index.index_build.extract; print({'torch', 'faiss', 'transformers'} & "
        "sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_cannot_be_done_is_said_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(VideoError, match="no video found"):
        extract([tmp_path / "bare"], tmp_path / "f.h5")
    with pytest.raises(VideoError, match="no place given"):
        extract([], tmp_path / "f.h5")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        extract([folder], tmp_path / "file" / "f.h5")
    for settings in ({"workers": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"backbone": "no such"}):
        with pytest.raises(ConfigError):
            extract([folder], tmp_path / "f.h5", **settings)  # type: ignore[arg-type]


def test_files_of_one_name_in_two_runs_are_told_apart(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    first = make_video(tmp_path / "camA" / "0001.mp4", 1, seconds=1)
    second = make_video(tmp_path / "camB" / "0001.mp4", 2, seconds=2)
    extract([first.parent], out)
    before = contents(out)
    result = extract([second.parent], out)
    assert (result.extracted, result.skipped) == (0, 0)
    (left,) = result.left_out
    assert left.what == str(second)
    assert left.why == (
        f"{second}: would be called '0001', but {out} has features of {first} by that name. Name it apart with "
        "--prefix, such as --prefix camB/, or choose another file with -o."
    )
    assert_same(contents(out), before)
    assert extract([second.parent], out, prefix="camB/").extracted == 1
    assert {video: source for video, (_, _, source) in contents(out).items()} == {
        "0001": str(first),
        "camB/0001": str(second),
    }
    # An id cannot lie below another: HDF5 keeps "camB/0001" in a group "camB".
    make_video(tmp_path / "camB.mp4", 3)
    (left,) = extract([tmp_path / "camB.mp4"], out).left_out
    assert "has a video 'camB/0001', and an id cannot lie below another" in left.why


def test_a_file_that_was_replaced_is_described_again(folder: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "f.h5", tmp_path / "whole.h5"
    video = make_video(tmp_path / "v" / "a.mp4", 1, seconds=1)
    make_video(tmp_path / "v" / "b.mp4", 2)
    extract([tmp_path / "v"], out)
    video.write_bytes((folder / "b.mkv").read_bytes())
    result = extract([tmp_path / "v"], out)
    assert (result.extracted, result.again, result.skipped) == (1, 1, 1)
    extract([tmp_path / "v"], whole)
    assert_equal_files(out, whole)
    # One that is broken now costs nothing of what was described.
    video.write_bytes(b"broken")
    result = extract([tmp_path / "v"], out)
    assert (result.extracted, len(result.left_out)) == (0, 1)
    assert_equal_files(out, whole)


def test_a_replaced_file_is_not_forgotten_by_a_killed_run(tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    video = make_video(tmp_path / "a.mp4", 1, seconds=1)
    extract([video], out)
    make_video(video, 2, seconds=2)

    def kill(done: float, total: float, note: str) -> None:
        if note.startswith("1 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([video], out, report=kill)
    assert contents(out)["a"][1] == pytest.approx(1, abs=0.02)
    result = extract([video], out)  # its part is there, and younger than what the file has
    assert (result.extracted, result.skipped) == (0, 1)
    assert contents(out)["a"][1] == pytest.approx(2, abs=0.02)


def test_a_feature_file_of_an_earlier_version_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    videos = Path(shutil.copytree(folder, tmp_path / "v"))
    (videos / "broken.mp4").unlink()
    extract([videos], out)
    with h5py.File(out, "r+") as file:
        for video_id in ("a", "b", "c", "porch/cam1", "porch/cam2"):
            for name in ("size", "modified"):
                del file[video_id].attrs[name]
    before = contents(out)
    result = extract([videos], out)
    assert (result.extracted, result.skipped, result.left_out) == (0, 5, [])
    moved = videos.rename(tmp_path / "moved")
    result = extract([moved], out)
    assert (result.extracted, result.skipped, result.left_out) == (0, 5, [])
    assert result.remarks[-1].startswith("5 videos count as there already by their names alone")
    assert_same(contents(out), before)


def test_a_collection_that_was_moved_is_there_already(folder: Path, tmp_path: Path) -> None:
    videos = Path(shutil.copytree(folder, tmp_path / "v"))
    (videos / "broken.mp4").unlink()
    extract([videos], tmp_path / "f.h5")
    result = extract([videos.rename(tmp_path / "moved")], tmp_path / "f.h5")
    assert (result.extracted, result.skipped, result.left_out) == (0, 5, [])


def test_names_that_are_not_utf8(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"fold\xe9r")
    odd.mkdir()
    for name in (b"caf\xe9.mp4", b"plain.mp4"):
        shutil.copy(folder / "a.mp4", odd / os.fsdecode(name))
    (odd / os.fsdecode(b"broken\xe9.mp4")).write_bytes(b"none")
    for workers in (1, 2):
        out = odd / os.fsdecode(b"f%d\xe9.h5" % workers)
        result = extract([odd], out, workers=workers)
        assert (result.extracted, len(result.left_out)) == (2, 1)
        with FeatureFile(out) as features:
            assert features.video_ids == ["caf\\xe9", "plain"]
            for video_id in features.video_ids:
                source = features.source(video_id)
                assert source is not None
                source.encode()
                assert path_of(source).is_file()
        assert extract([odd], out).skipped == 2


def cut_short(path: Path) -> bytes:
    """Writes the first half of a video whose index stands in front, as a download does; returns the whole."""
    make_video(path, 5, seconds=20, options={"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def test_a_file_that_was_cut_short_is_told_until_it_is_whole(tmp_path: Path) -> None:
    out, video = tmp_path / "f.h5", tmp_path / "half.mp4"
    whole = cut_short(video)
    for extracted in (1, 0):
        result = extract([video], out)
        assert (result.extracted, result.skipped) == (extracted, 1 - extracted)
        (left,) = result.left_out
        duration = contents(out)["half"][1]
        assert duration is not None
        assert 3 < duration < 17
        assert left.why.startswith(f"{video}: {duration:.1f} of its 20.0 s can be decoded")
    video.write_bytes(whole)
    result = extract([video], out)
    assert (result.extracted, result.again, result.left_out) == (1, 1, [])
    assert contents(out)["half"][1] == pytest.approx(20, abs=0.1)
    assert extract([video], out).left_out == []


def test_strictly_nothing_is_left_out_and_nothing_described_is_lost(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    with pytest.raises(VideoError, match=r"broken\.mp4: .* Without --strict they are left out\."):
        extract([folder], out, strict=True)
    assert not out.exists()
    result = extract([folder], out)
    assert (result.extracted, result.skipped) == (0, 5)


def test_nothing_but_broken_files_is_an_error(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.mp4").write_bytes(b"none")
    with pytest.raises(VideoError, match=r"No video gave features. .*0\.mp4.*And 2 more\."):
        extract([tmp_path], tmp_path / "f.h5")
    assert not (tmp_path / "f.h5").exists()
    assert not (tmp_path / "f.h5.parts").exists()


def test_two_runs_into_one_file_do_not_disturb_each_other(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    first = start(tmp_path, many, out, 1)
    assert first.stdout is not None
    assert first.stdout.readline()
    for backbone_rate in (None, 2.0):
        with pytest.raises(OutputError, match=r"f\.h5: another process extracts into this file"):
            extract([many], out, rate=backbone_rate)
    _, errors = first.communicate()
    assert first.returncode == 0, errors
    result = extract([many], out)
    assert (result.extracted, result.skipped) == (0, 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "run.py"]


def test_what_a_failing_machine_left_of_a_part_is_described_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"

    def stop(done: float, total: float, note: str) -> None:
        if note.startswith("2 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([folder / "porch"], out, report=stop)
    parts = sorted((tmp_path / "f.h5.parts").rglob("*.h5"))
    assert len(parts) == 2
    parts[0].write_bytes(b"")
    result = extract([folder / "porch"], out)
    assert (result.extracted, result.skipped) == (1, 1)


def test_a_place_for_the_features_that_is_none(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for out, says in ((tmp_path, "is a folder"), (tmp_path / "pipe", "is a device or a pipe")):
        with pytest.raises(OutputError, match=says):
            extract([folder], out)
    assert not [*tmp_path.glob("*.parts"), *tmp_path.parent.glob(f"{tmp_path.name}.parts")]


def test_links_in_a_feature_file_are_kept(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    extract([folder / "a.mp4"], out)
    extract([folder / "b.mkv"], tmp_path / "other.h5")
    with h5py.File(out, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/b")
    extract([folder / "c.MP4"], out)
    with h5py.File(out, "r") as file:
        assert {*file} == {"a", "c", "elsewhere"}
        assert file["elsewhere"].shape[1] == file["a"].shape[1]


def test_real_videos_go_through(tmp_path: Path) -> None:
    if not REAL.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{REAL}: the real videos are missing")
        pytest.skip(f"{REAL}: the real videos are not here")
    result = extract([REAL], tmp_path / "f.h5", rate=1, workers=2)
    assert (result.extracted, result.left_out) == (13, [])
    with FeatureFile(tmp_path / "f.h5") as features:
        for video_id in features.video_ids:
            duration = features.duration(video_id) or 0.0
            assert abs(len(features.read(video_id)) - duration) <= 0.51
            assert 4 < duration < 140


def write(path: Path, tell: object) -> str:
    path.write_text("done")
    return path.name


def writer() -> Callable[[Path, object], str]:
    return write


def test_a_worker_does_not_wait_for_an_outcome_to_be_kept(tmp_path: Path) -> None:
    crew: Crew[Path, str] = Crew(1, writer)
    outcomes = crew.outcomes({"a": tmp_path / "a", "b": tmp_path / "b"}, lambda video, reached: None)
    assert next(outcomes) == ("a", "a")
    deadline = time.monotonic() + 30
    while not (tmp_path / "b").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "b").exists()
    assert list(outcomes) == [("b", "b")]


def test_pixels_decodes_on_every_core_and_networks_in_one_process() -> None:
    assert usual_workers("pixels") == len(os.sched_getaffinity(0))
    assert usual_workers("openai/clip-vit-base-patch32") == 1
