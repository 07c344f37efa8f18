"""Sentences with the tube that each describes, of VidSTG, in two forms of JSON:

    {"videos": [{"original_video_id", "caption", "target_id", "tube_start_frame", "tube_end_frame",
                 "start_frame", "end_frame", "frame_count", "fps", "width", "height"}, ...],
     "trajectories": {VIDEO: {TARGET: {FRAME: {"bbox": [x, y, w, h]}}}}}         as TubeDETR prepares it
    [{"vid", "temporal_gt": {"begin_fid", "end_fid"}, "used_segment": {"begin_fid", "end_fid"},
      "questions": [{"description", "target_id"}, ...], "captions": likewise,
      "frame_count", "fps", "width", "height",
      "trajectories": [[{"tid", "bbox": {"xmin", "ymin", "xmax", "ymax"}}, ...], ...]}, ...]
                                                       VidSTG's own, with VidOR's boxes, a list a frame

Frames are counted from 0 there and an end is the frame behind the last one; here they are counted from 1 and
the last is inside. A video has several sentences, called VIDEO#0, VIDEO#1, ... by their number in the whole
file, questions first. Each is about a part of its video, and only there its tube is looked for.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

from ..errors import AnnotationError
from .row_files import Row, as_row
from .tube_files import LARGEST, Stated, Stretch, TubeTruth, box_of, tube_of

_PREPARED = (
    "TubeDETR's {videos: [{original_video_id, caption, target_id, tube_start_frame, ...}], trajectories}"
)
_OWN = "VidSTG's [{vid, temporal_gt, used_segment, questions, captions, trajectories}, ...]"

_BoxAt = Callable[[int], "list[float] | None"]  # of a frame from 0 on; None where there is none
_Span = tuple[int, int]  # the first frame, from 0 on, and the one behind the last


@dataclass(frozen=True)
class _Sentence:
    row: Row
    video_id: str
    text: Any
    target: str
    moment: _Span
    segment: _Span
    stated: Stated


def is_vidstg(content: Any) -> bool:
    """Whether the content of a file has one of the two forms, and not HC-STVG's, an object by video."""
    if isinstance(content, dict):
        return isinstance(content.get("videos"), list) and isinstance(content.get("trajectories"), dict)
    return isinstance(content, list)


def vidstg_truths(path: Path, content: Any) -> list[TubeTruth]:
    """The sentences of a file's content, in its order.

    Raises:
        AnnotationError: it has no sentence, or one that has another form; the message names it.
    """
    given = _own(path, content) if isinstance(content, list) else _prepared(path, content)
    tubes: dict[tuple[str, str, _Span], Stretch] = {}  # several sentences are about the same one
    found = []
    for number, (one, box_at) in enumerate(given):
        key = one.video_id, one.target, one.moment
        if key not in tubes:
            tubes[key] = _stretch(one, box_at)
        if not isinstance(one.text, str) or not one.text.strip():
            raise one.row.wrong(f"the sentence is {short(one.text)}, expected text")
        (first, end), (begin, behind) = one.moment, one.segment
        segment = min(first, begin) + 1, max(end, behind)
        name = f"{one.video_id}#{number}"
        found.append(TubeTruth(one.video_id, one.text.strip(), tubes[key], name, segment, one.stated))
    if not found:
        raise AnnotationError(f"{path}: has no sentence. Expected {_PREPARED}, or {_OWN}.")
    return found


def _stretch(one: _Sentence, box_at: _BoxAt) -> Stretch:
    first, end = one.moment
    for frame in (first, end - 1):
        if box_at(frame) is None:
            raise one.row.wrong(f"target {one.target} has no box on frame {frame}, which is of its moment")
    boxes = {frame + 1: box for frame in range(first, end) if (box := box_at(frame)) is not None}
    return Stretch(first + 1, end, tube_of(one.row, list(boxes), list(boxes.values())))


def _prepared(path: Path, content: Mapping[str, Any]) -> Iterator[tuple[_Sentence, _BoxAt]]:
    for number, entry in enumerate(content["videos"]):
        row = as_row(f"{path}: videos, entry {number}", entry, _PREPARED)
        video_id, target = row.key("original_video_id"), row.key("target_id")
        tracks = content["trajectories"].get(video_id)
        boxes = tracks.get(target) if isinstance(tracks, dict) else None
        if not isinstance(boxes, dict):
            raise row.wrong(f"trajectories have no target {target} of video '{video_id}'")
        moment = _span(row, "tube_start_frame", "tube_end_frame")
        segment = _span(row, "start_frame", "end_frame") if row.has("start_frame") else moment
        yield (
            _Sentence(row, video_id, row.content.get("caption"), target, moment, segment, _stated(row)),
            lambda frame, row=row, boxes=boxes: _prepared_box(row, boxes, frame),  # type: ignore[misc]
        )


def _prepared_box(row: Row, boxes: Mapping[str, Any], frame: int) -> list[float] | None:
    if (found := boxes.get(str(frame))) is None:
        return None
    value = found.get("bbox") if isinstance(found, dict) else found
    return box_of(row, value, f"the box of frame {frame}", wide=True)


def _own(path: Path, content: list[Any]) -> Iterator[tuple[_Sentence, _BoxAt]]:
    for number, entry in enumerate(content, 1):
        row = as_row(f"{path}: entry {number}", entry, _OWN)
        video_id = row.key("vid")
        moment = _span(_inner(row, "temporal_gt"), "begin_fid", "end_fid")
        used = _span(_inner(row, "used_segment"), "begin_fid", "end_fid") if row.has("used_segment") else None
        frames = row.content.get("trajectories")
        if not isinstance(frames, list):
            raise row.wrong(
                f"trajectories are {short(frames)}, expected VidOR's, a list of boxes a frame. VidSTG's own "
                "files hold no boxes: put VidOR's into them (docs/tubes.md)"
            )
        for kind in ("questions", "captions"):
            asked = row.content.get(kind) or []
            if not isinstance(asked, list):
                raise row.wrong(f"{kind} are {short(asked)}, expected a list")
            for place, one in enumerate(asked, 1):
                inner = as_row(f"{row.where}, {kind} {place}", one, _OWN)
                target, text = inner.key("target_id"), inner.content.get("description")
                yield (
                    _Sentence(inner, video_id, text, target, moment, used or moment, _stated(row)),
                    lambda frame, row=inner, frames=frames, target=target: _own_box(  # type: ignore[misc]
                        row, frames, target, frame
                    ),
                )


def _own_box(row: Row, frames: list[Any], target: str, frame: int) -> list[float] | None:
    for one in frames[frame] if frame < len(frames) and isinstance(frames[frame], list) else []:
        if isinstance(one, dict) and str(one.get("tid")) == target:
            corners = one.get("bbox")
            if isinstance(corners, dict):
                corners = [corners.get(name) for name in ("xmin", "ymin", "xmax", "ymax")]
            return box_of(row, corners, f"the box of frame {frame}", wide=False)
    return None


def _inner(row: Row, name: str) -> Row:
    return as_row(f"{row.where}, {name}", row.content.get(name), _OWN)


def _span(row: Row, first: str, end: str) -> _Span:
    found = row.whole(first), row.whole(end)
    if found[1] <= found[0]:
        raise row.wrong(f"{end} is {found[1]} and {first} {found[0]}; the end is behind the last frame")
    if found[1] > LARGEST:
        raise row.wrong(f"{end} is {found[1]:,}; no video has more than {LARGEST:,.0f} frames")
    return found


def _stated(row: Row) -> Stated:
    width, height, frames = (
        row.whole(name) or None if row.has(name) else None for name in ("width", "height", "frame_count")
    )
    return Stated(width, height, frames)
