"""What an index asks of a model: MMN, or a pre-trained dual encoder without training.

Both turn a window of a video into the embeddings of all proposals of one map, and a sentence into a query.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .encoder_source import EncoderSource
from .features import FeatureFile
from .proposals import ProposalGrid
from .scoring import Embeddings
from .tube_videos import TubeVideos
from .windows import WindowOf, WindowRule


class MomentModel(Protocol):
    """A model that an index can be built and searched with."""

    @property
    def grid(self) -> ProposalGrid:
        """The proposals of every window."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    def prepare(self, features: FeatureFile | TubeVideos, where: WindowOf) -> Tensor:
        """What `embed_videos` wants of a window, out of its snippets, or of a tube: read and pooled, on the
        CPU.

        Raises:
            FeatureError: the video has no usable features.
        """
        ...

    def embed_videos(self, prepared: Tensor) -> Embeddings:
        """The embeddings of all proposals of some windows: (W, ...) -> two of (W, P, C); the second is
        (W, P, 0) of a model with one space.
        """
        ...

    def video_embedder(self) -> Callable[[Tensor], Embeddings]:
        """`embed_videos` for many calls, with the weights as they are now; quicker on some devices, where it
        is less precise.
        """
        ...

    def embed_sentences(self, sentences: Sequence[str]) -> Embeddings:
        """Unit embeddings of sentences, two of (Q, C), the second (Q, 0) of a model with one space.

        Raises:
            QueryError: a sentence is empty or too long.
        """
        ...

    def embed_collection(self, sentences: Sequence[str]) -> Embeddings:
        """As `embed_sentences`, of any number, float32 on the CPU."""
        ...

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, cut to what the model reads."""
        ...


@dataclass(frozen=True)
class ModelInfo:
    """What a model on disk says of itself, without loading its weights.

    Attributes:
        path: its directory.
        fingerprint: SHA-256 over all that shapes its embeddings.
        name: what people call it: where a dual encoder lies, or the directory.
        features: backbone of the features that it takes; None where it is not known.
        weights: SHA-256 of that backbone's weights, where known.
        input_dim: D of a snippet.
        joint_dim: C.
        spaces: 2, or 1: no IoU head.
        longest: length that no moment's embedding exceeds.
        power, tau: of its scores.
        grid: the proposals of every window.
        windows: how long videos are cut.
        sentences: what it was trained with, where that is known.
        encoder: what it refers to and does not hold: name and SHA-256.
        tubes: whether it takes tubes of videos in place of whole ones.
    """

    path: Path
    name: str
    fingerprint: str
    features: str | None
    weights: str | None
    input_dim: int
    joint_dim: int
    spaces: int
    longest: float
    power: float
    tau: float
    grid: ProposalGrid
    windows: WindowRule
    sentences: Callable[[], Sequence[str]]
    sentences_file: Path
    encoder: EncoderSource | None = None
    tubes: bool = False

    @property
    def score(self) -> str:
        """The score that suits it, where nothing else is asked for."""
        return "collection" if self.spaces == 2 else "contrastive"
