"""What a model answers to sentences that are about one video each, for QVHighlights' format."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..model import MMN
from ..moments import nms_top
from ..scoring import Embeddings
from .window_files import Question, WindowAnswer
from .window_metrics import MOST
from .within_video import scores_of


@torch.inference_mode()
def answer_within(
    model: MMN,
    questions: Sequence[Question],
    durations: Mapping[str, float],
    pre_clips: Callable[[str], Tensor],
    *,
    score: str,
    nms: float,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[WindowAnswer]:
    """The first 10 moments for each question; a model has no existence score.

    Args:
        durations: seconds of every video that is asked about.
        pre_clips: (M, D) of a video, by its id.
        nms: temporal IoU above which the worse moment is dropped.

    Raises:
        FeatureError: a video has no usable features.
        QueryError: a sentence that the text encoder cannot read.
    """
    training = model.training
    model.eval()
    by_video: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        by_video.setdefault(question.video, []).append(number)
    found: dict[int, WindowAnswer] = {}
    for video, numbers in by_video.items():
        made = model.embed_videos(pre_clips(video)[None])
        own = Embeddings(made.contrastive[0], made.iou[0])
        scores = scores_of(model, [questions[number].sentence for number in numbers], own, score)
        spans = model.grid.seconds(durations[video])
        for number, kept, row in zip(numbers, nms_top(scores, spans, nms, MOST), scores, strict=True):
            chosen = kept[kept >= 0]
            # The shortest decimals of the float32 times, which are what they mean.
            ends = torch.from_numpy(spans[chosen].numpy().astype(str).astype(np.float64))
            found[number] = WindowAnswer(ends.reshape(-1, 2), row[chosen].double())
        report(len(found), len(questions))
    model.train(training)
    return [found[number] for number in range(len(questions))]
