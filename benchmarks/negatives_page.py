"""docs/negatives.md out of what negatives.py measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import ladder
import torch

PAGE, TEXT = Path(__file__).parents[1] / "docs" / "negatives.md", Path(__file__).with_name("negatives.txt")
PRODUCT, COLLECTION = "product, power 0.5", "collection"
SHIPPED = "collection, hub 0.5, CSLS over a third of the bank"
_GAIN = re.compile(r"\{([\w-]+): (\w+)(?: by (\w+))? over (\w+)(?: by (\w+))?(?:, (seen|unseen))?\}")


@dataclass(frozen=True)
class Step:
    """One step of the ladder: a model of every seed."""

    name: str
    what: str
    changes: Mapping[str, Mapping[str, Any]]  # to the data set's setting
    parent: str | None = None  # whose weights it begins with
    mined: bool = False
    tuned: bool = False  # the text side alone


class Rows:
    """The lines of tables about one data set."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        self._first = next(iter(found["steps"]))
        first = found["steps"][self._first][0]
        self._counts, self._seen = torch.tensor(first["counts"]), torch.tensor(first["seen"])

    def header(self) -> str:
        """Two lines."""
        columns = [
            "AP",
            "each seed",
            "seen",
            "unseen",
            "P@1",
            "P@10",
            "AP above the first row [95 %]",
            "within: R@1,IoU=0.5",
        ]
        return f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}"

    def line(self, name: str, step: str, score: str) -> str:
        """One row: the average precision of a step's models by a score, and more."""
        rows = self._found["steps"][step]
        values = self._values(rows, score)  # (seeds, Q, 3)
        each = [100 * ladder.weighted(one[:, 0], self._counts) for one in values]
        average = values.mean(dim=0)
        known, other = (
            100 * ladder.weighted(average[m, 0], self._counts[m]) for m in (self._seen, ~self._seen)
        )
        tops = [100 * ladder.weighted(average[:, column], self._counts) for column in (1, 2)]
        gain = (
            ""
            if (step, score) == (self._first, PRODUCT)
            else self.gain((step, score), (self._first, PRODUCT))
        )
        inside = [row["within"]["R@1,IoU=0.5"] for row in rows]
        cells = [
            _spread(each),
            " ".join(f"{x:.1f}" for x in each),
            f"{known:.1f}",
            f"{other:.1f}",
            *(f"{x:.1f}" for x in tops),
            gain,
            _spread(inside),
        ]
        return f"| {name} | {' | '.join(cells)} |"

    def gain(self, one: tuple[str, str], other: tuple[str, str], part: str | None = None) -> str:
        """What one step by a score has over another in average precision, over the seeds of both, with its
        interval.

        Args:
            part: "seen" or "unseen" wordings alone, then without the interval.
        """
        by_seed = [
            {row["seed"]: row["values"][score] for row in self._found["steps"][step]}
            for step, score in (one, other)
        ]
        seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
        values = torch.tensor([[rows[seed] for seed in seeds] for rows in by_seed], dtype=torch.float64)[
            ..., 0
        ].mean(dim=1)
        difference = 100 * (values[0] - values[1])
        if part is not None:
            chosen = self._seen if part == "seen" else ~self._seen
            return f"{ladder.weighted(difference[chosen], self._counts[chosen]):+.1f}"
        low, high = ladder.interval(difference, self._counts)
        return f"{ladder.weighted(difference, self._counts):+.1f} [{low:+.1f}, {high:+.1f}]"

    def scores(self) -> Iterator[str]:
        """Names of all scores of the first step."""
        return iter(next(iter(self._found["steps"].values()))[0]["values"])

    @staticmethod
    def _values(rows: Sequence[Mapping[str, Any]], score: str) -> torch.Tensor:
        return torch.tensor([row["values"][score] for row in rows], dtype=torch.float64)


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def write_page(results: Mapping[str, Any], all_steps: Mapping[str, Sequence[Step]]) -> None:
    """docs/negatives.md: negatives.txt beside this script is the text around the tables.

    In it {DATA TABLE} is a table, and {DATA: STEP by SCORE over STEP by SCORE, PART} a difference; as it
    ships without a score.
    """
    parts = {}
    for name, found in results["data"].items():
        rows, steps = Rows(found), {step.name: step for step in all_steps[name]}
        base = next(iter(found["steps"]))
        lines = [rows.header(), rows.line(f"{steps[base].what}; the paper's product", base, PRODUCT)]
        lines += [rows.line(f"the same models, {COLLECTION}", base, COLLECTION)]
        lines += [rows.line("the same models, collection with hub 0.5: the default", base, SHIPPED)]
        lines += [rows.line(f"{steps[step].what}", step, SHIPPED) for step in list(found["steps"])[1:]]
        parts[f"{name} ladder"] = "\n".join(lines)
        parts[f"{name} scores"] = "\n".join(
            [rows.header(), *(rows.line(score, base, score) for score in rows.scores())]
        )
        parts[f"{name} confidence"] = confidence_table(found["steps"], steps)
    text = TEXT.read_text(encoding="utf-8")
    for key, table in parts.items():
        text = text.replace("{" + key + "}", table)

    def gain(match: re.Match[str]) -> str:
        score = {"product": PRODUCT, "collection": COLLECTION, None: SHIPPED}
        return Rows(results["data"][match[1]]).gain(
            (match[2], score[match[3]]), (match[4], score[match[5]]), match[6]
        )

    PAGE.write_text(_GAIN.sub(gain, text), encoding="utf-8")


def confidence_table(found: Mapping[str, Sequence[Mapping[str, Any]]], steps: Mapping[str, Step]) -> str:
    """Absent queries refused and calibration errors of some steps."""
    measured = {
        name: [row["confidence"] for row in rows] for name, rows in found.items() if "confidence" in rows[0]
    }
    shares = list(next(iter(measured.values()))[0]["refused"])
    header = [
        "models",
        *(f"refused at {share} % answered" for share in shares),
        "area",
        "calibration error",
        "present alone",
    ]
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    for name, mine in measured.items():
        cells = [_spread([one["refused"][share] for one in mine]) for share in shares]
        for key in ("area", "calibration error", "calibration error, present alone"):
            cells.append(f"{mean(one[key] for one in mine):.3f}")
        lines.append(f"| {steps[name].what} | {' | '.join(cells)} |")
    return "\n".join(lines)
