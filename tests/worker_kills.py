"""Runs commands in children that die at the n-th step of their work, and looks at what they leave; see
test_faults.py.

python worker_kills.py PLAN

PLAN is JSON: `folder`, `kills`, `seed` and `commands`, by name: `base`, an index to begin with or null;
`arguments`, with {root} for the index; `again`, one or more lists of arguments that lead to the same content,
for those who try again; and perhaps `shards`, the folder of shards beside the index. A line of JSON is printed for every kill.

Nothing is computed in this process: it imports everything once, and its children are forks of it. Forks of a
process in which torch or FAISS has already worked hang.
"""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dateutil.relativedelta  # noqa: F401  (imported late by pyarrow; once here instead of in every child)
import faiss
import numpy as np
import pyarrow.dataset  # noqa: F401
import torch
import tqdm  # noqa: F401
from forks import forked
from mmn_index.cli.main import main
from mmn_index.index_build import build, candidates, change, embed, film, ingest, publish  # noqa: F401
from mmn_index.index_build.shards import shards_of
from mmn_index.index_build.verify import verify
from transformers import AutoConfig, AutoModel, BertModel  # noqa: F401

from mmn_index import embedding
from mmn_index.evaluation import annotations  # noqa: F401
from mmn_index.index import MomentIndex
from mmn_index.index.manifest import NAME, read_manifest
from mmn_index.index.segment_files import PROGRESS

TRACED = (
    "writer.py",
    "segment.py",
    "segment_tubes.py",
    "segment_writer.py",
    "manifest.py",
    "vectors.py",
    "codes.py",
    "build.py",
    "embed.py",
    "change.py",
    "publish.py",
    "candidates.py",
    "bank.py",
    "shutil.py",
)
CHANGING = (
    "os.rename",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.chmod",
    "os.utime",
    "shutil.copyfile",
    "mmap.__new__",
)
Content = dict[str, str]
encoded: list[int] = []  # videos that went through the encoder, in the child that looks


class Steps:
    """Counts the steps of a command and dies at one of them.

    A step is a line of the modules that write (`lines`), or a call that changes files, before it is made
    (`calls`).

    Args:
        last: the step to die at: a line or a call, and which time that it comes.
    """

    def __init__(self, kind: str, last: tuple[str, int] | None) -> None:
        self.kind, self.last, self.counts = kind, last, Counter[str]()

    def arm(self) -> None:
        if self.kind == "lines":
            sys.settrace(self._called)
        else:
            sys.addaudithook(self._audited)

    def disarm(self) -> None:
        sys.settrace(None)
        self.last, self.kind = None, ""

    def _step(self, name: str) -> None:
        self.counts[name] += 1
        if (name, self.counts[name]) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _called(self, frame: Any, event: str, _: Any) -> Any:
        return self._line if os.path.basename(frame.f_code.co_filename) in TRACED else None

    def _line(self, frame: Any, event: str, _: Any) -> Any:
        if event == "line":
            self._step(f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}")
        return self._line

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = (
            event == "open"
            and isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if self.kind and (event in CHANGING or writes):
            self._step(event)


def in_child(work: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    """Wait for a fork that does some work: its wait status and what the work returned; None if it died."""
    child, here = forked(work, *arguments)
    try:
        found = here.recv()
    except EOFError:
        found = None
    return os.waitpid(child, 0)[1], found


def run(arguments: list[str], root: Path) -> None:
    main([argument.format(root=root) for argument in arguments], standalone_mode=False)


def stepped(kind: str, last: tuple[str, int] | None, arguments: list[str], root: Path) -> dict[str, int]:
    """Run a command and count its steps, or die at one."""
    steps = Steps(kind, last)
    steps.arm()
    run(arguments, root)
    steps.disarm()
    return dict(steps.counts)


def content(root: Path) -> tuple[int, Content] | None:
    """The version of an index, and for every live video a checksum of all its embeddings, spans and boxes;
    None without a manifest.
    """
    if not (root / NAME).exists():
        return None
    index, found = MomentIndex(root), {}
    for number in np.flatnonzero(index.live).tolist():
        rows = index.rows_of(number)
        both = [x.numpy().tobytes() for x in (*index.embeddings(rows), index.hubs(rows))] + [
            index.spans(rows).tobytes(),
            *(boxes.tobytes() for _, boxes in index.rows.tubes_of(number)),
        ]
        found[index.video_id(number)] = hashlib.sha256(b"".join(both)).hexdigest()
    assert len(found) == index.live.sum()
    return index.version, found


def kept(root: Path) -> int:
    """Videos that a killed process brought to the disk."""
    named = {entry.id for entry in read_manifest(root).segments} if (root / NAME).exists() else set()
    files = [path for path in root.glob(f"segments/*/{PROGRESS}") if path.parent.name not in named]
    assert len(files) <= 1
    return int(files[0].read_text()) if files else 0


def leftovers(root: Path) -> list[str]:
    """Every file and folder of an index that its manifest does not name, and those that it names and are not
    there.
    """
    manifest = read_manifest(root)
    named = {Path(NAME), Path("segments"), Path(manifest.model_folder)}
    named |= {Path(manifest.model_folder) / name for name in manifest.model_files}
    named |= {Path(manifest.bank.file)} if manifest.bank else set()
    for entry in manifest.segments:
        named |= {Path("segments") / entry.id, *(Path("segments") / entry.id / name for name in entry.files)}
    return sorted(map(str, named ^ {path.relative_to(root) for path in root.rglob("*")}))


def examine(
    root: Path, again: list[str], before: tuple[int, Content] | None, after: tuple[int, Content]
) -> dict[str, Any]:
    """Which of two states an index is in, and what is wrong with it, now and after the next command."""
    found, wrong, about = content(root), [], {}
    if found not in (before, after):
        return {"state": "neither", "wrong": [f"{found} is neither {before} nor {after}"]}
    if found is not None:
        wrong += verify(root)
    if found == before:
        encoded.clear()
        about["kept"] = kept(root)
        run(again, root)
        about["encoded"] = sum(encoded)
        expected = after
    else:
        victim = min(after[1])
        run(["remove", victim, "--index", "{root}"], root)
        expected = (
            after[0] + 1,
            {video_id: checksum for video_id, checksum in after[1].items() if video_id != victim},
        )
    if content(root) != expected:
        wrong.append(f"the next command made {content(root)}, expected {expected}")
    wrong += [f"left over or missing: {path}" for path in leftovers(root)] + verify(root)
    return {**about, "state": "before" if found == before else "after", "wrong": wrong}


def answer(requests: Connection) -> None:
    """A child that lives on and looks at indexes, so that only the first look is slow."""
    encode = embed.encode

    def counted(model: Any, features: Any, video_ids: Any) -> Any:
        encoded.append(len(video_ids))
        return encode(model, features, video_ids)

    embed.encode = counted
    while (request := requests.recv()) is not None:
        function, *arguments = request
        try:
            requests.send({"content": content, "examine": examine}[function](*arguments))
        except Exception:
            requests.send({"state": "broken", "wrong": [traceback.format_exc()]})


def fresh(about: dict[str, Any], root: Path) -> Path:
    shutil.rmtree(root.parent, ignore_errors=True)
    root.parent.mkdir(parents=True)
    if about["base"] is not None:
        shutil.copytree(about["base"], root)
    if "shards" in about:
        shutil.copytree(about["shards"], shards_of(root))
    return root


def kill_them(plan: dict[str, Any]) -> None:
    here, there = multiprocessing.Pipe()
    if (examiner := os.fork()) == 0:
        here.close()
        try:
            answer(there)
        finally:
            os._exit(1)
    there.close()

    def ask(*request: Any) -> Any:
        here.send(request)
        return here.recv()

    root = Path(plan["folder"]) / "trial" / "collection.mmn"
    states, counts = {}, {}
    for name, about in plan["commands"].items():
        before = ask("content", fresh(about, root))
        for kind in ("lines", "calls"):
            status, counts[name, kind] = in_child(stepped, kind, None, about["arguments"], fresh(about, root))
            assert status == 0, (name, status)
        states[name] = before, ask("content", root)
    points = random.Random(plan["seed"])
    for number in range(plan["kills"]):
        name, about = list(plan["commands"].items())[number % len(plan["commands"])]
        kind = ("lines", "calls")[number // len(plan["commands"]) % 2]
        # Every line counts the same, however often it runs: most of them only fill arrays.
        steps = list(counts[name, kind])  # in the order in which they come for the first time
        # Few come after the manifest was renamed: every fourth round takes one of the last.
        step = points.choice(steps[-8:] if number // len(plan["commands"]) // 2 % 4 == 3 else steps)
        last = step, points.randint(1, counts[name, kind][step])
        fresh(about, root)
        status, _ = in_child(stepped, kind, last, about["arguments"], root)
        again = about["again"][number // len(plan["commands"]) // 2 % len(about["again"])]
        found = {"command": name, "point": last, "status": status, "again": again}
        sys.stdout.write(json.dumps({**found, **ask("examine", root, again, *states[name])}) + "\n")
    here.send(None)
    os.waitpid(examiner, 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    embedding._BATCH, embed._KEPT, candidates._QUERIES = 2, 1, 8
    kill_them(json.loads(Path(sys.argv[1]).read_text()))
