"""MMN: the two encoders together, sentences and pre-clips in, unit vectors in two joint spaces out."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .clips import window_pre_clips
from .config import ModelConfig
from .encoder_source import EncoderSource
from .errors import CheckpointError
from .features import FeatureFile
from .half_tiles import HalfTiles
from .proposals import ProposalGrid
from .scoring import Embeddings, Score
from .text_encoder import SentenceTokenizer, TextEncoder
from .tube_videos import TubeVideos
from .video_encoder import VideoEncoder
from .windows import WindowOf

_AT_ONCE = 256  # sentences that go through the encoder together
_IN_HALF = ("cuda",)  # devices whose matrix units multiply float16 at several times the rate of float32


class MMN(nn.Module):
    """Metric learning for temporal grounding (Wang et al., "Negative Sample Matters", AAAI 2022).

    Args:
        bert: the Hugging Face encoder of the text side.
        tokenizer: its tokenizer.
        source: where its weights can be had, if they are pre-trained ones. Training changes it or not: a
            checkpoint refers to them where they are still the same.
    """

    def __init__(
        self,
        config: ModelConfig,
        bert: nn.Module,
        tokenizer: SentenceTokenizer,
        source: EncoderSource | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.source = source
        self.grid = ProposalGrid(config.num_clips, config.pooling_counts)
        self.tokenizer = tokenizer
        self.video_encoder = VideoEncoder(config)
        self.text_encoder = TextEncoder(bert, config.joint_dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def score(self, name: str) -> Score:
        """One of scoring.SCORES with this model's parameters."""
        return Score(name, power=self.config.power, tau=self.config.tau)

    def prepare(self, features: FeatureFile | TubeVideos, where: WindowOf) -> Tensor:
        """The pre-clips of a window of a video or of a tube, (M, D) float32 on the CPU.

        Raises:
            FeatureError: the video has no usable features.
        """
        if isinstance(features, TubeVideos):
            return features.pre_clips_of(where, self.config)
        return window_pre_clips(features, where, self.config)

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, without the end of those that have more tokens than the text encoder reads."""
        return self.tokenizer.shortened(sentences)

    def embed_videos(self, pre_clips: Tensor) -> Embeddings:
        """Unit embeddings of every valid proposal: (V, M, D) -> two of (V, P, C)."""
        return unit(self.video_encoder(pre_clips.to(self.device)))

    def video_embedder(self) -> Callable[[Tensor], Embeddings]:
        """`embed_videos` for many calls, with the weights as they are now. A GPU takes half precision where
        layers are wide (half_tiles.py), and the usual way for videos whose numbers that does not hold.
        """
        encoder = self.video_encoder
        if self.device.type not in _IN_HALF or self.training or not HalfTiles.suits(encoder):
            return self.embed_videos
        in_half = HalfTiles(encoder)

        def embed(pre_clips: Tensor) -> Embeddings:
            found = unit(in_half(pre_clips.to(self.device)))
            return found if all(bool(x.isfinite().all()) for x in found) else self.embed_videos(pre_clips)

        return embed

    def embed_sentences(self, sentences: Sequence[str]) -> Embeddings:
        """Unit embeddings of sentences: two of (Q, C).

        Raises:
            QueryError: a sentence is empty or too long.
            CheckpointError: the embeddings are not finite.
        """
        ids, mask = self.tokenizer(sentences)
        found = unit(self.text_encoder(ids.to(self.device), mask.to(self.device)))
        if not all(bool(x.isfinite().all()) for x in found):
            raise CheckpointError(
                f"the model embeds sentences, such as '{sentences[0]}', as numbers that are not finite: its "
                "training has diverged. Use another checkpoint, or train it anew at a lower rate."
            )
        return found

    @torch.inference_mode()
    def embed_collection(self, sentences: Sequence[str]) -> Embeddings:
        """Unit embeddings of any number of sentences, on the CPU, two of (Q, C) float32.

        Raises:
            QueryError: a sentence is empty or too long.
        """
        parts = [
            self.embed_sentences(sentences[first : first + _AT_ONCE])
            for first in range(0, len(sentences), _AT_ONCE)
        ]
        if not parts:
            return Embeddings(torch.empty(0, self.config.joint_dim), torch.empty(0, self.config.joint_dim))
        return Embeddings(*(torch.cat(part).float().cpu() for part in zip(*parts, strict=True)))


def unit(embeddings: Embeddings) -> Embeddings:
    """Both spaces at length 1 (zero vectors stay zero)."""
    return Embeddings(*(functional.normalize(x, dim=-1, eps=1e-12) for x in embeddings))


def check_weights(model: MMN, weights: dict[str, Tensor], where: str) -> None:
    """Compare the names and shapes of weights with what a model has; never load a part of them.

    Raises:
        CheckpointError: names that are missing, too many, or of another shape; all are listed.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unknown {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} is {found[name]}, expected {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if expected[name] != found[name]
    ]
    if problems:
        raise CheckpointError(
            f"{where}: the weights do not fit the configuration ({'; '.join(problems)}). "
            "Is it a checkpoint of another configuration?"
        )
