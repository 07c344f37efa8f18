"""What the routes of a server share."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from .batching import Batcher
from .clips import Clips
from .disk_cache import DiskCache, default_folder
from .library import Library
from .metrics import Metrics
from .pool import Pool
from .settings import Settings

_LONGEST_FILM = 12 * 3600.0  # seconds that somebody may watch one answer


@dataclass
class Service:
    """The parts of one server; the batcher and the pools live as long as its loop runs."""

    settings: Settings
    library: Library
    metrics: Metrics
    batcher: Batcher = field(init=False)
    decoders: Pool = field(init=False)
    encoders: Pool = field(init=False)
    transcoders: Pool = field(init=False)
    clips: Clips = field(init=False)

    def start(self) -> None:
        """In the loop: make the pools, and what uses them."""
        told = self.settings
        self.decoders = Pool(told.decoders, told.max_pictures, told.work_wait, "pictures")
        self.encoders = Pool(told.encoders, told.max_clips, told.work_wait, "clips")
        self.transcoders = Pool(told.transcoders, told.transcoders, _LONGEST_FILM, "videos")
        cache = DiskCache(told.cache_dir or default_folder(), round(told.cache_size * 1e9))
        self.clips = Clips(cache, self.decoders, self.encoders, told.max_clip, self.metrics.on_disk)

    def stop(self) -> None:
        """Tell all that is made to end."""
        for pool in (self.decoders, self.encoders, self.transcoders):
            pool.stop()


def _of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_of)]
