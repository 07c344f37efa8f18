"""The golden data: made by running the official implementation, read from the shared folder beside the project.

Where the folder is expected (CI is set) its absence fails; elsewhere the tests that need it say so and skip.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, models
from transformers import DistilBertConfig, DistilBertModel

from mmn_index.config import ModelConfig
from mmn_index.model import MMN
from mmn_index.official import read_official
from mmn_index.text_encoder import SentenceTokenizer

SHARED = Path(__file__).resolve().parents[2] / "shared"
CASES = ("charades-mini", "activitynet-mini", "tacos-mini")


def golden(*parts: str) -> Path:
    """Path of a golden file or folder; skips or fails without it."""
    path = SHARED.joinpath("golden", *parts)
    if not path.exists():
        message = f"golden data not found at {path}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


class Case:
    """One golden model case, with our model carrying its weights."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        folder = golden(name)
        self.inputs = np.load(folder / "inputs.npz")
        self.expected = np.load(folder / "expected.npz")
        self.scalars: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        self.scalars_f64: dict[str, Any] = json.loads((folder / "expected_f64.json").read_text())
        self.floor: dict[str, Any] = json.loads((folder / "noise_floor.json").read_text())
        self.official: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
        self.dtype = dtype
        self.model = build(model_config(self.official), folder / "weights.pt").to(dtype)
        self.num_videos = int(self.inputs["num_videos"])

    def tolerance(self, array: str) -> float:
        """Ten times the official code's own float32 noise, never below 1e-6 of the largest value."""
        entry = self.floor["arrays"][array]
        return max(10 * entry["max_abs_diff"], 1e-6 * entry["max_abs_value"])


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
    bert = DistilBertModel(
        DistilBertConfig(
            vocab_size=1200,
            max_position_embeddings=64,
            dim=768,
            n_layers=1,
            n_heads=12,
            hidden_dim=128,
            dropout=0.0,
            attention_dropout=0.0,
        )
    )
    model = MMN(config, bert, SentenceTokenizer(Tokenizer(models.WordLevel({"w": 0}, unk_token="w")), 0, 64))
    model.load_state_dict(read_official(weights))
    return model.eval()
