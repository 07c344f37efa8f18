"""The evaluation against the official one, on stored predictions for real annotations."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from golden import METRICS, arrays, check_recalls, golden
from torch import Tensor, nn

from mmn_index.config import PAPER
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.moments import nms_top, temporal_iou
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score


class Predictions:
    """One golden folder of predictions, and what the official evaluation made of them."""

    def __init__(self, name: str) -> None:
        folder = golden(name)
        self.about: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        self.given, self.expected = arrays(folder / "predictions.npz"), arrays(folder / "expected.npz")
        self.annotations = read_annotations(folder / "annotations.json")
        config = PAPER[self.about["dataset"]]
        self.grid, self.power = (
            ProposalGrid(config.num_clips, config.pooling_counts),
            self.about["contrastive_score_pow"],
        )
        self.count = self.about["num_videos"]

    def cells(self, name: str, video: int) -> Tensor:
        """(S, P) from the stored maps."""
        return torch.from_numpy(self.given[f"{name}_{video}"])[:, *self.grid.cells.T]

    def scores(self, video: int) -> Tensor:
        fused = (0.5 * self.cells("contrastive", video) + 0.5) ** self.power * self.cells("iou", video)
        return fused.masked_fill(fused == 0, -torch.inf)  # a score of zero is no candidate

    def moments(self, video: int) -> Tensor:
        return torch.from_numpy(self.given[f"moments_{video}"])


@pytest.fixture(scope="module", params=METRICS)
def predictions(request: pytest.FixtureRequest) -> Predictions:
    return Predictions(request.param)


def test_the_annotations_are_read_as_officially(predictions: Predictions) -> None:
    videos = predictions.annotations.videos
    assert len(videos) == predictions.count
    for v, video in enumerate(videos):
        assert torch.equal(video.moments, predictions.moments(v))  # bit for bit
        assert video.duration == float(predictions.given[f"duration_{v}"])
        assert len(video.sentences) == len(predictions.given[f"contrastive_{v}"])
    assert (predictions.annotations.num_sentences, predictions.annotations.dropped) == (
        predictions.about["num_sentences"],
        1,
    )


def test_moments_and_hits_are_met_exactly(predictions: Predictions) -> None:
    """The best five after NMS bit for bit, how many NMS leaves, and every number of the result."""
    about, expected, grid = predictions.about, predictions.expected, predictions.grid
    assert np.array_equal(grid.mask.numpy(), predictions.given["mask2d"])
    assert (grid.num_clips, len(grid)) == (about["num_clips"], about["num_valid_proposals"])
    for threshold, table in about["results_by_nms_threshold"].items():
        ious, fewest = [], len(grid)
        ms = torch.tensor(sorted({float(key.split("@")[2]) for key in table if key.startswith("R@")}))
        for v in range(predictions.count):
            scores, spans = predictions.scores(v), grid.seconds(float(predictions.given[f"duration_{v}"]))
            assert torch.equal(
                (scores > -torch.inf).sum(dim=1), torch.from_numpy(expected[f"num_candidates_{v}"])
            )
            counts = torch.from_numpy(expected[f"nms{threshold}/kept_{v}"])
            kept = nms_top(scores, spans, float(threshold), int(counts.max()) + 1)
            assert torch.equal((kept >= 0).sum(dim=1), counts)
            top = spans[kept[:, :5]]
            assert np.array_equal(top.numpy(), expected[f"nms{threshold}/top5_{v}"])
            found = temporal_iou(top, predictions.moments(v)[:, None])
            assert np.array_equal(found.numpy(), expected[f"nms{threshold}/top5_iou_with_gt_{v}"])
            hits = torch.stack([(found[:, :n, None] >= ms).any(dim=1) for n in (1, 5)], dim=1)  # (S, 2, M)
            assert np.array_equal(hits.numpy(), expected[f"nms{threshold}/hits_{v}"])
            ious.append(found)
            fewest = min(fewest, int(counts.min()))
        check_recalls(table, torch.cat(ious))
        assert fewest == table["_min_kept_after_nms"]


class Replay(nn.Module):
    """In the place of a model: embeddings whose cosines are the stored predictions."""

    def __init__(self, predictions: Predictions) -> None:
        super().__init__()
        self.grid, self._of = predictions.grid, predictions
        self._longest = max(len(video.sentences) for video in predictions.annotations.videos)

    def score(self, name: str) -> Score:
        return Score(name, power=self._of.power)

    def embed_videos(self, numbers: Tensor) -> Embeddings:
        contrastive = [self._of.cells("contrastive", int(v)) for v in numbers]
        iou = [(self._of.cells("iou", int(v)).double().logit() / 10).float() for v in numbers]
        return Embeddings(*(torch.stack([self._filled(x) for x in side]) for side in (contrastive, iou)))

    def _filled(self, cosines: Tensor) -> Tensor:
        """(S, P) -> (P, C): a joint space with one dimension a sentence."""
        return nn.functional.pad(cosines, (0, 0, 0, self._longest - len(cosines))).T

    def embed_sentences(self, sentences: tuple[str, ...]) -> Embeddings:
        return Embeddings(*(torch.eye(len(sentences), self._longest) for _ in range(2)))


def test_this_projects_evaluation_gives_the_official_result(predictions: Predictions) -> None:
    videos = predictions.annotations.videos
    numbers = {video.video_id: torch.tensor(v) for v, video in enumerate(videos)}
    for threshold, table in predictions.about["results_by_nms_threshold"].items():
        model: Any = Replay(predictions)
        found = evaluate_videos(model, videos, numbers.__getitem__, nms=float(threshold))
        key = f"nms{threshold}/top5_iou_with_gt"
        assert np.array_equal(
            found.ious.numpy(),
            np.concatenate([predictions.expected[f"{key}_{v}"] for v in range(len(videos))]),
        )
        check_recalls(table, found.ious)
