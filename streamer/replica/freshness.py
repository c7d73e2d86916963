"""How old events are when what they taught can be served, over a sliding window."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 10_000
"""Samples kept: 80 kB."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """Milliseconds from an event's publication to the version that has learned it.

    The producer's clock says when it was published, ours when it could be served: they are as far
    off as the clocks are.

    Attributes
    ----------
    p50_ms, p99_ms
        NaN where there is no sample yet.
    n_samples
        In the window.
    """

    p50_ms: float
    p99_ms: float
    n_samples: int


class FreshnessWindow:
    """The last samples of freshness; any thread may write and read."""

    def __init__(self, n_max: int = WINDOW) -> None:
        self._samples = np.zeros(n_max, dtype=np.float64)
        self._n_seen = 0
        self._lock = threading.Lock()

    def add(self, samples_ms: NDArray[np.int64]) -> None:
        """Take ``(n,)`` samples, in their order."""
        n_max = len(self._samples)
        kept = samples_ms[-n_max:]
        with self._lock:
            at = (self._n_seen + np.arange(len(kept))) % n_max
            self._samples[at] = kept
            self._n_seen += len(kept)

    def summary(self) -> Freshness:
        """Quantiles of the window."""
        with self._lock:
            samples = self._samples[: self._n_seen].copy()
        if not len(samples):
            return Freshness(float("nan"), float("nan"), 0)
        p50_ms, p99_ms = np.percentile(samples, [50, 99])
        return Freshness(float(p50_ms), float(p99_ms), len(samples))
