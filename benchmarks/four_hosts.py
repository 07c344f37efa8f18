"""Building and searching on four hosts of a Ray cluster: network namespaces of this machine, each with an
address, processes and a cable of its own. One cable is cut in the middle of either.

    OMP_NUM_THREADS=1 python benchmarks/four_hosts.py WORK OUT.json [--videos 60] [--queries 1000]

As root, on Linux with the command `ip`. The hosts share the file system, as machines with a network file
system do, but no memory and no other way to each other.

- build: an index by the cluster, while the cable of a host is cut that works on it, equals that of one
  process, byte for byte and answer for answer.
- search: the answers of the cluster equal those of one process. A cable is cut under load: how many answers
  were wrong, how many were partial and said so, and how long it took until they were whole again.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import synthetic
from machine import about
from ray_build import COMMAND, STORE, asked_of, clean, prepare, same
from ray_search import ask, equality, latency
from search import build as build_random

from mmn_index.cluster import connect
from mmn_index.index import MomentIndex
from mmn_index.search import SearchOptions

HOSTS = 4
BRIDGE, NAME, SUBNET = "mmn-bridge", "mmn-host", "10.77.0"
PORT = 6399
HEAD = f"{SUBNET}.1:{PORT}"
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # the hosts are seen by this machine alone
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOAD = 90.0  # seconds of questions after the cut


def ip(*arguments: object, check: bool = True) -> None:
    subprocess.run(["ip", *map(str, arguments)], check=check, capture_output=not check)


def on(host: int, *command: object, **options: Any) -> "subprocess.Popen[bytes]":
    """Run a command on a host."""
    inside = ["ip", "netns", "exec", f"{NAME}{host}", *map(str, command)]
    return subprocess.Popen(inside, env=ENVIRONMENT, **options)


def done(process: "subprocess.Popen[bytes]") -> None:
    if process.wait():
        raise SystemExit(f"{process.args!r} has failed")


def plug(host: int) -> None:
    """Put a host's cable in."""
    ip("link", "set", f"{BRIDGE}{host}", "up")


def cut(host: int) -> None:
    ip("link", "set", f"{BRIDGE}{host}", "down")


@contextmanager
def hosts() -> Iterator[None]:
    """Hosts 1 to HOSTS, at SUBNET.1 and so on."""
    remove()
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("link", "set", BRIDGE, "up")
    for host in range(1, HOSTS + 1):
        name, cable = f"{NAME}{host}", f"{BRIDGE}{host}"
        ip("netns", "add", name)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", cable, "master", BRIDGE)
        plug(host)
        ip("-n", name, "addr", "add", f"{SUBNET}.{host}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")
    try:
        yield
    finally:
        remove()


def remove() -> None:
    """The hosts and all that runs on them."""
    for host in range(1, HOSTS + 1):
        halt(host)
        ip("netns", "delete", f"{NAME}{host}", check=False)
        ip("link", "delete", f"{BRIDGE}{host}", check=False)
    ip("link", "delete", BRIDGE, check=False)


def halt(host: int) -> None:
    """End everything that runs on a host."""
    listed = subprocess.run(["ip", "netns", "pids", f"{NAME}{host}"], capture_output=True, text=True)
    for number in listed.stdout.split():
        subprocess.run(["kill", "-9", number], capture_output=True)


def join(host: int) -> None:
    """Make a host a node of the cluster."""
    which = ["--head", "--port", PORT, "--include-dashboard=false"] if host == 1 else ["--address", HEAD]
    here = ["--node-ip-address", f"{SUBNET}.{host}", "--num-cpus", 1, "--object-store-memory", STORE]
    done(on(host, *RAY, "start", *which, *here, "--disable-usage-stats", stdout=subprocess.DEVNULL))


def building(work: Path, videos: int, queries: int) -> dict[str, Any]:
    films, model, _ = prepare(work, videos)
    whole, root = work / "whole.mmn", work / "hosts.mmn"
    arguments = ["build", films, "--model", model, "-y", "-o"]
    for path in (whole, root):
        clean(path)
    done(subprocess.Popen([*COMMAND, *map(str, [*arguments, whole, "--workers", 1])], env=ENVIRONMENT))
    began = time.monotonic()
    process = on(1, *COMMAND, *arguments, root, "--ray", HEAD)
    parts = f"{root.stem}.features.h5.parts/*/*.h5"
    while process.poll() is None and len([*work.glob(parts)]) < videos // 3:
        time.sleep(0.05)
    assert process.poll() is None, "it was done before the cable was cut"
    cut(HOSTS)
    done(process)
    seconds = round(time.monotonic() - began, 1)
    return {"seconds": seconds, **same(whole, root, asked_of(MomentIndex(whole), queries))}


def searching(work: Path, queries: int) -> dict[str, Any]:
    """On host 1."""
    root = work / "random" / "index"
    if not root.exists():
        build_random(root, 60, "exact")
    local = MomentIndex(root)
    with connect(root, HEAD) as remote:
        found: dict[str, Any] = {
            "moments": local.num_moments,
            "answers": equality(local, remote, queries, exact=True),
            **latency(local, remote, 30, exact=True),
        }
        asked = synthetic.queries(4, seed=5)
        whole = [answer.hits for answer in ask(local, asked, SearchOptions())]
        every = {(hit.row, hit.score) for hits in everything(local, asked) for hit in hits}
        seen: list[tuple[float, str]] = []

        def call() -> None:
            answers = ask(remote, asked, SearchOptions())
            if all(answer.searched == 1 for answer in answers):
                kind = "whole" if [answer.hits for answer in answers] == whole else "wrong"
            else:  # of every moment that is there, its own score
                right = all((hit.row, hit.score) in every for one in answers for hit in one.hits)
                kind = "partial" if right and not any(one.exact for one in answers) else "wrong"
            seen.append((time.monotonic(), kind))

        repeat(call, 5.0)
        at = time.monotonic()
        (work / "cut").touch()  # who reads this holds the cables
        repeat(call, LOAD)
    later = [(when - at, kind) for when, kind in seen]
    partial = [when for when, kind in later if kind == "partial"]
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(later)]
    return {
        **found,
        "a cable is cut": {
            "answers of 4 queries": len(seen),
            "wrong": sum(kind == "wrong" for _, kind in seen),
            "partial, and said so": len(partial),
            "longest wait for an answer, s": round(max(gaps), 2),
            "last partial answer, s after the cut": round(max(partial, default=0.0), 2),
            "whole at the end": seen[-1][1] == "whole",
        },
    }


def everything(index: Any, queries: Any) -> list[Any]:
    options = SearchOptions(k=index.num_moments, nms=1.0)
    return [answer.hits for answer in ask(index, queries, options)]


def repeat(call: Callable[[], None], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        call()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--search", action="store_true", help="This process is on a host, and searches.")
    asked = parser.parse_args()
    work: Path = asked.work.resolve()
    if asked.search:
        asked.out.write_text(json.dumps(searching(work, asked.queries)))
        return
    work.mkdir(parents=True, exist_ok=True)
    with hosts():
        for host in range(1, HOSTS + 1):
            join(host)
        built = building(work, asked.videos, asked.queries)
        plug(HOSTS)
        halt(HOSTS)
        join(HOSTS)
        aside = work / "search.json"
        (work / "cut").unlink(missing_ok=True)
        process = on(1, sys.executable, __file__, work, aside, "--queries", asked.queries, "--search")
        threading.Thread(target=cut_when_told, args=(work / "cut", process), daemon=True).start()
        done(process)
        found = {
            "command": "OMP_NUM_THREADS=1 python benchmarks/four_hosts.py WORK OUT.json --videos "
            f"{asked.videos} --queries {asked.queries}",
            "machine": about(),
            "hosts": HOSTS,
            "build, a cable cut": built,
            "search": json.loads(aside.read_text()),
        }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def cut_when_told(told: Path, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        if told.exists():
            cut(HOSTS)
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main()
