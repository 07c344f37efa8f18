"""How figures grow with a collection: exponents over its sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FITTED = 4  # sizes that an exponent is fitted over


def curves(sizes: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Each figure over the sizes, by its place."""
    found: dict[str, list[float]] = {}
    for size in sizes:
        for group, values in size.items():
            if isinstance(values, Mapping):
                for name, value in values.items():
                    found.setdefault(f"{group} > {name}", []).append(value)
    return {place: values for place, values in found.items() if len(values) == len(sizes)}


def exponent(videos: Sequence[int], values: Sequence[float]) -> dict[str, float] | None:
    """Slope and standard error of log(values) over log(videos) in the last sizes; None of fewer than 3."""
    if len(values) < 3 or min(values[-FITTED:]) <= 0:
        return None
    x, y = (np.log(np.asarray(one[-FITTED:], dtype=float)) for one in (videos, values))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    error = float(np.sqrt(((y - slope * x) ** 2).sum() / (len(x) - 2) / (x @ x)))
    return {"exponent": round(slope, 3), "standard error": round(error, 3)}


def exponents(sizes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Of every figure whose sizes are enough."""
    videos = [one["videos"] for one in sizes]
    fits = {place: exponent(videos, values) for place, values in curves(sizes).items()}
    return {place: fit for place, fit in fits.items() if fit is not None}


def rounded(values: Any) -> Any:
    """Four digits are enough."""
    if isinstance(values, Mapping):
        return {key: rounded(value) for key, value in values.items()}
    return float(f"{values:.4g}") if isinstance(values, float) else values
