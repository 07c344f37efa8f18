"""What an annotation file says, so that an evaluation can choose what to measure."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import AnnotationError
from .annotation_forms import read_entries
from .row_files import is_keyed, read_keyed, read_rows

MOMENTS, BOXES, JUDGEMENTS = "moments", "boxes", "judgements"
_FIRST = 100  # entries that are looked at for their form
_JUDGED = (("query_id", "relevance"), ("video_name", "relevance"), ("query_id", "relevant_moment"))
_BOXED = (("bbox",), ("tube_start_frame", "target_id"), ("temporal_gt", "trajectories"))
_EXPECTED = "annotations: videos with moments, rows of judged moments, or videos with boxes"


@dataclass(frozen=True)
class DataForm:
    """What is in an annotation file.

    Attributes:
        kind: MOMENTS, BOXES (HC-STVG, VidSTG) or JUDGEMENTS (moments with graded relevance, TVR-Ranking).
        pools: sentences have pools of videos (MVMR).
        several: sentences with more than one right moment (QVHighlights).
        absent: sentences that are said to have none in their video.
    """

    kind: str
    pools: bool = False
    several: int = 0
    absent: int = 0

    @property
    def windows(self) -> bool:
        """Whether answers of several windows are measured."""
        return bool(self.several or self.absent)


def form_of(path: Path) -> DataForm:
    """Look at a file.

    Raises:
        AnnotationError: it is missing or has none of the forms.
    """
    first = _first(path)
    if any(_has(one, *names) for one in first for names in _JUDGED):
        return DataForm(JUDGEMENTS)
    if any(_has(one, *names) for one in first for names in _BOXED):
        return DataForm(BOXES)
    entries = read_entries(path)
    several = absent = 0
    for video, entry in entries.videos.items():
        moments = entry.get("timestamps") if isinstance(entry, dict) else None
        if not isinstance(moments, list):
            continue  # readers say what is wrong
        # Forms that can say so write an absent moment as nothing, which is read as [0, 0].
        absent += sum(moment == [0.0, 0.0] for moment in moments)
        if entries.rows is not None:
            rows = entries.rows[video]
            several += sum(rows.count(row) > 1 for row in set(rows))
    return DataForm(MOMENTS, any(_has(one, "retrieval_pool") for one in first), several, absent)


def _first(path: Path) -> list[Any]:
    """The first rows of a file of rows, or values of an object; none of a text."""
    try:
        if not is_keyed(path, "query_id"):
            return [row.content for row in islice(read_rows(path, _EXPECTED), _FIRST)]
        values = list(islice(read_keyed(path, _EXPECTED).values(), _FIRST))
    except AnnotationError:
        return []  # a list of Charades-STA; or damaged, which readers say better
    return [one[0] if isinstance(one, list) and one else one for one in values]


def _has(one: Any, *names: str) -> bool:
    return isinstance(one, dict) and all(name in one for name in names)
