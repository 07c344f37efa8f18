"""Tubes of HC-STVG, from its annotations and from files of results.

    {video: {"bbox": [[x, y, w, h], ...], "st_frame", "img_num", ...}}           annotations, a box a frame
    {video: {"bbox": {"7": [x1, y1, x2, y2], ...}, "st_frame", "ed_frame"}}      results, and the
                                                                                 challenge's truths

Frames are numbered from 1, st_frame and ed_frame are both inside. Results may have boxes outside of
these, which some evaluators look at. One sentence a video. VidSTG's annotations: vidstg.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any, Protocol

import torch

from ..errors import AnnotationError
from ..tube_file import Footage, FoundTube
from ..tubes import Tube
from ..video.suffixes import without_suffix
from .row_files import Row, as_row, finite, read_keyed

_TRUTHS = "{video: {bbox: [[x, y, w, h], ...], st_frame}} as in HC-STVG's annotations, or as results are"
_RESULTS = "{video: {st_frame, ed_frame, bbox: {frame: [x1, y1, x2, y2]}}} as in HC-STVG's challenge"
LARGEST = 1e6  # pixels, and frames of a video


@dataclass(frozen=True)
class Stretch:
    """A tube of a video, with the frames that are said to be its own."""

    first: int  # number of the first frame
    last: int
    tube: Tube  # float64 boxes; of results also on other frames
    frame_count: int | None = None  # of the video, where it is said


@dataclass(frozen=True)
class Stated:
    """What annotations say of a video's pictures, as far as they do."""

    width: int | None = None  # pixels
    height: int | None = None
    frames: int | None = None


class TubesOfVideos(Protocol):
    """What an evaluation asks of a file of tubes, or of an index."""

    @property
    def path(self) -> Path:
        """Where they lie."""
        ...

    @property
    def video_ids(self) -> Sequence[str]:
        """All videos."""
        ...

    def __contains__(self, video_id: str) -> bool: ...

    def footage(self, video_id: str) -> Footage:
        """What is known of a video's pictures."""
        ...

    def tubes(self, video_id: str) -> list[FoundTube]:
        """The tubes of a video in the order of their numbers."""
        ...


@dataclass(frozen=True)
class TubeTruth:
    """A sentence of a video and the tube that it describes."""

    video_id: str
    sentence: str
    stretch: Stretch
    name: str  # of the sentence in files of results; HC-STVG has one a video and calls it like the file
    segment: tuple[int, int] | None = None  # first and last frame of what it is about; None: all of the video
    stated: Stated = Stated()

    @property
    def tube(self) -> Tube:
        """The boxes, float32."""
        return Tube(self.stretch.tube.frames, self.stretch.tube.boxes.float())

    @property
    def sentences(self) -> tuple[str, ...]:
        """Its only one, as an annotated video has several."""
        return (self.sentence,)

    def found(self, tubes: TubesOfVideos) -> list[FoundTube]:
        """The tubes among which it is looked for, cut to its segment; there may be none.

        Raises:
            FeatureError: a tube is damaged.
        """
        every = tubes.tubes(self.video_id) if self.video_id in tubes else []
        if self.segment is None:
            return every
        return [part for one in every if (part := one.within(*self.segment)) is not None]


def videos_of(names: Sequence[str]) -> list[str]:
    """The video of each sentence, by the sentences' names: VidSTG's are VIDEO#0, VIDEO#1, ..."""
    parts = [name.rpartition("#") for name in names]
    several = all(video and number.isdecimal() for video, _, number in parts)
    return [video for video, _, _ in parts] if several else list(names)


def right_tubes(path: Path, entries: dict[str, Any]) -> dict[str, Stretch]:
    """The right tube of each video, of the content of a file.

    Raises:
        AnnotationError: an entry has another form; the message names the video.
    """
    found = {}
    for video, content in entries.items():
        row = as_row(f"{path}: '{video}'", content, _TRUTHS)
        found[video] = _annotated(row) if isinstance(content.get("bbox"), list) else _result(row, _TRUTHS)
    return found


def read_results(path: Path, truths: dict[str, Stretch]) -> dict[str, Stretch]:
    """The tubes of a file of results, for videos that the truths have; others may be missing.

    A video may be named with the suffix of its file or without it, as both come.

    Raises:
        AnnotationError: as `right_tubes`; also where a video is none of the truths'.
    """
    names = {**{without_suffix(video): video for video in truths}, **{v: v for v in truths}}
    found: dict[str, Stretch] = {}
    for video, content in read_keyed(path, _RESULTS).items():
        own = names.get(video) or names.get(without_suffix(video))
        if own is None:
            raise AnnotationError(f"{path}: '{video}' is none of the {len(truths)} videos of the truths.")
        if own in found:
            raise AnnotationError(f"{path}: '{video}' comes twice, with a suffix and without.")
        found[own] = _result(as_row(f"{path}: '{video}'", content, _RESULTS), _RESULTS)
    return found


def _annotated(row: Row) -> Stretch:
    """Boxes as x, y, width, height, one a frame from st_frame on."""
    first, boxes = row.whole("st_frame"), row.content["bbox"]
    found = [box_of(row, box, f"bbox, entry {n}", wide=True) for n, box in enumerate(boxes, 1)]
    if not found:
        raise row.wrong("bbox is empty, expected a box [x, y, w, h] for each frame")
    last = first + len(found) - 1
    if row.has("ed_frame") and row.whole("ed_frame") != last:
        raise row.wrong(
            f"st_frame {first} and ed_frame {row.whole('ed_frame')} do not fit {len(found)} boxes"
        )
    counts = [row.whole(name) for name in ("img_num", "frame_count") if row.has(name)]
    return Stretch(first, last, tube_of(row, range(first, last + 1), found), counts[0] if counts else None)


def _result(row: Row, expected: str) -> Stretch:
    """Boxes by the number of their frame, which is text."""
    first, last = row.whole("st_frame"), row.whole("ed_frame")
    if last < first:
        raise row.wrong(f"ed_frame is {last}, before st_frame {first}")
    boxes = row.content.get("bbox")
    if not isinstance(boxes, dict) or not boxes:
        raise row.wrong(f"bbox is {short(boxes)}. Expected {expected}")
    for name in boxes:
        if not (name.isascii() and name.isdigit() and int(name[:9]) == int(name) <= LARGEST):
            raise row.wrong(f"bbox: '{short(name)[1:-1]}' is no number of a frame")
    frames = sorted({int(name): name for name in boxes}.items())
    if len(frames) < len(boxes):
        raise row.wrong("bbox has two boxes for one frame")
    counts = [row.whole(name) for name in ("img_num", "frame_count") if row.has(name)]
    found = [box_of(row, boxes[name], f"frame {frame}", wide=False) for frame, name in frames]
    tube = tube_of(row, [frame for frame, _ in frames], found)
    return Stretch(first, last, tube, counts[0] if counts else None)


def box_of(row: Row, value: Any, where: str, *, wide: bool) -> list[float]:
    """A box as x1, y1, x2, y2.

    Args:
        where: which box of the row, for messages.
        wide: it is given as x, y, width, height.

    Raises:
        AnnotationError: it is no box.
    """
    numbers = [finite(x) for x in value] if isinstance(value, list) else []
    kept = [x for x in numbers if x is not None and abs(x) <= LARGEST]
    form = "[x, y, w, h]" if wide else "[x1, y1, x2, y2]"
    if len(numbers) != 4 or len(kept) != 4:
        raise row.wrong(f"{where} is {short(value)}, expected {form} in pixels")
    x, y, right, bottom = kept
    if wide:
        right, bottom = x + right, y + bottom
    if right < x or bottom < y:
        raise row.wrong(f"{where} is {short(value)}, a box of negative size; expected {form}")
    return [x, y, right, bottom]


def tube_of(row: Row, frames: Iterable[int], boxes: list[list[float]]) -> Tube:
    """The boxes of frames, float64.

    Raises:
        AnnotationError: there is none.
    """
    try:
        return Tube(torch.tensor(list(frames), dtype=torch.int64), torch.tensor(boxes, dtype=torch.float64))
    except ValueError as error:
        raise row.wrong(str(error)) from error


def stated_of(content: Mapping[str, Any]) -> Stated:
    """What an entry of HC-STVG's annotations says of its video; img_size is height, width."""
    size = content.get("img_size")
    sides = list(size) if isinstance(size, list) and len(size) == 2 else [None, None]
    if sides == [None, None]:
        sides = [content.get("height"), content.get("width")]
    height, width, frames = (
        round(number) if (number := finite(value)) is not None and number >= 1 else None
        for value in (*sides, content.get("img_num") or content.get("frame_count"))
    )
    return Stated(width, height, frames)
