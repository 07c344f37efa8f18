"""Numbers and times as options: finite, and with ranges that help texts say in words."""

import math
import re
from typing import Any

import click


class Real(click.FloatRange):
    """A finite number in a range; click's own takes "nan" for one, which every comparison lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:  # click asks for it; its own says "x<=None" where there is no range
        return _in_words(self.min, self.max, self.min_open)


class Whole(click.IntRange):
    """A whole number in a range."""

    def _describe_range(self) -> str:
        return _in_words(self.min, self.max, self.min_open)


class Seconds(Real):
    """Seconds, as a number or as they are shown: 90, 1:30 or 0:01:30.0."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = seconds(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"'{value}' is no time, expected seconds such as 90 or 1:30.", param, ctx)
        return super().convert(number, param, ctx)


def seconds(text: str) -> float:
    """A number, or hours:minutes:seconds of which the hours may be missing.

    Raises:
        ValueError: it is neither.
    """
    clock = re.fullmatch(r"(?:(\d+):)?(\d{1,2}):([0-5]?\d(?:\.\d+)?)", text, re.ASCII)
    return float(text) if clock is None else 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])


def _in_words(least: float | None, most: float | None, open_below: bool) -> str:
    """How a range of numbers is said in help texts; nothing where there is none."""
    if least is None:
        return "" if most is None else f"at most {most:g}"
    if most is None:
        return f"above {least:g}" if open_below else f"at least {least:g}"
    return f"from {least:g} to {most:g}"
