"""Numbers as options."""

import math
from typing import Any

import click


class Real(click.FloatRange):
    """A finite number in a range; click's own takes "nan" for one, which every comparison lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number
