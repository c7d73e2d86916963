"""A watch on how well rewards are foreseen: it says when that changes."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry

from streamer.learner.join.counts import Foreseen
from streamer.learner.metrics import reward_drift_counter
from streamer_models.evaluation.drift import DriftEvent, DriftMonitor

log = logging.getLogger(__name__)

ROSE, FELL = "rose", "fell"
"""What the loss did. It rises where tastes change; it falls where the bandit gets better, and also
where rewards just become rarer."""
_LOADER: Final = "drift-loader"


class DriftWatch:
    """Logs ``reward_drift`` and counts it when the loss of the bandit's predictions changes.

    Its state is not stored: after a restart, and where partitions move to another learner, it
    begins anew. So by default it only tells; what follows from it must be recorded with what is
    learned, as a raised learning rate is. (Evidence that fades adapts by itself:
    ``bandit.half_life_s``.)

    Parameters
    ----------
    open_monitor
        Called at the first outcome, in a thread of its own, for importing what it needs may take
        seconds; until it returns, outcomes are passed over.
    rose
        Called when the loss rose.
    """

    def __init__(
        self,
        open_monitor: Callable[[], DriftMonitor],
        registry: CollectorRegistry,
        *,
        rose: Callable[[], None] = lambda: None,
    ) -> None:
        self.events = reward_drift_counter(registry)
        # From the start, so that a first drift is an increase.
        self._counters = {direction: self.events.labels(direction) for direction in (ROSE, FELL)}
        self._open_monitor = open_monitor
        self._rose = rose
        self._loader: threading.Thread | None = None
        self._monitor: DriftMonitor | None = None

    def load(self) -> None:
        """Open the monitor and wait for it."""
        self._monitor = self._open_monitor()

    def take(self, foreseen: Foreseen) -> None:
        """Observe outcomes of decisions that were closed, in their order."""
        if not len(foreseen.expected):
            return
        if self._monitor is None:
            if self._loader is None:
                self._loader = threading.Thread(target=self.load, name=_LOADER)
                self._loader.start()
            return
        for event in self._monitor.observe(foreseen.expected, foreseen.observed):
            self._tell(event)

    def _tell(self, event: DriftEvent) -> None:
        direction = ROSE if event.rose else FELL
        self._counters[direction].inc()
        if event.rose:
            self._rose()
        log.warning(
            "reward_drift",
            extra={
                "loss": direction,
                "loss_before": round(event.before, 4),
                "loss_after": round(event.after, 4),
                "n_before": event.n_before,
                "n_after": event.n_after,
                "n_observed": event.n_observed,
            },
        )


def configured_watch(
    delta: float, registry: CollectorRegistry, *, rose: Callable[[], None] = lambda: None
) -> DriftWatch | None:
    """The watch of ``bandit.drift_delta``; None where that is 0, or where river is not installed.

    It watches the log loss, for which a positive reward is a click, whatever its size.
    """
    if delta == 0:
        return None
    if importlib.util.find_spec("river") is None:
        log.info("drift_not_watched", extra={"reason": "river is not installed"})
        return None

    def open_monitor() -> DriftMonitor:
        from streamer_models.river_adapter.drift import AdwinMonitor

        return AdwinMonitor(loss="log", delta=delta)

    return DriftWatch(open_monitor, registry, rose=rose)
