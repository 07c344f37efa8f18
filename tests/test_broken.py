"""What is broken, or asked for by mistake, ends in one line that says so: models that diverged, embeddings
that are no numbers, options that nothing would look at, numbers that are none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SENTENCES, Command, write_annotations
from mmn_index.index_build.change import set_ranking

from mmn_index import checkpoint
from mmn_index.confidence import QUANTITIES, Calibration
from mmn_index.embedding import embed_in_batches
from mmn_index.errors import CheckpointError, MomentIndexError
from mmn_index.index import MomentIndex
from mmn_index.model import MMN
from mmn_index.search import SearchOptions, search


@pytest.fixture
def model(lively: Path) -> MMN:
    return checkpoint.load(lively / "model")


def diverge(part: torch.nn.Module) -> None:
    with torch.no_grad():
        next(iter(part.parameters())).fill_(torch.nan)


@torch.inference_mode()
def test_a_model_that_diverged_is_not_used(lively: Path, model: MMN, tmp_path: Path) -> None:
    clips = torch.ones(model.config.num_pre_clips, model.config.input_dim)
    assert len(list(embed_in_batches(model, lambda _: clips, ["v0"]))) == 1
    with pytest.raises(CheckpointError, match="'v1'"):
        list(embed_in_batches(model, lambda name: clips * (torch.nan if name == "v1" else 1), ["v0", "v1"]))
    diverge(model.text_encoder.contrastive_head)
    with pytest.raises(
        CheckpointError, match="such as 'a person opens the door', as numbers that are not finite"
    ):
        search(MomentIndex(lively / "collection.mmn"), model, [SENTENCES[0]])
    with pytest.raises(CheckpointError, match="diverged"):
        checkpoint.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_tuning_that_diverges_writes_nothing(
    lively: Path, world: Path, command: Command, tmp_path: Path
) -> None:
    command.fails(
        "tune-text",
        lively / "model",
        "--annotations",
        world / "train.json",
        "--features",
        lively / "features.h5",
        "--lr",
        1e30,
        "-o",
        tmp_path / "tuned",
        says="too high",
    )
    assert list(tmp_path.iterdir()) == []


@torch.inference_mode()
def test_embeddings_that_are_no_numbers_end_a_search(lively: Path, model: MMN, tmp_path: Path) -> None:
    root = Path(shutil.copytree(lively / "collection.mmn", tmp_path / "c.mmn"))
    content = np.load(path := next(root.glob("segments/*/embeddings.npy")))
    content[3] = np.nan
    np.save(path, content)
    for options in (SearchOptions(k=10_000, nms=1.0), SearchOptions()):
        with pytest.raises(MomentIndexError, match=r"of 174 moments only 173 .*verify"):
            search(MomentIndex(root), model, [SENTENCES[0]], options=options)


def test_as_many_moments_as_one_likes(lively: Path, command: Command) -> None:
    ask = ["search", SENTENCES[0], "--index", lively / "collection.mmn", "--json"]
    all_of_them = command.ok(*ask, "-k", 174).stdout
    for count in (10**9, 10**23):
        assert command.ok(*ask, "-k", count).stdout == all_of_them


def test_confidences_that_cannot_be_measured_cost_nothing_else(
    lively: Path, command: Command, tmp_path: Path
) -> None:
    root = tmp_path / "c.mmn"
    write_annotations(tmp_path / "one.json", 1)
    command.ok(
        "build", lively / "model", lively / "features.h5", "--videos", tmp_path / "one.json", "-o", root
    )
    index = MomentIndex(root)
    set_ranking(
        root, index.manifest.score, Calibration(0.0, (0.0,) * len(QUANTITIES), 40, 0.1), index.version
    )
    result = command.ok(
        "eval", "--corpus", "--index", root, "--annotations", tmp_path / "one.json", "-o", tmp_path / "out"
    )
    assert "Confidences are not measured: every video has a right answer" in result.stderr
    assert "VCMR" in result.stdout
    assert (tmp_path / "out" / "report.json").is_file()


def test_an_emptied_index_is_measured_as_one(
    lively: Path, world: Path, command: Command, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(lively / "collection.mmn", tmp_path / "c.mmn"))
    command.ok("remove", *(f"v{n}" for n in range(6)), "--index", root)
    assert MomentIndex(root).videos.num_rows == 0
    command.fails("eval", "--corpus", "--index", root, "--annotations", world / "train.json", says="v0")


def test_durations_may_come_from_videos_without_a_sentence(
    lively: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "d.json").write_text(
        json.dumps({f"v{n}": {"duration": 21 + n, "timestamps": [], "sentences": []} for n in (1, 4)})
    )
    command.ok(
        "build",
        lively / "model",
        lively / "features.h5",
        "--videos",
        tmp_path / "d.json",
        "-o",
        tmp_path / "c.mmn",
    )
    assert MomentIndex(tmp_path / "c.mmn").videos.select(["video_id", "duration"]).to_pylist() == [
        {"video_id": "v1", "duration": 22.0},
        {"video_id": "v4", "duration": 25.0},
    ]


def test_more_lists_than_moments_are_refused_before_any_work(
    lively: Path, command: Command, tmp_path: Path
) -> None:
    command.fails(
        "build",
        lively / "model",
        lively / "features.h5",
        "-o",
        tmp_path / "c.mmn",
        "--vectors",
        "IVF175,SQ8",
        says="175 lists are more than the 174 moments",
    )
    assert not (tmp_path / "c.mmn").exists()


def test_a_run_that_has_ended_says_so_and_knows_its_data(
    world: Path, command: Command, tmp_path: Path
) -> None:
    given = [
        "--features",
        world / "features.h5",
        "--config",
        world / "tiny.yaml",
        "-o",
        world / "run",
        "--resume",
    ]
    result = command.ok("train", "--annotations", world / "train.json", "--val", world / "train.json", *given)
    assert "nothing was trained" in result.stderr
    write_annotations(tmp_path / "five.json", 5)
    command.fails(
        "train",
        "--annotations",
        tmp_path / "five.json",
        "--val",
        world / "train.json",
        *given,
        says="annotations is '",
    )
    command.fails("train", "--annotations", world / "train.json", *given, says="validation is None, was '")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["eval", "m", "--features", "f", "--annotations", "a", "--nms", "nan"], "not a finite number"),
        (["mine", "--index", "i", "--annotations", "a", "-o", "o", "--margin", "nan"], "not a finite number"),
        (["mine", "--index", "i", "--annotations", "a", "-o", "o", "--alike", "nan"], "not a finite number"),
        (
            ["tune-text", "m", "--annotations", "a", "--features", "f", "-o", "o", "--lr", "inf"],
            "not a finite number",
        ),
        (["build", "m", "f", "-o", "o", "--max-bytes-per-moment", "nan"], "not a finite number"),
        (
            ["eval", "--predictions", "p", "--annotations", "a", "--score", "iou", "--nms", "0.3"],
            "leave out --score, --nms",
        ),
        (["eval", "--mvmr", "p", "--seen", "s", "--annotations", "a"], "leave out --annotations, --seen"),
        (
            ["eval", "m", "--features", "f", "--annotations", "a", "--hub", "0.5"],
            "--hub corrects over a collection",
        ),
        (["search", "--like", "v0@0-8", "--model", "m"], "--like has no sentence"),
        (["extract", "x.mp4", "-o", "f.h5", "--device", "cuda"], "'pixels' runs on the CPU"),
    ],
    ids=lambda x: "" if isinstance(x, str) else " ".join(x[:1] + x[-2:]),
)
def test_what_nothing_would_look_at_is_refused(command: Command, arguments: list[str], says: str) -> None:
    result = command.run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize("device", ["meta", "mps", "xla", "hpu", "cuda:97", "gpu"])
def test_devices_that_nothing_can_run_on(lively: Path, command: Command, device: str) -> None:
    result = command.fails(
        "search",
        "door",
        "--index",
        lively / "collection.mmn",
        "--device",
        device,
        says=f"device '{device}' cannot be used",
    )
    assert len(result.stderr) < 250


def test_a_suggested_threshold_answers_what_it_should() -> None:
    from mmn_index.confidence import rounded_down

    for threshold in (0.123456, 0.99999, 0.00012345, 1.0, 0.0, 5e-9):
        shown = float(f"{rounded_down(threshold):.3g}")
        assert shown <= threshold
        assert shown == pytest.approx(threshold, rel=0.01)
