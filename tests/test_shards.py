"""A build in parts equals the build at once, whatever is killed, missing or made from something else."""

import errno
import fcntl
import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, write_features
from mmn_index.index_build import candidates, embed
from mmn_index.index_build.shards import place_of, shards_of
from mmn_index.index_build.share import Share
from mmn_index.index_build.verify import verify
from test_extract import make_video
from test_faults import WORKERS, Killed, answers

from mmn_index import embedding
from mmn_index.errors import ConfigError, MomentIndexError
from mmn_index.features import FeatureFile
from mmn_index.index import IndexWriter, MomentIndex
from mmn_index.index.codes import Codebook, Joined, Moments, write_vectors
from mmn_index.index.manifest import read_manifest


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that batches end inside of videos and of shards."""
    monkeypatch.setattr(embedding, "_BATCH", 4)
    monkeypatch.setattr(embed, "_KEPT", 1)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven videos."""
    path = tmp_path_factory.mktemp("features") / "features.h5"
    write_features(path, 11)
    return path


def bits(root: Path) -> tuple[list[str], bytes, bytes, bytes]:
    """Videos, embeddings, hubs and times of an index, in the order of its rows."""
    index = MomentIndex(root)
    rows = np.arange(index.num_moments)
    parts = index.vectors(rows).numpy(), index.hubs(rows).numpy(), index.spans(rows)
    return (index.video_ids, *(part.tobytes() for part in parts))


def in_parts(command: Command, root: Path, of: int, *arguments: object) -> None:
    """Build all shards, not in their order."""
    for number in sorted(range(1, of + 1), key=lambda number: number % 2):
        command.ok("build", *arguments, "-o", root, "--shard", f"{number}/{of}")


@pytest.mark.parametrize("of", [1, 2, 3, 5, 16])
def test_shards_equal_the_build_at_once(
    lively: Path, features: Path, command: Command, tmp_path: Path, of: int
) -> None:
    """Videos of several windows, batches across the edges of shards, more shards than videos."""
    (tmp_path / "m.csv").write_text("video_id,camera\nv0,porch\nv9,yard\n")
    model = [lively / "model", features, "--window", "9", "--metadata", tmp_path / "m.csv"]
    command.ok("build", *model, "-o", tmp_path / "whole.mmn")
    in_parts(command, tmp_path / "parts.mmn", of, *model)
    assert not (tmp_path / "parts.mmn").exists()
    told = command.ok("publish", tmp_path / "parts.mmn").stderr
    assert f"{min(of, 11)} segments" in told
    assert bits(tmp_path / "parts.mmn") == bits(tmp_path / "whole.mmn")
    assert answers(tmp_path / "parts.mmn") == answers(tmp_path / "whole.mmn")
    whole, parts = MomentIndex(tmp_path / "whole.mmn"), MomentIndex(tmp_path / "parts.mmn")
    columns = [name for name in whole.videos.column_names if name != "first_moment"]
    assert parts.videos.select(columns).to_pylist() == whole.videos.select(columns).to_pylist()
    same = replace(parts.manifest, segments=(), model_files={}) == replace(
        whole.manifest, segments=(), model_files={}
    )
    assert same
    assert parts.manifest.model_files == whole.manifest.model_files
    assert verify(tmp_path / "parts.mmn") == []
    assert not shards_of(tmp_path / "parts.mmn").exists()


def test_batches_are_those_of_the_build_at_once(
    lively: Path, features: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bits of an embedding may depend on what is embedded with it, though seldom do."""
    encode, batches = embed.encode, list[list[str]]()

    def noted(model: Any, file: Any, windows: Any) -> Iterator[list[np.ndarray]]:
        named = [f"{window.video_id} {window.window}" for window in windows]
        batches.extend(named[first : first + 4] for first in range(0, len(named), 4))
        return encode(model, file, windows)

    monkeypatch.setattr(embed, "encode", noted)
    arguments = ["build", lively / "model", features, "--window", "9"]
    command.ok(*arguments, "-o", tmp_path / "whole.mmn")
    whole, batches = batches, []
    for number in range(1, 4):
        command.ok(*arguments, "-o", tmp_path / "c.mmn", "--shard", f"{number}/3")
    assert len(whole) > 8
    assert list(map(list, dict.fromkeys(map(tuple, batches)))) == whole
    assert 0 < len(batches) - len(whole) <= 2  # two edges


def test_segments_that_were_trained_otherwise_are_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmn_index.index.codes._BLOCK", 64)
    random = np.random.default_rng(0)
    embeddings = [random.normal(size=(300, 8)).astype(np.float16) for _ in range(3)]
    paths = [tmp_path / f"{number}.faiss" for number in range(3)]
    shared = Codebook.train("IVF4,SQ8", [Moments(part) for part in embeddings[:2]])
    for path, part in zip(paths, embeddings, strict=True):
        own = None if part is embeddings[2] else shared
        digest = write_vectors(path, part, "IVF4,SQ8", None, own)
        assert (digest == shared.digest) == (own is shared)
        assert Codebook.of(path).digest == digest
    with pytest.raises(MomentIndexError, match=r"2\.faiss: was trained otherwise than .*0\.faiss"):
        Joined(paths)
    whole = Moments(np.concatenate(embeddings[:2]))
    Joined(paths[:2]).fill(tmp_path / "joined.faiss", whole)
    shared.fill(tmp_path / "filled.faiss", whole)
    assert (tmp_path / "joined.faiss").read_bytes() == (tmp_path / "filled.faiss").read_bytes()
    with pytest.raises(MomentIndexError, match="hold 600 codes, expected 300"):
        Joined(paths[:2]).fill(tmp_path / "joined.faiss", Moments(embeddings[0]))
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    with pytest.raises(MomentIndexError, match=r"1\.faiss: cannot be read as a FAISS index"):
        Joined(paths[:2])


@pytest.mark.parametrize(
    ("weights", "of"), [([1] * 10, 3), ([1] * 2, 5), ([], 2), ([9, 1, 1, 1], 2), ([1, 1, 1, 9], 3)]
)
def test_shares_have_everything_once(weights: list[int], of: int) -> None:
    numbers = list(range(len(weights)))
    parts = [numbers[Share(number, of).part(weights)] for number in range(1, of + 1)]
    assert list(itertools.chain(*parts)) == numbers
    if weights == [9, 1, 1, 1]:
        assert parts == [[0], [1, 2, 3]]
    stepped = [numbers[Share(number, of).part(weights, 4)] for number in range(1, of + 1)]
    assert list(itertools.chain(*stepped)) == numbers


def test_shares_begin_between_batches_where_they_can() -> None:
    found = [Share(number, 2).part([1] * 500, 64) for number in (1, 2)]
    assert found == [slice(0, 256), slice(256, 500)]
    assert [Share(number, 3).part([1] * 130, 64) for number in (1, 2, 3)] == [
        slice(0, 43),
        slice(43, 87),
        slice(87, 130),
    ]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/100000"])
def test_a_share_that_there_cannot_be(command: Command, features: Path, lively: Path, text: str) -> None:
    result = command.run("build", lively / "model", features, f"--shard={text}")
    assert result.exit_code == 2
    assert "expected I/N with I from 1 to N" in result.stderr
    with pytest.raises(ConfigError):
        Share(3, 2)
    names = ["1-of-2", "99999-of-99999", "0-of-2", "3-of-2", "01-of-2", "1-of-100000", "1-of-2x"]
    assert [share and share.name for share in map(Share.named, names)] == [*names[:2], *[None] * 5]


def test_what_is_missing_is_named(lively: Path, features: Path, command: Command, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    command.fails("publish", root, says="holds no shards")
    arguments = ["build", lively / "model", features, "-o", root, "--shard"]
    command.ok(*arguments, "2/4")
    command.fails("publish", root, says="1 of 4 shards are complete, 1/4, 3/4, 4/4 are not there")
    (shards_of(root) / "3-of-4.mmn" / "segments").mkdir(parents=True)
    command.fails("publish", root, says="1/4, 4/4 are not there, 3/4 is not complete. Run the same")
    for number in (1, 3, 4):
        command.ok(*arguments, f"{number}/4")
    command.ok("publish", root)
    command.fails("publish", root, says="holds no shards")
    command.fails(*arguments, "1/4", says="there is an index already")
    assert "was complete already" not in command.ok(*arguments, "1/1", "--overwrite").stderr
    assert "was complete already" in command.ok(*arguments, "1/1", "--overwrite").stderr
    command.fails("publish", root, says="--overwrite replaces it")
    command.ok("publish", root, "--overwrite")
    assert read_manifest(root).version == 2
    assert len(MomentIndex(root).segments) == 1
    assert verify(root) == []


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (["--hub", "0.2"], "other score and bank"),
        (["--window", "7"], "other windows. Build"),
        (["--metadata", "m.csv"], "other metadata"),
        (["features"], "other features"),
        (["model"], "other model"),
    ],
)
def test_shards_that_do_not_belong_together(
    lively: Path, world: Path, features: Path, command: Command, tmp_path: Path, other: list[str], says: str
) -> None:
    (tmp_path / "m.csv").write_text("video_id,camera\nv0,porch\n")
    here = Path(shutil.copy2(features, tmp_path / "features.h5"))
    model, root = lively / "model", tmp_path / "c.mmn"
    bank = ["--bank", world / "train.json"]
    command.ok("build", model, here, "-o", root, "--shard", "1/2", *bank)
    if other == ["features"]:
        os.utime(here, (1, 1))
    elif other == ["model"]:
        model = world / "run" / "model"
    rest = [tmp_path / text if text.endswith("csv") else text for text in other if len(other) == 2]
    command.ok("build", model, here, "-o", root, "--shard", "2/2", *bank, *rest)
    error = command.fails("publish", root, says="shard 2/2 was not made from the same as shard 1/2")
    assert says in error.stderr
    command.ok("build", model, here, "-o", root, "--shard", "1/2", *bank, *rest)
    command.ok("publish", root)
    assert verify(root) == []


def test_other_counts_of_shards(lively: Path, features: Path, command: Command, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    for text in ("1/2", "2/3"):
        command.ok("build", lively / "model", features, "-o", root, "--shard", text)
    command.fails("publish", root, says="has shards of 2 (1/2) and of 3 (2/3), which do not belong together")


def test_a_shard_that_was_changed(lively: Path, features: Path, command: Command, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    in_parts(command, root, 2, lively / "model", features)
    command.ok("remove", "v0", "--index", place_of(root, Share(1, 2)))
    command.fails("publish", root, says="was changed by another command")
    command.ok("build", lively / "model", features, "-o", root, "--shard", "1/2")
    command.ok("publish", root)
    assert sorted(MomentIndex(root).video_ids) == sorted(f"v{number}" for number in range(11))


def test_what_differs_from_the_index_in_little_is_not_taken_for_it(
    lively: Path, features: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same embeddings with other columns, another score or another candidate index."""
    monkeypatch.setattr(candidates, "_QUERIES", 8)
    root = tmp_path / "c.mmn"
    (tmp_path / "m.csv").write_text("video_id,camera\nv0,porch\n")
    again = [lively / "model", features, "--overwrite"]
    in_parts(command, root, 2, *again)
    command.ok("publish", root)
    in_parts(command, root, 2, *again, "--metadata", tmp_path / "m.csv")
    command.fails("publish", root, says="there is an index already")
    command.ok("publish", root, "--overwrite")
    assert "camera" in MomentIndex(root).columns.names
    in_parts(command, root, 2, *again, "--score", "product")
    command.fails("publish", root, says="there is an index already")
    command.ok("publish", root, "--overwrite")
    assert MomentIndex(root).manifest.score.name == "product"
    in_parts(command, root, 2, *again, "--score", "product")
    command.ok("publish", root, "--overwrite", "--vectors", "IVF4,SQ8")
    assert {entry.candidates.factory for entry in read_manifest(root).segments if entry.candidates} == {
        "IVF4,SQ8"
    }
    assert verify(root) == []


@pytest.mark.parametrize("name", ["embeddings.npy", "videos.parquet", "config.json", "bank-*"])
def test_the_advice_for_a_damaged_shard_mends_it(
    lively: Path, world: Path, features: Path, command: Command, tmp_path: Path, name: str
) -> None:
    root, place = tmp_path / "c.mmn", place_of(tmp_path / "c.mmn", Share(1, 2))
    arguments = [lively / "model", features, "--bank", world / "train.json"]
    in_parts(command, root, 2, *arguments)
    (path,) = place.rglob(name)
    path.write_bytes(path.read_bytes()[:-1])
    again = ["build", *arguments, "-o", root, "--shard", "1/2"]
    for attempt in (["publish", root], again):
        told = command.fails(*attempt, says=f"{path.name}: is damaged or missing. Remove {place}, and run")
        assert "with --shard 1/2." in told.stderr
        path.unlink(missing_ok=True)
    shutil.rmtree(place)
    command.ok(*again)
    command.ok("publish", root)
    assert verify(root) == []


def test_shards_on_another_disk(lively: Path, features: Path, command: Command, tmp_path: Path) -> None:
    """Their folder may be a link: nothing of it is left, and the next build finds its place."""
    for _ in range(2):
        (tmp_path / "large").mkdir()
        (tmp_path / "c.mmn.shards").symlink_to(tmp_path / "large")
        again = [lively / "model", features, "--overwrite"]
        in_parts(command, tmp_path / "c.mmn", 2, *again)
        command.ok("publish", tmp_path / "c.mmn", "--overwrite")
        assert [path.name for path in tmp_path.iterdir()] == ["c.mmn"]


def test_a_place_is_no_url(
    lively: Path, features: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "s3://key:secret@bucket/c.mmn"
    for arguments in (
        ["build", lively / "model", features, "-o", url, "--shard", "1/2"],
        ["build", tmp_path, "--features-out", url],
        ["extract", tmp_path, "-o", url],
        ["publish", url],
        ["push", url, "qdrant://localhost/porch"],
    ):
        told = command.run(*arguments)
        assert told.exit_code == 2
        assert "this is a URL, and the command needs a path" in told.stderr
        assert "secret" not in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_who_comes_second_is_refused(lively: Path, features: Path, command: Command, tmp_path: Path) -> None:
    root = tmp_path / "c.mmn"
    in_parts(command, root, 2, lively / "model", features)
    handle = os.open(place_of(root, Share(2, 2)), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        arguments = ["build", lively / "model", features, "-o", root, "--shard", "2/2"]
        command.fails(*arguments, says="another process is writing to this index")
        command.fails("publish", root, says="shard 2/2 is still being written")
    finally:
        os.close(handle)
    command.ok("publish", root)


def test_directories_that_cannot_be_locked(
    lively: Path, features: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS locks what is open for writing; a directory never is."""
    flock = fcntl.flock

    def as_nfs(handle: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", as_nfs)
    root = tmp_path / "c.mmn"
    in_parts(command, root, 2, lively / "model", features)
    with IndexWriter(place_of(root, Share(2, 2))):
        arguments = ["build", lively / "model", features, "-o", root, "--shard", "2/2"]
        command.fails(*arguments, says="another process is writing to this index")
        command.fails("publish", root, says="shard 2/2 is still being written")
    command.ok("publish", root)
    with IndexWriter(root):
        command.fails("remove", "v0", "--index", root, says="another process is writing")
    command.ok("remove", "v0", "--index", root)
    assert verify(root) == []


def test_a_killed_shard_is_resumed(
    lively: Path, features: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it embeds again being no more than the batch at its edge."""
    encode, encoded = embed.encode, list[int]()

    def counted(model: Any, file: Any, windows: Any) -> Iterator[list[np.ndarray]]:
        encoded.append(len(windows))
        return encode(model, file, windows)

    def dies(*arguments: Any) -> Iterator[list[np.ndarray]]:
        yield from itertools.islice(counted(*arguments), 1)
        raise Killed

    root = tmp_path / "c.mmn"
    arguments = ["build", lively / "model", features, "-o", root, "--shard"]
    command.ok("build", lively / "model", features, "-o", tmp_path / "whole.mmn")
    command.ok(*arguments, "1/2")
    monkeypatch.setattr(embed, "encode", dies)
    with pytest.raises(Killed):
        command.run(*arguments, "2/2")
    monkeypatch.setattr(embed, "encode", counted)
    command.ok(*arguments, "2/2")
    assert encoded == [7, 3]  # windows 4 to 10 in batches of 4, of which the first was kept
    command.ok("publish", root)
    assert bits(root) == bits(tmp_path / "whole.mmn")


@pytest.mark.parametrize("vectors", ["exact", "IVF4,SQ8", "IVF2,PQ4x4fs"])
def test_one_candidate_index_for_all_shards(
    lively: Path,
    features: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vectors: str,
) -> None:
    monkeypatch.setattr(candidates, "_QUERIES", 8)
    root, whole = tmp_path / "c.mmn", tmp_path / "whole.mmn"
    command.ok("build", lively / "model", features, "-o", whole, "--vectors", vectors)
    in_parts(command, root, 3, lively / "model", features)
    command.ok("publish", root, "--vectors", vectors)
    abouts = {entry.candidates for entry in read_manifest(root).segments}
    (alone,) = {entry.candidates for entry in read_manifest(whole).segments}
    assert len(abouts) == 1
    (about,) = abouts
    if alone is None:
        assert about is None
        return
    assert about is not None
    assert (about.trained, about.factory) == (alone.trained, vectors)
    assert about.recall == 1.0
    assert verify(root) == []
    trained: list[object] = []
    monkeypatch.setattr(Codebook, "train", lambda *given: trained.append(given))
    command.ok("compact", "--index", root, "--vectors", vectors)
    assert trained == []
    merged = read_manifest(root).segments
    assert len(merged) == 1
    assert merged[0].candidates is not None
    assert merged[0].candidates.trained == alone.trained
    assert bits(root) == bits(whole)
    assert answers(root) == answers(whole)
    assert verify(root) == []
    command.ok("remove", "v3", "--index", root)
    command.ok("compact", "--index", root, "--vectors", vectors)
    assert trained == []
    assert verify(root) == []


def test_a_bad_video_of_one_share(pixel_model: Path, command: Command, tmp_path: Path) -> None:
    """Of video files: each share describes its own, and one that cannot be read is named and left out."""
    films = tmp_path / "films"
    films.mkdir()
    for seed in range(4):
        make_video(films / f"{seed}.mp4", seed, seconds=1 + 0.2 * seed)
    (films / "bad.mp4").write_bytes(b"no video")
    arguments = [films, "--model", pixel_model, "-y", "--workers", "1"]
    whole = command.run("build", *arguments, "-o", tmp_path / "whole.mmn")
    root = tmp_path / "c.mmn"
    codes = [
        command.run("build", *arguments, "-o", root, "--shard", f"{number}/5").exit_code
        for number in range(1, 6)
    ]
    assert (whole.exit_code, codes) == (3, [0, 0, 0, 0, 3])
    result = command.run("publish", root)
    assert result.exit_code == 3
    assert "bad.mp4" in (tmp_path / "c.mmn.left-out.txt").read_text()
    assert MomentIndex(root).video_ids == MomentIndex(tmp_path / "whole.mmn").video_ids
    assert np.allclose(
        np.frombuffer(bits(root)[1], np.float16),
        np.frombuffer(bits(tmp_path / "whole.mmn")[1], np.float16),
        atol=2e-3,
    )
    assert verify(root) == []


def test_shards_of_other_annotations(pixel_model: Path, command: Command, tmp_path: Path) -> None:
    films, root = tmp_path / "films", tmp_path / "c.mmn"
    films.mkdir()
    for seed in range(4):
        make_video(films / f"{seed}.mp4", seed, seconds=1)
    few = {str(seed): {"duration": 1.0, "timestamps": [[0.0, 1.0]], "sentences": ["a"]} for seed in (0, 3)}
    (tmp_path / "few.json").write_text(json.dumps(few))
    arguments = ["build", films, "--model", pixel_model, "-y", "--workers", "1", "-o", root]
    command.ok(*arguments, "--shard", "1/2")
    command.ok(*arguments, "--shard", "2/2", "--videos", tmp_path / "few.json")
    command.fails("publish", root, says="shard 2/2 was not made from the same as shard 1/2: other --videos")
    command.ok(*arguments, "--shard", "1/2", "--videos", tmp_path / "few.json")
    command.ok("publish", root)
    assert MomentIndex(root).video_ids == ["0", "3"]


def test_an_extraction_in_parts(command: Command, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for seed in range(3):
        make_video(films / f"{seed}.mp4", seed, seconds=1 + 0.2 * seed)
    command.ok("extract", films, "-o", tmp_path / "whole.h5")
    out = tmp_path / "features.h5"
    for number in range(1, 5):
        command.ok("extract", films, "-o", out, "--shard", f"{number}/4")
    names = sorted(path.name for path in tmp_path.glob("features*"))
    assert len(names) == 3
    assert not out.exists()
    told = command.ok("extract", films, "-o", out).stderr
    assert "0 videos extracted, 3 were there already" in told
    told = command.ok("extract", films, "-o", out, "--shard", "2/3").stderr
    assert "0 videos extracted, 1 was there already" in told
    assert sorted(path.name for path in tmp_path.glob("features*")) == ["features.h5"]
    with FeatureFile(out) as made, FeatureFile(tmp_path / "whole.h5") as whole:
        assert made.video_ids == whole.video_ids
        for name in whole.video_ids:
            assert np.array_equal(made.read(name), whole.read(name))
            assert made.about(name) == whole.about(name)


def test_a_killed_publication_goes_on(
    world: Path, lively: Path, features: Path, command: Command, memory: Path, tmp_path: Path
) -> None:
    """At 48 of its steps: the index is not there or complete, and the same command finishes it."""
    in_parts(command, tmp_path / "c.mmn", 2, lively / "model", features, "--bank", world / "train.json")
    plan = {
        "folder": str(memory),
        "kills": 48,
        "seed": 0,
        "commands": {
            "publish": {
                "base": None,
                "shards": str(shards_of(tmp_path / "c.mmn")),
                "arguments": ["publish", "{root}", "--vectors", "IVF4,SQ8"],
                "again": [["publish", "{root}", "--vectors", "IVF4,SQ8"], ["publish", "{root}"]],
            }
        },
    }
    (memory / "plan.json").write_text(json.dumps(plan))
    result = subprocess.run(
        [sys.executable, WORKERS / "worker_kills.py", memory / "plan.json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    kills = [json.loads(line) for line in result.stdout.splitlines()]
    assert [kill for kill in kills if kill["wrong"]] == []
    assert [kill["status"] for kill in kills] == [9] * 48
    states = Counter(kill["state"] for kill in kills)
    assert min(states["before"], states["after"]) > 3
    assert [kill for kill in kills if kill["state"] == "before" and kill["encoded"]] == []
