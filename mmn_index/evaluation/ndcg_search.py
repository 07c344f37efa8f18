"""What an index answers to queries whose moments have a graded relevance, in the whole collection."""

from collections.abc import Sequence

import numpy as np

from ..index import MomentIndex
from ..scoring import Embeddings, Score
from ..search import SearchOptions, search_embeddings
from .corpus import Report, batches, silent
from .ndcg import KS, Placed


def rank_moments(
    index: MomentIndex,
    embeddings: Embeddings,
    score: Score,
    queries: Sequence[str],
    *,
    nms: float,
    report: Report = silent,
) -> dict[str, list[Placed]]:
    """The list of each query, as long as the largest K.

    Args:
        embeddings: of the queries' sentences, two of (Q, C).
        queries: their ids.
        nms: temporal IoU above which the worse of two moments of a video is dropped.
    """
    options = SearchOptions(k=max(KS), nms=nms, exact=True)
    found: dict[str, list[Placed]] = {}
    for batch in batches(range(len(queries))):
        mine = Embeddings(*(x[batch] for x in embeddings))
        answers = search_embeddings(index, mine, score, options, [""] * len(batch))
        for number, answer in zip(batch, answers, strict=True):
            found[queries[number]] = [
                Placed(hit.video_id, _plain(hit.start), _plain(hit.end)) for hit in answer.hits
            ]
        report(len(found), len(queries), what="searching")
    return found


def _plain(seconds: float) -> float:
    """The shortest decimal of a float32 time, which is what it means."""
    return float(str(np.float32(seconds)))
