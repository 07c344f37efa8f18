"""Two reports side by side: which differences are real.

What both have is lined up query by query. The 95 % interval of a difference comes from a paired bootstrap
over videos: sentences of one video are not independent, so videos are drawn with replacement, each with all
of its sentences, and the difference of the two systems on the same sentence is averaged. Where the interval
excludes 0 the difference is called real. Nothing is corrected for many comparisons, which is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .recall import intervals
from .report_file import Report
from .sections import NAMES, Metric, Section, mean

RESAMPLES = 10_000
SEED = 0
# With fewer videos no interval can tell: by chance alone n differences have one sign in 2^(1-n) of all cases.
LEAST = 6
_FEW = 20  # videos below which intervals are rather too narrow


@dataclass(frozen=True)
class Difference:
    """One metric of two reports.

    Attributes:
        a, b: their values over the common queries; where these are not known, their own values.
        low, high: the 95 % interval of b - a; None where there is none.
        queries, videos: that count in it.
    """

    metric: str
    unit: str
    a: float
    b: float
    low: float | None
    high: float | None
    queries: int
    videos: int
    main: bool

    @property
    def difference(self) -> float:
        """How far b lies above a."""
        return self.b - self.a

    @property
    def same(self) -> bool:
        """Whether both have the same value on every resample of the common queries."""
        return self.low == self.high == self.difference == 0

    @property
    def real(self) -> bool | None:
        """Whether the interval excludes 0; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Compared:
    """A section of two reports.

    Attributes:
        only: queries that the first alone has, and the second alone.
        unpaired: main metrics that one of them alone has.
    """

    name: str
    title: str
    differences: tuple[Difference, ...]
    queries: int
    videos: int
    only: tuple[int, int]
    unpaired: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Two reports side by side.

    Attributes:
        remarks: what could not be compared, and what to know of the rest.
    """

    a: Report
    b: Report
    sections: tuple[Compared, ...]
    remarks: tuple[str, ...]

    @property
    def named(self) -> tuple[tuple[str, Report], ...]:
        """The reports with the letters that stand for them."""
        return (("A", self.a), ("B", self.b))

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Of all sections."""
        return tuple(one for section in self.sections for one in section.differences)


def compare(a: Report, b: Report) -> Comparison:
    """Line up two reports.

    Raises:
        ConfigError: nothing of them can be compared.
    """
    sections: list[Compared] = []
    remarks: list[str] = []
    for one in a.sections:
        others = [other for other in b.sections if other.definition == one.definition]
        other = next((x for x in others if x.name == one.name), others[0] if others else None)
        if other is None:
            remarks.append(f"{b.path} has nothing by the definition '{one.definition}', {a.path} has.")
            continue
        try:
            found = _section(one, other)
        except ConfigError as error:
            remarks.append(f"{NAMES.get(one.name, one.title)}: {error}")
            continue
        sections.append(found)
        remarks += _said(found, a, b)
    known = {one.definition for one in a.sections}
    for one in b.sections:
        if one.definition not in known:
            remarks.append(f"{a.path} has nothing by the definition '{one.definition}', {b.path} has.")
    if not sections:
        raise ConfigError(f"{a.path} and {b.path} cannot be compared: {' '.join(remarks)}")
    return Comparison(a, b, tuple(sections), tuple(dict.fromkeys(remarks)))


def _said(found: Compared, a: Report, b: Report) -> list[str]:
    said = []
    if found.unpaired:
        said.append(
            f"{len(found.unpaired)} main metrics are in one report alone, such as '{found.unpaired[0]}'. Was "
            "another NMS or IoU asked for?"
        )
    if any(found.only):
        said.append(
            f"Only a part is common to both: {found.queries:,} sentences; {found.only[0]:,} more are in "
            f"{a.path} alone, {found.only[1]:,} in {b.path} alone. Values are those of the common ones."
        )
    if found.videos < LEAST:
        said.append(
            f"Videos are too few to tell a difference from chance ({found.videos}): from {LEAST} on there "
            "are intervals."
        )
    elif found.videos < _FEW:
        said.append(f"{found.videos} videos are few: intervals are rather too narrow.")
    return said


def _section(a: Section, b: Section) -> Compared:
    if differing := [
        f"{key} ({_value(a, key)} and {_value(b, key)})"
        for key in dict.fromkeys([*a.conditions, *b.conditions])
        if a.conditions.get(key) != b.conditions.get(key)
    ]:
        raise ConfigError(f"not comparable, as they differ in {', '.join(differing)}.")
    places = [{(one.id, one.video): n for n, one in enumerate(x.queries)} for x in (a, b)]
    common = [key for key in places[0] if key in places[1]]
    if not common:
        raise ConfigError("no sentence is common to both.")
    theirs = {one.name: one for one in b.metrics}
    pairs = [(one, theirs[one.name]) for one in a.metrics if one.name in theirs]
    pairs = [(one, other) for one, other in pairs if one.unit == other.unit]
    if not pairs:
        raise ConfigError(
            f"no metric is common to both: one has '{a.metrics[0].name if a.metrics else ''}', the other "
            f"'{b.metrics[0].name if b.metrics else ''}'. Was another NMS or IoU asked for?"
        )
    if not any(one.values and other.values for one, other in pairs):
        raise ConfigError("no metric has values of each sentence in both.")
    rows = [[place[key] for key in common] for place in places]
    numbers: dict[str, int] = {}
    clusters = torch.tensor([numbers.setdefault(video, len(numbers)) for _, video in common])
    return Compared(
        a.name,
        a.title,
        tuple(_differences(pairs, rows, clusters)),
        len(common),
        len(numbers),
        (len(a.queries) - len(common), len(b.queries) - len(common)),
        tuple(sorted({one.name for one in a.main} ^ {one.name for one in b.main})),
    )


def _value(section: Section, key: str) -> str:
    """A condition for people: digests are long."""
    value = section.conditions.get(key, "none")
    return f"{value[:12]}..." if len(value) > 40 else value


def _differences(
    pairs: Sequence[tuple[Metric, Metric]], rows: Sequence[Sequence[int]], clusters: Tensor
) -> list[Difference]:
    """Metrics whose values count for the same queries are resampled together."""
    columns: list[tuple[Tensor, Tensor] | None] = []
    groups: dict[bytes, list[int]] = {}
    for number, (one, other) in enumerate(pairs):
        if one.values is None or other.values is None:
            columns.append(None)
            continue
        x, y = (_tensor(m.values or (), chosen) for m, chosen in zip((one, other), rows, strict=True))
        columns.append((x, y))
        groups.setdefault((~(x + y).isnan()).numpy().tobytes(), []).append(number)
    ends: dict[int, tuple[float, float, int, int]] = {}
    for members in groups.values():
        kept = [columns[number] for number in members]
        both = torch.stack([y - x for x, y in (pair for pair in kept if pair is not None)], dim=1)
        counts = ~both[:, 0].isnan()
        ends.update(zip(members, _intervals(both[counts], clusters[counts]), strict=True))
    return [_difference(pair, columns[number], ends.get(number)) for number, pair in enumerate(pairs)]


def _tensor(values: Sequence[float | None], chosen: Sequence[int]) -> Tensor:
    each = (values[row] for row in chosen)
    return torch.tensor([torch.nan if x is None else x for x in each], dtype=torch.float64)


def _intervals(values: Tensor, clusters: Tensor) -> list[tuple[float, float, int, int]]:
    """Of each column of differences (Q, n): both ends, NaN where videos are too few; queries; videos."""
    known, dense = np.unique(clusters.numpy(), return_inverse=True)
    videos = len(known)
    if videos < LEAST:
        return [(torch.nan, torch.nan, len(values), videos)] * values.shape[1]
    found = intervals(values, torch.from_numpy(dense), resamples=RESAMPLES, seed=SEED)
    return [(low, high, len(values), videos) for low, high in found.tolist()]


def _difference(
    pair: tuple[Metric, Metric],
    values: tuple[Tensor, Tensor] | None,
    ends: tuple[float, float, int, int] | None,
) -> Difference:
    one, other = pair
    main = one.main and other.main
    if values is None or ends is None:
        return Difference(one.name, one.unit, one.value, other.value, None, None, 0, 0, main)
    low, high, queries, videos = ends
    x, y = values
    both = ~(x + y).isnan()
    known = low == low
    return Difference(
        one.name,
        one.unit,
        mean(x[both]),
        mean(y[both]),
        low if known else None,
        high if known else None,
        queries,
        videos,
        main,
    )
