"""The playhouse: a small rendered world of homes in which people open doors, drink and sit down.

It makes real video files with exact annotations anywhere, offline: `make_playhouse` writes the videos and
Charades-STA json files, `statistics` says what a split holds. The modules, from plan to file: actions
(labels and wordings), layout (where things stand), plan, casting, timeline and script (what happens when),
looks (colours, camera), body, poses and motion (people at a time), brush, figure, furniture, openings and
room (painting), render (frames, mp4), dataset (splits, processes).
"""

from .actions import ACTIONS, LABELS, OPPOSITES, Action
from .dataset import make_playhouse
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
    "make_plan",
    "make_playhouse",
    "statistics",
]
