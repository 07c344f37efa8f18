"""Which pre-trained text encoder a frozen one is: a name, and the SHA-256 of its weights.

Where training leaves the text encoder as it was, a checkpoint does not repeat its weights: it names them.
They count as the same only if every tensor is, to the bit, whatever file they come from.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderSource:
    """Weights that can be had elsewhere.

    Attributes:
        name: hub id, or absolute path of a folder.
        sha256: over names, shapes, types and bytes of the tensors, by name.
        bytes: of all of them.
        inside: the file in a self-contained checkpoint that they were read from, if they were.
    """

    name: str
    sha256: str
    bytes: int
    inside: Path | None = field(default=None, compare=False)

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, Tensor]) -> "EncoderSource":
        """That of some weights as they are now."""
        return cls(name, tensors_sha256(tensors), sum(tensor.nbytes for tensor in tensors.values()))

    def holds(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether some weights are these."""
        size = sum(tensor.nbytes for tensor in tensors.values())
        return size == self.bytes and tensors_sha256(tensors) == self.sha256

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint says it."""
        return {"name": self.name, "sha256": self.sha256, "bytes": self.bytes}


def state_of(bert: nn.Module) -> dict[str, Tensor]:
    """An encoder's tensors by name, each once: of names for one and the same tensor, the first."""
    return distinct(bert)[0]


def distinct(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A module's tensors, each once, and the other names of those that have several."""
    found, others, names = {}, {}, dict[int, str]()
    for name, tensor in module.state_dict(keep_vars=True).items():
        first = names.setdefault(id(tensor), name)
        if first == name:
            found[name] = tensor.detach()
        else:
            others[name] = first
    return found, others


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Over names, shapes, types and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
