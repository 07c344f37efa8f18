"""How quickly are videos rendered and described, and how near does `pixels` come to the bare decoder?

    python benchmarks/extraction.py WORK OUT.json [--videos 60] [--workers 2]

Renders the sample world's videos in WORK, describes them with `pixels`, both by the commands, and decodes the
same files with PyAV alone, in one thread. Speeds are seconds of film: in a second of the clock, with all
workers, and in a processor second (user and system time of all processes), the fair one beside the decoder.
`busy` is the share of the workers' processors that the command itself used, `processors_idle` that of the
machine's that nothing used. The start of the processes is part of the figures of the commands.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from mmn_index.video.decode import frames_at_rate
from mmn_index.video.pixels import Pixels

COMMAND = str(Path(sys.executable).with_name("mmn-index"))


def processor_seconds() -> float:
    """User and system time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def idle_and_all() -> tuple[int, int]:
    """Ticks of all processors since the machine started: idle or waiting for a disk, and all of them."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def measured(work: Callable[[], float], processors: int) -> dict[str, float]:
    """The speed of some work, which returns how many seconds of film it was."""
    clock, used, (idle, ticks) = time.perf_counter(), processor_seconds(), idle_and_all()
    film = work()
    seconds, used = time.perf_counter() - clock, processor_seconds() - used
    idle, ticks = idle_and_all()[0] - idle, idle_and_all()[1] - ticks
    return {
        "seconds": round(seconds, 2),
        "film_a_second": round(film / seconds, 1),
        "film_a_processor_second": round(film / used, 1),
        "busy": round(used / seconds / processors, 3),
        "processors_idle": round(idle / max(ticks, 1), 3),
    }


def run(*arguments: object) -> None:
    subprocess.run([COMMAND, *map(str, arguments)], check=True)


def film_in(world: Path) -> float:
    """Seconds of all videos of a rendered world."""
    return sum(video["duration"] for video in json.loads((world / "train.json").read_text()).values())


def render(world: Path, videos: int, workers: int) -> float:
    run("playhouse", world, "--train", videos, "--val", 0, "--test", 0, "--workers", workers)
    return film_in(world)


def extract(world: Path, features: Path, workers: int) -> float:
    run("extract", world / "train", "-o", features, "--workers", workers)
    return film_in(world)


def decode(world: Path) -> float:
    """Every frame of the files, and nothing else."""
    for path in (world / "train").glob("*.mp4"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for _ in container.decode(stream):
                pass
    return film_in(world)


def walk(world: Path) -> float:
    """The frames that `pixels` looks at, upright and scaled."""
    for path in (world / "train").glob("*.mp4"):
        for _ in frames_at_rate(path, Pixels.rate * Pixels.frames_per_snippet, size=Pixels.size):
            pass
    return film_in(world)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    world, features = asked.work / "world", asked.work / "features.h5"
    shutil.rmtree(world, ignore_errors=True)  # what is there already would not be made again
    features.unlink(missing_ok=True)
    asked.work.mkdir(parents=True, exist_ok=True)
    videos, workers = asked.videos, asked.workers
    found: dict[str, Any] = {
        "videos": videos,
        "workers": workers,
        "rendering": measured(lambda: render(world, videos, workers), workers),
        "pixels": measured(lambda: extract(world, features, workers), workers),
        "decoder_alone": measured(lambda: decode(world), 1),
        "decoded_and_scaled": measured(lambda: walk(world), 1),
    }
    limit = found["decoder_alone"]["film_a_processor_second"]
    for part in ("pixels", "decoded_and_scaled"):
        found[part]["share_of_the_decoder"] = round(found[part]["film_a_processor_second"] / limit, 3)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
