"""MMN over tubes against the official implementation's own numbers."""

import json

import numpy as np
import pytest
import torch
from golden import SHARED, arrays, golden
from mmn_index.train.losses import LossConfig, iou_cross_entropy
from mmn_index.train.tube_losses import TubeBatch, _positives, tube_sentence_loss, tube_video_loss
from torch import Tensor
from torch.nn import functional


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
    assert torch.stack([found.own, found.proposal, best.sum(dim=1)], dim=1).tolist() == expected[
        "positives (tube, cell, cells within 1e-6)"
    ]
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
