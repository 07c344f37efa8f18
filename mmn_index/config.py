"""What a model is: every number that shapes its weights, its proposals and its score.

Letters of the project: V videos, Q queries, S snippets, M pre-clips, N clips, P proposals,
D feature width, C joint width.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True)
class ModelConfig:
    """Shape of an MMN (Wang et al., AAAI 2022) and the parameters of its score."""

    input_dim: int  # D, width of a snippet's features; 0 in a training setting means "as the features are"
    num_pre_clips: int  # M, rows that a video's snippets are averaged into
    num_clips: int  # N, clips of a video = side of the 2D map
    pooling_counts: tuple[int, ...]  # diagonals of the sparse 2D map a stride; see proposals.py
    featpool_kernel: int  # width of the average pooling from pre-clips to clips
    conv_kernel: int  # K, odd
    conv_layers: int  # L
    featpool_dim: int = 512
    conv_dim: int = 512
    joint_dim: int = 256  # C
    map_type: str = "pool"  # "pool" (max over clips) or "conv" (learned), the paper's FEAT2D
    text_model: str = "distilbert-base-uncased"  # hub id or local directory of a Hugging Face encoder
    # of the contrastive factor in the paper's score: 0.5 Charades and ActivityNet, 0.3 TACoS
    power: float = 0.5
    tau: float = 0.1  # temperature of the contrastive losses, and of the collection's score
    tubes: bool = False  # what has a map is a tube of a video: a person's boxes over time, see tube_map.py

    def __post_init__(self) -> None:
        object.__setattr__(self, "pooling_counts", tuple(self.pooling_counts))
        for name in (
            "num_pre_clips",
            "num_clips",
            "featpool_kernel",
            "conv_kernel",
            "conv_layers",
            "featpool_dim",
            "conv_dim",
            "joint_dim",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}, expected at least 1.")
        if self.input_dim < 0:
            raise ConfigError(
                f"model.input_dim is {self.input_dim}, expected a width, or 0 to take it from the features."
            )
        if self.conv_kernel % 2 == 0:
            raise ConfigError(f"model.conv_kernel is {self.conv_kernel}, expected an odd number.")
        if self.map_type not in ("pool", "conv"):
            raise ConfigError(f"model.map_type is '{self.map_type}', expected 'pool' or 'conv'.")
        if self.num_pre_clips % self.num_clips:
            raise ConfigError(
                f"model.num_pre_clips ({self.num_pre_clips}) must be a multiple of model.num_clips "
                f"({self.num_clips})."
            )
        if self.featpool_kernel > self.num_pre_clips // self.num_clips:
            raise ConfigError(
                f"model.featpool_kernel ({self.featpool_kernel}) must not exceed num_pre_clips / num_clips "
                f"({self.num_pre_clips // self.num_clips}), the stride: the pooled clips would be fewer than "
                "num_clips."
            )
        if not (self.power > 0 and self.tau > 0):
            raise ConfigError(f"model.power ({self.power}) and model.tau ({self.tau}) must be above 0.")

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON takes them."""
        found = {**asdict(self), "pooling_counts": list(self.pooling_counts)}
        if not self.tubes:  # models from before there were tubes have the same fingerprint
            del found["tubes"]
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> "ModelConfig":
        """Read the fields back.

        Raises:
            ConfigError: a field is missing or unknown; the message starts with `where`.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(
                f"{where}: unknown model settings {unknown}. Was it written by a newer version?"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"{where}: incomplete model settings ({error}).") from error


# The paper's three settings and that of its variant over tubes, MMN-STVG (official configurations).
CHARADES = ModelConfig(
    input_dim=4096,
    num_pre_clips=32,
    num_clips=16,
    pooling_counts=(15,),
    featpool_kernel=2,
    conv_kernel=5,
    conv_layers=8,
)
ACTIVITYNET = ModelConfig(
    input_dim=500,
    num_pre_clips=256,
    num_clips=64,
    pooling_counts=(15, 8, 8),
    featpool_kernel=4,
    conv_kernel=9,
    conv_layers=4,
)
TACOS = ModelConfig(
    input_dim=4096,
    num_pre_clips=256,
    num_clips=128,
    pooling_counts=(15, 8, 8, 8),
    featpool_kernel=2,
    conv_kernel=5,
    conv_layers=8,
    power=0.3,
)
STVG = ModelConfig(
    input_dim=2048,
    num_pre_clips=32,
    num_clips=16,
    pooling_counts=(15,),
    featpool_kernel=2,
    conv_kernel=7,
    conv_layers=4,
    tubes=True,
)
PAPER = {"charades": CHARADES, "activitynet": ACTIVITYNET, "tacos": TACOS, "stvg": STVG}
