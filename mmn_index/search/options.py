"""How an answer is put together."""

from dataclasses import dataclass, field

from ..errors import QueryError
from ..index import Restriction


@dataclass(frozen=True)
class SearchOptions:
    """How an answer is put together.

    Raises:
        QueryError: a value out of range.
    """

    k: int = 10
    nms: float = (
        0.5  # temporal IoU above which the worse of two moments of a video or tube is dropped; 1: none
    )
    per_video: int | None = None  # at most so many moments of a video
    restriction: Restriction = field(default_factory=Restriction)
    exact: bool = False  # scan everything, candidate index or not
    timeout: float | None = None  # seconds, those of `spent` included
    spent: tuple[
        tuple[str, float], ...
    ] = ()  # what came before the search, such as "to start", and its seconds
    evidence: bool = False  # measure what a confidence is computed from
    min_confidence: float | None = None  # leave out hits that are less sure
    # False: the sentences are embedded by another text side than the one that was calibrated
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
