"""From video files to a file of tubes with features.

Boxes come from a detector and are linked (tracking.py), or were found elsewhere (boxes.py), and tubes are
described (tube_features.py). A run can be killed at any time and started again: finished videos stay, each as
a file of its own beside OUT until the end.
"""

import hashlib
import math
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import FeatureError, VideoError
from ..left_out import SHOWN, LeftOut, refuse
from ..origin import source_of
from ..places import Hold, check_file, check_folder
from ..tube_file import Footage, TubeFile
from ..tube_writer import merge_tubes, write_tubes
from ..video.backbones import Backbone
from ..video.decode import frames_at_rate, probe
from ..video.suffixes import without_suffix
from .boxes import Boxes
from .tracking import Seen, linked, look_of
from .tube_features import described_tubes, pieces
from .video_files import find_videos

_LARGEST = 640  # pixels of the longer side of pictures that a detector sees
_AT_ONCE = 8  # pictures that a detector sees together

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


@dataclass(frozen=True)
class _Video:
    id: str
    path: Path
    made_of: str


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
        boxes: tubes that were found elsewhere, by video, which may be named with its suffix; without them
            `detector` finds them.
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
        if boxes is not None:
            boxes = {without_suffix(name): one for name, one in boxes.items()} | dict(boxes)
        own: Mapping[str, Boxes | str] = boxes or dict.fromkeys(found.videos, f"{found_by} {detector_rate}")
        every = [_Video(*item, _made_of(item[1], own.get(item[0]))) for item in found.videos.items()]
        sources = {video.id: source_of(video.path) for video in every}
        todo = [video for video in every if there.get(video.id, ("",))[0] != video.made_of]
        moved = any(there[video.id][1] != sources[video.id] for video in every if video.id in there)
        given = partial(_boxes_of, boxes=boxes, detector=detector, rate=detector_rate)
        left_out = list(found.left_out)
        counts = _described(todo, parts, given, backbone, left_out, partial(_tell, report, every, todo))
        if strict:
            refuse(left_out, VideoError)
        made = [parts / _name_of(video, backbone) for video in counts]
        made += _left_behind(parts, sources, backbone)
        if made or moved or not out.exists():
            merge_tubes(out, made, backbone=backbone.name, sources=sources)
        shutil.rmtree(parts, ignore_errors=True)
    finally:
        hold.release()
    remarks = found.remarks + ([] if boxes is None else _unseen(counts, boxes))
    return TubesResult(len(counts), len(every) - len(todo), left_out, remarks)


def _described(
    videos: Sequence[_Video],
    parts: Path,
    given: Callable[[_Video], Boxes],
    backbone: Backbone,
    left_out: list[LeftOut],
    tell: Callable[[int], None],
) -> dict[_Video, int]:
    """Make each video's part where an earlier run has not made it: how many tubes they hold."""
    counts = {}
    for done, video in enumerate(videos):
        tell(done)
        part = parts / _name_of(video, backbone)
        try:
            there = _tubes_in(part)
            counts[video] = _make(part, video, given(video), backbone) if there is None else there
        except (VideoError, OSError, MemoryError) as error:
            left_out.append(LeftOut(str(video.path), str(error) or f"{video.path}: memory is short."))
    tell(len(videos))
    return counts


def _tell(
    report: Callable[[int, int], None], every: Sequence[_Video], todo: Sequence[_Video], done: int
) -> None:
    report(len(every) - len(todo) + done, len(every))


def _make(part: Path, video: _Video, given: Boxes, backbone: Backbone) -> int:
    """The tubes of a video into a file of their own; how many there are."""
    found = described_tubes(video.path, given, backbone)
    write_tubes(
        part,
        [(video.id, given.footage, found)],
        backbone=backbone.name,
        made_of=video.made_of,
        source=source_of(video.path),
    )
    return len(found)


def _all(given: Boxes) -> int:
    """How many tubes there would be if a picture showed each of them."""
    return sum(max(1, len(pieces(Boxes(given.footage, [one])))) for one in given.tubes)


def _unseen(counts: Mapping[_Video, int], boxes: Mapping[str, Boxes]) -> list[str]:
    """What to say of tubes that no picture shows."""
    unseen = {video.id: lost for video, count in counts.items() if (lost := _all(boxes[video.id]) - count)}
    if not unseen:
        return []
    names = ", ".join(f"'{video_id}'" for video_id in list(unseen)[:SHOWN])
    more = f" and {len(unseen) - SHOWN:,} more" if len(unseen) > SHOWN else ""
    return [
        (
            f"{sum(unseen.values()):,} tubes were left out, as no picture shows them (their boxes lie "
            f"outside of it, or their frames after the video's end). They are of {names}{more}."
        )
    ]


def _boxes_of(video: _Video, boxes: Mapping[str, Boxes] | None, detector: Find | None, rate: float) -> Boxes:
    if boxes is not None:
        if not video.path.is_file():
            raise VideoError(f"{video.path}: there is no such file.")
        if video.id not in boxes:
            raise VideoError(f"{video.path}: the boxes have no video '{video.id}'. Do the names match?")
        return boxes[video.id]
    assert detector is not None
    return _detected(video.path, detector, rate)


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


def _tubes_in(part: Path) -> int | None:
    """How many tubes a part of an earlier run holds; one that is not whole is removed, and none is there."""
    if not part.is_file():
        return None
    try:
        with TubeFile(part) as file:
            return sum(len(file.tubes(video_id)) for video_id in file.video_ids)
    except FeatureError:
        part.unlink()
        return None


def _left_behind(parts: Path, asked: Collection[str], backbone: Backbone) -> list[Path]:
    """Parts of other videos than those of this run, of a run that was killed and not started again."""
    found = []
    for part in sorted(parts.glob("*.h5")):
        with suppress(FeatureError), TubeFile(part) as file:
            if file.backbone == backbone.name and not set(file.video_ids) & set(asked):
                found.append(part)
    return found


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


def _name_of(video: _Video, backbone: Backbone) -> str:
    named = f"{backbone.name} {video.made_of} {video.id}".encode("utf-8", "surrogatepass")
    return f"{hashlib.sha256(named).hexdigest()[:32]}.h5"
