"""Videos with their moments and sentences, from the json forms of the benchmarks.

    {video: {"duration": seconds, "timestamps": [[start, end], ...], "sentences": [...]}}      Charades-STA, ActivityNet
    {video: {"fps": ..., "num_frames": ..., "timestamps": in frames, "sentences": [...]}}      TACoS

A list "labels", one a sentence, may say which action a sentence is about: moments with the same
label then count as right answers to each other's sentences when a whole collection is searched.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmn_index.errors import AnnotationError


@dataclass(frozen=True)
class AnnotatedVideo:
    """One video with the sentences that are left after the official filter."""

    video_id: str
    duration: float  # seconds
    moments: Tensor  # (S, 2) float32 seconds, inside the video
    sentences: tuple[str, ...]
    labels: tuple[str, ...] | None
    positions: tuple[int, ...]  # of its sentences among all of the file, counted from 0, those that the filter drops included


@dataclass(frozen=True)
class Annotations:
    """One split."""

    path: Path
    videos: tuple[AnnotatedVideo, ...]
    dropped: int  # sentences whose start is not before their end
    clamped: int  # sentences whose moment reached outside the video and was cut

    @property
    def num_sentences(self) -> int:
        """Sentences of all videos."""
        return sum(len(video.sentences) for video in self.videos)


def read_annotations(path: str | os.PathLike[str]) -> Annotations:
    """Read one split. A sentence is kept if its start is before its end as written, and then cut to the video.

    Raises:
        AnnotationError: the file is missing, is not of this form, or has no usable sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise AnnotationError(f"{path}: no such annotation file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise AnnotationError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict) or not content:
        found = "an empty one" if content == {} else type(content).__name__
        raise AnnotationError(f"{path}: expected an object with one entry a video, found {found}.")
    videos, dropped, clamped, written = [], 0, 0, 0
    for video_id, entry in content.items():
        try:
            video, lost, cut = _video(str(video_id), entry, written)
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{path}: video '{video_id}': {_reason(error)}. Expected duration (or fps and num_frames), timestamps "
                "[[start, end], ...] and as many sentences."
            ) from error
        dropped, clamped, written = dropped + lost, clamped + cut, written + lost + len(video.sentences)
        if video.sentences:
            videos.append(video)
    if not videos:
        raise AnnotationError(f"{path}: has no sentence with a start before its end.")
    return Annotations(path, tuple(videos), dropped, clamped)


def hold_out(annotations: Annotations, share: float) -> tuple[Annotations, Annotations]:
    """Keep back a share of the videos for validation: those whose ids have the smallest SHA-256.

    So the choice depends on nothing but the ids: not on a seed, nor on the order or the other videos' number of sentences.

    Returns:
        The rest, and the videos that were kept back; at least one each.

    Raises:
        AnnotationError: there is but one video.
    """
    videos = annotations.videos
    if len(videos) < 2:
        raise AnnotationError(f"{annotations.path}: one video cannot be both trained on and held out. Give a validation split.")
    ranked = sorted(videos, key=lambda video: hashlib.sha256(video.video_id.encode()).hexdigest())
    held = {video.video_id for video in ranked[: min(max(1, round(share * len(videos))), len(videos) - 1)]}
    return (
        replace(annotations, videos=tuple(video for video in videos if video.video_id not in held)),
        replace(annotations, videos=tuple(video for video in videos if video.video_id in held)),
    )


def _video(video_id: str, entry: Any, written: int) -> tuple[AnnotatedVideo, int, int]:
    if not isinstance(entry, dict):
        raise TypeError(f"is {entry!r:.40}, not an object")
    for name in ("timestamps", "sentences", "labels"):
        if name in entry and not isinstance(entry[name], list):
            raise TypeError(f"{name} is {entry[name]!r:.40}, not a list")
    fps = float(entry["fps"]) if "duration" not in entry else 1.0
    duration = float(entry["duration"]) if "duration" in entry else float(entry["num_frames"]) / fps
    if not (math.isfinite(duration) and duration > 0):
        raise ValueError(f"a duration of {duration} seconds")
    spans = [(float(start), float(end)) for start, end in entry["timestamps"]]
    sentences = [str(sentence) for sentence in entry["sentences"]]
    labels = entry.get("labels")
    if len(spans) != len(sentences) or (labels is not None and len(labels) != len(sentences)):
        raise ValueError(f"{len(spans)} timestamps, {len(sentences)} sentences, {len(labels or sentences)} labels")
    # The test comes before the frames are divided and before the cut, as in the official loader.
    kept = [number for number, (start, end) in enumerate(spans) if start < end]
    exact = [(spans[number][0] / fps, spans[number][1] / fps) for number in kept]
    inside = [(max(start, 0.0), min(end, duration)) for start, end in exact]
    cut = sum(a != b for a, b in zip(exact, inside, strict=True))
    moments = torch.tensor(inside, dtype=torch.float32).reshape(-1, 2)
    chosen = None if labels is None else tuple(str(labels[number]) for number in kept)
    positions = tuple(written + number for number in kept)
    video = AnnotatedVideo(video_id, duration, moments, tuple(sentences[number] for number in kept), chosen, positions)
    return video, len(spans) - len(kept), cut


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
