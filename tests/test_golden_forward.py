"""Every stage of the forward pass against the official implementation's own numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import CASES, Case, build, check_recalls
from mmn_index.train.settings import SETTINGS

from mmn_index.clips import pool_to_pre_clips
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.features import FeatureFile
from mmn_index.moments import nms_top
from mmn_index.scoring import Embeddings, cosines
from mmn_index.video_encoder import masked_counts


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_the_setting_of_the_paper_is_the_official_configuration(case: Case) -> None:
    """But for the widths and the kind of the 2D map, all that a case changes."""
    ours, config = SETTINGS[case.official["DATASETS"]["NAME"]], case.model.config
    widths = {
        key: getattr(config, key)
        for key in ("input_dim", "featpool_dim", "conv_dim", "joint_dim", "map_type")
    }
    assert replace(ours.model, **widths) == config
    assert ours.loss == case.loss
    official = case.train_config({})
    for key in ("epochs", "batch_size", "lr", "milestones", "freeze_text_epochs", "full_contrastive_epochs"):
        assert getattr(ours.train, key) == getattr(official, key), key
    assert ours.train.nms == case.official["TEST"]["NMS_THRESH"]


def test_annotations_features_and_words_are_read_as_officially(case: Case) -> None:
    inputs, split = case.inputs, read_annotations(case.folder / "annotations.json")
    assert [video.video_id for video in split.videos] == list(case.annotations)
    assert len(split.videos) == case.num_videos
    with FeatureFile(case.folder / "features.hdf5") as features:
        for v, video in enumerate(split.videos):
            raw, kept = case.annotations[video.video_id], inputs[f"kept_{v}"]
            assert np.array_equal(raw["timestamps"], inputs[f"raw_timestamps_{v}"])
            assert list(video.sentences) == np.array(raw["sentences"])[kept].tolist()
            assert video.duration == case.duration(v)
            assert video.moments.dtype == torch.float32
            assert np.array_equal(video.moments.numpy(), inputs[f"moments_{v}"])  # bit for bit
            ids, mask = case.model.tokenizer(video.sentences)
            assert torch.equal(ids, case.tokens(v)[0])
            assert torch.equal(mask, case.tokens(v)[1])
            snippets = features.read(video.video_id, case.model.config.input_dim)
            assert snippets.dtype == inputs[f"feat_{v}"].dtype
            assert np.array_equal(snippets, inputs[f"feat_{v}"])
    assert split.dropped == sum(int((~inputs[f"kept_{v}"]).sum()) for v in range(case.num_videos))


def test_the_grid_has_the_official_cells_in_the_official_order(case: Case) -> None:
    assert np.array_equal(case.model.grid.mask.numpy(), case.expected["mask2d"])
    assert np.array_equal(case.model.grid.cells.numpy(), case.expected["valid_ij"])
    assert len(case.model.grid) == case.scalars["num_valid_proposals"]


def test_masked_counts(case: Case) -> None:
    config = case.model.config
    counts = masked_counts(case.model.grid.mask, config.conv_kernel, config.conv_layers)
    assert len(counts) == sum(name.startswith("masked_count_") for name in case.expected)
    for layer, count in enumerate(counts):
        assert np.array_equal(count.numpy(), case.expected[f"masked_count_{layer}"])


def test_video_side(case: Case) -> None:
    x = case.pre_clips()
    case.close("avgfeats", x)
    encoder = case.model.video_encoder
    with torch.no_grad():
        clips = encoder.featpool(x)
        case.close("featpool", clips)
        cells = encoder.proposal_map(clips)
        i, j = case.model.grid.cells.T
        case.close("feat2d_valid", cells[:, :, i, j])
        assert float(cells[:, :, ~case.model.grid.mask].abs().max()) == 0
        case.close("conv_stack_valid", encoder.proposal_conv.features(cells).transpose(1, 2))
        both = encoder(x)
    case.close("map2d_valid", both.contrastive.transpose(1, 2))
    case.close("map2d_iou_valid", both.iou.transpose(1, 2))


def test_the_learned_map_against_loops(case: Case, tmp_path: Path) -> None:
    """FEAT2D conv, on the clips and the grid of the case; a case with pooling gets tensors under the official
    names.
    """
    config, path = case.model.config, case.folder / "weights.pt"
    state = torch.load(path, weights_only=True)["model"]
    if config.map_type == "pool":
        random = torch.Generator().manual_seed(0)
        for number, (window, _, _) in enumerate(slow_chain(config.pooling_counts)):
            weight = torch.randn(config.featpool_dim, config.featpool_dim, window, generator=random)
            state[f"module.feat2d.convs.{number}.weight"] = weight / (window * config.featpool_dim) ** 0.5
            state[f"module.feat2d.convs.{number}.bias"] = torch.randn(config.featpool_dim, generator=random)
        path = tmp_path / "weights.pt"
        torch.save({"model": state}, path)
    model = build(replace(config, map_type="conv"), path).double()
    clips = torch.from_numpy(case.expected["featpool"]).double()
    with torch.no_grad():
        cells = model.video_encoder.proposal_map(clips)
    expected = slow_learned_map(clips, state, config.pooling_counts)
    assert torch.allclose(cells, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    if config.map_type == "conv":
        i, j = case.model.grid.cells.T
        case.close("feat2d_valid", expected[:, :, i, j].float())


def slow_chain(counts: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Window, stride over the diagonal before, and stride over the clips of each diagonal after the
    main one.
    """
    rows = []
    for group, count in enumerate(counts):
        for number in range(count):
            rows.append((3, 2, 2**group) if group > 0 and number == 0 else (2, 1, 2**group))
    return rows


def slow_learned_map(
    clips: torch.Tensor, state: dict[str, torch.Tensor], counts: tuple[int, ...]
) -> torch.Tensor:
    """Each convolution takes the diagonal before; its outputs lie `stride` apart on the next one, which
    starts at clip 0.
    """
    num_clips = clips.shape[2]
    cells = clips.new_zeros(*clips.shape[:2], num_clips, num_clips)
    for i in range(num_clips):
        cells[:, :, i, i] = clips[:, :, i]
    offset, diagonal = 0, clips
    for number, (window, step, stride) in enumerate(slow_chain(counts)):
        weight, bias = (state[f"module.feat2d.convs.{number}.{name}"].double() for name in ("weight", "bias"))
        assert weight.shape[2] == window
        offset += stride
        starts = range(0, num_clips - offset, stride)
        values = [
            bias + sum(diagonal[:, :, step * n + w] @ weight[:, :, w].T for w in range(window))
            for n in range(len(starts))
        ]
        diagonal = torch.stack(values, dim=2)
        for n, i in enumerate(starts):
            cells[:, :, i, i + offset] = diagonal[:, :, n]
    return cells


def test_text_side_scores_and_targets(case: Case) -> None:
    model = case.model
    score = model.score("product")
    with torch.no_grad():
        videos = model.embed_videos(case.pre_clips())
        for v in range(case.num_videos):
            ids, mask = case.tokens(v)
            if f"bert_last_hidden_{v}" in case.expected:
                case.close(
                    f"bert_last_hidden_{v}", model.text_encoder.bert(ids, mask.long()).last_hidden_state
                )
            pooled = model.text_encoder.pool(ids, mask)
            case.close(f"text_pooled_{v}", pooled)
            case.close(f"text_layernorm_{v}", model.text_encoder.norm(pooled))
            raw = model.text_encoder.project(pooled)
            case.close(f"sent_feat_{v}", raw.contrastive)
            case.close(f"sent_feat_iou_{v}", raw.iou)
            queries = Embeddings(*(torch.nn.functional.normalize(x, dim=-1) for x in raw))
            c, i = cosines(queries, Embeddings(videos.contrastive[v], videos.iou[v]))
            case.close(f"contrastive_{v}", c)
            case.close(f"iou_{v}", torch.sigmoid(10 * i))
            case.close(f"fused_{v}", score(c, i))
            targets = case.targets(v, torch.float32)
            assert np.array_equal(targets.numpy(), case.expected[f"iou2d_{v}"])  # bit for bit


def test_positives_of_the_losses(case: Case) -> None:
    """Ties at the boundary, which are listed, leave a choice; that the losses meet it shows that it is made
    alike.
    """
    ties = dict(case.scalars.get("topk_boundary_ties", []))
    for v in range(case.num_videos):
        targets, official = case.targets(v, torch.float32), torch.from_numpy(case.expected[f"topk_index_{v}"])
        ours = targets.topk(case.loss.num_positives, dim=1).indices
        assert torch.equal(targets.gather(1, ours), targets.gather(1, official))
        clear = [s for s in range(len(targets)) if s not in ties.get(v, [])]
        assert torch.equal(ours[clear].sort().values, official[clear].sort().values)


def test_nms(case: Case) -> None:
    """On the official scores: one that differs in the last bit may swap neighbours."""
    threshold = case.official["TEST"]["NMS_THRESH"]
    for v in range(case.num_videos):
        scores, spans = (
            torch.from_numpy(case.expected[f"fused_{v}"]),
            case.model.grid.seconds(case.duration(v)),
        )
        official, counts = case.expected[f"nms_top10_{v}"], torch.from_numpy(case.expected[f"nms_kept_{v}"])
        kept = nms_top(scores, spans, threshold, int(counts.max()) + 1)
        assert torch.equal((kept >= 0).sum(dim=1), counts)
        top = kept[:, :10]
        ours = np.where((top < 0)[..., None], np.nan, spans[top.clamp(min=0)].numpy())
        for s in np.flatnonzero(
            [not np.array_equal(a, b, equal_nan=True) for a, b in zip(ours, official, strict=True)]
        ):
            # Bit-equal scores have no order: both have to begin to differ in moments of the same score.
            rank = np.flatnonzero((ours[s] != official[s]).any(axis=1))[0]
            position = np.flatnonzero((spans.numpy() == official[s, rank]).all(axis=1))[0]
            assert scores[s, top[s, rank]] == scores[s, position], f"video {v}, sentence {s}, rank {rank}"


def test_the_evaluation_finds_the_official_result(case: Case) -> None:
    """From the files of the case to its recalls, through this project's own evaluation."""
    split = read_annotations(case.folder / "annotations.json")
    with FeatureFile(case.folder / "features.hdf5") as features:
        pre_clips = {
            video_id: pool_to_pre_clips(
                torch.from_numpy(features.read(video_id)), case.model.config.num_pre_clips
            )
            for video_id in features.video_ids
        }
    found = evaluate_videos(
        case.model, split.videos, pre_clips.__getitem__, nms=case.official["TEST"]["NMS_THRESH"]
    )
    check_recalls(case.scalars["official_evaluate_on_this_case"], found.ious)
