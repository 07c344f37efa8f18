"""Which sentences mean the same."""

import json
from pathlib import Path

import pytest
import torch
from conftest import SENTENCES, Command
from mmn_index.train.alike import Alike, meanings, pooled
from torch.nn import functional

from mmn_index import checkpoint
from mmn_index.evaluation.annotations import read_annotations


def test_what_is_alike() -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    ours = torch.tensor([(0, 4), (2, -1)])
    theirs = torch.tensor([(0, 5), (1, -1), (2, 4), (2, -1)])

    def pairs(cosine: float, labels: bool) -> list[list[bool]]:
        found: list[list[bool]] = Alike(vectors if cosine else None, cosine=cosine, labels=labels)(
            ours, theirs
        ).tolist()
        return found

    assert pairs(0.0, False) == [[True, False, False, False], [False, False, True, True]]  # equal texts
    assert pairs(0.0, True) == [
        [True, False, True, False],
        [False, False, True, True],
    ]  # no label is no equal label
    assert pairs(0.9, False) == [[True, True, False, False], [False, False, True, True]]


def test_meanings_are_distinct_texts_and_labels(world: Path) -> None:
    annotations = read_annotations(world / "train.json")
    texts, known = meanings(annotations)
    assert texts == sorted(SENTENCES)
    names = sorted({"opens the door", "closes the door", "reads a book", "sits down"})
    for video, numbers in zip(annotations.videos, known, strict=True):
        assert video.labels is not None
        assert [texts[row] for row in numbers[:, 0]] == list(video.sentences)
        assert [names[number] for number in numbers[:, 1]] == list(video.labels)


def test_cosines_are_of_the_encoder_without_dropout_or_heads(world: Path) -> None:
    model = checkpoint.load(world / "run" / "model").train()
    found = functional.normalize(pooled(model, SENTENCES), dim=1)
    assert model.text_encoder.bert.training
    assert not found.requires_grad
    model.eval()
    for row, sentence in zip(found, SENTENCES, strict=True):
        alone = model.text_encoder.pool(*model.tokenizer([sentence]))[0]
        assert torch.allclose(row, alone / alone.norm(), atol=1e-5)
    cosines = found @ found.T
    between = float(cosines.fill_diagonal_(-1).max())
    alike = Alike.of(model, SENTENCES, cosine=between - 1e-4, labels=False)
    everything = torch.tensor([(row, -1) for row in range(len(SENTENCES))])
    assert int(alike(everything, everything).sum()) == len(SENTENCES) + 2  # the nearest two, both ways
    assert (
        not Alike.of(model, SENTENCES, cosine=between + 1e-4, labels=False)(everything, everything)
        .triu(1)
        .any()
    )


def test_what_cannot_be_alike(world: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "c.yaml").write_text(
        (world / "tiny.yaml").read_text().replace("train: {", "train: {alike_cosine: 1.5, ")
    )
    command.fails(
        "train",
        "--annotations",
        world / "train.json",
        "--features",
        world / "features.h5",
        "--config",
        tmp_path / "c.yaml",
        "-o",
        tmp_path / "run",
        says="train.alike_cosine is 1.5, expected a cosine",
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("asked", "without"), [(True, 1), (True, 0), (False, 1)])
def test_missing_labels_are_said(
    asked: bool, without: int, world: Path, tmp_path: Path, command: Command
) -> None:
    content = json.loads((world / "train.json").read_text())
    if without:
        del content["v3"]["labels"]
    (tmp_path / "train.json").write_text(json.dumps(content))
    tiny = (
        (world / "tiny.yaml")
        .read_text()
        .replace("train: {epochs: 2", f"train: {{alike_labels: {str(asked).lower()}, epochs: 1")
    )
    (tmp_path / "c.yaml").write_text(tiny)
    ran = command.ok(
        "train",
        "--annotations",
        tmp_path / "train.json",
        "--features",
        world / "features.h5",
        "--config",
        tmp_path / "c.yaml",
        "-o",
        tmp_path / "run",
    )
    said = (
        f"train.json: {without} of 6 videos have no labels; of their sentences only equal texts count as "
        "alike"
    )
    assert (said in ran.stderr) == bool(asked and without)
