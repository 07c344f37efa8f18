"""How quickly are videos rendered and described, and how near does `pixels` come to the bare decoder?

    python benchmarks/extraction.py WORK OUT.json [--videos 60] [--workers 2] [--earlier FOLDER]

Renders the sample world's videos in WORK and describes them with `pixels`, both by the commands; decodes the
same files with PyAV alone, in one thread; and encodes some of them again as the renderer does. Speeds are
seconds of film: in a second of the clock, with all workers, and in a processor second (user and system time
of all processes), the fair one beside the decoder. `busy` is the share of the workers' processors that the
command itself used, `processors_idle` that of the machine's that nothing used. The start of the processes is
part of the figures of the commands.

--earlier measures an earlier version in the same run, and whether it makes the same files. FOLDER is made by

    pip install --no-deps --target FOLDER git+file://$PWD@COMMIT
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
from unittest import mock

import av
import numpy as np
from machine import about
from mmn_index.train.playhouse import render as render_module

from mmn_index.features import FeatureFile
from mmn_index.video.decode import frames_at_rate
from mmn_index.video.pixels import Pixels

COMMAND = [sys.executable, "-c", "from mmn_index.cli.main import main; main()"]
ENCODED = 8  # videos that are encoded again


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


def run(earlier: Path | None, *arguments: object) -> None:
    """A command, of this version or of an earlier one."""
    # Safe path: run in the project's folder, Python would take the package of this version first.
    other = {} if earlier is None else {"PYTHONPATH": str(earlier.resolve()), "PYTHONSAFEPATH": "1"}
    place = {**os.environ, **other}
    subprocess.run([*COMMAND, *map(str, arguments)], check=True, env=place)


def film_in(world: Path) -> float:
    """Seconds of all videos of a rendered world."""
    return sum(video["duration"] for video in json.loads((world / "train.json").read_text()).values())


def render(world: Path, videos: int, workers: int, earlier: Path | None = None) -> float:
    run(earlier, "playhouse", world, "--train", videos, "--val", 0, "--test", 0, "--workers", workers)
    return film_in(world)


def extract(world: Path, features: Path, workers: int, earlier: Path | None = None) -> float:
    run(earlier, "extract", world / "train", "-o", features, "--workers", workers)
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


def pictures_of(world: Path) -> list[list[np.ndarray]]:
    """Some of the videos, decoded."""
    found = []
    for path in sorted((world / "train").glob("*.mp4"))[:ENCODED]:
        with av.open(str(path)) as container:
            found.append([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return found


def encode(videos: list[list[np.ndarray]], path: Path) -> float:
    """What is left of rendering without drawing."""
    with mock.patch.object(render_module, "frames", lambda drawn: drawn):
        for drawn in videos:
            render_module.write_video(drawn, path)  # type: ignore[arg-type]
    return sum(map(len, videos)) / render_module.FPS


def walk(world: Path) -> float:
    """The frames that `pixels` looks at, upright and scaled."""
    for path in (world / "train").glob("*.mp4"):
        for _ in frames_at_rate(path, Pixels.rate * Pixels.frames_per_snippet, size=Pixels.size):
            pass
    return film_in(world)


def beside(work: Path, earlier: Path, videos: int, workers: int) -> dict[str, Any]:
    """An earlier version, and whether videos and features are the same."""
    worlds, features = [work / name / "world" for name in ("", "earlier")], work / "earlier" / "features.h5"
    installed = next(earlier.glob("mmn_index-*.dist-info/direct_url.json"))
    found: dict[str, Any] = {
        "commit": json.loads(installed.read_text())["vcs_info"]["commit_id"],
        "rendering": measured(lambda: render(worlds[1], videos, workers, earlier), workers),
        "pixels": measured(lambda: extract(worlds[0], features, workers, earlier), workers),
    }
    pairs = [(path, worlds[1] / "train" / path.name) for path in (worlds[0] / "train").glob("*.mp4")]
    found["rendering"]["same_files"] = all(one.read_bytes() == other.read_bytes() for one, other in pairs)
    with FeatureFile(work / "features.h5") as ours, FeatureFile(features) as theirs:
        names = ours.video_ids
        found["pixels"]["same_features"] = names == theirs.video_ids and all(
            np.array_equal(ours.read(name), theirs.read(name)) for name in names
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--earlier", type=Path, help="an earlier version, to be measured as well")
    asked = parser.parse_args()
    world, features = asked.work / "world", asked.work / "features.h5"
    for made in (world, asked.work / "earlier"):  # what is there already would not be made again
        shutil.rmtree(made, ignore_errors=True)
    features.unlink(missing_ok=True)
    (asked.work / "earlier").mkdir(parents=True)
    videos, workers = asked.videos, asked.workers
    found: dict[str, Any] = {
        "command": f"python benchmarks/extraction.py WORK OUT.json --videos {videos} --workers {workers}"
        + (" --earlier FOLDER" if asked.earlier else ""),
        "machine": about(),
        "videos": videos,
        "workers": workers,
        "rendering": measured(lambda: render(world, videos, workers), workers),
        "pixels": measured(lambda: extract(world, features, workers), workers),
    }
    drawn = pictures_of(world)
    found |= {
        "decoder_alone": measured(lambda: decode(world), 1),
        "encoder_alone": measured(lambda: encode(drawn, asked.work / "again.mp4"), 1),
        "decoded_and_scaled": measured(lambda: walk(world), 1),
    }
    limit = found["decoder_alone"]["film_a_processor_second"]
    for part in ("pixels", "decoded_and_scaled"):
        found[part]["share_of_the_decoder"] = round(found[part]["film_a_processor_second"] / limit, 3)
    if asked.earlier is not None:
        found["earlier"] = beside(asked.work, asked.earlier, videos, workers)
        for part in ("rendering", "pixels"):
            now, before = (one[part]["film_a_processor_second"] for one in (found, found["earlier"]))
            found[part]["times_the_earlier"] = round(now / before, 2)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
