"""What a server measures of itself, for Prometheus."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # the folder in which the processes of one server add up
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self.requests = Counter(
            "mmn_index_requests", "Requests by path and status.", ("path", "status"), registry=own
        )
        self.seconds = Histogram(
            "mmn_index_request_seconds",
            "From a request to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=own,
        )
        self._stages = Histogram(
            "mmn_index_stage_seconds",
            "Of a search: wait, embed, search.",
            ("stage",),
            buckets=_SECONDS,
            registry=own,
        )
        self.batch = Histogram(
            "mmn_index_batch_sentences",
            "Sentences that were searched together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=own,
        )
        self.waiting = Gauge(
            "mmn_index_waiting_sentences",
            "Sentences not answered yet.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self.version = Gauge(
            "mmn_index_index_version",
            "The version that is answered from; of several processes, the oldest.",
            ("index",),
            registry=own,
            multiprocess_mode="livemin",
        )
        self.hits = Counter(
            "mmn_index_query_cache_hits", "Sentences that were embedded already.", registry=own
        )
        self.misses = Counter("mmn_index_query_cache_misses", "Sentences that were not.", registry=own)

        self._disk = Counter(
            "mmn_index_disk_cache_requests",
            "Clips and pictures by whether they were on the disk.",
            ("outcome",),
            registry=own,
        )

    def on_disk(self, there: bool) -> None:
        self._disk.labels("hit" if there else "miss").inc()

    def stage(self, name: str, seconds: float) -> None:
        self._stages.labels(name).observe(seconds)

    def as_text(self) -> bytes:
        """In the text format of Prometheus; of all processes, where the server has several."""
        folder = os.environ.get(SHARED)
        if not folder:
            return generate_latest(self._registry)
        from prometheus_client import multiprocess

        for path in Path(folder).glob("gauge_live*_*.db"):
            pid = path.stem.rpartition("_")[2]
            if not Path("/proc", pid).exists():  # a worker that was killed waits for nothing
                multiprocess.mark_process_dead(int(pid))  # type: ignore[no-untyped-call]
        found = CollectorRegistry()
        multiprocess.MultiProcessCollector(found)  # type: ignore[no-untyped-call]
        return generate_latest(found)
