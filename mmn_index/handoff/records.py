"""Hits as rows: CSV, JSON, and JSON lines."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from ..index import MomentIndex, MomentTube
from ..search import Answer, Hit
from .excerpt import Excerpt

COLUMNS = (
    "query",
    "rank",
    "video",
    "start",
    "end",
    "score",
    "score_name",
    "confidence",
    "exact",
    "recall",
    "uri",
)
_TUBE = "tube"  # a column where hits are of tubes


# What a spreadsheet takes for a formula: a sign that begins one, or a plus or minus before something called.
_FORMULA = re.compile(r"[=@\t\r]|[+-].*[(|!]", re.DOTALL)


def record(index: MomentIndex, answer: Answer, hit: Hit, score_name: str) -> dict[str, Any]:
    """A hit as JSON has it."""
    uri = index.video(hit.video).uri
    excerpt = Excerpt(answer.query, hit.rank, hit.video_id, uri, hit.start, hit.end)
    row = row_of(
        excerpt,
        score=hit.score,
        score_name=score_name,
        confidence=hit.confidence,
        exact=answer.exact,
        recall=answer.recall,
    )
    return {**row, **boxes_of(index, hit.row)}


def boxes_of(index: MomentIndex, row: int) -> dict[str, Any]:
    """The tube of a moment and its boxes, one a frame: x1, y1, x2, y2 in pixels; nothing where there are no
    tubes.
    """
    found = index.rows.tube(row)
    return {} if found is None else boxes_record(found)


def boxes_record(found: MomentTube) -> dict[str, Any]:
    """Boxes as JSON has them."""
    return {
        _TUBE: found.number,
        "frame_size": [found.width, found.height],
        "frame_rate": found.rate,
        "first_frame": found.tube.first,
        "boxes": [[round(x, 2) for x in box] for box in found.tube.boxes.tolist()],
    }


def row_of(
    excerpt: Excerpt,
    *,
    score: float | None,
    score_name: str | None,
    confidence: float | None,
    exact: bool | None,
    recall: float | None,
    tube: int | None = None,
) -> dict[str, Any]:
    """A moment as JSON has it; the confidence and the tube only where there is one."""
    return {
        "query": excerpt.query,
        "rank": excerpt.rank,
        "video": excerpt.video_id,
        "start": round(excerpt.start, 3),
        "end": round(excerpt.end, 3),
        "score": score,
        "score_name": score_name,
        **({} if confidence is None else {"confidence": confidence}),
        "exact": exact,
        "recall": recall,
        "uri": excerpt.uri,
        **({} if tube is None else {_TUBE: tube}),
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """A header and a line for each hit. A text that a spreadsheet would compute gets an apostrophe before it;
    ids that begin with a dash, as those of many sites do, stay as they are. Of tubes there are the numbers,
    and no boxes.
    """
    out = io.StringIO()
    columns = [*COLUMNS, *([_TUBE] if any(_TUBE in row for row in rows) else [])]
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """One array."""
    return json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n"


def as_json_lines(rows: Sequence[dict[str, Any]]) -> str:
    """An object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
