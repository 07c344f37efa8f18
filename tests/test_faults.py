"""Kills, full disks and damaged files: an index is what it was or what it should be, and damage is found."""

import contextlib
import gc
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from conftest import WORDS, Command, write_features
from mmn_index.index_build import build, candidates, embed
from mmn_index.index_build.source import Source
from mmn_index.index_build.verify import verify

from mmn_index import embedding
from mmn_index.errors import MomentIndexError
from mmn_index.features import FeatureFile
from mmn_index.index import Manifest, MomentIndex, PlannedVideo, SegmentWriter
from mmn_index.index import manifest as manifest_module
from mmn_index.index import segment_writer as segment_module
from mmn_index.index import writer as writer_module
from mmn_index.index.codes import write_vectors
from mmn_index.index.vectors import Vectors
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings
from mmn_index.search import SearchOptions, search_embeddings
from mmn_index.windows import WindowOf

WORKERS = Path(__file__).parent


class Killed(BaseException):
    """Ends a command as a kill does: nothing is tidied up."""


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features of other videos (more.h5, new.h5) and other features of the same ones
    (again.h5).
    """
    folder = tmp_path_factory.mktemp("features")
    write_features(folder / "more.h5", 4, prefix="w", seed=5)
    write_features(folder / "new.h5", 5, prefix="x", seed=6)
    write_features(folder / "again.h5", 3, prefix="v", seed=7)
    return folder


@pytest.fixture(scope="module")
def base(world: Path, features: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """An index of two segments with a bank, one with a candidate index, each with a removed video."""
    root = tmp_path_factory.mktemp("base") / "collection.mmn"
    bank = ["--bank", world / "train.json"]
    command.ok(
        "build", world / "run" / "model", world / "features.h5", "-o", root, "--vectors", "IVF4,SQ8", *bank
    )
    command.ok("add", features / "more.h5", "--index", root)
    command.ok("remove", "v1", "w2", "--index", root)
    return root


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """An index that a test may damage."""
    return Path(shutil.copytree(base, tmp_path / "collection.mmn"))


def files_of(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def answers(root: Path) -> list[tuple[str, float, float, float]]:
    """What a few queries find."""
    return answers_of(MomentIndex(root))


def answers_of(index: MomentIndex) -> list[tuple[str, float, float, float]]:
    numbers = torch.randn(2, 8, index.manifest.joint_dim, generator=torch.Generator().manual_seed(0))
    queries = Embeddings(*torch.nn.functional.normalize(numbers, dim=2))
    found = search_embeddings(index, queries, index.manifest.score, SearchOptions(k=4), [""] * 8)
    return [(hit.video_id, hit.start, hit.end, hit.score) for answer in found for hit in answer.hits]


def changes(world: Path, features: Path, base: Path) -> dict[str, dict[str, Any]]:
    """Every command that writes, for worker_kills.py."""
    model, bank, index = str(world / "run" / "model"), str(world / "train.json"), ["--index", "{root}"]
    anew = ["build", model, str(world / "features.h5"), "-o", "{root}", "--bank", bank]
    found = {
        # Those who try again may wish for another candidate index.
        "build": {
            "base": None,
            "arguments": [*anew, "--vectors", "IVF4,SQ8"],
            "again": [[*anew, "--vectors", "IVF4,SQ8"], anew],
        },
        "overwrite": {"arguments": ["build", model, str(features / "new.h5"), "-o", "{root}", "--overwrite"]},
        "add": {"arguments": ["add", str(features / "new.h5"), *index]},
        "update": {"arguments": ["update", str(features / "again.h5"), *index]},
        "remove": {"arguments": ["remove", "v3", "w0", *index]},
        "compact": {"arguments": ["compact", "--vectors", "IVF4,SQ8", *index]},
    }
    return {
        name: {"base": str(base), "again": [about["arguments"]], **about} for name, about in found.items()
    }


def test_200_kills_leave_the_state_before_or_after(
    world: Path, features: Path, base: Path, memory: Path
) -> None:
    """A dying command leaves an index that is right, and nothing that the next command does not take up or
    remove.
    """
    plan = {"folder": str(memory), "kills": 200, "seed": 0, "commands": changes(world, features, base)}
    (memory / "plan.json").write_text(json.dumps(plan))
    result = subprocess.run(
        [sys.executable, WORKERS / "worker_kills.py", memory / "plan.json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    kills = [json.loads(line) for line in result.stdout.splitlines()]
    assert [kill for kill in kills if kill["wrong"]] == []
    assert [kill["status"] for kill in kills] == [9] * 200
    assert set(Counter((kill["command"], kill["state"]) for kill in kills)) == {
        (name, state) for name in plan["commands"] for state in ("before", "after")
    }
    videos = {"build": 6, "overwrite": 5, "add": 5, "update": 3}
    resumed = [kill for kill in kills if kill["state"] == "before" and kill["command"] in videos]
    assert [kill for kill in resumed if kill["kept"] + kill["encoded"] != videos[kill["command"]]] == []
    found = {kill["kept"] for kill in resumed}
    assert found >= {0, 6}
    assert len(found) >= 4, "hardly any segment was taken up in the middle"


@pytest.mark.parametrize(("kept", "batches", "left"), [(1, 1, 4), (1, 2, 2), (2, 1, 6), (2, 2, 2)])
def test_a_build_goes_on_where_it_was_killed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, batches: int, left: int
) -> None:
    monkeypatch.setattr(embedding, "_BATCH", 2)
    monkeypatch.setattr(embed, "_KEPT", kept)
    encode, encoded = embed.encode, []

    def counted(model: Any, features: FeatureFile, windows: Sequence[WindowOf]) -> Iterator[list[np.ndarray]]:
        encoded.append([window.video_id for window in windows])
        return encode(model, features, windows)

    def dies(*arguments: Any) -> Iterator[list[np.ndarray]]:
        yield from itertools.islice(counted(*arguments), batches)
        raise Killed

    with FeatureFile(world / "features.h5") as file:
        for out, function in (("whole.mmn", counted), ("killed.mmn", dies), ("killed.mmn", counted)):
            monkeypatch.setattr(embed, "encode", function)
            with contextlib.suppress(Killed):
                build.build(world / "run" / "model", Source(file), tmp_path / out)
    everything = [f"v{number}" for number in range(6)]
    assert encoded == [everything, everything, everything[6 - left :]]
    whole, killed = (next((tmp_path / name / "segments").iterdir()) for name in ("whole.mmn", "killed.mmn"))
    assert (whole / "embeddings.npy").read_bytes() == (killed / "embeddings.npy").read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == [
        "background.npy",
        "embeddings.npy",
        "hubs.npy",
        "moments.parquet",
        "videos.parquet",
        "windows.parquet",
    ]


def planned(count: int) -> list[PlannedVideo]:
    return [PlannedVideo(f"v{number}", None, 20.0) for number in range(count)]


def test_what_comes_while_videos_are_kept_is_not_said_to_be_kept(tmp_path: Path) -> None:
    """Else a resumed build would begin in the middle of a batch, behind embeddings that no disk has seen."""
    grid = ProposalGrid(4, (1,))
    writer = SegmentWriter(tmp_path / "segment", grid, 2, planned(3))
    for _ in range(2):
        writer.add(np.ones((len(grid), 4)))
    writer.keep(1)
    assert SegmentWriter(tmp_path / "segment", grid, 2, planned(3)).done == 1


def test_a_segment_that_lacks_a_video_is_not_finished(tmp_path: Path) -> None:
    grid = ProposalGrid(4, (1,))
    writer = SegmentWriter(tmp_path / "segment", grid, 2, planned(3))
    for _ in range(2):
        writer.add(np.ones((len(grid), 4)))
    with pytest.raises(ValueError, match="2 windows came, 3 were announced"):
        writer.finish(None)


def test_progress_without_embeddings_is_none(tmp_path: Path) -> None:
    """Left by a process that was killed while it removed the folder."""
    grid = ProposalGrid(4, (1,))
    writer = SegmentWriter(tmp_path / "segment", grid, 2, planned(3))
    writer.add(np.ones((len(grid), 4)))
    writer.keep()
    (tmp_path / "segment" / "embeddings.npy").unlink()
    assert SegmentWriter(tmp_path / "segment", grid, 2, planned(3)).done == 0


def test_a_mistake_does_not_cost_what_a_killed_command_has_done(
    world: Path, copy: Path, features: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_BATCH", 2)
    monkeypatch.setattr(embed, "_KEPT", 1)
    encode, encoded = embed.encode, []

    def dies(*arguments: Any) -> Iterator[list[np.ndarray]]:
        yield from itertools.islice(encode(*arguments), 1)
        raise Killed

    def counted(model: Any, file: FeatureFile, windows: Sequence[WindowOf]) -> Iterator[list[np.ndarray]]:
        encoded.extend(window.video_id for window in windows)
        return encode(model, file, windows)

    monkeypatch.setattr(embed, "encode", dies)
    with pytest.raises(Killed), FeatureFile(features / "new.h5") as file:
        build.add(copy, Source(file))
    command.fails("remove", "nobody", "--index", copy, says="no video 'nobody'")
    command.fails("build", world / "run" / "model", features / "more.h5", "-o", copy, says="--overwrite")
    command.fails("add", features / "more.h5", "--index", copy, says="already")
    monkeypatch.setattr(embed, "encode", counted)
    command.ok("add", features / "new.h5", "--index", copy)
    assert encoded == ["x2", "x3", "x4"]


def test_what_a_manifest_names_is_on_the_disk_before_the_manifest(
    world: Path, features: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, seen, fsync, rename = set(), [], os.fsync, Path.replace

    def noted(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def watched(self: Path, target: Path) -> Path:
        if target.name == "manifest.json":
            root, content = target.parent, json.loads(self.read_text())
            folders = {root / "segments" / entry["id"]: entry["files"] for entry in content["segments"]}
            folders[next(root.glob("model-*"))] = content["model_files"]
            if content["bank"]:
                folders[root] = {content["bank"]["file"]: None}
            named = [
                self,
                root / "segments",
                *folders,
                *(folder / name for folder, files in folders.items() for name in files),
            ]
            assert [path for path in named if path.stat().st_ino not in synced] == []
            seen.append(len(named))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", watched)
    root = tmp_path / "new.mmn"
    bank = ["--bank", world / "train.json"]
    command.ok(
        "build", world / "run" / "model", world / "features.h5", "-o", root, "--vectors", "IVF4,SQ8", *bank
    )
    command.ok("add", features / "more.h5", "--index", root)
    command.ok("compact", "--index", root)
    assert seen == [17, 24, 16]  # windows.parquet among them
    assert root.stat().st_ino in synced


def test_an_error_after_the_manifest_was_renamed(
    world: Path, copy: Path, features: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = manifest_module.sync_folder

    def broken(path: Path) -> None:
        sync(path)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(manifest_module, "sync_folder", broken)
    before = MomentIndex(copy).version
    command.fails("add", features / "new.h5", "--index", copy, says="Input/output error")
    index = MomentIndex(copy)
    assert (index.version, "x0" in index.video_ids) == (before + 1, True)
    assert verify(copy) == []


class Finished(Command):
    """A command that has run."""

    def __init__(self, result: Result) -> None:
        self.result = result

    def run(self, *_: object) -> Result:
        return self.result


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which stage of writing was the last to begin."""
    stages = [""]

    def watched(owner: object, name: str, stage: str) -> None:
        function = getattr(owner, name)

        def begun(*arguments: Any, **named: Any) -> Any:
            stages[0] = stage
            return function(*arguments, **named)

        monkeypatch.setattr(owner, name, begun)

    watched(SegmentWriter, "__init__", "embeddings")
    watched(SegmentWriter, "keep", "progress")
    watched(SegmentWriter, "_write_videos", "videos")
    watched(SegmentWriter, "_write_moments", "moments")
    watched(segment_module, "write_vectors", "vectors")
    watched(build, "write_bank", "bank")
    watched(writer_module, "_copy_model", "model")
    watched(Manifest, "write", "manifest")
    return stages


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk of its own, which `leave` makes full; at a short path, since messages name files on it."""
    with tempfile.TemporaryDirectory() as place:
        yield from _mounted(Path(place))


def _mounted(place: Path) -> Iterator[Path]:
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` to make a small disk with")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def leave(disk: Path, pages: int) -> None:
    """Make a disk so small that some pages of 4 KB are free."""
    gc.collect()  # a file that is mapped still has its pages
    about = os.statvfs(disk)
    size = (about.f_blocks - about.f_bfree + pages) * about.f_bsize
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


@pytest.mark.parametrize("what", ["build", "overwrite", "add"])
def test_a_disk_that_is_full_at_any_stage(
    world: Path,
    base: Path,
    features: Path,
    disk: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    what: str,
) -> None:
    """One more page is free every time, until there are enough."""
    root, old = disk / "collection.mmn", what != "build"
    if old:
        shutil.copytree(base, root)
    model, vectors = world / "run" / "model", ["--vectors", "IVF4,SQ8"]
    sentences = tmp_path / "bank.txt"  # of several pages
    sentences.write_text("\n".join(" ".join(words) for words in itertools.product(WORDS[2:9], repeat=3)))
    bank = ["--bank", sentences]
    arguments: list[object] = {
        "build": ["build", model, world / "features.h5", "-o", root, *vectors, *bank],
        "overwrite": ["build", model, world / "features.h5", "-o", root, "--overwrite", *vectors, *bank],
        "add": ["add", features / "new.h5", "--index", root, *vectors],
    }[what]
    monkeypatch.setattr(candidates, "_QUERIES", 8)
    before, said, stages, failed = files_of(root), answers(root) if old else [], watch(monkeypatch), []
    for pages in itertools.count(1):
        leave(disk, pages)
        result = command.run(*arguments)
        if result.exit_code == 0:
            break
        Finished(result).fails(says=f"{root}: the index cannot be written (")
        assert len(result.stderr.splitlines()[-1]) < 400
        failed.append(stages[0])
        assert files_of(root) == before
        assert root.exists() == old
        if old:
            assert answers(root) == said
    monkeypatch.undo()
    everything = {"progress", "videos", "moments", "vectors", "manifest"}
    everything |= {"build": {"bank", "model"}, "overwrite": {"bank"}, "add": set()}[what]
    assert set(failed) - {"embeddings"} == everything  # a page may be room enough for few videos
    assert verify(root) == []
    assert answers(root) != said


def test_room_for_all_embeddings_is_claimed_at_once(disk: Path) -> None:
    """A mapped file that finds the disk full later ends the process."""
    leave(disk, 3)
    with pytest.raises(OSError, match="No space left on device"):
        SegmentWriter(disk / "segment", ProposalGrid(16, (7,)), 8, planned(100))


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a quota: writing beyond is an error. Python has switched off the signal that would come as well."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "stage"), [(100, "bank"), (4000, "embeddings"), (5000, "model"), (36_000, "model")]
)
def test_a_quota(
    world: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, size: int, stage: str
) -> None:
    """Where no disk can be mounted, this is left of the test above."""
    stages = watch(monkeypatch)
    with files_of_at_most(size):
        command.fails(
            "build",
            world / "run" / "model",
            world / "features.h5",
            "-o",
            tmp_path / "new.mmn",
            says="File too large",
        )
    assert stages == [stage]
    assert not (tmp_path / "new.mmn").exists()


@pytest.mark.parametrize("size", [100, 3000])
def test_a_quota_for_more_videos(copy: Path, features: Path, command: Command, size: int) -> None:
    before = files_of(copy)
    with files_of_at_most(size):
        command.fails("add", features / "new.h5", "--index", copy, says="File too large")
    assert files_of(copy) == before
    assert answers(copy)


def flipped(content: bytes, random: np.random.Generator) -> Iterator[bytes]:
    """A bit changed in some bytes: at the beginning, at the end, and at random."""
    for offset in [
        0,
        len(content) - 1,
        *random.integers(min(128, len(content)), size=6),
        *random.integers(len(content), size=16),
    ]:
        changed = bytearray(content)
        changed[offset] ^= 1 << random.integers(8)
        yield bytes(changed)


@pytest.mark.filterwarnings("ignore")  # numpy wonders about a damaged header
def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(copy: Path, command: Command) -> None:
    random, seen = np.random.default_rng(0), []
    for path, content in files_of(copy).items():
        seen.append(path.name)
        for damaged in flipped(content, random):
            path.write_bytes(damaged)
            with contextlib.suppress(ValueError):
                if path.name == "manifest.json" and json.loads(damaged) == json.loads(content):
                    continue  # nothing else is said: the last of 17 digits
            command.fails(
                "verify",
                "--index",
                copy,
                says=f"{path}: {'' if path.name == 'manifest.json' else 'was changed'}",
            )
            with contextlib.suppress(MomentIndexError):
                MomentIndex(copy)
        path.write_bytes(content)
    six = [
        "background.npy",
        "embeddings.npy",
        "hubs.npy",
        "moments.parquet",
        "videos.parquet",
        "windows.parquet",
    ]
    bank = MomentIndex(copy).manifest.bank
    assert bank is not None
    model = ["config.json", "model.safetensors", "sentences.txt", "tokenizer.json"]
    assert sorted(seen) == sorted(["manifest.json", bank.file, *model, *six, *six, "vectors.faiss"])
    command.ok("verify", "--index", copy)


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "is missing"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1), "has .* bytes, expected"),
    "overwritten": (lambda path: path.write_bytes(b"x" * path.stat().st_size), "cannot be read"),
}


@pytest.mark.parametrize(
    "name",
    ["moments.parquet", "videos.parquet", "embeddings.npy", "background.npy", "hubs.npy", "vectors.faiss"],
)
@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_file_of_a_segment_with_a_candidate_index_is_named(
    copy: Path, name: str, harm: str
) -> None:
    path, (do, says) = next((copy / "segments").glob("*/vectors.faiss")).with_name(name), HARM[harm]
    do(path)
    if (name, harm) == ("vectors.faiss", "overwritten"):
        MomentIndex(copy)  # reads no codes
        with pytest.raises(MomentIndexError, match=f"{path.parent.name}/{name}: {says}"):
            answers(copy)
    else:
        with pytest.raises(MomentIndexError, match=f"{path.parent.name}/{name}: {says}"):
            MomentIndex(copy)
    assert [text.partition(": ")[0] for text in verify(copy)] == [str(path)]


def test_a_candidate_index_of_other_vectors_is_named(copy: Path) -> None:
    path = next((copy / "segments").glob("*/vectors.faiss"))
    size = path.stat().st_size
    write_vectors(path, np.ones((5, 6), dtype=np.float16), "IVF1,SQ8")
    os.truncate(path, size)  # what is behind it is not read
    with pytest.raises(
        MomentIndexError, match=r"vectors\.faiss: holds 5 vectors of width 6, expected 174 of 14"
    ):
        answers(copy)


def test_codes_are_read_at_the_first_search_and_never_for_anything_else(
    copy: Path, features: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, read = answers(copy), []
    before = MomentIndex(copy)  # its files will be removed
    read_file = Vectors._read_file
    monkeypatch.setattr(
        Vectors, "_read_file", lambda self: read.append(threading.get_ident()) or read_file(self)
    )
    command.ok("info", "--index", copy)
    command.ok("add", features / "new.h5", "--index", copy)
    command.ok("remove", "x1", "--index", copy)
    assert read == []
    command.ok("compact", "--index", copy, "--vectors", "exact")
    assert not any(segment.folder.exists() for segment in before.segments)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: answers_of(before), range(16)))
    assert found == [said] * 16
    assert len(read) == 1


def test_compacting_does_not_hide_damage(copy: Path, command: Command) -> None:
    """Copied, a damaged embedding would get a checksum that fits."""
    path = next((copy / "segments").glob("*/vectors.faiss")).with_name("embeddings.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    before = files_of(copy)
    command.fails("compact", "--index", copy, says=f"{path}: was changed")
    assert files_of(copy) == before
    content[-1] ^= 1
    path.write_bytes(content)
    path = path.with_name("vectors.faiss")  # is made anew
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    command.fails("verify", "--index", copy, says="vectors.faiss")
    command.ok("compact", "--index", copy)
    command.ok("verify", "--index", copy)


def test_building_again_mends_a_damaged_model(world: Path, copy: Path, command: Command) -> None:
    path = next(copy.glob("model-*")) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    command.fails("verify", "--index", copy, says="model.safetensors")
    command.ok("build", world / "run" / "model", world / "features.h5", "-o", copy, "--overwrite")
    assert path.read_bytes() == (world / "run" / "model" / "model.safetensors").read_bytes()
    command.ok("verify", "--index", copy)
