"""Training with mined negatives: what a group takes, what it leaves out, resumed and over several
processes.
"""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.train.alike import Alike, described
from mmn_index.train.batches import TrainingSet, draw_negatives
from mmn_index.train.config import TrainConfig
from mmn_index.train.distributed import World
from mmn_index.train.losses import Batch, LossConfig, mmn_losses
from mmn_index.train.mining import read_negatives
from mmn_index.train.objective import Objective
from runs import kill_at, one_thread, side_by_side
from safetensors.torch import load_file
from test_training import arguments, weights

from mmn_index import checkpoint
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.features import FeatureFile
from mmn_index.model import MMN


@settings(max_examples=100, deadline=None)
@given(
    pairs=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9))),
    videos=st.sets(st.integers(0, 9), min_size=1, max_size=3),
    others=st.sets(st.integers(0, 9), max_size=3),
    count=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_what_is_drawn(
    pairs: set[tuple[int, int]], videos: set[int], others: set[int], count: int, seed: int
) -> None:
    mined = torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)
    step = sorted(videos | others)
    drawn = draw_negatives(mined, sorted(videos), step, count, seed)
    possible = {b for a, b in pairs if a in videos and b not in step}
    assert set(drawn) <= possible
    assert len(drawn) == len(set(drawn)) == min(count, len(possible))
    assert drawn == draw_negatives(mined, sorted(videos), step, count, seed)


def test_another_seed_draws_others() -> None:
    mined = torch.tensor([(0, video) for video in range(1, 40)])
    assert len({tuple(draw_negatives(mined, [0], [0], 3, seed)) for seed in range(20)}) > 15


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), sentences=st.integers(1, 5), moments=st.integers(0, 6))
def test_what_an_alike_sentence_describes_against_loops(seed: int, sentences: int, moments: int) -> None:
    random = torch.Generator().manual_seed(seed)
    alike = torch.rand(sentences, moments, generator=random) < 0.5
    matches = torch.rand(moments, 4, generator=random) < 0.5
    video_of = torch.randint(0, 3, (moments,), generator=random)
    found = described(alike, video_of, matches, 3)
    for s in range(sentences):
        for v in range(3):
            for p in range(4):
                assert found[s, v, p] == any(
                    alike[s, t] and video_of[t] == v and matches[t, p] for t in range(moments)
                )


@pytest.fixture
def model(world: Path) -> MMN:
    return checkpoint.load(world / "run" / "model")


@pytest.fixture
def data(world: Path, model: MMN, tmp_path: Path) -> TrainingSet:
    with FeatureFile(world / "features.h5") as features:
        return TrainingSet(
            read_annotations(world / "train.json"), features, model, tmp_path / "pre_clips.bin"
        )


def test_added_videos_bring_proposals_but_no_sentences(data: TrainingSet) -> None:
    plain, group = (
        data.group([1, 3], 0, seed=5, epoch=1),
        data.group([1, 3], 0, seed=5, epoch=1, added=[4, 0]),
    )
    assert len(plain.pre_clips) == 2
    assert len(plain.added.video_of) == 0
    for name in ("ids", "mask", "meanings"):
        assert torch.equal(getattr(group, name), getattr(plain, name))
    for name in ("video_of", "moments", "targets"):
        assert torch.equal(getattr(group.batch, name), getattr(plain.batch, name))
    assert torch.equal(group.pre_clips, torch.stack([data.videos[video].pre_clips for video in (1, 3, 4, 0)]))
    assert group.added.video_of.tolist() == [2, 2, 3, 3]
    assert torch.equal(group.added.targets, torch.cat([data.videos[4].targets, data.videos[0].targets]))
    assert torch.equal(group.added.meanings, torch.cat([data.videos[4].meanings, data.videos[0].meanings]))


def test_added_videos_are_negatives_where_nothing_in_them_is_alike(model: MMN, data: TrainingSet) -> None:
    """v0 and v4 have the same two sentences; v2 has two others, one of them v1's."""
    loss, config = LossConfig(iou_negatives=1.0, negative_iou=0.3), TrainConfig(alike_cosine=1.0)
    objective = Objective(model, loss, config, World(), Alike(None, cosine=0.0, labels=False))
    batches = []

    def remember(videos: object, sentences: object, batch: Batch, config: LossConfig) -> object:
        batches.append(batch)
        return mmn_losses(videos, sentences, batch, config)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmn_index.train.objective.mmn_losses", remember)
        few = objective([data.group([0], 0, seed=1, epoch=1, added=[2])])
        same = objective([data.group([0], 0, seed=1, epoch=1, added=[4])])
    first, second = batches
    assert first.alike is not None
    assert first.alike.shape == (2, 2)
    assert first.described is not None
    assert not first.described.any()
    assert second.described is not None
    assert not second.described[:, 0].any()
    assert torch.equal(second.described[:, 1], data.videos[4].targets >= 0.3)
    assert second.described[:, 1].any(dim=1).all()
    for losses in (few, same):
        assert bool(torch.isfinite(losses).all())


@pytest.fixture(scope="module")
def home(world: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """Negatives, and settings that use them: drawn from a file, and mined anew after every epoch."""
    folder = tmp_path_factory.mktemp("hard")
    command.ok(
        "mine",
        "--index",
        world / "collection.mmn",
        "--annotations",
        world / "train.json",
        "-o",
        folder / "negatives.parquet",
    )
    base = (world / "tiny.yaml").read_text().partition("train:")[0]
    plain = (
        "epochs: 3, batch_size: 4, group_size: 2, milestones: [2], freeze_text_epochs: 1, crop: 0.2, select: "
        "last, alike_cosine: 1"
    )
    (folder / "file.yaml").write_text(
        f"{base}train: {{{plain}, hard_negatives: 1}}\nloss: {{iou_negatives: 0.5}}\n"
    )
    (folder / "fresh.yaml").write_text(
        f"{base}train: {{{plain}, hard_negatives: 1, refresh_epochs: 1, negatives: global}}\n"
    )
    (folder / "none.yaml").write_text(f"{base}train: {{{plain}}}\n")
    (folder / "still.yaml").write_text(f"{base}train: {{{plain}, lr: 1e-12}}\n")
    return folder


def losses_of(run: Path) -> list[list[float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [[line[name] for name in ("loss_iou", "loss_video", "loss_sentence")] for line in lines]


@pytest.fixture(scope="module")
def fresh(world: Path, home: Path, command: Command) -> Path:
    out = home / "fresh"
    with one_thread():
        command.ok(*arguments(world, home, "fresh", out))
    return out


def test_a_killed_run_with_fresh_negatives_ends_with_the_same_weights(
    world: Path, home: Path, fresh: Path, command: Command
) -> None:
    out = home / "killed"
    points = ("step:4", "refresh:1", "step:3", "before-state")
    kill_at(points, arguments(world, home, "fresh", out, "--resume"))
    with one_thread():
        command.ok(*arguments(world, home, "fresh", out, "--resume"))
    ours, theirs = weights(out), weights(fresh)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses_of(out) == losses_of(fresh)
    assert {path.name for path in out.iterdir()} == {
        "setting.json",
        "metrics.jsonl",
        "model",
        "result.json",
        "curves.png",
    }


def test_two_processes_mine_and_train_what_one_does(world: Path, home: Path, fresh: Path) -> None:
    done = side_by_side(2, arguments(world, home, "fresh", home / "fresh-2"))
    assert [ended.code for ended in done] == [0, 0], done
    for ours, theirs in zip(losses_of(home / "fresh-2"), losses_of(fresh), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_the_first_negatives_come_with_the_first_refresh(
    world: Path, home: Path, fresh: Path, command: Command
) -> None:
    (home / "plain.yaml").write_text(
        (home / "fresh.yaml").read_text().replace("hard_negatives: 1, refresh_epochs: 1, ", "")
    )
    command.ok(*arguments(world, home, "plain", home / "plain"))
    (first, *later), (same, *more) = losses_of(home / "plain"), losses_of(fresh)
    assert same == pytest.approx(first, rel=1e-4)
    assert all(ours[2] > theirs[2] + 0.05 for ours, theirs in zip(more, later, strict=True))


def test_negatives_from_a_file_change_the_losses(world: Path, home: Path, command: Command) -> None:
    command.ok(*arguments(world, home, "file", home / "with", "--hard-negatives", home / "negatives.parquet"))
    (home / "without.yaml").write_text((home / "file.yaml").read_text().replace(", hard_negatives: 1", ""))
    command.ok(*arguments(world, home, "without", home / "without"))
    more, less = losses_of(home / "with")[0], losses_of(home / "without")[0]
    assert more[2] > less[2] + 0.05  # a sentence has more negatives
    assert more[:2] != less[:2]
    ids = [video.video_id for video in read_annotations(world / "train.json").videos]
    table = pq.read_table(home / "negatives.parquet").to_pylist()
    expected = {(ids.index(row["video_id"]), ids.index(row["negative_video_id"])) for row in table}
    assert {tuple(pair) for pair in read_negatives(home / "negatives.parquet", ids).tolist()} == expected


def test_beginning_with_a_checkpoint(world: Path, home: Path, command: Command) -> None:
    command.ok(*arguments(world, home, "still", home / "begun", "--init", world / "run" / "model"))
    ours, theirs = weights(home / "begun"), load_file(world / "run" / "model" / "model.safetensors")
    for name in theirs:
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(ours[name], theirs[name], atol=1e-6), name
    again = arguments(world, home, "still", home / "begun", "--resume")
    command.fails(*again, says="init is None, was")
    text = (home / "still.yaml").read_text().replace("joint_dim: 6", "joint_dim: 4")
    (home / "other.yaml").write_text(text)
    other = arguments(world, home, "other", home / "other", "--init", world / "run" / "model")
    command.fails(*other, says="model.joint_dim is 4, the checkpoint has 6")
    both = command.run(*other, "--text-model", "elsewhere")
    assert (both.exit_code, "leave out --text-model" in both.stderr) == (2, True)


def test_what_does_not_fit(world: Path, home: Path, command: Command) -> None:
    out, negatives = home / "nothing", home / "negatives.parquet"
    command.fails(
        *arguments(world, home, "none", out, "--hard-negatives", negatives), says="train.hard_negatives is 0"
    )
    command.fails(*arguments(world, home, "file", out), says="there is nothing to draw from")
    command.fails(
        *arguments(world, home, "file", out, "--hard-negatives", world / "train.json"), says="cannot be read"
    )
    table = pq.read_table(negatives)
    renamed = table.set_column(0, "video_id", [["elsewhere"] * len(table)])
    pq.write_table(renamed, home / "elsewhere.parquet")
    command.fails(
        *arguments(world, home, "file", out, "--hard-negatives", home / "elsewhere.parquet"),
        says="for other ones",
    )
    for old, new, says in (
        ("alike_cosine: 1, ", "", "needs train.alike_cosine"),
        ("hard_negatives: 1", "hard_negatives: -1", "must be 0 or above"),
        ("hard_negatives: 1", "refresh_epochs: 1", "so none are used"),
    ):
        (home / "wrong.yaml").write_text((home / "file.yaml").read_text().replace(old, new))
        command.fails(*arguments(world, home, "wrong", out), says=says)
    assert not out.exists()
