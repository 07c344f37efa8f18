"""Where people are in a video's frames: true boxes from the renderer's own geometry.

A box goes around all that is drawn of a person inside the picture, as the camera sees it in that frame: with
limbs and what the hands hold, without the shadow, also where furniture or somebody else is in front. Of
somebody behind the wall it goes around what the doorway shows. Boxes are x1, y1, x2, y2 in pixels of the
frame; the whole picture is 0, 0, FRAME_WIDTH, FRAME_HEIGHT.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .figure import FigurePainter
from .motion import Staging
from .outline import Outline, area, common
from .plan import Moment, Plan
from .render import FPS, FRAME_HEIGHT, FRAME_WIDTH, View, drawn_look, frame_count
from .room import doorway

Boxes = npt.NDArray[np.float64]

_VISIBLE = 0.2  # someone of whom less than this share is in the picture has no box


@dataclass(frozen=True, slots=True)
class Track:
    """A tube: boxes of consecutive frames.

    Attributes:
        first: number of the first frame, from 1.
        boxes: (n, 4), one for each frame.
        score: how sure a detector is, in 0 to 1; None for the truth.
    """

    first: int
    boxes: Boxes
    score: float | None = None


def people_boxes(plan: Plan) -> Boxes:
    """Boxes of all people in all frames of a video: (people, frames, 4), NaN where someone is not visible."""
    look, rng = drawn_look(plan)
    staging = Staging(plan, [person.height for person in look.people])
    view = View(look.camera, rng)
    painters = [FigurePainter(person, look.objects) for person in look.people]
    opening = doorway(plan.layout, view.scale)
    found = np.full((len(painters), frame_count(plan), 4), np.nan)
    for number in range(frame_count(plan)):
        # A frame has half as many pixels as the canvas of what it shows.
        left, top = (place * view.scale for place in view.corner(number / FPS))
        picture = left, top, left + 2 * FRAME_WIDTH, top + 2 * FRAME_HEIGHT
        for i, figure in enumerate(staging.at(number / FPS).figures):
            if figure is not None:
                behind = opening is not None and figure.behind_wall
                outline = Outline(view.scale, common(picture, opening) if behind and opening else picture)
                painters[i].paint(outline, figure)
                x1, y1, x2, y2 = outline.seen
                if area(outline.seen) >= _VISIBLE * area(outline.whole):
                    found[i, number] = x1 - left, y1 - top, x2 - left, y2 - top
    return found / 2.0


def tracks(boxes: Boxes) -> list[Track]:
    """The true tubes of all people, by first frame: one for each time that someone is visible.

    Args:
        boxes: (people, frames, 4) as from `people_boxes`.
    """
    found = [Track(first + 1, person[first:end]) for person in boxes for first, end in runs(visible(person))]
    return sorted(found, key=lambda track: track.first)


def described(plan: Plan, boxes: Boxes) -> Track:
    """What the only sentence of `plan` is about: the person's boxes during the moment, as long as visible.

    Args:
        plan: a plan of `make_people_plan`.
        boxes: (people, frames, 4) as from `people_boxes`.
    """
    if plan.who is None:
        raise ValueError(f"{plan.video_id}: the plan does not say whose the moment is")
    track = seen_during(plan.moments[0], boxes[plan.who])
    if track is None:
        raise ValueError(f"{plan.video_id}: nothing is seen of whose the moment is")
    return track


def seen_during(moment: Moment, person: Boxes) -> Track | None:
    """A person's boxes during a moment, as long as visible; None where that is never.

    Args:
        person: (frames, 4).
    """
    inside = visible(person)
    times = np.arange(len(person)) / FPS
    inside &= (times > moment.start - 1e-6) & (times < moment.end - 1e-6)
    first, end = max(runs(inside), key=lambda run: run[1] - run[0], default=(0, 0))
    return Track(first + 1, person[first:end]) if first < end else None


def visible(person: Boxes) -> npt.NDArray[np.bool_]:
    """Whether each of (..., 4) boxes is there."""
    return ~np.isnan(person[..., 0])


def runs(flags: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and end (behind the last) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
