"""What is to be indexed: videos of a feature file, which of them can be used, and how they are cut."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmn_index.errors import FeatureError
from mmn_index.evaluation.usable import usable_videos
from mmn_index.features import FeatureFile
from mmn_index.index import PlannedTube, PlannedVideo
from mmn_index.left_out import LeftOut, refuse
from mmn_index.made_by import is_other, other_weights
from mmn_index.moment_model import ModelInfo
from mmn_index.tube_videos import TubeVideos
from mmn_index.windows import WindowRule

from .candidates import Wish

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Source:
    """What videos to index, and how.

    Attributes:
        features: their snippets, or tubes.
        durations: seconds by video id, None where the features say them; given, only these videos are
        indexed.
            Else all of the file, with the durations that it states.
        annotations: the file that the durations are of.
        metadata: a CSV or Parquet file of the user's own columns, by `video_id`.
        wish: which candidate index.
        windows: how videos are cut; None as the model asks for.
        strict: what cannot be used is an error; else it is left out.
        checked: called with (videos read, videos in all) while the features are looked through.
    """

    features: FeatureFile | TubeVideos
    durations: Mapping[str, float | None] | None = None
    annotations: Path | None = None
    metadata: Path | None = None
    wish: Wish = field(default_factory=Wish)
    windows: WindowRule | None = None
    strict: bool = False
    checked: Report = lambda done, total: None


def check_backbone(about: ModelInfo, features: FeatureFile | TubeVideos, model: Path) -> None:
    """Refuse features of another kind, or of another backbone, than the model's.

    Raises:
        FeatureError: they are.
    """
    if about.tubes != isinstance(features, TubeVideos):
        is_now, expected = ("features of whole videos", "tubes") if about.tubes else ("tubes", "whole videos")
        command = "tubes" if about.tubes else "extract"
        raise FeatureError(
            f"{features.path}: holds {is_now}, but {model} is made for {expected}. `mmn-index {command}` "
            "makes what it takes."
        )
    if about.features is None or features.backbone is None:
        return
    if is_other(features.backbone, features.weights, about.features, about.weights):
        made, wanted = (other_weights(weights) for weights in (features.weights, about.weights))
        takes = f"{about.name} takes" if about.spaces == 1 else f"{model} was trained on"
        backbone = about.name if about.spaces == 1 else about.features.partition("#")[0]
        how = "Make the tubes" if about.tubes else "Extract the videos"
        raise FeatureError(
            f"{features.path}: holds features of backbone '{features.backbone}'{made}, but {takes} "
            f"'{about.features}'{wanted}. {how} with --backbone {backbone}."
        )


def usable_of(source: Source, about: ModelInfo) -> tuple[list[PlannedVideo], list[LeftOut]]:
    """The videos to index, and those that cannot be. What is missing or broken shows before anything is
    written.

    Raises:
        FeatureError, AnnotationError: nothing can be used, or something cannot and the source is strict.
    """
    features = source.features
    kept, left_out = usable_videos(
        source.durations,
        features,
        about.input_dim,
        source.annotations or features.path,
        report=source.checked,
    )
    if source.strict:
        refuse(left_out, FeatureError)
    return planned(features, kept, source.windows or about.windows), left_out


def planned(
    features: FeatureFile | TubeVideos, durations: Mapping[str, float], windows: WindowRule
) -> list[PlannedVideo]:
    """The videos of a segment, cut into windows by a rule, or into their tubes."""
    if isinstance(features, TubeVideos):
        return [
            PlannedVideo(name, features.source(name), seconds, tubes=tubes_of(features, name))
            for name, seconds in durations.items()
        ]
    return [
        PlannedVideo(name, features.source(name), seconds, windows.of(seconds))
        for name, seconds in durations.items()
    ]


def tubes_of(features: TubeVideos, video_id: str) -> tuple[PlannedTube, ...]:
    """What an index keeps of the tubes of a video, but for their boxes."""
    about = features.footage(video_id)
    return tuple(
        PlannedTube(number, one.tube.first, len(one.tube), about.rate, about.width, about.height, one.score)
        for number, one in zip(
            features.numbers(video_id), features.tubes(video_id, features=False), strict=True
        )
    )


def boxes_of(
    features: FeatureFile | TubeVideos, videos: Iterable[PlannedVideo]
) -> Iterator[np.ndarray] | None:
    """The boxes of each tube in turn, (frames, 4) pixels; None where there are no tubes."""
    if not isinstance(features, TubeVideos):
        return None
    return (
        found.tube.boxes.numpy()
        for video in videos
        for found in features.tubes(video.video_id, features=False)
    )
