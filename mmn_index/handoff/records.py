"""Hits as rows: CSV, JSON, and JSON lines."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from ..index import MomentIndex
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


# What a spreadsheet takes for a formula: a sign that begins one, or a plus or minus before something called.
_FORMULA = re.compile(r"[=@\t\r]|[+-].*[(|!]", re.DOTALL)


def record(index: MomentIndex, answer: Answer, hit: Hit, score_name: str) -> dict[str, Any]:
    """A hit as JSON has it."""
    uri = index.video(hit.video).uri
    excerpt = Excerpt(answer.query, hit.rank, hit.video_id, uri, hit.start, hit.end)
    return row_of(
        excerpt,
        score=hit.score,
        score_name=score_name,
        confidence=hit.confidence,
        exact=answer.exact,
        recall=answer.recall,
    )


def row_of(
    excerpt: Excerpt,
    *,
    score: float | None,
    score_name: str | None,
    confidence: float | None,
    exact: bool | None,
    recall: float | None,
) -> dict[str, Any]:
    """A moment as JSON has it; the confidence only where there is one."""
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
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """A header and a line for each hit. A text that a spreadsheet would compute gets an apostrophe before it;
    ids that begin with a dash, as those of many sites do, stay as they are.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
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
