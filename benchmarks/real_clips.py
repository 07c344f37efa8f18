"""Search without training on real film: the form of a proposal's vector, beside chance and the plain mean.

    python benchmarks/real_clips.py CLIPS OUT [--half dev] [--seeds 5] [--contexts 0 0.25 0.5 0.75]

CLIPS is a folder with compose.py, which joins real clips with known boundaries into videos whose frames are
embedded already (see its README), and a HALF of the clips. Each seed's videos go through `build` and
`eval --corpus`; OUT/table.md has the means over seeds and their standard deviation. A sentence counts once
for each of its moments; "video" is recall within the right video, the rest is over all videos, where every
moment with the sentence's label is right.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

COMMAND = str(Path(sys.executable).with_name("mmn-index"))
TEXT = "sentence-transformers/all-MiniLM-L6-v2"
# Column -> task, NMS, right answer, IoU, figure.
COLUMNS = {
    "video R@1,IoU=0.5": ("SVMR", 1.0, "own", 0.5, "R@1"),
    "video R@1,IoU=0.7": ("SVMR", 1.0, "own", 0.7, "R@1"),
    "R@1,IoU=0.5": ("VCMR", 0.5, "label", 0.5, "R@1"),
    "R@10,IoU=0.5": ("VCMR", 0.5, "label", 0.5, "R@10"),
    "AP": ("VCMR", 0.5, "label", 0.5, "AP"),
}


def run(*arguments: object) -> None:
    subprocess.run([COMMAND, *map(str, arguments)], check=True)


def measured(folder: Path, context: float, window: str) -> dict[str, dict[str, float]]:
    """The columns of one index, and chance."""
    root = folder / f"context-{context:g}.mmn"
    run(
        "build",
        folder / "features.h5",
        "--model",
        TEXT,
        "--context",
        context,
        "--window",
        window,
        "-o",
        root,
        "--overwrite",
    )
    results = folder / f"results-{context:g}"
    run(
        "eval",
        "--corpus",
        "--index",
        root,
        "--annotations",
        folder / "annotations.json",
        "-o",
        results,
        "--all",
    )
    (section,) = json.loads((results / "report.json").read_text())["sections"]
    records = section["records"]
    found: dict[str, dict[str, float]] = {"measured": {}, "chance": {}}
    for name, (task, nms, right, iou, figure) in COLUMNS.items():
        (one,) = [
            record
            for record in records
            if record.get("part") == "exact scan"
            and record.get("queries") == "all"
            and (record["task"], record["nms"], record["right"], record["iou"]) == (task, nms, right, iou)
        ]
        found["measured"][name] = one[figure]
        if figure in one["chance"]:  # of AP there is none
            found["chance"][name] = one["chance"][figure]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--half", default="dev")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--contexts", type=float, nargs="+", default=[0, 0.25, 0.5, 0.75])
    parser.add_argument("--window", default="0", help="Seconds of a map; 0 is one for each video.")
    asked = parser.parse_args()
    table: dict[str, list[dict[str, float]]] = {}
    for seed in range(asked.seeds):
        folder = asked.out / f"seed{seed}"
        compose = [
            sys.executable,
            asked.clips / "compose.py",
            asked.clips / asked.half,
            folder,
            "--seed",
            str(seed),
        ]
        subprocess.run(compose, check=True)
        for context in asked.contexts:
            found = measured(folder, context, asked.window)
            table.setdefault(f"context {context:g}", []).append(found["measured"])
        table.setdefault("chance", []).append(found["chance"])
    lines = [f"| vector | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, rows in table.items():
        cells = [[row[column] for row in rows if column in row] for column in COLUMNS]
        text = [
            f"{mean(cell):.1f} ± {stdev(cell) if len(cell) > 1 else 0:.1f}" if cell else "" for cell in cells
        ]
        lines.append(f"| {name} | {' | '.join(text)} |")
    (asked.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
