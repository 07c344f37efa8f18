"""Backbones: what turns a video's frames into snippets, the rows of a feature file.

`pixels` needs no weights. Everything else is the name of a folder or of a repository on the Hugging
Face Hub that holds a CLIP or SigLIP model (its image tower; one frame a snippet) or a VideoMAE model
(one window of frames a snippet). A snippet covers 1 / rate seconds, its frames evenly spread over them.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import ConfigError
from ..hub import is_repository, model_folder
from .picture import FrameSize

if TYPE_CHECKING:
    import torch

_FRAMES_AT_ONCE = 32  # frames that go through a network together
_Frames = Iterable[np.ndarray]


class Backbone(Protocol):
    """Frames in, snippets out.

    Attributes:
        name: what a feature file says its features were made by: the model and how its output is pooled.
        dim: width D of a snippet.
        rate: snippets a second, unless something else is asked for.
        frames_per_snippet: frames have to come at rate x frames_per_snippet a second.
        size: the size that they have to have.
        block: snippets are worked out in blocks that begin at multiples of this; a video is resumed there.
        reach: frames before a block that it depends on.
    """

    name: str
    dim: int
    rate: float
    frames_per_snippet: int
    size: FrameSize
    block: int
    reach: int

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
    """
    if name == "pixels":
        from .pixels import Pixels

        return Pixels()
    return VisionModel(name, device)


class VisionModel:
    """A vision network of the transformers package as a backbone; the attributes are `Backbone`'s."""

    reach = 0

    def __init__(self, name: str, device: str = "cpu") -> None:
        local = Path(name).is_dir()
        if not local and (name.count("/") != 1 or not is_repository(name)):
            raise ConfigError(
                f"{name}: no such backbone, expected 'pixels', a folder that exists, or 'owner/name' of the "
                "Hub."
            )
        folder = model_folder(
            name, pickles=True
        )  # before all that takes its time: a wrong name is told at once
        import torch
        import transformers

        from ..device import find_device

        place = find_device(device)
        with _Quiet(transformers):
            settings, config = _read_settings(folder, name)
            self._kind = _kind_of(name, config)
            model = _load_weights(folder, self._kind, _vision_config(config), name)
            self._model = model.to(place).eval()
        self._torch = torch
        self.name = f"{Path(name).resolve().name if local else name}#{_POOLING[self._kind]}"
        vision: Any = self._model.config
        self.dim = int(vision.projection_dim if self._kind == "clip" else vision.hidden_size)
        self.frames_per_snippet = int(vision.num_frames) if self._kind == "videomae" else 1
        # Batches begin at the same frames of a video however these arrive: sums in a network depend on the
        # batch.
        self.block = max(1, _FRAMES_AT_ONCE // self.frames_per_snippet)
        self.rate = 1.0 if self._kind == "videomae" else 2.0
        self.size = _frame_size(settings, int(vision.image_size))
        self._scale = (
            float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
        )
        normalised = settings.get("do_normalize", True)
        self._mean = torch.tensor(
            settings.get("image_mean", [0.5] * 3) if normalised else [0.0] * 3, device=device
        )
        self._std = torch.tensor(
            settings.get("image_std", [0.5] * 3) if normalised else [1.0] * 3, device=device
        )

    def __call__(self, frames: _Frames, resumed: bool = False) -> Iterator[np.ndarray]:
        """Yield (n, dim) float32 blocks of snippets; see `Backbone`."""
        rest = iter(frames)
        while batch := list(islice(rest, self.block * self.frames_per_snippet)):
            batch += [batch[-1]] * (-len(batch) % self.frames_per_snippet)
            yield self._encode(np.stack(batch))

    def _encode(self, frames: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            pixels: Any = self._torch.from_numpy(frames).to(self._mean.device).float() * self._scale
            pixels = ((pixels - self._mean) / self._std).permute(0, 3, 1, 2)  # (F, 3, H, W)
            if self._kind == "clip":
                snippets = self._model(pixel_values=pixels).image_embeds
            elif self._kind == "siglip":
                snippets = self._model(pixel_values=pixels).pooler_output
            else:
                windows = pixels.unflatten(0, (-1, self.frames_per_snippet))  # (n, T, 3, H, W)
                snippets = self._model(pixel_values=windows).last_hidden_state.mean(dim=1)
            result: np.ndarray = snippets.float().cpu().numpy()
            return result


_POOLING = {"clip": "image_embeds", "siglip": "pooler_output", "videomae": "mean"}


def _kind_of(name: str, config: Any) -> str:
    kind = str(config.model_type).removesuffix("_vision_model")
    if kind not in _POOLING:
        raise ConfigError(
            f"{name}: is a model of type '{config.model_type}', expected clip, siglip or videomae."
        )
    return kind


def _read_settings(folder: Path, name: str) -> tuple[dict[str, Any], Any]:
    """How the model wants its pictures, and its configuration."""
    from transformers import AutoConfig
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        settings, _ = ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {_reason(error)} Is {folder} the folder of a model?") from error
    return settings, config


def _vision_config(config: Any) -> Any:
    """The image tower's part of a configuration that covers two towers."""
    vision = getattr(config, "vision_config", config)
    if hasattr(config, "projection_dim"):
        vision.projection_dim = config.projection_dim  # some files state it for both towers only
    return vision


def _load_weights(folder: Path, kind: str, config: Any, name: str) -> "torch.nn.Module":
    import transformers

    classes = {
        "clip": "CLIPVisionModelWithProjection",
        "siglip": "SiglipVisionModel",
        "videomae": "VideoMAEModel",
    }
    try:
        model, info = getattr(transformers, classes[kind]).from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{name}: its weights cannot be loaded. {_reason(error)}") from error
    missing = sorted(info["missing_keys"])
    if missing:  # transformers would go on with random numbers in their place
        raise ConfigError(
            f"{name}: its weights lack {len(missing)} of the tensors of a {kind} model, e.g. '{missing[0]}'."
        )
    loaded: torch.nn.Module = model
    return loaded


def _reason(error: Exception) -> str:
    """The first sentence of a message that goes on for a page."""
    first = " ".join(str(error).split()).split(". ")[0].rstrip(".:")
    return f"{first[:300]}."


def _frame_size(settings: dict[str, Any], image_size: int) -> FrameSize:
    """The frame size that a model's settings of its image processor mean."""
    size = settings.get("size", image_size)
    if isinstance(size, int):
        size = {"shortest_edge": size} if settings.get("do_center_crop") else {"height": size, "width": size}
    if "shortest_edge" not in size:
        return FrameSize(int(size["width"]), int(size["height"]))
    crop = settings.get("crop_size", image_size)
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    return FrameSize(int(crop["width"]), int(crop["height"]), int(size["shortest_edge"]))


class _Quiet:
    """Keep transformers from writing progress bars and load reports to stderr while a model is loaded."""

    def __init__(self, transformers: Any) -> None:
        self._logging = transformers.utils.logging

    def __enter__(self) -> None:
        self._verbosity = self._logging.get_verbosity()
        self._bars = self._logging.is_progress_bar_enabled()
        self._logging.set_verbosity_error()
        self._logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self._logging.set_verbosity(self._verbosity)
        if self._bars:
            self._logging.enable_progress_bar()
