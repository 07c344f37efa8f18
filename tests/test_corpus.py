"""Recall over a collection: by hand, against a slow search of everything, and `mmn-index eval --corpus`."""

import json
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import random_index
import torch
from conftest import Command
from golden import golden

from mmn_index.config import PAPER
from mmn_index.errors import AnnotationError, OutputError
from mmn_index.evaluation.annotations import AnnotatedVideo, Annotations, read_annotations
from mmn_index.evaluation.baselines import (
    SameForAll,
    moment_frequency,
    proposal_oracle,
    text_oracle,
    whole_video,
)
from mmn_index.evaluation.corpus import IndexRank, evaluate_sizes, measure, search_tasks
from mmn_index.evaluation.corpus_section import collection_section
from mmn_index.evaluation.folder import write_report
from mmn_index.evaluation.queries import (
    Corpus,
    Queries,
    count_right,
    indexed,
    normalise,
    queries_of,
    tied_videos,
)
from mmn_index.evaluation.recall import Ranked, intervals
from mmn_index.evaluation.report import evaluate_corpus, groups, outcome_records
from mmn_index.evaluation.report_file import Report
from mmn_index.index import MomentIndex, Restriction
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import SearchOptions

GRID = ProposalGrid(4, (3,))  # 8 seconds: [0,2] [0,4] [0,6] [0,8] [2,4] [2,6] [2,8] [4,6] [4,8] [6,8]


def video(
    name: str, *moments: tuple[str, float, float], duration: float = 8.0, labels: Sequence[str] | None = None
) -> AnnotatedVideo:
    spans = torch.tensor([moment[1:] for moment in moments])
    return AnnotatedVideo(
        name,
        duration,
        spans,
        tuple(m[0] for m in moments),
        labels and tuple(labels),
        tuple(range(len(moments))),
    )


def split_of(*videos: AnnotatedVideo) -> Annotations:
    return Annotations(Path("some.json"), videos, 0, 0)


def corpus_of(split: Annotations, *others: str) -> Corpus:
    names = [one.video_id for one in split.videos] + list(others)
    return Corpus(dict(enumerate(names)), dict.fromkeys(range(len(names)), 8.0), GRID)


TWO = split_of(
    video("a", ("A door opens.", 0, 4), ("she sits", 4, 8), labels=["open", "sit"]),
    video("b", ("a door  opens", 2, 8), ("he sits", 0, 2), labels=["open", "sit"]),
)


class Given:
    """A ranking that is written down: for each task and query the videos and moments, best first."""

    def __init__(self, **answers: Sequence[Sequence[oracle.Moment]]) -> None:
        self.answers, self.asked = answers, []

    def __call__(self, numbers: Sequence[int], options: SearchOptions) -> list[Ranked]:
        task = (
            "VR"
            if options.per_video
            else "SVMR"
            if options.restriction.videos
            else "VCMR_on"
            if options.nms < 1
            else "VCMR"
        )
        self.asked.append((task, options.restriction.videos, options.nms, options.k, list(numbers)))
        found = []
        for number in numbers:
            moments = self.answers.get(task, [[]] * 9)[number]
            spans = torch.tensor([moment[1:] for moment in moments], dtype=torch.float32).reshape(-1, 2)
            videos = torch.tensor([moment[0] for moment in moments], dtype=torch.int64)
            found.append(Ranked(videos, spans, torch.zeros(len(moments)), number != 3))
        return found


def test_the_three_tasks_by_hand() -> None:
    corpus = corpus_of(TWO, "c")
    queries = queries_of(TWO, corpus)
    a, b, c = range(3)
    rank = Given(
        # Of a's [0,4]: [0,8] has IoU 1/2, [0,4] has 1. Of a's [4,8]: [4,6] has 1/2, [0,8] too. Of b's [2,8]:
        # [2,8]. b's [0,2]: nothing.
        SVMR=[[(a, 0, 8), (a, 0, 4)], [(a, 4, 6), (a, 0, 8)], [(b, 2, 8)], [(b, 6, 8)]],
        VR=[[(b, 0, 2), (a, 0, 2), (c, 0, 2)], [(a, 0, 2)], [(b, 0, 2)], [(c, 0, 8), (a, 0, 8), (b, 0, 8)]],
        # The first query: c is nobody's; b's [2,8] is the same text and label, at rank 2; its own at rank 3.
        VCMR=[[(c, 0, 4), (b, 2, 8), (a, 0, 4)], [(b, 0, 2)], [(a, 0, 6), (a, 0, 4), (b, 2, 8)], []],
        VCMR_on=[[(b, 2, 8), (a, 0, 4)], [], [], []],
    )
    found = [
        one
        for lists in search_tasks(queries, corpus, rank, nms=0.4)
        for one in measure(lists, queries, corpus)
    ]
    ranks = {(one.task, one.nms, one.right, one.iou): one.ranks.tolist() for one in found}
    none = float("inf")
    for nms in (1.0, 0.4):
        assert ranks["SVMR", nms, "own", 0.5] == [1, 1, 1, none]
        assert ranks["SVMR", nms, "own", 0.7] == [2, none, 1, none]
    assert ranks["VR", None, "own", None] == [2, 1, 1, 3]
    assert ranks["VR", None, "text", None] == [1, 1, 1, 3]  # "a door opens" is of both videos
    assert ranks["VR", None, "label", None] == [1, 1, 1, 2]
    assert ranks["VCMR", 1.0, "own", 0.5] == [3, none, 3, none]
    assert ranks["VCMR", 1.0, "text", 0.5] == [2, none, 1, none]  # a's [0,6] and [0,4]: IoU 2/3
    assert ranks["VCMR", 1.0, "text", 0.7] == [2, none, 2, none]
    assert ranks["VCMR", 1.0, "label", 0.5] == [2, 1, 1, none]
    assert ranks["VCMR", 0.4, "own", 0.5] == [2, none, none, none]
    assert len(ranks) == 2 + 2 + 3 + 2 * 6
    by_name = {(one.task, one.nms, one.right, one.iou): one for one in found}
    own = by_name["VCMR", 1.0, "own", 0.5]
    assert own.table() == {
        "R@1": 0,
        "R@5": 50,
        "R@10": 50,
        "R@100": 50,
        "MedRank": none,
    }  # the median of 3, 3, inf, inf
    assert own.table(torch.tensor([True, False, True, False]))["MedRank"] == 3
    assert own.exact == 3
    # Both videos have a right moment. First query: b at rank 2, a at 3: (1/2 + 2/3) / 2. Third: a at 1, again
    # at 2, b at 3: (1 + 2/3) / 2.
    precisions = by_name["VCMR", 1.0, "text", 0.5].precisions
    assert precisions is not None
    assert precisions.tolist() == pytest.approx([7 / 12, 0, 5 / 6, 0])
    # What was asked for: each video's queries alone, without and with NMS; one moment a video, of no more
    # videos than there are.
    assert [asked[:2] for asked in rank.asked[:4]] == [("SVMR", ("a",)), ("SVMR", ("b",))] * 2
    assert [asked[2:] for asked in rank.asked[:4]] == [
        (n, 100, q) for n in (1.0, 0.4) for q in ([0, 1], [2, 3])
    ]
    assert rank.asked[4] == ("VR", None, 1.0, 3, [0, 1, 2, 3])
    assert [asked[:4] for asked in rank.asked[5:]] == [("VCMR", None, 1.0, 100), ("VCMR_on", None, 0.4, 100)]


def test_intervals_are_over_wordings_not_over_queries() -> None:
    """Nine queries of one wording are one draw."""
    videos = (
        video(f"{n}", ("a door opens" if n < 9 else f"somebody does {n}", 0, 4), labels=["x"])
        for n in range(12)
    )
    split = split_of(*videos)
    corpus = corpus_of(split)
    queries = queries_of(split, corpus)
    assert queries.clusters.tolist() == [0] * 9 + [1, 2, 3]
    answers = [[(n, 0, 4) if n % 2 else (n, 4, 8)] for n in range(12)]
    rank = Given(SVMR=answers, VR=answers, VCMR=answers, VCMR_on=answers)
    found = [one for lists in search_tasks(queries, corpus, rank) for one in measure(lists, queries, corpus)]
    records = outcome_records("exact scan", found, queries, corpus, resample=True)
    differ = 0
    for record, one in zip(records, found, strict=True):
        expected, as_single = (
            (100 * intervals(one.values, clusters)).tolist()
            for clusters in (queries.clusters, torch.arange(12))
        )
        assert list(record["interval"].values()) == [[round(x, 3) for x in ends] for ends in expected]
        differ += expected != as_single
    assert differ > 5


def test_chance_by_hand() -> None:
    corpus = corpus_of(TWO, "c")
    queries = queries_of(TWO, corpus)
    # Of the ten moments of 8 seconds, an IoU of 1/2 with [0,4] have [0,2] [0,4] [0,6] [0,8] [2,4]; with [2,8]
    # there are [2,6] [2,8] [4,8] [0,8] [0,6]; with [4,8], as with [0,4], five; with [0,2] two, itself and
    # [0,4].
    counts = count_right(queries.right["own"], corpus, 0.5)
    assert counts.tolist() == [5, 5, 5, 2]
    assert count_right(queries.right["text"], corpus, 0.5).tolist() == [10, 5, 10, 2]
    lists = search_tasks(queries, corpus, Given(), nms=1.0)
    chance = {
        (one.task, one.right, one.iou): one.chance()["R@1"]
        for at in lists
        for one in measure(at, queries, corpus)
    }
    assert chance["SVMR", "own", 0.5] == pytest.approx(100 * 17 / 4 / 10)
    assert chance["VR", "own", None] == pytest.approx(100 / 3)
    assert chance["VR", "text", None] == pytest.approx(100 * (2 + 1 + 2 + 1) / 4 / 3)
    assert chance["VCMR", "own", 0.5] == pytest.approx(100 * 17 / 4 / 30)
    assert chance["VCMR", "text", 0.5] == pytest.approx(100 * 27 / 4 / 30)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Queries, MomentIndex, Embeddings]:
    """25 videos of random embeddings, two of them without queries, in which texts and labels repeat."""
    random = np.random.default_rng(3)
    videos = []
    for number in range(25):
        duration = 20.0 + number
        ends = np.sort(random.uniform(0, duration, (4, 2)), axis=1).tolist()
        moments = [(f"Text {random.integers(12)}{'.' * (number % 2)}", *span) for span in ends]
        videos.append(
            video(
                f"v{number}",
                *moments,
                duration=duration,
                labels=[random.choice(["x", "y", "z"]) for _ in moments],
            )
        )
    root = tmp_path_factory.mktemp("small") / "c.mmn"
    random_index.write_index(root, split_of(*videos), ProposalGrid(8, (3, 2)), 4)
    index = MomentIndex(root)
    queries = queries_of(split_of(*videos[2:]), indexed(index))
    return queries, index, random_index.queries(len(queries), 4)


def slow_lists(
    index: MomentIndex, score: Score, both: Embeddings, query: int, nms: float, only: int | None
) -> list[oracle.Moment]:
    """All moments of the index, or of one video, in the order of their scores, after NMS; one at a time."""
    stored = index.segments[0].embeddings.double()
    c, i = (stored[:, half * 4 : half * 4 + 4] @ x[query].double() for half, x in enumerate(both))
    scores, spans = score.log(c, i).tolist(), index.spans(np.arange(len(stored)))
    kept: list[oracle.Moment] = []
    for row in sorted(range(len(scores)), key=lambda row: -scores[row]):
        moment = (row // len(index.manifest.grid), *spans[row])
        if only is not None and moment[0] != only:
            continue
        if not any(
            moment[0] == better[0] and oracle.iou(moment[1:], better[1:]) > np.float32(nms) for better in kept
        ):
            kept.append(moment)
    return kept


def test_a_slow_search_of_everything_gives_the_same_numbers(
    small: tuple[Queries, MomentIndex, Embeddings],
) -> None:
    queries, index, both = small
    score = Score("collection", tau=0.1)
    corpus = indexed(index)
    found = [
        one
        for lists in search_tasks(queries, corpus, IndexRank(index, both, score), nms=0.5)
        for one in measure(lists, queries, corpus)
    ]
    assert {(one.task, one.nms, one.right) for one in found} == {
        ("SVMR", 1.0, "own"),
        ("SVMR", 0.5, "own"),
        *(("VR", None, right) for right in ("own", "text", "label")),
        *(("VCMR", nms, right) for nms in (1.0, 0.5) for right in ("own", "text", "label")),
    }
    right = {
        kind: [
            [(int(v), *span) for v, span in zip(one.videos, one.spans.tolist(), strict=True)] for one in ones
        ]
        for kind, ones in queries.right.items()
    }
    for query in range(0, len(queries), 3):
        for nms in (1.0, 0.5):
            own = int(queries.videos[query])
            everywhere, within = (
                slow_lists(index, score, both, query, nms, only)[:100] for only in (None, own)
            )
            for one in found:
                if one.task == "VR" or one.nms != nms:
                    continue
                answer, wanted = (within if one.task == "SVMR" else everywhere), right[one.right][query]
                assert float(one.ranks[query]) == oracle.first_rank(answer, wanted, one.iou)
                if one.precisions is not None:
                    assert float(one.precisions[query]) == pytest.approx(
                        oracle.average_precision(answer, wanted, one.iou)
                    )
        order = list(dict.fromkeys(moment[0] for moment in slow_lists(index, score, both, query, 1.0, None)))
        for one in found:
            if one.task == "VR":
                assert float(one.ranks[query]) == 1 + min(
                    order.index(moment[0]) for moment in right[one.right][query]
                )
    assert all(one.exact == len(queries) for one in found)


def test_parts_of_the_collection_lie_inside_each_other(
    small: tuple[Queries, MomentIndex, Embeddings],
) -> None:
    queries, index, both = small
    corpus, asked = indexed(index), []
    inner = IndexRank(index, both, Score())

    def rank(numbers: Sequence[int], options: SearchOptions) -> list[Ranked]:
        asked.append(
            (
                options.nms,
                set(options.restriction.videos or ()),
                {corpus.ids[int(queries.videos[n])] for n in numbers},
            )
        )
        return inner(numbers, options)

    points = evaluate_sizes(queries, corpus, rank, nms=0.5)
    assert [(point.videos, point.moments) for point in points] == [(12, 12 * 29)]
    assert len(corpus.ids) == 25
    assert len(index.manifest.grid) == 29
    assert points[0].queries == 4 * 12  # the two videos without queries went first
    assert [nms for nms, _, _ in asked] == [1.0, 0.5]
    assert all(len(part) == 12 and own == part for _, part, own in asked)
    chance = points[0].outcomes[0].chances
    whole = next(
        one
        for at in search_tasks(queries, corpus, inner, nms=1.0, tasks=["VCMR"])
        for one in measure(at, queries, corpus)
    )
    assert chance is not None
    assert whole.chances is not None
    assert float(chance[:, 0].mean()) > 1.5 * float(whole.chances[:, 0].mean())


def test_baselines_by_hand() -> None:
    corpus = corpus_of(TWO, "c")
    weights = moment_frequency(TWO, GRID)
    # [0,4] [4,8] [2,8] [0,2] once each, in the order of the map: [0,2] [0,4] [2,8] [4,8] are numbers 0, 1, 6,
    # 8.
    assert weights.tolist() == [1, 1, 0, 0, 0, 0, 1, 0, 1, 0]
    rank = SameForAll(corpus, GRID, weights)
    first, second = rank([0, 1], SearchOptions(k=7, nms=1.0))
    assert first.spans.tolist() == [[0, 2]] * 3 + [[0, 4]] * 3 + [[2, 8]]
    assert sorted(first.videos[:3].tolist()) == sorted(first.videos[3:6].tolist()) == [0, 1, 2]
    assert (
        first.videos.tolist() == rank([0], SearchOptions(k=7, nms=1.0))[0].videos.tolist()
    )  # the same order in every run
    assert any(
        rank([n], SearchOptions(k=3))[0].videos.tolist() != second.videos[:3].tolist() for n in range(2, 9)
    )
    within = rank([2], SearchOptions(k=100, nms=0.4, restriction=Restriction(videos=("b",))))[0]
    assert set(within.videos.tolist()) == {1}
    # NMS 0.4 over [0,2] [0,4] [2,8] [4,8] and the rest in the order of the map: [0,4] has 1/2 with [0,2];
    # [4,8] has 2/3 with [2,8].
    assert within.spans[:2].tolist() == [[0, 2], [2, 8]]
    assert len(rank([0], SearchOptions(k=100, per_video=1))[0].videos) == 3
    whole = SameForAll(corpus, GRID, whole_video(GRID))([0], SearchOptions(k=100))[0]
    assert whole.spans.tolist() == [[0, 8]] * 3


def test_ceilings_by_hand() -> None:
    split = split_of(video("a", ("x", 0, 4), ("y", 0.0, 0.5)), video("b", ("X.", 2, 6), ("z", 0, 8)))
    corpus = corpus_of(split)
    queries = queries_of(split, corpus)
    assert proposal_oracle(queries, corpus, 0.5) == 0.75  # [0, 0.5] has 1/4 with [0,2] at best
    assert tied_videos(queries).tolist() == [2, 1, 2, 1]
    assert text_oracle(queries) == 0.75  # (1/2 + 1 + 1/2 + 1) / 4


@pytest.mark.parametrize(
    ("name", "file", "shared", "ceiling"),
    [
        ("charades", "charades_test.json", 32.6, 76.8),
        ("activitynet", "test.json", 1.7, 98.9),
        ("tacos", "test.json", 20.6, 85.2),
    ],
)
def test_the_ambiguity_of_the_benchmarks(name: str, file: str, shared: float, ceiling: float) -> None:
    split = read_annotations(golden("..", "annotations", name, file))
    grid = ProposalGrid(PAPER[name].num_clips, PAPER[name].pooling_counts)
    corpus = Corpus(
        {n: v.video_id for n, v in enumerate(split.videos)},
        {n: v.duration for n, v in enumerate(split.videos)},
        grid,
    )
    queries = queries_of(split, corpus)
    assert round(100 * float((tied_videos(queries) > 1).double().mean()), 1) == shared
    assert round(100 * text_oracle(queries), 1) == ceiling
    # Share of queries that some proposal meets at 0.5 and 0.7, counted once more without this project's
    # arithmetic.
    expected = {"charades": (100.0, 99.6), "activitynet": (98.9, 97.3), "tacos": (97.2, 90.1)}[name]
    assert tuple(round(100 * proposal_oracle(queries, corpus, m), 1) for m in (0.5, 0.7)) == expected


def test_texts_are_normalised() -> None:
    assert normalise("  A  door\topens . ") == "a door opens"
    assert normalise("he says 'hi'!") == "he says 'hi"
    assert normalise(string.punctuation) == ""


def test_groups_cover_the_split_once() -> None:
    moments = [(" ".join(["word"] * (1 + n % 6)), 0.0, 1.0 + n) for n in range(7)]
    split = split_of(video("a", *moments))
    found = groups(queries_of(split, corpus_of(split)), {"Word word."})
    masks = {
        name.split()[0]: [mask for other, mask in found.items() if other.split()[0] == name.split()[0]]
        for name in found
    }
    assert [int(mask.sum()) for mask in masks["moments"]] == [3, 2, 2]  # lengths 1 to 7, cut at 3 and 5
    assert list(found)[:3] == ["moments up to 3 s", "moments above 3, up to 5 s", "moments above 5 s"]
    for kind in ("moments", "queries"):
        assert torch.stack(masks[kind]).sum(dim=0).tolist() == [1] * 7
    assert found["seen wordings"].tolist() == [False, True, False, False, False, False, False]
    assert torch.equal(found["unseen wordings"], ~found["seen wordings"])


def test_videos_that_are_not_indexed_are_named(small: tuple[Queries, MomentIndex, Embeddings]) -> None:
    with pytest.raises(
        AnnotationError,
        match=r"some.json: 1 of its 1 videos are not among the 25 that are searched, e.g. 'other'",
    ):
        queries_of(split_of(video("other", ("x", 0, 4))), indexed(small[1]))


def test_the_report_agrees_with_itself(
    small: tuple[Queries, MomentIndex, Embeddings], tmp_path: Path
) -> None:
    queries, index, both = small
    corpus = indexed(index)
    train = split_of(video("t", ("text 3", 0, 4)))
    result = evaluate_corpus(
        queries, corpus, IndexRank(index, both, Score()), nms=0.4, candidates=True, train=train
    )
    section = collection_section("of 25 videos", result, queries, corpus, digest="d", scope={})
    report = Report("what fits", (section,), {"evaluated": {"index": "small"}})
    write_report(tmp_path / "out", report)
    assert (tmp_path / "out" / "report.html").read_text().count("<svg ") == 2
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["sections"][0]["records"] == result.records
    for one in written["sections"][0]["metrics"]:
        assert sum(one["values"]) / len(queries) == pytest.approx(one["value"], abs=1e-5)
    exact = [one for one in result.records if one["part"] == "exact scan"]
    own = next(
        one
        for one in exact
        if (one["task"], one["right"], one["nms"], one["iou"]) == ("VCMR", "own", 0.4, 0.5)
    )
    text = (tmp_path / "out" / "report.md").read_text()
    low, high = own["interval"]["R@10"]
    assert low <= own["R@10"] <= high
    assert f"{own['R@10']:.1f} [{low:.1f}, {high:.1f}]" in next(
        x for x in text.splitlines() if x.startswith("| VCMR | 0.4 | own | 0.5")
    )
    # The index has no candidate index here: both ways are the same scan.
    plain = [
        {key: one[key] for key in one if key not in ("part", "interval")}
        for one in exact
        if one["task"] != "SVMR"
    ]
    assert plain == [
        {key: one[key] for key in one if key != "part"}
        for one in result.records
        if one["part"] == "candidate index"
    ]
    with pytest.raises(OutputError, match="Choose another place"):
        write_report(tmp_path / "out" / "report.md", report)


def test_the_command(world: Path, lively: Path, command: Command, tmp_path: Path) -> None:
    inputs = ["eval", "--corpus", "--index", world / "collection.mmn", "--annotations", world / "train.json"]
    short = command.ok(*inputs, "--seen", world / "train.json").stdout.splitlines()
    assert len(short) <= 14  # what matters fits on half a screen
    assert "12 queries in " in short[1]
    assert [line.split()[0] for line in short[4:-1]] == ["task", "SVMR", "VR", "VCMR", "VCMR", "VCMR"]
    assert short[-1].endswith("--all prints every table.")
    printed = command.ok(*inputs, "--seen", world / "train.json", "-o", tmp_path / "out", "--all").stdout
    assert printed.startswith("\n12 queries in ")
    assert "score collection" in printed.splitlines()[1]
    assert [line for line in printed.splitlines() if line.startswith("VCMR  off  label  0.5")]
    assert "moment-frequency prior" in printed
    assert "seen wordings" in printed
    about = json.loads((tmp_path / "out" / "report.json").read_text())["evaluated"]
    assert (about["score"]["name"], about["score"]["hub"]) == ("collection", 0.5)
    assert about["index version"] == 1
    blocks = [
        json.loads(line)
        for line in command.ok(*inputs, "--score", "product", "--nms", 1, "--json").stdout.splitlines()
    ]
    assert all(block["scope"] == "corpus" and block["score"] == "product" for block in blocks)
    assert {block.get("nms") for block in blocks} == {None, 1.0}  # measured once
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"elsewhere": {"duration": 4, "timestamps": [[0, 2]], "sentences": ["x"]}}))
    command.fails(*inputs[:-1], other, says="has none of the 1 videos of")
    command.fails(*inputs, "--score", "best", says="no score is called 'best'")
    bankless = [
        "eval",
        "--corpus",
        "--index",
        lively / "collection.mmn",
        "--annotations",
        world / "train.json",
    ]
    command.fails(*bankless, "--hub", 0.5, says="has no bank of sentences")
    command.fails(
        "eval",
        "--corpus",
        "--index",
        tmp_path / "none",
        "--annotations",
        world / "train.json",
        says="does not exist",
    )
    for wrong, says in (
        ([], "Give an INDEX or a MODEL"),
        (["--corpus"], "Missing option '--annotations'"),
        (["-o", tmp_path], "Give an INDEX or a MODEL"),
        (["--corpus", "--dataset", "charades", "--assert-within", 1], "give a MODEL"),
        ([world, "--index", world], "--index is searched by --corpus and --mvmr"),
        ([world / "collection.mmn", "--index", world], "is an index already: leave out --index"),
        ([world / "run" / "model", "--write-predictions", "p"], "would keep the results of --corpus"),
        (["--compare", "a", "b", "--nms", 0.5], "leave out --nms"),
    ):
        result = command.run("eval", *wrong)
        assert result.exit_code == 2, result.output
        assert says in result.stderr


def test_a_candidate_index_is_measured_beside_the_scan(world: Path, command: Command, tmp_path: Path) -> None:
    command.ok(
        "build",
        world / "run" / "model",
        world / "features.h5",
        "-o",
        tmp_path / "c.mmn",
        "--vectors",
        "IVF4,SQ8",
    )
    inputs = ["eval", "--corpus", "--index", tmp_path / "c.mmn", "--annotations", world / "train.json"]
    blocks = [json.loads(line) for line in command.ok(*inputs, "--json").stdout.splitlines()]
    parts = {
        part: [one for one in blocks if one["part"] == part] for part in ("exact scan", "candidate index")
    }
    assert all(one["proven exact"] == 12 for one in parts["exact scan"])
    assert [one["task"] for one in parts["candidate index"]] == [
        one["task"] for one in parts["exact scan"] if one["task"] != "SVMR"
    ]
    assert any(
        line.endswith("of 12")
        for line in command.ok(*inputs, "--all")
        .stdout.partition("Exact scan / candidate index:")[2]
        .splitlines()
    )


def test_removed_videos_are_no_part_of_the_collection(small: tuple[Queries, MomentIndex, Embeddings]) -> None:
    index = small[1]
    entry = replace(index.manifest.segments[0], removed=(1, 4))
    less = indexed(MomentIndex.of(index.root, replace(index.manifest, segments=(entry,))))
    assert sorted(less.ids) == [n for n in range(25) if n not in (1, 4)]
    assert less.numbers["v5"] == 5
