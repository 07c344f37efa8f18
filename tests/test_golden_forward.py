"""Every stage of the forward pass against the official implementation's own numbers."""

import numpy as np
import pytest
import torch
from golden import CASES, Case

from mmn_index.clips import pool_to_pre_clips
from mmn_index.moments import nms_top
from mmn_index.scoring import cosines
from mmn_index.video_encoder import masked_counts


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def close(case: Case, name: str, ours: torch.Tensor) -> None:
    expected = case.expected[name]
    assert tuple(ours.shape) == expected.shape
    worst = float(np.abs(ours.detach().numpy() - expected).max())
    assert worst <= case.tolerance(name), f"{name}: differs by {worst}, tolerance {case.tolerance(name)}"


def pre_clips(case: Case) -> torch.Tensor:
    rows = [torch.from_numpy(case.inputs[f"feat_{v}"]) for v in range(case.num_videos)]
    return torch.stack([pool_to_pre_clips(x, case.model.config.num_pre_clips) for x in rows])


def test_the_grid_has_the_official_cells_in_the_official_order(case: Case) -> None:
    assert np.array_equal(case.model.grid.mask.numpy(), case.expected["mask2d"])
    assert np.array_equal(case.model.grid.cells.numpy(), case.expected["valid_ij"])
    assert len(case.model.grid) == case.scalars["num_valid_proposals"]


def test_masked_counts(case: Case) -> None:
    config = case.model.config
    for layer, count in enumerate(masked_counts(case.model.grid.mask, config.conv_kernel, config.conv_layers)):
        assert np.array_equal(count.numpy(), case.expected[f"masked_count_{layer}"])


def test_video_side(case: Case) -> None:
    x = pre_clips(case)
    close(case, "avgfeats", x)
    encoder = case.model.video_encoder
    with torch.no_grad():
        clips = encoder.featpool(x)
        close(case, "featpool", clips)
        cells = encoder.proposal_map(clips)
        i, j = case.model.grid.cells.T
        close(case, "feat2d_valid", cells[:, :, i, j])
        assert float(cells[:, :, ~case.model.grid.mask].abs().max()) == 0
        close(case, "conv_stack_valid", encoder.proposal_conv.features(cells).transpose(1, 2))
        both = encoder(x)
    close(case, "map2d_valid", both.contrastive.transpose(1, 2))
    close(case, "map2d_iou_valid", both.iou.transpose(1, 2))


def test_text_side_scores_targets_and_nms(case: Case) -> None:
    model, inputs = case.model, case.inputs
    score = model.score("product")
    with torch.no_grad():
        videos = model.embed_videos(pre_clips(case))
        for v in range(case.num_videos):
            ids = torch.from_numpy(inputs[f"tokens_{v}"])
            mask = torch.arange(ids.shape[1]) < torch.from_numpy(inputs[f"wordlen_{v}"])[:, None]
            pooled = model.text_encoder.pool(ids, mask)
            close(case, f"text_pooled_{v}", pooled)
            close(case, f"text_layernorm_{v}", model.text_encoder.norm(pooled))
            raw = model.text_encoder.project(pooled)
            close(case, f"sent_feat_{v}", raw.contrastive)
            close(case, f"sent_feat_iou_{v}", raw.iou)
            queries = type(raw)(*(torch.nn.functional.normalize(x, dim=-1) for x in raw))
            c, i = cosines(queries, type(videos)(videos.contrastive[v], videos.iou[v]))
            close(case, f"contrastive_{v}", c)
            close(case, f"iou_{v}", torch.sigmoid(10 * i))
            close(case, f"fused_{v}", score(c, i))
            duration = float(inputs[f"duration_{v}"])
            targets = model.grid.iou_targets(torch.from_numpy(inputs[f"moments_{v}"]), duration)
            assert np.array_equal(targets.numpy(), case.expected[f"iou2d_{v}"])  # bit for bit
            # NMS on the official scores: a score that differs in the last bit may swap neighbours.
            spans = model.grid.seconds(duration)
            kept = nms_top(torch.from_numpy(case.expected[f"fused_{v}"]), spans, case.official["TEST"]["NMS_THRESH"], 10)
            ours = np.where((kept < 0)[..., None], np.nan, spans[kept.clamp(min=0)].numpy())
            assert np.array_equal(ours, case.expected[f"nms_top10_{v}"], equal_nan=True)
