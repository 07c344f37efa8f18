"""The option --ray, and what each node of a cluster did."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mmn_index.readable import counted

from .film_bar import film
from .output import say

if TYPE_CHECKING:
    from mmn_index.cluster.nodes import Done
    from mmn_index.cluster.session import Session


def ray_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let the workers of a Ray cluster do it."""
    return click.option(
        "--ray",
        "cluster",
        metavar="[ADDRESS]",
        is_flag=False,
        flag_value="auto",
        help=f"{what} ADDRESS is HOST:PORT of its head node, ray://HOST:PORT, or 'local' for this machine "
        "alone. Without ADDRESS, it is the cluster that RAY_ADDRESS names or that this machine belongs to.",
    )


@contextmanager
def session_of(cluster: str | None) -> "Iterator[Session | None]":
    """The connection that --ray asks for; None where it does not."""
    if cluster is None:
        yield None
        return
    from mmn_index.cluster.session import connected

    with connected(cluster) as session:
        yield session


def tell_described(done: "Sequence[Done]") -> None:
    """Say which videos each node described."""
    for one in done:
        length = film(one.amount, one.amount).partition(" of ")[2]
        say(f"  {one.node}: {counted(one.tasks, 'video')}, {length}")


def tell_embedded(done: "Sequence[Done]") -> None:
    """Say which shards each node embedded."""
    for one in done:
        say(f"  {one.node}: {counted(one.tasks, 'shard')}, {one.amount:,.0f} moments")
