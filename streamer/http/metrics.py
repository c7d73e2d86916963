"""Metrics of the HTTP service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from streamer.telemetry import LATENCY_S, NamedMetrics


class HttpMetrics:
    """What the service is asked.

    Attributes
    ----------
    requests
        By ``route`` and ``status``.
    request_seconds
        From the head of a request to the end of its answer.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("http", registry)
        self.requests = metrics.counter("requests", "HTTP requests answered", "route", "status")
        self.request_seconds = metrics.histogram(
            "request_seconds", "Time to answer one HTTP request", LATENCY_S
        )
