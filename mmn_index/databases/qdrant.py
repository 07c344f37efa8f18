"""Moments in Qdrant: points with two named vectors, `contrastive` and `iou`.

What is published is the payload of one point, which is written last; every search filters by the segments
that it names, and looks at it again when it is done. Qdrant has no locks: a push says in another point that
it lives.

No graph is built over the vectors. The moments of a video are near-duplicates, and a sentence lies off all of
them: a graph search ended in some wrong video for most of the best moments that were asked for, where the
coarse lists found nearly all (docs/scale.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..errors import DatabaseError
from .contract import VersionChangedError
from .qdrant_reader import QdrantReader
from .qdrant_server import Server
from .qdrant_writer import QdrantWriter
from .target import Target


class Qdrant:
    """A collection of a Qdrant server.

    Args:
        client: in place of one for the target.

    Raises:
        DatabaseError: it cannot be reached.
    """

    proves = False

    def __init__(self, target: Target, client: Any = None) -> None:
        self._server = Server(target, client)

    def close(self) -> None:
        """End the connection."""
        self._server.close()

    @contextmanager
    def reading(self) -> Iterator["QdrantReader"]:
        """What is published now; VersionChangedError at the end if it is not any more.

        Raises:
            DatabaseError: nothing is.
        """
        published = self._server.published()
        if published is None:
            raise DatabaseError(
                f"{self._server.shown}: holds no moments. `mmn-index push INDEX` brings an index there."
            )
        yield QdrantReader(self._server, published)
        again = self._server.published()
        if again is None or replace(again, swept=published.swept) != published:
            raise VersionChangedError

    @contextmanager
    def pushing(self, *, anew: bool = False) -> Iterator["QdrantWriter"]:
        """See contract.Database."""
        writer = QdrantWriter(self._server, anew=anew)
        with writer.alive():
            yield writer
