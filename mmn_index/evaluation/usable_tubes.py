"""Which sentences with tubes can be used: those whose video has, in the file of tubes, the pictures that the
annotations speak of. Numbers of frames and pixels mean nothing in a copy of another rate or size.

Single videos are left out and named; where all are off by one factor, or nothing is left, that is an error.
A video without a tube is none of these: it stays, and counts 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from ..errors import AnnotationError, FeatureError
from ..ids import likely_cause
from ..left_out import LeftOut
from ..tube_file import Footage
from .tube_files import TubesOfVideos, TubeTruth
from .tube_truths import TubeTruths

_FAR = 0.1  # of the larger of two numbers of frames; files lose and gain some
_SIZE = 16  # pixels; codecs fill sides up
_SAME = 0.02  # relative difference of factors that count as one
_OVER = 1.1  # of the picture: how far out a box may reach
_WHY = {"frames": "Is it a copy at another frame rate, or another cut?", "": "Is it a copy of another size?"}

_Known = Mapping[str, tuple[TubeTruth, Footage]]


def usable_tubes(
    truths: TubeTruths, tubes: TubesOfVideos, *, with_tubes: bool = False
) -> tuple[TubeTruths, list[LeftOut]]:
    """A split without the sentences whose video has damaged tubes, or pictures of another rate or size.

    Args:
        with_tubes: sentences without a tube are left out as well, as training cannot use them.

    Raises:
        AnnotationError: the numbers of all videos are off by one factor.
        FeatureError: nothing is left.
    """
    known: dict[str, tuple[TubeTruth, Footage]] = {}
    spans: dict[str, list[tuple[int, int]]] = {}  # first and last frame of each tube
    why: dict[str, str] = {}
    for truth in truths.videos:
        if truth.video_id in tubes and truth.video_id not in known and truth.video_id not in why:
            try:
                known[truth.video_id] = truth, tubes.footage(truth.video_id)
                found = tubes.tubes(truth.video_id)
                spans[truth.video_id] = [(one.tube.first, one.tube.last) for one in found]
            except FeatureError as error:
                why[truth.video_id] = str(error)
    for what in ("frames", "width", "height"):
        _check_factor(what, known, truths, tubes)
    for truth in truths.videos:
        if truth.video_id in known and truth.video_id not in why and (said := _contradiction(truth, known)):
            why[truth.video_id] = f"{truths.path}: '{truth.name}' {said}"
    kept = tuple(truth for truth in truths.videos if truth.video_id not in why)
    if not kept:
        first = next(iter(why.values()))
        raise FeatureError(f"{first} So none of the {len(why):,} videos can be used.")
    left_out = [LeftOut(video_id, text) for video_id, text in why.items()]
    if with_tubes:
        seen = [_is_in_one(truth, spans.get(truth.video_id, [])) for truth in kept]
        left_out += [
            LeftOut(truth.name, f"{tubes.path}: video '{truth.video_id}' has no tube.")
            for truth, there in zip(kept, seen, strict=True)
            if not there
        ]
        kept = tuple(truth for truth, there in zip(kept, seen, strict=True) if there)
        if not kept:
            wanted = [truth.video_id for truth in truths.videos]
            cause = likely_cause(wanted, tubes.video_ids) or "Do the names match?"
            raise FeatureError(f"{tubes.path}: has no tube of any video of {truths.path}. {cause}")
    return replace(truths, videos=kept), left_out


def _is_in_one(truth: TubeTruth, spans: Sequence[tuple[int, int]]) -> bool:
    begin, end = truth.segment or (-math.inf, math.inf)
    return any(first <= end and begin <= last for first, last in spans)


def _check_factor(what: str, known: _Known, truths: TubeTruths, tubes: TubesOfVideos) -> None:
    """Refuse numbers that are all off by one factor: no video is to blame."""
    pairs = [
        (truth.name, ours, getattr(footage, what), footage)
        for truth, footage in known.values()
        if (ours := getattr(truth.stated, what)) is not None
    ]
    if len(pairs) < 2 or not all(_far(what, ours, theirs, footage) for _, ours, theirs, footage in pairs):
        return
    factor = median(ours / theirs for _, ours, theirs, _ in pairs)
    if any(abs(ours / theirs / factor - 1) > _SAME for _, ours, theirs, _ in pairs):
        return
    name, ours, theirs, _ = pairs[0]
    unit = "frames" if what == "frames" else f"pixels of {what}"
    raise AnnotationError(
        f"{truths.path}: gives all {len(pairs):,} videos {factor:.4g} times the {unit} that {tubes.path} has "
        f"('{name}': {ours:,} against {theirs:,}). {_WHY.get(what, _WHY[''])} Make the tubes of the videos "
        "that were annotated."
    )


def _contradiction(truth: TubeTruth, known: _Known) -> str:
    """What a sentence says of its video that the file of tubes denies; empty where nothing."""
    _, footage = known[truth.video_id]
    for what in ("frames", "width", "height"):
        ours, theirs = getattr(truth.stated, what), getattr(footage, what)
        if ours is not None and _far(what, ours, theirs, footage):
            of = "frames" if what == "frames" else f"pixels of {what}"
            return f"has {ours:,} {of}, its tubes were made of {theirs:,}. {_WHY.get(what, _WHY[''])}"
    if truth.stretch.last > footage.frames and _far("frames", truth.stretch.last, footage.frames, footage):
        return (
            f"is about frames up to {truth.stretch.last:,}, its tubes were made of {footage.frames:,}. "
            f"{_WHY['frames']}"
        )
    right, bottom = truth.stretch.tube.boxes[:, 2:].amax(dim=0).tolist()
    if right > _OVER * footage.width or bottom > _OVER * footage.height:
        return (
            f"has boxes that reach to {right:g}, {bottom:g}, its tubes were made of pictures of "
            f"{footage.width} x {footage.height}. {_WHY['']}"
        )
    return ""


def _far(what: str, ours: int, theirs: int, footage: Footage) -> bool:
    if what == "frames":
        return abs(ours - theirs) > max(footage.rate, _FAR * max(ours, theirs))
    return abs(ours - theirs) > _SIZE
