"""Pretrained networks as backbones: frames through the model's own image processor, and its image tower.

A dual encoder (CLIP, SigLIP, X-CLIP ...) is told by what it can do; VideoMAE and image towers that were saved
alone are known by their type. Frames come from the decoder at the size that the processor makes of a picture,
so that it has nothing left to scale.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..device import find_device
from ..errors import ConfigError, DependencyError
from ..sentence_models import library_features_name, load_library_model, read_modules, simple_shape
from ..two_towers import (
    check_complete,
    cut,
    features_name,
    first_sentence,
    load_model,
    load_towers,
    picture_features,
    picture_method,
    processor_defaults,
    quiet,
    read_config,
    text_features,
    towers_of,
)
from ..weights_digest import folder_sha256
from .picture import FrameSize

_FRAMES_AT_ONCE = 32  # frames that go through a network together
_IMAGES, _VIDEOS = 2.0, 1.0  # snippets a second, of single frames and of windows
# Models without a text side: the class, how feature files name what is pooled, and how to pool it.
_ALONE: Mapping[str, tuple[str, str, Callable[[Any], torch.Tensor]]] = {
    "clip_vision_model": ("CLIPVisionModelWithProjection", "image_embeds", lambda out: out.image_embeds),
    "siglip_vision_model": ("SiglipVisionModel", "pooler_output", lambda out: out.pooler_output),
    "videomae": ("VideoMAEModel", "mean", lambda out: out.last_hidden_state.mean(dim=1)),
}


def load_vision_model(folder: Path, name: str, device: str) -> "VisionModel | LibraryModel":
    """The frame side of a folder's model.

    Raises:
        ConfigError: it describes no pictures, is incomplete, or the device is not there.
        DependencyError: it needs a package that is not installed.
    """
    kept = str(folder) if Path(name).is_dir() else name
    modules = read_modules(folder, name)
    if modules is not None and simple_shape(folder, modules) is None:
        return LibraryModel(folder, modules, kept, name, device)
    return VisionModel(folder, kept, name, device)


class _InBatches:
    """Frames to snippets, a few at a time; the attributes are `Backbone`'s."""

    frames_per_snippet: int
    reach = 0

    @property
    def block(self) -> int:
        """Snippets of a batch: batches begin at the same frames of a video however these arrive, for sums in
        a network depend on the batch.
        """
        return max(1, _FRAMES_AT_ONCE // self.frames_per_snippet)

    def __call__(self, frames: Iterable[np.ndarray], resumed: bool = False) -> Iterator[np.ndarray]:
        """Yield (n, dim) float32 blocks of snippets; see `Backbone`."""
        rest = iter(frames)
        while batch := list(islice(rest, self.block * self.frames_per_snippet)):
            batch += [batch[-1]] * (-len(batch) % self.frames_per_snippet)
            yield self._encode(batch)

    def _encode(self, frames: list[np.ndarray]) -> np.ndarray:
        raise NotImplementedError


class VisionModel(_InBatches):
    """A network of the transformers library; the attributes are `Backbone`'s."""

    _describe: Callable[[dict[str, torch.Tensor]], torch.Tensor]

    def __init__(self, folder: Path, kept: str, name: str, device: str) -> None:
        place = find_device(device)
        config = read_config(folder, name)
        towers = towers_of(config)
        if towers is None and config.model_type not in _ALONE:
            raise ConfigError(
                f"{name}: is a model of type '{config.model_type}', expected a dual encoder (CLIP, SigLIP, "
                "X-CLIP ...), an image tower of CLIP or SigLIP, or VideoMAE."
            )
        self._processor, self._videos = _load_processor(folder, name)
        vision = _vision_config(config)
        # What the class of the whole processor asks of its video processor counts as that one's own.
        self._asked = processor_defaults(config, "video_kwargs") if self._videos else {}
        self.size = _frame_size(self._processor, vision, name, self._asked.get("size"))
        windows = config.model_type == "videomae" or picture_method(towers) == "get_video_features"
        self.frames_per_snippet = _window(vision, name) if windows else 1
        self.rate = _VIDEOS if windows else _IMAGES
        if towers is None:
            self.name, model = self._load_alone(folder, kept, config, name)
        else:
            self.name, model = self._load_towers(folder, kept, config, name)
        self._model = model.to(place)
        self._place = place
        self.weights = folder_sha256(folder)

    def _load_alone(self, folder: Path, kept: str, config: Any, name: str) -> tuple[str, Any]:
        architecture, pooled, pool = _ALONE[config.model_type]
        import transformers

        model, lacking = load_model(getattr(transformers, architecture), folder, config, name, pickles=True)
        check_complete(model, lacking, name)
        self._describe = lambda inputs: pool(self._model(pixel_values=inputs["pixel_values"])).float()
        self.dim = int(config.projection_dim if pooled == "image_embeds" else config.hidden_size)
        return f"{Path(kept).name if Path(kept).is_absolute() else kept}#{pooled}", model

    def _load_towers(self, folder: Path, kept: str, config: Any, name: str) -> tuple[str, Any]:
        model, lacking = load_towers(folder, config, name, pickles=True)
        self._place = torch.device("cpu")
        black = np.zeros((self.size.height, self.size.width, 3), np.uint8)
        try:
            with torch.inference_mode():
                ids = torch.tensor([[0, 2, 3, 2]])
                read = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                texts = text_features(model, read).shape[1]
            inputs = self._inputs([black] * self.frames_per_snippet)
            self.dim = cut(model, lambda towers: picture_features(towers, inputs)).shape[1]
        except Exception as error:  # whatever a model that has no vectors of pictures makes of them
            raise ConfigError(
                f"{name}: is a {type(model).__name__}, which gives no vector of a picture that texts have as "
                f"well. {first_sentence(error)}"
            ) from error
        if texts != self.dim:
            raise ConfigError(
                f"{name}: its texts have {texts} numbers and its pictures {self.dim}, expected one space for "
                "both."
            )
        check_complete(model, lacking, name)
        self._describe = lambda inputs: picture_features(self._model, inputs)
        return features_name(kept, config, towers_of(config)), model

    def _inputs(self, frames: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """What the model's processor makes of frames, (F, H, W, 3) uint8 at its size."""
        window = self.frames_per_snippet
        if self._videos:
            windows = [np.stack(frames[n : n + window]) for n in range(0, len(frames), window)]
            made = self._processor(
                windows,
                **{**self._asked, "do_resize": False, "do_sample_frames": False},
                input_data_format="channels_last",
                return_tensors="pt",
            )
            return {key: value.to(self._place) for key, value in made.items() if hasattr(value, "to")}
        made = self._processor(
            frames, do_resize=False, input_data_format="channels_last", return_tensors="pt"
        )
        inputs = {key: value.to(self._place) for key, value in made.items()}
        if window > 1:  # (n, T, 3, H, W)
            pixels = inputs["pixel_values"]
            inputs["pixel_values"] = pixels.reshape(-1, window, *pixels.shape[-3:])
        return inputs

    def _encode(self, frames: list[np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = self._describe(self._inputs(frames)).cpu().numpy()
        return found


class LibraryModel(_InBatches):
    """A model of sentence-transformers that embeds pictures; the attributes are `Backbone`'s."""

    frames_per_snippet = 1
    rate = _IMAGES

    def __init__(
        self, folder: Path, modules: list[tuple[str, Path]], kept: str, name: str, device: str
    ) -> None:
        self._model = load_library_model(folder, modules, name, find_device(device))
        called = library_features_name(kept, self._model)
        if called is None:
            raise ConfigError(f"{name}: embeds texts alone, expected a model that embeds pictures as well.")
        self.name, self.weights = called, folder_sha256(folder)
        processor = getattr(self._model.processor, "image_processor", self._model.processor)
        size = _frame_size(processor, _vision_config(self._model[0].config), name)
        # The library scales pictures itself: at this size it has nothing to do, and cuts the middle out.
        self.size = FrameSize(size.short_side, size.short_side, size.short_side) if size.short_side else size
        black = np.zeros((self.size.height, self.size.width, 3), np.uint8)
        self.dim = self._encode([black]).shape[1]

    def _encode(self, frames: list[np.ndarray]) -> np.ndarray:
        from PIL import Image

        found: np.ndarray = self._model.encode(
            [Image.fromarray(frame) for frame in frames],
            batch_size=len(frames),
            convert_to_numpy=True,
            normalize_embeddings=False,
            show_progress_bar=False,
        )
        return found.astype(np.float32, copy=False)


def _load_processor(folder: Path, name: str) -> tuple[Any, bool]:
    """The image processor of a folder, or its video processor, and whether it is one."""
    from transformers import AutoImageProcessor, AutoVideoProcessor

    videos = _videos_alone(folder)
    loader = AutoVideoProcessor if videos else AutoImageProcessor
    try:
        with quiet():
            return loader.from_pretrained(folder, trust_remote_code=False, local_files_only=True), videos
    except ImportError as error:
        raise DependencyError(
            f"{name}: its image processor needs a package that is not installed. {first_sentence(error)}"
        ) from error
    except Exception as error:  # whatever preprocessor_config.json makes transformers do
        raise ConfigError(f"{name}: {first_sentence(error)} Is {folder} the folder of a model?") from error


def _videos_alone(folder: Path) -> bool:
    """Whether a folder has the settings of a video processor and of no image processor."""
    try:
        both = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        both = {}
    if "image_processor" in both or (folder / "preprocessor_config.json").is_file():
        return False
    return "video_processor" in both or (folder / "video_preprocessor_config.json").is_file()


def _vision_config(config: Any) -> Any:
    """The image tower's part of a configuration that covers two towers."""
    return next(
        (getattr(config, part) for part in ("vision_config", "video_config") if hasattr(config, part)), config
    )


def _window(vision: Any, name: str) -> int:
    frames: Any = getattr(vision, "num_frames", None)
    if not isinstance(frames, int) or frames < 1:
        raise ConfigError(f"{name}: describes videos, and its config.json does not say of how many frames.")
    return frames


def _frame_size(processor: Any, vision: Any, name: str, asked: Any = None) -> FrameSize:
    """The size of frames that a processor would not scale."""
    size = _sides(asked or getattr(processor, "size", None))
    patches = getattr(processor, "max_num_patches", None)
    if not size and isinstance(patches, int):
        # SigLIP 2 with the shape of each picture (NaFlex): a square of as many patches as it takes.
        side = math.isqrt(patches) * int(processor.patch_size)
        return FrameSize(side, side)
    if not size or not getattr(processor, "do_resize", True):
        square: Any = getattr(vision, "image_size", None)
        if isinstance(square, int | list | tuple):
            height, width = (square, square) if isinstance(square, int) else square
            return FrameSize(int(width), int(height))
    if "height" in size and "width" in size:
        return FrameSize(size["width"], size["height"])
    if "shortest_edge" not in size:
        raise ConfigError(f"{name}: its image processor scales pictures to {size}, which has no fixed size.")
    short = size["shortest_edge"]
    crop = (
        _sides(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", False) else {}
    )
    return FrameSize(crop.get("width", short), crop.get("height", short), short)


def _sides(size: Any) -> dict[str, int]:
    """The sides of a size, whose class depends on the version of transformers."""
    names = ("height", "width", "shortest_edge")
    given: Any = size if isinstance(size, Mapping) else {name: getattr(size, name, None) for name in names}
    return {name: int(given[name]) for name in names if given.get(name)}
