"""Search without training: vectors of proposals against loops, and videos to an index in one command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.index_build import ingest
from test_extract import make_video
from tiny_dual_encoders import save

from mmn_index import zero_shot
from mmn_index.contrast import contrast_vectors
from mmn_index.errors import CheckpointError, ConfigError
from mmn_index.feature_writer import FeatureWriter
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.models import load_model, model_info
from mmn_index.search import SearchOptions, search
from mmn_index.windows import Window, WindowOf, WindowRule
from mmn_index.zero_shot import ZeroShot, ZeroShotConfig


def unit(x: np.ndarray) -> np.ndarray:
    return x / max(float(np.linalg.norm(x)), 1e-12)


def mean_of(snippets: np.ndarray, stretches: list[tuple[float, float]]) -> np.ndarray:
    """The mean over some stretches, each snippet by how much of it lies in them."""
    total, weight = np.zeros(snippets.shape[1]), 0.0
    for begin, end in stretches:
        for n, snippet in enumerate(snippets):
            part = max(0.0, min(end, n + 1) - max(begin, n))
            total, weight = total + part * unit(snippet), weight + part
    return total / weight if weight > 1e-9 else total


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 12),
    start=st.floats(0, 1),
    length=st.floats(0.02, 1),
    weight=st.floats(0, 1),
)
def test_a_vector_is_what_is_inside_less_what_is_around(
    seed: int, count: int, start: float, length: float, weight: float
) -> None:
    snippets = np.random.default_rng(seed).normal(size=(count, 4))
    begin = start * count * (1 - length)
    end = begin + length * count
    found = contrast_vectors(torch.from_numpy(snippets), torch.tensor([[begin, end]]), 0, count, weight)[
        0
    ].numpy()
    around = (end - begin) / 2
    inside = mean_of(snippets, [(begin, end)])
    sides = [(max(begin - around, 0), begin), (end, min(end + around, count))]
    alone = sum(b - a for a, b in sides) <= 1e-6 * (end - begin)
    context = inside if alone else mean_of(snippets, sides)
    if alone or sum(b - a for a, b in sides) > 1e-3:  # of a sliver of context only roundings are left
        share = min(1.0, end - begin)  # of a snippet
        assert found == pytest.approx(share * (unit(inside) - weight * unit(context)), abs=2e-5)
    assert np.linalg.norm(found) <= 1 + weight + 1e-6


class Words:
    """A text side that knows three words, each a direction."""

    dim, tau, features, device = 4, 0.05, None, torch.device("cpu")

    def embed(self, sentences: list[str]) -> torch.Tensor:
        return torch.eye(4)[[("dog", "cat", "sea").index(sentence) for sentence in sentences]]


@pytest.mark.parametrize("rule", [WindowRule(None), WindowRule(8.0)])
def test_windows_do_not_change_a_vector(tmp_path: Path, rule: WindowRule) -> None:
    """A proposal's context reaches beyond its window."""
    snippets = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=2.0) as writer:
        writer.add("v", snippets, duration=40.0, source="/v")
    model = ZeroShot(Words(), ZeroShotConfig(num_clips=8, pooling_counts=(3,)))  # type: ignore[arg-type]
    x = torch.from_numpy(snippets)
    with FeatureFile(tmp_path / "f.h5") as features:
        for window in rule.of(40.0):
            found = model.prepare(features, WindowOf("v", 40.0, window))
            spans = (model.grid.seconds(window.length).double() + window.start) * 2
            assert torch.allclose(found, contrast_vectors(x, spans, 0, 80, 0.5), atol=1e-6)


def test_the_moment_that_is_unlike_its_surroundings_is_found(tmp_path: Path) -> None:
    """A dog for five seconds in half an hour of sea; the cats are elsewhere."""
    rng = np.random.default_rng(1)
    frames = np.tile(np.eye(4, dtype=np.float32)[2], (3600, 1)) + 0.05 * rng.normal(size=(3600, 4))
    frames[2000:2010] = np.eye(4)[0] + 0.05 * rng.normal(size=(10, 4))
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=2.0) as writer:
        writer.add("long", frames.astype(np.float32), duration=1800.0, source="/long")
    model = ZeroShot(Words(), ZeroShotConfig())  # type: ignore[arg-type]
    best: tuple[float, float, float] = (-9, 0, 0)
    with FeatureFile(tmp_path / "f.h5") as features:
        for window in WindowRule(64.0).of(1800.0):
            vectors = model.prepare(features, WindowOf("long", 1800.0, window))
            scores = vectors @ model.embed_sentences(["dog"]).contrastive[0]
            top = int(scores.argmax())
            start, end = (model.grid.seconds(window.length)[top] + window.start).tolist()
            best = max(best, (float(scores[top]), start, end))
    assert best[1] == pytest.approx(1000, abs=1)
    assert best[2] == pytest.approx(1005, abs=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("clip", tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(("a.mp4", "b.mkv", "inner/c.mp4")):
        make_video(folder / name, seed, seconds=2 + seed)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


def hits(command: Command, root: Path) -> list[dict[str, object]]:
    found = command.ok("search", "a person opens the door", "--index", root, "--json", "-k", 20).stdout
    return [json.loads(line) for line in found.splitlines()]


def test_videos_to_an_answer_in_one_command(
    clip: Path, films: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    result = command.run("build", films, "--model", clip, "-o", root)
    assert result.exit_code == 3, result.output  # a broken file was left out
    assert "3 videos, 0.1 minutes" in result.output
    assert "broken.mp4" in result.output
    found = hits(command, root)
    assert {hit["video"] for hit in found} == {"a", "b", "inner/c"}
    assert all(hit["exact"] and hit["score_name"] == "contrastive" for hit in found)
    assert (tmp_path / "c.features.h5").is_file()
    command.ok("verify", "--index", root, "--features", tmp_path / "c.features.h5")
    assert "1 x 8" in command.ok("info", "--index", root).stdout
    # From the features alone the same, in either form of the command.
    (tmp_path / "model").mkdir()
    zero_shot.make(str(clip), tmp_path / "model", ZeroShotConfig())
    for arguments in (
        ["build", tmp_path / "c.features.h5", "--model", clip],
        ["build", tmp_path / "model", tmp_path / "c.features.h5"],
    ):
        command.ok(*arguments, "-o", tmp_path / "again.mmn", "--overwrite")
        assert hits(command, tmp_path / "again.mmn") == found
    command.fails("build", films, "--model", clip, "-o", root, says="--overwrite")


def test_the_same_score_as_the_model_and_the_formula(
    clip: Path, films: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    command.run("build", films, "--model", clip, "-o", root, "--template", "a video of {}", "--context", 0.25)
    index, model = MomentIndex(root), load_model(MomentIndex(root).model_path)
    assert isinstance(model, ZeroShot)
    assert (model.config.template, model.config.context) == ("a video of {}", 0.25)
    assert index.manifest.longest == 1.25
    query = model.embed_sentences(["door"]).contrastive[0]
    hit = search(index, model, ["door"], options=SearchOptions(k=1))[0].hits[0]
    with FeatureFile(tmp_path / "c.features.h5") as features:
        x = torch.from_numpy(features.read(hit.video_id))
        scale = len(x) / index.video(hit.video).duration
        vector = contrast_vectors(x, torch.tensor([[hit.start, hit.end]]) * scale, 0, len(x), 0.25)[0]
    assert hit.score == pytest.approx(float(vector @ query), abs=2e-3)


def test_a_killed_build_is_taken_up(
    clip: Path, films: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmn_index.index_build import embed

    whole, root = tmp_path / "whole.mmn", tmp_path / "c.mmn"
    command.run("build", films, "--model", clip, "-o", whole)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embed, "encode", dies)
        assert command.run("build", films, "--model", clip, "-o", root).exit_code != 0
    assert (tmp_path / "c.features.h5").is_file()
    done = command.run("build", films, "--model", clip, "-o", root)
    assert done.exit_code == 3
    assert hits(command, root) == hits(command, whole)


def test_more_videos_are_added_with_the_same_model(
    clip: Path, films: Path, world: Path, tmp_path: Path, command: Command
) -> None:
    root = tmp_path / "c.mmn"
    command.ok("build", films / "a.mp4", "--model", clip, "-o", root)
    command.ok("extract", films / "b.mkv", "--backbone", clip, "-o", tmp_path / "more.h5")
    command.ok("add", tmp_path / "more.h5", "--index", root)
    command.ok("compact", "--index", root)
    assert {hit["video"] for hit in hits(command, root)} == {"a", "b"}
    trained = world / "run" / "model"
    command.fails(
        "search", "a", "--index", root, "--model", trained, says="searches with its text side alone"
    )
    text = "sentence-transformers/all-MiniLM-L6-v2"  # as an encoder is named in training
    command.fails(
        "search", "a", "--index", root, "--model", text, says="no such folder, expected a checkpoint"
    )
    command.ok("extract", films / "b.mkv", "-o", tmp_path / "pixels.h5")
    command.fails("add", tmp_path / "pixels.h5", "--index", root, says="holds features of backbone 'pixels'")


def test_another_model_of_the_same_place_is_refused(films: Path, tmp_path: Path, command: Command) -> None:
    model, root = save("clip", tmp_path / "clip"), tmp_path / "c.mmn"
    command.ok("build", films / "a.mp4", "--model", model, "-o", root)
    shutil.rmtree(model)
    command.fails("search", "a person", "--index", root, says="is not found; looked in")
    save("clip", tmp_path / "clip", seed=5)
    command.fails("search", "a person", "--index", root, says="another model, or other weights")


DAMAGE: dict[str, Callable[[dict[str, object]], object]] = {
    "context": lambda about: about.update(context=0.75),
    "a negative context": lambda about: about.update(context=-1),
    "no encoder": lambda about: about.pop("encoder"),
    "dim": lambda about: about.update(dim="wide"),
    "counts": lambda about: about.update(pooling_counts=[99]),
    "format": lambda about: about.update(format=9),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_model_file_is_one_line(clip: Path, tmp_path: Path, what: str) -> None:
    zero_shot.make(str(clip), tmp_path / "model", ZeroShotConfig())
    assert model_info(tmp_path / "model").windows == WindowRule(64.0)
    file = tmp_path / "model" / zero_shot.FILE
    about = json.loads(file.read_text())
    DAMAGE[what](about)
    file.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"zero_shot\.json: (is damaged|has format 9)"):
        load_model(tmp_path / "model")


def test_what_build_does_not_take(
    clip: Path, films: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "c.mmn"
    command.fails("build", tmp_path, "--model", clip, "-o", root, says="no video found")
    command.fails(
        "build", films / "broken.mp4", "--model", clip, "-o", root, says="is no video that FFmpeg can read ("
    )
    told = command.fails(
        "build", films, "--model", tmp_path / "none", "-o", root, says="does not exist"
    ).stderr
    assert "`mmn-index train` makes" in told
    assert "without training, by its folder or hub id, such as laion/" in told
    command.fails("build", films, "--model", films, "-o", root, says="no complete checkpoint")
    command.fails("build", films, "--model", clip, "-o", root, "--score", "iou", says="Leave out --score")
    command.fails("build", films, "--model", clip, "-o", root, "--template", "a video", says="exactly one")
    text = "sentence-transformers/all-MiniLM-L6-v2"
    command.fails("build", films, "--model", text, "-o", root, says="embeds texts only. Give a feature file")
    monkeypatch.setattr(ingest.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    command.fails("build", films, "--model", clip, "-o", root, says="; 0.0 kB are free. Choose another place")
    assert not root.exists()
    with pytest.raises(ConfigError, match="expected a number from 0 to 1"):
        ZeroShotConfig(context=2)


def test_window_is_kept_by_rows(clip: Path, tmp_path: Path, command: Command) -> None:
    make_video(tmp_path / "v" / "long.mp4", 0, seconds=20)
    command.ok("build", tmp_path / "v", "--model", clip, "-o", tmp_path / "c.mmn", "--window", 8)
    windows = MomentIndex(tmp_path / "c.mmn").rows.windows_of(0)
    assert windows == [Window(0, 8), Window(4, 8), Window(8, 8), Window(12, 8), Window(0, 20)]


def test_two_models_in_folders_of_one_name_are_told_apart(
    films: Path, tmp_path: Path, command: Command
) -> None:
    one, other = save("clip", tmp_path / "x" / "clip"), save("clip", tmp_path / "y" / "clip", seed=5)
    root = tmp_path / "c.mmn"
    command.ok("build", films / "a.mp4", "--model", one, "-o", root)
    again = ["build", films / "a.mp4", "--model", other, "-o", root, "--overwrite"]
    command.fails(*again, says="c.features.h5, or keep these with --features-out")
    command.fails(
        "build", tmp_path / "c.features.h5", "--model", other, "-o", root, "--overwrite", says="weights"
    )
    shutil.copy(films / "b.mkv", tmp_path / "b.mkv")
    sync = ["sync", films / "a.mp4", tmp_path / "b.mkv", "--index", root, "--backbone"]
    command.fails(*sync, other, says="Features of two kinds do not mix")
    # The same weights under another name are the same.
    shutil.copytree(one, tmp_path / "renamed")
    command.ok(*sync, tmp_path / "renamed")
    assert {hit["video"] for hit in hits(command, root)} == {"a", "b"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--score", "product"], "has no IoU head"),
        (["--hub", 0.3], "Name some with --bank"),
        (["--hub-kind", "x"], "no hub correction is called 'x'"),
        (["--vectors", "foo"], "foo"),
        (["--self-contained"], "never copies"),
        (["--backbone", "pixels"], "takes features of"),
        (["--metadata", "none.csv"], "none.csv: cannot be read"),
        (["--videos", "none.json"], "none.json: no such annotation file"),
        (["--features-out", "f.h5", "-o", "/proc/c.mmn"], "/proc/c.mmn: cannot be written"),
        (["--features-out", "f.h5", "-o", Path(__file__)], "exists and is no index"),
        (["--features-out", "f.h5", "-o", Path(__file__).parent], "exists and is no index"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(
    clip: Path,
    films: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[object],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    command.fails("build", films, "--model", clip, "-o", tmp_path / "c.mmn", *arguments, says=says)
    assert list(tmp_path.iterdir()) == []


def test_the_current_folder_can_be_the_index(
    clip: Path, films: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    command.ok("build", films / "a.mp4", "--model", clip, "-o", ".")
    assert (tmp_path / "here.features.h5").is_file()
    assert "2 videos" in command.ok("sync", films / "a.mp4", films / "b.mkv", "--index", ".").stderr
    assert not (tmp_path / "here.sync.h5").exists()
    (tmp_path / "here.left-out.txt").mkdir()  # which is none of ours
    command.ok("export", "door", "-k", 1, "--index", ".", "--clips", ".")


def test_what_was_left_out_is_not_in_the_index(
    clip: Path, films: Path, tmp_path: Path, command: Command
) -> None:
    """The feature file may have an earlier video of its name."""
    for folder in "xy":
        (tmp_path / folder).mkdir()
        shutil.copy(films / "a.mp4", tmp_path / folder / "same.mp4")
    shutil.copy(films / "b.mkv", tmp_path / "y" / "other.mkv")
    rest = ["--model", clip, "-o", tmp_path / "c.mmn"]
    command.ok("build", tmp_path / "x", *rest)
    assert command.run("build", tmp_path / "y", *rest, "--overwrite").exit_code == 3
    assert {hit["video"] for hit in hits(command, tmp_path / "c.mmn")} == {"other"}
    (tmp_path / "y" / "other.mkv").write_bytes(b"broken now")
    command.fails("build", tmp_path / "y", *rest, "--overwrite", says="No video gave features")
    (tmp_path / "names.json").write_text(
        json.dumps({"z": {"duration": 2, "timestamps": [[0, 1]], "sentences": ["a"]}})
    )
    only = ["--overwrite", "--videos", tmp_path / "names.json"]
    command.fails("build", tmp_path / "x", *rest, *only, says="names none of the 1 videos that were given")
    command.ok("build", tmp_path / "x", *rest, "--overwrite")
    assert {hit["video"] for hit in hits(command, tmp_path / "c.mmn")} == {"same"}


def test_which_argument_is_what(clip: Path, films: Path, tmp_path: Path, command: Command) -> None:
    root = tmp_path / "c.mmn"
    command.ok("build", clip, films / "a.mp4", "-o", root)  # a model may come first
    assert {hit["video"] for hit in hits(command, root)} == {"a"}
    features = tmp_path / "c.features.h5"
    out = ["-o", tmp_path / "d.mmn"]
    command.fails("build", films, features, "--model", clip, *out, says="or videos, and not both")
    command.fails("build", features, tmp_path / "e.h5", "--model", clip, *out, says="not both")
    command.fails("build", tmp_path / "none", "--model", clip, *out, says="no such file or folder")
    command.fails("build", films, clip, "--model", clip, *out, says="is a model, expected videos")
    command.fails("eval", clip, "--features", features, "--annotations", films, says="of another library")


def test_a_snippet_comes_before_its_parts(clip: Path, tmp_path: Path, command: Command) -> None:
    """A video of fewer snippets than clips has moments that are parts of one."""
    make_video(tmp_path / "v" / "short.mp4", 3, seconds=1.5)
    root = tmp_path / "c.mmn"
    command.ok("build", tmp_path / "v", "--model", clip, "-o", root)
    index = MomentIndex(root)
    stored = index.vectors(index.rows_of(0)).float()
    spans = index.spans(index.rows_of(0))
    length = spans[:, 1] - spans[:, 0]
    assert len(stored) == 428
    assert (stored.norm(dim=1).numpy()[length < 0.25] < 0.8).all()
    assert (length < 0.25).any()
