"""The exact scan for many queries: a tangent plane says quickly what may be among the best, and decides
nothing else.
"""

from unittest import mock

import pytest
import torch
from torch.nn.functional import normalize

from mmn_index.index import scan
from mmn_index.index.scan import Deadline, best_of_all, upper_bounds
from mmn_index.scoring import SCORES, Embeddings, Score

ROWS, QUERIES, DIM = 3000, 9, 16


def scattered(seed: int, longest: float = 1.0) -> tuple[torch.Tensor, Embeddings]:
    """Moments, (ROWS, 2 DIM) float16, some alike and some equal, and queries near to them."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(12, 2, DIM, generator=generator)
    rows = centres[torch.randint(12, (ROWS,), generator=generator)]
    rows = normalize(rows + 0.7 * torch.randn(ROWS, 2, DIM, generator=generator), dim=2)
    rows[1::7] = rows[::7][: len(rows[1::7])]
    rows *= longest * torch.rand(ROWS, 1, 1, generator=generator).clamp(min=0.5)
    queries = normalize(centres[:QUERIES] + torch.randn(QUERIES, 2, DIM, generator=generator), dim=2)
    return rows.reshape(ROWS, 2 * DIM).half(), Embeddings(*queries.transpose(0, 1))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_BLOCK", (250, 250))
    monkeypatch.setattr(scan, "_CACHED", (64, 64))


@pytest.mark.parametrize("longest", [1.0, 3.0])
@pytest.mark.parametrize("hub", [0.0, 0.7])
@pytest.mark.parametrize("tau", [0.1, 0.003])
@pytest.mark.parametrize("name", SCORES)
@torch.inference_mode()
def test_what_the_plane_lets_pass_is_what_the_scores_of_everything_give(
    name: str, tau: float, hub: float, longest: float
) -> None:
    if hub and name not in ("collection", "contrastive"):
        pytest.skip("knows no hub correction")
    for seed in range(4):
        rows, queries = scattered(seed, longest)
        generator = torch.Generator().manual_seed(seed)
        hubs, keep = torch.rand(ROWS, generator=generator), torch.rand(ROWS, generator=generator) < 0.8
        score = Score(name, tau=tau, hub=hub)
        expected = upper_bounds(rows, hubs, queries, score, longest).masked_fill(~keep, -torch.inf)
        values, found = best_of_all(
            rows, hubs, [(0, 1300), (1300, ROWS)], keep, queries, score, 40, Deadline(None), longest=longest
        )
        assert values.numpy() == pytest.approx(expected.topk(40).values.numpy(), rel=1e-6, abs=1e-6)
        assert expected.gather(1, found).numpy() == pytest.approx(values.numpy(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("point", [(-0.9, -1.0), (0.0, 0.0), (1.0, 1.0), (0.3, -0.4)])
@torch.inference_mode()
def test_no_point_of_the_plane_changes_what_is_found(
    point: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, queries = scattered(5)
    for score in (Score("collection"), Score("product")):
        arguments = rows, None, [(0, ROWS)], None, queries, score, 30, Deadline(None)
        expected = best_of_all(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(
                scan._Sieve, "touch", lambda self, *_: setattr(self, "_plane", self._score.tangent(*point))
            )
            found = best_of_all(*arguments)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


@torch.inference_mode()
def test_few_scores_are_computed_once_the_first_block_is_done() -> None:
    rows, queries = scattered(6)
    counted: list[int] = []
    log = Score.log

    def counting(self: Score, c: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
        counted.append(c.numel())
        return log(self, c, i)

    with mock.patch.object(Score, "log", counting):
        best_of_all(rows, None, [(0, ROWS)], None, queries, Score(), 10, Deadline(None))
    assert sum(counted) < 0.15 * ROWS * QUERIES
