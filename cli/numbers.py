"""Numbers as options: finite, and with ranges that help texts say in words."""

import math
from typing import Any

import click


class _InWords:
    """How a range of numbers is said in help texts."""

    min: float | None
    max: float | None
    min_open: bool

    def _describe_range(self) -> str:  # click asks for it; its own says "x<=None" where there is no range
        if self.min is None:
            return "" if self.max is None else f"at most {self.max:g}"
        if self.max is None:
            return f"above {self.min:g}" if self.min_open else f"at least {self.min:g}"
        return f"from {self.min:g} to {self.max:g}"


class Real(_InWords, click.FloatRange):
    """A finite number in a range; click's own takes "nan" for one, which every comparison lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Whole(_InWords, click.IntRange):
    """A whole number in a range."""
