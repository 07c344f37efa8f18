"""What Qdrant is asked: filters, and the score as a formula.

A formula takes a branch that did not find a point as 0, without a word. So every branch scores the same
points: those that the filter names, all of them. Qdrant rounds a query to float16 where it keeps vectors as
float16; a second branch has what that took off, so that scores are those of the query as it is.
"""

import math
import operator
from collections.abc import Callable, Sequence
from datetime import time
from typing import Any

import numpy as np
from qdrant_client import models

from ..errors import QueryError
from ..index.selection import Condition
from ..scoring import IOU_SCALE, Score
from .columns import OWN, Column, microseconds, moment_text, value_of
from .contract import Ask, Chosen, Published

EXACT = models.SearchParams(exact=True)
_FLOOR = 1e-6  # as in scoring.py
_REST = 2.0**11  # what rounding to float16 takes off a number, made a number of its size again
_INTEGERS = 1 << 53  # beyond, Qdrant compares whole numbers as if they were others
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def key_of(column: Column) -> str:
    """Where a point's payload has a column."""
    return column.key if column.name in OWN else f"metadata.{column.key}"


def payload_of(column: Column, value: Any) -> Any:
    """A value as JSON has it: NaN as a word, which is there and like no number."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else min(max(value, -1.7e308), 1.7e308)
    if isinstance(value, time):
        return microseconds(value)
    if column.kind in ("instant", "local", "date") and value is not None:
        return moment_text(value)
    return str(value) if column.kind == "decimal" and value is not None else value


def index_of(column: Column) -> models.PayloadSchemaType:
    """Which index of Qdrant's serves conditions on a column."""
    kinds = models.PayloadSchemaType
    return {
        "int": kinds.INTEGER,
        "large": kinds.FLOAT,  # an index of integers leaves out what 64 bits with a sign do not hold
        "time": kinds.INTEGER,
        "float": kinds.FLOAT,
        "bool": kinds.BOOL,
        "instant": kinds.DATETIME,
        "local": kinds.DATETIME,
        "date": kinds.DATETIME,
    }.get(column.kind, kinds.KEYWORD)


def match(key: str, value: Any) -> models.FieldCondition:
    """Points whose payload has a value."""
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def match_any(key: str, values: Sequence[Any]) -> models.FieldCondition:
    """Points whose payload has one of some values."""
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def absent(key: str) -> models.IsEmptyCondition:
    """Points whose payload has no value there."""
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))


def found_by(published: Published, chosen: Chosen, lists: Sequence[int] | None = None) -> models.Filter:
    """The moments that may be found.

    Args:
        lists: coarse lists that they lie in; None is all.

    Raises:
        QueryError: a condition that Qdrant cannot judge.
    """
    restriction = chosen.restriction
    must: list[Any] = [match_any("segment", published.keys)]
    must_not: list[Any] = [
        models.Filter(must=[match("segment", key), match_any("video", videos)])
        for key, videos in published.dead
    ]
    if restriction.videos is not None:
        must.append(match_any("video_id", restriction.videos))
    if restriction.exclude:
        must_not.append(match_any("video_id", restriction.exclude))
    for key, least, most in (
        ("start", restriction.after, None),
        ("end", None, restriction.before),
        ("length", restriction.min_length, restriction.max_length),
    ):
        if least is not None or most is not None:
            low, high = (None if x is None else float(np.float32(min(x, 3e38))) for x in (least, most))
            must.append(models.FieldCondition(key=key, range=models.Range(gte=low, lte=high)))
    if lists is not None:
        must.append(match_any("list", lists))
    columns = {column.name: column for column in published.columns}
    for condition in chosen.conditions:
        must.append(_condition(condition, columns.get(condition.column)))
    return models.Filter(must=must, must_not=must_not)


def _condition(condition: Condition, column: Column | None) -> models.Filter:
    """A comparison as Arrow makes it: what is not there fits nothing."""
    nothing = models.Filter(must=[models.HasIdCondition(has_id=[])])
    if column is None:
        return nothing
    key, value, sign = key_of(column), value_of(condition.value), condition.sign
    if sign == "!=":
        equal = _equal(column, key, value)
        return models.Filter(must_not=[absent(key), *([] if equal is None else [equal])])
    if sign == "=":
        equal = _equal(column, key, value)
        return nothing if equal is None else models.Filter(must=[equal])
    if column.kind == "bool":
        fitting: list[Any] = [match(key, each) for each in (False, True) if _SIGNS[sign](each, value)]
        return models.Filter(should=fitting) if fitting else nothing
    if column.kind in ("text", "decimal"):
        raise QueryError(
            f"'{condition.text}': Qdrant does not know which {column.kind} comes first. Use = or != there, "
            "or search the index itself."
        )
    if column.kind in ("int", "large") and abs(value) >= _INTEGERS:
        raise QueryError(
            f"'{condition.text}': Qdrant compares whole numbers from {_INTEGERS:,} on only by = and !=. "
            "Search the index itself."
        )
    if isinstance(value, float) and math.isnan(value):
        return nothing
    return models.Filter(must=[_range(column, key, {_BOUNDS[sign]: value})])


def _equal(column: Column, key: str, value: Any) -> models.FieldCondition | None:
    """Points with a value; None where nothing is like it."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if column.kind == "decimal":
        return match(key, str(value))
    if column.kind in ("text", "bool") or (column.kind == "int"):
        return match(key, value)
    return _range(column, key, {"gte": value, "lte": value})


def _range(column: Column, key: str, bounds: dict[str, Any]) -> models.FieldCondition:
    values = {name: payload_of(column, value) for name, value in bounds.items()}
    if column.kind in ("instant", "local", "date"):
        return models.FieldCondition(key=key, range=models.DatetimeRange(**values))
    return models.FieldCondition(key=key, range=models.Range(**values))


class Formula:
    """The score of the points of a filter, as branches and a formula over them.

    Args:
        limit: at least how many points the filter leaves.
    """

    def __init__(self, ask: Ask, only: models.Filter, limit: int) -> None:
        self.branches: list[models.Prefetch] = []
        self._only, self._limit = only, limit
        expression = self._score(ask.contrastive, ask.iou, ask.score)
        if ask.against is not None:
            # f + log(p / (p + p')) = f - softplus(f' - f)
            more = _sum(self._score(*ask.against, ask.score), _neg(expression))
            less = models.NegExpression(neg=models.AbsExpression(abs=more))
            larger = _times(0.5, _sum(more, models.AbsExpression(abs=more)))
            softplus = _sum(larger, models.LnExpression(ln=_sum(1.0, models.ExpExpression(exp=less))))
            expression = _sum(expression, _neg(softplus))
        self.query = models.FormulaQuery(formula=expression, defaults={"hub": 0.0})

    def _score(self, contrastive: np.ndarray, iou: np.ndarray, score: Score) -> Any:
        if score.name != "iou":
            c = self._cosine("contrastive", contrastive)
            if score.hub:
                c = _sum(c, _times(-score.hub, "hub"))
            if score.name == "contrastive":
                return c
        exponent = _times(-IOU_SCALE, self._cosine("iou", iou))
        fits = _neg(models.LnExpression(ln=_sum(1.0, models.ExpExpression(exp=exponent))))
        if score.name == "iou":
            return fits
        if score.name == "collection":
            return _sum(_times(score.weight / score.tau, c), fits)
        above = _sum(_times(0.5, c), 0.5 - _FLOOR)  # over the floor, which it is kept from falling below
        kept = _sum(_FLOOR, _times(0.5, _sum(above, models.AbsExpression(abs=above))))
        return _sum(_times(score.power, models.LnExpression(ln=kept)), fits)

    def _cosine(self, name: str, query: np.ndarray) -> Any:
        rounded = query.astype(np.float16).astype(np.float32)
        parts = []
        for vector, scale in ((rounded, 1.0), ((query - rounded) * _REST, 1 / _REST)):
            parts.append(_times(scale, f"$score[{len(self.branches)}]"))
            self.branches.append(
                models.Prefetch(
                    query=vector.tolist(), using=name, filter=self._only, limit=self._limit, params=EXACT
                )
            )
        return _sum(*parts)


def _sum(*terms: Any) -> models.SumExpression:
    return models.SumExpression(sum=list(terms))


def _times(factor: float, term: Any) -> models.MultExpression:
    return models.MultExpression(mult=[factor, term])


def _neg(term: Any) -> models.NegExpression:
    return models.NegExpression(neg=term)
