"""The connection of this process to a Ray cluster: opened once, shared by all who need it, closed by the
last.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ClusterError, DependencyError

NAMESPACE = "mmn-index"
LOCAL = "local"  # Ray's word for a cluster of this machine alone, which ends with the process that began it
AUTO = "auto"  # and for one that runs here already
_CLIENT = "ray://"
_CLIENT_PORT = 10001
_PATIENCE = 5.0  # seconds to reach the port of a cluster; without a look first, Ray tries for a minute


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, or what Ray takes for one."""

    node_id: str  # Ray's, in hexadecimal; for NodeAffinitySchedulingStrategy
    name: str  # host or address
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Session:
    """A connection to a cluster.

    Attributes:
        ray: the package, connected.
        address: of the cluster; "auto" where nothing names one.
    """

    ray: ModuleType
    address: str

    def nodes(self) -> list[Node]:
        """The nodes that are alive, by their ids.

        Raises:
            ClusterError: the cluster does not answer any more.
        """
        try:
            listed: list[dict[str, Any]] = self.ray.nodes()
        except Exception as error:  # Ray names no common class for what its connection may raise
            raise ClusterError(
                f"{self.address}: the Ray cluster does not answer ({_line(error)})."
            ) from error
        alive = [
            Node(each["NodeID"], each["NodeManagerHostname"] or each["NodeManagerAddress"], *_has(each))
            for each in listed
            if each["Alive"]
        ]
        return sorted(alive, key=lambda node: node.node_id)


_LOCK = threading.Lock()
_USERS: list[str] = []  # the addresses that connections which are open were asked for
_OWN = False  # whether this module opened the connection, and closes it


@contextmanager
def connected(address: str | None) -> Iterator[Session]:
    """A connection to a Ray cluster while the block runs. A process has one: who asks while it is open shares
    it, and one that somebody else opened by `ray.init` is used and left open.

    Args:
        address: HOST:PORT of a head node, on a machine that is a node itself; ray://HOST:PORT from anywhere
            else; "local" begins a cluster of this machine; None or "auto" looks into RAY_ADDRESS, then for a
            cluster that runs on this machine.

    Raises:
        DependencyError: Ray is not installed.
        ClusterError: there is no such cluster, it does not answer, or this process is connected to another.
    """
    # Ray would look there as well for "auto", but wait for minutes.
    wanted = os.environ.get("RAY_ADDRESS") or AUTO if address in (None, "", AUTO) else str(address)
    ray = _ray()
    with _LOCK:
        _open(ray, wanted)
        _USERS.append(wanted)
    try:
        yield Session(ray, wanted)
    finally:
        with _LOCK:
            _USERS.remove(wanted)
            if _OWN and not _USERS:
                _close(ray)


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported
    # Ray says in this variable's absence that it will mean something else one day.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise DependencyError(
            f"Ray cannot be imported ({error}). `pip install 'mmn-index[ray]'`, the same version as on the "
            "nodes."
        ) from error
    return ray


def _open(ray: ModuleType, address: str) -> None:
    global _OWN
    if ray.is_initialized():
        if _OWN and address not in (_USERS[0], AUTO):
            raise ClusterError(
                f"{address}: this process is connected to the Ray cluster {_USERS[0]} already, and can be to "
                "one only. Close what uses that first."
            )
        return
    _probe(address)
    # Ray puts a handler of its own in place, which would take SIGTERM from whoever waits for it.
    handler = signal.getsignal(signal.SIGTERM)
    own: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:  # Ray names no common class for what may go wrong here
        raise ClusterError(
            f"{address}: cannot join this Ray cluster ({_line(error)}). {_hint(address)}{_token()}"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    _OWN = True


def _close(ray: ModuleType) -> None:
    global _OWN
    _OWN = False
    ray.shutdown()


def _probe(address: str) -> None:
    """Whether something listens at an address at all.

    Raises:
        ClusterError: it does not.
    """
    if address in (LOCAL, AUTO):
        return
    if "@" in address:
        raise ClusterError(
            f"the address of a Ray cluster has no user name and no password, expected HOST:PORT or {_CLIENT}"
            "HOST:PORT."
        )
    host, colon, port = address.removeprefix(_CLIENT).rstrip("/").rpartition(":")
    if not colon and address.startswith(_CLIENT):
        host, port = port, str(_CLIENT_PORT)
    if not host or not port.isdecimal():
        raise ClusterError(
            f"{address}: is no address of a Ray cluster, expected HOST:PORT, {_CLIENT}HOST:PORT, auto or "
            f"{LOCAL}."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"{address}: no Ray cluster answers there ({_line(error)}). {_hint(address)}"
        ) from error


def _hint(address: str) -> str:
    if address == AUTO:
        return (
            "Begin one with `ray start --head`, name the one that there is, or say "
            f"'{LOCAL}' for one of this machine alone."
        )
    if address.startswith(_CLIENT):
        return f"Its head node listens for clients at port {_CLIENT_PORT}, unless it was told another."
    return (
        "`ray status` on its head node says whether it runs. A machine that is none of its nodes connects to "
        f"{_CLIENT}HOST:{_CLIENT_PORT}. Ray and Python have to be of the same version everywhere."
    )


def _token() -> str:
    """What to add where a cluster perhaps asks for a token that this process does not show. Ray says that it
    "failed to connect".
    """
    path = Path.home() / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_MODE") == "token" or not path.is_file():
        return ""
    return f" If it asks for the token in {path}, set RAY_AUTH_MODE=token."


def _has(node: dict[str, Any]) -> tuple[int, int]:
    resources = node.get("Resources", {})
    return int(resources.get("CPU", 0)), int(resources.get("GPU", 0))


def _line(error: Exception) -> str:
    """What an error says, on one line."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0].rstrip(".")
