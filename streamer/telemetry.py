"""What the metrics of all rooms share: names, buckets of latencies, the port Prometheus reads.

The metrics themselves are in the ``metrics.py`` of their room; ``docs/observability.md`` says what
they mean.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from streamer.errors import ConfigError

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
LATENCY_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper edges of the buckets of a histogram of latencies."""


RAISE_RETENTION: Final = "raise topics.retention_hours, or start more readers"
"""Remedy where messages are deleted before they are read."""


@dataclass(frozen=True, slots=True)
class NamedMetrics:
    """Makes metrics named ``streamer_PREFIX_…`` in a registry; more arguments are labels."""

    prefix: str
    registry: CollectorRegistry

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Make a counter."""
        return Counter(f"streamer_{self.prefix}_{name}", meaning, labels, registry=self.registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """Make a gauge."""
        return Gauge(f"streamer_{self.prefix}_{name}", meaning, labels, registry=self.registry)

    def histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        """Make a histogram with the upper edges of its buckets."""
        return Histogram(
            f"streamer_{self.prefix}_{name}", meaning, buckets=buckets, registry=self.registry
        )

    def lost(self) -> Counter:
        """Make the counter of messages that a topic deleted before they were read."""
        return self.counter("lost", "Messages deleted before they were read")

    def lag(self) -> Gauge:
        """Make the gauge of messages that wait for a service, by topic and partition."""
        return self.gauge("lag", "Messages waiting", "topic", "partition")


def tell_unavailable(log: logging.Logger, error: Exception, attempt: int) -> None:
    """Log that a store did not answer, in a line for each attempt; at debug level, where from."""
    log.warning(
        "store_unavailable",
        extra={"attempt": attempt, "reason": str(error)},
        exc_info=error if log.isEnabledFor(logging.DEBUG) else None,
    )


def report_lost(
    topic: str, partition: int, *, wanted: int, low: int, remedy: str = RAISE_RETENTION
) -> None:
    """Say in one line that the messages from ``wanted`` to ``low`` were deleted unread."""
    log.error(
        "messages_lost %s[%d]: offsets %d to %d were deleted before they were read (%d messages);"
        " %s",
        topic,
        partition,
        wanted,
        low - 1,
        low - wanted,
        remedy,
        extra={"topic": topic, "partition": partition, "wanted": wanted, "low": low},
    )


def show_lag(gauge: Gauge, lag: Mapping[tuple[str, int], int]) -> None:
    """Set the lag of partitions owned now; those of others are no longer shown."""
    gauge.clear()
    for (topic, partition), n_messages in lag.items():
        gauge.labels(topic, str(partition)).set(n_messages)


@contextmanager
def serve_metrics(registry: CollectorRegistry, port: int, *, host: str = LOOPBACK) -> Iterator[int]:
    """Serve ``/metrics`` on an address of the machine while entered; port 0: not at all.

    Yields
    ------
    int
        The port.

    Raises
    ------
    ConfigError
        When the port is taken, or the address is not one of this machine.
    """
    if port == 0:
        yield 0
        return
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ConfigError(
            f"metrics.port = {port} can't be opened on metrics.host = {host} ({error.strerror}):"
            " choose a free one, or 0 for none, and an address of this machine"
        ) from error
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
