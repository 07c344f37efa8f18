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
from .window_metrics import IOUS, every_precision, matched, recalled

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
    }
    each = decisions(questions, answers, threshold)
    return {name: 100 * value for name, value in found.items()} | _means(each)


def decisions(
    questions: Sequence[Question], answers: Sequence[WindowAnswer], threshold: float
) -> dict[str, Tensor]:
    """Whether each sentence is rightly answered or refused at a threshold (Acc), and its G-mIoU@k: (Q,)
    float64 each, percent.
    """
    pairs = [(q, a, a.sure > threshold) for q, a in zip(questions, answers, strict=True)]
    found = {"Acc": [float((len(q.windows) > 0) == yes) for q, _, yes in pairs]}
    for k in KS:
        each = [_set_iou(a.windows[:k] if yes else a.windows[:0], q.windows) for q, a, yes in pairs]
        found[f"G-mIoU@{k}"] = each
    return {name: 100 * torch.tensor(each, dtype=torch.float64) for name, each in found.items()}


def localisation(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> dict[str, float]:
    """AUROC, and what is independent of a threshold; percent. What the sentences do not allow is left out."""
    present, absent = sureness(questions, answers)
    found = {"AUROC": 100 * ranking_area(present, absent)} if len(present) and len(absent) else {}
    return found | _means(every_localisation(questions, answers))


def sureness(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> tuple[Tensor, Tensor]:
    """Existence scores of the sentences with a moment, and of those without one: (n,) and (m,) float64."""
    pairs = list(zip(questions, answers, strict=True))
    present, absent = (
        torch.tensor([a.sure for q, a in pairs if (len(q.windows) > 0) == which], dtype=torch.float64)
        for which in (True, False)
    )
    return present, absent


def every_localisation(questions: Sequence[Question], answers: Sequence[WindowAnswer]) -> dict[str, Tensor]:
    """Of each sentence what is independent of a threshold: (Q,) float64 each, percent, NaN where it does not
    count. What the sentences do not allow is left out.
    """
    pairs = list(zip(questions, answers, strict=True))
    found: dict[str, Tensor] = {}
    if any(len(q.windows) for q in questions):
        found["mAP"] = every_precision(questions, answers).mean(dim=1)
        found |= {f"mR@{k}": _recalls(pairs, k, 0) for k in KS}
    if any(len(q.windows) > 1 for q in questions):
        found |= {f"mR+@{k}": _recalls(pairs, k, 1) for k in KS}
    return {name: 100 * values for name, values in found.items()}


def _means(each: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(values.nanmean()) for name, values in each.items()}


def _recalls(pairs: Sequence[tuple[Question, WindowAnswer]], k: int, beyond: int) -> Tensor:
    """Of each sentence, over IoUs, the mean share of right windows that are found, those beyond so many; NaN
    where it has no more.
    """
    found = torch.full((len(pairs),), torch.nan, dtype=torch.float64)
    for number, (q, a) in enumerate(pairs):
        if len(q.windows) > beyond:
            each = [max(recalled(a, q.windows, k, m) - beyond, 0) for m in IOUS]
            found[number] = sum(each) / len(each) / (len(q.windows) - beyond)
    return found


def _set_iou(predicted: Tensor, windows: Tensor) -> float:
    if not len(predicted) or not len(windows):
        return float(len(predicted) == len(windows))
    pairs = matched(union_iou(predicted[:, None], windows[None]), 0.0)
    taken = pairs[pairs >= 0]
    return float(taken.sum()) / (len(predicted) + len(windows) - len(taken))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
