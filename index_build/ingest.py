"""From video files to an index in one go: which model, what it will take, then features and index.

Both steps are resumable, so the whole is: the same command does what is missing.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mmn_index import checkpoint, zero_shot
from mmn_index.errors import CheckpointError, FeatureError, OutputError, VideoError
from mmn_index.hub import DEFAULT_MODEL, is_repository
from mmn_index.left_out import SHOWN
from mmn_index.made_by import is_other, other_weights
from mmn_index.models import model_info
from mmn_index.moment_model import ModelInfo
from mmn_index.readable import weight
from mmn_index.video.backbones import Backbone
from mmn_index.video.decode import stated_length
from mmn_index.windows import WindowRule
from mmn_index.zero_shot import ZeroShotConfig

from .film import lengths
from .video_files import VideoFiles

_MOMENT = 32  # bytes of a moment beside its embedding, about
_PATIENCE = 20.0  # seconds for finding out how long videos are


@dataclass(frozen=True)
class ChosenModel:
    """The model of an index that is to be built.

    Attributes:
        path: its directory.
        backbone: what describes frames for it, as `load_backbone` knows it; None where it is not known.
    """

    path: Path
    info: ModelInfo
    backbone: str | None


def choose_model(name: str, aside: Path, config: ZeroShotConfig) -> ChosenModel:
    """A trained model by its directory, or a dual encoder by its folder or its name on the Hub.

    Args:
        aside: an empty directory for what is written of a dual encoder.
        config: how a dual encoder is used.

    Raises:
        CheckpointError, ConfigError: there is no such model.
    """
    path = Path(name)
    trained = zero_shot.is_zero_shot(path) or is_trained(path)
    if not (path.exists() or is_repository(name)):
        raise CheckpointError(
            f"{path}: does not exist, expected the folder of a trained model, which `mmn-index train` makes, "
            "or a dual encoder, which finds moments without training, by its folder or hub id, such as "
            f"{DEFAULT_MODEL} (docs/models.md lists some)."
        )
    if trained or not (is_model(path) or is_repository(name)):
        info = model_info(path)
        known = info.name if info.spaces == 1 else (info.features or "").partition("#")[0]
        return ChosenModel(path, info, known or None)
    zero_shot.make(name, aside, config)
    info = model_info(aside)
    return ChosenModel(aside, info, name if info.features else None)


def is_model(path: Path) -> bool:
    """Whether a directory holds a model of any kind."""
    files = ("config.json", "modules.json", zero_shot.FILE)
    return any((path / file).is_file() for file in files)


def is_trained(path: Path) -> bool:
    """Whether a directory is a checkpoint of a trained MMN, damaged or not: a transformer's files have the
    same names, but its configuration says of which type it is.
    """
    if not checkpoint.is_checkpoint(path):
        return False
    try:
        about = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not (isinstance(about, dict) and "model_type" in about)


def described_by(chosen: ChosenModel, backbone: str | None) -> str:
    """What describes frames for a model.

    Args:
        backbone: that was asked for.

    Raises:
        CheckpointError: it is not known.
    """
    found = backbone or chosen.backbone
    if found is None:
        reason = (
            "embeds texts only"
            if chosen.info.spaces == 1
            else "does not say what describes the frames that it was trained on"
        )
        raise CheckpointError(
            f"{chosen.info.name}: {reason}. Give a "
            "feature file in place of videos, or name the backbone of its features with --backbone."
        )
    return found


def check_described(backbone: Backbone, info: ModelInfo) -> None:
    """Refuse a backbone whose features the model does not take, before it has worked for hours.

    Raises:
        FeatureError: it is another one.
    """
    if info.features is not None and is_other(backbone.name, backbone.weights, info.features, info.weights):
        raise FeatureError(
            f"{info.name}: takes features of '{info.features}'{other_weights(info.weights)}, not of "
            f"'{backbone.name}'{other_weights(backbone.weights)}. Leave out --backbone, or name the "
            "right one."
        )


@dataclass(frozen=True)
class Need:
    """What building an index of videos will take.

    Attributes:
        videos, seconds: of film; no seconds where no file states its length.
        features, index: bytes on the disk, about.
        free: bytes that are free there.
    """

    videos: int
    seconds: float
    features: int
    index: int
    free: int

    @property
    def length(self) -> str:
        """How much film, for people."""
        if not self.seconds:
            return "of unknown length"
        hours = self.seconds / 3600
        return f"{hours:,.1f} hours" if hours >= 2 else f"{hours * 60:,.1f} minutes"

    @property
    def most(self) -> int:
        """Bytes at the worst moment: features are twice on the disk while they are put together."""
        return 2 * self.features + self.index


def needed(
    found: VideoFiles, info: ModelInfo, backbone: Backbone, rate: float, windows: WindowRule, out: Path
) -> Need:
    """An estimate out of what the files state; nothing is decoded.

    Raises:
        VideoError: none of the files is a video.
        OutputError: there is not enough room for it.
    """
    seconds = {name: length for name, length in lengths(found.videos, _PATIENCE).items() if length}
    if not seconds:
        _refuse_unreadable(found)
    snippets = sum(max(1.0, length * rate) for length in seconds.values())
    moments = sum(len(windows.of(length)) for length in seconds.values()) * len(info.grid)
    need = Need(
        len(seconds) or len(found.videos),
        sum(seconds.values()),
        round(snippets * backbone.dim * 4),
        moments * (2 * info.spaces * info.joint_dim + _MOMENT),
        shutil.disk_usage(_there(out)).free,
    )
    if need.most > need.free:
        raise OutputError(
            f"{out}: about {weight(need.most)} are needed for features and index of {need.videos:,} videos, "
            f"{need.length}; {weight(need.free)} are free. Choose another place with -o, or "
            "index fewer videos."
        )
    return need


def _refuse_unreadable(found: VideoFiles) -> None:
    """Stop where none of some files is a video, before any work.

    Raises:
        VideoError: none is; says why.
    """
    whys: list[str] = []
    for path in found.videos.values():
        try:
            stated_length(path)
            return
        except VideoError as error:
            whys.append(str(error))
    more = f" And {len(whys) - SHOWN:,} more." if len(whys) > SHOWN else ""
    none = f"None of {len(whys):,} files is a video that can be read. " if len(whys) > 1 else ""
    raise VideoError(f"{none}{' '.join(whys[:SHOWN])}{more}")


def _there(path: Path) -> Path:
    """The nearest folder above a path that exists."""
    path = Path(os.path.abspath(path))
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
