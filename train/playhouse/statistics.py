"""What a split of the playhouse holds, counted from its plans (nothing is rendered). Times are in seconds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .plan import Moment, Plan


@dataclass(frozen=True, slots=True)
class SplitStatistics:
    """Counts and means over the videos of a split.

    Attributes:
        overlapping: share of moments that overlap another one of the same video.
        two_people: share of videos with two people.
        moments_by_label: number of moments of each action.
    """

    videos: int
    moments: int
    seconds: float
    mean_duration: float
    mean_moment: float
    overlapping: float
    two_people: float
    moments_by_label: Mapping[str, int]


def statistics(plans: Sequence[Plan]) -> SplitStatistics:
    """Count what `plans` (at least one) hold."""
    moments = [moment for plan in plans for moment in plan.moments]
    seconds = sum(plan.duration for plan in plans)
    return SplitStatistics(
        videos=len(plans),
        moments=len(moments),
        seconds=seconds,
        mean_duration=seconds / len(plans),
        mean_moment=sum(m.end - m.start for m in moments) / len(moments),
        overlapping=sum(_overlaps(m, plan.moments) for plan in plans for m in plan.moments) / len(moments),
        two_people=sum(len(plan.roles) > 1 for plan in plans) / len(plans),
        moments_by_label=Counter(m.label for m in moments),
    )


def _overlaps(moment: Moment, others: Sequence[Moment]) -> bool:
    return any(o is not moment and o.start < moment.end and moment.start < o.end for o in others)
