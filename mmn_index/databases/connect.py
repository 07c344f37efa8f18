"""Open the database that a URL names, with the package that its engine needs."""

from ..errors import DependencyError
from .contract import Database
from .target import Target


def open_database(target: Target) -> Database:
    """A collection of moments, connected.

    Raises:
        DatabaseError: it cannot be reached.
        DependencyError: the package of its engine is not installed.
    """
    try:
        if target.engine == "qdrant":
            from .qdrant import Qdrant

            return Qdrant(target)
        from .postgres import Postgres

        return Postgres(target)
    except ImportError as error:
        raise DependencyError(
            f"{target.shown}: needs the package {error.name}. Install it: pip install "
            f"'mmn-index[{target.engine}]'"
        ) from error
