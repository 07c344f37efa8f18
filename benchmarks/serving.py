"""A server under load beside a bare loop that embeds and searches one sentence after another.

    python benchmarks/serving.py MODEL FEATURES WORK [--moments 1000000] [--clients 200] [--seconds 60]
    python benchmarks/serving.py MODEL FEATURES WORK --moments 17000 --soak 100000

FEATURES are copied with noise until there are so many moments. The server remembers no sentence. Meanwhile
the index is changed ten times: videos are added and removed, and it is compacted. Each row of each answer
has to be that row of the version that the answer names: the same video, start and end.

--soak sends so many requests to a server as it comes, from 16 clients, and prints its memory after each
tenth of them.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from mmn_index.feature_writer import FeatureWriter
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex
from mmn_index.models import load_model
from mmn_index.search import search

COMMAND = str(Path(sys.executable).with_name("mmn-index"))
WHO = ("a person", "a man", "a woman", "somebody", "the child", "an old man", "the girl", "a cook")
DOES = ("opens", "closes", "takes", "puts down", "cleans", "throws", "holds", "looks at", "lifts", "drops")
WHAT = ("the door", "a book", "the cup", "a bottle", "the lamp", "a box", "the bag", "a chair", "the phone")
HOW = (
    "",
    "slowly",
    "twice",
    "in the kitchen",
    "near the window",
    "with one hand",
    "and sits down",
    "at night",
)


def sentences(seed: int) -> "itertools.cycle[str]":
    """5,760 sentences in an order of their own."""
    found = [" ".join(parts).strip() for parts in itertools.product(WHO, DOES, WHAT, HOW)]
    random.Random(seed).shuffle(found)
    return itertools.cycle(found)


def write_features(source: Path, out: Path, moments: int, per_video: int, prefix: str) -> None:
    rng = np.random.default_rng(len(prefix))
    with FeatureFile(source) as given:
        names = given.video_ids
        with FeatureWriter(out, backbone=given.backbone, rate=given.rate) as writer:
            for number in range(-(-moments // per_video)):
                name = names[number % len(names)]
                x = np.asarray(given.read(name), dtype=np.float32)
                x = x + 0.05 * x.std() * rng.normal(size=x.shape).astype(np.float32)
                writer.add(f"{prefix}{number:06d}", x, duration=given.duration(name), source=None)


def bare(root: Path, seconds: float) -> list[float]:
    index = MomentIndex(root)
    model = load_model(index.model_path)
    asked, times = sentences(0), []
    for _ in range(5):  # the files come from the disk
        search(index, model, [next(asked)])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        search(index, model, [next(asked)])
        times.append(time.monotonic() - began)
    return times


class Connection:
    """A client that is nothing but a connection: on the machine of the server, whatever a client computes is
    taken from the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    async def search(self, sentence: str) -> tuple[int, Any]:
        body = json.dumps({"query": sentence}).encode()
        head = (
            "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        size = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length"))
        return int(lines[0].split()[1]), json.loads(await self._reader.readexactly(size))


Row = tuple[int, str, float, float]  # number, video, start, end


async def load(url: str, clients: int, seconds: float) -> tuple[list[float], list[str], dict[int, set[Row]]]:
    """Seconds of each answer, what failed, and which rows were seen in answers of each version."""
    times: list[float] = []
    wrong: list[str] = []
    seen: dict[int, set[Row]] = {}
    end = time.monotonic() + seconds

    async def ask(number: int) -> None:
        asked = sentences(1 + number)
        async with Connection(url) as server:
            while time.monotonic() < end:
                began = time.monotonic()
                try:
                    status, body = await server.search(next(asked))
                except (OSError, EOFError) as error:
                    wrong.append(repr(error))
                    return
                if status != 200:
                    wrong.append(f"{status}: {body}")
                    continue
                times.append(time.monotonic() - began)
                seen.setdefault(body["version"], set()).update(
                    (hit["row"], hit["video"], hit["start"], hit["end"]) for hit in body["answers"][0]["hits"]
                )

    await asyncio.gather(*(ask(number) for number in range(clients)))
    return times, wrong, seen


def change(root: Path, more: Path, names: list[str], seconds: float, vectors: str) -> subprocess.Popen[bytes]:
    """Ten changes in a process of their own, while the load runs."""
    pause = f"sleep {seconds / 30:.1f}"
    steps = []
    added = " ".join(FeatureFile(more).video_ids)
    for number in range(3):
        steps += [
            f"{COMMAND} update {more} --index {root}",
            f"{COMMAND} remove {names[number]} --index {root}",
            f"{COMMAND} remove {added} --index {root}",
        ]
    steps.append(f"{COMMAND} compact --vectors {vectors} --index {root}")
    return subprocess.Popen(
        ["sh", "-c", f"; {pause}; ".join(steps)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def versions(root: Path, known: dict[int, MomentIndex], ended: threading.Event) -> None:
    """Keep each version of an index open."""
    while not ended.wait(0.2):
        index = MomentIndex(root)
        known.setdefault(index.version, index)


def strange(index: MomentIndex, rows: set[Row]) -> int:
    """How many rows are others than the index's own."""
    ordered = sorted(rows)
    numbers = np.array([row for row, *_ in ordered])
    names = [index.video_id(number) for number in index.videos_of(numbers)]
    spans = index.spans(numbers).astype(float).round(3).tolist()
    return sum(
        (video, [start, end]) != (name, span)
        for (_, video, start, end), name, span in zip(ordered, names, spans, strict=True)
    )


@contextmanager
def served(root: Path, *more: str) -> Iterator[tuple[str, int]]:
    """A server: its address, and its process."""
    line = [COMMAND, "serve", str(root), "--port", "0", *more]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield server.stderr.readline().split("Serving on ")[1].split(";")[0], server.pid
        finally:
            server.send_signal(signal.SIGTERM)


def memory(pid: int, what: str) -> int:
    """MiB that a process holds (VmRSS), or held at most (VmHWM)."""
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{what}:")[1].split("kB")[0]) // 1024


def soak(root: Path, requests: int) -> None:
    async def send(url: str, count: int) -> int:
        left, failed = itertools.count(1), 0

        async def ask(number: int) -> None:
            nonlocal failed
            asked = sentences(number)
            async with Connection(url) as server:
                while next(left) <= count:
                    failed += (await server.search(next(asked)))[0] != 200

        await asyncio.gather(*(ask(number) for number in range(16)))
        return failed

    with served(root) as (url, pid):
        failed, held = asyncio.run(send(url, 1000)), [memory(pid, "VmRSS")]
        for _ in range(10):
            failed += asyncio.run(send(url, requests // 10))
            held.append(memory(pid, "VmRSS"))
            print(f"{held[-1]} MiB", flush=True)
    print(json.dumps({"requests": requests, "failed": failed, "rss_mib": held}))


def told(times: list[float], seconds: float) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {
        "answers": len(times),
        "per_second": round(len(times) / seconds, 2),
        "p50_ms": round(1000 * cuts[49], 1),
        "p95_ms": round(1000 * cuts[94], 1),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--moments", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--vectors", default="auto", help="the candidate index, or exact")
    parser.add_argument("--still", action="store_true", help="change nothing meanwhile")
    parser.add_argument("--soak", type=int, help="requests")
    parser.add_argument("--out", type=Path, help="a file for the JSON that is printed")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    asked.work.mkdir(parents=True, exist_ok=True)
    root, many, more = asked.work / "load.mmn", asked.work / "many.h5", asked.work / "more.h5"
    per_video = len(load_model(asked.model).grid)
    if not root.exists():
        write_features(asked.features, many, asked.moments, per_video, "v")
        write_features(asked.features, more, 20 * per_video, per_video, "w")
        subprocess.run(
            [COMMAND, "build", asked.model, many, "-o", root, "--vectors", asked.vectors], check=True
        )
    if asked.soak:
        soak(root, asked.soak)
        return
    names = MomentIndex(root).video_ids
    alone = told(bare(root, asked.seconds / 3), asked.seconds / 3)
    with served(root, "--cache", "0", "--workers", str(asked.workers)) as (url, pid):
        known: dict[int, MomentIndex] = {}
        ended = threading.Event()
        watching = threading.Thread(target=versions, args=(root, known, ended))
        watching.start()
        changing = None if asked.still else change(root, more, names, asked.seconds, asked.vectors)
        times, wrong, seen = asyncio.run(load(url, asked.clients, asked.seconds))
        if changing is not None:
            changing.wait()
        ended.set()
        watching.join()
        most = memory(pid, "VmHWM")
    together = told(times, asked.seconds)
    result = {
        "moments": MomentIndex(root).num_moments,
        "cores": os.cpu_count(),
        "clients": asked.clients,
        "workers": asked.workers,
        "bare loop": alone,
        "server": together,
        "ratio": round(together["per_second"] / alone["per_second"], 2),
        "failed": len(wrong),
        "versions": len(seen),
        "rows": sum(len(rows) for rows in seen.values()),
        "strange_rows": sum(strange(known[version], rows) for version, rows in seen.items()),
        "server_peak_mib": most,
    }
    print(json.dumps(result, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for text in wrong[:5]:
        print(text)


if __name__ == "__main__":
    main()
