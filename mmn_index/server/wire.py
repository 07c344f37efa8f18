"""What requests and answers look like on the wire. Times are seconds from the beginning of a video."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sentence = Annotated[str, Field(min_length=1, description="One sentence.")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Two = Annotated[list[int], Field(min_length=2, max_length=2)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class _Strict(BaseModel):
    """A name that is not known is a mistake, not something to ignore."""

    # JSON can say half a character ("\ud800"). Strings with a length are read as UTF-8, which refuses it.
    model_config = ConfigDict(extra="forbid", str_max_length=1 << 20)


class Moment(_Strict):
    """A moment of the index: the proposal that overlaps it most is meant."""

    video: str
    start: Seconds
    end: Seconds
    tube: int | None = Field(default=None, ge=0, description="In an index of tubes: which one.")


class SearchRequest(_Strict):
    """What is looked for, where, and how the answer is put together: the options of `mmn-index search`.

    Exactly one of `query`, `queries` and `like` is given.
    """

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "examples": [
                {"query": "a person opens the door"},
                {"query": "a person opens the door", "then": "a person sits down", "k": 5},
                {"like": {"video": "porch/cam1", "start": 12.0, "end": 18.5}, "per_video": 1},
            ]
        },
    )

    index: str | None = Field(default=None, description="Which index; not needed where there is one.")
    query: Sentence | None = None
    queries: list[Sentence] | None = Field(
        fail_fast=True, default=None, min_length=1, description="Several sentences, an answer each."
    )
    like: Moment | None = Field(default=None, description="Moments like this one; itself is left out.")
    without: Sentence | None = Field(
        default=None, alias="not", description="Moments that fit the query rather than this."
    )
    also: Sentence | None = Field(
        default=None, alias="and", description="Videos that have a moment of this as well."
    )
    then: Sentence | None = Field(default=None, description="Videos that have one of this later.")
    k: int = Field(default=10, ge=1, description="How many moments.")
    nms: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The worse of two moments above this temporal IoU is dropped; 1 drops none.",
    )
    score: str | None = Field(
        default=None, description="collection, product, contrastive or iou; else the index's own."
    )
    hub: float | None = Field(
        default=None, ge=0, le=1, description="How far moments like every sentence rank lower."
    )
    per_video: int | None = Field(default=None, ge=1, description="At most so many moments of a video.")
    videos: list[str] | None = Field(fail_fast=True, default=None, description="Only in these.")
    exclude: list[str] = Field(fail_fast=True, default=[], description="Not in these.")
    where: list[str] = Field(
        fail_fast=True, default=[], description="Conditions on metadata, such as `camera=porch`; all hold."
    )
    after: Seconds | None = Field(default=None, description="Moments that start then or later.")
    before: Seconds | None = Field(default=None, description="Moments that end then or earlier.")
    min_length: Seconds | None = None
    max_length: Seconds | None = None
    min_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Only moments that are at least as sure."
    )
    exact: bool = Field(default=False, description="Scan everything, also where there is a candidate index.")
    timeout: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Seconds, waiting included."
    )

    @model_validator(mode="after")
    def _one_question(self) -> "SearchRequest":
        if sum(x is not None for x in (self.query, self.queries, self.like)) != 1:
            raise ValueError("give exactly one of query, queries and like")
        second = [x for x in (self.without, self.also, self.then) if x is not None]
        if len(second) > (0 if self.query is None else 1):
            raise ValueError("not, and, then go with one query, one of them at a time")
        return self

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is embedded as queries."""
        return (self.query,) if self.query is not None else tuple(self.queries or ())

    @property
    def all_sentences(self) -> tuple[str, ...]:
        """All that is embedded."""
        return (*self.sentences, *(x for x in (self.without, self.also, self.then) if x is not None))


class ExportMoment(_Strict):
    """A moment as a search answered, or any other part of a video."""

    video: str
    start: Seconds
    end: Seconds
    text: str = Field(default="", max_length=2000, description="The sentence it was found by.")
    rank: int | None = Field(default=None, ge=1, le=1 << 53, description="Else its place among its text.")
    score: Number | None = None
    confidence: Number | None = None
    exact: bool | None = Field(default=None, description="Of the answer it is of.")
    recall: Number | None = Field(default=None, description="Of the answer it is of.")
    tube: int | None = Field(default=None, ge=0, le=1 << 31, description="Of an index of tubes: which one.")


class ExportRequest(_Strict):
    """What is handed on, and how: the formats of `mmn-index export`, or clips."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "format": "csv",
                    "moments": [
                        {
                            "video": "porch/cam1",
                            "start": 12.0,
                            "end": 18.5,
                            "text": "a person opens the door",
                        }
                    ],
                }
            ]
        },
    )

    index: str | None = Field(default=None, description="Which index; not needed where there is one.")
    format: Literal["csv", "json", "jsonl", "srt", "vtt", "edl", "otio", "fcpxml", "clips"] = Field(
        description="A table, subtitles (of several videos a zip), a time line for editors, or a zip of mp4 "
        "files."
    )
    moments: list[ExportMoment] = Field(fail_fast=True, min_length=1)
    score_name: str | None = Field(default=None, max_length=100, description="Which score theirs is.")
    padding: Seconds = Field(default=0.0, le=300, description="Seconds added before and after each clip.")


class _OfTube(BaseModel):
    tube: int | None = Field(default=None, description="Of an index of tubes, as all below: which one.")
    frame_size: Two | None = Field(default=None, description="Width and height, pixels.")
    frame_rate: float | None = Field(default=None, description="Frames a second.")
    first_frame: int | None = Field(default=None, description="Of the moment, counted from 1.")
    boxes: list[Box] | None = Field(
        default=None, description="x1, y1, x2, y2 in pixels, a box for each frame of the moment."
    )


class HitOut(_OfTube):
    """One moment of an answer."""

    rank: int
    video: str
    start: float
    end: float
    score: float
    confidence: float | None = Field(
        default=None, description="Probability that it is right, if the index is calibrated."
    )
    row: int = Field(description="Its number in this version of the index.")


class AnswerOut(BaseModel):
    """The moments that were found for one sentence, best first."""

    query: str
    hits: list[HitOut]
    exact: bool = Field(description="Proven: a scan of everything gives the same list.")
    recall: float | None = Field(
        description="If not exact: measured share of the exact top 10 that is found."
    )
    candidates: int = Field(description="Moments whose exact score was computed.")
    moments: int = Field(description="Moments that could have been found.")
    searched: float = Field(
        default=1.0,
        description="Share of these that was searched: below 1, and then not exact, where nodes of a cluster "
        "are lost.",
    )
    refused: float | None = Field(
        default=None,
        description="Highest confidence of what `min_confidence` left out, where nothing is left.",
    )


class Part(_OfTube):
    """One moment of a pair."""

    start: float
    end: float
    log_score: float


class PairOut(BaseModel):
    """Two moments of one video."""

    rank: int
    video: str
    score: float = Field(description="The sum of both logarithmic scores.")
    first: Part
    second: Part
    searched: float = Field(
        default=1.0,
        description="Share of the moments that was searched: below 1, and then the pairs are not proven to "
        "be the best, where nodes of a cluster are lost.",
    )


class SearchResponse(BaseModel):
    """An answer for each sentence, or pairs where `and` or `then` was asked for."""

    index: str
    version: int = Field(description="Of the index; all answers are of this one.")
    score: str
    answers: list[AnswerOut]
    pairs: list[PairOut] | None = None
    milliseconds: float = Field(description="From the request's arrival to its answer.")


class VideoOut(BaseModel):
    """A video of an index."""

    video: str
    duration: float
    metadata: dict[str, str | int | float | bool | None] = Field(
        description="Its columns; times in ISO 8601."
    )
    playable: bool = Field(description="Whether its file is there.")
    playback: Literal["direct", "transcode", "none"] | None = Field(
        default=None,
        description="How a browser plays it: `direct` the file itself (stream), `transcode` what is made of "
        "it (clip, transcoded), `none` not at all; null in lists, and where no look into it was possible.",
    )
    reason: str | None = Field(default=None, description="Why not directly, for people.")


class VideosOut(BaseModel):
    """A page of the videos of an index."""

    index: str
    version: int
    total: int
    videos: list[VideoOut]


class MapOut(BaseModel):
    """The 2D map of one window or tube of a video: all its proposals."""

    start: float
    length: float
    tube: int | None = Field(default=None, description="In an index of tubes: which one.")
    scores: list[list[float | None]] = Field(
        description="Row: first clip; column: last clip. null where no proposal is."
    )


class MapsOut(BaseModel):
    """A sentence's score of every proposal of a video; a long video has several windows, which overlap."""

    index: str
    version: int
    video: str
    score: str
    maps: list[MapOut]


class BoxesOut(BaseModel):
    """The boxes of a tube."""

    index: str
    version: int
    video: str
    tube: int
    frame_size: Two = Field(description="Width and height, pixels.")
    frame_rate: float = Field(description="Frames a second.")
    first_frame: int = Field(description="Of the boxes, counted from 1.")
    boxes: list[Box] = Field(description="x1, y1, x2, y2 in pixels, one a frame.")


class IndexOut(BaseModel):
    """An index of the server."""

    name: str
    version: int
    videos: int
    moments: int
    score: str
    calibrated: bool
    tubes: bool = Field(description="Whether its moments are of tubes, which have boxes.")
    columns: list[str] = Field(description="Of metadata, for `where`.")
    max_k: int = Field(description="The largest `k` that this server takes.")


class HealthOut(BaseModel):
    """`trouble` says why a newer version of an index could not be opened; the older one is answered from."""

    status: str
    indexes: dict[str, int] = Field(description="Name to version.")
    trouble: dict[str, str]


class VersionOut(BaseModel):
    """Of mmn-index, and of its API."""

    version: str
    api: str


class ProblemOut(BaseModel):
    """Problem details, RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
