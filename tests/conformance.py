"""What every engine that answers searches has to do, whichever it is: a list of checks over a small interface.

An engine is an index on disk, a cluster or a database. A test module makes an `Engine` and calls the checks; see
test_conformance_local.py. What is right is said by brute force over the collection's own arrays (`Collection`),
which shares no code with the project.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pytest
import torch

from mmn_index.errors import MmnIndexError, QueryError
from mmn_index.index import IndexWriter, Manifest, MomentIndex, PlannedVideo, Restriction
from mmn_index.index.bank import write_bank
from mmn_index.negatives import Bank
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score
from mmn_index.search import Answer, SearchOptions

GRID, DIM, TAU = ProposalGrid(8, (3, 2)), 16, 0.1
VIDEOS, ACTIONS, QUERIES = 60, 12, 16
RECALL = 0.99  # of the top 10 where candidates are approximate
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ODD = 'at "home"; --'  # a name of a column that no database takes for a name without quoting it


@dataclass(frozen=True)
class Query:
    """One query: unit vectors of both spaces, (DIM,) float32."""

    contrastive: np.ndarray
    iou: np.ndarray


class Engine(Protocol):
    """An engine under test.

    Attributes:
        digits: decimals to which its scores are those of the index.
        proves: whether it can call an answer exact.
        approximate: whether it answers from a part of the moments, where nothing else is asked for.
    """

    digits: int
    proves: bool
    approximate: bool

    def put(self, root: Path) -> None:
        """Bring it to what the index in a folder holds now."""
        ...

    def find(
        self,
        queries: Sequence[Query],
        options: SearchOptions,
        *,
        where: Sequence[str] = (),
        score: str | None = None,
        hub: float | None = None,
        without: Query | None = None,
    ) -> list[Answer]: ...

    def like(self, video_id: str, start: float, end: float, options: SearchOptions) -> Answer: ...

    def reading(self, queries: Sequence[Query]) -> AbstractContextManager[Callable[[], list[Answer]]]:
        """Somebody who opened it before it changes: gives a function that asks."""
        ...


class Collection:
    """Some videos, the index that is made of them, and what is right.

    Args:
        asked: queries of a check; few for an engine that is slow.
    """

    def __init__(
        self, root: Path, seed: int = 0, *, spaces: int = 2, videos: int = VIDEOS, asked: int = QUERIES
    ) -> None:
        self.root, self.spaces, self._random = root, spaces, np.random.default_rng(seed)
        self._asked = asked
        self._actions = _unit(np.random.default_rng(5).normal(size=(ACTIONS, 2, DIM)))
        self.videos: dict[str, dict[str, Any]] = {}
        self._bank = Bank(
            ("a", "b", "c", "d"),
            torch.from_numpy(_unit(np.random.default_rng(9).normal(size=(4, DIM)))).float(),
            "softmax",
            TAU,
        )
        (root.parent / "model").mkdir(parents=True, exist_ok=True)
        self.add([f"v{number}" for number in range(videos)])

    def add(self, video_ids: Sequence[str]) -> None:
        """Add videos as one segment, in place of those of the same ids."""
        from mmn_index.index_build.build import tombstones

        made = {video_id: self._video() for video_id in video_ids}
        planned = [PlannedVideo(name, f"/films/{name}.mp4", one["duration"]) for name, one in made.items()]
        columns = {name: [one["metadata"][name] for one in made.values()] for name in _TYPES}
        table = pa.table({name: pa.array(columns[name], kind) for name, kind in _TYPES.items()})
        with IndexWriter(self.root) as writer:
            segment = writer.segment(
                GRID, DIM, planned, str(self._random.random()), table, spaces=self.spaces
            )
            for one in made.values():
                segment.add(one["moments"].reshape(len(GRID), -1))
            hubs = np.concatenate([one["hubs"] for one in made.values()])
            entry = segment.finish(hubs=hubs)
            before, kept = writer.manifest, ()
            if before is None:
                about = write_bank(self._bank, self.root)
                score = Score("collection" if self.spaces == 2 else "contrastive", tau=TAU, hub=0.3)
                before = Manifest("f" * 64, None, DIM, GRID, score, (), bank=about, spaces=self.spaces)
            else:
                kept = tuple(tombstones(MomentIndex.of(self.root, before), set(video_ids)))
            writer.publish(replace(before, segments=(*kept, entry)), self.root.parent / "model")
        self.videos |= made

    def remove(self, video_ids: Sequence[str]) -> None:
        from mmn_index.index_build.change import remove

        remove(self.root, video_ids)
        for video_id in video_ids:
            del self.videos[video_id]

    def compact(self) -> None:
        from mmn_index.index_build.candidates import Wish
        from mmn_index.index_build.change import compact

        compact(self.root, Wish())

    def _video(self) -> dict[str, Any]:
        random, duration = self._random, float(np.float32(self._random.uniform(20, 200)))
        spans = GRID.seconds(duration).numpy()
        middle, half = random.uniform(0, duration, 3), random.uniform(2, 20, 3)
        near = np.exp(-(((spans.mean(axis=1)[:, None] - middle) / (2 * half)) ** 2))  # (P, 3)
        made = np.einsum("pk,ksd->psd", near, self._actions[random.integers(ACTIONS, size=3)])
        made += 0.3 * _unit(random.normal(size=(1, 2, DIM))) + 0.05 * random.normal(size=(len(spans), 2, DIM))
        moments = _unit(made)[:, : self.spaces].astype(np.float16)
        hubs = self._bank.hubs(torch.from_numpy(moments.reshape(len(spans), -1)))
        number = len(self.videos) + int(random.integers(1000))
        metadata = {
            "camera": str(random.choice(["porch", "yard", "häll", "o'brien"])),
            "level": int(random.integers(-3, 4)),
            "weight": [None, float("nan"), *random.normal(size=6).tolist()][number % 8],
            "size": [2, 2**63, 2**64 - 1][number % 3],
            "night": bool(random.integers(2)),
            "recorded": NOW + timedelta(hours=int(random.integers(-50, 50))),
            "wall": (NOW + timedelta(minutes=int(random.integers(-99, 99)))).replace(tzinfo=None),
            "day": date(2026, 1, 1) + timedelta(days=int(random.integers(0, 20))),
            "clock": time(int(random.integers(24)), 30),
            ODD: str(random.choice(["x", "y"])),
        }
        return {"duration": duration, "spans": spans, "moments": moments, "hubs": hubs, "metadata": metadata}

    def queries(self, most: int = QUERIES, seed: int = 1) -> list[Query]:
        """Actions, seen from off the moments."""
        random, count = np.random.default_rng(seed), min(most, self._asked)
        made = self._actions[random.integers(ACTIONS, size=count)] + 0.8 * _unit(
            random.normal(size=(count, 2, DIM))
        )
        return [Query(*one.astype(np.float32)) for one in _unit(made)]

    def best(
        self,
        query: Query,
        k: int = 10,
        *,
        nms: float = 0.5,
        per_video: int | None = None,
        score: str = "collection",
        hub: float = 0.3,
        without: Query | None = None,
        video: Callable[[str, dict[str, Any]], bool] = lambda name, one: True,
        moment: Callable[[np.float32, np.float32], bool] = lambda start, end: True,
    ) -> list[tuple[str, float, float, float]]:
        """Video, start, end and score of the best moments, by brute force in float64."""
        found = []
        for name, one in self.videos.items():
            if video(name, one):
                logs = _score(one, query, score, hub)
                if without is not None:
                    logs = logs - np.logaddexp(0, _score(one, without, score, hub) - logs)
                for (start, end), log in zip(one["spans"], logs, strict=True):
                    if moment(start, end):
                        found.append((name, start, end, float(log)))
        found.sort(key=lambda hit: -hit[3])
        kept: list[tuple[str, float, float, float]] = []
        for hit in found:
            own = [other for other in kept if other[0] == hit[0]]
            if (per_video is None or len(own) < per_video) and all(_iou(hit, one) <= nms for one in own):
                kept.append(hit)
            if len(kept) == k:
                break
        shown = np.exp if score in ("product", "iou") else float
        return [(name, float(start), float(end), float(shown(log))) for name, start, end, log in kept]


_TYPES = {
    "camera": pa.string(),
    "level": pa.int16(),
    "weight": pa.float32(),
    "size": pa.uint64(),
    "night": pa.bool_(),
    "recorded": pa.timestamp("us", "UTC"),
    "wall": pa.timestamp("ms"),
    "day": pa.date32(),
    "clock": pa.time32("s"),
    ODD: pa.string(),
}


def _unit(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return found


def _score(one: dict[str, Any], query: Query, score: str, hub: float) -> np.ndarray:
    moments = one["moments"].astype(np.float64)
    c = moments[:, 0] @ query.contrastive.astype(np.float64)
    i = moments[:, 1] @ query.iou.astype(np.float64) if moments.shape[1] == 2 else 0 * c
    fits = -np.log1p(np.exp(-10 * i))
    c_corrected = c - hub * one["hubs"].astype(np.float64)
    found: np.ndarray = {
        "collection": c_corrected / TAU + fits,
        "contrastive": c_corrected,
        "iou": fits,
        "product": 0.5 * np.log(np.maximum(0.5 * c + 0.5, 1e-6)) + fits,
    }[score]
    return found


def _iou(a: tuple[str, float, float, float], b: tuple[str, float, float, float]) -> np.float32:
    inner = max(np.float32(0), min(a[2], b[2]) - max(a[1], b[1]))
    return np.float32(inner / (max(a[2], b[2]) - min(a[1], b[1])))


def listed(answer: Answer) -> list[tuple[str, float, float, float]]:
    return [(hit.video_id, hit.start, hit.end, hit.score) for hit in answer.hits]


def same(
    engine: Engine, answers: Sequence[Answer], right: Sequence[list[Any]], recall: float = RECALL
) -> None:
    """Equal lists where the answers are exact; else as good as is promised, and nothing is claimed."""
    assert len(answers) == len(right)
    shared = total = 0
    for answer, truth in zip(answers, right, strict=True):
        found = listed(answer)
        assert len(found) == len(truth), f"{len(found)} hits, there are {len(truth)}"
        assert [hit.rank for hit in answer.hits] == list(range(1, len(found) + 1))
        assert [one[3] for one in found] == sorted((one[3] for one in found), reverse=True)
        assert engine.proves or not answer.exact
        assert answer.exact == (answer.recall is None)
        if answer.exact:
            assert [one[:3] for one in found] == [one[:3] for one in truth]
        known = {one[:3]: one[3] for one in truth}
        for one in found:
            if one[:3] in known:
                shared += 1
                assert one[3] == pytest.approx(known[one[:3]], abs=0.5 * 10**-engine.digits)
        total += len(truth)
    assert shared >= recall * total, f"{shared} of {total} found"


def check_top_ten(engine: Engine, collection: Collection) -> None:
    """The best ten by every score, with and without the hub correction; of a plain search nothing is called exact
    where candidates are approximate.
    """
    queries = collection.queries()
    for score, hub in (
        ("collection", 0.3),
        ("collection", 0.0),
        ("product", 0.0),
        ("contrastive", 1.0),
        ("iou", 0.0),
    ):
        named = {"hub": hub} if score in ("collection", "contrastive") else {}
        answers = engine.find(queries, SearchOptions(), score=score, **named)
        same(engine, answers, [collection.best(query, score=score, hub=hub) for query in queries])
        if engine.approximate:
            assert not any(answer.exact for answer in answers)
            assert all(answer.recall for answer in answers)
        elif engine.proves:
            assert all(answer.exact for answer in answers)


def check_exact(engine: Engine, collection: Collection) -> None:
    """Asked for the exact answer, it gives it with the proof, or says clearly that it cannot."""
    queries = collection.queries()
    if not engine.proves:
        with pytest.raises(QueryError, match="exact"):
            engine.find(queries, SearchOptions(exact=True))
        return
    answers = engine.find(queries, SearchOptions(exact=True))
    assert all(answer.exact for answer in answers)
    same(engine, answers, [collection.best(query) for query in queries])


def check_lists(engine: Engine, collection: Collection) -> None:
    """Longer and shorter lists, NMS and moments a video; all moments where more are asked for than there are."""
    queries = collection.queries(3)
    for k, nms, per_video in ((1, 0.5, None), (40, 0.5, None), (10, 1.0, None), (25, 0.0, 1), (100, 0.3, 2)):
        answers = engine.find(queries, SearchOptions(k=k, nms=nms, per_video=per_video))
        right = [collection.best(query, k, nms=nms, per_video=per_video) for query in queries]
        same(engine, answers, right, 0.95)  # what is measured, and promised, is the top ten


CONDITIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "camera=porch": lambda m: m["camera"] == "porch",
    "camera!=porch": lambda m: m["camera"] != "porch",
    "camera=o'brien": lambda m: m["camera"] == "o'brien",
    "level>=2": lambda m: m["level"] >= 2,
    "level=-3": lambda m: m["level"] == -3,
    "level!=0": lambda m: m["level"] != 0,
    "weight>0.25": lambda m: m["weight"] is not None and m["weight"] > 0.25,
    "weight<=0": lambda m: m["weight"] is not None and m["weight"] <= 0,
    "weight!=0": lambda m: m["weight"] is not None,  # what is no number is there, and no 0
    "size>3": lambda m: m["size"] > 3,
    "night=true": lambda m: m["night"],
    "night<true": lambda m: not m["night"],
    "recorded>=2026-03-01T18:00:00Z": lambda m: m["recorded"] >= NOW + timedelta(hours=6),
    "recorded<2026-03-01": lambda m: m["recorded"] < NOW - timedelta(hours=12),
    "wall>2026-03-01T12:30:00": lambda m: m["wall"] > (NOW + timedelta(minutes=30)).replace(tzinfo=None),
    "day=2026-01-05": lambda m: m["day"] == date(2026, 1, 5),
    "day>2026-01-15": lambda m: m["day"] > date(2026, 1, 15),
    "clock<06:00": lambda m: m["clock"] < time(6),
    "clock=07:30": lambda m: m["clock"] == time(7, 30),
    f"{ODD}=x": lambda m: m[ODD] == "x",
}


def check_filters(engine: Engine, collection: Collection) -> None:
    """Every restriction returns k moments where there are k, and the right ones."""
    queries = collection.queries(2)
    answers, right = [], []

    def add(video: Callable[[str, dict[str, Any]], bool], *where: str, **restriction: Any) -> None:
        answers.extend(
            engine.find(queries, SearchOptions(restriction=Restriction(**restriction)), where=where)
        )
        right.extend(collection.best(query, video=video) for query in queries)

    for condition, fits in CONDITIONS.items():
        add(lambda _, one, fits=fits: bool(fits(one["metadata"])), condition)  # type: ignore[misc]
    add(lambda _, one: one["metadata"]["night"] and one["metadata"]["level"] > 0, "night=true", "level>0")
    for chosen in (("v7",), ("v1", "v2", "v3")):
        add(lambda name, _, chosen=chosen: name in chosen, videos=chosen)  # type: ignore[misc]
        add(lambda name, _, chosen=chosen: name not in chosen, exclude=chosen)  # type: ignore[misc]
    same(engine, answers, right)
    for wrong in ("nothing=1", "level=deep"):
        with pytest.raises(QueryError):
            engine.find(queries, SearchOptions(), where=[wrong])
    with pytest.raises(QueryError, match="nobody"):
        engine.find(queries, SearchOptions(restriction=Restriction(videos=("nobody",))))
    nothing = engine.find(queries, SearchOptions(), where=["level>100"])
    assert [(one.hits, one.moments, one.searched) for one in nothing] == [((), 0, 1)] * len(queries)


def check_text_order(engine: Engine, collection: Collection) -> None:
    """Text is compared byte by byte, or the comparison is refused."""
    queries = collection.queries(2)
    try:
        answers = engine.find(queries, SearchOptions(), where=["camera<p"])
    except QueryError as error:
        assert "camera<p" in str(error)  # noqa: PT017  (either will do)
        return
    right = [collection.best(q, video=lambda _, one: one["metadata"]["camera"] < "p") for q in queries]
    same(engine, answers, right)


def check_times(engine: Engine, collection: Collection) -> None:
    """Restrictions of where in a video a moment lies, and how long it is; bounds are as float32 has them."""
    queries = collection.queries(3)
    start, end = (float(x) for x in collection.videos["v3"]["spans"][20])
    answers, right = [], []
    for bounds in (
        {"after": 30.0},
        {"before": 12.5},
        {"min_length": 40.0},
        {"max_length": 4.0},
        {"after": start, "before": end},
        {"min_length": float(np.float32(end) - np.float32(start))},
        {"after": 5.0, "before": 100.0, "min_length": 3.0, "max_length": 9.0},
        {"after": 1e30},
    ):
        f = {name: np.float32(value) for name, value in bounds.items()}

        def allowed(start: np.float32, end: np.float32, f: dict[str, np.float32] = f) -> bool:
            return bool(
                start >= f.get("after", start)
                and end <= f.get("before", end)
                and end - start >= f.get("min_length", end - start)
                and end - start <= f.get("max_length", end - start)
            )

        answers += engine.find(queries, SearchOptions(restriction=Restriction(**bounds)))
        right += [collection.best(query, moment=allowed) for query in queries]
    same(engine, answers, right)


def check_not(engine: Engine, collection: Collection) -> None:
    """Moments that fit one sentence rather than another."""
    queries = collection.queries()
    without = collection.queries(1, seed=77)[0]
    answers, right = [], []
    for score, hub in (("collection", 0.3), ("product", 0.0), ("contrastive", 0.3)):
        answers += engine.find(queries, SearchOptions(), without=without, score=score)
        right += [collection.best(q, score=score, hub=hub, without=without) for q in queries]
    same(engine, answers, right)


def check_like(engine: Engine, collection: Collection) -> None:
    """Moments like one of the collection, but for itself and what lies beside it."""
    for name in ("v5", "v8"):
        one = collection.videos[name]
        spot = 17
        start, end = (float(x) for x in one["spans"][spot])
        answer = engine.like(name, start, end, SearchOptions())
        vector = one["moments"][spot].astype(np.float32)
        query = Query(*_unit(vector))
        beside = {
            (name, float(s), float(e))
            for s, e in one["spans"]
            if _iou((name, s, e, 0), (name, np.float32(start), np.float32(end), 0)) > 0.5
        }
        right = [hit for hit in collection.best(query, 200, nms=1.0) if hit[:3] not in beside]
        kept: list[Any] = []
        for hit in right:
            if all(other[0] != hit[0] or _iou(other, hit) <= 0.5 for other in kept):
                kept.append(hit)
        same(engine, [answer], [kept[:10]])
    with pytest.raises(QueryError):
        engine.like("v5", 1e6, 1e6 + 1, SearchOptions())
    with pytest.raises(QueryError, match="nobody"):
        engine.like("nobody", 0, 1, SearchOptions())


def check_changes(engine: Engine, collection: Collection) -> None:
    """Removed videos are gone, replaced ones are the new ones, compaction changes nothing."""
    queries = collection.queries()

    def right() -> list[list[Any]]:
        return [collection.best(query) for query in queries]

    best = collection.best(queries[0], 3)
    collection.remove(sorted({best[0][0], "v1"}))
    engine.put(collection.root)
    same(engine, engine.find(queries, SearchOptions()), right())
    collection.add(["v2", "v3", best[-1][0], "new"])
    engine.put(collection.root)
    same(engine, engine.find(queries, SearchOptions()), right())
    only = SearchOptions(restriction=Restriction(videos=("new",)))
    same(
        engine,
        engine.find(queries, only),
        [collection.best(q, video=lambda name, _: name == "new") for q in queries],
    )
    collection.compact()
    engine.put(collection.root)
    engine.put(collection.root)  # a second time does no harm
    same(engine, engine.find(queries, SearchOptions()), right())


def check_versions(engine: Engine, collection: Collection) -> None:
    """Whoever reads while the index changes sees one version or another whole, and nothing between; what is opened
    anew after a change is the new one.
    """
    queries = collection.queries(4)
    versions = [[collection.best(query) for query in queries]]
    done, seen, wrong = threading.Event(), 0, []

    def read() -> None:
        nonlocal seen
        with engine.reading(queries) as ask:
            while not done.is_set():
                answers = ask()
                if not any(_fits(engine, answers, version) for version in list(versions)):
                    wrong.append([listed(answer) for answer in answers])
                seen += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(3):
            collection.remove([next(iter(collection.videos))])
            collection.add(["v20", "v21", "v22"])
            versions.append([collection.best(query) for query in queries])
            engine.put(collection.root)
            same(engine, engine.find(queries, SearchOptions()), versions[-1])
    finally:
        done.set()
        reader.join()
    assert seen > 3
    assert not wrong


def _fits(engine: Engine, answers: Sequence[Answer], right: Sequence[list[Any]]) -> bool:
    try:
        same(engine, answers, right)
    except AssertionError:
        return False
    return True


def check_one_space(engine: Engine, collection: Collection) -> None:
    """A model without an IoU head: one score, and the others are refused."""
    assert collection.spaces == 1
    queries = collection.queries()
    found = engine.find(queries, SearchOptions())
    same(engine, found, [collection.best(q, score="contrastive") for q in queries])
    with pytest.raises(QueryError, match="contrastive"):
        engine.find(queries, SearchOptions(), score="collection")
    without = collection.queries(1, seed=77)[0]
    found = engine.find(queries, SearchOptions(), without=without)
    right = [collection.best(q, score="contrastive", without=without) for q in queries]
    same(engine, found, right)


def check_timeout(engine: Engine, collection: Collection) -> None:
    """A search that may take no time ends with a clear error."""
    with pytest.raises(MmnIndexError):
        engine.find(collection.queries(1), SearchOptions(timeout=1e-9))


CHECKS: dict[str, Callable[[Engine, Collection], None]] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_top_ten,
        check_exact,
        check_lists,
        check_filters,
        check_text_order,
        check_times,
        check_not,
        check_like,
        check_timeout,
    )
}
# These change the collection: each gets one of its own.
CHANGING = {"changes": check_changes, "versions": check_versions}


def both_spaces(queries: Sequence[Query], spaces: int = 2) -> Embeddings:
    """Queries as the project takes them, two of (Q, DIM); the second empty of a model with one space."""
    c, i = (
        torch.from_numpy(np.stack([getattr(q, name) for q in queries])) for name in ("contrastive", "iou")
    )
    return Embeddings(c, i if spaces == 2 else i[:, :0])
