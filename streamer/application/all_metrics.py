"""Every metric that a process of ours serves, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from streamer.bridge.metrics import BridgeMetrics
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.http.metrics import HttpMetrics
from streamer.learner.metrics import (
    JoinMetrics,
    LearnerMetrics,
    practice_gauge,
    rate_factor_gauge,
    reward_drift_counter,
)
from streamer.scorer.metrics import KnownFeatureMetrics, ScorerMetrics


@dataclass(frozen=True, slots=True)
class ServedMetric:
    """One metric.

    Attributes
    ----------
    name
        As expressions name it: a counter ends in ``_total``; of a histogram there are ``_bucket``,
        ``_sum`` and ``_count``.
    process
        The command that serves it.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    process: str

    @property
    def series(self) -> tuple[str, ...]:
        """Names of its time series."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


def _learner(registry: CollectorRegistry) -> None:
    LearnerMetrics(registry)
    JoinMetrics(registry)
    reward_drift_counter(registry)
    practice_gauge(registry)
    rate_factor_gauge(registry)


def _scorer(registry: CollectorRegistry) -> None:
    ScorerMetrics(registry).replica.show_freshness(lambda: 0.0, lambda: 0.0)
    KnownFeatureMetrics(registry)


def _http(registry: CollectorRegistry) -> None:
    HttpMetrics(registry)


def _bridge(registry: CollectorRegistry) -> None:
    BridgeMetrics(registry)


def _features(registry: CollectorRegistry) -> None:
    FeaturesMetrics(registry)


_PROCESSES: dict[str, Callable[[CollectorRegistry], None]] = {
    "learn": _learner,
    "score, serve": _scorer,
    "serve": _http,
    "features run": _features,
    "bridge": _bridge,
}


def all_metrics() -> Iterator[ServedMetric]:
    """Yield the metrics of each process, in the order of their names."""
    for process, make in _PROCESSES.items():
        made: dict[str, tuple[str, ...]] = {}
        registry = _Noting(made)
        make(registry)
        for family in sorted(registry.collect(), key=lambda each: each.name):
            total = "_total" if family.type == "counter" else ""
            yield ServedMetric(
                f"{family.name}{total}",
                family.type,
                made[family.name],
                family.documentation,
                process,
            )


class _Noting(CollectorRegistry):
    """A registry that notes the labels of what is registered, by name."""

    def __init__(self, made: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self._made = made

    def register(self, collector: object) -> None:
        assert isinstance(collector, MetricWrapperBase), "all metrics are made by NamedMetrics"
        super().register(collector)
        self._made[collector._name] = tuple(collector._labelnames)
