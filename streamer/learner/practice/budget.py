"""How much of its time a learner may practise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry

from streamer.learner.metrics import practice_gauge

_BURST_S: Final = 0.25
"""Time that is saved up while little comes: a few hundred events can practise at once."""
_COST_S: Final = 300e-6
"""What one is taken to cost before any was measured."""
_KEPT: Final = 0.8
_STEPS: Final = 1_024


class PracticeBudget:
    """The share of a batch's events that practise: as many as fit into a share of the wall clock.

    Time is saved up at a fixed rate and spent by practising (a token bucket). So with few events
    all practise, and under load as many as the budget pays. It depends on the clock, so what it
    says must be recorded with what was learned
    (:attr:`streamer.protocols.Schedule.practice_share`), and is.

    Parameters
    ----------
    share_max
        Share of events that practise where there is time enough.
    time_share
        Share of the wall clock that practising may take.
    clock
        Seconds since any start.
    """

    def __init__(
        self,
        share_max: float,
        time_share: float,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._share_max = share_max
        self._time_share = time_share
        self._saved_s = _BURST_S
        self._cost_s = _COST_S
        self._at_s = clock()
        self._shown = practice_gauge(registry)

    def share(self, n_events: int) -> float:
        """Return the share of the next batch, which has ``n_events``; a multiple of 1/1,024."""
        now_s = self._clock()
        self._saved_s = min(self._saved_s + (now_s - self._at_s) * self._time_share, _BURST_S)
        self._at_s = now_s
        affordable = max(self._saved_s, 0.0) / (self._cost_s * max(n_events, 1))
        share = math.floor(_STEPS * min(self._share_max, affordable)) / _STEPS
        self._shown.set(share)
        return share

    def spent(self, seconds: float, n_events: int) -> None:
        """Take note that ``n_events`` practised and took so long."""
        self._saved_s -= seconds
        self._cost_s = _KEPT * self._cost_s + (1 - _KEPT) * seconds / n_events
