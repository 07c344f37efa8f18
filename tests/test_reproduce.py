"""A benchmark's whole way, on a tiny world in its place: files, runs, table, verdict."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from conftest import Command, write_annotations, write_features
from mmn_index.train.reproduce import Reproduction
from mmn_index.train.settings import SETTINGS, load_setting
from runs import side_by_side

from mmn_index.evaluation import data_sets
from mmn_index.evaluation.benchmarks import Benchmark, Published
from mmn_index.evaluation.data_sets import PLAYHOUSE


@pytest.fixture
def home(tmp_path: Path, world: Path) -> Path:
    """data/ in the form of the benchmark `playhouse`, and a small setting."""
    data = tmp_path / "data"
    data.mkdir()
    write_features(data / "features.h5", 6)
    for split in ("train", "val", "test"):
        write_annotations(data / f"{split}.json", 6)
    tiny = (world / "tiny.yaml").read_text().replace("train: {", "train: {score: collection, ")
    (tmp_path / "tiny.yaml").write_text(tiny)
    return tmp_path


def arguments(home: Path, *more: object) -> list[str]:
    return [
        str(x)
        for x in (
            "reproduce",
            "playhouse",
            "--data",
            home / "data",
            "--config",
            home / "tiny.yaml",
            "-o",
            home / "out",
            *more,
        )
    ]


def test_the_whole_way_with_two_seeds(home: Path, command: Command) -> None:
    said = command.ok(*arguments(home, "--seeds", 2))
    assert "tiny.yaml, not the data set's own" in said.stdout
    assert "there is no verdict" in said.stdout
    rows = {line.split("  ")[0]: line.split() for line in said.stdout.splitlines()}
    results = json.loads((home / "out" / "results.json").read_text())
    seeds = [results["seeds"][seed]["R@1,IoU=0.5"] for seed in ("0", "1")]
    assert results["mean"]["R@1,IoU=0.5"] == sum(seeds) / 2
    assert rows["mean"][1] == f"{sum(seeds) / 2:.2f}"
    assert results["deviation"]["R@1,IoU=0.5"] == pytest.approx(abs(seeds[0] - seeds[1]) / 2**0.5)
    # The table is what `eval` says of the same checkpoints.
    for seed in ("0", "1"):
        printed = command.ok(
            "eval",
            home / "out" / f"seed{seed}" / "model",
            "--dataset",
            "playhouse",
            "--data",
            home / "data",
            "--json",
        )
        values = json.loads(printed.stdout.splitlines()[0])
        for column, value in results["seeds"][seed].items():
            assert values[column] == pytest.approx(value, abs=1e-3)
        assert (home / "out" / f"seed{seed}" / "curves.png").is_file()
    # Said again, nothing is trained; a third seed is added to the two.
    before = (home / "out" / "seed0" / "metrics.jsonl").stat().st_mtime_ns
    again = command.ok(*arguments(home, "--seeds", 3, "--json"))
    assert (home / "out" / "seed0" / "metrics.jsonl").stat().st_mtime_ns == before
    assert json.loads(again.stdout)["seeds"]["0"] == results["seeds"]["0"]
    assert len(json.loads(again.stdout)["seeds"]) == 3


def test_selection_is_said(home: Path, command: Command) -> None:
    said = command.ok(*arguments(home, "--select", "test"))
    assert "ON THE TEST SPLIT (the paper's practice: it flatters)" in said.stdout
    setting = json.loads((home / "out" / "seed0" / "setting.json").read_text())
    assert setting["train"]["select"] == "best"
    command.fails(*arguments(home, "--select", "last"), says="train.select is 'last', was 'best'")


def test_what_is_missing_is_said_with_where_to_get_it(
    home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    for dataset, says in (
        ("charades", "data/charades/vgg_rgb_features.hdf5: no such file. It holds VGG features"),
        ("activitynet", "such as `v_QOlSCBRmfWY/c3d_features`, of shape (snippets, 500)"),
        (
            "tacos",
            "data/tacos/val.json: no such file. It is the val split of tacos (27 videos, 4,436 sentences)",
        ),
    ):
        failed = command.fails("reproduce", dataset, "-o", home / "out", says=says)
        assert "MCG-NJU/MMN" in failed.stderr
        assert "2D-TAN" in failed.stderr
    assert not (home / "out").exists()
    write_annotations(home / "data" / "val.json", 9)
    command.fails(*arguments(home), says="lacks 3 of the 21 videos of playhouse, e.g. 'v6'")
    (home / "data" / "features.h5").unlink()
    command.fails(*arguments(home), says="mmn-index extract")


def test_other_annotations_or_features_than_the_benchmark_s(
    home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = replace(PLAYHOUSE, sentences={"test": 12}, videos={"train": 7}, width=12)
    monkeypatch.setitem(data_sets.BENCHMARKS, "playhouse", known)  # type: ignore[arg-type]
    command.fails(*arguments(home), says="has 6 videos, the train split of playhouse has 7")
    monkeypatch.setitem(data_sets.BENCHMARKS, "playhouse", replace(known, videos={}, width=13))  # type: ignore[arg-type]
    command.fails(*arguments(home), says="has features of width 12. Expected")
    with h5py.File(home / "data" / "features.h5", "a") as file:
        del file["v3"]
    command.fails(*arguments(home), says="lacks 3 of the 18 videos")


def test_the_verdict() -> None:
    published = Published("paper", "somewhere", {"R@1,IoU=0.5": 50.0, "R@5,IoU=0.5": 80.0})
    known = replace(PLAYHOUSE, published=(published,))

    def verdict(benchmark: Benchmark, *results: tuple[float, float]) -> str:
        seeds = {n: {"R@1,IoU=0.5": a, "R@5,IoU=0.5": b, "mIoU": 1.0} for n, (a, b) in enumerate(results)}
        return Reproduction(benchmark, seeds, dict.fromkeys(seeds, 1), "last").verdict()

    assert verdict(known, (49.4, 80.4), (49.8, 80.2)).startswith(
        "Reproduced: within 0.5 points of all 2"
    )  # means 49.6 and 80.3
    assert verdict(known, (49.4, 80.4)).startswith("Not reproduced: 1 of 2")
    assert verdict(known, (50.4, 80.6)).startswith("Better: 1 of 2")
    assert "no verdict" in verdict(PLAYHOUSE, (50.0, 80.0))
    assert "seeds cannot tell" not in verdict(
        known, (48.4, 80.4), (48.8, 80.2)
    )  # standard errors of 0.2 and 0.1
    far_apart = verdict(known, (45.0, 80.4), (49.0, 80.2))
    assert (
        "2 seeds cannot tell half a point apart here: the standard error of the mean is up to 2.0 "
        "(R@1,IoU=0.5)" in far_apart
    )


def test_the_paper_s_settings_are_the_official_ones() -> None:
    """Section 3 and 4 of the paper's configurations, and the videos that one of its GPUs saw."""
    facts = {
        name: (
            s.train.lr,
            s.train.epochs,
            s.train.batch_size,
            s.train.group_size,
            s.train.freeze_text_epochs,
            s.train.full_contrastive_epochs,
            s.train.milestones,
            s.loss.min_iou,
            s.loss.max_iou,
            s.loss.num_positives,
            s.loss.margin,
            s.loss.contrastive_weight,
            s.train.nms,
            s.model.power,
        )
        for name, s in SETTINGS.items()
    }
    assert facts["charades"] == (1e-4, 18, 48, 12, 4, 7, (8, 13), 0.5, 1.0, 1, 0.4, 0.05, 0.5, 0.5)
    assert facts["activitynet"] == (8e-4, 18, 48, 8, 4, 6, (7, 15), 0.5, 1.0, 1, 0.3, 0.1, 0.5, 0.5)
    assert facts["tacos"] == (1.5e-3, 250, 4, 2, 40, 100, (130, 190), 0.3, 0.7, 3, 0.1, 0.1, 0.4, 0.3)
    assert all(load_setting(name).train.negatives == "group" for name in ("charades", "activitynet", "tacos"))


def test_over_two_processes(home: Path) -> None:
    (home / "tiny.yaml").write_text(
        (home / "tiny.yaml").read_text().replace("batch_size: 3", "batch_size: 4, group_size: 2")
    )
    done = side_by_side(2, arguments(home, "--seeds", 2))
    assert [ended.code for ended in done] == [0, 0], done
    assert "".join(ended.said for ended in done).count("standard deviation") == 1
