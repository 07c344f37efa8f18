"""Answers of several windows against several right ones: one-to-one matches, average precision, recall.

Down the list each prediction takes, of the right windows that are left, the one of the highest IoU, if
that is at least m; IoUs and m are compared in double precision, as the published evaluators do. Average
precision is interpolated (of PASCAL VOC, as ActivityNet's detection evaluation has it): at each hit
counts the best precision at it or behind it. By the code of QVHighlights' standalone_eval, the first 10
predictions in the order of the file count, and are then sorted by their scores.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..moments import union_iou
from .window_files import Question, WindowAnswer

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # 0.5:0.05:0.95
MOST = 10  # predictions that count


def average_precisions(answer: WindowAnswer, windows: Tensor, ious: Sequence[float] = IOUS) -> Tensor:
    """Average precision at each IoU of one sentence with at least one right window.

    Args:
        windows: (n, 2) float64, the right ones.

    Returns:
        (ious) float64, 0 to 1; all 0 for an answer without windows.
    """
    order = torch.sort(answer.scores[:MOST], descending=True, stable=True).indices
    near = union_iou(answer.windows[order][:, None], windows[None])
    return torch.stack([_interpolated(matched(near, m) >= 0, len(windows)) for m in ious])


def _interpolated(is_hit: Tensor, total: int) -> Tensor:
    """(P,) bool hits down a list -> interpolated average precision."""
    if not len(is_hit):
        return torch.tensor(0.0, dtype=torch.float64)
    precision = is_hit.double().cumsum(0) / torch.arange(1, len(is_hit) + 1, dtype=torch.float64)
    best_behind = precision.flip(0).cummax(0).values.flip(0)
    return best_behind[is_hit].sum() / total


def matched(near: Tensor, m: float) -> Tensor:
    """The IoU of each prediction, down the list, with the right window that it takes, -1 where it takes none.

    Args:
        near: (P, T) float64 IoU of predictions and right windows.
        m: IoU that a match has at least.

    Returns:
        (P,) float64.
    """
    left = near.clone()
    found = torch.full((len(near),), -1.0, dtype=torch.float64)
    for row in range(len(left)):
        # Of right windows with equal IoU the last is taken: so sorts the published code.
        best, place = left[row].flip(0).max(dim=0)
        if best >= m:
            found[row] = best
            left[:, left.shape[1] - 1 - int(place)] = -1
    return found


def recalled(answer: WindowAnswer, windows: Tensor, k: int, m: float) -> int:
    """How many right windows the first k predictions find, each by another."""
    near = union_iou(answer.windows[:k, None], windows[None])
    return int((matched(near, m) >= 0).sum())


def nearest(answer: WindowAnswer, windows: Tensor) -> float:
    """IoU of the first prediction with the right window that it meets best; 0 without a prediction."""
    near = union_iou(answer.windows[:1, None], windows[None])
    return float(near.max()) if near.numel() else 0.0


def mean_precisions(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> Tensor:
    """(IOUS) float64: mean average precision of the sentences that have a right window."""
    return every_precision(questions, answers).nanmean(dim=0)


def every_precision(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> Tensor:
    """(Q, IOUS) float64: average precision of each sentence; NaN of one without a right window."""
    nothing = torch.full((len(IOUS),), torch.nan, dtype=torch.float64)
    return torch.stack(
        [
            average_precisions(a, q.windows) if len(q.windows) else nothing
            for q, a in zip(questions, answers, strict=True)
        ]
    )
