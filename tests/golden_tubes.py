"""The golden data of MMN over tubes; see golden.py."""

import json
from typing import Any

import torch
import yaml
from golden import SHARED, Case, _folders, with_weights
from mmn_index.train.config import TrainConfig
from mmn_index.train.losses import LossConfig, Losses
from mmn_index.train.settings import STVG
from mmn_index.train.tube_losses import TubeBatch, tube_losses
from transformers import DistilBertConfig

from mmn_index.config import ModelConfig
from mmn_index.model import MMN, unit
from mmn_index.official import read_official
from mmn_index.scoring import Embeddings
from mmn_index.tube_map import iou_targets, tube_pre_clips
from mmn_index.tubes import Tube

TUBE_CASES = tuple(
    name
    for name in _folders("weights.pt", "config.yaml")
    if "TAN" in yaml.safe_load((SHARED / "golden" / name / "config.yaml").read_text())["MODEL"]
) or ("stvg-mini", "stvg-mini-k7")
UNUSED = "featpool.fc"  # a branch whose result goes nowhere


class TubeCase(Case):
    """One golden case of MMN-STVG, with our model carrying its weights."""

    clip_norm = 10.0
    gradients_are_clipped = False

    def build(self) -> MMN:
        """Without the branch that has no use."""
        tan, given = self.official["MODEL"]["TAN"], self.official["INPUT"]
        config = ModelConfig(
            input_dim=sum(tan["FEATPOOL"]["INPUT_SIZE"]),
            num_pre_clips=given["NUM_PRE_CLIPS"],
            num_clips=tan["NUM_CLIPS"],
            pooling_counts=tuple(tan["FEAT2D"]["POOLING_COUNTS"]),
            featpool_dim=tan["FEATPOOL"]["HIDDEN_SIZE"],
            featpool_kernel=tan["FEATPOOL"]["KERNEL_SIZE"],
            conv_dim=tan["PREDICTOR"]["HIDDEN_SIZE"],
            conv_kernel=tan["PREDICTOR"]["KERNEL_SIZE"],
            conv_layers=tan["PREDICTOR"]["NUM_STACK_LAYERS"],
            joint_dim=tan["JOINT_SPACE_SIZE"],
            map_type=tan["FEAT2D"]["NAME"],
            tubes=True,
        )
        text = json.loads((self.folder / "text_config.json").read_text())
        bert = DistilBertConfig(**{key: value for key, value in text.items() if key != "model_type"})
        weights = read_official(self.folder / "weights.pt")
        used = {name: tensor for name, tensor in weights.items() if UNUSED not in name}
        assert len(weights) == len(used) + 4
        return with_weights(config, bert, used)

    def known(self, official: dict[str, Any]) -> dict[str, Any]:
        """Without the branch that has no use."""
        return {name: entry for name, entry in official.items() if not name.startswith(UNUSED)}

    @property
    def loss(self) -> LossConfig:
        loss = self.official["MODEL"]["TAN"]["LOSS"]
        return LossConfig(
            min_iou=loss["MIN_IOU"],
            max_iou=loss["MAX_IOU"],
            negative_iou=loss["NEGATIVE_VIDEO_IOU"],
            tau_video=loss["TAU_VIDEO"],
            tau_sentence=loss["TAU_SENT"],
            margin=loss["MARGIN"],
            contrastive_weight=loss["CONTRASTIVE_WEIGHT"],
        )

    def train_config(self, overrides: dict[str, Any]) -> TrainConfig:
        """What the yaml does not say is written in the official code, and in our setting."""
        official = super().train_config(overrides)
        return TrainConfig(
            **{
                **{
                    key: getattr(official, key)
                    for key in (
                        "epochs",
                        "batch_size",
                        "lr",
                        "milestones",
                        "freeze_text_epochs",
                        "full_contrastive_epochs",
                    )
                },
                "weight_decay": STVG.train.weight_decay,
                "beta2": STVG.train.beta2,
                "clip_norm": STVG.train.clip_norm,
            }
        )

    def tubes(self, video: int) -> list[Tube]:
        """The tubes of a video, in the order of the file."""
        given = [self.inputs[f"tube_{video}_{t}"] for t in range(int(self.inputs[f"num_tubes_{video}"]))]
        return [as_tube(rows, self.dtype) for rows in given]

    def truth(self, video: int) -> Tube:
        return as_tube(self.inputs[f"gt_tube_{video}"], self.dtype)

    def pre_clips(self, videos: list[int] | None = None) -> torch.Tensor:
        """(R, M, D) of the tubes of some videos, or of all."""
        made = []
        for video in range(self.num_videos) if videos is None else videos:
            for tube in range(len(self.tubes(video))):
                streams = [
                    torch.from_numpy(self.inputs[f"feat{stream}_{video}_{tube}"])[:, 1:].to(self.dtype)
                    for stream in range(len(self.official["MODEL"]["TAN"]["FEATPOOL"]["INPUT_SIZE"]))
                ]
                made.append(tube_pre_clips(streams, self.model.config.num_pre_clips))
        return torch.stack(made)

    def tokens(self, video: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.from_numpy(self.inputs[f"tokens_{video}"])
        return ids, torch.ones_like(ids, dtype=torch.bool)

    def tube_targets(self, video: int) -> torch.Tensor:
        """(T, P): boxes with a pixel more, as officially."""
        truth = self.truth(video)
        return torch.stack([iou_targets(self.model.grid, tube, truth, 1) for tube in self.tubes(video)])

    def losses(self, videos: list[int], target_dtype: torch.dtype) -> Losses:
        """The losses of a batch in training mode."""
        targets = [self.tube_targets(video) for video in videos]
        counts = torch.tensor([len(each) for each in targets])
        batch = TubeBatch(torch.arange(len(videos)).repeat_interleave(counts), torch.cat(targets))
        model = self.model.train()
        sentences = [model.text_encoder(*self.tokens(video)) for video in videos]
        texts = unit(Embeddings(*(torch.cat(parts) for parts in zip(*sentences, strict=True))))
        return tube_losses(model.embed_videos(self.pre_clips(videos)), texts, batch, self.loss)


def as_tube(rows: Any, dtype: torch.dtype = torch.float32) -> Tube:
    """From (n, 5) or more: frame number, x1, y1, x2, y2."""
    numbers = torch.from_numpy(rows)
    return Tube(numbers[:, 0].long(), numbers[:, 1:5].to(dtype))
