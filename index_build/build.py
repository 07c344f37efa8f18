"""From a trained model and snippet features to a moment index."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.errors import FeatureError
from mmn_index.features import FeatureFile
from mmn_index.index import Manifest, SegmentEntry, SegmentWriter, create
from mmn_index.model import MMN
from mmn_index.scoring import Score

_BATCH = 16  # videos that go through the encoder together


@dataclass(frozen=True)
class BuildResult:
    """What was built."""

    root: Path
    videos: int
    moments: int


def build(
    checkpoint_path: Path, features: FeatureFile, root: Path, *, durations: Mapping[str, float] | None = None,
    score: str = "collection", overwrite: bool = False, device: str = "cpu",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> BuildResult:  # fmt: skip
    """Embed every valid proposal of every video and publish them as an index.

    Args:
        durations: seconds by video id; given, only these videos are indexed. Else all of the file, with the durations
            that it states.
        score: the index's default ranking, one of scoring.SCORES.
        overwrite: replace an index at `root`.
        report: called with (videos done, videos in all).

    Raises:
        CheckpointError, FeatureError, QueryError: input that does not fit; nothing is published.
        OutputError: `root` exists or cannot be written.
    """
    about = checkpoint.info(checkpoint_path)
    if about.features is not None and features.backbone is not None and about.features != features.backbone:
        raise FeatureError(
            f"{features.path}: holds features of backbone '{features.backbone}', but {checkpoint_path} was trained on "
            f"'{about.features}'. Extract the videos with --backbone {about.features}."
        )
    seconds = _durations(features, durations)
    default = Score(score, power=about.config.power, tau=about.config.tau)
    model = checkpoint.load(checkpoint_path, device)

    def make(folder: Path) -> SegmentEntry:
        writer = SegmentWriter(folder, model.grid, model.config.joint_dim, len(seconds))
        for video_id, embeddings in encode(model, features, list(seconds), report):
            writer.add(video_id, features.source(video_id), seconds[video_id], embeddings)
        return writer.finish()

    def describe(entry: SegmentEntry) -> Manifest:
        backbone = features.backbone or about.features
        return Manifest(about.fingerprint, backbone, about.config.joint_dim, default, (entry,))

    create(root, checkpoint_path, make, describe, overwrite=overwrite)
    return BuildResult(root, len(seconds), len(seconds) * len(model.grid))


@torch.inference_mode()
def encode(
    model: MMN, features: FeatureFile, video_ids: list[str], report: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[tuple[str, np.ndarray]]:
    """Embed videos: yields (video id, (P, 2 C) float32), contrastive then iou, in the order given."""
    for first in range(0, len(video_ids), _BATCH):
        part = video_ids[first : first + _BATCH]
        pre_clips = torch.stack([stored_pre_clips(features, video_id, model.config) for video_id in part])
        both = torch.cat(model.embed_videos(pre_clips), dim=2).cpu().numpy()
        yield from zip(part, both, strict=True)
        report(first + len(part), len(video_ids))


def _durations(features: FeatureFile, given: Mapping[str, float] | None) -> dict[str, float]:
    """Seconds of the videos to index. Missing features show before anything is written."""
    if given is not None:
        missing = [video_id for video_id in given if video_id not in features]
        if missing:
            raise FeatureError(
                f"{features.path}: has no features of {len(missing)} of {len(given)} videos, e.g. '{missing[0]}'. "
                "Do annotations and features belong together?"
            )
        return dict(given)
    found = {}
    for video_id in features.video_ids:
        duration = features.duration(video_id)
        if duration is None:
            raise FeatureError(
                f"{os.fspath(features.path)}: does not say how long video '{video_id}' is (no attribute `duration` or `rate`). "
                "Name an annotation file that does with --videos."
            )
        found[video_id] = duration
    return found
