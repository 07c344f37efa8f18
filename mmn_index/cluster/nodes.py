"""What the nodes of a cluster have room for, and what each did."""

from collections.abc import Mapping
from dataclasses import dataclass

from .session import Session


def places(session: Session, *, gpus: bool = False) -> int:
    """How many workers a cluster has room for, a processor or a GPU each."""
    return sum(node.gpus if gpus else node.cpus for node in session.nodes())


@dataclass(frozen=True)
class Done:
    """What a node of the cluster did.

    Attributes:
        tasks: videos that it described, or shards that it embedded.
        amount: seconds of film, or moments.
    """

    node: str
    tasks: int
    amount: float


def has_gpus(session: Session) -> bool:
    """Whether a network gets a GPU there."""
    return places(session, gpus=True) > 0


def done_by(doers: Mapping[str, str], amounts: Mapping[str, float]) -> list[Done]:
    """What each node did.

    Args:
        doers: node by task.
        amounts: by task.
    """
    found: dict[str, Done] = {}
    for task, node in doers.items():
        before = found.get(node, Done(node, 0, 0.0))
        found[node] = Done(node, before.tasks + 1, before.amount + amounts.get(task, 0.0))
    return [found[node] for node in sorted(found)]
