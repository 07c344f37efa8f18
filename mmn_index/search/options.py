"""How an answer is put together."""

from dataclasses import dataclass, field

from ..errors import QueryError
from ..index import Restriction


@dataclass(frozen=True)
class SearchOptions:
    """How an answer is put together.

    Attributes:
        k: how many moments.
        nms: the worse of two moments of a video or tube is dropped if their temporal IoU is above this; 1
            drops none.
        per_video: at most this many moments per video.
        restriction: which moments may be found.
        exact: scan all moments, even if there is a candidate index.
        timeout: seconds, including those of `spent`.
        spent: what came before the search, such as "to start", and its seconds.
        evidence: measure what a confidence is computed from.
        min_confidence: leave out hits with a lower confidence.
        calibrated: False if another text side embeds the sentences than the one that was calibrated.

    Raises:
        QueryError: a value out of range.
    """

    k: int = 10
    nms: float = 0.5
    per_video: int | None = None
    restriction: Restriction = field(default_factory=Restriction)
    exact: bool = False
    timeout: float | None = None
    spent: tuple[tuple[str, float], ...] = ()
    evidence: bool = False
    min_confidence: float | None = None
    calibrated: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise QueryError(f"k is {self.k}, expected at least 1.")
        if not 0 <= self.nms <= 1:
            raise QueryError(
                f"the NMS threshold is {self.nms}, expected a temporal IoU from 0 to 1 (1 switches NMS off)."
            )
        if self.per_video is not None and self.per_video < 1:
            raise QueryError(f"the number of moments a video is {self.per_video}, expected at least 1.")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise QueryError(
                f"--min-confidence is {self.min_confidence:g}, expected a probability from 0 to 1."
            )
        if self.timeout is not None and not self.timeout > 0:
            raise QueryError(f"the timeout is {self.timeout} seconds, expected more than 0.")
