"""Which annotated videos can be used: those whose features, or moments in an index, are there and have the
length that the annotations say.

Of thousands of videos some are always gone, cut anew or damaged. They are left out and named, and the others
are used. Where nothing is left, or one mistake explains all, that is an error.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from ..errors import AnnotationError, FeatureError
from ..features import FeatureFile
from ..ids import likely_cause
from ..left_out import LeftOut
from ..tube_videos import TubeVideos
from .annotations import Annotations

Report = Callable[[int, int], None]

_FAR = 0.1  # of the longer of two lengths
_FACTORS = (  # of the annotations' lengths to the others', and what people mistake for seconds
    ((1000,), "milliseconds"),
    ((23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60), "frames, or hundredths"),
)
_SAME = 0.02  # relative difference of factors that count as one


def usable(
    split: Annotations,
    features: FeatureFile,
    dim: int,
    *,
    report: Report = lambda done, total: None,
) -> tuple[Annotations, list[LeftOut]]:
    """A split without the videos that a feature file cannot give; see `usable_videos`.

    Raises:
        FeatureError, AnnotationError: nothing is left, or one mistake explains all.
    """
    durations = {video.video_id: video.duration for video in split.videos}
    known: dict[str, float | None] = {**durations, **dict.fromkeys(split.unknown)}
    kept, left_out = usable_videos(known, features, dim, split.path, report=report)
    videos = tuple(video for video in split.videos if video.video_id in kept)
    return replace(split, videos=videos, unknown=()), left_out


def usable_videos(
    durations: Mapping[str, float | None] | None,
    features: FeatureFile | TubeVideos,
    dim: int,
    source: Path,
    *,
    report: Report = lambda done, total: None,
) -> tuple[dict[str, float], list[LeftOut]]:
    """The videos whose features are there, whole, of the right width and length: each one is read.

    Args:
        durations: seconds by video id, None where only the features say them; None takes all of the file.
        dim: width of the features.
        source: where the durations come from, for messages.
        report: called with (videos read, videos in all).

    Returns:
        Seconds by video id, in the order given, and what is left out.

    Raises:
        FeatureError: the features have another width, or nothing is left.
        AnnotationError: the lengths of all videos are off by one factor.
    """
    _check_file(features, durations, dim)
    if durations is None:
        durations = dict.fromkeys([*features.video_ids, *features.broken])
    gone = (name for name in durations if name not in features and name not in features.broken)
    missing = dict.fromkeys(gone)
    if len(missing) == len(durations):
        raise FeatureError(_all_missing([*missing], features.video_ids, features.path, source))
    lengths = {name: features.stated(name) for name in durations}
    snippets = {name: _snippet(features, name, seconds) for name, seconds in lengths.items()}
    _check_factor(durations, lengths, snippets, source, features.path)
    cause = likely_cause([*missing], features.video_ids)
    kept: dict[str, float] = {}
    left_out: list[LeftOut] = []
    for number, (name, annotated) in enumerate(durations.items(), 1):
        try:
            if name in missing:
                raise FeatureError(f"{features.path}: no features of video '{name}'. {cause}".rstrip())
            features.check(name, dim)
            seconds = features.duration(name)
            _check_own(features, name, seconds)
            if annotated is not None and _far(annotated, seconds, snippets[name]):
                raise FeatureError(_contradiction(name, annotated, seconds or 0.0, source, features.path))
            kept[name] = _known(annotated, seconds, name, features.path)
        except FeatureError as error:
            left_out.append(LeftOut(name, str(error)))
        report(number, len(durations))
    if not kept:
        raise FeatureError(_nothing(left_out, len(durations)))
    return kept, left_out


def _check_file(features: FeatureFile | TubeVideos, wanted: Collection[str] | None, dim: int) -> None:
    """Refuse a file of which no video would fit."""
    if features.kinds and (wanted is None or not any(name in features for name in wanted)):
        first = features.kinds[0]
        raise FeatureError(
            f"{features.path}: its videos have several arrays of features ({', '.join(features.kinds)}). "
            f"Choose with --feature-name {first}, or with --feature-name {','.join(features.kinds[:2])} to "
            "read them side by side. If each is a video of its own, name the videos with --videos."
        )
    if features.video_ids and features.dim not in (0, dim):
        raise FeatureError(
            f"{features.path}: has features of width {features.dim}, expected {dim}. Was the model trained "
            "on other features, or are snippets and width exchanged?"
        )


def searchable(
    split: Annotations, durations: Mapping[str, float], where: Path
) -> tuple[Annotations, list[LeftOut]]:
    """A split without the videos that an index lacks, or has in another length.

    Args:
        durations: seconds of the index's videos by their ids, as Corpus.lengths.
        where: the index.

    Raises:
        AnnotationError: nothing is left, or one mistake explains all.
    """
    names = [*(video.video_id for video in split.videos), *split.unknown]
    missing = [name for name in names if name not in durations]
    if len(missing) == len(names):
        raise AnnotationError(_all_missing(missing, durations, where, split.path))
    snippets = dict.fromkeys(durations, 1.0)
    _check_factor(
        {video.video_id: video.duration for video in split.videos}, durations, snippets, split.path, where
    )
    cause = likely_cause(missing, durations)
    left_out = [
        LeftOut(name, f"{where}: has no video '{name}', which {split.path} names. {cause}".rstrip())
        for name in missing
    ]
    kept = []
    for video in split.videos:
        if video.video_id not in durations:
            continue
        seconds = durations[video.video_id]
        if _far(video.duration, seconds, 1.0):
            why = _contradiction(video.video_id, video.duration, seconds, split.path, where)
            left_out.append(LeftOut(video.video_id, why))
        else:
            kept.append(video)
    if not kept:
        raise AnnotationError(_nothing(left_out, len(names)))
    return replace(split, videos=tuple(kept), unknown=()), left_out


def _far(annotated: float, seconds: float | None, snippet: float) -> bool:
    """Whether two lengths are of different videos: more than a snippet and a tenth apart."""
    if seconds is None:
        return False
    return abs(annotated - seconds) > max(snippet, _FAR * max(annotated, seconds))


def _check_own(features: FeatureFile | TubeVideos, name: str, seconds: float | None) -> None:
    """Whether a file's own length of a video agrees with its snippets and their rate, where it says both."""
    if seconds is None or features.rate is None:
        return
    count = features.shape(name)[0]
    if _far(count / features.rate, seconds, 1 / features.rate):
        raise FeatureError(
            f"{features.path}: video '{name}' has {count:,} snippets at {features.rate:g} per second, so "
            f"{count / features.rate:,.1f} seconds, but its attribute 'duration' says {seconds:,.1f}. Is the "
            "duration in milliseconds or frames, or is the rate wrong?"
        )


def _snippet(features: FeatureFile | TubeVideos, name: str, seconds: float | None) -> float:
    """Seconds of a snippet; 0 where none is known."""
    try:
        return 0.0 if seconds is None else seconds / features.shape(name)[0]
    except FeatureError:
        return 0.0


def _known(annotated: float | None, seconds: float | None, name: str, path: Path) -> float:
    found = seconds if annotated is None else annotated
    if found is None:
        raise FeatureError(
            f"{path}: does not say how long video '{name}' is (no attribute `duration` or `rate`). Name an "
            "annotation file that does with --videos, or say how many snippets there are a second with "
            "--rate."
        )
    return found


def _check_factor(
    annotated: Mapping[str, float | None],
    lengths: Mapping[str, float | None],
    snippets: Mapping[str, float],
    source: Path,
    where: Path,
) -> None:
    """Refuse lengths that are all off by one factor: a unit was mistaken, and no video is to blame."""
    both = [
        (name, ours, theirs)
        for name, ours in annotated.items()
        if ours is not None and (theirs := lengths.get(name)) is not None
    ]
    ratios = [ours / theirs for _, ours, theirs in both]
    if not both or not all(_far(ours, theirs, snippets[name]) for name, ours, theirs in both):
        return
    factor = median(ratios)
    # A single video gives no pattern: only a factor that people know tells a wrong unit from a wrong video.
    meant = next(
        (
            (unit, side)
            for known, unit in _FACTORS
            for side, value in ((source, factor), (where, 1 / factor))
            if any(abs(value / one - 1) < _SAME for one in known)
        ),
        None,
    )
    if any(abs(ratio / factor - 1) > _SAME for ratio in ratios) or (meant is None and len(both) < 2):
        return
    name, ours, theirs = both[0]
    times = f"{factor:,.4g} times" if factor >= 1 else f"1/{1 / factor:,.4g} of"
    hint = f"Does {meant[1]} give {meant[0]}?" if meant else "Is a rate or a unit wrong?"
    raise AnnotationError(
        f"{source}: gives all {len(both):,} videos {times} the length that {where} gives (video '{name}': "
        f"{ours:g} against {theirs:g} seconds). {hint} Expected seconds."
    )


def _contradiction(name: str, annotated: float, seconds: float, source: Path, where: Path) -> str:
    return (
        f"{source}: video '{name}' lasts {annotated:g} seconds there and {seconds:g} in {where}. Is it "
        "another cut of the video, or are times in milliseconds or frames?"
    )


def _all_missing(missing: list[str], known: Collection[str], where: Path, source: Path) -> str:
    there = f"e.g. '{next(iter(known))}'" if known else "none"
    cause = likely_cause(missing, known) or "Do they belong together?"
    return (
        f"{where}: has none of the {len(missing):,} videos of {source}, e.g. '{missing[0]}' (it has "
        f"{len(known):,}, {there}). {cause}"
    )


def _nothing(left_out: list[LeftOut], count: int) -> str:
    more = f" And {len(left_out) - 1:,} more." if len(left_out) > 1 else ""
    return f"{left_out[0].why} So none of the {count:,} videos can be used.{more}"
