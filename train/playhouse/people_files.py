"""A video with two or three people as annotation files say it: who is meant, where everybody is, and what a
detector might have found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .boxes import Boxes, Track, described, people_boxes, seen_during, tracks, visible
from .detector import detect
from .people import every_deed
from .plan import SPLITS, Plan
from .render import FPS, FRAME_HEIGHT, FRAME_WIDTH, frame_count

_STREAM = 49979687

Entry = dict[str, object]


@dataclass(frozen=True, slots=True)
class PeopleEntries:
    """The entries of a video in the four files of its split.

    Attributes:
        truth: HC-STVG's form: the sentence and the person's box on each frame of the moment (and the label).
        boxes: true tubes of everybody.
        detected: tubes with the faults of a detector and a tracker, and their scores.
        every: TubeDETR's form of VidSTG: a sentence about each action of each person (and the label).
        trajectories: the boxes of the people that these are about, by person and frame, from 0 on.
    """

    truth: Entry
    boxes: Entry
    detected: Entry
    every: list[Entry]
    trajectories: dict[str, dict[str, Entry]]


def people_entries(plan: Plan) -> PeopleEntries:
    """What the files say of a plan of `make_people_plan`."""
    boxes = people_boxes(plan)
    rng = np.random.default_rng([plan.seed, SPLITS.index(plan.split), plan.number, _STREAM])
    return PeopleEntries(
        _truth(plan, described(plan, boxes)),
        _tubes(plan, tracks(boxes)),
        _tubes(plan, detect(boxes, rng)),
        _every(plan, boxes),
        {str(i): _trajectory(person) for i, person in enumerate(boxes)},
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


def _every(plan: Plan, boxes: Boxes) -> list[Entry]:
    found: list[Entry] = []
    for who, moment in every_deed(plan):
        track = seen_during(moment, boxes[who])
        if track is None:
            continue
        found.append(
            {
                "original_video_id": plan.video_id,
                "frame_count": frame_count(plan),
                "fps": float(FPS),
                "width": FRAME_WIDTH,
                "height": FRAME_HEIGHT,
                "start_frame": 0,
                "end_frame": frame_count(plan),
                "tube_start_frame": track.first - 1,
                "tube_end_frame": track.first - 1 + len(track.boxes),
                "caption": moment.sentence,
                "qtype": "declarative",
                "target_id": who,
                "label": moment.label,
            }
        )
    return found


def _trajectory(person: Boxes) -> dict[str, Entry]:
    corners = person.round(1)
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).round(1)
    return {str(n): {"bbox": sides[n].tolist()} for n in np.flatnonzero(visible(person))}


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
