"""Moment retrieval as QVHighlights measures it (Lei et al., NeurIPS 2021; standalone_eval of Moment-DETR).

    mAP         interpolated average precision at IoU 0.5, 0.75, and the mean over 0.5:0.05:0.95
    R1@m        the first prediction has an IoU of at least m with some right window
    short, middle, long    mAP where only right windows of (0, 10], (10, 30], (30, 150] seconds are kept

mIoU, of the first prediction with the right window that it meets best, is not in that code; papers print
it. A sentence with an empty answer counts as 0 here; there it vanishes from mAP, and R1 fails. Highlight
detection (HL-mAP, HIT@1 of saliency scores) is not measured.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .window_files import Question, WindowAnswer
from .window_metrics import IOUS, every_precision, nearest

LENGTHS = {"short": (0, 10), "middle": (10, 30), "long": (30, 150)}  # seconds, the lower end left out
R1 = (0.5, 0.7)


def qvhighlights(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> dict[str, Tensor]:
    """The metrics by name, in percent, of sentences that all have a right window; a length that no window has
    is left out.

    Returns:
        (Q,) float64 each: the metric is the mean of those that are no NaN. A sentence without a window of
        a length is NaN for it.
    """
    each = every_precision(questions, answers)
    first = torch.tensor(
        [nearest(a, q.windows) for q, a in zip(questions, answers, strict=True)], dtype=torch.float64
    )
    found = {f"R1@{m}": (first >= m).double() for m in R1}
    found |= {f"mAP@{m}": each[:, IOUS.index(m)] for m in (0.5, 0.75)} | {"mAP": each.mean(dim=1)}
    for name, (above, most) in LENGTHS.items():
        kept = [_of_length(question, above, most) for question in questions]
        if any(len(question.windows) for question in kept):
            found[f"mAP {name}"] = every_precision(kept, answers).mean(dim=1)
    found["mIoU"] = first
    return {name: 100 * value for name, value in found.items()}


def _of_length(question: Question, above: float, most: float) -> Question:
    lengths = question.windows[:, 1] - question.windows[:, 0]
    return replace(question, windows=question.windows[(lengths > above) & (lengths <= most)])
