"""Pushes in children that die at the n-th request to the database, and a look at what they leave; see
test_push_kills.py.

python worker_push_kills.py PLAN

PLAN is JSON: `engine` (postgres or edge), `place` (a folder for collections, or the socket's folder of a server),
`before` and `after` (two versions of an index), `kills` and `seed`. A line of JSON is printed for every kill.

Nothing is computed in this process: forks of a process in which torch has already worked hang.
"""

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import torch
from database_engine import SMALL, content, in_index, left_behind
from edge_client import EdgeClient
from forks import forked
from mmn_index.index_build import push as pushing
from mmn_index.index_build import push_plan

from mmn_index.databases import postgres, qdrant, qdrant_server, qdrant_writer, search
from mmn_index.databases.contract import Database
from mmn_index.databases.target import parse_target
from mmn_index.errors import DatabaseError
from mmn_index.index import MomentIndex

search.SCANNED = push_plan.SCANNED = SMALL
pushing._TUNING = pushing._MEASURING = pushing._LEAST = 4
pushing.BATCH = 256
qdrant_writer._PATIENCE = 0.3


def opened(engine: str, place: str, name: str) -> Database:
    if engine == "postgres":
        return postgres.Postgres(parse_target(f"postgresql://postgres@/postgres?host={place}#{name}"))
    client = EdgeClient(Path(place) / name)
    return qdrant.Qdrant(parse_target(f"qdrant://nowhere/{name}"), client)


def push(plan: dict[str, Any], name: str, version: str, last: int | None) -> int:
    """Push a version of the index: how many requests that took. Dies at one of them, where one is named."""
    torch.set_num_threads(1)
    count = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def one(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return one

    database = opened(plan["engine"], plan["place"], name)
    qdrant_server.Server.call = counted(qdrant_server.Server.call)  # type: ignore[method-assign]
    for kind, method in ((psycopg.Cursor, "execute"), (psycopg.Copy, "write"), (psycopg.Copy, "finish")):
        if hasattr(kind, method):
            setattr(kind, method, counted(getattr(kind, method)))
    pushing.push(MomentIndex(plan[version]), database, lambda *_, **__: None)
    database.close()
    return count


def look(plan: dict[str, Any], name: str) -> tuple[str, int]:
    """Which version readers see, and what is stored beside what they need."""
    torch.set_num_threads(1)
    database = opened(plan["engine"], plan["place"], name)
    try:
        found = content(database)
    except DatabaseError as error:
        return ("nothing" if "holds no moments" in str(error) else str(error)), 0
    which = [version for version in ("before", "after") if in_index(Path(plan[version])) == found]
    beside = left_behind(database)
    database.close()
    return (which[0] if which else "neither"), beside


def in_child(work: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    child, here = forked(_told, work, arguments)
    try:
        found = here.recv()
    except EOFError:
        found = None
    return os.waitpid(child, 0)[1], found


def _told(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return work(*arguments)
    except Exception:
        return traceback.format_exc()


def main(plan: dict[str, Any]) -> None:
    chance = random.Random(plan["seed"])
    for first in (True, False):
        steps = 0
        for number in range(-1, plan["kills"] // 2):
            name, seen = f"k{int(first)}_{number + 1}", "nothing" if first else "before"
            if not first:
                in_child(push, plan, name, "before", None)
            version, last = ("before" if first else "after"), None
            if number >= 0:
                last = chance.randint(1, steps)
            status, count = in_child(push, plan, name, version, last)
            if number < 0:
                steps = count
                if not isinstance(steps, int):
                    sys.exit(f"the push failed: {steps}")
                continue
            state, _ = in_child(look, plan, name)[1]
            again = in_child(push, plan, name, version, None)
            end, beside = in_child(look, plan, name)[1]
            told = {
                "died": os.WIFSIGNALED(status),
                "at": f"{last} of {steps}",
                "first": first,
                "state": state,
                "right": state in (seen, version),
                "again": again[1] if isinstance(again[1], str) else "",
                "end": end == version,
                "beside": beside,
            }
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
