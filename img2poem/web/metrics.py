"""Prometheus metrics of the gateway."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from ..client.results import Poem
from ..requests import CallEvent

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one gateway."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "img2poem_web_requests", "Requests that were answered.", ("method", "route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "img2poem_web_request_seconds",
            "Seconds from the request's headers to the end of the response.",
            ("route",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._poems = Counter("img2poem_web_poems", "Complete poems.", ("strategy",), registry=registry)
        self.under_way = Gauge("img2poem_web_under_way", "Requests in progress.", registry=registry)
        self.waiting = Gauge("img2poem_web_waiting", "Requests waiting in the queue.", registry=registry)
        self._models = Histogram(
            "img2poem_web_model_seconds",
            "Seconds of each request to a model.",
            ("model", "error"),
            registry=registry,
            buckets=_SECONDS,
        )
        ProcessCollector(registry=registry)

    def wrote(self, poem: Poem) -> None:
        """Count a complete poem."""
        self._poems.labels(poem.strategy.name).inc()

    def called(self, event: CallEvent) -> None:
        """Observe a request to a model; a hook of the client."""
        error = type(event.error).__name__ if event.error else ""
        self._models.labels(event.model, error).observe(event.seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
