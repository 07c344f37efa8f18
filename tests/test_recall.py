"""The metrics, by hand and against the official evaluation's own numbers."""

import json

import numpy as np
import pytest
import torch
from golden import golden

from mmn_index.moments import nms_top, temporal_iou
from mmn_index.recall import Found, Right, average_precision, chance, first_hit, ranked_ious, recall

FOUND = [Found("a", 0, 4), Found("b", 0, 4), Found("a", 0, 3), Found("c", 10, 14), Found("b", 1, 5)]


def test_recall_by_hand() -> None:
    ious = torch.tensor([[0.2, 0.5], [0.7, -1.0], [0.0, 0.1]])
    assert recall(ious, 1, 0.5) == pytest.approx(1 / 3)
    assert recall(ious, 2, 0.5) == pytest.approx(2 / 3)
    assert recall(ious, 2, 0.7) == pytest.approx(1 / 3)


def test_fewer_survivors_than_asked_for() -> None:
    ious = ranked_ious(
        torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 4.0], [0.0, 4.0], [0.0, 4.0]]), torch.tensor([[0.0, 4.0]]), 0.5
    )
    assert ious.tolist() == [[1.0, -1.0, -1.0, -1.0, -1.0]]


def test_first_hit_by_hand() -> None:
    assert first_hit(FOUND, Right({"c": [(10, 14)]}), 0.5) == 4
    assert first_hit(FOUND, Right({"a": [(0, 3)]}), 0.8) == 3
    assert first_hit(FOUND, Right({"z": [(0, 4)]}), 0.5) is None


def test_average_precision_by_hand() -> None:
    # Hits: rank 1 (video a) and rank 4 (video c); rank 3 is video a again and earns nothing. Video z is never found.
    right = Right({"a": [(0, 4)], "c": [(10, 14)], "z": [(0, 1)]})
    assert average_precision(FOUND, right) == pytest.approx((1 / 1 + 2 / 4) / 3)
    assert average_precision([], right) == 0
    assert average_precision([Found("a", 0, 4), Found("c", 10, 14), Found("z", 0, 1)], right) == 1


def test_chance_is_the_share_that_random_draws_reach() -> None:
    rng = np.random.default_rng(0)
    hits = sum((rng.permutation(50)[:5] < 4).any() for _ in range(20_000))
    assert chance(4, 50, 5) == pytest.approx(hits / 20_000, abs=0.01)
    assert chance(0, 50, 5) == 0
    assert chance(46, 50, 5) == 1
    assert chance(10, 50, 1) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["charades", "tacos"])
def test_the_official_evaluation_is_met_exactly(name: str) -> None:
    folder = golden(f"metrics-{name}")
    about = json.loads((folder / "expected.json").read_text())
    predictions, expected = np.load(folder / "predictions.npz"), np.load(folder / "expected.npz")
    mask = torch.from_numpy(predictions["mask2d"])
    i, j = mask.nonzero().T
    for threshold, table in about["results_by_nms_threshold"].items():
        ious = []
        for v in range(about["num_videos"]):
            contrastive = torch.from_numpy(predictions[f"contrastive_{v}"])
            fused = (0.5 * contrastive + 0.5) ** about["contrastive_score_pow"] * torch.from_numpy(predictions[f"iou_{v}"])
            scores = fused[:, i, j].masked_fill(fused[:, i, j] == 0, -torch.inf)
            edges = torch.stack([i, j + 1], dim=1).float()
            spans = edges * torch.tensor(float(predictions[f"duration_{v}"]), dtype=torch.float32) / about["num_clips"]
            top = spans[nms_top(scores, spans, float(threshold), 5)]
            assert np.array_equal(top.numpy(), expected[f"nms{threshold}/top5_{v}"])
            moments = torch.from_numpy(predictions[f"moments_{v}"])
            ious.append(temporal_iou(top, moments[:, None]))
            assert torch.equal(ious[-1], ranked_ious(scores, spans, moments, float(threshold)))
        for key, value in table.items():
            if key.startswith("R@"):
                n, m = key.removeprefix("R@").split(",IoU@")
                assert recall(torch.cat(ious), int(n), float(m)) == pytest.approx(value, abs=1e-7), key
