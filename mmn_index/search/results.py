"""What a search gives back."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Hit:
    """One moment of an answer; seconds."""

    rank: int
    video_id: str
    start: float
    end: float
    score: float
    row: int  # in the index
    video: int  # its number in the index
    # probability that it is right, where the index was calibrated for the score
    confidence: float | None = None
    tube: int | None = None  # its number in the video, in an index of tubes; MomentIndex.rows has the boxes


@dataclass(frozen=True)
class Evidence:
    """What the confidences of an answer are computed from."""

    quantities: Tensor  # (hits, confidence.QUANTITIES) float64
    error: float  # how far at most `total` is off, at 95 %; 0 where every moment was scored


@dataclass(frozen=True)
class Answer:
    """What a search found for one query."""

    query: str
    hits: tuple[Hit, ...]
    exact: bool  # proven: a scan of everything gives the same list
    # where it is not: measured share of the exact top 10 that the candidate index finds; None where what was
    # searched was scanned
    recall: float | None
    candidates: int  # moments whose exact score was computed in the last round
    rounds: int
    moments: int  # that could have been found
    evidence: Evidence | None = None  # where it was asked for, or the index is calibrated
    # share of the moments that was searched: below 1 where nodes of a cluster are lost
    searched: float = 1.0
    refused: float | None = None  # highest confidence of what was left out because of `min_confidence`
