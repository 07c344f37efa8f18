"""Values of a JSON file as fields of dataclasses, each checked against the type that the dataclass says."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

LARGEST = 1 << 48  # number of anything
_Made = TypeVar("_Made")


def count(value: object, most: int = LARGEST) -> int:
    """How many of something.

    Raises:
        ValueError: it is no whole number from 0 to `most`.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.80} is no number of something")
    return value


def made(kind: type[_Made], content: Mapping[str, Any]) -> _Made:
    """A dataclass with values of the types of its fields.

    Raises:
        ValueError: a value is of another type, a number that is not finite, or a whole one below 0.
        KeyError: there is no such field.
    """
    types = get_type_hints(kind)
    for name, value in content.items():
        if not _fits(value, types[name]):
            raise ValueError(f"{name} is {value!r:.80}")
    return kind(**{name: _value(value, types[name]) for name, value in content.items()})


def _value(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return float(value) if kind is float else value


def _fits(value: object, kind: Any) -> bool:
    inner = get_args(kind)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            return False
        each = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(each) == len(value) and all(map(_fits, value, each))
    if inner:  # of a union
        return any(_fits(value, one) for one in inner)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(cast(float, value))
    return type(value) is kind and (kind is not int or 0 <= cast(int, value) <= LARGEST)
