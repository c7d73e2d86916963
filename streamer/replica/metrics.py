"""Metrics of a replica: its versions, its rows and how fresh they are."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from streamer.telemetry import NamedMetrics


class ReplicaMetrics:
    """Counters and gauges named ``streamer_scorer_…``: a scorer has one replica.

    Attributes
    ----------
    versions, reloads
        Versions put in place, and full loads because the delta log was trimmed or the store went
        back to an older copy.
    items, users
        Live rows.
    position
        By topic and partition: the first message that the version in place has not learned.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._metrics = NamedMetrics("scorer", registry)
        counter, gauge = self._metrics.counter, self._metrics.gauge
        self.versions = counter("versions", "Versions of the parameters put in place")
        self.reloads = counter(
            "reloads", "Full loads because the delta log was trimmed or the store went back"
        )
        self.items = gauge("items", "Items with parameters")
        self.users = gauge("users", "Users with parameters")
        self.position = gauge(
            "position",
            "First message of a partition that the version served has not learned",
            "topic",
            "partition",
        )

    def show_freshness(self, p50_ms: Callable[[], float], p99_ms: Callable[[], float]) -> None:
        """Serve quantiles of the time from an event's publication to a version that learned it."""
        recent = self._metrics.gauge(
            "freshness_ms",
            "From an event's publication to a version that has learned it, recent samples",
            "quantile",
        )
        recent.labels("0.5").set_function(p50_ms)
        recent.labels("0.99").set_function(p99_ms)
