"""The sample of all moments that a segment keeps."""

from pathlib import Path

import numpy as np
import pytest
from mmn_index.index_build.change import remove
from mmn_index.index_build.verify import _background
from test_search import GRID, make_index, random_queries

from mmn_index.errors import MomentIndexError
from mmn_index.index import MomentIndex
from mmn_index.scoring import Score


def test_the_background_is_a_weighted_sample_of_all_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of the mean score of random queries is off by no more than its own standard error,
    about.
    """
    monkeypatch.setattr("mmn_index.index.segment_files._SAMPLE", 120)
    monkeypatch.setattr("mmn_index.index.segment._LEAST", 20)
    root = make_index(tmp_path, 4, videos=40, segments=3).root
    remove(root, ["v01", "v07", "v20", "v30", "v31"])
    index, queries = MomentIndex(root), random_queries(1, 400)
    rows, embeddings, weights = index.background
    assert index.background[0] is rows  # once a version
    assert weights.sum() == pytest.approx(index.num_moments)
    assert np.array_equal(index.vectors(rows).numpy(), embeddings)
    assert index.live[index.videos_of(rows)].all()
    everything = np.flatnonzero(np.repeat(index.live, len(GRID)))

    def scores(some: np.ndarray) -> np.ndarray:
        c, i = (q.double() @ x.double().T for q, x in zip(queries, index.embeddings(some), strict=True))
        return Score().log(c, i).numpy()

    found, of = scores(rows), np.searchsorted(index.rows.first, rows, side="right")
    error = np.zeros(400)
    for part in np.unique(of):
        own, count = found[:, of == part], weights[of == part].sum()
        error += count**2 * own.var(axis=1, ddof=1) / own.shape[1] * (1 - own.shape[1] / count)
    off = ((found * weights).sum(axis=1) / weights.sum() - scores(everything).mean(axis=1)) / (
        np.sqrt(error) / index.num_moments
    )
    assert np.abs(off).max() < 5
    assert 0.3 < np.sqrt((off**2).mean()) < 1.7  # the queries share one sample


def test_a_background_of_removed_videos_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmn_index.index.segment_files._SAMPLE", 30)
    monkeypatch.setattr("mmn_index.index.segment._LEAST", 5)
    root = make_index(tmp_path, 4, videos=12).root
    remove(root, [f"v{number:02d}" for number in range(11)])
    index = MomentIndex(root)
    rows, embeddings, weights = index.background
    assert len(rows) == len(set(rows.tolist())) == 30
    assert set(index.videos_of(rows).tolist()) == {11}
    assert np.array_equal(index.vectors(rows).numpy(), embeddings)
    assert weights.sum() == pytest.approx(index.num_moments)
    remove(root, ["v11"])
    assert [part.shape for part in MomentIndex(root).background] == [(0,), (0, 10), (0,)]


def test_a_background_of_other_moments_is_found(tmp_path: Path) -> None:
    (segment,) = make_index(tmp_path, 4, videos=3).segments
    assert list(_background(segment)) == []
    right = segment.drawn
    for change in ({"row": 0}, {"row": 10**6}, {"embedding": 0.5}):
        segment.drawn = right.copy()
        for name, value in change.items():
            segment.drawn[name][5] = value
        assert list(_background(segment)) == [
            f"{segment.folder / 'background.npy'}: disagrees with embeddings.npy. Build the index again."
        ]
    segment.drawn["row"][5] = -1
    with pytest.raises(MomentIndexError, match="has rows from -1"):
        segment.sample()
