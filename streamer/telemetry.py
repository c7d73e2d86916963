"""Metrics of the learner and of the scorer, and the port Prometheus reads them from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from streamer.errors import ConfigError

_LATENCY_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_ROWS = (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0)


class LearnerCounts(Protocol):
    """What a learner counts by itself."""

    n_messages: int
    n_learned: int
    n_duplicates: int
    n_unrewarded: int
    n_unadmitted: int
    n_rejected: int
    n_commits: int
    n_checkpoints: int
    n_evicted: dict[str, int]


class LearnerMetrics:
    """What a learner counts.

    Attributes
    ----------
    events, learned, duplicates, unrewarded, unadmitted, dead_letters
        Messages taken, and what became of them.
    commits, checkpoints, commit_seconds, rows_a_commit
        Of the parameter store.
    evicted
        Ids dropped, by ``entity``.
    lag
        Messages waiting, by ``topic`` and ``partition``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"streamer_learner_{name}", meaning, registry=registry)

        self.events = counter("events", "Messages taken from the events topic")
        self.learned = counter("learned", "Events that taught the model something")
        self.duplicates = counter("duplicates", "Events dropped for a repeated event_id")
        self.unrewarded = counter("unrewarded", "Events of a type that is worth nothing")
        self.unadmitted = counter("unadmitted", "Events of ids without a row yet")
        self.dead_letters = counter("dead_letters", "Messages that could not be used")
        self.commits = counter("commits", "Commits to the parameter store")
        self.checkpoints = counter("checkpoints", "Checkpoints of the parameter store")
        self.commit_seconds = Histogram(
            "streamer_learner_commit_seconds",
            "Time one commit took",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.rows_a_commit = Histogram(
            "streamer_learner_rows_a_commit",
            "Rows that one commit changed",
            buckets=_ROWS,
            registry=registry,
        )
        self.evicted = Counter(
            "streamer_learner_evicted",
            "Ids dropped at the bound or after idle time",
            ["entity"],
            registry=registry,
        )
        self.lag = lag_gauge("learner", registry)
        self._shown: dict[str, int] = {}

    def committed(self, seconds: float, n_rows: int) -> None:
        """Note one commit."""
        self.commit_seconds.observe(seconds)
        self.rows_a_commit.observe(n_rows)

    def show(self, counts: LearnerCounts) -> None:
        """Bring the counters up to what a learner has counted."""
        for counter, name, count in (
            (self.events, "events", counts.n_messages),
            (self.learned, "learned", counts.n_learned),
            (self.duplicates, "duplicates", counts.n_duplicates),
            (self.unrewarded, "unrewarded", counts.n_unrewarded),
            (self.unadmitted, "unadmitted", counts.n_unadmitted),
            (self.dead_letters, "dead_letters", counts.n_rejected),
            (self.commits, "commits", counts.n_commits),
            (self.checkpoints, "checkpoints", counts.n_checkpoints),
            *(
                (self.evicted.labels(entity), f"evicted {entity}", count)
                for entity, count in counts.n_evicted.items()
            ),
        ):
            counter.inc(count - self._shown.get(name, 0))
            self._shown[name] = count


class ScorerMetrics:
    """What a scorer counts.

    Attributes
    ----------
    requests, dead_letters, stale
        Requests answered; requests and items that could not be used; among them those too old.
    request_seconds
        Time to score one request.
    decisions, slots, explored
        Slates by ``policy``, their slots, and the slots that chance filled.
    versions, reloads
        Versions put in place, and full loads because the delta log was trimmed.
    items, users
        Live rows.
    catalogue_items, catalogue_dropped
        Items known, and those forgotten at the bound.
    lag
        Requests waiting, by ``topic`` and ``partition``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"streamer_scorer_{name}", meaning, registry=registry)

        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(f"streamer_scorer_{name}", meaning, registry=registry)

        self._registry = registry
        self.requests = counter("requests", "Requests answered")
        self.dead_letters = counter("dead_letters", "Messages that could not be used")
        self.stale = counter("stale", "Requests too old to be answered")
        self.decisions = Counter(
            "streamer_scorer_decisions", "Slates drawn", ["policy"], registry=registry
        )
        self.slots = counter("slots", "Slots of the slates")
        self.explored = counter("explored", "Slots that chance filled, not the ranking")
        self.versions = counter("versions", "Versions of the parameters put in place")
        self.reloads = counter("reloads", "Full loads because the delta log was trimmed")
        self.items = gauge("items", "Items with parameters")
        self.users = gauge("users", "Users with parameters")
        self.catalogue_items = gauge("catalogue_items", "Items the catalogue knows")
        self.catalogue_dropped = counter("catalogue_dropped", "Items forgotten at the bound")
        self.request_seconds = Histogram(
            "streamer_scorer_request_seconds",
            "Time to score one request",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.lag = lag_gauge("scorer", registry)

    def show_freshness(self, p50_ms: Callable[[], float], p99_ms: Callable[[], float]) -> None:
        """Serve quantiles of the time from an event's publication to a version that learned it."""
        recent = Gauge(
            "streamer_scorer_freshness_ms",
            "From an event's publication to a version that has learned it, recent samples",
            ["quantile"],
            registry=self._registry,
        )
        recent.labels("0.5").set_function(p50_ms)
        recent.labels("0.99").set_function(p99_ms)


def lag_gauge(service: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(
        f"streamer_{service}_lag",
        "Messages waiting",
        ["topic", "partition"],
        registry=registry,
    )


def show_lag(gauge: Gauge, lag: Mapping[tuple[str, int], int]) -> None:
    """Set the lag of partitions owned now; those of others are no longer shown."""
    gauge.clear()
    for (topic, partition), n_messages in lag.items():
        gauge.labels(topic, str(partition)).set(n_messages)


@contextmanager
def serve_metrics(registry: CollectorRegistry, port: int) -> Iterator[int]:
    """Serve ``/metrics`` on all addresses of the machine while entered; port 0: not at all.

    Yields
    ------
    int
        The port.

    Raises
    ------
    ConfigError
        When the port is taken.
    """
    if port == 0:
        yield 0
        return
    try:
        server, thread = start_http_server(port, registry=registry)
    except OSError as error:
        raise ConfigError(
            f"metrics.port = {port} can't be opened ({error.strerror}): choose a free one, or 0"
            " for none"
        ) from error
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
