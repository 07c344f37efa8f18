"""The same moments in short videos and in long ones, joined out of them: what do windows cost?

    python benchmarks/long_videos.py demo/run/model demo/world/test.json demo/world/test OUT [--minutes 40]

The files of VIDEOS, a folder with one mp4 per annotated video, are joined packet by packet, in the order of
their ids, into videos of at least so many minutes. Short and long ones are then described, built and measured
by the same commands, and OUT/table.md has recall over the collection side by side.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

COMMAND = str(Path(sys.executable).with_name("mmn-index"))
DEPTHS, IOUS = (1, 5, 10), (0.5, 0.7)


def join(paths: Sequence[Path], durations: Sequence[float], out: Path) -> list[float]:
    """One file out of several of one coding; where each begins, in seconds."""
    starts, offset = [], 0.0
    with av.open(str(out), "w") as target:
        stream = None
        for path, duration in zip(paths, durations, strict=True):
            with av.open(str(path)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(video)
                base = video.time_base or Fraction(1, 1000)
                shift = round(offset / base)
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.dts, packet.pts, packet.stream = packet.dts + shift, packet.pts + shift, stream
                    target.mux(packet)
            starts.append(offset)
            offset += duration
    return starts


def grouped(videos: dict[str, Any], seconds: float) -> Iterator[list[str]]:
    """Ids in order, cut where the sum of their durations has reached `seconds`."""
    group: list[str] = []
    for name in sorted(videos):
        group.append(name)
        if sum(videos[name]["duration"] for name in group) >= seconds:
            yield group
            group = []
    if group:
        yield group


def run(*arguments: object) -> None:
    subprocess.run([COMMAND, *map(str, arguments)], check=True)


def evaluate(model: str, videos: Path, annotations: Path, out: Path, *options: str) -> dict[str, float]:
    """Recall over the collection, NMS 0.5, the sentence's own moment and any of its label."""
    out.mkdir(parents=True, exist_ok=True)
    features = out.parent / f"{videos.name}.h5"
    if not features.exists():
        run("extract", videos, "-o", features, "--workers", 2)
    run("build", model, features, "-o", out / "c.mmn", "--overwrite", *options)
    run(
        "eval",
        "--corpus",
        "--index",
        out / "c.mmn",
        "--annotations",
        annotations,
        "-o",
        out / "results",
        "--all",
    )
    (section,) = json.loads((out / "results" / "report.json").read_text())["sections"]
    records = section["records"]
    found = {}
    for one in records:
        whole = one.get("part") == "exact scan" and one.get("queries") == "all"
        if whole and one["task"] == "VCMR" and one["nms"] == 0.5 and one["iou"] in IOUS:
            found |= {f"{one['right']} R@{k},IoU={one['iou']}": one[f"R@{k}"] for k in DEPTHS}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("videos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--options", nargs="*", default=[], help="More options of `build` for the long ones.")
    asked = parser.parse_args()
    split = json.loads(asked.annotations.read_text())
    folder = asked.out / "joined"
    folder.mkdir(parents=True, exist_ok=True)
    joined: dict[str, Any] = {}
    for number, group in enumerate(grouped(split, 60 * asked.minutes)):
        name = f"long{number}"
        starts = join(
            [asked.videos / f"{video}.mp4" for video in group],
            [split[video]["duration"] for video in group],
            folder / f"{name}.mp4",
        )
        about: dict[str, Any] = {"timestamps": [], "sentences": [], "labels": []}
        for video, start in zip(group, starts, strict=True):
            own = split[video]
            about["timestamps"] += [[start + a, start + b] for a, b in own["timestamps"]]
            about["sentences"] += own["sentences"]
            about["labels"] += own["labels"]
        about["duration"] = sum(split[video]["duration"] for video in group)
        joined[name] = about
    (asked.out / "joined.json").write_text(json.dumps(joined))
    short = evaluate(asked.model, asked.videos, asked.annotations, asked.out / "short")
    long = evaluate(asked.model, folder, asked.out / "joined.json", asked.out / "long", *asked.options)
    lines = ["| VCMR, NMS 0.5 | short | long | difference |", "|---|---|---|---|"]
    lines += [
        f"| {key} | {short[key]:.1f} | {long[key]:.1f} | {long[key] - short[key]:+.1f} |" for key in short
    ]
    (asked.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
