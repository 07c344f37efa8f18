"""How many lists and candidates an index is searched with, and where the first tangent plane touches."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmn_index.index_build import candidates
from mmn_index.index_build.candidates import measured_recall, tune
from test_search import make_index, random_queries

from mmn_index.errors import MomentIndexError
from mmn_index.index import CandidateAbout, MomentIndex
from mmn_index.index.manifest import read_manifest
from mmn_index.scoring import Score
from mmn_index.search import Answer, SearchOptions, search_embeddings
from mmn_index.search.ranking import FIRST_POINT
from mmn_index.search.rounds import Rounds

MADE = CandidateAbout("IVF16,SQ8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MomentIndex:
    return make_index(tmp_path_factory.mktemp("tuning"), 1, videos=150, vectors=[MADE])


@pytest.fixture
def tuned(made: MomentIndex, monkeypatch: pytest.MonkeyPatch) -> CandidateAbout:
    monkeypatch.setattr(candidates, "_DEPTHS", (64, 128, 256))
    monkeypatch.setattr(candidates, "_ROUND", 500)
    about = tune(made.root, made.manifest, made.manifest.segments[0]).candidates
    assert about is not None
    return about


def of(made: MomentIndex, about: CandidateAbout) -> MomentIndex:
    entry = replace(made.manifest.segments[0], candidates=about)
    return MomentIndex.of(made.root, replace(made.manifest, segments=(entry,)))


def test_nothing_cheaper_finds_enough(made: MomentIndex, tuned: CandidateAbout) -> None:
    def recall_and_cost(about: CandidateAbout) -> tuple[float, float]:
        index = of(made, about)
        queries = candidates.measuring_queries(index)
        exact, found = (
            candidates._answers(index, queries, SearchOptions(k=10, exact=exact)) for exact in (True, False)
        )
        share = candidates._share(candidates._rows(exact), candidates._rows(found))
        return share, candidates._cost(found, about.nprobe * made.num_moments / 16)

    recall, cost = recall_and_cost(tuned)
    assert recall >= candidates.RECALL
    for depth in (64, 128, 256):
        for nprobe in (4, 8, 16):
            other = recall_and_cost(replace(tuned, nprobe=nprobe, depth=depth))
            assert other[0] < candidates.RECALL or other[1] >= cost, (nprobe, depth)


def test_the_recall_is_that_of_other_queries(made: MomentIndex, tuned: CandidateAbout) -> None:
    index = of(made, tuned)
    assert tuned.recall == measured_recall(index, seed=1)
    chosen_by, recorded_by = (candidates.measuring_queries(index, seed).contrastive for seed in (0, 1))
    assert (chosen_by @ recorded_by.T).max() < 0.999


def test_where_nothing_finds_enough_what_finds_the_most_is_taken(
    made: MomentIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_DEPTHS", (20, 24))
    monkeypatch.setattr(candidates, "RECALL", 1.1)
    about = tune(made.root, made.manifest, made.manifest.segments[0]).candidates
    assert about is not None
    assert about.depth in (20, 24)
    assert about.nprobe >= 4
    assert about.recall is not None
    assert about.recall > 0.5


def test_the_first_plane_touches_where_the_last_hits_lie(made: MomentIndex, tuned: CandidateAbout) -> None:
    index = of(made, tuned)
    queries = candidates.measuring_queries(index)
    answers = search_embeddings(
        index, queries, Score(), SearchOptions(k=10, exact=True), [""] * len(queries.iou)
    )
    rows = np.array([answer.hits[-1].row for answer in answers])
    c, i = (
        (q.double() * m.double()).sum(dim=1).mean()
        for q, m in zip(queries, index.embeddings(rows), strict=True)
    )
    assert tuned.point == pytest.approx((float(c), float(i)), abs=1e-3)
    rounds = Rounds.first(index, 3, 10, index.num_moments, scan=False)
    assert rounds.points.tolist() == [list(tuned.point or ())] * 3
    assert Rounds.first(index, 1, 10, index.num_moments, scan=True).points.tolist() == [list(FIRST_POINT)]


def test_an_answer_does_not_depend_on_what_was_asked_before(made: MomentIndex, tuned: CandidateAbout) -> None:
    index, queries = of(made, replace(tuned, depth=24, nprobe=2)), random_queries(3, 6)

    def ask(number: int) -> list[Answer]:
        own = type(queries)(*(x[number : number + 1] for x in queries))
        return search_embeddings(index, own, Score("product"), SearchOptions(k=10), [""])

    assert any(not answer.exact for answer in ask(0))
    first = [ask(number) for number in range(6)]
    assert [ask(number) for number in reversed(range(6))] == first[::-1]


def test_an_index_without_a_point_opens_and_answers(made: MomentIndex, tuned: CandidateAbout) -> None:
    path = made.root / "manifest.json"
    written = path.read_text(encoding="utf-8")
    try:
        of(made, tuned).manifest.write(made.root)
        assert read_manifest(made.root).segments[0].candidates == tuned
        content = json.loads(path.read_text(encoding="utf-8"))
        for change, damaged in ((None, False), ([0.5], True), ([0.5, float("nan")], True), ("ab", True)):
            about = content["segments"][0]["candidates"]
            if change is None:
                del about["point"]
            else:
                about["point"] = change
            _write(path, content)
            if damaged:
                with pytest.raises(MomentIndexError, match="is damaged"):
                    read_manifest(made.root)
                continue
            index, queries = MomentIndex(made.root), random_queries(4, 5)
            assert index.manifest.segments[0].candidates == replace(tuned, point=None)
            assert (Rounds.first(index, 1, 10, 9, scan=False).points == FIRST_POINT).all()
            with torch.inference_mode():
                for answer in search_embeddings(index, queries, Score(), SearchOptions(), [""] * 5):
                    assert len(answer.hits) == 10
    finally:
        path.write_text(written, encoding="utf-8")


def _write(path: Path, content: dict[str, object]) -> None:
    """With the checksum that belongs to it."""
    from mmn_index.index.manifest import _checksum

    plain = {key: value for key, value in content.items() if key != "checksum"}
    path.write_text(json.dumps({**plain, "checksum": _checksum(plain)}), encoding="utf-8")
