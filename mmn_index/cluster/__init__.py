"""Building and searching on a Ray cluster."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .remote_index import RemoteIndex

__all__ = ["connect"]


def connect(
    root: str | os.PathLike[str], address: str | None = None, *, replicas: int = 1, device: str = "cpu"
) -> "RemoteIndex":
    """An index that the nodes of a Ray cluster search, until it is closed; `search` and all that takes a
    MomentIndex take it.

    Args:
        root: the index directory, on storage that all nodes see under this path.
        address: HOST:PORT of a head node, on a machine that is a node itself; ray://HOST:PORT from anywhere
            else; "local" begins a cluster of this machine; None looks into RAY_ADDRESS, then for a cluster
            that runs on this machine.
        replicas: how many nodes hold each moment.
        device: "cuda" scans on the GPUs of those nodes that have some.

    Raises:
        DependencyError: Ray is not installed.
        ClusterError: there is no cluster, or none of its nodes can search the index.
        MomentIndexError: the index is missing or damaged.
    """
    from .remote_index import RemoteIndex
    from .searchers import Searchers

    searchers = Searchers(address, replicas=replicas, device=device)
    try:
        return RemoteIndex(Path(root), searchers, alone=True)
    except BaseException:
        searchers.close()
        raise
