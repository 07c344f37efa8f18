"""The text side of a pretrained dual encoder: sentences into the space of its pictures.

A model is found by hub id or folder, and told by what it can do: a model of two towers of the transformers
library, or one of sentence-transformers. What describes the frames is `mmn_index.video.backbones`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .device import find_device
from .encoder_lookup import VARIABLE, places
from .encoder_source import EncoderSource
from .errors import CheckpointError, ConfigError
from .hub import model_folder, or_package
from .sentence_models import LibraryText, PooledText, read_modules, simple_shape
from .tower_text import TowerText
from .wording import check_template


class TextSide(Protocol):
    """What a search needs of a pretrained model.

    Attributes:
        dim: width C of the shared space.
        tau: temperature of the model, which its cosines are divided by; 0.05 where it has none.
        source: name, SHA-256 and bytes of the weights that embed text: how an index refers to them.
        features: the `backbone` that feature files of its frame side name; None if it embeds texts only.
        device: where it runs.
    """

    dim: int
    tau: float
    source: EncoderSource
    features: str | None
    device: torch.device

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the model reads."""
        ...

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(Q, C) float32 vectors of unit length, on `device`.

        Raises:
            QueryError: a sentence is empty, or longer than the model reads.
        """
        ...


def open_text_side(name: str, device: str = "cpu", template: str = "{}") -> TextSide:
    """The text side of a model.

    Args:
        name: a folder with a model, or a hub id.
        device: as torch names it.
        template: text around every sentence, such as "a video of {}".

    Raises:
        ConfigError: no such model, none that embeds sentences, or a template without exactly one {}.
        DependencyError: it needs a package that is not installed.
    """
    check_template(template)
    folder = model_folder(name)
    kept = str(folder) if Path(name).is_dir() else name
    return _open(folder, kept, name, find_device(device), template)


def find_text_side(
    source: EncoderSource,
    where: Path,
    device: str = "cpu",
    template: str = "{}",
    given: str | None = None,
) -> TextSide:
    """The text side that an index refers to: the same weights to the bit, wherever they lie now.

    It is looked for in the folder or the repository that MMN_TEXT_ENCODER names, and under the name that the
    index was built with.

    Args:
        where: of the index, for the message.
        given: a folder or repository that is tried first.

    Raises:
        CheckpointError: it is found nowhere, or only others are; names the one that is expected, and every
            place.
        ConfigError: the device or the template cannot be used.
        DependencyError: it needs a package that is not installed.
    """
    check_template(template)
    place = find_device(device)
    looked = []
    for name, folder in places(source, given):
        if isinstance(folder, str):
            looked.append(f"{name} ({folder})")
            continue
        try:
            found = _open(folder, source.name, name, place, template)
        except ConfigError as error:
            looked.append(f"{folder} ({str(error).split('. ')[0]})")
            continue
        if found.source == source:
            return found
        looked.append(f"{folder} (another model, or other weights)")
    raise CheckpointError(
        f"{where}: its text encoder '{source.name}' (SHA-256 {source.sha256[:16]}, "
        f"{source.bytes / 1e6:,.1f} MB) is not found; looked in {', '.join(looked)}. Bring it there"
        f"{or_package(source.name)}, or name its folder in {VARIABLE}."
    )


def _open(folder: Path, kept: str, name: str, device: torch.device, template: str) -> TextSide:
    modules = read_modules(folder, name)
    if modules is None:
        return TowerText(folder, kept, name, device, template)
    if (shape := simple_shape(folder, modules)) is not None:
        return PooledText(shape, kept, name, device, template)
    return LibraryText(folder, modules, kept, name, device, template)
