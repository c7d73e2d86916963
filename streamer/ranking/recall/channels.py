"""Recall channels: from all items to a few hundred candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.events import Request
from streamer.ranking.known_features import FeatureSource
from streamer.scorer.replica.columns import best
from streamer.scorer.replica.items import COUNT, DECAYED, ItemView
from streamer.scorer.replica.version import Version
from streamer_models.state.id_table import keys_of
from streamer_models.state.table import Keys, Slots

SILENT_BELOW = 1 / 16
"""A half-life is silent when its strongest item counts less: one event, four half-lives ago."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What "popular now" is ordered by: a column of :class:`ItemView` and its fading since."""

    column: int
    fade: float

    def values(self, items: ItemView, rows: Slots) -> NDArray[np.float32]:
        """``(n,)`` decayed counts now, or plain counts."""
        values: NDArray[np.float32] = items.column(self.column)[rows] * np.float32(self.fade)
        return values


@dataclass(frozen=True, slots=True)
class Situation:
    """Who asks, and all that is known while the answer is made.

    Attributes
    ----------
    user_row, seen
        Row of the user, -1 where there is none, and the items last met, the newest first.
    scores
        ``(n_rows,)`` of the factorization for every item; None for a user it does not know.
    at_ms
        Time that counts are read at.
    known
        What the features topic says.
    """

    request: Request
    version: Version
    catalogue: Catalogue
    user_row: int
    seen: Keys
    scores: NDArray[np.float32] | None
    trend: Trend
    at_ms: int
    known: FeatureSource

    @property
    def items(self) -> ItemView:
        return self.version.items


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of the channels.

    Attributes
    ----------
    rows
        Items with parameters.
    new_ids
        Items without, which stand behind them.
    mf, trending, by_feature
        Rows that each channel brought, best first.
    """

    rows: Slots
    new_ids: list[str]
    mf: Slots
    trending: Slots
    by_feature: Slots

    def __len__(self) -> int:
        return len(self.rows) + len(self.new_ids)

    def ids(self, items: ItemView) -> list[str]:
        return [items.names[row] for row in self.rows.tolist()] + self.new_ids

    def keys(self, items: ItemView) -> Keys:
        return np.concatenate([items.keys[self.rows], keys_of(self.new_ids)])


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
        values = np.where(allowed, items.column(trend.column), -np.inf).astype(np.float32)
        found = best(values, n, items.keys)
    return found


def recall_by_feature(
    items: ItemView, best_keys: Keys, allowed: NDArray[np.bool_], n: int
) -> Slots:
    """At most ``n`` allowed rows among those of the keys, in their order."""
    rows = items.map.find(best_keys)
    rows = rows[rows >= 0]
    found: Slots = rows[allowed[rows]][:n]
    return found


def recall_mf(
    items: ItemView, scores: NDArray[np.float32], allowed: NDArray[np.bool_], n: int
) -> Slots:
    """At most ``n`` allowed rows with the greatest scores, best first."""
    return best(np.where(allowed, scores, np.float32(-np.inf)), n, items.keys)
