"""A pool of videos for every sentence: by hand, against loops, on the real files, and `mmn-index eval
--mvmr`.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import oracle
import pytest
import random_index
import torch
from conftest import Command
from golden import golden

from mmn_index.config import PAPER
from mmn_index.errors import AnnotationError
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.corpus import IndexRank
from mmn_index.evaluation.mvmr import IOUS, Pools, evaluate_pools, read_pools
from mmn_index.evaluation.queries import Corpus, indexed
from mmn_index.evaluation.recall import Ranked
from mmn_index.index import MomentIndex
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Score
from mmn_index.search import SearchOptions

GRID = ProposalGrid(4, (3,))  # 8 seconds: [0,2] [0,4] [0,6] [0,8] [2,4] [2,6] [2,8] [4,6] [4,8] [6,8]
CORPUS = Corpus(
    {0: "a.avi", 1: "b.avi", 2: "c.avi", 3: "d.mp4", 4: "d.avi"}, dict.fromkeys(range(5), 8.0), GRID
)
FRAMES: dict[str, Any] = {  # at 2 and at 4 frames a second, 8 seconds each
    "a": {
        "fps": 2.0,
        "num_frames": 16,
        "timestamps": [[0, 8], [8, 8], [8, 16]],
        "sentences": ["x", "dropped", "y"],
        "pos_moments": [[["b", "x too", [16, 40]]], [], []],
        "retrieval_pool": [["a", "b"], ["a", "b"], ["c", "a"]],
    },
    "b": {
        "fps": 4.0,
        "num_frames": 32,
        "timestamps": [[8, 32]],
        "sentences": ["x too"],
        "pos_moments": [[["a", "x", [0, 8]]]],
        "retrieval_pool": [["b", "a"]],
    },
    "c": {
        "fps": 2.0,
        "num_frames": 16,
        "timestamps": [[0, 4]],
        "sentences": ["alone"],
        "pos_moments": [[]],
        "retrieval_pool": [["c"]],
    },
}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_pools_by_hand(tmp_path: Path) -> None:
    pools = read_pools(write(tmp_path / "m.json", FRAMES), CORPUS)
    assert (pools.size, pools.left_out) == (2, 1)  # c's pool is smaller than the others'
    assert pools.queries.sentences == ("x", "y", "x too")
    assert pools.queries.positions == (0, 2, 3)  # the dropped sentence is counted
    assert pools.videos == (("a.avi", "b.avi"), ("c.avi", "a.avi"), ("b.avi", "a.avi"))
    # Frames become seconds by the rate of the moment's own video: 16 to 40 of b are 4 to 10 s, cut to its 8
    # s.
    assert [(one.videos.tolist(), one.spans.tolist()) for one in pools.right] == [
        ([0, 1], [[0, 4], [4, 8]]),
        ([0], [[4, 8]]),
        ([1, 0], [[2, 8], [0, 4]]),
    ]


def test_recall_in_pools_by_hand(tmp_path: Path) -> None:
    pools = read_pools(write(tmp_path / "m.json", FRAMES), CORPUS)
    a, b, c = range(3)
    answers = [[(b, 2, 8), (b, 4, 8), (a, 0, 4)], [(c, 4, 8), (a, 0, 8)], [(a, 0, 6), (b, 0, 8)]]
    asked = []

    def rank(numbers: Sequence[int], options: SearchOptions) -> list[Ranked]:
        asked.append((set(options.restriction.videos or ()), list(numbers), options.nms, options.k))
        chosen = [answers[n] for n in numbers]
        return [
            Ranked(
                torch.tensor([v for v, *_ in x]),
                torch.tensor([s for _, *s in x]).float(),
                torch.zeros(len(x)),
                True,
            )
            for x in chosen
        ]

    found = {(one.nms, one.iou): one for one in evaluate_pools(pools, CORPUS, rank, nms=0.5)}
    # First: of b's [4,8], [2,8] has 4/6. Second: of a's [4,8], [0,8] has 1/2; c's is another video. Third: of
    # a's [0,4], [0,6] has 4/6.
    assert found[1.0, 0.5].ranks.tolist() == [1, 2, 1]
    assert found[1.0, 0.7].ranks.tolist() == [
        2,
        float("inf"),
        2,
    ]  # b's [4,8] itself; of b's [2,8], [0,8] has 6/8
    assert found[0.5, 0.3].table()["R@1"] == pytest.approx(200 / 3)
    # Sentences with the same pool share a search, whatever the order of its videos.
    assert asked[:2] == [({"a.avi", "b.avi"}, [0, 2], 1.0, 50), ({"a.avi", "c.avi"}, [1], 1.0, 50)]
    assert [nms for _, _, nms, _ in asked] == [1.0, 1.0, 0.5, 0.5]
    # Two videos have 20 moments. At 0.5: five with [0,4], five with [4,8] and, of [2,8], [2,6] [2,8] [4,8]
    # [0,8] [0,6].
    assert found[1.0, 0.5].chance()["R@1"] == pytest.approx(100 * (10 + 5 + 10) / 3 / 20)


def test_a_pool_is_searched_like_a_collection_of_its_own(tmp_path: Path) -> None:
    """Through a real index, against loops over the scores of the pool's moments."""
    path = write(tmp_path / "m.json", FRAMES)
    split = read_annotations(path)
    random_index.write_index(tmp_path / "c.mmn", split, GRID, 4)
    index = MomentIndex(tmp_path / "c.mmn")
    pools = read_pools(path, indexed(index))
    both, score = random_index.queries(3, 4), Score()
    found = evaluate_pools(pools, indexed(index), IndexRank(index, both, score), nms=0.5)
    assert all(one.exact == 3 for one in found)
    stored, spans = index.segments[0].embeddings.double(), index.spans(torch.arange(30).numpy())
    for query in range(3):
        c, i = (stored[:, 4 * half : 4 * half + 4] @ x[query].double() for half, x in enumerate(both))
        scores = score.log(c, i).tolist()
        inside = [index.number_of(name) for name in pools.videos[query]]
        order = sorted((row for row in range(30) if row // 10 in inside), key=lambda row: -scores[row])
        right = [
            (int(v), *span)
            for v, span in zip(pools.right[query].videos, pools.right[query].spans.tolist(), strict=True)
        ]
        for m in IOUS:
            expected = oracle.first_rank([(row // 10, *spans[row]) for row in order], right, m)
            assert [float(one.ranks[query]) for one in found if (one.nms, one.iou) == (1.0, m)] == [expected]


@pytest.mark.parametrize(
    ("name", "size", "queries", "left_out"), [("charades", 50, 3716, 4), ("tacos", 5, 2055, 1946)]
)
def test_the_real_files(tmp_path: Path, name: str, size: int, queries: int, left_out: int) -> None:
    path = golden("..", "annotations", "mvmr", f"{name}_test_mvmr.json")
    official = read_annotations(
        golden("..", "annotations", name, "charades_test.json" if name == "charades" else "test.json")
    )
    grid = ProposalGrid(PAPER[name].num_clips, PAPER[name].pooling_counts)
    random_index.write_index(
        tmp_path / "c.mmn", official, grid, 8
    )  # TACoS: the videos' ids end with .avi there
    index = MomentIndex(tmp_path / "c.mmn")
    corpus = indexed(index)
    pools = read_pools(path, corpus)
    assert (pools.size, len(pools.queries), pools.left_out) == (size, queries, left_out)
    raw = [
        entry
        for video in json.loads(path.read_text()).values()
        for entry in zip(video["pos_moments"], video["retrieval_pool"], strict=True)
    ]
    assert [len(one.videos) - 1 for one in pools.right] == [
        len(further) for further, pool in raw if len(pool) == size
    ]
    # Every further moment is one that the official annotations have, in seconds.
    moments = {corpus.numbers[video.video_id]: video.moments for video in official.videos}
    for one in pools.right:
        for video, span in zip(one.videos.tolist(), one.spans, strict=True):
            assert (moments[video] - span).abs().sum(dim=1).min() < 1e-4
    # Random vectors give chance; every eighth sentence, to be quick.
    rows = list(range(0, queries, 8))
    part = Pools(
        pools.queries.part(rows), tuple(pools.videos[n] for n in rows), tuple(pools.right[n] for n in rows), 0
    )
    rank = IndexRank(index, random_index.queries(len(rows), 8), Score())
    for outcome in evaluate_pools(part, corpus, rank, nms=1.0):
        assert all(abs(away) < 4 for away in random_index.deviations(outcome)), outcome.table()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x["a"].pop("retrieval_pool"), "video 'a', sentence 0: 'retrieval_pool'"),
        (lambda x: x["a"]["pos_moments"].pop(), "2 pos_moments, 3 sentences"),
        (
            lambda x: x["a"]["retrieval_pool"][0].append("z"),
            "its pool has a video 'z' that the file does not describe",
        ),
        (
            lambda x: x["b"]["retrieval_pool"][0].remove("b"),
            "video 'b', sentence 0: its pool lacks its own video",
        ),
        (lambda x: x["a"]["retrieval_pool"][0].append("b"), "or has one twice"),
        (
            lambda x: x["a"]["pos_moments"][0].append(["c", "x", [0, 4]]),
            "a right moment lies in 'c', which is not in its pool",
        ),
        (
            lambda x: x["a"]["pos_moments"][0].append(["b", "x", [4, 4]]),
            "a right moment of 'b' lasts from 4 to 4",
        ),
        (
            lambda x: x["a"]["pos_moments"][0].append(["b", "x", [float("nan"), 4]]),
            "a right moment of 'b' lasts from nan to 4",
        ),
        (
            lambda x: x["a"]["pos_moments"][0].append(["b", [0, 4]]),
            "video 'a', sentence 0: not enough values",
        ),
        (
            lambda x: x["a"].update(retrieval_pool=5),
            "video 'a', sentence 0: object of type 'int' has no len()",
        ),
        (
            lambda x: x.update(d=x["c"]),
            "1 of its 4 videos are not among the 5 that are searched, e.g. 'd'",
        ),  # d.mp4 or d.avi
        (lambda x: x["c"].pop("fps"), "video 'c': 'fps' is missing"),
    ],
)
def test_a_file_that_is_not_of_the_form(tmp_path: Path, change: Any, says: str) -> None:
    content = copy.deepcopy(FRAMES)
    change(content)
    with pytest.raises(AnnotationError) as error:
        read_pools(write(tmp_path / "m.json", content), CORPUS)
    assert str(error.value).startswith(str(tmp_path / "m.json"))
    assert says in str(error.value)


def test_the_command(world: Path, command: Command, tmp_path: Path) -> None:
    content = json.loads((world / "train.json").read_text())
    for number, entry in enumerate(content.values()):
        beside = f"v{(number + 1) % 6}"
        entry["retrieval_pool"] = [[f"v{number}", beside]] * 2
        entry["pos_moments"] = [[[beside, "x", [2.0, 8.5]]], []]
    path = write(tmp_path / "m.json", content)
    inputs = ["eval", "--mvmr", path, "--index", world / "collection.mmn"]
    printed = command.ok(*inputs).stdout
    assert (
        "12 queries, each in its pool of 2 videos, score collection, hub correction 0.5 (0 with a smaller "
        "pool left out)" in printed
    )
    blocks = [json.loads(line) for line in command.ok(*inputs, "--json").stdout.splitlines()]
    assert [(block["task"], block["nms"], block["iou"]) for block in blocks] == [
        ("MVMR", n, m) for n in (1, 0.5) for m in IOUS
    ]
    assert all(block["R@1"] <= block["R@50"] for block in blocks)
    command.fails(
        "eval", "--mvmr", world / "train.json", "--index", world / "collection.mmn", says="retrieval_pool"
    )
