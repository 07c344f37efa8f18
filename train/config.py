"""How a model is trained: the optimiser, its schedule, and what a whole setting is made of."""

from dataclasses import dataclass, field

import torch

from mmn_index.config import ModelConfig
from mmn_index.errors import ConfigError
from mmn_index.scoring import SCORES

from .losses import LossConfig

PRECISIONS = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}  # autocast; weights stay float32


@dataclass(frozen=True)
class TrainConfig:
    """The optimiser and its schedule; epochs are counted from 1 (paper section 4, official configurations).

    A step's videos are embedded in groups, one after the other on one device (which accumulates their
    gradients, so a group is what has to fit into memory) and side by side on several. The result is the same
    for any number of devices.
    """

    epochs: int = 18
    batch_size: int = 48  # videos of a step, each with all of its sentences
    # videos that share the statistics of BatchNorm; 0 = all of the step, the paper's are one GPU's
    group_size: int = 0
    # a video's negatives are the others of its "group" (the paper's), or all of the step: "global"
    negatives: str = "group"
    lr: float = 1e-4
    text_lr_factor: float = 0.1  # the text encoder's rate is lr times this
    milestones: tuple[int, ...] = (8, 13)  # the rate is a tenth from the epoch after each of these on
    freeze_text_epochs: int = 4  # the text encoder is not trained up to this epoch
    # dropout of the text encoder; without it, a frozen one embeds every sentence once and for all
    text_dropout: bool = True
    full_contrastive_epochs: int = 7  # after this epoch the contrastive losses count ...
    late_contrastive_factor: float = 0.01  # ... this much of their weight (officially called ONLY_IOU)
    weight_decay: float = 1e-5  # on every parameter
    beta2: float = 0.99  # of AdamW; torch's own is 0.999
    clip_norm: float = 5.0  # of the whole gradient
    seed: int = 0
    # sentences of different videos with one label are no negatives of each other; nor are ...
    alike_labels: bool = False
    # ... those whose pre-trained embeddings have this cosine or more; 0 is the paper's: all are
    alike_cosine: float = 0.0
    # videos that are added to a group, drawn from those mined for its sentences; see mining.py
    hard_negatives: int = 0
    refresh_epochs: int = 0  # mine anew with the model as it is after every so many epochs; 0 never does
    # each epoch sees a video without up to this share of it, cut off at its ends; 0 is the paper's
    crop: float = 0.0
    precision: str = "float32"  # or "bfloat16" or "float16": mixed precision of the two encoders
    compile: bool = False  # torch.compile the video side
    hold_out: float = 0.0  # share of the training videos that validates where no validation split is given
    select: str = "best"  # keep the weights of the best epoch on the validation split, or of the "last" one
    patience: int = 0  # stop after so many epochs without a better one; 0 goes on to the end
    score: str = "product"  # of the validation; the paper's
    nms: float = 0.5  # of the validation

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0:
            raise ConfigError(
                f"train.epochs ({self.epochs}), batch_size ({self.batch_size}) and lr ({self.lr}) must be "
                "above 0."
            )
        if self.group_size < 0 or (self.group_size and self.batch_size % self.group_size):
            raise ConfigError(
                f"train.batch_size ({self.batch_size}) must be a multiple of train.group_size "
                f"({self.group_size}); 0 is one group."
            )
        if self.hard_negatives < 0 or self.refresh_epochs < 0:
            raise ConfigError(
                f"train.hard_negatives ({self.hard_negatives}) and refresh_epochs ({self.refresh_epochs}) "
                "must be 0 or above."
            )
        if self.hard_negatives and not self.removes_alike:
            raise ConfigError(
                "train.hard_negatives needs train.alike_cosine or train.alike_labels: an added video may "
                "show what another sentence of the group describes."
            )
        if self.refresh_epochs and not self.hard_negatives:
            raise ConfigError(
                "train.refresh_epochs mines hard negatives, but train.hard_negatives is 0, so none are used. "
                "Set both, or neither."
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        for name in ("crop", "hold_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"train.{name} is {getattr(self, name)}, expected a share, from 0 to below 1."
                )
        if not 0 < self.beta2 < 1:
            raise ConfigError(f"train.beta2 is {self.beta2}, expected a number between 0 and 1.")
        if not 0 <= self.alike_cosine <= 1:
            raise ConfigError(
                f"train.alike_cosine is {self.alike_cosine}, expected a cosine, or 0 for the paper's "
                "negatives."
            )
        if self.patience < 0:
            raise ConfigError(
                f"train.patience is {self.patience}, expected a number of epochs, or 0 to go on to the end."
            )
        if (
            self.clip_norm <= 0
            or min(self.weight_decay, self.text_lr_factor, self.late_contrastive_factor) < 0
        ):
            raise ConfigError(
                f"train.clip_norm ({self.clip_norm}) must be above 0; weight_decay ({self.weight_decay}), "
                f"text_lr_factor ({self.text_lr_factor}) and late_contrastive_factor "
                f"({self.late_contrastive_factor}) 0 or above."
            )
        if not 0 <= self.nms <= 1:
            raise ConfigError(f"train.nms is {self.nms}, expected a temporal IoU from 0 to 1.")
        names = {
            "score": SCORES,
            "negatives": ("group", "global"),
            "precision": tuple(PRECISIONS),
            "select": ("best", "last"),
        }
        for name, known in names.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"train.{name} is '{getattr(self, name)}', expected one of {', '.join(known)}."
                )

    @property
    def removes_alike(self) -> bool:
        """Whether sentences that mean the same are no negatives of each other; equal texts always mean the
        same then.
        """
        return self.alike_labels or self.alike_cosine > 0

    @property
    def num_groups(self) -> int:
        """Groups of a full step."""
        return self.batch_size // (self.group_size or self.batch_size)


@dataclass(frozen=True)
class Setting:
    """Everything a training run is made of."""

    model: ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        config = self.train
        for name, used in {
            "negatives: global": config.negatives == "global",
            "hard_negatives": config.hard_negatives > 0,
            "alike_labels or alike_cosine": config.removes_alike,
            "crop": config.crop > 0,
        }.items():
            if self.model.tubes and used:
                raise ConfigError(f"train.{name} is not for models over tubes (model.tubes). Leave it out.")
