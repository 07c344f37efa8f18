"""Find the text encoder that a checkpoint refers to: the same weights to the bit, or an error.

It is looked for in the checkpoint itself (a self-contained one), in the folder or the repository that the
environment variable MMN_TEXT_ENCODER names, under the name that it was trained with, and in a package.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .bert import Bert, read_weights
from .encoder_source import EncoderSource, distinct, state_of
from .errors import CheckpointError, ConfigError
from .hub import DEFAULT_TEXT_MODEL, is_repository, local_folder, model_folder, or_package
from .pretrained import transformer_folder
from .transformer import load_encoder, new_encoder, read_text_config

ENCODER = "text_encoder.safetensors"  # in a self-contained checkpoint
VARIABLE = "MMN_TEXT_ENCODER"


def find_encoder(
    source: EncoderSource, text_config: Mapping[str, Any], checkpoint: Path, *, plain: bool = False
) -> tuple[nn.Module, EncoderSource]:
    """A frozen encoder with its weights, and the source with the file in the checkpoint, if it is there.

    Args:
        text_config: of the encoder, as the checkpoint says it; what lies beside the weights is not looked at.
        plain: made as bert.py does, which can read such a configuration.

    Raises:
        CheckpointError: it is found nowhere, or only others are; names the one that is expected, and every
            place.
    """
    looked = []
    if (inside := checkpoint / ENCODER).is_file():
        try:
            tensors = load_file(inside)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{inside}: cannot be read ({error}). Is it complete?") from error
        if source.holds(tensors):
            return _with(tensors, text_config, inside, plain), replace(source, inside=inside)
        looked.append(f"{inside} (another encoder, or damaged)")
    for name, folder in places(source):
        if isinstance(folder, str):
            looked.append(f"{name} ({folder})")
            continue
        try:
            inner = transformer_folder(folder, name)
            if plain and (found := read_weights(inner, text_config)) and source.holds(state_of(found)):
                return found, source
            bert = load_encoder(inner, name, read_text_config({**text_config}))
        except ConfigError as error:
            looked.append(f"{folder} (no encoder of this kind: {str(error).split('. ')[0]})")
            continue
        if source.holds(state_of(bert)):
            return bert, source
        looked.append(f"{folder} (another encoder)")
    raise CheckpointError(
        f"{checkpoint}: its text encoder '{source.name}' (SHA-256 {source.sha256[:16]}, "
        f"{source.bytes / 1e6:,.1f} MB) is not found; looked in {', '.join(looked)}. Bring it there"
        f"{or_package(source.name)}, name its folder in {VARIABLE}, or use a checkpoint or an index made "
        "with --self-contained."
    )


def _with(
    tensors: Mapping[str, Tensor], text_config: Mapping[str, Any], file: Path, plain: bool
) -> nn.Module:
    """An encoder with the tensors of a file."""
    try:
        bert = Bert(text_config) if plain else new_encoder({**text_config}, str(file))
        others = distinct(bert)[1]
        bert.load_state_dict({**tensors, **{name: tensors[first] for name, first in others.items()}})
    except Exception as error:  # whatever a description makes transformers do
        raise CheckpointError(
            f"{file}: is no encoder as config.json describes it ({' '.join(str(error).split())[:200]})."
        ) from error
    return bert.eval()


def where_encoder(source: EncoderSource, checkpoint: Path) -> Path | None:
    """The first place that may have it, without a look at the weights and without the network."""
    if (inside := checkpoint / ENCODER).is_file():
        return inside
    return next((folder for _, folder in places(source, ask=False) if isinstance(folder, Path)), None)


def places(
    source: EncoderSource, given: str | None = None, *, ask: bool = True
) -> Iterator[tuple[str, Path | str]]:
    """Names and their folders, or why they have none; the Hub is asked last, and only if `ask`."""
    for name in dict.fromkeys(filter(None, (given, os.environ.get(VARIABLE), source.name))):
        folder = local_folder(name)
        if folder is not None:
            yield name, folder
        elif not is_repository(name):
            yield name, "no such folder"
    packaged = local_folder(DEFAULT_TEXT_MODEL) if source.name != DEFAULT_TEXT_MODEL else None
    # The folder of a package may have been moved with its environment. Nothing else is just as large.
    if packaged is not None and abs(_size(packaged) - source.bytes) < source.bytes / 100:
        yield DEFAULT_TEXT_MODEL, packaged
    if ask and is_repository(source.name) and local_folder(source.name) is None:
        try:
            yield source.name, model_folder(source.name)
        except ConfigError as error:
            yield source.name, str(error).removeprefix(f"model '{source.name}': ").split(". ")[0]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
