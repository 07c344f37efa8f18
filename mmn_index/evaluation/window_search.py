"""What an index answers to sentences that are about one video each, for QVHighlights' format.

Each sentence is searched in its own video. Where the index has confidences for the score, that of the best
hit is how sure the answer is that the video has anything of the sentence.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ..index import MomentIndex, Restriction
from ..scoring import Embeddings, Score
from ..search import SearchOptions, search_embeddings
from .corpus import Report, batches, silent
from .window_files import Question, WindowAnswer
from .window_metrics import MOST


def answer_questions(
    index: MomentIndex,
    embeddings: Embeddings,
    score: Score,
    questions: Sequence[Question],
    *,
    nms: float,
    report: Report = silent,
) -> list[WindowAnswer]:
    """The first 10 moments for each question; none where the index does not have its video.

    Args:
        embeddings: of the questions' sentences, two of (Q, C).
        nms: temporal IoU above which the worse moment is dropped.
    """
    known = set(index.video_ids)
    by_video: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        if question.video in known:
            by_video.setdefault(question.video, []).append(number)
    nothing = WindowAnswer(torch.empty(0, 2, dtype=torch.float64), torch.empty(0, dtype=torch.float64))
    found = [nothing] * len(questions)
    done = 0
    for video, numbers in by_video.items():
        options = SearchOptions(k=MOST, nms=nms, restriction=Restriction(videos=(video,)), exact=True)
        for batch in batches(numbers):
            mine = Embeddings(*(x[batch] for x in embeddings))
            answers = search_embeddings(index, mine, score, options, [""] * len(batch))
            for number, answer in zip(batch, answers, strict=True):
                ends = [(hit.start, hit.end) for hit in answer.hits]
                # The shortest decimals of the float32 times, which are what they mean.
                spans = torch.from_numpy(np.array(ends, np.float32).astype(str).astype(np.float64))
                scores = torch.tensor([hit.score for hit in answer.hits], dtype=torch.float64)
                sure = [hit.confidence for hit in answer.hits if hit.confidence is not None]
                found[number] = WindowAnswer(spans.reshape(-1, 2), scores, max(sure, default=None))
            done += len(batch)
            report(done, len(questions), what="in their own videos")
    return found
