"""The golden data: made by running the official implementation, read from the shared folder beside the
project.

Where the folder is expected (CI is set) its absence fails; elsewhere the tests that need it say so and skip.
Every case that lies in the folder is tested by what it holds: no test knows a case by its name.

A float32 number is compared within ten times its noise floor, the difference between the official code in
float32 and the same code in float64, and never within less than 1e-6 of its size.
"""

import json
import os
from ast import literal_eval
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mmn_index.train.config import TrainConfig
from mmn_index.train.losses import Batch, LossConfig, Losses, mmn_losses
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import DistilBertConfig, DistilBertModel

from mmn_index.clips import pool_to_pre_clips
from mmn_index.config import ModelConfig
from mmn_index.evaluation.recall import recall
from mmn_index.model import MMN, unit
from mmn_index.moments import temporal_iou
from mmn_index.official import read_official
from mmn_index.scoring import Embeddings
from mmn_index.text_encoder import SentenceTokenizer

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folders(*files: str) -> tuple[str, ...]:
    """The golden folders that hold these files."""
    return tuple(
        sorted(
            path.name
            for path in (SHARED / "golden").glob("*")
            if all((path / file).exists() for file in files)
        )
    )


# The names stand for the data where there are none, so that their tests fail or skip instead of vanishing.
CASES = tuple(
    name
    for name in _folders("weights.pt", "config.yaml")
    if "MMN" in yaml.safe_load((SHARED / "golden" / name / "config.yaml").read_text())["MODEL"]
) or ("activitynet-mini", "charades-mini", "tacos-mini")
METRICS = _folders("annotations.json", "predictions.npz") or ("metrics-charades", "metrics-tacos")


def golden(*parts: str) -> Path:
    """Path of a golden file or folder; skips or fails without it."""
    path = SHARED.joinpath("golden", *parts)
    if not path.exists():
        message = f"golden data not found at {path}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


class Case:
    """One golden model case, with our model carrying its weights."""

    clip_norm = 5.0
    gradients_are_clipped = True  # whether the arrays of a batch's gradients are

    def __init__(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        self.folder = golden(name)
        self.inputs = arrays(self.folder / "inputs.npz")
        self.expected = arrays(self.folder / "expected.npz")
        self.scalars: dict[str, Any] = json.loads((self.folder / "expected.json").read_text())
        self.scalars_f64: dict[str, Any] = json.loads((self.folder / "expected_f64.json").read_text())
        self.floor: dict[str, Any] = json.loads((self.folder / "noise_floor.json").read_text())
        self.annotations: dict[str, Any] = json.loads((self.folder / "annotations.json").read_text())
        self.official: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text())
        self.dtype = dtype
        self.model = self.build().to(dtype)
        self.num_videos = int(self.inputs["num_videos"])

    def build(self) -> MMN:
        """Our model with the official weights."""
        return build(model_config(self.official), self.folder / "weights.pt")

    def known(self, official: dict[str, Any]) -> dict[str, Any]:
        """Entries by official names of tensors, without those that have no use and no counterpart here."""
        return official

    @property
    def numbers(self) -> dict[str, Any]:
        """What the official code computed in this case's precision."""
        return self.scalars_f64 if self.dtype == torch.float64 else self.scalars

    @property
    def loss(self) -> LossConfig:
        loss = self.official["MODEL"]["MMN"]["LOSS"]
        return LossConfig(
            min_iou=loss["MIN_IOU"],
            max_iou=loss["MAX_IOU"],
            num_positives=loss["NUM_POSTIVE_VIDEO_PROPOSAL"],
            negative_iou=loss["NEGATIVE_VIDEO_IOU"],
            sentence_removal_iou=loss["SENT_REMOVAL_IOU"],
            tau_video=loss["TAU_VIDEO"],
            tau_sentence=loss["TAU_SENT"],
            margin=loss["MARGIN"],
            contrastive_weight=loss["CONTRASTIVE_WEIGHT"],
        )

    def train_config(self, overrides: dict[str, Any]) -> TrainConfig:
        """The official solver, with a run's own changes of it."""
        solver = {
            **self.official["SOLVER"],
            **{key.removeprefix("SOLVER."): value for key, value in overrides.items()},
        }
        return TrainConfig(
            epochs=solver["MAX_EPOCH"],
            batch_size=solver["BATCH_SIZE"],
            lr=solver["LR"],
            milestones=literal_eval(solver["MILESTONES"]),
            freeze_text_epochs=solver["FREEZE_BERT"],
            full_contrastive_epochs=solver["ONLY_IOU"],
        )

    def floor_of(self, array: str) -> tuple[float, float] | None:
        """Noise of an array of expected.npz and its largest value, where the official code was run in float64
        too.
        """
        entry = self.floor["arrays"].get(array)
        return entry and (entry["max_abs_diff"], entry["max_abs_value"])

    def tolerance(self, array: str) -> float:
        entry = self.floor["arrays"][array]
        return max(10 * entry["max_abs_diff"], 1e-6 * entry["max_abs_value"])

    def close(self, array: str, ours: torch.Tensor, least: float = 0.0) -> None:
        """Compare an array of expected.npz, of which the beginning may be given, within its tolerance or
        `least`.
        """
        expected = self.expected[array].ravel()
        found = ours.detach().numpy().ravel()[: len(expected)]
        assert found.shape == expected.shape, array
        worst, allowed = float(np.abs(found - expected).max()), max(self.tolerance(array), least)
        assert worst <= allowed, f"{array}: differs by {worst}, tolerance {allowed}"

    def noise(self, scalar: str) -> float:
        """Noise of a scalar of expected.json, named like `/train_batch/loss_vid`."""
        return float(self.floor["scalars"][scalar]["absdiff"])

    def exact(self, scalar: str) -> float:
        """What the official code computed in float64."""
        found: Any = self.scalars_f64
        for part in scalar.split("/")[1:]:
            found = found[int(part) if isinstance(found, list) else part]
        return float(found)

    def near(self, scalar: str, found: float) -> None:
        """Compare a scalar that is named like `/train_batch/loss_vid`; in float64 nine digits have to
        agree.
        """
        expected: Any = self.numbers
        for part in scalar.split("/")[1:]:
            expected = expected[part]
        allowed = 1e-9 * abs(expected)
        if self.dtype == torch.float32:
            allowed = max(10 * self.noise(scalar), 1e-6 * abs(expected))
        assert found == pytest.approx(expected, rel=0, abs=allowed), scalar

    @property
    def zero_gradients(self) -> set[str]:
        """Official names of the parameters without an influence on the losses: their computed gradients are
        rounding.

        Biases in front of a BatchNorm, and of the keys of attention (softmax does not see a shift).
        """
        norms = {name: entry["l2"] for name, entry in self.scalars_f64["train_batch"]["grad"].items()}
        return {name for name, norm in norms.items() if norm < 1e-10 * max(norms.values())}

    def pre_clips(self, videos: list[int] | None = None) -> torch.Tensor:
        """(V, M, D) of some videos, or all."""
        raw = [
            torch.from_numpy(self.inputs[f"feat_{v}"])
            for v in (range(self.num_videos) if videos is None else videos)
        ]
        return torch.stack(
            [pool_to_pre_clips(x.to(self.dtype), self.model.config.num_pre_clips) for x in raw]
        )

    def tokens(self, video: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of a video's sentences."""
        ids = torch.from_numpy(self.inputs[f"tokens_{video}"])
        return ids, torch.arange(ids.shape[1]) < torch.from_numpy(self.inputs[f"wordlen_{video}"])[:, None]

    def moments(self, video: int, dtype: torch.dtype) -> torch.Tensor:
        """(S, 2) seconds: what the official loader made, or in float64 the same from the annotations."""
        if dtype == torch.float32:
            return torch.from_numpy(self.inputs[f"moments_{video}"])
        fps = list(self.annotations.values())[video].get("fps", 1.0)
        raw = torch.from_numpy(self.inputs[f"raw_timestamps_{video}"][self.inputs[f"kept_{video}"]] / fps)
        return torch.stack([raw[:, 0].clamp(min=0), raw[:, 1].clamp(max=self.duration(video))], dim=1)

    def duration(self, video: int) -> float:
        return float(self.inputs[f"duration_{video}"])

    def targets(self, video: int, dtype: torch.dtype) -> torch.Tensor:
        """(S, P) IoU targets; our own evaluates proposals in float32 always, so float64 has its own lines
        here.
        """
        moments, grid = self.moments(video, dtype), self.model.grid
        if dtype == torch.float32:
            return grid.iou_targets(moments, self.duration(video))
        cells = (grid.cells + torch.tensor([0, 1])).double() * self.duration(video) / grid.num_clips
        return temporal_iou(moments[:, None], cells[None])

    def losses(self, videos: list[int], target_dtype: torch.dtype) -> Losses:
        """The losses of a batch in training mode."""
        of = torch.cat(
            [torch.full((len(self.inputs[f"moments_{v}"]),), number) for number, v in enumerate(videos)]
        )
        moments = torch.cat([self.moments(v, target_dtype) for v in videos]).to(self.dtype)
        targets = torch.cat([self.targets(v, target_dtype) for v in videos]).to(self.dtype)
        model = self.model.train()
        sentences = [model.text_encoder(*self.tokens(v)) for v in videos]
        texts = unit(Embeddings(*(torch.cat(parts) for parts in zip(*sentences, strict=True))))
        return mmn_losses(
            model.embed_videos(self.pre_clips(videos)), texts, Batch(of, moments, targets), self.loss
        )


def check_recalls(expected: dict[str, float], ious: torch.Tensor) -> None:
    """Every number of an official result: R@n,IoU@m, and Best_Rn, their mean over m."""
    values: dict[str, list[float]] = {"1": [], "5": []}
    for key, value in expected.items():
        if key.startswith("R@"):
            n, m = key.removeprefix("R@").split(",IoU@")
            values[n].append(recall(ious, int(n), float(m)))
            assert values[n][-1] == pytest.approx(value, abs=1e-7), (
                key
            )  # rounded; one hit more is 1 / sentences
    for n, found in values.items():
        assert sum(found) / len(found) == pytest.approx(expected[f"Best_R{n}"], abs=1e-7)


def model_config(official: dict[str, Any]) -> ModelConfig:
    mmn, test = official["MODEL"]["MMN"], official["TEST"]
    return ModelConfig(
        input_dim=mmn["FEATPOOL"]["INPUT_SIZE"],
        num_pre_clips=official["INPUT"]["NUM_PRE_CLIPS"],
        num_clips=mmn["NUM_CLIPS"],
        pooling_counts=tuple(mmn["FEAT2D"]["POOLING_COUNTS"]),
        featpool_dim=mmn["FEATPOOL"]["HIDDEN_SIZE"],
        featpool_kernel=mmn["FEATPOOL"]["KERNEL_SIZE"],
        conv_dim=mmn["PREDICTOR"]["HIDDEN_SIZE"],
        conv_kernel=mmn["PREDICTOR"]["KERNEL_SIZE"],
        conv_layers=mmn["PREDICTOR"]["NUM_STACK_LAYERS"],
        joint_dim=mmn["JOINT_SPACE_SIZE"],
        map_type=mmn["FEAT2D"]["NAME"],
        power=test["CONTRASTIVE_SCORE_POW"],
    )


def build(config: ModelConfig, weights: Path) -> MMN:
    """Our model with official weights; the golden text encoder is a one-layer DistilBERT without dropout."""
    bert = DistilBertConfig(
        vocab_size=1200,
        max_position_embeddings=64,
        dim=768,
        n_layers=1,
        n_heads=12,
        hidden_dim=128,
        dropout=0.0,
        attention_dropout=0.0,
    )
    return with_weights(config, bert, read_official(weights))


def with_weights(config: ModelConfig, bert: DistilBertConfig, weights: dict[str, torch.Tensor]) -> MMN:
    """Our model with these weights and a text encoder of this shape."""
    tokenizer = SentenceTokenizer(_tokenizer(), 0, bert.max_position_embeddings)
    model = MMN(config, DistilBertModel(bert), tokenizer)
    model.load_state_dict(weights)
    return model.eval()


def _tokenizer() -> Tokenizer:
    """The golden sentences are made of words `w317`, whose number is the token."""
    special = {"[PAD]": 0, "[CLS]": 101, "[SEP]": 102}
    words = {f"w{number}": number for number in range(1200) if number not in special.values()}
    tokenizer = Tokenizer(models.WordLevel({**special, **words}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    return tokenizer
