"""The scores and their bound."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from mmn_index.errors import QueryError
from mmn_index.scoring import SCORES, Score

cosine = st.floats(-1, 1)


@example(c=0.0, i=0.0, c0=-1.0, i0=0.0, power=0.5, tau=0.1)
@given(c=cosine, i=cosine, c0=cosine, i0=cosine, power=st.floats(0.05, 8), tau=st.floats(0.02, 1))
def test_a_tangent_is_never_below_the_score(
    c: float, i: float, c0: float, i0: float, power: float, tau: float
) -> None:
    for name in SCORES:
        score = Score(name, power, tau)
        plane = score.tangent(c0, i0)
        log = score.log(*torch.tensor([c, i], dtype=torch.float64)).item()
        bound = plane.contrastive * c + plane.iou * i + plane.constant
        assert bound >= log - 1e-9 * max(1, abs(bound)), name


@given(c=cosine, i=cosine)
def test_a_tangent_touches_the_score_at_its_point(c: float, i: float) -> None:
    c = max(c, -0.9)
    for name in SCORES:
        score = Score(name)
        plane = score.tangent(c, i)
        assert plane.contrastive * c + plane.iou * i + plane.constant == pytest.approx(
            score.log(*torch.tensor([c, i], dtype=torch.float64)).item(), abs=1e-9
        )


def test_the_formulas_by_hand() -> None:
    c, i = torch.tensor(0.6), torch.tensor(-0.1)
    match = 1 / (1 + math.exp(1))
    assert Score("product", power=0.5)(c, i).item() == pytest.approx(math.sqrt(0.8) * match, rel=1e-6)
    assert Score("product", power=4)(c, i).item() == pytest.approx(0.8**4 * match, rel=1e-6)
    assert Score("collection", tau=0.1)(c, i).item() == pytest.approx(6 + math.log(match), rel=1e-6)
    assert Score("iou")(c, i).item() == pytest.approx(match, rel=1e-6)
    assert Score("contrastive")(c, i).item() == pytest.approx(0.6, rel=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_what_is_shown_rises_as_what_ranks(name: str) -> None:
    c, i = torch.rand(2, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.6 - 0.8
    score = Score(name)
    assert torch.equal(score(c, i).argsort(), score.log(c, i).argsort())


@pytest.mark.parametrize("name", ["power", "tau", "weight"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_parameter_that_makes_no_score(name: str, value: float) -> None:
    with pytest.raises(QueryError, match=f"the {name} of a score is {value:g}, expected a number above 0"):
        Score(**{name: value})


def test_an_unknown_score_names_the_known_ones() -> None:
    with pytest.raises(QueryError, match="collection, product"):
        Score("best")


@pytest.mark.parametrize("name", ["product", "iou"])
def test_what_ranks_is_the_logarithm_of_what_is_shown(name: str) -> None:
    c, i = torch.linspace(-0.9, 1, 20, dtype=torch.float64)[:, None], torch.linspace(-1, 1, 21).double()
    score = Score(name, power=0.7)
    shown, log = torch.broadcast_tensors(score(c, i), score.log(c, i))
    assert log.shape == (20, 21)
    assert torch.allclose(log, shown.log())
