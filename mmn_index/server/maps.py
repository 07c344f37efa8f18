"""A sentence's scores of all proposals of a video: its 2D maps. And where a tube is."""

from math import isnan

import torch

from ..handoff.records import boxes_record
from ..index import MomentIndex
from ..moment_model import MomentModel
from ..scoring import Score
from ..search import score_map
from .library import Opened
from .problems import RequestError
from .wire import BoxesOut, MapOut, MapsOut

_MOST_BOXES = 20_000  # ten minutes at 30 a second


def maps_of(
    opened: Opened, number: int, sentence: str, score: Score, at: float | None, tube: int | None = None
) -> MapsOut:
    """One map for each window of a video.

    Args:
        number: of the video.
        at: only of windows that hold this second.
        tube: only of this tube.

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
        maps=_maps(index, model, number, sentence, score, at, tube),
    )


@torch.inference_mode()
def _maps(
    index: MomentIndex,
    model: MomentModel,
    number: int,
    sentence: str,
    score: Score,
    at: float | None,
    tube: int | None,
) -> list[MapOut]:
    query = model.embed_sentences([sentence])
    grid = index.manifest.grid
    rows = index.rows_of(number)[:: len(grid)]
    first, tubes = int(rows[0]), index.rows.tubes(rows)
    found = list[MapOut]()
    for place, window in enumerate(index.rows.windows_of(number)):
        if tube is not None and (tubes is None or tubes[place] != tube):
            continue
        if at is None or window.start <= at <= window.start + window.length:
            cells = score_map(index, grid, query, first // len(grid) + place, score).round(6)
            scores = [[None if isnan(value) else value for value in row] for row in cells.tolist()]
            of = {} if tubes is None else {"tube": int(tubes[place])}
            found.append(MapOut(start=window.start, length=window.length, scores=scores, **of))
    return found


def boxes_between(opened: Opened, number: int, tube: int, start: float, end: float) -> BoxesOut:
    """The boxes of a tube from one second to another.

    Raises:
        RequestError: 404, there are none; 422, they are too many.
    """
    index = opened.index
    found = index.rows.tube_between(number, tube, start, end)
    if found is None:
        raise RequestError(
            404, f"'{index.video_id(number)}' has no tube {tube} from {start:g} to {end:g} s in this index."
        )
    if len(found.tube) > _MOST_BOXES:
        raise RequestError(
            422, f"{len(found.tube):,} boxes, this server gives {_MOST_BOXES:,} at once: ask for less time."
        )
    return BoxesOut(
        index=opened.name, version=opened.version, video=index.video_id(number), **boxes_record(found)
    )
