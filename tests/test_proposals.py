"""The sparse 2D map, and averaging into pre-clips."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn_index.clips import pool_to_pre_clips
from mmn_index.config import ModelConfig
from mmn_index.errors import ConfigError, FeatureError
from mmn_index.proposals import ProposalGrid
from mmn_index.video_encoder import ProposalMap, masked_counts

PAPER = [(16, (15,), 136), (64, (15, 8, 8), 1104), (128, (15, 8, 8, 8), 2548)]


@pytest.mark.parametrize(("num_clips", "counts", "proposals"), PAPER)
def test_the_papers_settings_have_their_number_of_proposals(
    num_clips: int, counts: tuple[int, ...], proposals: int
) -> None:
    assert len(ProposalGrid(num_clips, counts)) == proposals


def slow_cells(num_clips: int, counts: tuple[int, ...]) -> list[tuple[int, int]]:
    """The rule as it is told: diagonals of stride 1, then 2, then 4, where the start is a multiple of the
    stride.
    """
    cells = {(i, i) for i in range(num_clips)}
    offset = 0
    for group, count in enumerate(counts):
        for _ in range(count):
            offset += 2**group
            cells |= {(i, i + offset) for i in range(0, num_clips - offset, 2**group)}
    return sorted(cells)


@pytest.mark.parametrize(
    ("num_clips", "counts"), [(16, (15,)), (32, (15, 8)), (64, (15, 8, 8)), (12, (3, 2, 1)), (1, ())]
)
def test_the_cells_are_those_of_the_rule(num_clips: int, counts: tuple[int, ...]) -> None:
    grid = ProposalGrid(num_clips, counts)
    assert [tuple(cell) for cell in grid.cells.tolist()] == slow_cells(num_clips, counts)


@pytest.mark.parametrize(
    ("num_clips", "counts"), [(0, ()), (10**30, (10**30,)), (4097, (3,)), (16, (10**30,)), (16, (-1,))]
)
def test_what_makes_no_map_is_refused_at_once(num_clips: int, counts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        ProposalGrid(num_clips, counts)


def test_the_longest_proposal_of_charades_is_the_whole_video() -> None:
    grid = ProposalGrid(16, (15,))
    assert grid.seconds(31.7)[15].tolist() == pytest.approx([0.0, 31.7])


def test_counts_that_reach_over_the_video_are_refused() -> None:
    with pytest.raises(ConfigError, match="17 clips"):
        ProposalGrid(16, (16,))


@given(start=st.floats(0, 50), length=st.floats(0.01, 50), duration=st.floats(0.1, 5000))
def test_iou_targets_against_a_loop(start: float, length: float, duration: float) -> None:
    grid = ProposalGrid(8, (3, 2))
    targets = grid.iou_targets(torch.tensor([[start, start + length]], dtype=torch.float64), duration)[0]
    for (first, last), target in zip(grid.cells.tolist(), targets.tolist(), strict=True):
        a, b = first * duration / 8, (last + 1) * duration / 8
        inner = max(0.0, min(b, start + length) - max(a, start))
        assert target == pytest.approx(inner / (max(b, start + length) - min(a, start)), abs=1e-4)


def config(map_type: str = "pool", num_clips: int = 32, counts: tuple[int, ...] = (15, 8)) -> ModelConfig:
    return ModelConfig(
        input_dim=6,
        num_pre_clips=2 * num_clips,
        num_clips=num_clips,
        pooling_counts=counts,
        featpool_dim=5,
        featpool_kernel=2,
        conv_dim=4,
        conv_kernel=3,
        conv_layers=2,
        joint_dim=3,
        map_type=map_type,
    )


def test_a_pooled_cell_is_the_maximum_over_its_clips() -> None:
    grid = ProposalGrid(32, (15, 8))
    clips = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    cells = ProposalMap(config(), grid)(clips)
    for i, j in grid.cells.tolist():
        assert torch.equal(cells[:, :, i, j], clips[:, :, i : j + 1].amax(dim=2))
    assert torch.equal(cells[:, :, ~grid.mask], torch.zeros(2, 5, int((~grid.mask).sum())))


def test_the_learned_map_walks_the_same_chain() -> None:
    grid = ProposalGrid(8, (3, 2))
    torch.manual_seed(0)
    layer = ProposalMap(config("conv", 8, (3, 2)), grid)
    clips = torch.randn(1, 5, 8)
    cells = layer(clips)

    def value(i: int, j: int) -> torch.Tensor:
        """Cell (i, j) from shorter cells, by the chain's rule."""
        offset = j - i
        if offset == 0:
            return clips[0, :, i]
        step = [d.offset for d in grid.diagonals].index(offset) - 1
        before = grid.diagonals[step]
        weight, bias = layer.convs[step].weight, layer.convs[step].bias
        inputs = [
            value(i + n * before.stride, i + n * before.stride + before.offset)
            for n in range(weight.shape[2])
        ]
        return bias + sum(weight[:, :, n] @ x for n, x in enumerate(inputs))

    for i, j in grid.cells.tolist():
        assert torch.allclose(cells[0, :, i, j], value(i, j), atol=1e-5)


def test_masked_counts_against_a_loop() -> None:
    mask = ProposalGrid(6, (3,)).mask
    counts = masked_counts(mask, 3, 2)
    assert counts[0].shape == (8, 8)  # padded by (K - 1) * L / 2 = 2 on each side, one lost to the window
    for row in range(8):
        for column in range(8):
            # Position (row, column) of the first layer looks at map cells row-2..row, column-2..column.
            seen = sum(
                bool(mask[r, c])
                for r in range(row - 2, row + 1)
                for c in range(column - 2, column + 1)
                if 0 <= r < 6 and 0 <= c < 6
            )
            assert counts[0][row, column] == seen
    alive = counts[0] > 0
    for row in range(6):
        for column in range(6):
            assert counts[1][row, column] == alive[row : row + 3, column : column + 3].sum()


@given(snippets=st.integers(1, 200), pre_clips=st.sampled_from([4, 16, 32]))
def test_pre_clips_against_the_written_rule(snippets: int, pre_clips: int) -> None:
    raw = torch.randn(snippets, 3, generator=torch.Generator().manual_seed(snippets), dtype=torch.float64)
    unit = raw / raw.norm(dim=1, keepdim=True)
    edges = [
        min(round(i / pre_clips * snippets), snippets - 1) for i in range(pre_clips + 1)
    ]  # Python rounds halves to even
    expected = [unit[a:b].mean(dim=0) if a < b else unit[a] for a, b in pairwise(edges)]
    assert torch.allclose(pool_to_pre_clips(raw, pre_clips), torch.stack(expected), atol=1e-12)


def test_the_last_snippet_of_a_long_video_enters_no_clip() -> None:
    snippets = torch.rand(48, 3, generator=torch.Generator().manual_seed(0))
    changed = snippets.clone()
    changed[-1] = 7 * torch.rand(3)
    assert torch.equal(pool_to_pre_clips(snippets, 32), pool_to_pre_clips(changed, 32))


def test_a_zero_row_stays_zero_and_no_rows_are_refused() -> None:
    assert torch.equal(pool_to_pre_clips(torch.zeros(5, 3), 4), torch.zeros(4, 3))
    with pytest.raises(FeatureError):
        pool_to_pre_clips(torch.zeros(0, 3), 4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv_kernel": 4}, "odd"),
        ({"num_pre_clips": 50}, "multiple"),
        ({"featpool_kernel": 3}, "stride"),
        ({"map_type": "x"}, "pool"),
        ({"joint_dim": 0}, "joint_dim"),
        ({"tau": 0.0}, "tau"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ModelConfig(**{**config().to_json(), **change})
