"""From video files to a file of tubes with features.

Boxes come from a detector and are linked (tracking.py), or were found elsewhere (boxes.py). Each tube is
described twice by the backbone: the pictures cut to its boxes, and the whole pictures of the same time. A run
can be killed at any time and started again: finished videos stay, each as a file of its own beside OUT until
the end.
"""

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import FeatureError, VideoError
from ..left_out import LeftOut, refuse
from ..origin import source_of
from ..places import Hold, check_file, check_folder
from ..tube_file import Footage, FoundTube, TubeFile
from ..tube_writer import merge_tubes, write_tubes
from ..tubes import Tube
from ..video.backbones import Backbone
from ..video.decode import FrameWalk, frames_at_rate, probe
from ..video.picture import fitted
from .boxes import Boxes
from .tracking import Seen, linked, look_of
from .video_files import find_videos

_LONGEST = 60.0  # seconds of a tube; a longer one is cut evenly, for a map has few clips
_LARGEST = 640  # pixels of the longer side of pictures that a detector sees
_AT_ONCE = 8  # pictures that a detector sees together
_MARGIN = 0.15  # of a box's sides, that is cut out around it on each side

Find = Callable[[Sequence[np.ndarray]], list[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class TubesResult:
    """What a run did.

    Attributes:
        made: videos that were described.
        skipped: videos that OUT had already.
        left_out: files that gave nothing.
        remarks: lines on what was passed over by rule.
    """

    made: int
    skipped: int
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def make_tubes(
    videos: Sequence[Path],
    out: Path,
    backbone: Backbone,
    *,
    boxes: Mapping[str, Boxes] | None = None,
    detector: Find | None = None,
    detector_rate: float = 5.0,
    found_by: str = "",
    prefix: str = "",
    strict: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> TubesResult:
    """Describe the tubes of videos, and write them to OUT.

    Args:
        videos: files and folders of files.
        boxes: tubes that were found elsewhere, by video; without them `detector` finds them.
        detector: pictures to boxes of people and their scores; see `video.detector.Detector`.
        detector_rate: pictures a second that it sees.
        found_by: name and settings of the detector; what was made otherwise is made again.
        prefix, strict: see `extract`.
        report: called with (videos done, videos in all).

    Raises:
        VideoError: no video was found, or something is left out and `strict` is given.
        FeatureError: OUT is no file of tubes, or one by another backbone.
        OutputError: OUT cannot be written, or another process writes there.
    """
    check_folder(out.parent)
    check_file(out)
    found = find_videos(videos, prefix=prefix)
    parts = out.with_name(f"{out.name}.parts")
    busy = f"{out}: another process writes tubes there. Wait until it has finished, or choose another file."
    hold = Hold(parts, busy)
    try:
        there = _there(out, backbone)
        left_out, made = list(found.left_out), []
        own: Mapping[str, Boxes | str] = boxes or dict.fromkeys(found.videos, f"{found_by} {detector_rate}")
        made_of = {video_id: _made_of(path, own.get(video_id)) for video_id, path in found.videos.items()}
        sources = {video_id: source_of(path) for video_id, path in found.videos.items()}
        todo = [video_id for video_id in found.videos if there.get(video_id, ("",))[0] != made_of[video_id]]
        moved = any(there[video_id][1] != source for video_id, source in sources.items() if video_id in there)
        for done, video_id in enumerate(todo):
            report(len(found.videos) - len(todo) + done, len(found.videos))
            path, part = found.videos[video_id], parts / _name_of(video_id, backbone, made_of[video_id])
            try:
                if not _complete(part):
                    given = _boxes_of(video_id, path, boxes, detector, detector_rate)
                    _make(part, video_id, path, given, backbone, made_of[video_id])
                made.append(part)
            except (VideoError, OSError, MemoryError) as error:
                left_out.append(LeftOut(str(path), str(error) or f"{path}: memory is short."))
        if strict:
            refuse(left_out, VideoError)
        report(len(found.videos), len(found.videos))
        if made or moved or not out.exists():
            merge_tubes(out, made, backbone=backbone.name, sources=sources)
        shutil.rmtree(parts, ignore_errors=True)
    finally:
        hold.release()
    return TubesResult(len(made), len(found.videos) - len(todo), left_out, found.remarks)


def _make(part: Path, video_id: str, path: Path, given: Boxes, backbone: Backbone, made_of: str) -> None:
    """The tubes of a video into a file of their own."""
    content = [(video_id, given.footage, described_tubes(path, given, backbone))]
    write_tubes(part, content, backbone=backbone.name, made_of=made_of)


def described_tubes(path: Path, given: Boxes, backbone: Backbone) -> list[FoundTube]:
    """A video's tubes with their features, long ones cut; those without a picture are left out.

    Raises:
        VideoError: the video cannot be decoded, or the backbone makes values of it that are not finite.
    """
    footage, rate = given.footage, backbone.rate * backbone.frames_per_snippet
    tubes = [(part, score) for tube, score in given.tubes for part in _pieces(tube, footage.rate)]
    crops: dict[int, list[np.ndarray]] = {}  # of the tubes that have begun and not yet ended
    spans: dict[int, tuple[int, int]] = {}  # the first picture of each tube, and how many there are
    made: dict[int, Tensor] = {}

    def ended(place: int, first: int) -> None:
        cut = crops.pop(place)
        spans[place], made[place] = (first, len(cut)), _features(path, backbone, iter(cut))

    def pictures(walk: FrameWalk) -> Iterator[np.ndarray]:
        began: dict[int, int] = {}
        for number, picture in enumerate(walk):
            frame = math.floor((number + 0.5) / rate * footage.rate) + 1
            for place, (tube, _) in enumerate(tubes):
                if tube.first <= frame <= tube.last:
                    began.setdefault(place, number)
                    box = tube.boxes[frame - tube.first]
                    crops.setdefault(place, []).append(_cut_out(picture, box, backbone))
                elif place in crops:
                    ended(place, began[place])
            yield fitted(picture, backbone.size)
        for place in list(crops):
            ended(place, began[place])

    walk = frames_at_rate(path, rate, size=(footage.width, footage.height))
    try:
        whole = _features(path, backbone, pictures(walk))
    finally:
        walk.close()
    found, step = [], backbone.frames_per_snippet
    for place in sorted(made):
        (tube, score), (first, count) = tubes[place], spans[place]
        rows = slice(first // step, -(-(first + count) // step))
        found.append(FoundTube(tube, score, (made[place], whole[rows].clone())))
    return found


def _features(path: Path, backbone: Backbone, pictures: Iterator[np.ndarray]) -> Tensor:
    made = np.concatenate(list(backbone(pictures)))
    if not np.isfinite(made).all():
        raise VideoError(f"{path}: {backbone.name} made values of it that are not finite.")
    return torch.from_numpy(made)


def _cut_out(picture: np.ndarray, box: Tensor, backbone: Backbone) -> np.ndarray:
    """What lies in and around a box, in the shape that the backbone takes, at its size."""
    left, top, right, bottom = box.tolist()
    width, height = (right - left) * (1 + 2 * _MARGIN), (bottom - top) * (1 + 2 * _MARGIN)
    shape = backbone.size.width / backbone.size.height
    width, height = max(width, height * shape), max(height, width / shape)
    across, down = (left + right) / 2, (top + bottom) / 2
    begin = max(0, round(across - width / 2)), max(0, round(down - height / 2))
    end = round(across + width / 2), round(down + height / 2)
    part = picture[begin[1] : max(end[1], 0), begin[0] : max(end[0], 0)]
    return fitted(part if part.size else picture, backbone.size)


def _pieces(tube: Tube, rate: float) -> list[Tube]:
    """The tube, or where it is long its parts of equal length."""
    count = min(len(tube), max(1, math.ceil(len(tube) / (_LONGEST * rate))))
    edges = [round(number * len(tube) / count) for number in range(count + 1)]
    return [tube.rows(begin, end) for begin, end in pairwise(edges)]


def _boxes_of(
    video_id: str, path: Path, boxes: Mapping[str, Boxes] | None, detector: Find | None, rate: float
) -> Boxes:
    if boxes is not None:
        if not path.is_file():
            raise VideoError(f"{path}: there is no such file.")
        if video_id not in boxes:
            raise VideoError(f"{path}: the boxes have no video '{video_id}'. Do the names match?")
        return boxes[video_id]
    assert detector is not None
    return _detected(path, detector, rate)


def _detected(path: Path, detector: Find, rate: float) -> Boxes:
    """Tubes of people in a video, boxes in pixels of its own pictures."""
    about = probe(path)
    scale = min(1.0, _LARGEST / max(about.width, about.height))
    size = max(1, round(about.width * scale)), max(1, round(about.height * scale))
    frame_rate = about.fps if math.isfinite(about.fps) and about.fps > 0 else 25.0
    walk = frames_at_rate(path, rate, size=size)

    def seen() -> Iterator[Seen]:
        while pictures := list(islice(walk, _AT_ONCE)):
            for picture, (boxes, scores) in zip(pictures, detector(pictures), strict=True):
                looks = [look_of(picture, box) for box in boxes]
                yield Seen(boxes / scale, scores, np.stack(looks) if looks else np.zeros((0, 1), np.float32))

    try:
        tubes = linked(seen(), rate, frame_rate)
    finally:
        walk.close()
    frames = max(1, math.ceil(walk.duration * frame_rate))
    return Boxes(Footage(about.width, about.height, frame_rate, frames), tubes)


def _made_of(path: Path, boxes: Boxes | str | None) -> str:
    """What a video's tubes depend on, besides the backbone: its file, and the boxes or what finds them."""
    digest = hashlib.sha256()
    try:
        stat = path.stat()
        digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
    except OSError:  # it will be said when it is opened
        pass
    if isinstance(boxes, Boxes):
        digest.update(repr(boxes.footage).encode())
        for tube, score in boxes.tubes:
            digest.update(f"{tube.first} {score}".encode() + tube.boxes.numpy().tobytes())
    else:
        digest.update(str(boxes).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _complete(part: Path) -> bool:
    """Whether a part of an earlier run is there and whole; one that is not is removed."""
    if not part.is_file():
        return False
    try:
        with TubeFile(part) as file:
            for video_id in file.video_ids:
                file.tubes(video_id)
    except FeatureError:
        part.unlink()
        return False
    return True


def _there(out: Path, backbone: Backbone) -> dict[str, tuple[str | None, str | None]]:
    """The videos that OUT has already: what they were made of, and where their files lay."""
    if not out.exists():
        return {}
    with TubeFile(out) as file:
        if file.backbone != backbone.name:
            raise FeatureError(
                f"{out}: was made by '{file.backbone}', not '{backbone.name}'. Choose another file with -o."
            )
        return {video_id: (file.made_of(video_id), file.source(video_id)) for video_id in file.video_ids}


def _name_of(video_id: str, backbone: Backbone, made_of: str) -> str:
    named = f"{backbone.name} {made_of} {video_id}".encode("utf-8", "surrogatepass")
    return f"{hashlib.sha256(named).hexdigest()[:32]}.h5"
