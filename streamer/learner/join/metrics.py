"""Metrics of items shown and taken up: click rates are quotients of their rates."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as CounterMetric

from streamer.learner.join.clicks import ClickCounts, Clicks, Labels
from streamer.telemetry import NamedMetrics

_KINDS = {
    "by_surface": ("surface",),
    "by_variant": ("experiment", "variant"),
    "by_channel": ("channel",),
    "by_slot": ("slot",),
}


class ClickMetrics:
    """Counters named ``streamer_learner_shown_by_…`` and ``streamer_learner_taken_by_…``, of items,
    and ``streamer_learner_answers_…``, of slates.

    How many labels there can be is bounded where they are counted.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = NamedMetrics("learner", registry).counter
        self._pairs = {
            kind: (
                counter(f"shown_{kind}", "Items shown whose window is over", *labels),
                counter(f"taken_{kind}", "Items with a positive reward among them", *labels),
            )
            for kind, labels in _KINDS.items()
        }
        self._pairs["answers"] = (
            counter("answers_shown", "Slates that were seen and whose window is over", "surface"),
            counter("answers_taken", "Slates of which an item was taken up", "surface"),
        )
        self._so_far = {kind: (Counter[Labels](), Counter[Labels]()) for kind in self._pairs}

    def show(self, counts: ClickCounts) -> None:
        """Bring the counters up to what was counted."""
        for kind, (shown, taken) in self._pairs.items():
            clicks: Clicks = getattr(counts, kind)
            before_shown, before_taken = self._so_far[kind]
            _catch_up(shown, clicks.shown, before_shown)
            _catch_up(taken, clicks.taken, before_taken)


def _catch_up(metric: CounterMetric, counted: Counter[Labels], so_far: Counter[Labels]) -> None:
    for labels, n in counted.items():
        if n != so_far[labels]:
            metric.labels(*labels).inc(n - so_far[labels])
            so_far[labels] = n
