"""What a database holds of an index, and what an engine gives: the search and the push know no more of it.

Moments lie in segments as they do on disk. A segment is sent under a key and is invisible until a published
record names it; the record is replaced in one step, so that a reader sees one version of the index or the
next.
"""

import base64
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ..errors import DatabaseError
from ..index import Restriction
from ..index.selection import Condition
from ..scoring import HUB_SCORES, Score
from .columns import Column

FORMAT = 1


class VersionChangedError(Exception):
    """Another version was published while a search read this one: it has to begin again."""


@dataclass(frozen=True)
class PushedSegment:
    """One segment of an index in a database."""

    key: str  # under which its moments are stored
    id: str  # in the index
    digest: str  # of its files
    rows: int  # in the index, those of removed videos too
    videos: int  # likewise
    skipped: tuple[int, ...] = ()  # videos, rows of videos.parquet, that were never sent
    removed: tuple[int, ...] = ()  # videos that no longer belong to it

    @property
    def dead(self) -> tuple[int, ...]:
        """Videos that were sent and are removed."""
        return tuple(sorted({*self.removed} - {*self.skipped}))


@dataclass(frozen=True)
class Published:
    """What readers see: one version of an index."""

    generation: int  # rises when everything is sent anew
    version: int  # of the index
    origin: str  # where it lay
    fingerprint: str  # of its model
    video_side: str | None  # of its model, where that has one of its own
    joint_dim: int
    spaces: int
    longest: float  # length that no embedding exceeds
    per_window: int
    tubes: bool
    score: Score
    schema: str  # of the columns of videos.parquet, Arrow's IPC form in Base64
    columns: tuple[Column, ...]
    segments: tuple[PushedSegment, ...]
    moments: int  # that can be found
    lists: int = 0  # coarse lists that moments are sorted into; 0: everything is scanned
    trained: int = 0  # moments that there were when the lists were made
    probes: int = 0  # lists that a search visits
    depth: int = 512  # candidates that it draws, for ten moments
    recall: float | None = None  # measured: share of the exact top 10 that it finds
    swept: bool = True  # moments of removed videos are gone

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def of(cls, text: str, where: str) -> "Published":
        """Read what `text` gave.

        Raises:
            DatabaseError: it is damaged, or of another format.
        """
        try:
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise ValueError("of another format; update mmn-index, or push with --overwrite")
            content["score"] = Score(**content["score"])
            content["columns"] = tuple(Column(**column) for column in content["columns"])
            content["segments"] = tuple(
                PushedSegment(**{**one, **{key: tuple(one[key]) for key in ("skipped", "removed")}})
                for one in content["segments"]
            )
            return cls(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise DatabaseError(f"{where}: what it says of its index cannot be read ({error}).") from error

    @property
    def arrow(self) -> pa.Schema:
        """The columns that conditions may name, with their types in the index."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema)))

    @property
    def keys(self) -> list[str]:
        """Of the segments."""
        return [segment.key for segment in self.segments]

    @property
    def dead(self) -> list[tuple[str, list[int]]]:
        """(segment key, videos) that are still there, and removed."""
        return [] if self.swept else [(one.key, list(one.dead)) for one in self.segments if one.dead]

    def firsts(self) -> tuple[np.ndarray, np.ndarray]:
        """First row and first video of each segment, as the index numbers them."""
        rows = np.cumsum([0, *(segment.rows for segment in self.segments)])[:-1]
        videos = np.cumsum([0, *(segment.videos for segment in self.segments)])[:-1]
        return rows, videos

    def with_score(self, name: str | None, hub: float | None) -> Score:
        """As Manifest.with_score."""
        name = self.score.name if name is None else name
        default = self.score.hub if name in HUB_SCORES else 0.0
        return replace(self.score, name=name, hub=default if hub is None else hub)


def read_record(text: str | None, where: str, *, needed: bool = True) -> Published | None:
    """What a database says of its index, or of a push that is under way; None where it says nothing.

    Args:
        needed: else what cannot be read counts as nothing.

    Raises:
        DatabaseError: it is damaged, or of another format.
    """
    if text is None:
        return None
    try:
        return Published.of(text, where)
    except DatabaseError:
        if needed:
            raise
        return None


def schema_text(schema: pa.Schema) -> str:
    """A schema as `Published` keeps it."""
    return base64.b64encode(schema.remove_metadata().serialize().to_pybytes()).decode()


@dataclass(frozen=True)
class Ask:
    """One query: unit vectors (C,) float32; those of the IoU space are (0,) of a model with one space."""

    contrastive: np.ndarray
    iou: np.ndarray
    score: Score
    against: tuple[np.ndarray, np.ndarray] | None = None  # of what the moments should not be


@dataclass(frozen=True)
class Chosen:
    """What a moment has to be like; `restriction.where` is not used, `conditions` take its place."""

    restriction: Restriction = field(default_factory=Restriction)
    conditions: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.restriction) or bool(self.conditions)


@dataclass(frozen=True)
class Rows:
    """Moments of one segment on their way into a database, n of them."""

    row: np.ndarray  # in the segment
    video: np.ndarray  # row of videos.parquet
    spans: np.ndarray  # (n, 2) float32 seconds
    per_window: int
    vectors: np.ndarray  # (n, spaces * C) float16
    hubs: np.ndarray  # (n,) float32
    tubes: np.ndarray | None  # number of the tube in its video
    lists: np.ndarray | None  # coarse list


@dataclass(frozen=True)
class Drawn:
    """Moments that an engine found for a query, n of them, in any order."""

    segment: np.ndarray  # place among the published segments
    row: np.ndarray  # in the segment
    video: np.ndarray  # row of videos.parquet
    video_id: Sequence[str]
    uri: Sequence[str | None]
    spans: np.ndarray  # (n, 2) float32 seconds
    tubes: Sequence[int | None]
    log: np.ndarray  # (n,) float64 logarithmic scores, as the engine computes them
    hubs: np.ndarray  # (n,) float32
    vectors: np.ndarray | None  # (n, spaces * C) float16, where the engine gives them


class Reader(Protocol):
    """One version of what a database holds."""

    published: Published

    def count(self, chosen: Chosen, seconds: float | None) -> int:
        """How many moments may answer."""
        ...

    def known(self, video_ids: Sequence[str]) -> set[str]:
        """Which of some videos there are."""
        ...

    def draw(
        self, ask: Ask, chosen: Chosen, limit: int, probes: int | None, seconds: float | None
    ) -> tuple[Drawn, float | None]:
        """The moments with the best scores.

        Args:
            limit: how many, at least, where there are so many.
            probes: lists to visit; None scans everything.
            seconds: that it may take.

        Returns:
            The moments, and what no other moment's exact score is above; None where that is not known.

        Raises:
            QueryError: it took longer.
        """
        ...

    def of_video(self, video_id: str) -> Drawn:
        """All moments of a video, with their vectors; scores are 0."""
        ...


class Writer(Protocol):
    """A push that no other disturbs.

    Attributes:
        staging: what a push that did not end was about to publish.
    """

    published: Published | None
    staging: Published | None

    def discard(self, keys: Sequence[str], generation: int | None) -> None:
        """Delete what an earlier push may have left of segments, and of the lists of a generation."""
        ...

    def stage(self, goal: Published) -> None:
        """Say what is under way, and make room: tables, columns, indexes.

        Args:
            goal: as it will be published, before anything is measured.
        """
        ...

    def lists(self, generation: int) -> np.ndarray | None:
        """(lists, spaces * C + 1) float32 centres, the last number their mean h; None where there are
        none.
        """
        ...

    def write_lists(self, generation: int, centres: np.ndarray) -> None:
        """Store the centres of a generation, all or none."""
        ...

    def begin(self, key: str, videos: pa.Table, skipped: Sequence[int], columns: Sequence[Column]) -> int:
        """Begin or continue a segment: how many of its moments are there already, the first of those that
        are sent.
        """
        ...

    def add(self, key: str, rows: Rows) -> None:
        """Store moments, all of them or none, or so that a second time does no harm."""
        ...

    def finish(self, key: str) -> None:
        """All moments of a segment have come."""
        ...

    def reader(self, published: Published) -> Reader:
        """See what is staged as if it was published."""
        ...

    def publish(self, published: Published) -> None:
        """Let readers see it."""
        ...

    def sweep(self, published: Published) -> None:
        """Delete what it does not name."""
        ...


class Database(Protocol):
    """A collection of moments in a database.

    Attributes:
        proves: whether what it calls scanned can be called exact: it gives the stored vectors.
    """

    proves: bool

    def reading(self) -> AbstractContextManager[Reader]:
        """The version that is published now.

        Raises:
            DatabaseError: nothing is, or it cannot be reached.
            VersionChangedError: at the end, if that version is not the published one any more, and the
            engine had to     notice.
        """
        ...

    def pushing(self, *, anew: bool = False) -> AbstractContextManager[Writer]:
        """Begin a push.

        Args:
            anew: everything will be sent, so what is published need not be readable.

        Raises:
            DatabaseError: another push is under way, or what is there was not pushed.
        """
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def put_together(**parts: Any) -> Drawn:
    """Moments as an engine lists them, as arrays."""
    count = len(parts["row"])
    return Drawn(
        segment=np.array(parts["segment"], dtype=np.int64),
        row=np.array(parts["row"], dtype=np.int64),
        video=np.array(parts["video"], dtype=np.int64),
        video_id=parts["video_id"],
        uri=parts["uri"],
        spans=np.array(parts["spans"], dtype=np.float32).reshape(count, 2),
        tubes=parts["tubes"],
        log=np.array(parts["log"], dtype=np.float64),
        hubs=np.array(parts["hubs"], dtype=np.float32),
        vectors=parts["vectors"],
    )
