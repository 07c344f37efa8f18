"""Moment search without training: a pre-trained dual encoder, such as CLIP, as the model of an index.

Frames and sentences are embedded in one space by the dual encoder. The frames of a proposal, less those
around it, make its vector (contrast.py); a sentence's score is the inner product with it. There is no IoU
head, so the only score is `contrastive`.

On disk it is one small file: the dual encoder is named, with the SHA-256 of its weights, not copied.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .clips import snippets_of
from .contrast import CONTEXT, contrast_vectors, reach
from .dual_encoder import TextSide, find_text_side, open_text_side
from .encoder_source import EncoderSource
from .errors import CheckpointError, ConfigError, FeatureError
from .features import FeatureFile
from .hub import model_folder
from .moment_model import ModelInfo
from .proposals import ProposalGrid
from .readable import reason
from .scoring import Embeddings
from .tube_videos import TubeVideos
from .weights_digest import folder_sha256
from .windows import Window, WindowOf, WindowRule

FILE = "zero_shot.json"
_FORMAT = 1
_NUM_CLIPS, _POOLING_COUNTS = 32, (15, 8)
_WINDOW = 64.0  # seconds


@dataclass(frozen=True)
class ZeroShotConfig:
    """How a dual encoder is used.

    Attributes:
        template: what sentences are put into, such as "a video of {}".
        context: weight of what is around a proposal.
        num_clips, pooling_counts: of the map of each window.
        windows: how long videos are cut.
    """

    template: str = "{}"
    context: float = CONTEXT
    num_clips: int = _NUM_CLIPS
    pooling_counts: tuple[int, ...] = _POOLING_COUNTS
    windows: WindowRule = field(default_factory=lambda: WindowRule(_WINDOW))

    def __post_init__(self) -> None:
        if not 0 <= self.context <= 1:
            raise ConfigError(f"the context's weight is {self.context:g}, expected a number from 0 to 1.")


class ZeroShot:
    """A dual encoder as a moment model; see moment_model.MomentModel."""

    def __init__(self, text: TextSide, config: ZeroShotConfig) -> None:
        self.text, self.config = text, config
        self.grid = ProposalGrid(config.num_clips, config.pooling_counts)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.text.device

    def prepare(self, features: FeatureFile | TubeVideos, where: WindowOf) -> Tensor:
        """The vectors of all proposals of a window, (P, C): there is nothing more to compute.

        Raises:
            FeatureError: the video has no usable features, or they are of tubes.
        """
        if isinstance(features, TubeVideos):
            raise FeatureError(f"{features.path}: is a file of tubes, expected features of whole videos.")
        scale = features.shape(where.video_id)[0] / where.duration
        window = where.window
        around = reach(window.length)
        begin = max(window.start - around, 0.0)
        wide = Window(begin, min(window.start + window.length + around, where.duration) - begin)
        first, last = snippets_of(features, where._replace(window=wide), outward=True)
        snippets = torch.from_numpy(features.read(where.video_id, self.text.dim, first, last))
        spans = (self.grid.seconds(window.length).double() + window.start) * scale - first
        return contrast_vectors(snippets, spans, -first, where.duration * scale - first, self.config.context)

    def embed_videos(self, prepared: Tensor) -> Embeddings:
        """What `prepare` made, as embeddings: (W, P, C) and (W, P, 0)."""
        return Embeddings(prepared, prepared[..., :0])

    def video_embedder(self) -> Callable[[Tensor], Embeddings]:
        """`embed_videos`: pooling is quick everywhere."""
        return self.embed_videos

    def embed_sentences(self, sentences: Sequence[str]) -> Embeddings:
        """Unit embeddings of sentences, (Q, C) and (Q, 0).

        Raises:
            QueryError: a sentence is empty or too long.
        """
        found = self.text.embed(sentences)
        return Embeddings(found, found[:, :0])

    def embed_collection(self, sentences: Sequence[str]) -> Embeddings:
        """As `embed_sentences`, on the CPU."""
        return Embeddings(*(x.float().cpu() for x in self.embed_sentences(sentences)))

    def shortened(self, sentences: Sequence[str]) -> list[str]:
        """The sentences, cut to what the text side reads."""
        return self.text.shortened(sentences)


def make(name: str, path: Path, config: ZeroShotConfig) -> None:
    """Write the model directory of a dual encoder, given by its folder or its name on the Hub.

    Raises:
        ConfigError: there is no such model, or it is none of this kind.
    """
    text = open_text_side(name, template=config.template)
    about = {
        "format": _FORMAT,
        "encoder": text.source.to_json(),
        "features": text.features,
        "weights": folder_sha256(model_folder(name)) if text.features else None,
        "dim": text.dim,
        "tau": text.tau,
        **asdict(config),
    }
    about["fingerprint"] = _fingerprint(about)
    path.mkdir(parents=True, exist_ok=True)
    (path / FILE).write_text(json.dumps(about, indent=1), encoding="utf-8")


def _fingerprint(about: dict[str, Any]) -> str:
    """SHA-256 over what shapes embeddings: where the weights come from, and how videos are cut, do not."""
    shaping = {key: value for key, value in about.items() if key not in ("fingerprint", "windows")}
    shaping["encoder"] = about["encoder"]["sha256"]
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def is_zero_shot(path: Path) -> bool:
    """Whether a directory is one that `make` wrote."""
    return (path / FILE).is_file()


def info(path: str | os.PathLike[str]) -> ModelInfo:
    """What such a directory says.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = Path(path)
    about, config = _read(path)
    return ModelInfo(
        path=path,
        name=_source(about).name,
        fingerprint=about["fingerprint"],
        features=about["features"],
        weights=about["weights"],
        input_dim=about["dim"],
        joint_dim=about["dim"],
        spaces=1,
        longest=1 + config.context,
        power=0.5,
        tau=about["tau"],
        grid=ProposalGrid(config.num_clips, config.pooling_counts),
        windows=config.windows,
        sentences=tuple,
        sentences_file=path / FILE,
        encoder=_source(about),
    )


def load(path: str | os.PathLike[str], device: str = "cpu", encoder: str | None = None) -> ZeroShot:
    """The model of such a directory.

    Args:
        encoder: see `load_model`.

    Raises:
        CheckpointError: it is damaged, or the dual encoder is not found on this machine.
        ConfigError: there is no such device.
    """
    path = Path(path)
    about, config = _read(path)
    return ZeroShot(find_text_side(_source(about), path, device, config.template, encoder), config)


def _source(about: dict[str, Any]) -> EncoderSource:
    encoder = about["encoder"]
    return EncoderSource(str(encoder["name"]), str(encoder["sha256"]), int(encoder["bytes"]))


def _read(path: Path) -> tuple[dict[str, Any], ZeroShotConfig]:
    file = path / FILE
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        if about["format"] != _FORMAT:
            raise CheckpointError(
                f"{file}: has format {about['format']}, this version reads format {_FORMAT}. Update "
                "mmn-index."
            )
        if about["fingerprint"] != _fingerprint(about):
            raise ValueError("its fingerprint does not fit its content")
        about["dim"], about["tau"] = int(about["dim"]), float(about["tau"])
        if "features" not in about:
            raise KeyError("features")
        about.setdefault("weights", None)  # the first of them do not say it
        _source(about)
        counts = tuple(int(count) for count in about["pooling_counts"])
        rule = WindowRule(**about["windows"])
        config = ZeroShotConfig(
            str(about["template"]), float(about["context"]), int(about["num_clips"]), counts, rule
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(f"{file}: is damaged ({reason(error)}).") from error
    return about, config
