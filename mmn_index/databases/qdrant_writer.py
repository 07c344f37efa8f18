"""A push to Qdrant. There are no locks: a push says in a point of its own that it lives."""

import hashlib
import itertools
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import models

from ..errors import DatabaseError, MmnIndexError
from .columns import Column, user_columns, values_of
from .contract import Published, Rows, read_record
from .qdrant_query import absent, index_of, key_of, match, match_any, payload_of
from .qdrant_reader import QdrantReader
from .qdrant_server import OWNER, PUBLISHED, STAGING, Server

_VECTORS = ("contrastive", "iou")
_KINDS = models.PayloadSchemaType
_INDEXES = {
    **dict.fromkeys(("segment", "video_id", "uri"), _KINDS.KEYWORD),
    **dict.fromkeys(("video", "list", "centre_of"), _KINDS.INTEGER),
    **dict.fromkeys(("duration", "start", "end", "length"), _KINDS.FLOAT),
}
_AT_ONCE = 256  # points of a request
_BEAT = 1.0  # seconds between two signs of life of a push
_PATIENCE = 5.0  # seconds without one, and it is taken for dead


class QdrantWriter:
    """A push; it lives as long as its sign of life changes."""

    def __init__(self, server: Server, *, anew: bool = False) -> None:
        self._server, self._me, self._spaces = server, uuid.uuid4().hex, 2
        self._wait_for_others()  # what they publish until then is there
        published, staging = server.told(PUBLISHED), server.told(STAGING)
        self.published = read_record(published, server.shown, needed=not anew)
        self.staging = read_record(staging, server.shown, needed=False)
        self._ours = published is not None or staging is not None
        self._payloads: list[dict[str, Any]] = []  # of the videos of the segment that is sent

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Show that this push lives, as long as it does, in a collection that is ours."""
        done, beats = threading.Event(), itertools.count(1)

        def beat() -> None:
            while not done.wait(_BEAT):
                if self._ours:
                    with suppress(MmnIndexError):  # the push itself will say what is wrong
                        self._check_owner()  # one that slept too long must not wake up as the owner
                        self._server.tell(OWNER, f"{self._me} {next(beats)}")

        if self._ours:
            self._server.tell(OWNER, f"{self._me} 0")
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            with suppress(MmnIndexError):  # the server may be gone; then the next push waits a moment
                if (self._server.told(OWNER) or "").startswith(self._me):
                    self._server.call("delete", points_selector=[OWNER], wait=True)

    def _wait_for_others(self) -> None:
        owner, began = self._server.told(OWNER), time.monotonic()
        while owner is not None and time.monotonic() < began + _PATIENCE:
            time.sleep(_PATIENCE / 10)
            if (now := self._server.told(OWNER)) != owner:
                if now is None:
                    break
                raise DatabaseError(f"{self._server.shown}: another push is under way. Wait for it to end.")

    def _check_owner(self) -> None:
        owner = self._server.told(OWNER)
        if owner is None and not self._ours:
            return
        if owner is None or not owner.startswith(self._me):  # none: another has ended meanwhile
            raise DatabaseError(f"{self._server.shown}: another push took over. Push again.")

    def discard(self, keys: Sequence[str], generation: int | None) -> None:
        """See contract.Writer."""
        if self._ours:
            self._check_owner()
            gone = [models.Filter(must=[match_any("segment", keys)])] if keys else []
            gone += [] if generation is None else [models.Filter(must=[match("centre_of", generation)])]
            self._delete(gone)

    def stage(self, goal: Published) -> None:
        """See contract.Writer."""
        self._check_owner()
        wanted = dict.fromkeys(_VECTORS[: goal.spaces], goal.joint_dim)
        there = self._widths()
        if there is not None and there != wanted:
            if not self._ours:
                raise DatabaseError(
                    f"{self._server.shown}: is there and was not filled by `push`: its vectors are {there}, "
                    f"expected {wanted}. Name another collection."
                )
            self._ours = False  # no sign of life while there is no collection
            self._server.call("delete_collection")  # what vectors it has was said when it was made
            self.published, there = None, None
        if there is None:
            self._create(wanted)
        indexes = {} if self.published is not None else dict(_INDEXES)
        known = () if self.published is None else self.published.columns
        indexes |= {key_of(one): index_of(one) for one in user_columns(goal.columns) if one not in known}
        for name, kind in indexes.items():
            self._server.call("create_payload_index", field_name=name, field_schema=kind, wait=True)
        self._server.tell(STAGING, goal.text())
        self._server.tell(OWNER, f"{self._me} 0")
        self._ours = True
        self.staging, self._spaces = goal, goal.spaces

    def _widths(self) -> dict[str, int] | None:
        """Of the vectors of the collection, by their names; None where there is no collection."""
        if not self._server.call("collection_exists"):
            return None
        vectors = self._server.call("get_collection").config.params.vectors
        if not isinstance(vectors, dict):
            return {"": getattr(vectors, "size", 0)}
        return {name: params.size for name, params in vectors.items()}

    def _create(self, widths: dict[str, int]) -> None:
        self._server.call(
            "create_collection",
            vectors_config={
                name: models.VectorParams(
                    size=width,
                    distance=models.Distance.DOT,
                    datatype=models.Datatype.FLOAT16,
                    on_disk=True,
                )
                for name, width in widths.items()
            },
            hnsw_config=models.HnswConfigDiff(m=0),
            on_disk_payload=True,
        )

    def lists(self, generation: int) -> np.ndarray | None:
        """See contract.Writer."""
        only = models.Filter(must=[match("centre_of", generation)])
        points, offset = [], None
        while True:
            found, offset = self._server.call(
                "scroll", scroll_filter=only, limit=1000, offset=offset, with_payload=True, with_vectors=True
            )
            points += found
            if offset is None:
                break
        if not points or len(points) < points[0].payload["centres"]:
            return None
        points.sort(key=lambda point: point.payload["list"])
        names = [name for name in _VECTORS if name in points[0].vector]
        return np.array(
            [
                np.concatenate([*(point.vector[name] for name in names), [point.payload["hub"]]])
                for point in points
            ],
            dtype=np.float32,
        )

    def write_lists(self, generation: int, centres: np.ndarray) -> None:
        """See contract.Writer: they count once all are there."""
        numbers = range(len(centres))
        payloads = [
            {
                "centre_of": generation,
                "list": number,
                "centres": len(centres),
                "hub": float(centres[number, -1]),
            }
            for number in numbers
        ]
        self._store(f"lists {generation}", np.array(numbers), centres[:, :-1], payloads)

    def _store(self, key: str, rows: np.ndarray, vectors: np.ndarray, payloads: list[dict[str, Any]]) -> None:
        spaces = len(self._vector_names())
        halves = dict(zip(self._vector_names(), np.split(vectors, spaces, axis=1), strict=True))
        first = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") << 64
        for begin in range(0, len(rows), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            points = models.Batch(
                ids=[str(uuid.UUID(int=first + int(row))) for row in rows[part]],
                vectors={name: half[part].astype(np.float32).tolist() for name, half in halves.items()},
                payloads=payloads[part],
            )
            self._server.call("upsert", points=points, wait=True)

    def _vector_names(self) -> list[str]:
        return list(_VECTORS[: self._spaces])

    def begin(self, key: str, videos: pa.Table, skipped: Sequence[int], columns: Sequence[Column]) -> int:
        """See contract.Writer."""
        own = [Column(name, name, kind) for name, kind in (("video_id", "text"), ("uri", "text"))]
        own.append(Column("duration", "duration", "float"))
        of_video: list[dict[str, Any]] = [{"segment": key, "metadata": {}} for _ in range(len(videos))]
        for column in (*own, *user_columns(columns)):
            for payload, value in zip(of_video, values_of(videos, column), strict=True):
                if (plain := payload_of(column, value)) is not None:
                    place = payload if column in own else payload["metadata"]
                    place[column.key] = plain
        self._payloads = of_video
        only = models.Filter(must=[match("segment", key)])
        return int(self._server.call("count", count_filter=only, exact=True).count)

    def add(self, key: str, rows: Rows) -> None:
        """See contract.Writer."""
        self._check_owner()
        lengths = (rows.spans[:, 1] - rows.spans[:, 0]).tolist()
        windows = (rows.row // rows.per_window).tolist()
        payloads = []
        for place, (row, video) in enumerate(zip(rows.row.tolist(), rows.video.tolist(), strict=True)):
            start, end = rows.spans[place].tolist()
            own = {"row": row, "video": video, "start": start, "end": end, "length": lengths[place]}
            own |= {"window": windows[place], "hub": float(rows.hubs[place])}
            if rows.tubes is not None:
                own["tube"] = int(rows.tubes[place])
            if rows.lists is not None:
                own["list"] = int(rows.lists[place])
            payloads.append({**self._payloads[video], **own})
        self._store(key, rows.row, rows.vectors, payloads)

    def finish(self, key: str) -> None:
        """See contract.Writer."""

    def reader(self, published: Published) -> QdrantReader:
        """See contract.Writer."""
        return QdrantReader(self._server, published)

    def publish(self, published: Published) -> None:
        """See contract.Writer."""
        self._check_owner()
        self._server.tell(PUBLISHED, published.text())
        self.published = published

    def sweep(self, published: Published) -> None:
        """See contract.Writer."""
        self._check_owner()
        gone = [models.Filter(must_not=[match_any("segment", published.keys), absent("segment")])]
        gone += [
            models.Filter(must=[match("segment", key), match_any("video", videos)])
            for key, videos in published.dead
        ]
        gone.append(models.Filter(must_not=[match("centre_of", published.generation), absent("centre_of")]))
        self._delete(gone)
        self._server.call("delete", points_selector=[STAGING], wait=True)

    def _delete(self, filters: Sequence[models.Filter]) -> None:
        for only in filters:
            self._server.call("delete", points_selector=models.FilterSelector(filter=only), wait=True)
