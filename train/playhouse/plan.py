"""The plan of a video: what happens when, as data. Times are in seconds from the start, positions in pixels
of the canvas (see layout).
"""

from dataclasses import dataclass

from .layout import Layout

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Moment:
    """One annotated moment: `start` < `end` in seconds, the action's label and a sentence about it."""

    start: float
    end: float
    label: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a person's body does from `start` to `end`.

    Attributes:
        kind: "idle", "walk", "act" or "away" (behind the door).
        x, y, x_end, y_end: feet at the start and at the end.
        posture: "stand", "sit" or "lie", at the start.
        label: the action of an "act".
    """

    start: float
    end: float
    kind: str
    x: float
    y: float
    x_end: float
    y_end: float
    facing: int
    posture: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """One action of a person, from `start` to `end`."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Role:
    """One person's part.

    Attributes:
        carry: what is in the hand at first: "nothing", "cup", "ball", "bag" or "book".
        book_open: whether the book in the hand is open at first.
        enters: whether the walk through the door leads into the room.
        beats: the body's timeline, without gaps, over the whole video.
        deeds: the actions, in order of time.
    """

    carry: str
    book_open: bool
    enters: bool
    beats: tuple[Beat, ...]
    deeds: tuple[Deed, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that happens in a video.

    Attributes:
        split, number, seed: what the plan is a function of.
        door_open, window_open, light_on: the home's state at first.
        moments: what the annotation says, in order of time.
        who: index of the role that the only moment is about, in a world of several people; else None.
    """

    split: str
    number: int
    seed: int
    duration: float
    layout: Layout
    door_open: bool
    window_open: bool
    light_on: bool
    roles: tuple[Role, ...]
    moments: tuple[Moment, ...]
    who: int | None = None

    @property
    def video_id(self) -> str:
        """The file's name without its ending."""
        return video_id(self.split, self.number)

    def annotation(self) -> dict[str, object]:
        """The video's entry in the annotation file."""
        return {
            "duration": self.duration,
            "timestamps": [[m.start, m.end] for m in self.moments],
            "sentences": [m.sentence for m in self.moments],
            "labels": [m.label for m in self.moments],
        }


def video_id(split: str, number: int) -> str:
    """Name of the video `number` of a split."""
    return f"{split}_{number:05d}"
