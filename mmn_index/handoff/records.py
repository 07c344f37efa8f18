"""Hits as rows: CSV, JSON, and JSON lines."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from ..index import MomentIndex
from ..search import Answer, Hit

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


def record(index: MomentIndex, answer: Answer, hit: Hit, score_name: str) -> dict[str, Any]:
    """A hit as JSON has it; the confidence only where there is one."""
    return {
        "query": answer.query,
        "rank": hit.rank,
        "video": hit.video_id,
        "start": round(hit.start, 3),
        "end": round(hit.end, 3),
        "score": hit.score,
        "score_name": score_name,
        **({} if hit.confidence is None else {"confidence": round(hit.confidence, 4)}),
        "exact": answer.exact,
        "recall": answer.recall,
        "uri": index.video(hit.video).uri,
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """A header and a line for each hit."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """One array."""
    return json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n"


def as_json_lines(rows: Sequence[dict[str, Any]]) -> str:
    """An object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
