"""vIoU of spatio-temporal grounding, as six published evaluators compute it.

vIoU is the sum of the IoU of boxes over the frames of truth and answer, divided by the frames of their
hull; tIoU the same without boxes; vIoU@t the share of videos with a vIoU above t, strictly; gt_vIoU the
mean IoU of boxes over the truth's frames, wherever the answer lies in time. What the evaluators take for
frames, hull and box differs:

    HC-STVG     the challenge's (eval_hcvg.py): every frame that both have, plain boxes, inclusive hull. A
                video without an answer counts 0. Report this one.
    TubeDETR    frames sampled at 5 a second of a video that lasts 20 seconds, 200 at most, numbered from
                0 while st_frame is not; needs the videos' numbers of frames
    STCAT, CG-STVG    the last frame is lost, as inclusive ends are taken for exclusive ones. At a frame
                of the truth without a box STCAT stops, and CG-STVG passes over it
    MMN-STVG    boxes one pixel wider and higher, float32. A video without an answer does not count
    VUE-STG     every frame; tIoU and vIoU over the frames of either, vIoU_int over those of both, and
                3D_IoU, the common volume over the whole. Its own benchmark has a frame a second

As their data loaders have it, the first (last) box of an answer holds before (after) its tube where an
evaluator asks for a box outside of it. Videos without an answer, at which the others stop, count 0.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..tubes import Tube, box_iou, common_boxes, hull, tube_iou
from .tube_files import Stretch

LEVELS = (0.3, 0.5)  # the t of vIoU@t
_SECONDS = 20  # of every video of HC-STVG
_RATE, _FRAMES = 5, 200  # TubeDETR's sampling: a second, and at most


class UnmeasurableError(ValueError):
    """An evaluator would stop at such a video."""


Values = dict[str, float | None]  # of one video; None is left out of the mean
Measure = Callable[[Stretch, Stretch], Values]  # of an answer and the truth


@dataclass(frozen=True)
class Evaluator:
    """One published evaluator."""

    name: str
    measure: Measure
    metrics: tuple[str, ...]  # names of what it measures
    counts_missing: bool = True  # a video without an answer is 0

    @property
    def levels(self) -> tuple[float, ...]:
        """The t of its vIoU@t."""
        return () if self.name == "VUE-STG" else LEVELS


@dataclass(frozen=True)
class Result:
    """Means over videos by one evaluator, in percent; none where it would stop, and why.

    Attributes:
        each: by the same names, of every video in the order of the truths, 0 to 1; empty where some videos
            do not count.
    """

    name: str
    values: Mapping[str, float]
    videos: int
    why_not: str = ""
    each: Mapping[str, list[float | None]] = field(default_factory=dict)


def measure_tubes(truths: Mapping[str, Stretch], answers: Mapping[str, Stretch]) -> list[Result]:
    """Every evaluator's means over the videos of the truths."""
    return [_result(one, truths, answers) for one in EVALUATORS]


def _result(one: Evaluator, truths: Mapping[str, Stretch], answers: Mapping[str, Stretch]) -> Result:
    rows: list[Values] = []
    for video, truth in truths.items():
        if video not in answers:
            if one.counts_missing:
                rows.append(
                    dict.fromkeys(one.metrics, 0.0)
                    | ({"vIoU_int": None} if "vIoU_int" in one.metrics else {})
                )
            continue
        try:
            rows.append(one.measure(answers[video], truth))
        except UnmeasurableError as error:
            return Result(one.name, {}, 0, f"'{video}' {error}")
    if not rows:
        return Result(one.name, {}, 0, "no video has an answer")
    each = {
        (f"m_{name}" if name in ("vIoU", "tIoU") else name): [row[name] for row in rows]
        for name in one.metrics
    }
    # A float32 vIoU is held against a float32 level, as numpy does.
    kind = torch.float32 if one.name == "MMN-STVG" else torch.float64
    vious = torch.tensor([row["vIoU"] for row in rows], dtype=kind)
    for t in one.levels:
        each[f"vIoU@{t}"] = [*(vious > torch.tensor(t, dtype=kind)).double().tolist()]
    means = {name: _mean(values) for name, values in each.items()}
    return Result(
        one.name,
        {name: 100 * value for name, value in means.items() if value == value},
        len(rows),
        each=each if len(rows) == len(truths) else {},
    )


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def challenge(answer: Stretch, truth: Stretch) -> Values:
    """HC-STVG's own evaluation: the frames whose boxes both have."""
    a, b = common_boxes(answer.tube, truth.tube)
    frames = max(answer.last, truth.last) - min(answer.first, truth.first) + 1
    return {"vIoU": float(box_iou(a, b).sum()) / frames, "tIoU": len(a) / frames}


def tubedetr(answer: Stretch, truth: Stretch) -> Values:
    """TubeDETR: sampled frames in [start, end), where the ends are one behind the last frames."""
    if truth.frame_count is None:
        raise UnmeasurableError("does not say how many frames the video has (img_num)")
    frames = torch.tensor(sampled_frames(truth.frame_count))
    (a, b), (c, d) = ((one.first, one.last + 1) for one in (answer, truth))
    ious, own = _over_truth(answer, truth, frames[(frames >= c) & (frames < d)])
    both = ious[(own >= max(a, c)) & (own < min(b, d))].sum()
    either = int(((frames >= min(a, c)) & (frames < max(b, d))).sum())
    return {
        "vIoU": float(both) / max(either, 1),
        "tIoU": _ends_iou(a, b, c, d),
        "gt_vIoU": float(ious.sum()) / max(len(ious), 1),
    }


def sampled_frames(count: int) -> list[int]:
    """The frames of a video of 20 seconds that TubeDETR looks at, numbered from 0.

    Raises:
        UnmeasurableError: the video has fewer frames than are sampled.
    """
    rate = _RATE / (count / _SECONDS) if count else math.inf
    if rate > 1:
        raise UnmeasurableError(f"has {count} frames, fewer than {_RATE} a second in {_SECONDS} seconds")
    found = [0]
    for frame in range(count - 1):
        if int(found[-1] * rate) < int(frame * rate):
            found.append(frame)
    if len(found) > _FRAMES:
        found = [found[number * len(found) // _FRAMES] for number in range(_FRAMES)]
    return found


def stcat(answer: Stretch, truth: Stretch) -> Values:
    """STCAT: inclusive ends taken for exclusive ones."""
    return _without_last(answer, truth, *_over_truth(answer, truth, truth.tube.frames))


def cgstvg(answer: Stretch, truth: Stretch) -> Values:
    """CG-STVG: as STCAT, but frames without a box are passed over."""
    known = _held_frames(answer.tube, truth.tube.frames)
    return _without_last(answer, truth, *_over_truth(answer, truth, truth.tube.frames[known]))


def _without_last(answer: Stretch, truth: Stretch, ious: Tensor, own: Tensor) -> Values:
    a, b, c, d = answer.first, answer.last, truth.first, truth.last
    both = ious[(own >= max(a, c)) & (own < min(b, d))].sum()
    return {
        "vIoU": float(both) / max(max(b, d) - min(a, c), 1),
        "tIoU": _ends_iou(a, b, c, d),
        "gt_vIoU": float(ious.sum()) / max(len(truth.tube), 1),
    }


def mmn_stvg(answer: Stretch, truth: Stretch) -> Values:
    """MMN-STVG's iou3dt: one pixel more, float32; every common frame must be there."""
    a, b = (Tube(one.frames, one.boxes.float()) for one in (_own(answer), _own(truth)))
    first, last = max(a.first, b.first), min(a.last, b.last)
    common = max(last - first + 1, 0)
    for one in (a, b):
        if int(((one.frames >= first) & (one.frames <= last)).sum()) < common:
            raise UnmeasurableError("lacks a box on a frame that truth and answer have in common")
    return {"vIoU": float(tube_iou(a, b, extra=1)), "tIoU": common / hull(a, b)}


def vue_stg(answer: Stretch, truth: Stretch) -> Values:
    """VUE-STG: frames of either in place of the hull, and volumes."""
    tubes = _own(answer), _own(truth)
    a, b = common_boxes(*tubes)
    each = [(one.boxes[:, 2:] - one.boxes[:, :2]).prod(dim=1) for one in tubes]
    volumes = [float(areas.sum()) for areas in each]
    seen = [one.frames[areas > 0] for one, areas in zip(tubes, each, strict=True)]
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    both = int(torch.isin(*seen).sum())
    either = len(seen[0]) + len(seen[1]) - both
    total, whole = float(box_iou(a, b).sum()), sum(volumes) - float(inner.sum())
    return {
        "vIoU": total / either if either else None,
        "tIoU": both / either if either else None,
        "vIoU_int": total / both if both else None,
        "3D_IoU": float(inner.sum()) / whole if whole > 0 else None,
    }


EVALUATORS = (
    Evaluator("HC-STVG", challenge, ("vIoU", "tIoU")),
    Evaluator("TubeDETR", tubedetr, ("vIoU", "tIoU", "gt_vIoU")),
    Evaluator("STCAT", stcat, ("vIoU", "tIoU", "gt_vIoU")),
    Evaluator("CG-STVG", cgstvg, ("vIoU", "tIoU", "gt_vIoU")),
    Evaluator("MMN-STVG", mmn_stvg, ("vIoU", "tIoU"), counts_missing=False),
    Evaluator("VUE-STG", vue_stg, ("vIoU", "tIoU", "vIoU_int", "3D_IoU")),
)


def _own(one: Stretch) -> Tube:
    """The boxes from the first to the last frame alone.

    Raises:
        UnmeasurableError: there is none.
    """
    inside = (one.tube.frames >= one.first) & (one.tube.frames <= one.last)
    if not inside.any():
        raise UnmeasurableError("has no box from st_frame to ed_frame")
    return Tube(one.tube.frames[inside], one.tube.boxes[inside])


def _over_truth(answer: Stretch, truth: Stretch, frames: Tensor) -> tuple[Tensor, Tensor]:
    """IoUs with the truth's boxes on some of its frames, and these frames."""
    if not bool(_held_frames(answer.tube, frames).all()):
        raise UnmeasurableError("lacks a box on a frame of the truth")
    held = frames.clamp(answer.tube.first, answer.tube.last)
    mine = answer.tube.boxes[torch.searchsorted(answer.tube.frames, held)]
    if not bool(torch.isin(frames, truth.tube.frames).all()):
        raise UnmeasurableError("has a truth with a gap")
    return box_iou(mine, truth.tube.boxes[torch.searchsorted(truth.tube.frames, frames)]), frames


def _held_frames(tube: Tube, frames: Tensor) -> Tensor:
    """Which frames a tube has a box on, when its first and last hold before and after."""
    return torch.isin(frames.clamp(tube.first, tube.last), tube.frames)


def _ends_iou(a: float, b: float, c: float, d: float) -> float:
    """IoU of [a, b) and [c, d) by lengths."""
    inner = min(b, d) - max(a, c)
    return inner / ((b - a) + (d - c) - inner) if inner > 0 else 0.0
