"""The estimated sum over a collection, the fitted confidence, and the measures of both."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmn_index.confidence import (
    QUANTITIES,
    Calibration,
    expected_calibration_error,
    fit,
    log_means,
    refusal_curve,
)


def log_mean(
    known: Tensor, count: int, sample: Tensor, weights: Tensor, highest: float
) -> tuple[float, float]:
    """Of one query, whose sample holds none of the known."""
    others = torch.ones(1, len(sample), dtype=torch.bool)
    found = log_means(known[None], count, sample[None], others, weights, torch.tensor([highest]))
    return float(found[0]), float(found[1])


@pytest.mark.parametrize("best", [10, 500])
def test_the_estimated_sum_lies_within_its_bound_of_the_full_one(best: int) -> None:
    random = np.random.default_rng(0)
    outside = 0
    for _ in range(100):
        f = torch.from_numpy(random.normal(size=10_000) * random.uniform(0.5, 4)).sort(descending=True).values
        rest = torch.from_numpy(random.choice(np.arange(best, len(f)), 1_000, replace=False))
        weights = torch.full((len(rest),), (len(f) - best) / len(rest), dtype=torch.float64)
        estimate, error = log_mean(f[:best], len(f), f[rest], weights, float(f[best]))
        full = float(f.exp().mean().log())
        outside += abs(estimate - full) > error
        assert error < (3 if best == 10 else 1), "a bound that says nothing"
    assert outside <= 5  # 5 % of 100


def test_all_moments_known_is_the_full_sum() -> None:
    f = torch.tensor([3.0, 1.0, -400.0])
    estimate, error = log_mean(f, 3, f[:0], f[:0].double(), -math.inf)
    assert estimate == pytest.approx(math.log((math.exp(3) + math.exp(1)) / 3))
    assert error == 0


def test_queries_together_have_the_sums_of_each_alone() -> None:
    random = torch.Generator().manual_seed(4)
    known, sample = (torch.randn(5, n, generator=random, dtype=torch.float64) for n in (8, 50))
    others, weights = torch.rand(5, 50, generator=random) < 0.7, torch.rand(50, generator=random) * 20
    highest = sample.masked_fill(~others, -torch.inf).amax(dim=1)
    known[1, 5:], others[2] = -torch.inf, False  # fewer were scored; all of the sample is known
    known[3], highest[3], others[3] = -torch.inf, -torch.inf, False  # nothing at all
    found = log_means(known, 1000, sample, others, weights.double(), highest)
    for number, (estimate, error) in enumerate(zip(*(x.tolist() for x in found), strict=True)):
        there, own = known[number].isfinite(), others[number]
        expected = log_mean(
            known[number, there], 1000, sample[number, own], weights.double()[own], float(highest[number])
        )
        assert (estimate, error) == pytest.approx(expected)
        total = known[number].exp().sum() + (weights[own] * sample[number, own].exp()).sum()
        assert estimate == pytest.approx(float((total / 1000).log()))
    assert found[1][2:4].tolist() == [0, 0]


def test_the_bound_is_wider_for_a_smaller_sample() -> None:
    f = torch.linspace(-5, 2, 10_000, dtype=torch.float64)
    errors = [
        log_mean(
            f[:0], 10_000, f[::step], torch.full((10_000 // step,), float(step), dtype=torch.float64), 2.0
        )[1]
        for step in (2, 20, 200)
    ]
    assert errors == sorted(errors)


def test_a_regression_is_found_again() -> None:
    torch.manual_seed(0)
    quantities = torch.randn(10_000, len(QUANTITIES), dtype=torch.float64)
    made = Calibration(-1.0, (2.0, -1.5, 0.5, 0.0, 1.0, -1.0), 0, 0.0)
    right = torch.rand(10_000, dtype=torch.float64) < made(quantities)
    found = fit(quantities, right)
    assert found.offset == pytest.approx(-1, abs=0.15)
    assert found.slopes == pytest.approx(made.slopes, abs=0.15)
    assert found.error < 0.02
    assert found.hits == 10_000


def test_a_quantity_that_never_varies_gets_no_slope() -> None:
    quantities = torch.full((100, len(QUANTITIES)), 3.0)
    quantities[:, 0] = torch.linspace(-2, 2, 100)
    found = fit(quantities, torch.rand(100) < torch.sigmoid(quantities[:, 0]))
    assert found.slopes[1:] == (0,) * (len(QUANTITIES) - 1)
    assert found.slopes[0] > 0.3


def test_calibration_error_by_hand() -> None:
    # Bin 0.2-0.3 has three hits at 0.25, one right: |0.75 - 1| = 0.25. Bin 0.9-1 has two at 1.0, one right:
    # |2 - 1| = 1. (1.25) / 5.
    confidence = torch.tensor([0.25, 0.25, 0.25, 1.0, 1.0])
    right = torch.tensor([True, False, False, True, False])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.25)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=20),
    st.lists(st.integers(0, 20), min_size=1, max_size=20),
)
def test_the_curve_is_what_counting_says(present: list[int], absent: list[int]) -> None:
    thresholds, answered, refused = refusal_curve(torch.tensor(present) / 20.0, torch.tensor(absent) / 20.0)
    edges = [*sorted({*present, *absent}), math.inf]
    assert thresholds.tolist() == pytest.approx([edge / 20 for edge in edges])
    for place, edge in enumerate(edges):
        assert float(answered[place]) == pytest.approx(sum(x >= edge for x in present) / len(present))
        assert float(refused[place]) == pytest.approx(sum(x < edge for x in absent) / len(absent))
