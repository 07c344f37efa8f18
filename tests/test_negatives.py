"""Hubs: h against a loop, searches that correct by it against brute force, and h through every change of an
index.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SENTENCES, Command, write_features
from hypothesis import given, settings
from hypothesis import strategies as st
from mmn_index.index_build.build_plan import DEFAULT_HUB
from mmn_index.index_build.candidates import measured_recall
from mmn_index.index_build.change import remove
from mmn_index.index_build.verify import verify
from test_index import edit
from test_search import DIM, GRID, brute_force, make_index, random_queries

from mmn_index import checkpoint, negatives
from mmn_index import model as mmn
from mmn_index.errors import CheckpointError, ConfigError, MomentIndexError, QueryError
from mmn_index.index import CandidateAbout, MomentIndex, Restriction
from mmn_index.index.bank import read_bank, write_bank
from mmn_index.negatives import KINDS, Bank, make_bank
from mmn_index.scoring import SCORES, Embeddings, Score
from mmn_index.search import SearchOptions, score_map, search, search_embeddings, search_like
from mmn_index.search.pairs import search_pair_embeddings

INVERTED = CandidateAbout("IVF4,SQ8", nprobe=1, depth=16, recall=0.75)


def make_of(sentences: int, kind: str, *, tau: float = 0.1, seed: int = 9) -> Bank:
    return Bank(
        tuple(f"s{n}" for n in range(sentences)), random_queries(seed, sentences).contrastive, kind, tau
    )


def slow_h(moment: np.ndarray, bank: Bank) -> float:
    """By the formulas, in float64."""
    cosines = [
        float(np.dot(moment.astype(np.float64), sentence.double().numpy())) for sentence in bank.contrastive
    ]
    if bank.kind == "csls":
        largest = sorted(cosines)[-bank.neighbours :]
        return sum(largest) / len(largest)
    most = max(cosines)
    return most + bank.tau * float(np.log(sum(np.exp((c - most) / bank.tau) for c in cosines) / len(cosines)))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    moments=st.integers(1, 30),
    sentences=st.integers(1, 40),
    kind=st.sampled_from(KINDS),
    tau=st.sampled_from([1e-3, 0.01, 0.1, 1.0]),
    block=st.integers(1, 100),
)
def test_h_is_what_the_formulas_say(
    seed: int, moments: int, sentences: int, kind: str, tau: float, block: int
) -> None:
    bank = make_of(sentences, kind, tau=tau, seed=seed)
    embeddings = torch.cat(list(random_queries(seed + 1, moments)), dim=1).half()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(negatives, "_BLOCK", block)
        found = bank.hubs(embeddings)
    assert found.dtype == np.float32
    assert found == pytest.approx([slow_h(row[:DIM].numpy(), bank) for row in embeddings], abs=1e-6)


def test_a_bank_is_written_and_read(tmp_path: Path) -> None:
    bank = make_of(7, "csls")
    about = write_bank(bank, tmp_path)
    read = read_bank(tmp_path, about, bank.tau)
    assert torch.equal(read.contrastive, bank.contrastive)
    assert replace(read, contrastive=bank.contrastive) == bank
    assert (about.sentences, [path.name for path in tmp_path.iterdir()]) == (7, [about.file])


def test_sentences_are_embedded_once_each_whatever_the_batch(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoint.load(world / "run" / "model")
    monkeypatch.setattr(mmn, "_AT_ONCE", 2)
    bank = make_bank(model, [*SENTENCES, *SENTENCES[:2]], "softmax", model.config.tau)
    assert bank.sentences == SENTENCES
    with torch.inference_mode():
        assert torch.allclose(bank.contrastive, model.embed_sentences(SENTENCES).contrastive, atol=1e-6)
    assert bank.tau == model.config.tau
    assert make_bank(model, SENTENCES, "csls", 0.1).neighbours == 1  # a third of them


@pytest.mark.parametrize(
    ("sentences", "kind", "error", "says"),
    [
        (["a door"], "best", ConfigError, "softmax and csls"),
        ([], "csls", QueryError, "holds no sentence"),
        (["a", " "], "csls", QueryError, "empty"),
    ],
)
def test_a_bank_that_cannot_be(
    world: Path, sentences: list[str], kind: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        make_bank(checkpoint.load(world / "run" / "model"), sentences, kind, 0.1)


# Searching


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MomentIndex]:
    """By kind of h and of index."""
    folder, found = tmp_path_factory.mktemp("hubs"), {}
    for kind in KINDS:
        bank = make_of(60, kind)
        found[f"{kind} one"] = make_index(folder / f"{kind} one", 1, bank=bank, durations=(30.0, 32.0))
        found[f"{kind} copies"] = make_index(folder / f"{kind} copies", 1, bank=bank, segments=3, copies=True)
        mixed = make_index(
            folder / f"{kind} mixed", 1, bank=bank, segments=3, vectors=[INVERTED, None, INVERTED]
        )
        remove(mixed.root, ["v01", "v06"])
        found[f"{kind} mixed"] = MomentIndex(mixed.root)
    return found


KIND = st.tuples(st.sampled_from(KINDS), st.sampled_from(["one", "copies", "mixed"])).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    kind=KIND,
    hub=st.floats(1e-3, 1),
    name=st.sampled_from(["collection", "contrastive"]),
    tau=st.floats(0.02, 1),
    k=st.integers(1, 40),
    nms=st.sampled_from([0.3, 0.5, 1.0]),
    after=st.sampled_from([None, 6.0]),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 6),
    against=st.booleans(),
)
def test_a_corrected_search_is_what_scoring_everything_gives(
    indexes: dict[str, MomentIndex],
    kind: str,
    hub: float,
    name: str,
    tau: float,
    k: int,
    nms: float,
    after: float | None,
    seed: int,
    count: int,
    against: bool,
) -> None:
    index, queries, score = indexes[kind], random_queries(seed, count), Score(name, tau=tau, hub=hub)
    others = random_queries(seed + 1, count) if against else None
    options = SearchOptions(k=k, nms=nms, restriction=Restriction(after=after), exact=True)
    for q, answer in enumerate(search_embeddings(index, queries, score, options, [""] * count, others)):
        assert answer.exact
        expected = brute_force(
            index,
            queries,
            q,
            score,
            options,
            without=others,
            allowed=lambda video, start, end: after is None or start >= after,
        )
        assert [hit.row for hit in answer.hits] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_correction_changes_answers_and_shows_in_the_score(
    indexes: dict[str, MomentIndex], kind: str
) -> None:
    index, queries = indexes[f"{kind} one"], random_queries(5, 12)
    plain, corrected = (
        search_embeddings(index, queries, Score(hub=hub), SearchOptions(), [""] * 12) for hub in (0.0, 0.7)
    )
    assert (
        sum([h.row for h in a.hits] != [h.row for h in b.hits] for a, b in zip(plain, corrected, strict=True))
        > 6
    )
    # The proof is worth something only if it comes without scoring everything.
    assert min(answer.candidates for answer in corrected) < index.num_moments
    bank = make_of(60, kind)
    for q, answer in enumerate(corrected):
        for hit in answer.hits:
            moment = [part[0].double().numpy() for part in index.embeddings(np.array([hit.row]))]
            c = moment[0] @ queries.contrastive[q].double().numpy() - 0.7 * slow_h(moment[0], bank)
            i = moment[1] @ queries.iou[q].double().numpy()
            assert hit.score == pytest.approx(c / 0.1 - np.log1p(np.exp(-10 * i)), abs=1e-5)  # h is float32
        best = answer.hits[0]
        cells = score_map(
            index, GRID, Embeddings(*(x[q : q + 1] for x in queries)), best.video, Score(hub=0.7)
        )
        assert np.nanmax(cells) == pytest.approx(best.score, abs=1e-9)


@pytest.mark.parametrize("kind", ["softmax mixed", "csls copies"])
def test_pairs_and_moments_alike_are_corrected(indexes: dict[str, MomentIndex], kind: str) -> None:
    index, queries, score = indexes[kind], random_queries(3, 2), Score(hub=0.8)
    numbers = np.flatnonzero(index.live)
    sums = {}
    for number in numbers.tolist():
        rows = index.rows_of(number)
        c, i = (q.double() @ part.double().T for q, part in zip(queries, index.embeddings(rows), strict=True))
        logs = score.log(c - 0.8 * index.hubs(rows).double(), i)
        sums[index.video_id(number)] = float(logs[0].max() + logs[1].max())
    pairs = search_pair_embeddings(index, queries, score, False, SearchOptions(k=4))
    assert [pair.score for pair in pairs] == pytest.approx(sorted(sums.values(), reverse=True)[:4], abs=1e-9)
    assert all(pair.score == pytest.approx(sums[pair.video_id], abs=1e-9) for pair in pairs)
    one, other = (
        search_like(index, "v03", 3.0, 9.0, hub=hub, options=SearchOptions(exact=True)) for hub in (0.0, 1.0)
    )
    assert one.hits != other.hits


@pytest.mark.parametrize("kind", ["softmax mixed", "csls mixed"])
def test_what_a_candidate_index_finds_is_corrected(indexes: dict[str, MomentIndex], kind: str) -> None:
    index, queries, score = indexes[kind], random_queries(8, 6), Score(hub=0.6)
    for q, answer in enumerate(search_embeddings(index, queries, score, SearchOptions(k=5), [""] * 6)):
        assert len(answer.hits) == 5
        for hit in answer.hits:
            c, i = (
                part[0].double() @ x[q].double()
                for part, x in zip(index.embeddings(np.array([hit.row])), queries, strict=True)
            )
            h = index.hubs(np.array([hit.row]))[0].double()
            assert hit.score == pytest.approx(float(score.log(c - 0.6 * h, i)), abs=1e-9)


@pytest.mark.parametrize("factory", ["IVF16,PQ{half}x4fs", "IVF16,SQ8"])
def test_a_candidate_index_finds_as_much_with_the_correction(tmp_path: Path, factory: str) -> None:
    """Its vectors hold h: the inner product that it looks for is the corrected one."""
    about = CandidateAbout(factory.format(half=DIM + 1), nprobe=16, depth=512)
    index = make_index(tmp_path, 3, videos=60, spread=0.6, bank=make_of(200, "csls"), vectors=[about])
    assert index.hubs(np.arange(index.num_moments)).std() > 0.02  # there are hubs
    found = []
    for hub in (0.0, 1.0):
        manifest = replace(index.manifest, score=Score(hub=hub))
        found.append(measured_recall(MomentIndex.of(index.root, manifest)))
    assert found[0] > 0.9
    assert found[1] > found[0] - 0.03


def test_scores_and_indexes_without_a_correction(tmp_path: Path, indexes: dict[str, MomentIndex]) -> None:
    for name in set(SCORES) - {"collection", "contrastive"}:
        with pytest.raises(
            QueryError, match=f"'{name}' knows no hub correction; collection and contrastive do"
        ):
            Score(name, hub=0.1)
    for hub in (-0.1, 1.1, float("nan")):
        with pytest.raises(QueryError, match="expected a number from 0"):
            Score(hub=hub)
    index, two = make_index(tmp_path, 1, videos=2), random_queries(0, 2)
    with pytest.raises(QueryError, match="has no bank of sentences"):
        search_embeddings(index, two, Score(hub=0.5), SearchOptions(), ["", ""])
    with pytest.raises(QueryError, match="has no bank of sentences"):
        search_pair_embeddings(index, two, Score(hub=0.5), False, SearchOptions())
    manifest = replace(indexes["csls one"].manifest, score=Score(hub=0.5))
    assert manifest.with_score("contrastive").hub == 0.5
    assert manifest.with_score("product").hub == 0.0  # the default is for those that know it
    assert manifest.with_score(hub=0.2) == Score(hub=0.2)
    with pytest.raises(QueryError):
        manifest.with_score("product", 0.2)


# Through the commands


@pytest.fixture(scope="module")
def banked(world: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A folder with an index that has a bank, more.h5 and again.h5."""
    folder = tmp_path_factory.mktemp("banked")
    write_features(folder / "more.h5", 3, prefix="w", seed=5)
    write_features(folder / "again.h5", 2, prefix="v", seed=7)
    command.ok(
        "build",
        world / "run" / "model",
        world / "features.h5",
        "-o",
        folder / "c.mmn",
        "--bank",
        world / "train.json",
    )
    return folder


@pytest.fixture
def copy(banked: Path, tmp_path: Path) -> Path:
    """An index that a test may change."""
    return Path(shutil.copytree(banked / "c.mmn", tmp_path / "c.mmn"))


def check_hubs(root: Path, bank: Bank) -> None:
    """Every moment of every live video has the h that the bank gives."""
    index = MomentIndex(root)
    rows = np.flatnonzero(np.repeat(index.live, len(index.manifest.grid)))
    assert len(rows) == index.num_moments
    assert index.hubs(rows).numpy() == pytest.approx(
        [slow_h(x.numpy(), bank) for x in index.embeddings(rows).contrastive], abs=1e-6
    )
    assert verify(root) == []


def test_every_change_keeps_the_bank_and_gives_h(
    world: Path, banked: Path, copy: Path, command: Command
) -> None:
    about = MomentIndex(copy).manifest.bank
    assert about is not None
    bank = read_bank(copy, about, 0.1)
    assert set(bank.sentences) == set(SENTENCES)
    for arguments in (
        ["add", banked / "more.h5", "--vectors", "IVF2,SQ8"],
        ["update", banked / "again.h5"],
        ["remove", "w1"],
        ["compact", "--vectors", "IVF4,SQ8"],
        ["compact"],
    ):
        command.ok(*arguments, "--index", copy)
        check_hubs(copy, bank)
        assert MomentIndex(copy).manifest.bank == about
    build = ["build", world / "run" / "model", world / "features.h5", "-o", copy, "--overwrite"]
    (copy.parent / "words.txt").write_text(f"{SENTENCES[0]}\n\n{SENTENCES[1]}\n{SENTENCES[0]}\n")
    command.ok(*build, "--bank", copy.parent / "words.txt", "--hub-kind", "softmax", "--hub", 0.3)
    index = MomentIndex(copy)
    assert index.manifest.bank is not None
    assert (index.manifest.bank.kind, index.manifest.bank.sentences, index.manifest.score.hub) == (
        "softmax",
        2,
        0.3,
    )
    assert not (copy / about.file).exists()
    check_hubs(copy, read_bank(copy, index.manifest.bank, 0.1))
    command.ok(*build)
    assert MomentIndex(copy).manifest.bank == about  # of the sentences that the checkpoint names
    silent = Path(shutil.copytree(world / "run" / "model", copy.parent / "silent"))
    (silent / "sentences.txt").unlink()
    command.ok("build", silent, *build[2:])
    assert MomentIndex(copy).manifest.bank is None
    assert sorted(path.name.partition("-")[0] for path in copy.iterdir()) == [
        "manifest.json",
        "model",
        "segments",
    ]
    assert verify(copy) == []


@torch.inference_mode()
def test_the_command_corrects_as_the_library_does(
    banked: Path, world: Path, lively: Path, command: Command
) -> None:
    root = banked / "c.mmn"
    index, model = MomentIndex(root), checkpoint.load(world / "run" / "model")
    for arguments, hub in (([], None), (["--hub", 0], 0.0), (["--hub", 0.9], 0.9)):
        lines = command.ok("search", SENTENCES[0], "--index", root, "--json", *arguments).stdout.splitlines()
        answer = search(index, model, [SENTENCES[0]], hub=hub)[0]
        assert [json.loads(line)["score"] for line in lines] == [hit.score for hit in answer.hits]
        then = command.ok(
            "search", SENTENCES[0], "--then", SENTENCES[2], "--index", root, "--json", *arguments
        ).stdout.splitlines()
        queries = model.embed_sentences([SENTENCES[0], SENTENCES[2]])
        pairs = search_pair_embeddings(
            index, queries, index.manifest.with_score(hub=hub), True, SearchOptions()
        )
        assert [json.loads(line)["score"] for line in then] == [pair.score for pair in pairs]
    assert index.manifest.score.hub == index.manifest.with_score().hub > 0
    command.ok("search", SENTENCES[0], "--index", root, "--score", "product")
    command.fails(
        "search",
        SENTENCES[0],
        "--index",
        root,
        "--score",
        "product",
        "--hub",
        0.5,
        says="'product' knows no hub correction",
    )
    command.fails(
        "search",
        SENTENCES[0],
        "--index",
        lively / "collection.mmn",
        "--hub",
        0.5,
        says="has no bank of sentences",
    )
    command.ok("search", SENTENCES[0], "--index", lively / "collection.mmn", "--hub", 0)
    about = json.loads(command.ok("info", "--index", root, "--json").stdout)
    assert (about["bank"]["kind"], about["bank"]["sentences"], about["hub"]) == (
        "csls",
        4,
        index.manifest.score.hub,
    )
    assert "bank of 4 sentences, csls" in command.ok("info", "--index", root).stdout
    assert "h computed again from the 4 sentences of the bank" in command.ok("verify", "--index", root).stderr


def test_the_help_of_build_knows_the_default_correction(command: Command) -> None:
    assert f"{DEFAULT_HUB:g} if not given" in " ".join(command.ok("build", "--help").stdout.split())


def test_a_build_measures_against_what_the_model_was_trained_with(
    world: Path, command: Command, tmp_path: Path
) -> None:
    model = world / "run" / "model"
    assert checkpoint.info(model).sentences() == tuple(dict.fromkeys(SENTENCES))
    build = ["build", model, world / "features.h5", "-o"]
    own_words = command.ok(*build, tmp_path / "own.mmn").stderr
    assert (
        "Hubs are measured by 4 sentences that the model was trained with; hub correction 0.5." in own_words
    )
    bank = world / "train.json"
    assert (
        f"by 4 sentences of {bank}; hub" in command.ok(*build, tmp_path / "named.mmn", "--bank", bank).stderr
    )
    own, named = (MomentIndex(tmp_path / name).manifest for name in ("own.mmn", "named.mmn"))
    assert own.bank is not None
    assert own.bank == named.bank
    assert (
        own.score
        == named.score
        == MomentIndex(world / "collection.mmn").manifest.score
        == Score(hub=DEFAULT_HUB)
    )
    command.ok(*build, tmp_path / "none.mmn", "--hub", 0)
    none = MomentIndex(tmp_path / "none.mmn").manifest
    assert (none.bank, none.score) == (own.bank, Score())


def test_sentences_of_a_checkpoint_shape_nothing_else(world: Path, tmp_path: Path) -> None:
    model, before = checkpoint.load(world / "run" / "model"), checkpoint.info(world / "run" / "model")
    sentences = ["a person\n runs", "", "  ", "a person runs", "caf\u00e9\u2028noir", "a person runs "]
    assert (
        checkpoint.save(model, tmp_path / "model", features="random", sentences=sentences)
        == before.fingerprint
    )
    about = checkpoint.info(tmp_path / "model")
    assert (about.sentences(), about.video_fingerprint) == (
        ("a person runs", "caf\u00e9 noir"),
        before.video_fingerprint,
    )
    checkpoint.save(model, tmp_path / "model", features="random")
    assert about.sentences() == ()
    (tmp_path / "model" / "sentences.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"sentences.txt: cannot be read .* expected a sentence a line"):
        about.sentences()


def test_what_a_build_refuses_about_a_bank(
    world: Path, lively: Path, command: Command, tmp_path: Path
) -> None:
    build = ["build", world / "run" / "model", world / "features.h5", "-o", tmp_path / "c.mmn"]
    bank = ["--bank", world / "train.json"]
    (tmp_path / "empty.txt").write_text("\n")
    command.fails(*build, "--bank", tmp_path / "empty.txt", says="holds no sentence")
    command.fails(*build, "--bank", tmp_path / "none.json", says="none.json")
    command.fails(*build, *bank, "--hub-kind", "best", says="there are softmax and csls")
    command.fails(*build, *bank, "--hub", 2, says="expected a number from 0 (none) to 1")
    command.fails(*build, *bank, "--score", "product", "--hub", 0.5, says="'product' knows no hub correction")
    silent = ["build", lively / "model", *build[2:]]
    command.fails(*silent, "--hub", 0.5, says="does not say which sentences it was trained with")
    wordy = Path(shutil.copytree(world / "run" / "model", tmp_path / "wordy"))
    (wordy / "sentences.txt").write_text("\na person runs\n \na\0door\n")
    says = r"the sentence 'a\x00door' is no text"
    command.fails("build", wordy, *build[2:], says=f"{wordy / 'sentences.txt'}: {says}")
    command.fails(*build, "--bank", wordy / "sentences.txt", says=f"the bank: {says}")
    (wordy / "sentences.txt").write_text(f"\na person runs\n \n{'door ' * 100}\n")
    long = command.ok("build", wordy, *build[2:-1], tmp_path / "long.mmn").stderr
    assert "1 sentences of the bank are longer than the text encoder reads, and are cut." in long
    assert not (tmp_path / "c.mmn").exists()
    assert "No hub correction" in command.ok(*silent[:-1], tmp_path / "silent.mmn").stderr
    command.ok(*build, *bank, "--score", "product")
    assert MomentIndex(tmp_path / "c.mmn").manifest.score == Score("product")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_damaged_bank_is_found_before_it_gives_h(banked: Path, copy: Path, command: Command) -> None:
    about = MomentIndex(copy).manifest.bank
    assert about is not None
    flip(copy / about.file, -30)
    command.fails("verify", "--index", copy, says=f"{copy / about.file}: was changed")
    command.fails("add", banked / "more.h5", "--index", copy, says=f"{copy / about.file}: was changed")
    (copy / about.file).unlink()
    command.fails("verify", "--index", copy, says=f"{copy / about.file}: cannot be read")
    command.fails("add", banked / "more.h5", "--index", copy, says=f"{copy / about.file}: cannot be read")
    assert MomentIndex(copy).version == 1


@pytest.mark.parametrize("content", [b"no table", None])
def test_a_bank_that_is_no_table_of_sentences(banked: Path, tmp_path: Path, content: bytes | None) -> None:
    about = MomentIndex(banked / "c.mmn").manifest.bank
    assert about is not None
    if content is None:
        pq.write_table(pa.table({"sentence": ["a"], "contrastive": ["b"]}), tmp_path / about.file)
    else:
        (tmp_path / about.file).write_bytes(content)
    digest = hashlib.sha256((tmp_path / about.file).read_bytes()).hexdigest()
    with pytest.raises(MomentIndexError, match=rf"{about.file}: cannot be read"):
        read_bank(tmp_path, replace(about, sha256=digest), 0.1)


def test_a_damaged_h_is_found(copy: Path, command: Command) -> None:
    path = next((copy / "segments").iterdir()) / "hubs.npy"
    flip(path, -1)
    command.fails("verify", "--index", copy, says=f"{path}: was changed")
    command.fails("compact", "--index", copy, says=f"{path}: was changed")
    flip(path, -1)
    hubs = np.load(path)
    hubs[17] += 0.01
    np.save(path, hubs)
    sign(copy)
    command.fails(
        "verify", "--index", copy, says=f"{path}: row 17 differs by 0.0100 from what the bank gives"
    )
    np.save(path, hubs[:-1])
    sign(copy)
    with pytest.raises(MomentIndexError, match="count moments differently"):
        MomentIndex(copy)


def sign(root: Path) -> None:
    """Bytes and checksums of the files as they are now."""
    from mmn_index.index.segment_files import digest

    content = json.loads((root / "manifest.json").read_text())
    for entry in content["segments"]:
        folder = root / "segments" / entry["id"]
        entry["files"] = {
            name: [(folder / name).stat().st_size, digest(folder / name)] for name in entry["files"]
        }
    edit(root, segments=content["segments"])
