"""A picture of a training run: losses, learning rate and validation recall over the epochs."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmn_index.evaluation.plots import check_library

_RECALLS = ("R@", "mIoU", "vIoU@", "m_vIoU", "m_tIoU")  # what validation is measured by


def draw(metrics: Path, picture: Path) -> None:
    """Draw a metrics.jsonl as a PNG.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    check_library()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [line["epoch"] for line in lines]
    recalls = [name for name in lines[-1] if name.startswith(_RECALLS)]
    figure = Figure(
        figsize=(5 * (2 + bool(recalls)), 3.6), layout="constrained"
    )  # no global state, no window
    plots = figure.subplots(1, 2 + bool(recalls))

    def curve(axes: Any, name: str, label: str) -> None:
        axes.plot(epochs, [line.get(name) for line in lines], marker=".", label=label)

    curve(plots[0], "loss_iou", "IoU head")
    plots[0].set_title("loss of the IoU head")
    curve(plots[1], "loss_video", "sentences as negatives")
    curve(plots[1], "loss_sentence", "moments as negatives")
    plots[1].set_title("contrastive losses, not weighted")
    for name in recalls:
        curve(plots[2], name, name)
    if recalls:
        plots[2].set_title("validation, %")
    changes = [after["epoch"] - 0.5 for before, after in pairwise(lines) if after["lr"] != before["lr"]]
    cuts = [
        b["epoch"] - 0.5 for a, b in pairwise(lines) if a["contrastive_weight"] != b["contrastive_weight"]
    ]
    for place, axes in enumerate(plots):
        for number, at in enumerate(changes):
            axes.axvline(
                at, color="0.6", linestyle=":", label="learning rate falls" if place == number == 0 else None
            )
        for at in cuts:
            axes.axvline(
                at, color="0.6", linestyle="--", label="contrastive weight falls" if place == 0 else None
            )
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize="small")
    figure.savefig(picture, dpi=120)
