"""MMN over tubes against the official implementation's own numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import SHARED, arrays, golden
from golden_tubes import TUBE_CASES, TubeCase, as_tube
from mmn_index.train.losses import LossConfig, iou_cross_entropy
from mmn_index.train.settings import STVG
from mmn_index.train.tube_losses import TubeBatch, _positives, tube_sentence_loss, tube_video_loss
from test_golden_losses import check_batch, check_steps
from torch import Tensor
from torch.nn import functional

from mmn_index.model import unit
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings
from mmn_index.tube_map import Answer, best_answer, tube_score
from mmn_index.tubes import Tube, tube_iou


def _units() -> tuple[str, ...]:
    path = SHARED / "golden" / "stvg-loss-unit" / "expected.json"
    return tuple(json.loads(path.read_text())) if path.exists() else ("a-ordinary",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", _units())
def test_losses_alone(name: str, dtype: torch.dtype) -> None:
    expected = json.loads(golden("stvg-loss-unit", "expected.json").read_text())[name]
    given = arrays(golden("stvg-loss-unit", "loss_unit.npz"))
    get = {
        key.removeprefix(f"{name}/"): torch.from_numpy(array)
        for key, array in given.items()
        if key.startswith(f"{name}/")
    }
    config = LossConfig(
        min_iou=expected["min_iou"],
        max_iou=expected["max_iou"],
        negative_iou=expected["negative_iou"],
        tau_video=expected["tau_video"],
        tau_sentence=expected["tau_sent"],
        margin=expected["margin"],
    )
    counts = get["num_tubes"].long()
    batch = TubeBatch(torch.arange(len(counts)).repeat_interleave(counts), get["stiou_valid"].to(dtype))
    found = _positives(batch, len(counts))
    best = batch.targets[found.tube] >= found.iou[:, None] - 1e-6
    assert (
        torch.stack([found.own, found.proposal, best.sum(dim=1)], dim=1).tolist()
        == expected["positives (tube, cell, cells within 1e-6)"]
    )
    exact = dtype == torch.float64
    mark = "_f64" if exact else ""

    def same(gradient: Tensor | None, key: str) -> None:
        assert gradient is not None
        wanted = get[key + mark]
        largest, noise = float(wanted.abs().max()), float((get[key] - get[f"{key}_f64"]).abs().max())
        allowed = 1e-10 * largest + 1e-13 if exact else max(10 * noise, 5e-6 * largest)
        assert float((gradient - wanted).abs().max()) <= allowed, key

    for loss, short in ((tube_video_loss, "vid"), (tube_sentence_loss, "sent")):
        features = get["feat_valid"].to(dtype, copy=True).requires_grad_()
        words = get["sent"].to(dtype, copy=True).requires_grad_()
        videos = functional.normalize(features.transpose(1, 2), dim=2, eps=1e-12)
        value = loss(videos, functional.normalize(words, dim=1, eps=1e-12), batch, config)
        value.backward()
        near = (1e-12, 1e-13) if exact else (2e-6, 1e-6)
        assert value.item() == pytest.approx(expected[f"loss_{short}{mark}"], rel=near[0], abs=near[1])
        same(features.grad, f"grad_{short}_feat_valid")
        same(words.grad, f"grad_{short}_sent")
    scores = get["bce_scores_valid"].to(dtype, copy=True).requires_grad_()
    value = iou_cross_entropy(scores, batch.targets, config)
    value.backward()
    assert value.item() == pytest.approx(expected[f"loss_iou{mark}"], rel=1e-12 if exact else 2e-6)
    wanted = get["grad_bce_scores_valid"]  # given in float32 alone
    assert scores.grad is not None
    assert float((scores.grad - wanted).abs().max()) <= 5e-6 * float(wanted.abs().max())


@pytest.fixture(params=TUBE_CASES)
def case(request: pytest.FixtureRequest) -> TubeCase:
    return TubeCase(request.param)


def test_the_setting_is_the_official_configuration(case: TubeCase) -> None:
    """But for the shapes, which a case changes."""
    assert STVG.loss == case.loss
    assert STVG.train == replace(case.train_config({}), group_size=4, hold_out=0.05)
    official = case.official["MODEL"]["TAN"]
    assert official["LOSS"]["NUM_POSTIVE_VIDEO_PROPOSAL"] == STVG.loss.num_positives


def test_tubes_features_and_targets(case: TubeCase) -> None:
    case.close("avgfeats", case.pre_clips())
    cells = case.model.grid.cells
    targets = torch.cat([case.tube_targets(video) for video in range(case.num_videos)])
    expected = case.expected["stiou2d"]
    assert np.array_equal(case.model.grid.mask.numpy(), case.expected["mask2d"])
    assert float((targets - torch.from_numpy(expected[:, cells[:, 0], cells[:, 1]])).abs().max()) < 1e-6
    assert np.array_equal(targets.numpy() == 0, expected[:, cells[:, 0], cells[:, 1]] == 0)


def test_every_stage_of_the_forward_pass(case: TubeCase) -> None:
    model = case.model
    i, j = model.grid.cells.T
    with torch.no_grad():
        clips = model.video_encoder.featpool(case.pre_clips())
        case.close("featpool", clips)
        cells = model.video_encoder.proposal_map(clips)
        case.close("feat2d_valid", cells[:, :, i, j])
        conv = model.video_encoder.proposal_conv
        case.close("conv_stack_valid", conv.features(cells).transpose(1, 2))
        both = conv(cells)
        case.close("map2d_valid", both.contrastive.transpose(1, 2))
        case.close("map2d_iou_valid", both.iou.transpose(1, 2))
        texts = [model.text_encoder(*case.tokens(video)) for video in range(case.num_videos)]
        case.close("sent_feat", torch.cat([text.contrastive for text in texts]))
        case.close("sent_feat_iou", torch.cat([text.iou for text in texts]))


def answers(case: TubeCase) -> list[tuple[Tensor, Answer, Tube]]:
    """Final scores of each video, its answer, and that as a tube."""
    found, first = [], 0
    with torch.no_grad():
        embedded = case.model.embed_videos(case.pre_clips())
        for video in range(case.num_videos):
            tubes, text = case.tubes(video), case.model.text_encoder(*case.tokens(video))
            own = slice(first, first + len(tubes))
            c, i = (
                (side[own] * words).sum(dim=2)
                for side, words in zip(embedded, unit(Embeddings(*text)), strict=True)
            )
            scores = tube_score(c, i)
            answer = best_answer(scores, [len(tube) for tube in tubes], case.model.grid, official=True)
            found.append((scores, answer, tubes[answer.tube].rows(answer.first, answer.end)))
            first += len(tubes)
    return found


def test_the_answers(case: TubeCase) -> None:
    expected = case.scalars["evaluate"]
    overlaps = []
    for video, (scores, answer, tube) in enumerate(answers(case)):
        case.close(f"final_{video}", scores)
        entry, truth = expected["videos"][video], case.truth(video)
        assert [answer.tube, answer.first, answer.end] == [entry["tube"], *entry["rows"]]
        assert [tube.first, tube.last] == [entry["st_frame"], entry["ed_frame"]]
        overlaps.append(float(tube_iou(tube, truth, 1)))
        assert overlaps[-1] == pytest.approx(entry["vIoU"], abs=1e-6)
    assert np.mean(overlaps) == pytest.approx(expected["viou"], abs=1e-6)


DTYPES = (pytest.param(torch.float32, id="float32"), pytest.param(torch.float64, id="float64"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", ["train_batch", "train_single_video"])
@pytest.mark.parametrize("name", TUBE_CASES)
def test_losses_of_the_whole_model_and_their_gradients(name: str, block: str, dtype: torch.dtype) -> None:
    check_batch(TubeCase(name, dtype), block)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", ["trajectory", "schedule"])
@pytest.mark.parametrize("name", TUBE_CASES)
def test_optimiser_steps(name: str, block: str, dtype: torch.dtype) -> None:
    check_steps(TubeCase(name, dtype), block)


def test_answers_and_hits_on_drawn_scores() -> None:
    """Negative scores, equal ones, empty cells, and overlaps of exactly 0.5 and 0.3, which are no hits."""
    given = arrays(golden("stvg-metrics", "predictions.npz"))
    expected = json.loads(golden("stvg-metrics", "expected.json").read_text())
    clips = len(given["mask2d"])
    grid = ProposalGrid(clips, (clips - 1,))
    assert np.array_equal(grid.mask.numpy(), given["mask2d"])
    overlaps = []
    for video, entry in enumerate(expected["videos"]):
        tubes = [as_tube(given[f"tube_{video}_{t}"]) for t in range(int(given[f"num_tubes_{video}"]))]
        truth = as_tube(given[f"gt_tube_{video}"])
        contrastive, iou = (
            torch.from_numpy(given[f"{kind}_{video}"])[:, grid.mask] for kind in ("contrastive", "iou")
        )
        scores = contrastive * iou  # after the sigmoid
        answer = best_answer(scores, [len(tube) for tube in tubes], grid, official=True)
        assert list(answer) == [entry["tube"], *entry["rows"]], entry["kind"]
        tube = tubes[answer.tube].rows(answer.first, answer.end)
        assert [tube.first, tube.last] == [entry["st_frame"], entry["ed_frame"]]
        overlaps.append(tube_iou(tube, truth, 1))
        assert float(overlaps[-1]) == pytest.approx(entry["vIoU"], abs=1.2e-7)
        assert [bool(overlaps[-1] > least) for least in (0.3, 0.5)] == entry["hits"], entry["kind"]
    assert float(torch.stack(overlaps).mean()) == pytest.approx(expected["viou"], abs=1e-7)
