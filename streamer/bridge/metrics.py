"""What bridges count."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from streamer.telemetry import NamedMetrics


class BridgeMetrics:
    """Counters and gauges named ``streamer_bridge_…``.

    Attributes
    ----------
    messages
        Messages taken, by ``bridge`` and ``fate``: ``published``, ``dead_letter``, or
        ``passed_over`` where they say nothing.
    lost
        Messages that their topics deleted before they were read.
    lag
        Messages that wait, by ``topic`` and ``partition``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("bridge", registry)
        self.messages = metrics.counter("messages", "Messages taken", "bridge", "fate")
        self.lost = metrics.lost()
        self.lag = metrics.lag()
