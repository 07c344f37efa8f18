"""What the routes of a server share."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from .batching import Batcher
from .library import Library
from .metrics import Metrics
from .pool import Pool
from .settings import Settings


@dataclass
class Service:
    """The parts of one server; the batcher and the pool live as long as its loop runs."""

    settings: Settings
    library: Library
    metrics: Metrics
    batcher: Batcher = field(init=False)
    decoders: Pool = field(init=False)


def _of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_of)]
