"""What a server measures of itself, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

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
        self.waiting = Gauge("mmn_index_waiting_sentences", "Sentences not answered yet.", registry=own)
        self.version = Gauge(
            "mmn_index_index_version", "The version that is answered from.", ("index",), registry=own
        )
        self._hits = Gauge(
            "mmn_index_query_cache_hits", "Sentences that were embedded already.", registry=own
        )
        self._misses = Gauge("mmn_index_query_cache_misses", "Sentences that were not.", registry=own)

    def stage(self, name: str, seconds: float) -> None:
        self._stages.labels(name).observe(seconds)

    def cached(self, hits: int, misses: int) -> None:
        self._hits.set(hits)
        self._misses.set(misses)

    def as_text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self._registry)
