"""Metrics of a scorer: requests and slates, and the windowed features it ranks by."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from streamer.catalogue.metrics import CatalogueMetrics
from streamer.replica.metrics import ReplicaMetrics
from streamer.telemetry import LATENCY_S, NamedMetrics
from streamer.windows.latest import LatestFeatures


class ScorerMetrics:
    """What a scorer counts.

    Attributes
    ----------
    requests, dead_letters, stale, lost
        Requests answered; requests and items that could not be used; among them those too old.
    request_seconds
        Time to score one request.
    emptied
        Slates without an item, by the ``rule`` that kept items out; one that several rules emptied
        counts for each.
    decisions, slots, explored
        Slates by ``policy``, their slots, and the slots that chance filled.
    new
        Slots with a new item.
    exposure_gini, exposure_items
        Of the last slots: how unequally items got them, and how many items did.
    experiment_slates
        Slates drawn, by ``experiment`` and ``variant``.
    experiment_shadows
        Slates that shadow variants were to be computed for, by ``experiment``, ``variant`` and
        ``outcome``: ``computed``, ``shed`` or ``failed``.
    lag
        Requests waiting, by ``topic`` and ``partition``.
    ready
        1 from when requests are answered.
    replica, catalogue
        Of the rooms below.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("scorer", registry)
        counter = metrics.counter
        self.requests = counter("requests", "Requests answered")
        self.dead_letters = counter("dead_letters", "Messages that could not be used")
        self.lost = metrics.lost()
        self.stale = counter("stale", "Requests too old to be answered")
        self.emptied = counter(
            "emptied", "Slates without an item where a rule or a filter kept items out", "rule"
        )
        self.decisions = counter("decisions", "Slates drawn", "policy")
        self.slots = counter("slots", "Slots of the slates")
        self.explored = counter("explored", "Slots that chance filled, not the ranking")
        self.new = counter("new", "Slots with an item that is new (recall.fresh.days)")
        self.exposure_gini = metrics.gauge(
            "exposure_gini", "Gini index of the last slots that items got: 1, all went to one"
        )
        self.exposure_items = metrics.gauge(
            "exposure_items", "Items that got one of the last slots"
        )
        self.experiment_slates = counter(
            "experiment_slates", "Slates drawn, by variant", "experiment", "variant"
        )
        self.experiment_shadows = counter(
            "experiment_shadows",
            "Slates drawn to compute a shadow variant for: computed, shed while others waited, or"
            " failed",
            "experiment",
            "variant",
            "outcome",
        )
        self.request_seconds = metrics.histogram(
            "request_seconds", "Time to score one request", LATENCY_S
        )
        self.lag = metrics.lag()
        self.ready = metrics.gauge("ready", "1 when requests are answered, 0 before and after")
        self.replica = ReplicaMetrics(registry)
        self.catalogue = CatalogueMetrics(registry)


class KnownFeatureMetrics:
    """Gauges and counters named ``streamer_scorer_features_…``.

    Attributes
    ----------
    known
        Values that are known, stale ones too.
    staleness_s
        Age of the newest value of a ``feature``: from its window's end to now.
    forgotten, rejected
        Values dropped at the bound; messages that are no features.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("scorer_features", registry)
        self.known = metrics.gauge("known", "Values of features known")
        self.staleness_s = metrics.gauge(
            "staleness_seconds",
            "From the end of the newest window that a value is of to now",
            "feature",
        )
        self.forgotten = metrics.counter("forgotten", "Values of features forgotten at the bound")
        self.rejected = metrics.counter(
            "rejected", "Messages of the features topic that are no features"
        )
        self._n_shown = [0, 0]

    def show(self, latest: LatestFeatures, now_ms: int) -> None:
        """Bring all of them up to what is known now."""
        with latest.lock:
            n_known, ends_ms = len(latest), latest.newest_end_ms()
            counts = [latest.n_forgotten, latest.n_rejected]
        self.known.set(n_known)
        for name, end_ms in ends_ms.items():
            self.staleness_s.labels(name).set((now_ms - end_ms) / 1000)
        for counter, n, n_shown in zip(
            (self.forgotten, self.rejected), counts, self._n_shown, strict=True
        ):
            counter.inc(n - n_shown)
        self._n_shown = counts
