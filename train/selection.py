"""The validation after each epoch, and which epoch's weights are kept."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmn_index.clips import stored_pre_clips
from mmn_index.evaluation.annotations import Annotations
from mmn_index.evaluation.tube_answers import answer_tubes, tube_table
from mmn_index.evaluation.tube_truths import TubeTruths
from mmn_index.evaluation.within_video import evaluate_videos
from mmn_index.features import FeatureFile
from mmn_index.model import MMN
from mmn_index.tube_file import TubeFile

from .config import Setting, TrainConfig
from .resume import TrainResult


class Validation:
    """A split that is measured after each epoch; its pre-clips are held in memory.

    Raises:
        FeatureError: a video has no usable features.
    """

    def __init__(self, split: Annotations, features: FeatureFile, model: MMN, config: TrainConfig) -> None:
        self._videos, self._config = split.videos, config
        self._pre_clips = {
            video.video_id: stored_pre_clips(features, video.video_id, model.config) for video in split.videos
        }

    def __call__(self, model: MMN) -> dict[str, float]:
        """R@n,IoU=m in percent."""
        score, nms = self._config.score, self._config.nms
        return evaluate_videos(model, self._videos, self._pre_clips.__getitem__, score=score, nms=nms).table()


class TubeValidation:
    """As `Validation`, of a split with tubes."""

    def __init__(self, truths: TubeTruths, tubes: TubeFile, *, official: bool) -> None:
        self._truths, self._tubes, self._official = truths, tubes, official

    def __call__(self, model: MMN) -> dict[str, float]:
        """The numbers of `tube_table`."""
        return tube_table(answer_tubes(model, self._truths.videos, self._tubes, official=self._official))


def measuring(
    split: Annotations | TubeTruths | None, features: FeatureFile | TubeFile, setting: Setting, model: MMN
) -> Validation | TubeValidation | None:
    """What measures a model on a split; None without one.

    Raises:
        FeatureError: a video has no usable features.
    """
    if split is None:
        return None
    if isinstance(split, TubeTruths):
        assert isinstance(features, TubeFile)
        return TubeValidation(split, features, official=not setting.loss.corrected)
    assert isinstance(features, FeatureFile)
    return Validation(split, features, model, setting.train)


def merits(scores: Mapping[str, float]) -> tuple[str, ...]:
    """Which numbers of a validation say how good a model is, by their sum."""
    return ("m_vIoU",) if "m_vIoU" in scores else ("R@1,IoU=0.5", "R@1,IoU=0.7")


class Selection:
    """The best epoch so far: by its validation, or the last where there is none or the setting says so."""

    def __init__(self, config: TrainConfig, model: Path) -> None:
        self._config, self._merit = config, -math.inf
        self.result = TrainResult(model, 0, None)

    def take(self, epoch: int, scores: Mapping[str, float] | None) -> bool:
        """Whether this epoch is the best one so far; it is remembered."""
        merit = float(epoch)
        if scores and self._config.select == "best":
            merit = sum(scores[name] for name in merits(scores))
        if merit <= self._merit:
            return False
        self._merit, self.result = merit, TrainResult(self.result.checkpoint, epoch, scores)
        return True

    def ended(self, epoch: int) -> bool:
        """Whether the run ends after this epoch."""
        patience = self._config.patience
        return epoch >= self._config.epochs or (patience > 0 and epoch - self.result.epoch >= patience)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs of it."""
        return {"best": self._merit, "kept": [self.result.epoch, self.result.validation]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up from `state`."""
        self._merit, self.result = state["best"], TrainResult(self.result.checkpoint, *state["kept"])
