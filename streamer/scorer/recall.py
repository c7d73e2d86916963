"""Recall channels: from all items to a few hundred candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.table import Slots
from streamer.scorer.items import COUNT, DECAYED, ItemView, best

SILENT_BELOW = 1 / 16
"""A half-life is silent when its strongest item counts less: one event, four half-lives ago."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What "popular now" is ordered by: a column of ``ItemView.stats`` and its fading since."""

    column: int
    fade: float

    def values(self, items: ItemView, rows: Slots) -> NDArray[np.float32]:
        """``(n,)`` decayed counts now, or plain counts."""
        values: NDArray[np.float32] = items.stats[rows, self.column] * np.float32(self.fade)
        return values


def choose_trend(items: ItemView, *, half_life: int, at_ms: int) -> Trend:
    """The asked half-life (its index), or the next longer one that is not silent, or counts.

    After a quiet night the last hour says nothing, and the last day says what people like.
    """
    for index in range(half_life, len(items.half_lives)):
        fade = 2.0 ** ((items.at_ms - at_ms) / int(items.half_lives[index]))
        trend = Trend(DECAYED + index, fade)
        strongest = trend.values(items, items.top(trend.column, 1)[:1])
        if len(strongest) and strongest[0] >= SILENT_BELOW:
            return trend
    return Trend(COUNT, 1.0)


def recall_trending(items: ItemView, trend: Trend, allowed: NDArray[np.bool_], n: int) -> Slots:
    """At most ``n`` allowed rows that trend most, best first."""
    top = items.top(trend.column, n)
    found = top[allowed[top]][:n]
    if len(found) < n and len(top) < items.n_rows:
        # So many of the most popular ones are ruled out that all have to be looked at.
        values = np.where(allowed, items.stats[:, trend.column], -np.inf).astype(np.float32)
        found = best(values, n, items.keys)
    return found


def recall_mf(
    items: ItemView, scores: NDArray[np.float32], allowed: NDArray[np.bool_], n: int
) -> Slots:
    """At most ``n`` allowed rows with the greatest scores, best first."""
    return best(np.where(allowed, scores, np.float32(-np.inf)), n, items.keys)
