"""The factor of learning rates after a drift: raised at once, it falls back with the events."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from streamer.learner.metrics import rate_factor_gauge
from streamer_models.evaluation.drift import RateBoost

_STEPS: Final = 64
"""Factors are whole 64ths: a number of few bits, which is 1 exactly once little is left of it."""


class DriftBoost:
    """What learning rates are multiplied by, one factor a batch.

    Its state is not stored and begins anew with each process. So what it says must be recorded
    with what was learned (:attr:`streamer.protocols.Schedule.rate_factor`), and is.

    Parameters
    ----------
    boost
        How high, and after how many events half of what is above 1 is left.
    """

    def __init__(self, boost: RateBoost, registry: CollectorRegistry) -> None:
        self._boost = boost
        self._n_events = 0
        self._drifts: list[int] = []
        self.shown = rate_factor_gauge(registry)
        self.shown.set(1.0)

    def rise(self) -> None:
        """The loss rose: from the next event on the rate is raised."""
        self._drifts = [self._n_events]

    def factor(self, n_events: int) -> float:
        """The factor of the next batch, which has ``n_events``."""
        factor = float(self._boost.factors(self._n_events, 1, self._drifts)[0])
        self._n_events += n_events
        rounded = round(_STEPS * factor) / _STEPS
        self.shown.set(rounded)
        return rounded
