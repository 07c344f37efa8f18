"""What a model over tubes answers: for each sentence a stretch of one of its video's tubes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model import MMN
from ..proposals import ProposalGrid
from ..tube_file import TubeFile
from ..tube_map import best_answer, iou_targets, rows_of, tube_score
from ..tubes import Tube, tube_iou
from .tube_files import Stretch, TubesOfVideos, TubeTruth
from .viou import LEVELS, Result, measure_tubes


@dataclass(frozen=True)
class TubeAnswer:
    """One sentence, the tube that it describes, and the answer; None where the video has no tube."""

    truth: TubeTruth
    tube: Tube | None


@torch.inference_mode()
def answer_tubes(
    model: MMN,
    truths: Sequence[TubeTruth],
    tubes: TubeFile,
    *,
    official: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[TubeAnswer]:
    """The best proposal of each sentence's own video, by MMN-STVG's score.

    Args:
        official: as the official code chooses, see `tube_map.best_answer`.

    Raises:
        FeatureError: a tube is damaged, or of another width than the model's.
        QueryError: a sentence that the text encoder cannot read.
    """
    training = model.training
    model.eval()
    answers = []
    for done, truth in enumerate(truths, 1):
        found = truth.found(tubes)
        answer = None
        if found:
            pre_clips = torch.stack([tubes.pre_clips(truth.video_id, tube, model.config) for tube in found])
            video, text = model.embed_videos(pre_clips), model.embed_sentences([truth.sentence])
            c, i = ((side * words).sum(dim=2).cpu() for side, words in zip(video, text, strict=True))
            lengths = [len(tube.tube) for tube in found]
            best = best_answer(tube_score(c, i), lengths, model.grid, official=official)
            answer = found[best.tube].tube.rows(best.first, best.end)
        answers.append(TubeAnswer(truth, answer))
        report(done, len(truths))
    model.train(training)
    return answers


def results(answers: Sequence[TubeAnswer]) -> list[Result]:
    """Means by every published evaluator, in percent; see viou.py."""
    given = {one.truth.name: _stretch(one.tube) for one in answers if one.tube is not None}
    return measure_tubes({one.truth.name: one.truth.stretch for one in answers}, given)


def tube_table(answers: Sequence[TubeAnswer]) -> dict[str, float]:
    """`m_vIoU`, `m_tIoU`, `vIoU@0.3` and `vIoU@0.5` in percent, by HC-STVG's own evaluator: plain boxes,
    every frame, hits strictly above; a video without an answer counts 0.
    """
    return dict(results(answers)[0].values)


def submission(answers: Sequence[TubeAnswer]) -> dict[str, Any]:
    """The answers in the form of HC-STVG's challenge, which `eval --metric viou` reads."""
    return {
        one.truth.name: {
            "st_frame": one.tube.first,
            "ed_frame": one.tube.last,
            "bbox": dict(zip(map(str, one.tube.frames.tolist()), one.tube.boxes.tolist(), strict=True)),
        }
        for one in answers
        if one.tube is not None
    }


def _stretch(tube: Tube) -> Stretch:
    return Stretch(tube.first, tube.last, Tube(tube.frames, tube.boxes.double()))


def chances(
    truths: Sequence[TubeTruth], tubes: TubesOfVideos, grid: ProposalGrid
) -> dict[str, dict[str, float]]:
    """What would be reached otherwise, in percent: `chance` by a proposal drawn at random among those of all
    tubes of the video, `random tube, right time` by one of its tubes on the truth's frames, and
    `best proposal` by the one that meets the truth best.
    """
    names = ("chance", "random tube, right time", "best proposal")
    overlaps: dict[str, list[Tensor]] = {name: [] for name in names}
    for truth in truths:
        found = [one.tube for one in truth.found(tubes)]
        drawn, timed = [], []
        for tube in found:
            rows = rows_of(grid.cells, grid.num_clips, len(tube))
            drawn.append(iou_targets(grid, tube, truth.tube)[rows[:, 0] < rows[:, 1]])
            inside = torch.isin(tube.frames, truth.tube.frames)
            some = bool(inside.any())
            cut = Tube(tube.frames[inside], tube.boxes[inside]) if some else None
            timed.append(torch.zeros(()) if cut is None else tube_iou(cut, truth.tube))
        every = torch.cat(drawn) if drawn else torch.zeros(1)
        overlaps[names[0]].append(every)
        overlaps[names[1]].append(torch.stack(timed) if timed else torch.zeros(1))
        overlaps[names[2]].append(every.max()[None])
    return {
        name: {
            "m_vIoU": 100 * _mean([each.mean() for each in found]),
            **{f"vIoU@{m}": 100 * _mean([(each > m).float().mean() for each in found]) for m in LEVELS},
        }
        for name, found in overlaps.items()
    }


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.stack(list(values)).mean())
