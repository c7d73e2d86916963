"""Metrics of the catalogue that a scorer holds."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from streamer.telemetry import NamedMetrics


class CatalogueMetrics:
    """What a catalogue knows and forgets.

    Attributes
    ----------
    items, dropped, ahead
        Items known, those forgotten at the bound, and those that are still to come out.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("scorer_catalogue", registry)
        self.items = metrics.gauge("items", "Items the catalogue knows")
        self.ahead = metrics.gauge(
            "ahead", "Items whose created_ts is still to come: not shown yet"
        )
        self.dropped = metrics.counter("dropped", "Items forgotten at the bound")
