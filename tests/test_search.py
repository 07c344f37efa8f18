"""Search against brute force: every moment scored, sorted, and suppressed by a loop that can be checked by
eye.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmn_index import checkpoint
from mmn_index.errors import ConfigError, QueryError
from mmn_index.index import (
    CandidateAbout,
    IndexWriter,
    Manifest,
    MomentIndex,
    Part,
    PlannedVideo,
    Restriction,
    scan,
)
from mmn_index.index.bank import write_bank
from mmn_index.index.scan import Deadline, best_of_all, upper_bounds
from mmn_index.negatives import Bank
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import SCORES, Embeddings, Score
from mmn_index.search import SearchOptions, score_map, search, search_embeddings

GRID = ProposalGrid(16, (7, 4))
DIM = 5


def make_index(
    folder: Path,
    seed: int,
    *,
    videos: int = 12,
    copies: bool = False,
    spread: float = 0.3,
    segments: int = 1,
    durations: Sequence[float] = (30.0,),
    metadata: Sequence[pa.Table | None] | None = None,
    vectors: Sequence[CandidateAbout | None] | None = None,
    bank: Bank | None = None,
) -> MomentIndex:
    """Videos are clouds round a centre; with copies every video stands three times, so that scores tie.

    Durations are taken in turn; metadata and candidate indexes are one a segment.
    """
    rng = np.random.default_rng(seed)
    (folder / "model").mkdir(parents=True)
    manifest = Manifest("f" * 64, None, DIM, GRID, Score(), ())
    root = folder / "index"
    for part, numbers in enumerate(np.array_split(np.arange(videos), segments)):
        planned = [
            PlannedVideo(f"v{number:02d}", None, durations[number % len(durations)]) for number in numbers
        ]
        with IndexWriter(root) as writer:
            segment = writer.segment(GRID, DIM, planned, "test", metadata[part] if metadata else None)
            for number in numbers:
                if not copies or number % 3 == 0:
                    raw = rng.normal(size=(1, 2 * DIM)) + spread * rng.normal(size=(len(GRID), 2 * DIM))
                halves = raw.reshape(-1, 2, DIM)
                segment.add((halves / np.linalg.norm(halves, axis=2, keepdims=True)).reshape(-1, 2 * DIM))
            old = writer.manifest.segments if writer.manifest else ()
            about = write_bank(bank, root) if bank else None
            entry = segment.finish(
                vectors[part] if vectors else None, bank.hubs(segment.embeddings) if bank else None
            )
            writer.publish(replace(manifest, segments=(*old, entry), bank=about), folder / "model")
    return MomentIndex(root)


def brute_force(
    index: MomentIndex,
    queries: Embeddings,
    q: int,
    score: Score,
    options: SearchOptions,
    *,
    allowed: Callable[[int, float, float], bool] = lambda video, start, end: True,
    without: Embeddings | None = None,
) -> list[int]:
    """Rows of the right answer; `allowed` says of a video's number and a moment's seconds whether it may be
    part of it.
    """
    rows = np.arange(len(index.live) * len(GRID))
    c, i = (
        part.double().numpy() @ query[q].double().numpy()
        for part, query in zip(index.embeddings(rows), queries, strict=True)
    )
    spans, videos = index.spans(rows), index.videos_of(rows)
    hubs = score.hub * index.hubs(rows).double().numpy()
    log = score.log(torch.from_numpy(c - hubs), torch.from_numpy(i)).numpy()
    if without is not None:
        c, i = (
            part.double().numpy() @ other[q].double().numpy()
            for part, other in zip(index.embeddings(rows), without, strict=True)
        )
        c -= hubs
        log = log - np.logaddexp(0, score.log(torch.from_numpy(c), torch.from_numpy(i)).numpy() - log)
    kept: list[int] = []
    possible = [
        row for row in rows if index.live[videos[row]] and allowed(int(videos[row]), *spans[row].tolist())
    ]
    for row in sorted(possible, key=lambda row: (-log[row], row)):
        same = [other for other in kept if videos[other] == videos[row]]
        if options.per_video is not None and len(same) >= options.per_video:
            continue
        if all(slow_iou(spans[row], spans[other]) <= options.nms for other in same):
            kept.append(int(row))
        if len(kept) == options.k:
            break
    return kept


def slow_iou(a: np.ndarray, b: np.ndarray) -> np.float32:
    inner = np.maximum(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), np.float32(0))
    return inner / (np.maximum(a[1], b[1]) - np.minimum(a[0], b[0]))


def random_queries(seed: int, count: int) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    return Embeddings(
        *(
            torch.nn.functional.normalize(torch.randn(count, DIM, generator=generator), dim=1)
            for _ in range(2)
        )
    )


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    "options",
    [SearchOptions(), SearchOptions(k=3, nms=1.0), SearchOptions(k=5, nms=0.3, per_video=1)],
    ids=str,
)
def test_the_answer_is_what_scoring_everything_gives(
    tmp_path: Path, name: str, options: SearchOptions, copies: bool
) -> None:
    index = make_index(tmp_path, 1, copies=copies)
    queries = random_queries(2, 20)
    score = Score(name, power=0.5)
    answers = search_embeddings(index, queries, score, options, [f"q{n}" for n in range(20)])
    for q, answer in enumerate(answers):
        assert answer.exact
        assert [hit.row for hit in answer.hits] == brute_force(index, queries, q, score, options)
        assert [hit.rank for hit in answer.hits] == list(range(1, len(answer.hits) + 1))
    if name == "contrastive" and not copies and options.k == 10:
        # The proof is worth something only if it comes without scoring everything.
        assert max(answer.candidates for answer in answers) < index.num_moments


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    power=st.floats(0.1, 8),
    tau=st.floats(0.02, 1),
    k=st.integers(1, 30),
    spread=st.floats(0.0, 2.0),
)
def test_exactness_for_any_parameters(
    tmp_path_factory: pytest.TempPathFactory, seed: int, power: float, tau: float, k: int, spread: float
) -> None:
    index = make_index(tmp_path_factory.mktemp("x"), seed, videos=6, spread=spread)
    queries = random_queries(seed + 1, 2)
    for name in ("product", "collection"):
        score, options = Score(name, power=power, tau=tau), SearchOptions(k=k)
        for q, answer in enumerate(search_embeddings(index, queries, score, options, ["a", "b"])):
            assert [hit.row for hit in answer.hits] == brute_force(index, queries, q, score, options)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 120),
    limit=st.integers(1, 150),
    count=st.integers(1, 6),
    size=st.integers(1, 40),
    levels=st.integers(1, 20),
    cut=st.integers(0, 120),
)
def test_the_scan_keeps_the_best_values_of_all_blocks(
    seed: int, rows: int, limit: int, count: int, size: int, levels: int, cut: int
) -> None:
    """Few levels make ties, of which any may be kept."""
    random = np.random.default_rng(seed)
    embeddings = torch.from_numpy(random.integers(-levels, levels + 1, size=(rows, 2 * DIM)) / levels).half()
    keep = torch.from_numpy(random.random(rows) < 0.8)
    queries, score = random_queries(seed, count), Score("contrastive")
    expected = upper_bounds(embeddings, None, queries, score).masked_fill(~keep, -torch.inf)
    runs = [(0, min(cut, rows)), (min(cut, rows), rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_BLOCK", (size, size))
        values, found = best_of_all(embeddings, None, runs, keep, queries, score, limit, Deadline(None))
    assert values.shape == (count, min(limit, rows))
    assert torch.allclose(values, expected.sort(dim=1, descending=True).values[:, :limit], atol=1e-6)
    for q in range(count):
        there = values[q].isfinite()
        assert torch.allclose(expected[q, found[q, there]], values[q, there], atol=1e-6)
        assert len(set(found[q, there].tolist())) == int(there.sum()) == min(limit, int(keep.sum()))


@pytest.mark.parametrize("vectors", [None, CandidateAbout("IVF2,SQ8", nprobe=2, depth=16, recall=0.9)])
def test_more_moments_wanted_than_there_are(tmp_path: Path, vectors: CandidateAbout | None) -> None:
    index = make_index(tmp_path, 3, videos=2, vectors=[vectors])
    answer = search_embeddings(index, random_queries(0, 1), Score(), SearchOptions(k=10_000, nms=1.0), ["q"])[
        0
    ]
    assert len(answer.hits) == index.num_moments
    assert answer.exact


@pytest.mark.parametrize("bad", [{"k": 0}, {"nms": -0.1}, {"nms": 1.5}, {"per_video": 0}])
def test_options_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(QueryError):
        SearchOptions(**bad)


@torch.inference_mode()
def test_sentences_through_the_model(world: Path) -> None:
    index, model = MomentIndex(world / "collection.mmn"), checkpoint.load(world / "run" / "model")
    sentences = ["a person opens the door", "a person reads a book"]
    both = search(index, model, sentences)
    assert [answer.query for answer in both] == sentences
    for sentence, answer in zip(sentences, both, strict=True):
        alone = search(index, model, [sentence])[0]  # a query does not depend on its batch
        assert [hit.row for hit in alone.hits] == [hit.row for hit in answer.hits]
        hit = answer.hits[0]
        cells = score_map(
            index, model.grid, model.embed_sentences([sentence]), hit.video, index.manifest.score
        )
        assert np.nanmax(cells) == pytest.approx(hit.score, abs=1e-5)  # embedded alone, and as one of two
        assert np.isfinite(cells).sum() == len(model.grid)
    with pytest.raises(QueryError, match="empty"):
        search(index, model, ["  "])


@pytest.mark.parametrize("devices", [("cpu", "cpu"), ("cpu", "cpu", "cpu", "cpu", "cpu")])
@pytest.mark.parametrize("hub", [0.0, 0.5])
def test_shards_answer_as_one(tmp_path: Path, devices: tuple[str, ...], hub: float) -> None:
    bank = Bank(("a", "b", "c"), random_queries(5, 3).contrastive, "csls", 0.1)
    whole = make_index(tmp_path, 1, videos=13, segments=3, copies=True, bank=bank)
    cut, queries = MomentIndex(whole.root, devices), random_queries(2, 7)
    for restriction in (
        Restriction(),
        Restriction(exclude=("v03",), min_length=4.0),
        Restriction(videos=("v00",), after=5.0),
    ):
        options = SearchOptions(k=25, nms=1.0, restriction=restriction)
        one, other = (
            search_embeddings(index, queries, Score(hub=hub), options, [""] * 7) for index in (whole, cut)
        )
        assert [answer.hits for answer in one] == [answer.hits for answer in other]
        assert all(answer.exact for answer in other)


@settings(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.integers(0, 40), max_size=8, unique=True).map(sorted),
    first=st.integers(0, 40),
    last=st.integers(0, 40),
    seed=st.none() | st.integers(0, 100),
)
def test_a_part_of_a_part(edges: list[int], first: int, last: int, seed: int | None) -> None:
    runs = list(zip(edges[::2], edges[1::2], strict=False))
    rows = [row for begin, end in runs for row in range(begin, end)]
    keep = None if seed is None else np.random.default_rng(seed).random(len(rows)) < 0.5
    allowed = [row for n, row in enumerate(rows) if keep is None or keep[n]]
    found = Part(runs, keep, len(allowed), 1).within(first, last)
    numbers = [row for begin, end in found.runs for row in range(begin, end)]
    left = [row for n, row in enumerate(numbers) if found.keep is None or found.keep[n]]
    assert left == [row - first for row in allowed if first <= row < last]
    assert found.count == len(left)


def test_the_scan_looks_at_the_clock_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, now = torch.zeros(40, 2 * DIM).half(), itertools.count()
    monkeypatch.setattr(scan, "_BLOCK", (8, 8))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))  # a second passes between two looks
    arguments = embeddings, None, [(0, 20), (20, 40)], None, random_queries(1, 1), Score("contrastive"), 3
    with pytest.raises(QueryError, match="no answer within 3 s: 20 of 40 moments were scanned"):
        best_of_all(*arguments, Deadline(3))
    assert best_of_all(*arguments, Deadline(6))[0].shape == (1, 3)


def test_a_deadline_that_was_stopped_leaves_no_time() -> None:
    for seconds in (None, 100.0):
        deadline = Deadline(seconds, [("to start", 1.0)])
        left = deadline.left()
        assert left is None if seconds is None else 90 < (left or 0) <= 99
        deadline.stop()
        assert deadline.left() == 0
        assert Deadline(1.0, [("to start", 2.0)]).left() == 0
        with pytest.raises(QueryError, match="told to stop"):
            deadline.check(0, 1)


@pytest.mark.parametrize("count", [2, 9])  # of one product for both spaces, and of two
@pytest.mark.parametrize("hub", [0.0, 0.5])
def test_no_score_of_the_scan_on_a_processor_lies_below_the_exact_one(count: int, hub: float) -> None:
    """Rounding is allowed for: the float32 products alone are below the exact ones about half of the time."""
    made = torch.randn(2, count + 5000, 64, generator=torch.Generator().manual_seed(count))
    queries, rows = (torch.nn.functional.normalize(x, dim=2) for x in made.split([count, 5000], dim=1))
    both, stored = Embeddings(*queries), rows.transpose(0, 1).reshape(5000, 128).half()
    hubs = torch.rand(5000, generator=torch.Generator().manual_seed(1)) if hub else None
    found = upper_bounds(stored, hubs, both, Score("contrastive", hub=hub)).double()
    exact = both.contrastive.double() @ stored[:, :64].double().T
    exact = exact if hubs is None else exact - hub * hubs.double()
    assert (found >= exact).all()
    assert (found - exact).max() < 2e-5
    plain = both.contrastive @ stored[:, :64].float().T
    assert (plain.double() < both.contrastive.double() @ stored[:, :64].double().T).double().mean() > 0.2


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    index = make_index(tmp_path, 1, videos=2)
    with pytest.raises(ConfigError, match="device 'cuda:97' cannot be used here"):
        MomentIndex(index.root, ("cpu", "cuda:97"))


def test_codes_of_few_lists_are_trained_with_enough_vectors(tmp_path: Path) -> None:
    """A PQ code has 256 words, of which FAISS wants each to have a vector; 4 lists alone ask for 96."""
    about = CandidateAbout("IVF4,PQ5", nprobe=4, depth=400)
    index, queries = make_index(tmp_path, 1, videos=20, vectors=[about]), random_queries(2, 5)
    for q, answer in enumerate(search_embeddings(index, queries, Score(), SearchOptions(), [""] * 5)):
        assert [hit.row for hit in answer.hits] == brute_force(index, queries, q, Score(), SearchOptions())
