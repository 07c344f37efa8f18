"""A sentence's scores of all proposals of a video: its 2D maps."""

from math import isnan

import torch

from ..index import MomentIndex
from ..moment_model import MomentModel
from ..scoring import Score
from ..search import score_map
from .library import Opened
from .wire import MapOut, MapsOut


def maps_of(opened: Opened, number: int, sentence: str, score: Score, at: float | None) -> MapsOut:
    """One map for each window of a video.

    Args:
        number: of the video.
        at: only of windows that hold this second.

    Raises:
        QueryError: a sentence that cannot be read, or a score that the index does not have.
    """
    index, model = opened.index, opened.model
    index.check_score(score)
    return MapsOut(
        index=opened.name,
        version=opened.version,
        video=index.video_id(number),
        score=score.name,
        maps=_maps(index, model, number, sentence, score, at),
    )


@torch.inference_mode()
def _maps(
    index: MomentIndex, model: MomentModel, number: int, sentence: str, score: Score, at: float | None
) -> list[MapOut]:
    query = model.embed_sentences([sentence])
    grid = index.manifest.grid
    first = int(index.rows_of(number)[0])
    found = list[MapOut]()
    for place, window in enumerate(index.rows.windows_of(number)):
        if at is None or window.start <= at <= window.start + window.length:
            cells = score_map(index, grid, query, first // len(grid) + place, score).round(6)
            rows = [[None if isnan(value) else value for value in row] for row in cells.tolist()]
            found.append(MapOut(start=window.start, length=window.length, scores=rows))
    return found
