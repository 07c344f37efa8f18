"""A score and confidences fitted on validation sentences, and what a search makes of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, write_annotations, write_features
from mmn_index.index_build.calibration import Tried, chosen

from mmn_index import checkpoint, negatives
from mmn_index.confidence import QUANTITIES, Calibration
from mmn_index.errors import QueryError
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.evaluation.queries import indexed, queries_of
from mmn_index.evaluation.refusal import (
    Judged,
    absent_hits,
    best_confidence,
    confidence_records,
    present_hits,
    refused_at,
    wordings,
)
from mmn_index.evaluation.tables import confidence_table
from mmn_index.index import MomentIndex, Restriction
from mmn_index.model import MMN
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import SearchOptions, evidence, rounds, search, search_embeddings

QUERY = "a person opens the door"


@pytest.fixture(scope="module")
def folder(lively: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index that has a bank, and validation videos that it does not have."""
    folder = tmp_path_factory.mktemp("calibration")
    write_annotations(folder / "train.json", 6)
    write_annotations(folder / "val.json", 8, prefix="w")
    write_features(folder / "val.h5", 8, prefix="w", seed=5)
    command.ok(
        "build",
        lively / "model",
        lively / "features.h5",
        "--bank",
        folder / "train.json",
        "-o",
        folder / "plain.mmn",
    )
    return folder


@pytest.fixture(scope="module")
def calibrated(folder: Path, command: Command) -> Path:
    root = Path(shutil.copytree(folder / "plain.mmn", folder / "calibrated.mmn"))
    said = command.ok("calibrate", folder / "val.h5", "--index", root, "--annotations", folder / "val.json")
    assert "average precision" in said.stdout
    assert "--min-confidence" in said.stderr
    return root


@pytest.fixture(scope="module")
def model(lively: Path) -> MMN:
    return checkpoint.load(lively / "model")


def every_score(index: MomentIndex, model: MMN, sentence: str, score: Score) -> np.ndarray:
    """(n,) float64: the logarithmic score of every moment, in NumPy."""
    q = [x[0].double().numpy(force=True) for x in model.embed_sentences([sentence])]
    rows = np.arange(index.num_moments)
    c, i = ((index.embeddings(rows)[space].double().numpy() @ q[space]) for space in (0, 1))
    c = c - score.hub * index.hubs(rows).double().numpy()
    found: np.ndarray = score.weight * c / score.tau - np.log1p(np.exp(-10 * i))
    return found


def test_quantities_are_what_their_formulas_say(calibrated: Path, model: MMN) -> None:
    index = MomentIndex(calibrated)
    answer = search(index, model, [QUERY], options=SearchOptions(k=6, exact=True))[0]
    assert answer.evidence is not None
    assert answer.evidence.error == 0  # so few moments that all are scored
    found = dict(zip(QUANTITIES, answer.evidence.quantities.T.numpy(), strict=True))
    f = every_score(index, model, QUERY, index.manifest.score)
    assert found["score"] == pytest.approx(f[[hit.row for hit in answer.hits]])
    assert found["total"] == pytest.approx(np.log(np.exp(f).mean()))
    assert index.bank is not None
    bank = index.bank.contrastive.double().numpy()
    query = model.embed_sentences([QUERY]).contrastive[0].double().numpy(force=True)
    assert found["familiarity"] == pytest.approx((bank @ query).max())

    def described(row: int) -> tuple[float, float]:
        logits = bank @ index.embeddings(np.array([row])).contrastive[0].double().numpy() / 0.1
        share = np.exp(logits) / np.exp(logits).sum()
        return float(share @ (bank @ query)), float(np.log(np.exp(logits).mean()))

    assert found["agreement"] == pytest.approx([described(hit.row)[0] for hit in answer.hits])
    best = sorted(
        (int(rows[f[rows].argmax()]) for rows in map(index.rows_of, range(6))), key=lambda row: -f[row]
    )[:5]
    assert found["consensus"] == pytest.approx(np.mean([described(row)[0] for row in best]))
    assert found["rival"] == pytest.approx(np.mean([described(row)[1] for row in best]))


def test_the_sum_over_a_collection_is_estimated_within_its_error(
    lively: Path, model: MMN, command: Command, tmp_path: Path
) -> None:
    write_features(tmp_path / "f.h5", 300, seed=3)
    command.ok(
        "build", lively / "model", tmp_path / "f.h5", "-o", tmp_path / "c.mmn", "--vectors", "IVF16,Flat"
    )
    command.ok("remove", "v7", "v11", "--index", tmp_path / "c.mmn")
    index = MomentIndex(tmp_path / "c.mmn")
    sentences = [
        QUERY,
        "a person closes the door",
        "a person reads a book",
        "a person sits down",
        "the book runs",
    ]
    gone = index.live.repeat(len(index.manifest.grid))
    for restriction in (Restriction(), Restriction(exclude=("v3", "v5"))):
        for exact in (False, True):
            options = SearchOptions(k=1, evidence=True, exact=exact, restriction=restriction)
            for sentence, answer in zip(
                sentences, search(index, model, sentences, options=options), strict=True
            ):
                q = [x[0].double().detach() for x in model.embed_sentences([sentence])]
                rows = np.flatnonzero(gone)
                rows = rows[~np.isin(index.videos_of(rows), [3, 5])] if restriction else rows
                f = index.manifest.score.log(
                    *(x.double() @ y for x, y in zip(index.embeddings(rows), q, strict=True))
                )
                full = float(f.logsumexp(0) - np.log(len(rows)))
                assert answer.evidence is not None
                assert answer.moments == len(rows)
                assert abs(float(answer.evidence.quantities[0, 1]) - full) <= answer.evidence.error + 1e-6
                assert answer.evidence.error < 1


def test_what_of_a_sample_is_known() -> None:
    random = np.random.default_rng(0)
    for size in (0, 1, 5, 30):
        rows = np.sort(random.choice(40, size, replace=False))
        known, scored = random.integers(50, size=(3, 12)), random.random((3, 12)) < 0.7
        expected = [[row in one[there] for row in rows] for one, there in zip(known, scored, strict=True)]
        assert evidence._among(rows, known, scored).tolist() == expected


@pytest.mark.parametrize("restriction", [Restriction(), Restriction(exclude=("v2",))], ids=["all", "a part"])
def test_sentences_together_have_the_evidence_of_each_alone(
    calibrated: Path, model: MMN, monkeypatch: pytest.MonkeyPatch, restriction: Restriction
) -> None:
    monkeypatch.setattr(rounds, "_DEPTH", 24)  # so that most moments are known from a sample only
    monkeypatch.setattr(negatives, "_BLOCK", 7)
    index = MomentIndex(calibrated)
    sentences = [QUERY, "a person closes the door", "a person sits down", "the book runs"]
    queries = model.embed_sentences(sentences)
    score, options = index.manifest.score, SearchOptions(k=4, restriction=restriction)
    together = search_embeddings(index, queries, score, options, sentences)
    assert any(answer.evidence is not None and answer.evidence.error > 0 for answer in together)
    for number, answer in enumerate(together):
        own = Embeddings(*(x[number : number + 1] for x in queries))
        alone = search_embeddings(index, own, score, options, sentences[number : number + 1])[0]
        assert answer.evidence is not None
        assert alone.evidence is not None
        assert answer.evidence.quantities.numpy() == pytest.approx(
            alone.evidence.quantities.numpy(), abs=1e-7
        )
        assert answer.evidence.error == pytest.approx(alone.evidence.error, abs=1e-7)
        assert [hit.row for hit in answer.hits] == [hit.row for hit in alone.hits]
        assert [hit.confidence for hit in answer.hits] == pytest.approx(
            [hit.confidence for hit in alone.hits]
        )


def test_a_search_has_confidences(calibrated: Path, model: MMN, command: Command) -> None:
    index = MomentIndex(calibrated)
    answer = search(index, model, [QUERY])[0]
    assert answer.evidence is not None
    assert index.manifest.calibration is not None
    expected = index.manifest.calibration(answer.evidence.quantities).tolist()
    assert [hit.confidence for hit in answer.hits] == pytest.approx(expected)
    printed = command.ok("search", QUERY, "--index", calibrated, "--json").stdout.splitlines()
    assert [json.loads(line)["confidence"] for line in printed] == pytest.approx(expected, rel=1e-9)
    assert "confidence" in command.ok("search", QUERY, "--index", calibrated).stdout.splitlines()[0]


def test_hits_that_are_less_sure_are_left_out(calibrated: Path, model: MMN) -> None:
    index = MomentIndex(calibrated)
    everything = search(index, model, [QUERY])[0].hits
    sure = [hit.confidence or 0.0 for hit in everything]
    middle = sorted(sure)[len(sure) // 2]
    answer = search(index, model, [QUERY], options=SearchOptions(min_confidence=middle))[0]
    assert [hit.row for hit in answer.hits] == [
        hit.row for hit, value in zip(everything, sure, strict=True) if value >= middle
    ]
    assert [hit.rank for hit in answer.hits] == list(range(1, len(answer.hits) + 1))
    assert answer.refused == max(value for value in sure if value < middle)


def test_no_match_says_so(calibrated: Path, command: Command) -> None:
    for arguments in ([], ["--json"]):
        found = command.ok("search", QUERY, "--index", calibrated, "--min-confidence", "1", *arguments)
        assert found.stdout == ""
        assert "no match" in found.stderr


def test_nothing_left_to_search_is_no_match_either(
    calibrated: Path, lively: Path, command: Command, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(calibrated, tmp_path / "c.mmn"))
    for arguments in ([], ["--json"], ["--min-confidence", "0.5"], ["--queries", tmp_path / "two.txt"]):
        (tmp_path / "two.txt").write_text(f"{QUERY}\na person runs\n")
        query = [] if "--queries" in arguments else [QUERY]
        found = command.ok("search", *query, "--index", root, "--after", 9999, *arguments)
        assert "no moment of the index fits what the search is restricted to" in found.stderr
        assert not [line for line in found.stdout.splitlines() if line not in ("", QUERY, "a person runs")]
    command.ok("remove", *MomentIndex(root).video_ids, "--index", root)
    found = command.ok("search", QUERY, "--index", root)
    assert (found.stdout, "is empty: all videos were removed" in found.stderr) == ("", True)


def test_a_search_without_confidences_says_why(calibrated: Path, folder: Path, command: Command) -> None:
    said = "No confidences: they are for one sentence, ranked by the index's own model and score."
    assert said not in command.ok("search", QUERY, "--index", calibrated).stderr
    assert said not in command.ok("search", QUERY, "--index", folder / "plain.mmn", "--hub", 0).stderr
    for other in (["--score", "product"], ["--hub", "0.3"], ["--not", "a person runs"]):
        found = command.ok("search", QUERY, "--index", calibrated, *other)
        assert said in found.stderr
        assert "confidence" not in found.stdout


def test_the_page_shows_confidences(calibrated: Path, folder: Path, command: Command, tmp_path: Path) -> None:
    hits = command.ok(
        "search", QUERY, "--index", calibrated, "--json", "-k", 2, "--html", tmp_path / "p.html"
    ).stdout.splitlines()
    page = (tmp_path / "p.html").read_text()
    for hit in map(json.loads, hits):
        assert f"right with probability {hit['confidence']:.2f}" in page
    command.ok("search", QUERY, "--index", folder / "plain.mmn", "--html", tmp_path / "p.html")
    assert "probability" not in (tmp_path / "p.html").read_text()


def test_confidences_are_refused_where_there_are_none(
    folder: Path, calibrated: Path, command: Command
) -> None:
    command.fails(
        "search",
        QUERY,
        "--index",
        folder / "plain.mmn",
        "--min-confidence",
        "0.5",
        says="no confidences for this search. Run `mmn-index calibrate` first, or leave out --min-confidence.",
    )
    one_sentence = (
        "no confidences for this search. They are for one plain sentence, ranked by the index's own"
    )
    for other in (["--score", "product"], ["--hub", "0.3"], ["--not", "a person runs"]):
        command.fails(
            "search", QUERY, "--index", calibrated, "--min-confidence", "0.5", *other, says=one_sentence
        )
    for other in ("--and", "--then"):
        command.fails(
            "search",
            QUERY,
            "--index",
            calibrated,
            "--min-confidence",
            "0.5",
            other,
            QUERY,
            says="not for pairs",
        )
    with pytest.raises(QueryError, match="from 0 to 1"):
        SearchOptions(min_confidence=1.5)


def test_a_calibrated_index_stays_one_through_changes(
    calibrated: Path, lively: Path, command: Command, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(calibrated, tmp_path / "c.mmn"))
    before = MomentIndex(root).manifest
    command.ok("remove", "v1", "--index", root)
    command.ok("compact", "--index", root)
    after = MomentIndex(root).manifest
    assert (after.score, after.calibration, after.bank) == (before.score, before.calibration, before.bank)
    assert "nothing is wrong" in command.ok("verify", "--index", root).stderr


def test_confidences_alone_leave_the_score(folder: Path, command: Command, tmp_path: Path) -> None:
    root = Path(shutil.copytree(folder / "plain.mmn", tmp_path / "c.mmn"))
    command.ok(
        "calibrate", folder / "val.h5", "--index", root, "--annotations", folder / "val.json", "--keep-score"
    )
    assert MomentIndex(root).manifest.score == MomentIndex(folder / "plain.mmn").manifest.score
    assert MomentIndex(root).manifest.calibration is not None


def test_wrong_input_leaves_the_index(folder: Path, command: Command, tmp_path: Path) -> None:
    root = Path(shutil.copytree(folder / "plain.mmn", tmp_path / "c.mmn"))
    before = (root / "manifest.json").read_bytes()
    write_annotations(tmp_path / "other.json", 3, prefix="nobody")
    run = ["calibrate", folder / "val.h5", "--index", root, "--annotations"]
    command.fails(*run, tmp_path / "other.json", says="nobody0")
    command.fails(*run, tmp_path / "missing.json", says="no such annotation file")
    (tmp_path / "one.json").write_text(
        json.dumps({"w0": json.loads((folder / "val.json").read_text())["w0"]})
    )
    command.fails(*run, tmp_path / "one.json", says="every video has a right answer")
    assert (root / "manifest.json").read_bytes() == before


def test_what_is_absent_is_searched_without_its_videos(folder: Path, calibrated: Path, model: MMN) -> None:
    index = MomentIndex(calibrated)
    split = read_annotations(folder / "train.json")
    corpus = indexed(index)
    queries = queries_of(split, corpus)
    numbers = wordings(queries)
    assert sorted(queries.sentences[number] for number in numbers) == sorted(set(queries.sentences))
    with torch.inference_mode():
        embeddings = model.embed_sentences(queries.sentences)
    absent = absent_hits(index, embeddings, index.manifest.score, queries, corpus, numbers)
    present = present_hits(index, embeddings, index.manifest.score, queries, numbers)
    assert not absent.right.any()
    assert set(present.query.tolist()) == set(numbers)
    assert present.quantities.shape[1] == len(QUANTITIES)


def test_best_confidence_and_threshold_by_hand() -> None:
    # Present searches have 0.9, 0.8, 0.7, 0.2 at best; absent ones 0.75, 0.3, 0.1. To answer three of four,
    # the threshold is 0.7, which refuses two of three; to answer all of them it is 0.2, which refuses one.
    present, absent = torch.tensor([0.9, 0.8, 0.7, 0.2]), torch.tensor([0.75, 0.3, 0.1])
    assert refused_at(present, absent, 0.75) == pytest.approx((0.7, 2 / 3))
    assert refused_at(present, absent, 1.0) == pytest.approx((0.2, 1 / 3))
    quantities = torch.zeros(4, len(QUANTITIES))
    quantities[:, 0] = torch.tensor([0.0, 2.0, 1.0, -1.0])
    judged = Judged(quantities, torch.zeros(4, dtype=torch.bool), torch.tensor([3, 3, 5, 5]))
    one = Calibration(0.0, (1.0, *[0.0] * (len(QUANTITIES) - 1)), 4, 0.0)
    assert best_confidence(judged, one).tolist() == pytest.approx(
        [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))]
    )


def test_the_nearest_of_equally_good_scores_is_chosen() -> None:
    noise = torch.tensor([0.1, -0.1] * 20, dtype=torch.float64)
    own = Score(hub=0.5)
    tried = [
        Tried(Score(hub=0.0), torch.full((40,), 0.2, dtype=torch.float64)),  # clearly worse
        Tried(own, 0.50 + noise),
        Tried(
            Score(hub=0.5, weight=2.0), torch.full((40,), 0.505, dtype=torch.float64)
        ),  # better, by less than the noise
    ]
    assert chosen(tried, own) == own
    tried[2] = Tried(tried[2].score, torch.full((40,), 0.6, dtype=torch.float64))
    assert chosen(tried, own) == tried[2].score


def test_records_of_confidence_by_hand() -> None:
    # One quantity, slope 1: present searches 0 and 1 have their best hits at 2 (right) and 0 (wrong), absent
    # ones at -2 and 1.
    def judged(values: list[float], right: list[bool], query: list[int]) -> Judged:
        quantities = torch.zeros(len(values), len(QUANTITIES))
        quantities[:, 0] = torch.tensor(values)
        return Judged(quantities, torch.tensor(right), torch.tensor(query))

    present = judged([2.0, -1.0, 0.0], [True, False, False], [0, 0, 1])
    absent = judged([-2.0, 1.0], [False, False], [2, 3])
    one = Calibration(0.0, (1.0, *[0.0] * (len(QUANTITIES) - 1)), 5, 0.0)
    *thresholds, about = confidence_records(present, absent, one)
    by_share = {record["answered"]: record for record in thresholds}
    # To answer both, the threshold is sigmoid(0), which refuses the absent search at -2 and not the one at 1.
    assert by_share[95.0]["threshold"] == pytest.approx(0.5)
    assert by_share[95.0]["refused"] == pytest.approx(50)
    # Pairs (present, absent): 2 > -2, 2 > 1, 0 > -2, 0 < 1.
    assert about["area"] == pytest.approx(3 / 4)
    sure = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.0, -2.0, 1.0])))
    errors = [abs(sure[0] - 1), sure[1], sure[2], sure[3], sure[4]]  # five hits in five bins
    assert about["calibration error"] == pytest.approx(np.mean(errors))
    assert [count for _, _, count in about["reliability"]] == [1] * 5
    assert about["curve"][0] == [100, 0]
    assert about["curve"][-1] == [0, 100]


def test_a_threshold_that_is_typed_answers_its_share() -> None:
    about = {"searches": 1, "absent searches": 1, "area": 1.0, "calibration error": 0.0}
    about["calibration error, present alone"] = 0.0
    given = (0.97951, 0.0499999, 0.00012399)
    thresholds = [{"answered": 99.0, "threshold": one, "refused": 50.0} for one in given]
    table = confidence_table([*thresholds, about])
    assert [row[1] for row in table.rows] == ["0.979", "0.0499", "0.000123"]


def test_answers_in_qvhighlights_format_say_how_sure_they_are(
    calibrated: Path, folder: Path, model: MMN, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    split = ["--annotations", folder / "train.json"]
    command.run("eval", "--corpus", "--index", calibrated, *split, "--write-predictions", out)
    row = json.loads(out.read_text().splitlines()[0])
    options = SearchOptions(k=10, nms=0.5, restriction=Restriction(videos=(row["vid"],)), exact=True)
    # The same batch of sentences: the confidences of so few hang on the last bits.
    sentences = [json.loads(line)["query"] for line in out.read_text().splitlines()]
    first = Embeddings(*(x[:1] for x in model.embed_collection(sentences)))
    index = MomentIndex(calibrated)
    best = search_embeddings(index, first, index.manifest.score, options, [""])[0].hits
    assert row["pred_exist_score"] == pytest.approx(max(hit.confidence or 0 for hit in best), rel=1e-3)
    assert [window[2] for window in row["pred_relevant_windows"]] == pytest.approx(
        [hit.score for hit in best]
    )
    found = command.ok("eval", "--metric", "gmr", *split, "--predictions", out, "--json").stdout.splitlines()
    assert json.loads(found[0])["threshold"] == 0.4


def test_a_calibrated_index_is_evaluated_with_its_confidences(
    calibrated: Path, folder: Path, command: Command
) -> None:
    run = ["eval", "--corpus", "--index", calibrated, "--annotations", folder / "train.json"]
    found = [json.loads(line) for line in command.ok(*run, "--json").stdout.splitlines()]
    confidence = [record for record in found if record["part"] == "confidence"]
    assert [record["answered"] for record in confidence if "answered" in record] == [99, 95, 90, 80]
    assert "that answers 95 % of the others" in command.ok(*run, "-o", folder / "results").stdout
    assert "absent refused" in (folder / "results" / "report.md").read_text()
    other = command.ok(*run, "--score", "product", "--json").stdout
    assert '"part": "confidence"' not in other
