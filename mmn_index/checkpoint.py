"""A trained model on disk: a directory with config.json, model.safetensors and tokenizer.json.

The weights of a text encoder that was trained are inside. One that stayed frozen is named, with the SHA-256
of its weights (encoder_source.py); a self-contained checkpoint holds it in a file of its own,
text_encoder.safetensors. No pickle is read or written. A checkpoint's fingerprint names its weights, the text
encoder's included, and its configuration; an index remembers it. A trained one has sentences.txt, too: what
it was trained with: an index measures its moments against them (negatives.py). They shape no embedding and
are no part of the fingerprint.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from .bert import Bert, reads
from .config import ModelConfig
from .device import find_device
from .encoder_lookup import ENCODER, find_encoder
from .encoder_source import EncoderSource, distinct, state_of
from .errors import CheckpointError, OutputError
from .model import MMN, check_weights
from .pretrained import rebuild
from .readable import reason
from .windows import WindowRule

_WHOLE, _REFERRING = 1, 2  # formats: with the text encoder's weights, or with a reference to them
_BERT = "text_encoder.bert."
_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_SENTENCES = "sentences.txt"
_STRETCHED = 1.5  # times the longest video of the training that one map still covers


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself, without loading its weights."""

    path: Path
    config: ModelConfig
    fingerprint: str
    features: str | None  # backbone of the features it was trained on, where known
    text_config: dict[str, Any]
    encoder: EncoderSource | None = None  # the frozen text encoder; None: its weights are among the others
    durations: tuple[float, float] | None = None  # median and longest of the training videos, in seconds

    @property
    def windows(self) -> WindowRule:
        """How longer videos than it was trained on are cut; not at all where that is not known."""
        if self.durations is None:
            return WindowRule()
        median, longest = self.durations
        return WindowRule(median, _STRETCHED * longest, coarse=False)

    @property
    def sentences_file(self) -> Path:
        """Where the sentences stand, if they are known."""
        return self.path / _SENTENCES

    def sentences(self) -> tuple[str, ...]:
        """The distinct sentences that the model was trained with; none where they are not known.

        Raises:
            CheckpointError: the file cannot be read.
        """
        file = self.sentences_file
        if not file.is_file():
            return ()
        try:
            return tuple(
                dict.fromkeys(filter(None, map(str.strip, file.read_text(encoding="utf-8").splitlines())))
            )
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(
                f"{file}: cannot be read ({reason(error)}), expected a sentence a line."
            ) from error

    @cached_property
    def video_fingerprint(self) -> str:
        """SHA-256 over what shapes the embeddings of videos: the video side's weights, and the configuration.

        Checkpoints that agree in it, as before and after `tune-text`, can search each other's indexes.

        Raises:
            CheckpointError: the weights cannot be read.
        """
        digest = hashlib.sha256(
            json.dumps({**self.config.to_json(), "text_model": None}, sort_keys=True).encode()
        )
        file = self.path / "model.safetensors"
        try:
            with safe_open(file, framework="pt") as weights:
                for name in sorted(name for name in weights.keys() if name.startswith("video_encoder.")):  # noqa: SIM118
                    tensor = weights.get_tensor(name)
                    digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                    digest.update(tensor.numpy().tobytes())
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file}: cannot be read ({reason(error)}). Is it complete?") from error
        return digest.hexdigest()


def save(
    model: MMN,
    path: str | os.PathLike[str],
    *,
    features: str | None = None,
    sentences: Iterable[str] = (),
    durations: tuple[float, float] | None = None,
    self_contained: bool = False,
) -> str:
    """Write a checkpoint aside and put it in place by renaming, replacing an older checkpoint.

    Killed between the two renames, it leaves the older one as `<path>.old`; see `recover`.

    Args:
        features: backbone of the features that the model was trained on.
        sentences: that it was trained with.
        durations: median and longest of the videos that it was trained on, in seconds.
        self_contained: keep a copy of a frozen text encoder; one that came out of a self-contained checkpoint
            is kept in any case.

    Returns:
        The fingerprint.

    Raises:
        OutputError: the place cannot be written, or holds something that is no checkpoint.
        CheckpointError: weights are not finite.
    """
    _check_finite(model, path := Path(path))
    if path.exists() and not is_checkpoint(path):
        raise OutputError(f"{path}: exists and is not a checkpoint; it is left alone. Choose another place.")
    frozen = model.source if model.source and model.source.holds(state_of(model.text_encoder.bert)) else None
    aside = path.with_name(f"{path.name}.tmp")
    try:
        recover(path)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file(_own_tensors(model, frozen), aside / "model.safetensors")
        if frozen and (self_contained or frozen.inside):
            write_encoder(model, aside / ENCODER)
        (aside / "tokenizer.json").write_text(model.tokenizer.to_json(), encoding="utf-8")
        # A line each, so that white space within is a blank; the text encoder does not tell the two apart.
        if lines := dict.fromkeys(filter(None, (" ".join(sentence.split()) for sentence in sentences))):
            (aside / _SENTENCES).write_text("\n".join(lines) + "\n", encoding="utf-8")
        # safetensors writes files that only their owner may read; an index is often another user's to search.
        (aside / "model.safetensors").chmod((aside / "tokenizer.json").stat().st_mode)
        about = _describe(model, frozen, features, durations)
        about["fingerprint"] = fingerprint(aside, about)
        (aside / "config.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        if path.exists():
            path.replace(_old(path))
        aside.replace(path)
        shutil.rmtree(_old(path), ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise OutputError(f"{path}: the checkpoint cannot be written ({reason(error)}).") from error
    return str(about["fingerprint"])


def _own_tensors(model: MMN, frozen: EncoderSource | None) -> dict[str, torch.Tensor]:
    """The weights without those of a frozen text encoder."""
    tensors = distinct(model)[0].items()
    return {n: t.contiguous().cpu() for n, t in tensors if not (frozen and n.startswith(_BERT))}


def _check_finite(model: MMN, path: Path) -> None:
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{path}: is not written, for the weights '{name}' are not finite: training has diverged."
            )


def _describe(
    model: MMN, frozen: EncoderSource | None, features: str | None, durations: tuple[float, float] | None
) -> dict[str, Any]:
    """The content of config.json, but for the fingerprint."""
    text_config = model.text_encoder.bert.config.to_dict()  # type: ignore[union-attr,operator]
    for key in ("_name_or_path", "transformers_version", "dtype"):
        text_config.pop(key, None)
    about = {
        "format": _REFERRING if frozen else _WHOLE,
        "model": model.config.to_json(),
        "features": features,
        "text_encoder": text_config,
    }
    if durations:
        about["durations"] = list(durations)
    return about if frozen is None else {**about, "frozen_encoder": frozen.to_json()}


def write_encoder(model: MMN, path: Path) -> None:
    """A model's frozen text encoder as a file; a link to that of the checkpoint it came from, if possible.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    if model.source and model.source.inside and model.source.inside.is_file():
        share(model.source.inside, path)
        return
    path.touch()
    mode = path.stat().st_mode  # see `save`
    state = state_of(model.text_encoder.bert)
    save_file({name: tensor.contiguous().cpu() for name, tensor in state.items()}, path)
    path.chmod(mode)


def share(file: Path, target: Path) -> None:
    """The same file under another name, without a copy where the file system allows it.

    Only for a file that is never written again: a change of one would be a change of both.
    """
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copy(file, target)


def recover(path: Path) -> None:
    """Tidy up after a `save` that was killed: its older checkpoint comes back, or goes if the new one is in
    place.
    """
    if path.exists():
        shutil.rmtree(_old(path), ignore_errors=True)
    elif _old(path).exists():
        _old(path).replace(path)


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def fingerprint(path: Path, about: dict[str, Any]) -> str:
    """SHA-256 over what shapes a model's results: weights, tokenizer, configuration."""
    digest = hashlib.sha256()
    shaping = {"model": {**about["model"], "text_model": None}, "text_encoder": about["text_encoder"]}
    if "frozen_encoder" in about:  # where it comes from shapes nothing
        shaping["frozen_encoder"] = about["frozen_encoder"]["sha256"]
    digest.update(json.dumps(shaping, sort_keys=True).encode())
    for name in ("model.safetensors", "tokenizer.json"):
        with (path / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def is_checkpoint(path: Path) -> bool:
    """Whether the directory has the files of a checkpoint."""
    return all((path / name).is_file() for name in _FILES)


def info(path: str | os.PathLike[str]) -> CheckpointInfo:
    """Read what a checkpoint says of itself.

    Raises:
        CheckpointError: it is missing, incomplete, damaged, or of a newer format.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise CheckpointError(
            f"{path}: {what}, expected a checkpoint directory. `mmn-index train` makes one."
        )
    if (path / "zero_shot.json").is_file():
        raise CheckpointError(
            f"{path}: is a dual encoder, expected a trained MMN. `mmn-index eval INDEX` measures its index."
        )
    if missing := [name for name in _FILES if not (path / name).is_file()]:
        raise CheckpointError(f"{path}: is no complete checkpoint, {', '.join(missing)} missing.")
    try:
        about = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if "model_type" in about:
            raise CheckpointError(f"{path}: is a model of another library, expected a trained MMN.")
        if about["format"] not in (_WHOLE, _REFERRING):
            raise CheckpointError(
                f"{path}: has format {about['format']}, this version reads formats {_WHOLE} and "
                f"{_REFERRING}. Update mmn-index."
            )
        config = ModelConfig.from_json(about["model"], f"{path}/config.json")
        frozen = about["frozen_encoder"] if about["format"] == _REFERRING else None
        encoder = frozen and EncoderSource(str(frozen["name"]), str(frozen["sha256"]), int(frozen["bytes"]))
        durations = about.get("durations")
        if durations is not None:
            middle, longest = durations = tuple(float(seconds) for seconds in durations)
            if not 0 < middle <= longest < math.inf:
                raise ValueError(f"durations {durations}, expected the median and the longest")
        return CheckpointInfo(
            path, config, about["fingerprint"], about["features"], about["text_encoder"], encoder, durations
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}/config.json: is damaged ({reason(error)}).") from error


@torch.inference_mode(False)  # a caller's would make weights that have no gradients
def load(path: str | os.PathLike[str], device: str = "cpu", *, plain: bool = False) -> MMN:
    """Load a model, in eval mode.

    Args:
        plain: only to embed: without the transformers package, whose import takes seconds, where bert.py
            can read the text encoder. The embeddings are the same.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or its weights do not fit its configuration.
        ConfigError: there is no such device.
    """
    about = info(path)
    place = find_device(device)
    where = str(about.path)
    try:
        words = (about.path / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{where}/tokenizer.json: cannot be read ({reason(error)}). Is it complete?"
        ) from error
    try:
        weights = load_file(about.path / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{where}/model.safetensors: cannot be read ({reason(error)}). Is it complete?"
        ) from error
    plain = plain and reads(about.text_config)
    found: nn.Module | None = None
    encoder = about.encoder
    if encoder is not None:
        if twice := [name for name in weights if name.startswith(_BERT)]:
            raise CheckpointError(
                f"{where}/model.safetensors: has {twice[0]}, which config.json has elsewhere."
            )
        found, encoder = find_encoder(encoder, about.text_config, about.path, plain=plain)
        weights |= {_BERT + name: tensor for name, tensor in state_of(found).items()}
    elif plain:
        found = Bert(about.text_config)
    bert, tokenizer = rebuild(about.text_config, words, where, found)
    model = MMN(about.config, bert, tokenizer, encoder)
    for name, first in distinct(model)[1].items():
        if first in weights:  # two names for one tensor, which is written once
            weights[name] = weights[first]
    check_weights(model, weights, f"{where}/model.safetensors")
    model.load_state_dict(weights)
    return model.to(place).eval()
