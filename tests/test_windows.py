"""Long videos in windows: which there are, and searches of them against one moment at a time.

The index here has videos of one and of many windows, two spaces or one, and vectors of any length up to the
one that its manifest states.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.index_build.candidates import Wish
from mmn_index.index_build.change import compact, remove
from mmn_index.index_build.verify import _lengths, _rows

from mmn_index.clips import snippets_of
from mmn_index.errors import ConfigError, QueryError
from mmn_index.feature_writer import FeatureWriter
from mmn_index.features import FeatureFile
from mmn_index.index import IndexWriter, Manifest, MomentIndex, PlannedVideo, Restriction
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import SearchOptions, search_embeddings, search_like, search_pair_embeddings
from mmn_index.windows import Window, WindowOf, WindowRule

GRID, DIM = ProposalGrid(8, (3, 2)), 5
RULE = WindowRule(16.0)


@settings(deadline=None)
@given(
    duration=st.floats(0.1, 1e4),
    length=st.floats(1, 500),
    start=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_a_moment_of_half_a_window_lies_whole_in_one(
    duration: float, length: float, start: float, share: float
) -> None:
    windows = WindowRule(length).of(duration)
    fine = [window for window in windows if window.length <= length * (1 + 1e-5)] or list(windows)
    lasts = min(share * length / 2, duration)
    begin = start * (duration - lasts)
    slack = 1e-5 * length
    assert any(w.start - slack <= begin and begin + lasts <= w.start + w.length + slack for w in fine)


@settings(deadline=None)
@given(duration=st.floats(0.1, 1e4), length=st.floats(1, 500), coarse=st.booleans())
def test_windows_cover_the_video_and_nothing_else(duration: float, length: float, coarse: bool) -> None:
    windows = WindowRule(length, coarse=coarse).of(duration)
    assert all(w.start >= 0 and w.start + w.length <= duration * (1 + 1e-9) for w in windows)
    levels = sorted({round(w.length, 9) for w in windows})
    if len(windows) == 1:
        assert windows == (Window(0.0, duration),)
        return
    assert duration > length
    if not coarse:
        assert len(levels) == 1
    else:
        assert windows[-1] == Window(0.0, duration)
        assert all(b / a <= 16 * (1 + 1e-6) for a, b in pairwise(levels))  # clips of one, half a window below
    for level in levels:
        own = [w for w in windows if round(w.length, 9) == level]
        assert own[0].start == 0
        assert own[-1].start + own[-1].length == pytest.approx(duration)
        starts = [w.start for w in own]
        assert all(b - a <= level / 2 * (1 + 1e-6) for a, b in pairwise(starts))


def test_a_rule_by_hand() -> None:
    assert WindowRule().of(1e6) == (Window(0.0, 1e6),)
    assert WindowRule(64).of(64) == (Window(0.0, 64),)
    assert WindowRule(30, whole=90).of(90) == (Window(0.0, 90),)
    assert WindowRule(64).of(100) == ((0, 64), (32, 64), (36, 64), (0, 100))
    assert len(WindowRule(64).of(36000)) == 1124 + 140 + 17 + 1  # of 64, 512 and 4,096 seconds, and the whole
    with pytest.raises(ConfigError, match="-1 seconds"):
        WindowRule(-1)


def test_snippets_of_a_window(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.h5", backbone="b", rate=2.0) as writer:
        writer.add("v", np.ones((20, 3), np.float32), duration=10.0, source="/v")
    with FeatureFile(tmp_path / "f.h5") as features:

        def of(start: float, length: float, *, outward: bool = False) -> tuple[int, int]:
            return snippets_of(features, WindowOf("v", 10.0, Window(start, length)), outward=outward)

        assert of(0, 10) == (0, 20)
        assert of(2.5, 5) == (5, 15)
        assert of(2.6, 0.01) == (5, 6)
        assert of(2.6, 5, outward=True) == (5, 16)
        assert of(9.99, 0.01) == (19, 20)


def make(folder: Path, seed: int, spaces: int, longest: float, segments: int = 2) -> MomentIndex:
    rng = np.random.default_rng(seed)
    (folder / "model").mkdir(parents=True)
    score = Score() if spaces == 2 else Score("contrastive")
    manifest = Manifest("f" * 64, None, DIM, GRID, score, (), spaces=spaces, longest=longest)
    durations = [12.0, 40.0, 300.0, 16.0, 77.7]
    for part in range(segments):
        planned = [
            PlannedVideo(f"v{part}{number}", None, seconds, RULE.of(seconds))
            for number, seconds in enumerate(durations)
        ]
        with IndexWriter(folder / "index") as writer:
            segment = writer.segment(GRID, DIM, planned, "test", spaces=spaces)
            for _ in range(segment.windows):
                raw = rng.normal(size=(len(GRID), spaces, DIM)) + rng.normal(size=(1, spaces, DIM))
                raw *= (
                    longest
                    * rng.uniform(0.2, 1, (len(GRID), 1, 1))
                    / np.linalg.norm(raw, axis=2, keepdims=True)
                )
                segment.add(raw.reshape(len(GRID), -1))
            old = writer.manifest.segments if writer.manifest else ()
            writer.publish(replace(manifest, segments=(*old, segment.finish())), folder / "model")
    return MomentIndex(folder / "index")


@pytest.fixture(scope="module", params=[(2, 1.0), (1, 1.5), (1, 40.0)], ids=["two spaces", "one", "long"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MomentIndex:
    return make(tmp_path_factory.mktemp("windows"), 1, *request.param)


def asked(index: MomentIndex, seed: int, count: int = 1) -> Embeddings:
    rng = torch.Generator().manual_seed(seed)
    c, i = (torch.nn.functional.normalize(torch.randn(count, DIM, generator=rng), dim=1) for _ in range(2))
    return Embeddings(c, i if index.manifest.spaces == 2 else i[:, :0])


def everything(index: MomentIndex, query: Embeddings) -> list[tuple[float, int, float, float, int]]:
    """(log score, video, start, end, row) of every moment, one at a time."""
    found, row, number = [], 0, 0
    stored = np.concatenate([segment.embeddings.double().numpy() for segment in index.segments])
    for segment in index.segments:
        for _ in range(segment.entry.videos):
            for window in index.rows.windows_of(number):
                for first, last in GRID.cells.tolist():
                    step = np.float32(window.length)
                    edges = [
                        np.float32(n) * step / np.float32(8) + np.float32(window.start)
                        for n in (first, last + 1)
                    ]
                    c = torch.tensor(stored[row, :DIM] @ query.contrastive[0].double().numpy())
                    i = torch.tensor(
                        stored[row, DIM:] @ query.iou[0].double().numpy() if stored.shape[1] > DIM else 0.0
                    )
                    log = float(index.manifest.score.log(c, i.double()))
                    found.append((log, number, float(edges[0]), float(edges[1]), row))
                    row += 1
            number += 1
    assert row == index.num_moments
    return found


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    inner = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return inner / (max(a[1], b[1]) - min(a[0], b[0]))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 30), nms=st.sampled_from([0.3, 0.5, 1.0]))
def test_a_search_is_what_scoring_everything_gives(index: MomentIndex, seed: int, k: int, nms: float) -> None:
    query = asked(index, seed)
    options = SearchOptions(k=k, nms=nms)
    answer = search_embeddings(index, query, index.manifest.score, options, ["q"])[0]
    assert answer.exact
    kept: list[tuple[float, int, float, float, int]] = []
    for one in sorted(everything(index, query), key=lambda one: (-one[0], one[4])):
        if len(kept) == k:
            break
        if all(o[1] != one[1] or overlap(o[2:4], one[2:4]) <= nms for o in kept):
            kept.append(one)
    assert [hit.row for hit in answer.hits] == [one[4] for one in kept]
    assert [(hit.video, hit.start, hit.end) for hit in answer.hits] == [one[1:4] for one in kept]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), in_order=st.booleans())
def test_pairs_may_lie_in_two_windows(index: MomentIndex, seed: int, in_order: bool) -> None:
    both = asked(index, seed, 2)
    pairs = search_pair_embeddings(index, both, index.manifest.score, in_order, SearchOptions(k=4))
    one, other = (everything(index, Embeddings(*(x[n : n + 1] for x in both))) for n in (0, 1))
    best: dict[int, float] = {}
    for number in range(len(index.live)):
        first = np.array([(a[0], a[3]) for a in one if a[1] == number])
        second = np.array([(b[0], b[2]) for b in other if b[1] == number])
        sums = first[:, :1] + second[:, 0]
        if in_order:
            sums[first[:, 1:] > second[:, 1] + 1e-3] = -np.inf
        best[number] = float(sums.max())
    expected = sorted(best.items(), key=lambda item: -item[1])[:4]
    assert [pair.video for pair in pairs] == [number for number, _ in expected]
    assert [pair.score for pair in pairs] == pytest.approx([score for _, score in expected])
    for pair in pairs:
        assert pair.score == pytest.approx(pair.first[2] + pair.second[2])
        assert not in_order or pair.second[0] >= pair.first[1] - 1.1e-3


def test_one_hit_of_one_long_video_is_found_at_once(index: MomentIndex) -> None:
    """Nobody looks through the whole video for nine more."""
    options = SearchOptions(k=10, per_video=1, restriction=Restriction(videos=("v02",)))
    answer = search_embeddings(index, asked(index, 5), index.manifest.score, options, [""])[0]
    assert (len(answer.hits), answer.exact, answer.rounds) == (1, True, 1)
    assert answer.candidates < answer.moments


def test_restrictions_are_in_seconds_of_the_video(index: MomentIndex) -> None:
    query, score = asked(index, 3), index.manifest.score
    restriction = Restriction(videos=("v02",), after=100.0, before=160.0, min_length=3.0)
    hits = search_embeddings(
        index, query, score, SearchOptions(k=500, nms=1.0, restriction=restriction), [""]
    )[0].hits
    expected = [
        one
        for one in everything(index, query)
        if one[1] == 2 and one[2] >= 100 and one[3] <= 160 and one[3] - one[2] >= 3
    ]
    assert len(expected) > 20
    assert {hit.row for hit in hits} == {one[4] for one in expected}


def test_like_a_moment_of_a_long_video(index: MomentIndex) -> None:
    answer = search_like(index, "v02", 150.0, 154.0, options=SearchOptions(k=20))
    assert answer.exact
    assert all(hit.video != 2 or overlap((hit.start, hit.end), (150.0, 154.0)) < 0.9 for hit in answer.hits)


def test_what_changes_leave(tmp_path: Path) -> None:
    index = make(tmp_path, 5, 1, 1.5)
    query, options = asked(index, 7), SearchOptions(k=20)
    remove(index.root, ["v02", "v10"])
    left = MomentIndex(index.root)
    before = search_embeddings(left, query, left.manifest.score, options, ["q"])[0]
    assert before.moments == index.num_moments - len(index.rows.of(2)) - len(index.rows.of(5))
    compact(index.root, Wish("exact"))
    merged = MomentIndex(index.root)
    after = search_embeddings(merged, query, merged.manifest.score, options, ["q"])[0]
    assert [(h.video_id, h.start, h.end, h.score) for h in after.hits] == [
        (h.video_id, h.start, h.end, h.score) for h in before.hits
    ]
    assert [list(_rows(segment)) for segment in merged.segments] == [[]]
    assert merged.rows.windows_of(merged.number_of("v12")) == [*RULE.of(300.0)]


def test_an_embedding_that_is_too_long_is_found(tmp_path: Path) -> None:
    index = make(tmp_path, 5, 1, 1.5)
    assert not [text for segment in index.segments for text in _lengths(segment, 1)]
    short = make(tmp_path / "b", 5, 1, 1.5)
    short.segments[1].longest = 1.2
    (text,) = [text for segment in short.segments for text in _lengths(segment, 1)]
    assert "has length 1." in text
    assert "expected at most 1.2" in text


@pytest.mark.parametrize("name", ["collection", "product", "iou"])
def test_one_space_has_one_score(tmp_path: Path, name: str) -> None:
    index = make(tmp_path, 5, 1, 1.5)
    with pytest.raises(QueryError, match="has no IoU head, so the only score is 'contrastive'"):
        search_embeddings(index, asked(index, 1), Score(name), SearchOptions(), ["q"])


def test_a_long_video_of_a_trained_model(
    world: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows are as long as the training videos; whatever is shared is found once."""
    from mmn_index import checkpoint

    about = checkpoint.info(world / "run" / "model")
    assert about.durations is not None
    median, longest = about.durations
    assert about.windows == WindowRule(median, 1.5 * longest, coarse=False)
    with FeatureFile(world / "features.h5") as features:
        parts = [features.read(name) for name in features.video_ids]
        rate = len(parts[0]) / float(features.duration(features.video_ids[0]) or 0)
        name = features.backbone or "none"
    long = np.concatenate(parts * 3)
    with FeatureWriter(tmp_path / "long.h5", backbone=name, rate=rate) as writer:
        writer.add("long", long.astype(np.float32), duration=len(long) / rate, source="/long")
    root = tmp_path / "c.mmn"
    command.ok("build", world / "run" / "model", tmp_path / "long.h5", "-o", root)
    index = MomentIndex(root)
    windows = index.rows.windows_of(0)
    assert len(windows) == len(WindowRule(median, coarse=False).of(len(long) / rate)) > 3
    hits = [
        line.split()
        for line in command.ok(
            "search", "a person opens the door", "--index", root, "-k", 50
        ).stdout.splitlines()[1:]
    ]
    assert len(hits) > 10
    command.ok("verify", "--index", root, "--features", tmp_path / "long.h5")
    page = tmp_path / "page.html"
    command.ok("search", "a person opens the door", "--index", root, "--html", page)
    assert "of the window of a long video" in page.read_text()
    command.ok(
        "build", world / "run" / "model", tmp_path / "long.h5", "-o", tmp_path / "d.mmn", "--window", 0
    )
    assert len(MomentIndex(tmp_path / "d.mmn").rows.windows_of(0)) == 1
