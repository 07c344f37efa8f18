"""Tuning the text side: real retrieval as negatives, and a video side that stays what it is."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Command
from mmn_index.train.embedding import index_videos
from mmn_index.train.tune_text import TuneConfig, Tuning, tune_text
from safetensors.torch import load_file

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.errors import FeatureError, OutputError
from mmn_index.evaluation.annotations import Annotations, read_annotations
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.model import MMN, unit
from mmn_index.moments import temporal_iou
from mmn_index.scoring import Embeddings
from mmn_index.search import search


@pytest.fixture
def split(world: Path) -> Annotations:
    """Both sentences about a door have one label, the others none of another video's."""
    annotations = read_annotations(world / "train.json")
    videos = (
        replace(
            v,
            labels=tuple(
                "door" if "door" in text else f"{v.video_id} {n}" for n, text in enumerate(v.sentences)
            ),
        )
        for v in annotations.videos
    )
    return replace(annotations, videos=tuple(videos))


@pytest.fixture
def model(world: Path) -> MMN:
    return checkpoint.load(world / "run" / "model")


@pytest.fixture
def index(split: Annotations, model: MMN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MomentIndex:
    """Of embeddings that the tiny model, whose own are nearly all alike, does not make: random ones."""
    random = torch.Generator().manual_seed(0)

    def embed(pre_clips: torch.Tensor) -> Embeddings:
        both = torch.randn(2, len(pre_clips), len(model.grid), model.config.joint_dim, generator=random)
        return unit(Embeddings(*both))

    with monkeypatch.context() as patch:
        patch.setattr(model, "embed_videos", embed)
        return index_videos(model, split.videos, lambda name: torch.zeros(1), tmp_path / "own.mmn")


def test_a_training_index_holds_what_build_writes(
    world: Path, split: Annotations, model: MMN, tmp_path: Path
) -> None:
    with FeatureFile(world / "features.h5") as features:
        index = index_videos(
            model.train(),
            split.videos,
            lambda name: stored_pre_clips(features, name, model.config),
            tmp_path / "own.mmn",
        )
    built = MomentIndex(world / "collection.mmn")
    assert index.video_ids == built.video_ids
    ours, theirs = (x.segments[0].embeddings.float() for x in (index, built))
    assert torch.allclose(ours, theirs, atol=2e-3)
    assert not (index.root / "manifest.json").exists()
    assert model.training


@pytest.mark.parametrize("negatives", [40, 1000])
def test_the_loss_against_loops(split: Annotations, index: MomentIndex, model: MMN, negatives: int) -> None:
    tuning = Tuning(model, split, index, TuneConfig(negatives=negatives, alike=1.0))
    model.eval()
    batch = torch.tensor([0, 3, 7])
    found = tuning.loss(batch).item()
    everything = [(v, n, v.sentences[n]) for v in split.videos for n in range(len(v.sentences))]
    rows = torch.arange(index.num_moments).numpy()
    spans, per_video = torch.from_numpy(index.spans(rows)), len(index.manifest.grid)
    moments, total, left_out = index.embeddings(rows), 0.0, 0
    for place in batch.tolist():
        video, number, text = everything[place]
        with torch.no_grad():
            query = [x[0].double() for x in model.embed_sentences([text])]
        c, i = (moment.double() @ side for moment, side in zip(moments, query, strict=True))
        scores = c / 0.1 + torch.log(torch.sigmoid(10 * i))
        own = split.videos.index(video)
        fits = temporal_iou(spans[own * per_video : (own + 1) * per_video], video.moments[number])
        positive = float(scores[own * per_video + int(fits.argmax())])
        z = math.exp(positive)
        for row in scores.argsort(descending=True)[:negatives].tolist():
            right = False
            for other, n, said in everything:
                assert other.labels is not None
                assert video.labels is not None
                alike = said == text or other.labels[n] == video.labels[number]
                overlap = float(temporal_iou(spans[row], other.moments[n]))
                right |= alike and other is split.videos[row // per_video] and overlap >= 0.5
            left_out += right
            z += 0.0 if right else math.exp(float(scores[row]))
        total -= math.log(math.exp(positive) / z)
    assert found == pytest.approx(total / 3, rel=1e-3)
    assert left_out > 0


def test_tuning_learns_what_ranks(split: Annotations, index: MomentIndex, model: MMN) -> None:
    tuning = Tuning(model, split, index, TuneConfig(negatives=50, batch_size=4, lr=0.02, alike=1.0))
    losses = [tuning.epoch(epoch, lambda done, total, note: None) for epoch in range(1, 31)]
    assert losses[-1] < 0.8 * losses[0]


def test_only_the_heads_of_the_text_side_change(
    world: Path, split: Annotations, tmp_path: Path, command: Command
) -> None:
    source = world / "run" / "model"
    before = {
        path: path.read_bytes() for path in sorted((world / "collection.mmn").rglob("*")) if path.is_file()
    }
    config = TuneConfig(epochs=3, lr=0.01, batch_size=5, negatives=100)
    with FeatureFile(world / "features.h5") as features:
        result = tune_text(source, split, features, tmp_path / "tuned", config=config)
        again = tune_text(source, split, features, tmp_path / "again", config=config)
        chosen = tune_text(source, split, features, tmp_path / "chosen", config=config, validation=split)
    assert (result.epoch, result.validation) == (3, ())
    old, new = (load_file(path / "model.safetensors") for path in (source, tmp_path / "tuned"))
    changed = {name for name in old if old[name].numpy().tobytes() != new[name].numpy().tobytes()}
    sides = ("norm", "contrastive_head", "iou_head")
    assert changed == {f"text_encoder.{side}.{kind}" for side in sides for kind in ("weight", "bias")}
    assert load_file(again.checkpoint / "model.safetensors")["text_encoder.norm.bias"].equal(
        new["text_encoder.norm.bias"]
    )
    ours, theirs = checkpoint.info(source), checkpoint.info(tmp_path / "tuned")
    assert ours.video_fingerprint == theirs.video_fingerprint
    assert ours.fingerprint != theirs.fingerprint
    assert before == {
        path: path.read_bytes() for path in sorted((world / "collection.mmn").rglob("*")) if path.is_file()
    }
    assert chosen.metric == "label AP"
    assert chosen.validation[chosen.epoch] == max(chosen.validation)
    assert len(chosen.validation) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"tuned", "again", "chosen"}  # nothing is left over
    command.ok("build", tmp_path / "tuned", world / "features.h5", "-o", tmp_path / "new.mmn")
    parts = [
        MomentIndex(root).segments[0].embeddings for root in (tmp_path / "new.mmn", world / "collection.mmn")
    ]
    assert torch.equal(*parts)


def test_epoch_0_is_kept_where_none_is_better(world: Path, split: Annotations, tmp_path: Path) -> None:
    config = TuneConfig(epochs=2, lr=1e-12, negatives=30)
    with FeatureFile(world / "features.h5") as features:
        result = tune_text(
            world / "run" / "model", split, features, tmp_path / "tuned", validation=split, config=config
        )
    assert len(set(result.validation)) == 1
    assert result.epoch == 0
    assert (
        checkpoint.info(tmp_path / "tuned").fingerprint
        == checkpoint.info(world / "run" / "model").fingerprint
    )


def test_the_command(world: Path, tmp_path: Path, command: Command) -> None:
    given = (
        "tune-text",
        world / "run" / "model",
        "--annotations",
        world / "train.json",
        "--val",
        world / "train.json",
        "--features",
        world / "features.h5",
        "--epochs",
        2,
        "-o",
        tmp_path / "tuned",
    )
    said = command.ok(*given).stderr
    assert "validation, label AP, from epoch 0 on: " in said
    assert "text side of epoch" in said
    command.fails(*given, says="exists already")


def test_the_video_fingerprint_is_of_the_video_side(world: Path, model: MMN, tmp_path: Path) -> None:
    first = checkpoint.info(world / "run" / "model").video_fingerprint
    with torch.no_grad():
        next(iter(model.text_encoder.parameters())).add_(1)
    checkpoint.save(model, tmp_path / "text")
    assert checkpoint.info(tmp_path / "text").video_fingerprint == first
    with torch.no_grad():
        model.video_encoder.proposal_conv.norms[0].running_mean.add_(1e-3)
    checkpoint.save(model, tmp_path / "video")
    assert checkpoint.info(tmp_path / "video").video_fingerprint != first
    about = json.loads((tmp_path / "text" / "config.json").read_text())
    about["model"]["tau"] = 0.2
    (tmp_path / "text" / "config.json").write_text(json.dumps(about))
    assert checkpoint.info(tmp_path / "text").video_fingerprint != first


def test_what_does_not_fit(world: Path, split: Annotations, tmp_path: Path) -> None:
    from conftest import write_features

    write_features(tmp_path / "wide.h5", 6, dim=7)
    with FeatureFile(tmp_path / "wide.h5") as features, pytest.raises(FeatureError, match="have width 7"):
        tune_text(world / "run" / "model", split, features, tmp_path / "tuned")
    with FeatureFile(world / "features.h5") as features, pytest.raises(OutputError, match="exists already"):
        tune_text(world / "run" / "model", split, features, tmp_path)


def test_an_index_is_searched_by_a_tuned_text_side(
    world: Path, split: Annotations, tmp_path: Path, command: Command
) -> None:
    root = world / "collection.mmn"
    with FeatureFile(world / "features.h5") as features:
        tune_text(
            world / "run" / "model", split, features, tmp_path / "tuned", config=TuneConfig(epochs=2, lr=0.05)
        )
    sentence = split.videos[0].sentences[0]
    found = command.ok("search", sentence, "--index", root, "--model", tmp_path / "tuned", "--json").stdout
    expected = search(MomentIndex(root), checkpoint.load(tmp_path / "tuned"), [sentence])[0]
    assert [json.loads(line)["score"] for line in found.splitlines()] == [hit.score for hit in expected.hits]
    assert found != command.ok("search", sentence, "--index", root, "--json").stdout
    other = checkpoint.load(tmp_path / "tuned")
    with torch.no_grad():
        next(other.video_encoder.parameters()).mul_(1.5)
    checkpoint.save(other, tmp_path / "other")
    command.fails(
        "search",
        sentence,
        "--index",
        root,
        "--model",
        tmp_path / "other",
        says="Only the text side may differ",
    )
