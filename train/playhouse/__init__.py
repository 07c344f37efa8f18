"""The playhouse: a small rendered world of homes in which people open doors, drink and sit down.

It makes real video files with exact annotations anywhere, offline: `make_playhouse` writes the videos and
Charades-STA json files, `statistics` says what a split holds. The modules, from plan to file: actions
(labels and wordings), layout (where things stand), plan, casting, timeline and script (what happens when),
looks (colours, camera), body, poses and motion (people at a time), brush, figure, furniture, openings and
room (painting), render (frames, mp4), dataset (splits, processes).

In a second world every video has two or three people, and a sentence about one of them: people (plans),
outline and boxes (where everybody is), detector (what would be found of that), people_files (annotations).
"""

from .actions import ACTIONS, LABELS, OPPOSITES, Action
from .boxes import Track, described, people_boxes, tracks
from .dataset import make_playhouse
from .detector import detect
from .people import make_people_plan
from .plan import Plan
from .script import make_plan
from .statistics import SplitStatistics, statistics

__all__ = [
    "ACTIONS",
    "LABELS",
    "OPPOSITES",
    "Action",
    "Plan",
    "SplitStatistics",
    "Track",
    "described",
    "detect",
    "make_people_plan",
    "make_plan",
    "make_playhouse",
    "people_boxes",
    "statistics",
    "tracks",
]
