"""Losses and their gradients against the official implementation's own numbers."""

import json

import numpy as np
import pytest
import torch
from golden import CASES, Case, golden
from mmn_index.train.config import TrainConfig
from mmn_index.train.loop import make_optimiser, start_epoch
from mmn_index.train.losses import (
    Batch,
    LossConfig,
    Losses,
    iou_cross_entropy,
    mmn_losses,
    sentence_loss,
    video_loss,
)

from mmn_index.clips import pool_to_pre_clips
from mmn_index.model import MMN, unit
from mmn_index.official import own_name
from mmn_index.scoring import Embeddings


def step(
    model: MMN,
    optimiser: torch.optim.Optimizer,
    losses: Losses,
    weight: float,
    clip_norm: float,
) -> torch.Tensor:
    optimiser.zero_grad(set_to_none=True)
    losses.total(weight).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimiser.step()
    return norm


UNITS = ("a", "b", "c", "d", "e-dup", "f-zero-length")


@pytest.mark.parametrize("name", UNITS)
def test_losses_alone(name: str) -> None:
    arrays = np.load(golden("loss-unit", "loss_unit.npz"))
    expected = json.loads(golden("loss-unit", "expected.json").read_text())[name]
    get = {
        key.removeprefix(f"{name}/"): torch.from_numpy(arrays[key])
        for key in arrays
        if key.startswith(f"{name}/")
    }
    count = expected["num_videos"]
    config = LossConfig(
        min_iou=expected["min_iou"], max_iou=expected["max_iou"], num_positives=expected["top_k"],
        negative_iou=expected["neg_iou"], sentence_removal_iou=expected["sent_removal_iou"],
        tau_video=expected["tau_video"], tau_sentence=expected["tau_sent"], margin=expected["margin"],
    )  # fmt: skip
    of = torch.cat([torch.full((len(get[f"moments_{v}"]),), v) for v in range(count)])
    batch = Batch(of, torch.cat([get[f"moments_{v}"] for v in range(count)]),
                  torch.cat([get[f"iou2d_valid_{v}"] for v in range(count)]))  # fmt: skip
    positives = torch.cat(
        [get[f"topk_{v}"] for v in range(count)]
    )  # the official choice: ties exist
    for loss, short in ((video_loss, "vid"), (sentence_loss, "sent")):
        features = get["feat_valid"].clone().requires_grad_()
        words = torch.cat([get[f"sent_{v}"] for v in range(count)]).requires_grad_()
        both = unit(Embeddings(features.transpose(1, 2), features.transpose(1, 2)))
        value = loss(
            both.contrastive,
            torch.nn.functional.normalize(words, dim=1),
            batch,
            positives,
            config,
        )
        value.backward()
        assert value.item() == pytest.approx(expected[f"loss_{short}"], rel=2e-6)
        assert torch.allclose(
            features.grad, get[f"grad_{short}_feat_valid"], atol=2e-7, rtol=2e-5
        )
        wanted = torch.cat([get[f"grad_{short}_sent_{v}"] for v in range(count)])
        assert torch.allclose(words.grad, wanted, atol=2e-7, rtol=2e-5)
    if "bce_scores_valid" in get:
        scores = get["bce_scores_valid"].clone().requires_grad_()
        value = iou_cross_entropy(scores, batch.targets, config)
        value.backward()
        assert value.item() == pytest.approx(expected["loss_bce"], rel=2e-6)
        assert torch.allclose(
            scores.grad, get["grad_bce_scores_valid"], atol=1e-7, rtol=1e-5
        )


def loss_config(case: Case) -> LossConfig:
    loss = case.official["MODEL"]["MMN"]["LOSS"]
    return LossConfig(
        min_iou=loss["MIN_IOU"], max_iou=loss["MAX_IOU"], num_positives=loss["NUM_POSTIVE_VIDEO_PROPOSAL"],
        negative_iou=loss["NEGATIVE_VIDEO_IOU"], sentence_removal_iou=loss["SENT_REMOVAL_IOU"],
        tau_video=loss["TAU_VIDEO"], tau_sentence=loss["TAU_SENT"], margin=loss["MARGIN"],
        contrastive_weight=loss["CONTRASTIVE_WEIGHT"],
    )  # fmt: skip


@pytest.mark.parametrize("block", ["train_batch", "train_single_video"])
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_of_the_whole_model_in_float64(
    name: str, block: str
) -> None:
    case = Case(name, torch.float64)
    # The float64 expectation of TACoS was made with float32 targets (see the specification, 0.3).
    target_dtype = torch.float32 if name.startswith("tacos") else torch.float64
    expected = case.scalars_f64[block]
    losses, _ = run(case, expected["videos"], target_dtype)
    config = loss_config(case)
    assert losses.iou.item() == pytest.approx(expected["loss_iou"], rel=1e-9)
    assert losses.video.item() == pytest.approx(expected["loss_vid"], rel=1e-9)
    assert losses.sentence.item() == pytest.approx(expected["loss_sent"], rel=1e-9)
    losses.total(config.contrastive_weight).backward()
    norm = torch.nn.utils.get_total_norm(
        [p.grad for p in case.model.parameters() if p.grad is not None]
    )
    assert norm.item() == pytest.approx(
        expected["total_grad_norm_before_clip"], rel=1e-7
    )
    if block == "train_single_video":  # its gradients are given by their norm alone
        return
    ours = dict(case.model.named_parameters())
    largest = max(entry["l2"] for entry in expected["grad"].values())
    for key, entry in expected["grad"].items():
        gradient = ours[own_name(key)].grad
        assert gradient is not None, key
        # Gradients that are zero in exact arithmetic are rounding noise on both sides.
        assert float(gradient.norm()) == pytest.approx(
            entry["l2"], rel=1e-6, abs=1e-10 * largest
        ), key


def run(
    case: Case, videos: list[int], target_dtype: torch.dtype
) -> tuple[Losses, Batch]:
    inputs, model = case.inputs, case.model.train()
    x = torch.stack(
        [
            pool_to_pre_clips(
                torch.from_numpy(inputs[f"feat_{v}"]).to(case.dtype),
                model.config.num_pre_clips,
            )
            for v in videos
        ]
    )
    of, moments, targets, sentences = [], [], [], []
    for number, v in enumerate(videos):
        ids = torch.from_numpy(inputs[f"tokens_{v}"])
        mask = (
            torch.arange(ids.shape[1])
            < torch.from_numpy(inputs[f"wordlen_{v}"])[:, None]
        )
        sentences.append(model.text_encoder(ids, mask))
        single = torch.from_numpy(inputs[f"moments_{v}"])
        spans = single if target_dtype == torch.float32 else double_moments(inputs, v)
        moments.append(spans)
        targets.append(iou_targets(case, spans, float(inputs[f"duration_{v}"])))
        of += [number] * len(spans)
    batch = Batch(
        torch.tensor(of),
        torch.cat(moments).to(case.dtype),
        torch.cat(targets).to(case.dtype),
    )
    texts = unit(
        Embeddings(
            torch.cat([s.contrastive for s in sentences]),
            torch.cat([s.iou for s in sentences]),
        )
    )
    return mmn_losses(model.embed_videos(x), texts, batch, loss_config(case)), batch


def double_moments(inputs: np.lib.npyio.NpzFile, v: int) -> torch.Tensor:
    raw = inputs[f"raw_timestamps_{v}"][inputs[f"kept_{v}"]]
    return torch.from_numpy(
        np.stack(
            [raw[:, 0].clip(min=0), raw[:, 1].clip(max=float(inputs[f"duration_{v}"]))],
            1,
        )
    )


def iou_targets(case: Case, spans: torch.Tensor, duration: float) -> torch.Tensor:
    if spans.dtype == torch.float32:
        return case.model.grid.iou_targets(spans, duration)
    from mmn_index.moments import temporal_iou

    cells = (
        (case.model.grid.cells + torch.tensor([0, 1])).double()
        * duration
        / case.model.config.num_clips
    )
    return temporal_iou(spans[:, None], cells[None])


@pytest.mark.parametrize(
    "name", ["charades-mini", "activitynet-mini"]
)  # TACoS breaks IoU ties by float32 (specification, 0.3)
def test_five_optimiser_steps_in_float64(name: str) -> None:
    case = Case(name, torch.float64)
    solver = case.official["SOLVER"]
    optimiser = make_optimiser(case.model, TrainConfig(lr=solver["LR"]))
    weight = loss_config(case).contrastive_weight
    for expected in case.scalars_f64["trajectory"]["steps"]:
        losses, _ = run(case, expected["videos"], torch.float64)
        found = [losses.iou.item(), losses.video.item(), losses.sentence.item()]
        assert found == pytest.approx(
            [expected["loss_iou"], expected["loss_vid"], expected["loss_sent"]],
            rel=1e-7,
        )
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx(
            [expected["lr_base"], expected["lr_bert"]]
        )
        norm = step(case.model, optimiser, losses, weight, 5.0)
        assert norm.item() == pytest.approx(expected["grad_norm_before_clip"], rel=1e-6)
    # Tensors without a true gradient (biases in front of a norm) are rounding noise in steps of the learning rate: left out.
    state = case.model.state_dict()
    for key, entry in case.scalars_f64["trajectory"]["final_checksum"].items():
        noise = (
            ("convs." in key and key.endswith("bias"))
            or "k_lin.bias" in key
            or "running_mean" in key
            or "num_batches" in key
        )
        if not noise:
            assert state[
                own_name(key.removeprefix("module."))
            ].norm().item() == pytest.approx(entry["l2"], rel=1e-6), key


@pytest.mark.parametrize("name", ["charades-mini", "activitynet-mini"])
def test_the_schedule_of_six_epochs_in_float64(name: str) -> None:
    """Frozen text encoder, late contrastive factor and milestones, through the trainer's own epoch arithmetic."""
    case = Case(name, torch.float64)
    schedule = case.scalars_f64["schedule"]
    solver = case.official["SOLVER"]
    config = TrainConfig(
        lr=solver["LR"],
        freeze_text_epochs=2,
        full_contrastive_epochs=4,
        milestones=(3, 5),
    )
    optimiser = make_optimiser(case.model, config)
    rates = torch.optim.lr_scheduler.MultiStepLR(
        optimiser, list(config.milestones), gamma=0.1
    )
    steps = len(schedule["steps"]) // 6
    for number, expected in enumerate(schedule["steps"]):
        if number % steps == 0:
            if number:
                rates.step()
            weight = start_epoch(
                case.model, config, loss_config(case), 1 + number // steps
            )
        losses, _ = run(case, expected["videos"], torch.float64)
        found = [losses.iou.item(), losses.video.item(), losses.sentence.item()]
        assert found == pytest.approx(
            [expected["loss_iou"], expected["loss_vid"], expected["loss_sent"]],
            rel=1e-6,
        )
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx(
            [expected["lr_base"], expected["lr_bert"]]
        )
        assert step(case.model, optimiser, losses, weight, 5.0).item() == pytest.approx(
            expected["grad_norm_before_clip"], rel=1e-5
        )
