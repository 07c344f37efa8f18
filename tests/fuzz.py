"""Fuzzing of whatever reads files of others: a reader may refuse them with one of our errors, and nothing else.

    pip install atheris
    python tests/fuzz.py READER WORK [-max_total_time=1200 and other flags of libFuzzer]

An input that ends with a traceback is told and kept in WORK, the first of every place in the code; one that
takes over 20 seconds or 2 GiB of memory stops the run, too. `python tests/fuzz.py READER WORK FILE` reads such
a file again. Inputs are mutated by their structure, guided by which lines of the readers they reach.
"""

import copy
import hashlib
import io
import json
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["mmn_index"]):
    from mmn_index.index_build.metadata import read_metadata
    from mmn_index.train.settings import load_setting

    from mmn_index.errors import MmnIndexError
    from mmn_index.evaluation.annotations import read_annotations, read_durations
    from mmn_index.evaluation.made_elsewhere import METRICS
    from mmn_index.evaluation.queries import annotated, queries_of
    from mmn_index.evaluation.report import evaluate_lists
    from mmn_index.evaluation.tube_truths import read_truths
    from mmn_index.evaluation.tvr import read_predictions
    from mmn_index.features import FeatureFile
    from mmn_index.index import MomentIndex
    from mmn_index.index.manifest import _checksum
    from mmn_index.scoring import Embeddings
    from mmn_index.search import SearchOptions
    from mmn_index.search.engine import search_embeddings
    from mmn_index.video.decode import frames_at_rate, probe

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from moving import make_video
from torch.nn.functional import normalize

ROOT = Path(__file__).parents[1]
INDEX = Path(__file__).parent / "data" / "formats" / "4-first" / "index.mmn"
_LIMITS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=100000")
_TYPES = (
    *(pa.null(), pa.bool_(), pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()),
    *(pa.string(), pa.binary(), pa.timestamp("s", "UTC"), pa.date32(), pa.list_(pa.float32())),
    *(pa.dictionary(pa.int32(), pa.string()), pa.struct([("a", pa.int8())]), pa.decimal128(38, 2)),
)
_HEAP = 4096  # bytes of a heap of HDF5
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "\0", "\ud800", "../../x", "/etc/passwd", "v0", "nan", "1e999", "x" * 5000, "\u202e", "é"),
    *([], {}, [[]], [0, 1], [1, 0], [[0, 1]], {"": 0}, [None] * 50, {"v0": {}}),
)


def mutated_json(data: bytes, most: int, seed: int) -> bytes:
    """Some nodes of a document become odd values, copies of others, of another name, or nothing."""
    chance = random.Random(seed)
    try:
        tree = json.loads(data)
    except ValueError:
        tree = None
    if tree is None or chance.random() < 0.1:
        return bytes(atheris.Mutate(data, most))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = list(_places(tree))
        if not places:
            break
        (where, key), (other, name) = chance.choice(places), chance.choice(places)
        what = chance.randrange(5)
        if what == 0 and isinstance(where, dict):
            where[chance.choice(("", "\0", "format", "v0", "x" * 300, f"{key}'"))] = where.pop(key)
        elif what == 1:
            del where[key]
        elif what == 2:
            where[key] = copy.deepcopy(other[name])
        else:
            where[key] = copy.deepcopy(chance.choice(_ODD))
    return json.dumps(tree).encode()[:most]


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def mutated_hdf5(data: bytes, most: int, seed: int) -> bytes:
    """A file of random things below random names, or a file with other bytes. The heap of texts stays as it
    is: where that is damaged, HDF5 itself may never return (HDFGroup/hdf5, issue 1707).
    """
    chance = random.Random(seed)
    if chance.random() < 0.5:
        changed = bytes(atheris.Mutate(data, most))
        heaps = [data[place : place + _HEAP] for place in _places_of(b"GCOL", data)]
        return changed if all(heap in changed for heap in heaps) else data
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        with h5py.File(file.name, "w") as content:
            for _ in range(chance.randrange(5)):
                _random_thing(content, chance)
        return Path(file.name).read_bytes()[:most]


def _places_of(word: bytes, data: bytes) -> Iterator[int]:
    place = data.find(word)
    while place >= 0:
        yield place
        place = data.find(word, place + 1)


def _random_thing(content: h5py.Group, chance: random.Random) -> None:
    name = chance.choice(("v0", "v1", "a/b", "features", "rgb", "v0/rgb", "v0/flow", ".", "é", "x" * 300))
    shape = chance.choice(((), (0,), (7,), (7, 3), (0, 3), (7, 0), (1, 1), (7, 3, 1), (1, 7, 3, 2)))
    kind = chance.choice(("f4", "f8", "f2", "i4", "u1", "c8", "S3", "?", "O", "f4,i4"))
    try:
        if chance.random() < 0.2:
            made: Any = content.require_group(name)
        elif kind == "O":
            made = content.create_dataset(name, shape, dtype=h5py.string_dtype())
        else:
            values = np.full(shape, chance.choice((0, 1, np.nan, np.inf, -1)), dtype="f8")
            with np.errstate(all="ignore"):
                made = content.create_dataset(
                    name, data=values.astype(kind) if "," not in kind else None, shape=shape, dtype=kind
                )
        if chance.random() < 0.3:
            content[name + "'"] = chance.choice((h5py.SoftLink("/nowhere"), h5py.SoftLink("/"), made))
        for _ in range(chance.randrange(3)):
            about = chance.choice(
                ("rate", "fps", "duration", "backbone", "format", "source", "uri", "seconds")
            )
            made.attrs[about] = chance.choice(
                (1, -1, 0.0, np.nan, "x", b"\xff", [1, 2], 1e300, np.zeros((2, 2)))
            )
    except (ValueError, TypeError, KeyError, OSError, RuntimeError):
        return  # HDF5 itself refuses it


def mutated_parquet(data: bytes, most: int, seed: int) -> bytes:
    """A table with other columns, or a file with other bytes."""
    chance = random.Random(seed)
    if chance.random() < 0.4:
        return mutated_bytes(data, most, seed)
    try:
        table = pq.read_table(io.BytesIO(data))
    except (OSError, pa.ArrowException):
        return mutated_bytes(data, most, seed)
    for _ in range(chance.choice((1, 1, 2, 4))):
        with suppress(pa.ArrowException, ValueError, TypeError, OverflowError):
            table = _other_columns(table, chance)
    written = io.BytesIO()
    try:
        pq.write_table(table, written)
    except (pa.ArrowException, ValueError):  # Parquet itself has no room for it
        return data
    return written.getvalue()[:most]


def _other_columns(table: pa.Table, chance: random.Random) -> pa.Table:
    what = chance.randrange(6)
    if what == 0:
        return table.slice(chance.randrange(3), chance.choice((0, 1, 2, table.num_rows)))
    if what == 1:
        return pa.concat_tables([table, table])
    if not table.num_columns:
        return pa.table({"video_id": ["v0"]})
    place = chance.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    if what == 2:
        return table.remove_column(place)
    if what == 3:
        other = chance.choice(("", " ", "video_id", "duration", "\0", "x" * 300, f"{name}'"))
        return table.rename_columns([other if name == one else one for one in table.column_names])
    if what == 4:
        kind = chance.choice(_TYPES)
        try:
            changed = column.cast(kind)
        except pa.ArrowException:
            changed = pa.nulls(table.num_rows, kind)
    else:
        values = column.to_pylist()
        for _ in range(chance.choice((1, 3)) if values else 0):
            values[chance.randrange(len(values))] = chance.choice(_ODD)
        try:
            changed = pa.array(values, column.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            changed = pa.array([None if value is None else str(value)[:400] for value in values])
    return table.set_column(place, name, changed)


def mutated_bytes(data: bytes, most: int, seed: int) -> bytes:
    """A file with other bytes, or cut off."""
    chance = random.Random(seed)
    if chance.random() < 0.1:
        return data[: chance.randrange(len(data) + 1)]
    if chance.random() < 0.5:
        changed = bytearray(data)
        for _ in range(chance.choice((1, 2, 8, 64))):
            if changed:
                changed[chance.randrange(len(changed))] = chance.choice((0, 0xFF, chance.randrange(256)))
        return bytes(changed)
    return bytes(atheris.Mutate(data, most))


SPLIT = {
    "v0": {
        "duration": 20.0,
        "timestamps": [[2.0, 8.0], [9.5, 12.0]],
        "sentences": ["a door opens", "it closes"],
    },
    "v1": {"duration": 9.0, "timestamps": [[0.0, 4.0]], "sentences": ["someone sits down"]},
}
TVR = {
    "video2idx": {"v0": 0, "v1": 1},
    **{
        task: [
            {"desc_id": n, "desc": "a door opens", "predictions": [[0, 2.0, 8.0, 0.9], [1, 0.0, 4.0, 0.1]]}
            for n in range(3)
        ]
        for task in ("VCMR", "SVMR", "VR")
    },
}
WINDOWS = {"qid": 1, "query": "a door opens", "vid": "v0", "pred_relevant_windows": [[2.0, 8.0, 0.9]]}
QUESTION = {"qid": 1, "query": "a door opens", "vid": "v0", "duration": 20, "relevant_windows": [[2, 8]]}
RANKED = {
    "1": {
        "query": "a door opens",
        "relevant_moment": [{"video_name": "v0", "timestamp": [2, 8], "duration": 20, "similarity": 3}],
    }
}
TUBES = {
    "v0.mp4": {
        "English": "a man",
        "bbox": [[1, 2, 3, 4]] * 3,
        "st_frame": 2,
        "ed_frame": 5,
        "img_num": 40,
        "img_size": [240, 320],
    }
}
SETTING = {
    "base": "collection",
    "model": {"text_model": "x", "num_clips": 16, "pooling_counts": [3, 2]},
    "train": {"epochs": 3, "milestones": [2], "lr": 0.001},
    "loss": {"margin": 0.3},
}


class Fuzz:
    """Readers of files, each with its mutator and the files that it begins with."""

    def __init__(self, reader: str, place: Path, work: Path) -> None:
        self._read, self._work, self._place = getattr(self, reader), work / reader, place
        self._known: set[str] = set()
        self._data = b""
        self._index = Path(shutil.copytree(INDEX, place / "index.mmn"))
        (self._segment, *_) = sorted((self._index / "segments").iterdir())
        (place / "truth.json").write_text(json.dumps(SPLIT))
        (place / "truth.jsonl").write_text(json.dumps(QUESTION))
        (place / "ranked.json").write_text(json.dumps(RANKED))
        (place / "tubes.json").write_text(json.dumps(TUBES))
        self._truths = {"ndcg": "ranked.json", "viou": "tubes.json"}
        self._split = read_annotations(place / "truth.json")

    def __call__(self, data: bytes) -> None:
        """Read one file."""
        self._data = data
        self._read(data)

    def annotations(self, data: bytes) -> None:
        """Annotations of every form; the suffix chooses between them."""
        for suffix in (".json", ".jsonl", ".txt"):
            path = self._place / f"split{suffix}"
            path.write_bytes(data)
            self._allowed(lambda path=path: read_annotations(path, lambda video: 10.0))
            self._allowed(lambda path=path: read_durations(path))
            self._allowed(lambda path=path: read_truths(path))

    def hdf5(self, data: bytes) -> None:
        """Features: what is said of each video, and its values."""
        path = self._place / "features.h5"
        path.write_bytes(data)

        def read() -> None:
            with FeatureFile(path) as file:
                for video in file.video_ids:
                    for look in (file.duration, file.source, file.about, file.check, file.read):
                        self._allowed(lambda look=look, video=video: look(video))

        self._allowed(read)

    def manifest(self, data: bytes) -> None:
        """An index by its manifest, whose checksum fits."""
        with suppress(ValueError, TypeError, AttributeError):
            content = json.loads(data)
            content.pop("checksum", None)
            data = json.dumps({**content, "checksum": _checksum(content)}).encode()
        (self._index / "manifest.json").write_bytes(data)
        self._open()

    def parquet(self, data: bytes) -> None:
        """A table of metadata, and the tables of an index."""
        path = self._place / "about.parquet"
        path.write_bytes(data)
        self._allowed(lambda: read_metadata(path))
        for name in ("videos.parquet", "windows.parquet", "moments.parquet"):
            shutil.copytree(INDEX / "segments" / self._segment.name, self._segment, dirs_exist_ok=True)
            (self._segment / name).write_bytes(data)
            content = json.loads((INDEX / "manifest.json").read_text())
            (entry,) = (one for one in content["segments"] if one["id"] == self._segment.name)
            entry["files"][name][0] = len(data)
            self.manifest(json.dumps(content).encode())

    def tvr(self, data: bytes) -> None:
        """Predictions of other systems, in every format."""
        path = self._place / "theirs.json"
        path.write_bytes(data)

        def score() -> None:
            corpus = annotated(self._split)
            queries = queries_of(self._split, corpus)
            lists = read_predictions(path, queries, corpus, self._split.written)
            evaluate_lists(lists, queries, corpus, None)

        self._allowed(score)
        for metric, measure in METRICS.items():
            truth = self._place / self._truths.get(metric, "truth.jsonl")
            self._allowed(lambda measure=measure, truth=truth: measure(truth, path))

    def yaml(self, data: bytes) -> None:
        """Training settings."""
        path = self._place / "mine.yaml"
        path.write_bytes(data)
        self._allowed(lambda: load_setting(str(path)))

    def video(self, data: bytes) -> None:
        """What a video file says of itself, and its first frames."""
        path = self._place / "film.mp4"
        path.write_bytes(data)
        self._allowed(lambda: probe(path))
        frames = frames_at_rate(path, 4.0, size=(32, 32))
        self._allowed(lambda: [frame for frame, _ in zip(frames, range(8), strict=False)])

    def _open(self) -> None:
        def use() -> None:
            index = MomentIndex(self._index)
            assert index.columns is not None
            for video in np.flatnonzero(index.live):
                index.video(int(video))
            width = index.manifest.joint_dim
            queries = Embeddings(*(normalize(torch.ones(1, width), dim=1) for _ in range(2)))
            search_embeddings(index, queries, index.manifest.score, SearchOptions(), ["a door opens"])

        self._allowed(use)

    def _allowed(self, read: Callable[[], object]) -> None:
        """One of our errors, with a text, is an answer; of any other, the first of its kind is told and kept."""
        try:
            read()
        except MmnIndexError as error:
            if str(error).strip():
                return
            trouble: BaseException = error
        except Exception as error:
            trouble = error
        else:
            return
        frames = traceback.extract_tb(trouble.__traceback__)
        ours = [
            frame
            for frame in frames
            if Path(frame.filename).is_relative_to(ROOT) and ".venv" not in frame.filename
        ]
        kind = f"{type(trouble).__name__} at {ours[-1].filename}:{ours[-1].lineno}"
        if kind not in self._known:
            self._known.add(kind)
            path = self._work.with_name(f"{self._work.name}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}")
            path.write_bytes(self._data)
            sys.stdout.write(f"FOUND {path}: {kind}: {trouble}\n")
            sys.stdout.flush()


def seeds(reader: str, place: Path) -> Iterator[bytes]:
    """What a reader's inputs begin with."""
    if reader in ("annotations", "tvr", "yaml"):
        of = {"annotations": (SPLIT, QUESTION, TUBES, RANKED), "tvr": (TVR, WINDOWS, TUBES, RANKED)}
        for content in of.get(reader, (SETTING,)):
            yield json.dumps(content).encode()
        if reader == "annotations":
            yield b"v0 2.0 8.0##a door opens\nv1 0.0 4.0##someone sits down\n"
    elif reader == "manifest":
        yield (INDEX / "manifest.json").read_bytes()
    elif reader == "parquet":
        yield from (path.read_bytes() for path in sorted(INDEX.glob("segments/*/*.parquet")))
    elif reader == "hdf5":
        yield (INDEX.parent / "first.h5").read_bytes()
    else:
        for name, options in {"a.mp4": {}, "b.mkv": {"codec": "mpeg4"}, "c.mov": {"rotation": 90}}.items():
            yield make_video(place / name, seconds=1.0, **options).read_bytes()


MUTATORS = {"hdf5": mutated_hdf5, "parquet": mutated_parquet, "video": mutated_bytes}


def main() -> None:
    """Fuzz one reader."""
    reader, work, *flags = sys.argv[1:]
    corpus = Path(work) / reader
    corpus.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm"))
    for number, content in enumerate(seeds(reader, place)):
        (corpus / f"seed-{number}").write_bytes(content)
    files = [flag for flag in flags if not flag.startswith("-")] or [str(corpus)]
    more = [flag for flag in flags if flag.startswith("-")]
    arguments = [sys.argv[0], *_LIMITS, f"-artifact_prefix={work}/{reader}-", *more, *files]
    mutator = MUTATORS.get(reader, mutated_json)
    atheris.Setup(arguments, Fuzz(reader, place, Path(work)), custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
