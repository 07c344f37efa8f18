"""A video with two or three people as annotation files say it: who is meant, where everybody is, and what a
detector might have found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .boxes import Track, described, people_boxes, tracks
from .detector import detect
from .plan import SPLITS, Plan
from .render import FPS, FRAME_HEIGHT, FRAME_WIDTH, frame_count

_STREAM = 49979687

Entry = dict[str, object]


@dataclass(frozen=True, slots=True)
class PeopleEntries:
    """The entries of a video in the three files of its split.

    Attributes:
        truth: HC-STVG's form: the sentence and the person's box on each frame of the moment (and the label).
        boxes: true tubes of everybody.
        detected: tubes with the faults of a detector and a tracker, and their scores.
    """

    truth: Entry
    boxes: Entry
    detected: Entry


def people_entries(plan: Plan) -> PeopleEntries:
    """What the files say of a plan of `make_people_plan`."""
    boxes = people_boxes(plan)
    rng = np.random.default_rng([plan.seed, SPLITS.index(plan.split), plan.number, _STREAM])
    return PeopleEntries(
        _truth(plan, described(plan, boxes)),
        _tubes(plan, tracks(boxes)),
        _tubes(plan, detect(boxes, rng)),
    )


def _truth(plan: Plan, track: Track) -> Entry:
    moment = plan.moments[0]
    corners = track.boxes.round(1)
    sizes = corners[:, 2:] - corners[:, :2]
    return {
        "bbox": np.concatenate([corners[:, :2], sizes], axis=1).round(1).tolist(),
        "st_frame": track.first,
        "ed_frame": track.first + len(track.boxes) - 1,
        "English": moment.sentence,
        "label": moment.label,
        "img_num": frame_count(plan),
        "img_size": [FRAME_HEIGHT, FRAME_WIDTH],
    }


def _tubes(plan: Plan, found: Iterable[Track]) -> Entry:
    return {
        "width": FRAME_WIDTH,
        "height": FRAME_HEIGHT,
        "rate": float(FPS),
        "frames": frame_count(plan),
        "tubes": [
            {
                "first": track.first,
                "boxes": track.boxes.round(1).tolist(),
                **({} if track.score is None else {"score": round(track.score, 3)}),
            }
            for track in found
        ],
    }
