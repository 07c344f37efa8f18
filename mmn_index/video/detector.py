"""Object detectors of the transformers library: boxes of people in pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..device import find_device
from ..errors import ConfigError
from ..hub import model_folder
from ..two_towers import check_complete, first_sentence, load_model, quiet, read_config

_PERSON = "person"
_AT_ONCE = 8  # pictures


class Detector:
    """A detector such as RT-DETR, DETR or YOLOS, from a folder or a repository of the Hugging Face Hub.

    Args:
        threshold: boxes with a lower score are left out.

    Raises:
        ConfigError: no such model, one of another kind or that knows no people; no such device.
        DependencyError: it needs a package that is not installed.
    """

    def __init__(self, name: str, device: str = "cpu", threshold: float = 0.5) -> None:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        folder = model_folder(name)
        config = read_config(folder, name)
        labels = {
            int(number): str(label) for number, label in (getattr(config, "id2label", None) or {}).items()
        }
        self._people = {number for number, label in labels.items() if label.lower() == _PERSON}
        if not self._people:
            known = ", ".join(list(labels.values())[:5])
            raise ConfigError(f"{name}: has no class '{_PERSON}' (it has {known}, ...). Is it a detector?")
        self._place, self._threshold = find_device(device), threshold
        model, lacking = load_model(AutoModelForObjectDetection, folder, config, name)
        check_complete(model, lacking, name)
        self._model: Any = model.to(self._place)
        self.name = Path(name).name if Path(name).is_dir() else name
        try:
            with quiet():
                self._processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever a preprocessor_config.json makes transformers do
            raise ConfigError(f"{name}: has no image processor. {first_sentence(error)}") from error

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Boxes of people in pictures, (H, W, 3) uint8 each: (n, 4) float32 x1, y1, x2, y2 in pixels, inside
        the picture, and (n,) scores.
        """
        found = []
        for first in range(0, len(pictures), _AT_ONCE):
            part = list(pictures[first : first + _AT_ONCE])
            inputs = self._processor(images=part, return_tensors="pt").to(self._place)
            sizes = torch.tensor([picture.shape[:2] for picture in part])
            made = self._processor.post_process_object_detection(
                self._model(**inputs), threshold=self._threshold, target_sizes=sizes
            )
            pairs = zip(made, sizes.tolist(), strict=True)
            found += [self._inside(one, height, width) for one, (height, width) in pairs]
        return found

    def _inside(self, found: dict[str, Tensor], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and scores of the people of one picture."""
        labels, boxes, scores = (found[name].cpu() for name in ("labels", "boxes", "scores"))
        ends = torch.tensor([width, height, width, height])
        boxes = torch.minimum(boxes.float().nan_to_num().clamp(min=0), ends)
        people = torch.tensor([label in self._people for label in labels.tolist()], dtype=torch.bool)
        keep = people & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        return boxes[keep].numpy(), scores.float()[keep].numpy()
