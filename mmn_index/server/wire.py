"""What requests and answers look like on the wire. Times are seconds from the beginning of a video."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sentence = Annotated[str, Field(min_length=1, description="One sentence.")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Two = Annotated[list[int], Field(min_length=2, max_length=2)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Padding = Annotated[float, Field(ge=0, le=300, allow_inf_nan=False)]


class _Strict(BaseModel):
    """A name that is not known is a mistake, not something to ignore."""

    # JSON can say half a character ("\ud800"). Strings with a length are read as UTF-8, which refuses it.
    model_config = ConfigDict(extra="forbid", str_max_length=1 << 20)


class Moment(_Strict):
    """A moment of the index: the server takes the candidate moment that overlaps this part most."""

    video: str
    start: Seconds
    end: Seconds
    tube: int | None = Field(default=None, ge=0, description="Number of the tube, in an index of tubes.")


class SearchRequest(_Strict):
    """What to look for, where, and how to rank it. The members are the options of `mmn-index search`.

    Give exactly one of `query`, `queries` and `like`. One of `not`, `and` and `then` may go with `query`.
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

    index: str | None = Field(default=None, description="Name of the index, if the server has several.")
    query: Sentence | None = Field(default=None, description="One sentence.")
    queries: list[Sentence] | None = Field(
        fail_fast=True, default=None, min_length=1, description="Several sentences; each gets an answer."
    )
    like: Moment | None = Field(default=None, description="Find moments like this one, and leave it out.")
    without: Sentence | None = Field(
        default=None, alias="not", description="Moments that fit `query` rather than this sentence."
    )
    also: Sentence | None = Field(
        default=None, alias="and", description="Only videos that also have a moment of this sentence."
    )
    then: Sentence | None = Field(
        default=None, description="Only videos with a moment of this sentence after one of `query`."
    )
    k: int = Field(default=10, ge=1, description="Number of moments.")
    nms: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Drop the worse of two moments whose temporal IoU is above this; 1 drops none.",
    )
    score: str | None = Field(
        default=None, description="collection, product, contrastive or iou; if not given, the index's."
    )
    hub: float | None = Field(
        default=None, ge=0, le=1, description="How far moments similar to every sentence are ranked lower."
    )
    per_video: int | None = Field(default=None, ge=1, description="At most this many moments per video.")
    videos: list[str] | None = Field(fail_fast=True, default=None, description="Only in these videos.")
    exclude: list[str] = Field(fail_fast=True, default=[], description="Not in these videos.")
    where: list[str] = Field(
        fail_fast=True, default=[], description="Conditions on metadata, e.g. `camera=porch`. All must hold."
    )
    after: Seconds | None = Field(default=None, description="Moments that start at this second or later.")
    before: Seconds | None = Field(default=None, description="Moments that end at this second or earlier.")
    min_length: Seconds | None = Field(default=None, description="Shortest moment.")
    max_length: Seconds | None = Field(default=None, description="Longest moment.")
    min_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Only moments with at least this confidence."
    )
    exact: bool = Field(default=False, description="Scan all moments, even if there is a candidate index.")
    timeout: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Give up after this many seconds."
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
    """A moment that a search found, or any other part of a video."""

    video: str
    start: Seconds
    end: Seconds
    text: str = Field(default="", max_length=2000, description="The sentence that found it.")
    rank: int | None = Field(
        default=None, ge=1, le=1 << 53, description="If not given, its place among the moments of its text."
    )
    score: Number | None = None
    confidence: Number | None = None
    exact: bool | None = Field(default=None, description="`exact` of the answer it comes from.")
    recall: Number | None = Field(default=None, description="`recall` of the answer it comes from.")
    tube: int | None = Field(default=None, ge=0, le=1 << 31, description="Number of the tube, if it has one.")


class ExportRequest(_Strict):
    """Which moments to export, and in which format: one of `mmn-index export`, or clips."""

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

    index: str | None = Field(default=None, description="Name of the index, if the server has several.")
    format: Literal["csv", "json", "jsonl", "srt", "vtt", "edl", "otio", "fcpxml", "clips"] = Field(
        description="csv, json, jsonl: a table; srt, vtt: subtitles, a zip if of several videos; edl, otio, "
        "fcpxml: a time line for editors; clips: a zip of mp4 files."
    )
    moments: list[ExportMoment] = Field(fail_fast=True, min_length=1)
    score_name: str | None = Field(default=None, max_length=100, description="Name of the moments' `score`.")
    padding: Padding = Field(default=0.0, description="Seconds added before and after each clip.")


class _OfTube(BaseModel):
    tube: int | None = Field(default=None, description="Number of the tube. Only in an index of tubes.")
    frame_size: Two | None = Field(default=None, description="Width and height in pixels. With a tube.")
    frame_rate: float | None = Field(default=None, description="Frames per second. With a tube.")
    first_frame: int | None = Field(default=None, description="Its first frame, counted from 1. With a tube.")
    boxes: list[Box] | None = Field(
        default=None, description="x1, y1, x2, y2 in pixels, a box for each frame of the moment. With a tube."
    )


class HitOut(_OfTube):
    """One moment of an answer."""

    rank: int
    video: str
    start: float
    end: float
    score: float
    confidence: float | None = Field(
        default=None, description="Probability that the moment is right, if the index is calibrated."
    )
    row: int = Field(description="Number of the moment in this version of the index.")


class AnswerOut(BaseModel):
    """The moments that were found for one sentence, best first."""

    query: str
    hits: list[HitOut]
    exact: bool = Field(description="Whether a scan of all moments is guaranteed to give the same list.")
    recall: float | None = Field(
        description="If not exact: share of the exact top 10 that was found when this was measured."
    )
    candidates: int = Field(description="Moments whose exact score was computed.")
    moments: int = Field(description="Moments that the search could have found.")
    searched: float = Field(
        default=1.0,
        description="Share of `moments` that was searched. It is below 1 if nodes of a cluster are lost; the "
        "answer is then not exact.",
    )
    refused: float | None = Field(
        default=None,
        description="If `min_confidence` left nothing: the highest confidence that it ruled out.",
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
    score: float = Field(description="Sum of `log_score` of both.")
    first: Part
    second: Part
    searched: float = Field(
        default=1.0,
        description="Share of the moments that was searched. It is below 1 if nodes of a cluster are lost; "
        "better pairs may then be missing.",
    )


class SearchResponse(BaseModel):
    """An answer for each sentence, or pairs if `and` or `then` was given."""

    index: str
    version: int = Field(description="Version of the index; all answers come from it.")
    score: str
    answers: list[AnswerOut]
    pairs: list[PairOut] | None = None
    milliseconds: float = Field(description="From the arrival of the request to its answer.")


class VideoOut(BaseModel):
    """A video of an index."""

    video: str
    duration: float
    metadata: dict[str, str | int | float | bool | None] = Field(
        description="Columns of the video; times in ISO 8601."
    )
    playable: bool = Field(description="Whether the file of the video is there.")
    playback: Literal["direct", "transcode", "none"] | None = Field(
        default=None,
        description="How a browser plays it: `direct`, the file itself (stream); `transcode`, a converted "
        "file (clip, transcoded); `none`, not at all. null in lists, and if the file could not be examined.",
    )
    reason: str | None = Field(default=None, description="Why a browser cannot play the file itself.")


class VideosOut(BaseModel):
    """A page of the videos of an index."""

    index: str
    version: int
    total: int = Field(description="Videos that meet the conditions.")
    videos: list[VideoOut]


class MapOut(BaseModel):
    """The 2D map of one window or tube of a video: all its candidate moments (proposals)."""

    start: float = Field(description="Second of the video at which the window begins.")
    length: float = Field(description="Seconds.")
    tube: int | None = Field(default=None, description="Number of the tube, in an index of tubes.")
    scores: list[list[float | None]] = Field(
        description="Row: first clip; column: last clip; null where there is no proposal."
    )


class MapsOut(BaseModel):
    """The score of a sentence for every proposal of a video. Windows of a long video overlap."""

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
    frame_size: Two = Field(description="Width and height in pixels.")
    frame_rate: float = Field(description="Frames per second.")
    first_frame: int = Field(description="Frame of the first box, counted from 1.")
    boxes: list[Box] = Field(description="x1, y1, x2, y2 in pixels, one box per frame.")


class IndexOut(BaseModel):
    """An index of the server."""

    name: str
    version: int
    videos: int
    moments: int
    score: str
    calibrated: bool = Field(description="Whether its moments have a confidence.")
    tubes: bool = Field(description="Whether its moments belong to tubes, which have boxes.")
    columns: list[str] = Field(description="Metadata columns, for `where`.")
    max_k: int = Field(description="The largest `k` that this server accepts.")


class HealthOut(BaseModel):
    """Which versions are searched. An index in `trouble` has a newer one that could not be opened."""

    status: str = Field(description="ready or degraded.")
    indexes: dict[str, int] = Field(description="Version of each index, by name.")
    trouble: dict[str, str] = Field(description="Reason, by name of the index.")


class VersionOut(BaseModel):
    """The versions of mmn-index and of its API."""

    version: str
    api: str


class ProblemOut(BaseModel):
    """Problem details, RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
