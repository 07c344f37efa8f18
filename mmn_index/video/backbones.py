"""Backbones: what turns a video's frames into snippets, the rows of a feature file.

`pixels` needs no weights. Everything else is the name of a folder or of a repository on the Hugging Face Hub
that holds a dual encoder such as CLIP or SigLIP (its image tower; one frame a snippet), one that describes
videos such as X-CLIP, or VideoMAE (one window of frames a snippet). A snippet covers 1 / rate seconds, its
frames evenly spread over them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import ConfigError
from ..hub import is_repository, model_folder
from .picture import FrameSize

_Frames = Iterable[np.ndarray]


class Backbone(Protocol):
    """Frames in, snippets out.

    Attributes:
        name: what a feature file says its features were made by: the model and how its output is pooled.
        weights: SHA-256 of its weights, whatever it is called; None where there are none.
        dim: width D of a snippet.
        rate: snippets a second, unless something else is asked for.
        frames_per_snippet: frames have to come at rate x frames_per_snippet a second.
        size: the size that they have to have.
        reach: frames before a block that it depends on.
    """

    name: str
    weights: str | None
    dim: int
    rate: float
    frames_per_snippet: int
    size: FrameSize
    reach: int

    @property
    def block(self) -> int:
        """Snippets are worked out in blocks that begin at multiples of this; a video is resumed there."""
        ...

    def __call__(self, frames: _Frames, resumed: bool = False) -> Iterator[np.ndarray]:
        """Describe one video, holding only a few of its frames at any time.

        Args:
            frames: (H, W, 3) uint8 RGB in time order, from the first to the last of the video.
            resumed: they begin `reach` frames before a block that is not the first one, and snippets with it.
                They are the same to the bit as those of the whole video.

        Yields:
            (n, D) float32 blocks, ceil(frames / frames_per_snippet) snippets in all; where the last snippet
            lacks frames, the last frame stands in.
        """
        ...


def load_backbone(name: str, device: str = "cpu") -> Backbone:
    """The backbone of this name.

    Args:
        name: "pixels", a folder with a model, or a repository "owner/name" of the Hugging Face Hub.
        device: where a network runs, as torch names it; `pixels` runs on the CPU.

    Raises:
        ConfigError: no such model, one of another kind, or a device that is not there.
        DependencyError: the model needs a package that is not installed.
    """
    if name == "pixels":
        from .pixels import Pixels

        return Pixels()
    if not Path(name).is_dir() and (name.count("/") != 1 or not is_repository(name)):
        raise ConfigError(
            f"{name}: no such backbone, expected 'pixels', a folder that exists, or 'owner/name' of the Hub."
        )
    folder = model_folder(name, pickles=True)  # before all that takes its time: a wrong name is told at once
    from .vision_models import load_vision_model

    return load_vision_model(folder, name, device)
