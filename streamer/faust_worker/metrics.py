"""What a worker of the windowed features counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from streamer.telemetry import NamedMetrics

_AGE_S: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0)


class FeaturesMetrics:
    """Counters and gauges named ``streamer_features_…``.

    Attributes
    ----------
    events, duplicates, dead_letters
        Messages of the events topic, and what became of them.
    lost
        Events, contributions and items that their topics deleted before they were read.
    published, left, too_large
        Values published, entities that left a window, and values that their topic refused.
    unreadable
        Records of the changelog topic that are none, and were deleted.
    late, refused
        Contributions that were not counted, by ``partition`` of the state.
    watermark_age_s
        Now less the time that all events have reached, by ``partition``; what is published is
        older by the lateness and by up to a hop.
    staleness_s
        From a window's end to the publication of its value.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("features", registry)
        counter, gauge = metrics.counter, metrics.gauge
        self.events = counter("events", "Messages taken from the events topic")
        self.duplicates = counter("duplicates", "Events dropped for a repeated event_id")
        self.dead_letters = counter("dead_letters", "Messages that could not be used")
        self.lost = metrics.lost()
        self.published = counter("published", "Values published")
        self.too_large = counter("too_large", "Values that the features topic refused")
        self.unreadable = counter("unreadable", "Records of the changelog topic that are none")
        self.left = counter("left", "Entities that left a window")
        self.late = gauge("late", "Contributions that came too late", "partition")
        self.refused = gauge("refused", "Contributions beyond windows.cells_max", "partition")
        self.watermark_age_s = gauge(
            "watermark_age_seconds",
            "Now less the event time that all partitions have reached",
            "partition",
        )
        self.staleness_s = metrics.histogram(
            "staleness_seconds", "From a window's end to the publication of its value", _AGE_S
        )

    def forget_partitions(self) -> None:
        """No longer show partitions, which may be another worker's now."""
        for gauge in (self.late, self.refused, self.watermark_age_s):
            gauge.clear()
