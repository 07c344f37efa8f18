"""What a search gives back."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Hit:
    """One moment of an answer.

    Attributes:
        rank: from 1.
        video_id: the id of its video.
        start: seconds.
        end: seconds.
        score: by which the moments are ranked; scores of different sentences cannot be compared.
        row: its number in this version of the index.
        video: the number of its video in this version of the index.
        confidence: the probability that it is right, if the index was calibrated for the score.
        tube: its number in the video, in an index of tubes. MomentIndex.rows has the boxes.
    """

    rank: int
    video_id: str
    start: float
    end: float
    score: float
    row: int
    video: int
    confidence: float | None = None
    tube: int | None = None


@dataclass(frozen=True)
class Evidence:
    """What the confidences of an answer are computed from.

    Attributes:
        quantities: (hits, confidence.QUANTITIES) float64.
        error: how far at most `total` is off, at 95 %; 0 if every moment was scored.
    """

    quantities: Tensor
    error: float


@dataclass(frozen=True)
class Answer:
    """What a search found for one query.

    Attributes:
        query: the sentence.
        hits: best first.
        exact: whether a scan of all moments is guaranteed to give the same list.
        recall: if not exact, the measured share of the exact top 10 that the candidate index finds; None if
            what was searched was scanned.
        candidates: moments whose exact score was computed in the last round.
        rounds: how often candidates were asked for.
        moments: how many could have been found.
        evidence: given if it was asked for, or if the index is calibrated.
        searched: share of the moments that was searched; below 1 if nodes of a cluster are lost.
        refused: if `min_confidence` left nothing, the highest confidence that it ruled out.
    """

    query: str
    hits: tuple[Hit, ...]
    exact: bool
    recall: float | None
    candidates: int
    rounds: int
    moments: int
    evidence: Evidence | None = None
    searched: float = 1.0
    refused: float | None = None
