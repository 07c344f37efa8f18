"""A collection of moments in PostgreSQL with pgvector: one transaction a search, one that publishes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg.sql import SQL

from ..errors import DatabaseError, QueryError
from . import postgres_sql as statements
from .contract import Published, read_record
from .postgres_reader import PostgresReader
from .postgres_writer import PostgresWriter
from .target import Target

# Where a connection breaks, it warns of what the error says.
logging.getLogger("psycopg").setLevel(logging.ERROR)

_OLDEST = (0, 7)  # pgvector with halfvec
_WAIT = 10  # seconds to connect
_LOCK_WAIT = 10.0  # seconds that a push waits for one that was killed a moment ago


class Postgres:
    """A collection in a PostgreSQL database.

    Raises:
        DatabaseError: it cannot be reached.
    """

    proves = True

    def __init__(self, target: Target) -> None:
        self._target, self._names = target, statements.Names(target.collection)
        with self._told():
            self._connection = psycopg.connect(target.url, connect_timeout=_WAIT, autocommit=True)
            self._connection.prepare_threshold = None  # plans that know which segments are asked for
            self._connection.execute("SET jit = off")
            self._connection.execute("SET timezone = 'UTC'")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    @contextmanager
    def reading(self) -> Iterator["PostgresReader"]:
        """What is published now, in one snapshot.

        Raises:
            DatabaseError: nothing is.
        """
        with self._told(), self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                # Tables that it names must not go while it is read: dropping them waits for this lock.
                lock = SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(self._names.moments)
                self._connection.execute(lock)
                published = self._about()[0]
            except errors.UndefinedTable:
                published = None
            if published is None:
                raise DatabaseError(
                    f"{self._target.shown}: holds no moments. `mmn-index push INDEX` brings an index there."
                )
            yield PostgresReader(self._connection, self._names, published)

    @contextmanager
    def pushing(self, *, anew: bool = False) -> Iterator["PostgresWriter"]:
        """See contract.Database."""
        with self._told():
            self._connection.execute(
                "SET client_connection_check_interval = '1s'"
            )  # of a push that is killed
            self._check_extension()
            self._lock()
            self._check_ours()
            for statement in statements.make_tables(self._names):
                self._connection.execute(statement)
            published, staging = self._about(anew=anew)
            yield PostgresWriter(self._connection, self._names, published, staging)
            self._connection.execute("SELECT pg_advisory_unlock_all()")

    def _about(self, *, anew: bool = False) -> tuple[Published | None, Published | None]:
        found = self._connection.execute(
            SQL("SELECT published, staging FROM {}").format(self._names.about)
        ).fetchone()
        published, staging = found or (None, None)
        shown = self._target.shown
        return read_record(published, shown, needed=not anew), read_record(staging, shown, needed=False)

    def _check_extension(self) -> None:
        try:
            self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.UndefinedFile) as error:
            raise DatabaseError(
                f"{self._target.shown}: pgvector cannot be switched on ({_line(error)}). Install it on the "
                "server, and let an administrator run CREATE EXTENSION vector."
            ) from error
        found = self._connection.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
        version = str(found[0]) if found else "0"
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            raise DatabaseError(
                f"{self._target.shown}: has pgvector {version}, expected {'.'.join(map(str, _OLDEST))} or "
                "later. Update it, then ALTER EXTENSION vector UPDATE."
            )

    def _check_ours(self) -> None:
        """Stop where tables of these names are somebody else's."""
        found: dict[str, list[str]] = dict(
            self._connection.execute(*statements.columns_of_tables(self._names)).fetchall()
        )
        about = found.get(self._names.collection)
        if found and (about is None or {*about} != {"single", "published", "staging"}):
            raise DatabaseError(
                f"{self._target.shown}: there are tables of these names that `push` did not make "
                f"({', '.join(sorted(found))}). Name another collection, behind the '#'."
            )

    def _lock(self) -> None:
        self._connection.execute(f"SET lock_timeout = '{_LOCK_WAIT:g}s'")
        try:
            self._connection.execute(
                "SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"mmn-index {self._names.collection}"]
            )
        except errors.LockNotAvailable as error:
            raise DatabaseError(
                f"{self._target.shown}: another push is under way. Wait for it to end."
            ) from error
        self._connection.execute("SET lock_timeout = '5s'")  # searches wait behind what waits for a lock

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the server and of the connection in one line, without a password."""
        try:
            yield
        except errors.QueryCanceled as error:
            raise QueryError(
                f"{self._target.shown}: no answer in time. Give it a longer timeout, or search some of the "
                "videos only."
            ) from error
        except (errors.UndefinedTable, errors.UndefinedColumn) as error:
            raise DatabaseError(
                f"{self._target.shown}: its tables are not as expected ({_line(error)}). Another push may "
                "have replaced them: try again."
            ) from error
        except errors.LockNotAvailable as error:
            raise DatabaseError(
                f"{self._target.shown}: a search kept its tables for longer than a push waits. Try again."
            ) from error
        except errors.UndefinedObject as error:
            raise DatabaseError(
                f"{self._target.shown}: refused ({_line(error)}). If pgvector was created in a schema of its "
                "own, let search_path name that, with ALTER ROLE or in the URL: "
                "?options=-csearch_path%3Dpublic,SCHEMA"
            ) from error
        except psycopg.Error as error:
            reached = "cannot be reached" if isinstance(error, psycopg.OperationalError) else "refused"
            # Without the error behind it, which may quote the URL.
            said = self._target.hidden(_line(error))
            raise DatabaseError(f"{self._target.shown}: {reached} ({said}).") from None


def _line(error: psycopg.Error) -> str:
    """What a server says, without the lines that point into a statement."""
    primary = error.diag.message_primary
    return primary if primary else " ".join(str(error).split())
