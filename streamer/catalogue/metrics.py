"""Metrics of the catalogue that a scorer holds."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class CatalogueMetrics:
    """What a catalogue knows and forgets.

    Attributes
    ----------
    items, dropped
        Items known, and those forgotten at the bound.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Gauge(
            "streamer_scorer_catalogue_items", "Items the catalogue knows", registry=registry
        )
        self.dropped = Counter(
            "streamer_scorer_catalogue_dropped", "Items forgotten at the bound", registry=registry
        )
