"""Search on GPUs. What decides and what is FAISS's or CUDA's part stand apart here: the first is tested
anywhere, with a device without memory, products of the same numbers on the CPU, and FAISS's CPU index where
one on GPUs would be; the second needs a GPU."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import test_search
import torch
from conftest import Command
from mmn_index.index_build.candidates import Wish, choose
from mmn_index.index_build.change import remove
from mmn_index.train.loop import LOSSES
from test_search import DIM, GRID, brute_force, make_index, random_queries

from mmn_index import checkpoint
from mmn_index import device as devices
from mmn_index.config import ModelConfig
from mmn_index.embedding import embed_in_batches
from mmn_index.errors import ConfigError
from mmn_index.index import CandidateAbout, MomentIndex, Restriction, scan, store, vectors
from mmn_index.index.scan import upper_bounds
from mmn_index.index.vectors import Vectors
from mmn_index.model import MMN, unit
from mmn_index.negatives import Bank
from mmn_index.pretrained import load_pretrained
from mmn_index.scoring import HUB_SCORES, SCORES, Embeddings, Score
from mmn_index.search import SearchOptions, search_embeddings
from mmn_index.video_encoder import VideoEncoder

PLAIN = CandidateAbout("IVF8,SQ8", nprobe=8, depth=200)
NO_MEMORY = "meta"  # a device of torch's that keeps shapes alone
GPUS = [torch.device("cuda", number) for number in (0, 1)]


@pytest.fixture(autouse=True)
def devices_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    known = store.find_device
    monkeypatch.setattr(
        store, "find_device", lambda name: torch.device(name) if name == NO_MEMORY else known(name)
    )


@pytest.fixture
def products_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_IN_HALF", ("cpu",))


def with_room(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(devices, "_free", lambda device: devices._AT_WORK + int(size))


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.usefixtures("products_as_on_a_gpu")
def test_bounds_of_float16_products_are_bounds_and_tight(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.nn.functional.normalize(torch.randn(n, 256, generator=generator), dim=1)
        for n in (count, count, 500, 500)
    ]
    queries, rows = Embeddings(*made[:2]), torch.cat(made[2:], dim=1).half()
    c, i = (q.double() @ m.double().T for q, m in zip(queries, rows.split(256, dim=1), strict=True))
    for name in ("contrastive", "collection"):
        exact, bounds = Score(name).log(c, i), upper_bounds(rows, None, queries, Score(name)).double()
        assert (bounds >= exact).all()
        assert (bounds - exact).max() < (1e-4 if name == "contrastive" else 2.1e-3)
    product = scan._product_in_half(queries.contrastive, rows[:, :256]).double()
    rounded = queries.contrastive.half().double() @ rows[:, :256].double().T
    assert (product - c).abs().max() < 1e-6 < (rounded - c).abs().max() / 10


@pytest.mark.usefixtures("products_as_on_a_gpu")
@pytest.mark.parametrize(
    ("name", "hub"), [*((name, 0.0) for name in SCORES), *((name, 0.5) for name in HUB_SCORES)]
)
def test_a_scan_with_float16_products_is_exact(tmp_path: Path, name: str, hub: float) -> None:
    bank = Bank(tuple("abcdefgh"), random_queries(9, 8).contrastive, "csls", 0.1, 3)
    index, score = make_index(tmp_path, 1, segments=3, copies=True, bank=bank), Score(name, hub=hub)
    queries = random_queries(2, 12)
    for count in (1, 12):
        some = Embeddings(*(x[:count] for x in queries))
        for q, answer in enumerate(search_embeddings(index, some, score, SearchOptions(), [""] * count)):
            assert answer.exact
            assert [hit.row for hit in answer.hits] == brute_force(index, queries, q, score, SearchOptions())


class Plain:
    """FAISS's index on the CPU with what one on GPUs has: no selector, no parameters, 2,048 rows."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        assert k <= 2048
        found: tuple[np.ndarray, np.ndarray] = self._index.search(queries, k)
        return found


def copied(index: Vectors) -> Vectors:
    """As after `to`."""
    index._index[0].nprobe = index.about.nprobe
    index._copy = Plain(index._index[0])
    return index


def test_rows_found_on_gpus_are_those_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_MOST_OF_SCALAR", 2048)
    root = make_index(tmp_path, 1, vectors=[PLAIN]).root
    remove(root, ["v01", "v06", "v07"])
    one, other = (MomentIndex(root).segments[0] for _ in range(2))
    assert one.vectors is not None
    assert other.vectors is not None
    allowed = one.moments_of(one.live)
    queries = torch.cat(random_queries(5, 20), dim=1).numpy()
    for limit in (1, 10, 100, 9 * len(GRID), 12 * len(GRID)):
        for selected in (None, allowed, ~allowed):
            values, rows = one.vectors.best(queries, limit, allowed=selected)
            found, numbers = copied(other.vectors).best(queries, limit, allowed=selected)
            assert found.shape == numbers.shape == values.shape
            there = numbers >= 0
            assert (found[~there] == -np.inf).all()
            assert (values[rows < 0] == -np.inf).all()
            assert selected is None or selected[numbers[there]].all()
            assert (there == (rows >= 0)).all()
            assert np.allclose(found[there], values[there], atol=1e-5)
            assert all(set(a) == set(b) for a, b in zip(rows, numbers, strict=True))


def test_more_rows_than_gpus_find_are_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index(tmp_path, 1, vectors=[PLAIN]).segments[0].vectors
    assert index is not None
    values, rows = copied(index).best(torch.cat(random_queries(5, 3), dim=1).numpy(), 600)
    assert (rows[:, 512:] == -1).all(), "more rows of scalar codes end the process"
    monkeypatch.setattr(vectors, "_MOST_OF_SCALAR", 50)
    values, rows = copied(index).best(torch.cat(random_queries(5, 3), dim=1).numpy(), 60)
    assert (rows[:, :50] >= 0).all()
    assert (rows[:, 50:] == -1).all()
    assert (values[:, 50:] == -np.inf).all()


def test_what_a_gpu_has_no_room_for_is_searched_by_its_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = make_index(tmp_path, 1, segments=2, vectors=[None, PLAIN])
    sizes = [segment.embeddings.nbytes for segment in on_cpu.segments]
    assert not MomentIndex(on_cpu.root, (NO_MEMORY,)).has_candidates
    moved = []

    def to(self: Vectors, names: Sequence[torch.device]) -> None:
        moved.append([str(name) for name in names])
        copied(self)

    monkeypatch.setattr(Vectors, "to", to)
    with_room(monkeypatch, sizes[0] + sizes[1] - 2)
    index = MomentIndex(on_cpu.root, (NO_MEMORY,))
    assert (list(index.holding.scanned.values()), moved) == ([True, False], [[NO_MEMORY]])
    assert index.has_candidates
    assert [shards[0].embeddings.device.type for shards in index.holding.shards.values()] == [
        NO_MEMORY,
        "cpu",
    ]
    with_room(monkeypatch, sizes[0] / 2 + sizes[1] / 2)  # two shards on one device
    assert MomentIndex(on_cpu.root, (NO_MEMORY, NO_MEMORY)).holding.scanned == {0: True, 1: False}
    # The segment with codes by itself: found through them, and scanned on the CPU where everything is wanted.
    index.holding.shards[0] = on_cpu.holding.shards[0]
    queries = random_queries(4, 6)
    for options in (
        SearchOptions(),
        SearchOptions(exact=True),
        SearchOptions(restriction=Restriction(after=2.0)),
    ):
        mine, theirs = (search_embeddings(x, queries, Score(), options, [""] * 6) for x in (index, on_cpu))
        assert [answer.hits for answer in mine] == [answer.hits for answer in theirs]
        assert [answer.exact for answer in mine] == [answer.exact for answer in theirs]


@pytest.mark.parametrize(
    "about", [None, CandidateAbout("IVF8,PQ5x4fs", nprobe=8, depth=200)], ids=["none", "fast-scan"]
)
def test_no_room_and_no_codes_for_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: CandidateAbout | None
) -> None:
    root = make_index(tmp_path, 1, vectors=[about]).root
    with_room(monkeypatch, 10)
    with pytest.raises(ConfigError, match="--vectors ivf-sq8"):
        MomentIndex(root, (NO_MEMORY,))


def test_a_faiss_without_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_index(tmp_path, 1, vectors=[PLAIN]).root
    with_room(monkeypatch, 10)
    monkeypatch.delattr(faiss, "GpuMultipleClonerOptions", raising=False)
    with pytest.raises(ConfigError, match=r"mmn-index\[gpu\]"):
        MomentIndex(root, (NO_MEMORY,))


def test_each_shard_on_a_gpu_has_resources_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAISS searches shards by threads at the same time, and resources belong to one thread."""
    index = make_index(tmp_path, 1, vectors=[PLAIN]).segments[0].vectors
    assert index is not None
    given = []
    fake = type("", (), {"StandardGpuResources": Resources, "GpuMultipleClonerOptions": Resources})
    fake.index_cpu_to_gpu_multiple_py = staticmethod(lambda resources, *_: given.extend(resources))  # type: ignore[attr-defined]
    index._index  # noqa: B018  # read by the FAISS that is here
    monkeypatch.setattr(vectors, "load_faiss", lambda: fake)
    vectors._resources.cache_clear()
    index.to([torch.device("cuda", number) for number in (0, 0, 1)])
    index.to([torch.device("cuda", 0)])
    vectors._resources.cache_clear()
    assert len(set(map(id, given))) == 3
    assert given[3] is given[0]


class Resources:
    """FAISS's for a GPU, without one."""

    def setTempMemory(self, size: int) -> None:
        assert size > 0


def test_which_codes_gpus_search() -> None:
    def suits(factory: str) -> bool:
        return Vectors.suits_gpus.fget(type("", (), {"about": CandidateAbout(factory)}))  # type: ignore[attr-defined, no-any-return]

    assert all(map(suits, ("IVF4096,SQ8", "IVF64,Flat", "IVF64,PQ64", "IVF64,PQ64x8", "IVF64,SQfp16")))
    assert not any(
        map(suits, ("IVF4096,PQ256x4fs", "IVF64,RaBitQfs", "IVF64,PQ64x4", "IVF64_HNSW32,SQ8", "IVF64,SQ6"))
    )


def test_the_choice_knows_what_gpus_have_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = 1_000_000
    with_room(monkeypatch, moments * 4 * DIM / 2)
    assert choose(moments, 2 * DIM, Wish(), devices=GPUS)[0] == choose(moments, 2 * DIM, Wish())[0]
    with_room(monkeypatch, moments * 4 * DIM / 2 - 1)
    factory, reason = choose(moments, 2 * DIM, Wish(), devices=GPUS)
    assert (factory, reason.endswith("no room for the embeddings")) == ("IVF2048,SQ8", True)
    assert choose(moments, 2 * DIM, Wish("ivf-rabitq"), devices=GPUS)[0] == "IVF2048,RaBitQfs"
    assert choose(moments, 2 * DIM, Wish(max_bytes_per_moment=4 * DIM + 10), devices=GPUS)[0] is None


# With a GPU


def needs_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is here")


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCORES)
def test_a_gpu_gives_the_answers_of_the_cpu(tmp_path: Path, name: str) -> None:
    needs_cuda()
    on_cpu = make_index(tmp_path, 1, segments=3)
    queries = random_queries(2, 20)
    for device in ("cuda", "cuda:0", ("cuda:0", "cuda:0")):
        on_gpu = MomentIndex(on_cpu.root, device)
        for options in (
            SearchOptions(),
            SearchOptions(restriction=Restriction(exclude=("v03",), min_length=4.0)),
        ):
            one, other = (
                search_embeddings(index, queries, Score(name), options, [""] * 20)
                for index in (on_cpu, on_gpu)
            )
            assert [answer.hits for answer in one] == [answer.hits for answer in other]
            assert all(answer.exact for answer in other)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 256), (5, 256), (64, 256), (3, 64)])
def test_bounds_that_a_gpu_computes_are_bounds(shape: tuple[int, int]) -> None:
    needs_cuda()
    count, dim = shape
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.nn.functional.normalize(torch.randn(n, dim, generator=generator), dim=1)
        for n in (count, count, 50_000, 50_000)
    ]
    queries, rows = Embeddings(*made[:2]), torch.cat(made[2:], dim=1).half()
    c, i = (q.double() @ m.double().T for q, m in zip(queries, rows.split(dim, dim=1), strict=True))
    for name in SCORES:
        bounds = upper_bounds(rows.cuda(), None, queries, Score(name)).double().cpu()
        assert (bounds >= Score(name).log(c, i)).all()


@pytest.mark.gpu
@pytest.mark.parametrize("factory", ["IVF8,SQ8", "IVF8,Flat", "IVF8,PQ8"])
def test_faiss_on_gpus_finds_what_it_finds_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str
) -> None:
    needs_cuda()
    if not hasattr(faiss, "GpuMultipleClonerOptions"):
        pytest.skip("the FAISS that is installed knows no GPU")
    monkeypatch.setattr(test_search, "DIM", 8)  # GPUs know codes of 8 bytes, not of 5
    about = CandidateAbout(factory, nprobe=8, depth=200)
    root = make_index(tmp_path, 1, videos=40, segments=2, vectors=[about, about]).root
    remove(root, ["v01", "v06", "v33"])
    with_room(monkeypatch, 10)
    queries = random_queries(2, 20)
    for device in ("cuda:0", ("cuda:0", "cuda:0")):
        on_gpu = MomentIndex(root, device)
        assert on_gpu.holding.scanned == {0: False, 1: False}
        for options in (
            SearchOptions(),
            SearchOptions(exact=True),
            SearchOptions(restriction=Restriction(exclude=("v03",))),
        ):
            one, other = (
                search_embeddings(index, queries, Score(), options, [""] * 20)
                for index in (MomentIndex(root), on_gpu)
            )
            same = sum(
                [hit.row for hit in a.hits] == [hit.row for hit in b.hits]
                for a, b in zip(one, other, strict=True)
            )
            assert (
                same == 20 if options.exact or options.restriction else same >= 18
            )  # sums of codes may round otherwise


SHAPE = ModelConfig(
    input_dim=40,
    num_pre_clips=32,
    num_clips=16,
    pooling_counts=(7, 4),
    featpool_kernel=2,
    featpool_dim=128,
    conv_dim=128,
    conv_kernel=5,
    conv_layers=3,
    joint_dim=32,
)


@pytest.mark.gpu
@pytest.mark.parametrize("map_type", ["pool", "conv"])
def test_a_gpu_embeds_videos_as_the_cpu_does(map_type: str) -> None:
    needs_cuda()
    torch.manual_seed(0)
    encoder = VideoEncoder(replace(SHAPE, map_type=map_type)).eval()
    videos = torch.randn(6, SHAPE.num_pre_clips, SHAPE.input_dim)
    with torch.inference_mode():
        there = unit(encoder(videos))
        encoder.cuda()
        for exact, least in ((True, 1 - 1e-6), (False, 1 - 1e-5)):
            with torch.backends.cudnn.flags(allow_tf32=not exact):
                found = unit(encoder(videos.cuda()))
            for one, other in zip(there, found, strict=True):
                assert (one.double() * other.double().cpu()).sum(dim=2).min() > least


@pytest.mark.gpu
def test_a_gpu_embeds_many_videos_in_half_precision(text_model: Path) -> None:
    """Wide layers, as in the paper's settings; proposals differ by more than what is lost."""
    needs_cuda()
    wide = replace(SHAPE, featpool_dim=256, conv_dim=256, text_model=str(text_model))
    torch.manual_seed(0)
    model = MMN(wide, *load_pretrained(wide.text_model)).eval()
    with torch.no_grad():
        for module in model.video_encoder.modules():
            if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear)):
                torch.nn.init.kaiming_normal_(module.weight)
    videos = torch.randn(70, SHAPE.num_pre_clips, SHAPE.input_dim)
    numbers = list(range(len(videos)))
    there = np.concatenate(list(embed_in_batches(model, videos.__getitem__, numbers)))
    model.cuda()
    assert model.video_embedder() != model.embed_videos
    here = np.concatenate(list(embed_in_batches(model, videos.__getitem__, numbers)))
    for part in (slice(0, 32), slice(32, 64)):
        one, other = there[..., part].astype(np.float64), here[..., part].astype(np.float64)
        assert (one * other).sum(axis=2).min() > 0.9999
        mean = one.mean(axis=(0, 1))
        one, other = one - mean, other - mean
        lengths = np.linalg.norm(one, axis=2) * np.linalg.norm(other, axis=2)
        assert ((one * other).sum(axis=2) / lengths).min() > 0.995


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("change", "near"), [("", 2e-3), ("precision: bfloat16", 3e-2), ("precision: float16", 5e-2)]
)
def test_a_gpu_trains_as_the_cpu_does(
    world: Path, tmp_path: Path, command: Command, change: str, near: float
) -> None:
    needs_cuda()
    setting = (
        (world / "tiny.yaml")
        .read_text()
        .replace("freeze_text_epochs: 1", "freeze_text_epochs: 3, text_dropout: false")
    )
    losses = []
    for device in ("cpu", "cuda"):
        mine = (
            setting.replace("text_dropout", f"{change}, text_dropout")
            if change and device == "cuda"
            else setting
        )
        (tmp_path / "mine.yaml").write_text(mine)
        files = ("--annotations", world / "train.json", "--val", world / "train.json")
        options = (
            "--features",
            world / "features.h5",
            "--config",
            tmp_path / "mine.yaml",
            "--device",
            device,
        )
        command.ok("train", *files, *options, "-o", tmp_path / device)
        lines = (tmp_path / device / "metrics.jsonl").read_text().splitlines()
        losses.append([[json.loads(line)[name] for name in LOSSES] for line in lines])
    assert np.allclose(*losses, rtol=near, atol=1e-4), losses
    assert checkpoint.load(tmp_path / "cuda" / "model").device.type == "cpu"


@pytest.mark.gpu
def test_what_was_built_and_searched_on_a_gpu_is_what_the_cpu_gives(
    lively: Path, tmp_path: Path, command: Command
) -> None:
    needs_cuda()
    indexes = {}
    for device in ("cpu", "cuda"):
        root = tmp_path / f"{device}.mmn"
        command.ok("build", lively / "model", lively / "features.h5", "-o", root, "--device", device)
        indexes[device] = MomentIndex(root)
        command.ok("search", "a person opens the door", "--index", root, "--device", device)
    rows = np.arange(indexes["cpu"].num_moments)
    for one, other in zip(*(index.embeddings(rows) for index in indexes.values()), strict=True):
        assert (one.double() * other.double()).sum(dim=1).min() > 1 - 1e-3
    answers = [
        command.ok(
            "search",
            "a person opens the door",
            "--index",
            tmp_path / "cuda.mmn",
            "--device",
            device,
            "--json",
        )
        for device in indexes
    ]
    one, other = ([json.loads(line) for line in answer.stdout.splitlines()] for answer in answers)
    assert one
    scores = [[hit.pop("score") for hit in hits] for hits in (one, other)]
    assert one == other
    assert np.allclose(*scores, atol=1e-4)  # the sentence was embedded on the device as well
