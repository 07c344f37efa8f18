"""Videos with their moments and sentences, from the benchmarks' files; annotation_forms.py has their forms.

A list "labels", one a sentence, may say which action a sentence is about: moments with the same
label then count as right answers to each other's sentences when a whole collection is searched.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import AnnotationError
from .annotation_forms import Entries, read_entries

Length = Callable[[str], float | None]  # seconds of a video, None where nobody knows
_T = TypeVar("_T")


@dataclass(frozen=True)
class AnnotatedVideo:
    """One video with the sentences that are left after the official filter."""

    video_id: str
    duration: float  # seconds
    moments: Tensor  # (S, 2) float32 seconds, inside the video
    sentences: tuple[str, ...]
    labels: tuple[str, ...] | None
    positions: tuple[
        int, ...
    ]  # of its sentences among all of the file, counted from 0, those that the filter drops included
    rows: tuple[int, ...] = ()  # of the file; sentences of one row are one, with several right moments

    @property
    def alike(self) -> list[list[int]]:
        """Numbers of its sentences, those together that are one sentence with several right moments."""
        found: dict[int, list[int]] = {}
        for number, row in enumerate(self.rows or range(len(self.sentences))):
            found.setdefault(row, []).append(number)
        return list(found.values())


@dataclass(frozen=True)
class Annotations:
    """One split."""

    path: Path
    videos: tuple[AnnotatedVideo, ...]
    dropped: int  # sentences whose start is not before their end, or whose moment has no part in the video
    clamped: int  # sentences whose moment reached outside the video and was cut
    written: int = 0  # above every position: sentences of the file, or TVR's largest desc_id and one
    unknown: tuple[str, ...] = ()  # videos of a form without lengths, of which nobody knew the length
    cut: int = 0  # sentences that were cut to what a text encoder reads
    estimated: int = 0  # videos whose length is the end of their last moment

    @property
    def num_sentences(self) -> int:
        """Sentences of all videos."""
        return sum(len(video.sentences) for video in self.videos)

    @property
    def durations(self) -> tuple[float, float]:
        """Seconds of the videos: their median, and the longest."""
        lengths = [video.duration for video in self.videos]
        return median(lengths), max(lengths)

    def worded(self, shortened: Callable[[Sequence[str]], list[str]]) -> "Annotations":
        """The same with sentences that a text encoder can read, see SentenceTokenizer.shortened."""
        given = [sentence for video in self.videos for sentence in video.sentences]
        found = shortened(given)
        wordings = iter(found)
        return replace(
            self,
            videos=tuple(
                replace(video, sentences=tuple(next(wordings) for _ in video.sentences))
                for video in self.videos
            ),
            cut=sum(a != b for a, b in zip(given, found, strict=True)),
        )

    @property
    def cut_remark(self) -> str:
        """How many sentences are cut, for people; empty where none is."""
        return remark_on_cut(self.path, self.cut)

    @property
    def digest(self) -> str:
        """Of all that it says of its videos."""
        found = hashlib.sha256()
        for video in self.videos:
            found.update(
                repr((video.video_id, video.duration, video.sentences, video.labels)).encode(
                    "utf-8", "surrogatepass"
                )
            )
            found.update(video.moments.numpy().tobytes())
        return found.hexdigest()[:16]

    @property
    def remarks(self) -> list[str]:
        """What was not taken as it is written, for people."""
        found = []
        if self.dropped:
            found.append(
                f"{self.path}: {self.dropped:,} sentences are left out, whose moments are empty or outside "
                "their video."
            )
        if self.clamped:
            found.append(
                f"{self.path}: the moments of {self.clamped:,} sentences reach outside their video and are "
                "cut."
            )
        if self.estimated:
            found.append(
                f"{self.path}: does not say how long its videos are; {self.estimated:,} are taken to end "
                "with their last moment."
            )
        return found


def read_annotations(
    path: str | os.PathLike[str], length: Length | None = None, *, estimate: bool = False
) -> Annotations:
    """Read one split. A sentence is kept if its start is before its end as written, and then cut to the
    video.

    Args:
        length: of videos in a form that does not say it, such as a feature file's `stated`. Videos that it
        does
            not know either are left out, and named in `unknown`.
        estimate: take a video of unknown length to end with its last moment: enough for wordings.

    Raises:
        AnnotationError: the file is missing, is not of this form, or has no usable sentence.
    """
    path = Path(path)
    entries = read_entries(path)
    if not entries.lengths and length is None and not estimate:
        raise AnnotationError(
            f"{path}: a Charades-STA list does not say how long videos are, and no feature file is read here "
            "that would. Give the json form, with durations."
        )
    unknown, estimated = _add_lengths(entries, length, estimate)
    videos, dropped, clamped, before = [], 0, 0, 0
    for video, lost, cut in _each(path, entries, _video):
        own = entries.positions and entries.positions[video.video_id]
        positions = tuple(own[position] if own else before + position for position in video.positions)
        rows = () if entries.rows is None else tuple(entries.rows[video.video_id][n] for n in video.positions)
        video = replace(video, positions=positions, rows=rows)
        dropped, clamped, before = dropped + lost, clamped + cut, before + lost + len(video.sentences)
        if video.sentences:
            videos.append(video)
    if not videos and not unknown:
        raise AnnotationError(
            f"{path}: has no sentence with a start before its end{_outside(entries) if dropped else ''}."
        )
    return Annotations(
        path,
        tuple(videos),
        dropped,
        clamped,
        written=entries.written or before,
        unknown=tuple(unknown),
        estimated=estimated,
    )


def read_durations(path: str | os.PathLike[str]) -> dict[str, float | None]:
    """Seconds of every video of an annotation file, those without a sentence included; None in a form that
    does
    not say them.

    Raises:
        AnnotationError: the file is missing, or is not of this form.
    """
    path = Path(path)
    entries = read_entries(path, moments=False)
    if not entries.lengths:
        return dict.fromkeys(entries.videos)
    return dict(_each(path, entries, lambda video_id, entry: (video_id, _duration(entry)[0])))


def _add_lengths(entries: Entries, length: Length | None, estimate: bool) -> tuple[list[str], int]:
    """Complete entries of a form without lengths; which stayed unknown and are taken out, how many are
    estimated.
    """
    unknown: list[str] = []
    estimated = 0
    for video_id, entry in [] if entries.lengths else list(entries.videos.items()):
        seconds = None if length is None else length(video_id)
        if seconds is None and estimate:
            seconds = max(end for _, end in entry["timestamps"])
            estimated += 1
        if seconds is None or seconds <= 0:
            unknown.append(video_id)
            del entries.videos[video_id]
        else:
            entry["duration"] = seconds
    return unknown, estimated


def _outside(entries: Entries) -> str:
    """Where the first moment lies, if it is outside its video: times may be in another unit."""
    for video_id, entry in entries.videos.items():
        duration, fps = _duration(entry)
        for start, end in entry["timestamps"]:
            if float(start) < float(end):
                return (
                    f" inside its video: the first is from {float(start) / fps:g} to {float(end) / fps:g}, "
                    f"and '{video_id}' lasts {duration:g} seconds. Such times may be milliseconds, or frames"
                )
    return ""


def _each(path: Path, entries: Entries, read: Callable[[str, Any], _T]) -> Iterator[_T]:
    """What is made of each video's entry; what goes wrong says in which."""
    for video_id, entry in entries.videos.items():
        try:
            yield read(video_id, entry)
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{path}: video '{video_id}': {_reason(error)}. Expected duration (or fps and num_frames), "
                "timestamps [[start, end], ...] and as many sentences."
            ) from error


def remark_on_cut(path: Path, cut: int) -> str:
    """How many sentences are cut, for people; empty where none is."""
    return f"{path}: {cut:,} sentences are longer than the text encoder reads, and are cut." if cut else ""


def held_out(ids: Sequence[str], share: float, path: Path) -> set[str]:
    """Which videos `hold_out` keeps back.

    Raises:
        AnnotationError: there is but one.
    """
    if len(ids) < 2:
        raise AnnotationError(
            f"{path}: one video cannot be both trained on and held out. Give a validation split."
        )
    ranked = sorted(
        ids, key=lambda video_id: hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()
    )
    return set(ranked[: min(max(1, round(share * len(ids))), len(ids) - 1)])


def hold_out(annotations: Annotations, share: float) -> tuple[Annotations, Annotations]:
    """Keep back a share of the videos for validation: those whose ids have the smallest SHA-256.

    So the choice depends on nothing but the ids: not on a seed, nor on the order or the other videos' number
    of sentences.

    Returns:
        The rest, and the videos that were kept back; at least one each.

    Raises:
        AnnotationError: there is but one video.
    """
    videos = annotations.videos
    held = held_out([video.video_id for video in videos], share, annotations.path)
    return (
        replace(annotations, videos=tuple(video for video in videos if video.video_id not in held)),
        replace(annotations, videos=tuple(video for video in videos if video.video_id in held)),
    )


def _duration(entry: Any) -> tuple[float, float]:
    """Seconds of a video, and in how many parts its timestamps count one."""
    if not isinstance(entry, dict):
        raise TypeError(f"is {entry!r:.40}, not an object")
    fps = float(entry["fps"]) if "duration" not in entry else 1.0
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"{fps} frames a second")
    duration = float(entry["duration"]) if "duration" in entry else float(entry["num_frames"]) / fps
    if not (math.isfinite(duration) and duration > 0):
        raise ValueError(f"a duration of {duration} seconds")
    return duration, fps


def _video(video_id: str, entry: Any) -> tuple[AnnotatedVideo, int, int]:
    """A video by itself, how many sentences it lost, and of how many the moment was cut."""
    duration, fps = _duration(entry)
    for name in ("timestamps", "sentences", "labels"):
        if name in entry and not isinstance(entry[name], list):
            raise TypeError(f"{name} is {entry[name]!r:.40}, not a list")
    spans = [(float(start), float(end)) for start, end in entry["timestamps"]]
    sentences, labels = entry["sentences"], entry.get("labels")
    for start, end in spans:
        if not (math.isfinite(start) and math.isfinite(end)):
            raise ValueError(f"a moment from {start} to {end}")
    for sentence in sentences:
        if not (isinstance(sentence, str) and sentence.strip()):
            raise ValueError(f"a sentence that is {sentence!r:.40}")
    for label in labels or ():
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise ValueError(f"a label that is {label!r:.40}")
    if len(spans) != len(sentences) or (labels is not None and len(labels) != len(sentences)):
        raise ValueError(
            f"{len(spans)} timestamps, {len(sentences)} sentences, {len(labels or sentences)} labels"
        )
    # The test comes before the frames are divided and before the cut, as in the official loader, which does
    # not know moments that lie outside their video altogether (no benchmark has one).
    kept = [
        number
        for number, (start, end) in enumerate(spans)
        if start < end and max(start / fps, 0.0) < min(end / fps, duration)
    ]
    exact = [(spans[number][0] / fps, spans[number][1] / fps) for number in kept]
    inside = [(max(start, 0.0), min(end, duration)) for start, end in exact]
    cut = sum(a != b for a, b in zip(exact, inside, strict=True))
    moments = torch.tensor(inside, dtype=torch.float32).reshape(-1, 2)
    chosen = None if labels is None else tuple(str(labels[number]) for number in kept)
    video = AnnotatedVideo(
        video_id, duration, moments, tuple(sentences[number] for number in kept), chosen, tuple(kept)
    )
    return video, len(spans) - len(kept), cut


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
