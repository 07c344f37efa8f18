"""A model directory of either kind: a trained MMN (checkpoint.py), or a dual encoder (zero_shot.py)."""

import os
from pathlib import Path

from . import checkpoint, zero_shot
from .errors import CheckpointError
from .moment_model import ModelInfo, MomentModel
from .proposals import ProposalGrid

__all__ = ["load_model"]  # what is stable (docs/compatibility.md)


def model_info(path: str | os.PathLike[str]) -> ModelInfo:
    """What a model says of itself, without loading its weights.

    Raises:
        CheckpointError: it is missing, incomplete, damaged, or of a newer format.
    """
    if zero_shot.is_zero_shot(Path(path)):
        return zero_shot.info(path)
    about = checkpoint.info(path)
    return ModelInfo(
        path=about.path,
        name=str(about.path),
        fingerprint=about.fingerprint,
        features=about.features,
        weights=None,
        input_dim=about.config.input_dim,
        joint_dim=about.config.joint_dim,
        spaces=2,
        longest=1.0,
        power=about.config.power,
        tau=about.config.tau,
        grid=ProposalGrid(about.config.num_clips, about.config.pooling_counts),
        windows=about.windows,
        sentences=about.sentences,
        sentences_file=about.sentences_file,
        encoder=about.encoder,
        tubes=about.config.tubes,
    )


def refuse_tubes(path: Path, what: str, *, tubes: bool) -> None:
    """Stop where moments of whole videos are needed.

    Args:
        path: of the model or index.
        what: cannot be done, for people.

    Raises:
        CheckpointError: it is one of tubes.
    """
    if tubes:
        raise CheckpointError(f"{path}: is made for tubes, where {what}.")


def load_model(path: str | os.PathLike[str], device: str = "cpu", encoder: str | None = None) -> MomentModel:
    """A model, ready to embed.

    Args:
        encoder: where a dual encoder may lie now, beside the places that are known.

    Raises:
        CheckpointError: it is missing or damaged, or what it refers to is not found.
        ConfigError: there is no such device.
    """
    if zero_shot.is_zero_shot(Path(path)):
        return zero_shot.load(path, device, encoder)
    return checkpoint.load(path, device, plain=True)
