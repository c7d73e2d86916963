"""What a worker of the windowed features counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_AGE_S: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0)


class FeaturesMetrics:
    """Counters and gauges named ``streamer_features_…``.

    Attributes
    ----------
    events, duplicates, dead_letters
        Messages of the events topic, and what became of them.
    published, left
        Values published, and entities that left a window.
    late, refused
        Contributions that were not counted, by ``partition`` of the state.
    watermark_age_s
        Now less the time that all events have reached, by ``partition``; what is published is
        older by the lateness and by up to a hop.
    staleness_s
        From a window's end to the publication of its value.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"streamer_features_{name}", meaning, registry=registry)

        def by_partition(name: str, meaning: str) -> Gauge:
            return Gauge(f"streamer_features_{name}", meaning, ["partition"], registry=registry)

        self.events = counter("events", "Messages taken from the events topic")
        self.duplicates = counter("duplicates", "Events dropped for a repeated event_id")
        self.dead_letters = counter("dead_letters", "Messages that could not be used")
        self.published = counter("published", "Values published")
        self.left = counter("left", "Entities that left a window")
        self.late = by_partition("late", "Contributions that came too late")
        self.refused = by_partition("refused", "Contributions beyond windows.cells_max")
        self.watermark_age_s = by_partition(
            "watermark_age_seconds", "Now less the event time that all partitions have reached"
        )
        self.staleness_s = Histogram(
            "streamer_features_staleness_seconds",
            "From a window's end to the publication of its value",
            buckets=_AGE_S,
            registry=registry,
        )

    def forget_partitions(self) -> None:
        """No longer show partitions, which may be another worker's now."""
        for gauge in (self.late, self.refused, self.watermark_age_s):
            gauge.clear()
