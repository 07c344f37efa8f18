"""mmn-index serve: indexes as an HTTP service."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .numbers import Real, Whole
from .output import say
from .remote import TOKEN

if TYPE_CHECKING:
    from mmn_index.server.settings import Settings


@click.command()
@click.argument("indexes", nargs=-1, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=Whole(0, 65535), default=8000, show_default=True, help="0 picks a free one.")
@click.option(
    "--token",
    envvar=TOKEN,
    help=f"What callers have to send (bearer token), 16 characters or more. Better in the variable {TOKEN}: "
    "other users of the machine see the command line.",
)
@click.option("--no-auth", is_flag=True, help="Let other machines in without a token.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="Origin of web pages that may call the server; may be repeated.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Where the text encoder and scans run; with --ray, where the nodes scan.",
)
@click.option(
    "--ray",
    is_flag=False,
    flag_value="auto",
    metavar="[ADDRESS]",
    help="Let the nodes of a Ray cluster search, each a part of every index. ADDRESS is "
    "HOST:PORT of its head node, or ray://HOST:PORT from a machine outside the cluster. Without "
    "ADDRESS, it is the cluster that RAY_ADDRESS names or that runs here; 'local' starts one on "
    "this machine.",
)
@click.option(
    "--replicas",
    type=Whole(min=1),
    default=1,
    show_default=True,
    help="Nodes of the cluster that hold each moment: with 2, answers stay whole when one is lost.",
)
@click.option(
    "--workers",
    type=Whole(1, 256),
    default=1,
    show_default=True,
    help="Processes that answer. They share the index's files in memory.",
)
@click.option(
    "--max-k",
    type=Whole(min=1),
    default=1000,
    show_default=True,
    help="Largest number of moments per answer.",
)
@click.option(
    "--max-queries",
    type=Whole(min=1),
    default=256,
    show_default=True,
    help="Largest number of sentences per request.",
)
@click.option(
    "--max-waiting",
    type=Whole(min=1),
    default=1024,
    show_default=True,
    help="Sentences that may wait. Further requests are told to try again later.",
)
@click.option(
    "--max-connections",
    type=Whole(min=1),
    default=1000,
    show_default=True,
    help="Connections per process. Further callers are told to try again later.",
)
@click.option(
    "--batch", type=Whole(min=1), default=64, show_default=True, help="Sentences searched together."
)
@click.option(
    "--batch-wait",
    type=Real(min=0, max=1),
    default=0.005,
    show_default=True,
    help="Seconds that a sentence waits for others.",
)
@click.option("--cache", type=Whole(min=0), default=4096, show_default=True, help="Sentences to remember.")
@click.option(
    "--encoders", type=Whole(min=1), default=2, show_default=True, help="Clips made at the same time."
)
@click.option(
    "--transcoders",
    type=Whole(min=1),
    default=4,
    show_default=True,
    help="Videos that are encoded while they are watched.",
)
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where clips and pictures are kept.  [default: mmn-index/clips in the user's cache]",
)
@click.option(
    "--cache-size",
    type=Real(min=0),
    default=2.0,
    show_default=True,
    help="Size of that folder in GB; 0 keeps nothing.",
)
@click.option("--get", "path", help="Print the answer to one GET request, such as /v1/indexes, and end.")
def serve(indexes: tuple[Path, ...], path: str | None, **options: Any) -> None:
    """Answer searches over HTTP, from one index or several.

    Without INDEXES, the one that the variable MMN_INDEX names is served, or collection.mmn. When an index
    changes, the server follows. --host 0.0.0.0 lets other machines in, with a token.

    \b
    Example:
        mmn-index serve
        mmn-index serve porch.mmn garden.mmn --port 8080
        mmn-index serve porch.mmn --ray 10.0.0.1:6379 --replicas 2
        curl localhost:8000/v1/search --json '{"query": "person opens door"}'
        mmn-index serve --get /v1/videos?count=5
    """
    from mmn_index.errors import DependencyError
    from mmn_index.server.settings import Settings

    options["host"] = options["host"].removeprefix("[").removesuffix("]")  # as addresses hold it
    settings = Settings(indexes or (Path(os.environ.get("MMN_INDEX") or "collection.mmn"),), **options)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"serving needs the package {error.name}. Install it: pip install 'mmn-index[serve]'"
        ) from error
    if path is not None:
        _get(settings, path)
    else:
        _run(settings)


def _get(settings: "Settings", path: str) -> None:
    """One request without a socket."""
    from mmn_index.server.once import get

    status, kind, body = get(settings, path)
    sys.stdout.buffer.write(body)
    if ("json" in kind or "text" in kind) and not body.endswith(b"\n"):  # no byte more for a video
        sys.stdout.buffer.write(b"\n")
    if status >= 400:
        raise click.exceptions.Exit(1)


def _run(settings: "Settings") -> None:
    from mmn_index.server.run import run

    run(settings, started=lambda url: say(f"Serving on {url}; Ctrl-C ends it."))
