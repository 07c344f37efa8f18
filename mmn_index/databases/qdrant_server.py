"""One collection of a Qdrant server: requests, errors in one line, and points that are no moments."""

import os
import threading
import uuid
import warnings
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from ..errors import DatabaseError, QueryError
from .contract import Published, read_record
from .target import Target

KEY = "QDRANT_API_KEY"
PUBLISHED, STAGING, OWNER = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
_SECONDS = 60  # that a request may take


class Server:
    """A collection of a Qdrant server.

    Args:
        client: in place of one for the target.

    Raises:
        DatabaseError: it cannot be reached.
    """

    def __init__(self, target: Target, client: Any = None) -> None:
        self._target, self.shown, self._lock = target, target.shown, threading.Lock()
        with warnings.catch_warnings():  # about a key over an insecure connection, which is the user's choice
            warnings.simplefilter("ignore")
            self._client = client or QdrantClient(
                url=target.url, api_key=os.environ.get(KEY), timeout=_SECONDS, check_compatibility=False
            )
        self.call("collection_exists")

    def call(self, name: str, **arguments: Any) -> Any:
        """Ask the server; errors are told in one line."""
        shown = self.shown
        try:
            with self._lock:
                return getattr(self._client, name)(collection_name=self._target.collection, **arguments)
        except ResponseHandlingException as error:
            if "timed out" in str(error):
                raise QueryError(f"{shown}: no answer in time. Give it a longer timeout.") from error
            raise DatabaseError(
                f"{shown}: cannot be reached ({_line(error)}). Is Qdrant running there?"
            ) from error
        except UnexpectedResponse as error:
            hint = f" Set {KEY}." if error.status_code in (401, 403) else ""
            raise DatabaseError(f"{shown}: refused ({error.status_code}: {_line(error)}).{hint}") from error
        except ApiException as error:
            raise DatabaseError(f"{shown}: refused ({_line(error)}).") from error

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def published(self) -> Published | None:
        """What readers see."""
        return read_record(self.told(PUBLISHED), self.shown)

    def told(self, point: str) -> str | None:
        """What a point that is no moment says."""
        if not self.call("collection_exists"):
            return None
        found = self.call("retrieve", ids=[point], with_payload=True, with_vectors=False)
        return str(found[0].payload["about"]) if found else None

    def tell(self, point: str, text: str) -> None:
        """Write what a point that is no moment says."""
        self.call(
            "upsert", points=[models.PointStruct(id=point, vector={}, payload={"about": text})], wait=True
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
