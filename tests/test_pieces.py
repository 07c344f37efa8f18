"""An index cut into pieces for several owners: all of it, balanced, and with few moves."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_search import GRID, make_index, random_queries

from mmn_index.cluster.pieces import Piece, assign, choose, cut, joined
from mmn_index.index import Part, Restriction
from mmn_index.index.holding import Holding, Wanted
from mmn_index.index.scan import Deadline
from mmn_index.scoring import Score

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=60)
NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


def loads(sizes: list[int], owners: list[tuple[str, ...]]) -> Counter[str]:
    found = Counter[str]()
    for size, own in zip(sizes, owners, strict=True):
        found.update(dict.fromkeys(own, size))
    return found


@settings(max_examples=200, deadline=None)
@given(sizes=SIZES, names=NAMES, others=NAMES, replicas=st.integers(1, 3))
def test_pieces_are_shared_out_evenly(
    sizes: list[int], names: list[str], others: list[str], replicas: int
) -> None:
    before = assign(sizes, names, None, replicas)
    for owners, there in ((before, names), (assign(sizes, others, before, replicas), others)):
        assert all(len({*own}) == len(own) == min(replicas, len(there)) for own in owners)
        assert {name for own in owners for name in own} <= {*there}
        if replicas == 1:
            load = loads(sizes, owners)
            share = sum(sizes) / len(there)
            assert max(load[name] for name in there) <= share + max(sizes)
            assert min(load[name] for name in there) >= share - 2 * max(sizes)


@settings(max_examples=100, deadline=None)
@given(count=st.integers(2, 6), pieces=st.integers(60, 300), replicas=st.integers(1, 2))
def test_few_pieces_move(count: int, pieces: int, replicas: int) -> None:
    names, sizes = [f"n{number}" for number in range(count + 1)], [10] * pieces
    fewer = assign(sizes, names[:count], None, replicas)
    same = assign(sizes, names[:count], fewer, replicas)
    assert sum({*old} != {*new} for old, new in zip(fewer, same, strict=True)) <= count
    more = assign(sizes, names, fewer, replicas)
    came = [({*new} - {*old}) for old, new in zip(fewer, more, strict=True)]
    copies = min(replicas, count)
    moved = sum(map(len, came))
    # The new one's share, and where a second copy comes with the third node, that.
    added = pieces * (min(replicas, count + 1) - copies)
    slack = 1 if replicas == 1 else 1.5  # a piece that has the newcomer already goes to another
    assert moved <= slack * pieces * copies / (count + 1) + added + 2 * (count + 1)
    again = assign(sizes, names[:count], more, replicas)
    kept = sum(len({*old} & {*new}) for old, new in zip(more, again, strict=True))
    assert kept >= sum(len({*old} & {*names[:count]}) for old in more) - 2 * (count + 1)


def test_neighbours_stay_together() -> None:
    owners = assign([5] * 100, ["a", "b", "c", "d"])
    assert sum(one != other for one, other in pairwise(owners)) == 3
    left = assign([5] * 100, ["a", "b", "c"], owners)
    assert sum(one != other for one, other in pairwise(left)) <= 6
    chosen = choose([5] * 100, assign([5] * 100, ["a", "b", "c", "d"], None, 2), {"a", "b", "c", "d"})
    assert sum(one != other for one, other in pairwise(chosen)) <= 8


@settings(max_examples=200, deadline=None)
@given(sizes=SIZES, names=NAMES, there=NAMES, replicas=st.integers(1, 3))
def test_each_piece_is_asked_of_one_who_has_it(
    sizes: list[int], names: list[str], there: list[str], replicas: int
) -> None:
    owners = assign(sizes, names, None, replicas)
    for own, name in zip(owners, choose(sizes, owners, there), strict=True):
        able = {*own} & {*there}
        assert name in able if able else name is None


def test_nobody_is_there() -> None:
    assert assign([3, 4], []) == [(), ()]
    assert choose([3, 4], [(), ("a",)], {"b"}) == [None, None]


def test_pieces_are_whole_videos_and_all_of_them(tmp_path: Path) -> None:
    index = make_index(tmp_path, 1, videos=300, segments=2, durations=(30.0, 400.0))
    pieces = cut(index.segments)
    assert 150 <= len(pieces) <= 300
    for number, segment in enumerate(index.segments):
        edges = [piece.first for piece in pieces if piece.segment == number]
        assert joined([piece for piece in pieces if piece.segment == number]) == {
            number: [(0, segment.entry.moments)]
        }
        assert {*edges} <= {*(segment.first_window * segment.per_window).tolist()}
    assert cut([]) == []
    assert joined([Piece(0, 0, 2), Piece(0, 4, 6), Piece(0, 6, 7), Piece(1, 0, 3)]) == {
        0: [(0, 2), (4, 7)],
        1: [(0, 3)],
    }


@settings(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.integers(0, 40), max_size=8, unique=True).map(sorted),
    cuts=st.lists(st.integers(0, 40), max_size=8, unique=True).map(sorted),
    seed=st.none() | st.integers(0, 100),
)
def test_stretches_of_a_part(edges: list[int], cuts: list[int], seed: int | None) -> None:
    runs = list(zip(edges[::2], edges[1::2], strict=False))
    rows = [row for begin, end in runs for row in range(begin, end)]
    keep = None if seed is None else np.random.default_rng(seed).random(len(rows)) < 0.5
    allowed = [row for n, row in enumerate(rows) if keep is None or keep[n]]
    ranges = list(zip(cuts[::2], cuts[1::2], strict=False))
    found = Part(runs, keep, len(allowed), 1).only(ranges)
    numbers = [row for begin, end in found.runs for row in range(begin, end)]
    left = [row for n, row in enumerate(numbers) if found.keep is None or found.keep[n]]
    assert left == [row for row in allowed if any(first <= row < last for first, last in ranges)]
    assert found.count == len(left)


@pytest.mark.parametrize("ranges", [[], [(0, 100)], [(84, 300), (400, 401)]])
def test_rows_that_lie_on_no_device_are_scanned_from_the_files(
    tmp_path: Path, ranges: list[tuple[int, int]]
) -> None:
    """While pieces move, a searcher may be asked for what it had before, or will have."""
    index, queries = make_index(tmp_path, 1, videos=20), random_queries(2, 6)
    holding = Holding({0: index.segments[0]}, index.manifest, [torch.device("cpu")], {0: ranges})
    parts = [*index.parts(Restriction()), *index.parts(Restriction(min_length=6.0))]
    for part in parts:
        one, other = (
            each.candidates(queries, Score(), [], 30, Wanted({0: part}, {}), Deadline(None))
            for each in (index.holding, holding)
        )
        assert np.array_equal(one.rows, other.rows)
        assert np.allclose(one.values, other.values, rtol=1e-6)
    assert len(GRID) * 20 == index.num_moments
