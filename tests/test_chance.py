"""Random embeddings through a real index, searched with the sentences of the real annotation files, give the
numbers of chance.

The whole collections; every eighth sentence, to be quick. benchmarks/chance.py does all of them, ActivityNet
Captions included.
"""

from math import isnan
from pathlib import Path

import pytest
import random_index
from golden import golden

from mmn_index.config import PAPER
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.corpus import IndexRank, measure, search_tasks
from mmn_index.evaluation.queries import indexed, queries_of
from mmn_index.index import MomentIndex
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Score

DIM = 8


@pytest.mark.parametrize(
    ("name", "file", "videos", "queries"),
    [("charades", "charades_test.json", 1334, 465), ("tacos", "test.json", 25, 501)],
)
def test_random_embeddings_give_chance(
    tmp_path: Path, name: str, file: str, videos: int, queries: int
) -> None:
    split = read_annotations(golden("..", "annotations", name, file))
    grid = ProposalGrid(PAPER[name].num_clips, PAPER[name].pooling_counts)
    random_index.write_index(tmp_path / "c.mmn", split, grid, DIM)
    index = MomentIndex(tmp_path / "c.mmn")
    corpus = indexed(index)
    assert (len(corpus.ids), index.num_moments) == (videos, videos * len(grid))
    asked = queries_of(random_index.every(split, 8), corpus)
    assert len(asked) == queries
    rank = IndexRank(index, random_index.queries(len(asked), DIM), Score())
    compared = 0
    for lists in search_tasks(asked, corpus, rank, nms=1.0):
        for outcome in measure(lists, asked, corpus):
            assert outcome.exact == queries
            for k, away in zip(outcome.depths, random_index.deviations(outcome), strict=True):
                assert isnan(away) or abs(away) < 4, (outcome.task, outcome.right, outcome.iou, k, away)
                compared += not isnan(away)
    assert compared >= 30
