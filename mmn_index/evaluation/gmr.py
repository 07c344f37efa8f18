"""Generalised moment retrieval: sentences with none, one or several moments in their video (dymm9977/
generalized-moment-retrieval, its eval/ at 922515c).

A sentence is answered where the system's existence score is above a threshold, and refused where it is
not (equal: refused). Without an existence score the highest score of a window is taken, without a window
0.

    AUROC           area under the ROC curve of the existence score, sentences with a moment against those
                    without
    Rej-P, -R, -F1  of refusing, the positive class; Acc: of the decision
    G-mIoU@k        mean over all sentences, at a threshold: of refused ones and of empty answers the
                    prediction is empty. Both empty 1, one of them empty 0, else the IoUs of matched
                    pairs, summed, over predictions + right windows - pairs, of the first k predictions
    mAP, mR@k       of the sentences with a moment, whatever is refused: mean over IoU 0.5:0.05:0.95 of
                    average precision, and of the share of right windows that the first k predictions find
    mR+@k           of the sentences with several: the share of their right windows beyond the first

A quirk of the code, kept ("disjoint pairs match"): pairs of G-mIoU are matched down the list at an IoU of
0 or more, so that a prediction that meets no right window is paired with one and shrinks the denominator;
its docstring asks for overlap. Its mIoU@k is left out: what it is where predictions are few is not known.
Whether it cuts lists for mAP is not known either; 10 count here. It prints two digits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..confidence import ranking_area
from ..moments import union_iou
from .window_files import Question, WindowAnswer
from .window_metrics import IOUS, matched, mean_precisions, recalled

THRESHOLDS = (0.4, 0.5, 0.6)
KS = (1, 2, 3, 5)


def rejection(
    questions: Sequence[Question], answers: Sequence[WindowAnswer], threshold: float
) -> dict[str, float]:
    """How well sentences without a moment are refused at a threshold, and G-mIoU there; percent."""
    present = torch.tensor([len(one.windows) > 0 for one in questions])
    answered = torch.tensor([one.sure > threshold for one in answers])
    right = float((~present & ~answered).sum())  # refusals that are right
    precision, recall = (_share(right, float(count.sum())) for count in (~answered, ~present))
    found = {
        "Rej-P": precision,
        "Rej-R": recall,
        "Rej-F1": _share(2 * precision * recall, precision + recall),
        "Acc": float((present == answered).double().mean()),
    }
    for k in KS:
        each = [
            _set_iou(a.windows[:k] if yes else a.windows[:0], q.windows)
            for q, a, yes in zip(questions, answers, answered.tolist(), strict=True)
        ]
        found[f"G-mIoU@{k}"] = sum(each) / len(each)
    return {name: 100 * value for name, value in found.items()}


def localisation(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> dict[str, float]:
    """AUROC, and what is independent of a threshold; percent. What the sentences do not allow is left out."""
    pairs = list(zip(questions, answers, strict=True))
    present, absent = (
        torch.tensor([a.sure for q, a in pairs if (len(q.windows) > 0) == which], dtype=torch.float64)
        for which in (True, False)
    )
    found = {"AUROC": ranking_area(present, absent)} if len(present) and len(absent) else {}
    having = [(q, a) for q, a in pairs if len(q.windows)]
    if having:
        found["mAP"] = float(mean_precisions(*zip(*having, strict=True)).mean())
        found |= {f"mR@{k}": _mean_recall(having, k, 0) for k in KS}
    if several := [(q, a) for q, a in having if len(q.windows) > 1]:
        found |= {f"mR+@{k}": _mean_recall(several, k, 1) for k in KS}
    return {name: 100 * value for name, value in found.items()}


def _mean_recall(pairs: Sequence[tuple[Question, WindowAnswer]], k: int, beyond: int) -> float:
    """Mean over sentences and IoUs of the share of right windows that are found, those beyond so many."""
    shares = [
        max(recalled(a, q.windows, k, m) - beyond, 0) / (len(q.windows) - beyond)
        for q, a in pairs
        for m in IOUS
    ]
    return sum(shares) / len(shares)


def _set_iou(predicted: Tensor, windows: Tensor) -> float:
    if not len(predicted) or not len(windows):
        return float(len(predicted) == len(windows))
    pairs = matched(union_iou(predicted[:, None], windows[None]), 0.0)
    taken = pairs[pairs >= 0]
    return float(taken.sum()) / (len(predicted) + len(windows) - len(taken))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
