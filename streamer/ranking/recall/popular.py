"""What is popular: of all time, and by each half-life."""

from __future__ import annotations

from typing import Annotated

import numba
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.ranking.asked import Asked
from streamer.ranking.candidates import Candidates
from streamer.ranking.recall.channel import Recalled, RecallSettings
from streamer.ranking.recall.measuring import (
    MeasureNames,
    Measures,
    MeasuringChannel,
    unmeasured,
)
from streamer_models.counters.popularity import Popularity
from streamer_models.counters.popularity_shares import popularity_shares
from streamer_models.state.table import Slots
from streamer_models.state.top_rows import Tops


class PopularSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall by popularity, of all time and by each of ``popularity.half_lives_s``."""

    candidates: Annotated[
        int, Meta(ge=0, le=256, description="recalled by each order, of all time and by half-life")
    ] = 50


class PopularChannel(MeasuringChannel[PopularSettings]):
    """The most popular items that the user has not met, by each half-life and of all time."""

    name = "popular"
    reason = "popular"
    settings_type = PopularSettings
    needs_feedback = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._popularity = Popularity(half_lives_s=tuple(config.popularity.half_lives_s))

    @property
    def candidates_max(self) -> int:
        """Most candidates that it brings."""
        return self.settings.candidates * (1 + len(self._popularity.half_lives))

    @property
    def measures(self) -> MeasureNames:
        """A share of all time, and one a half-life, the longest first."""
        longest_first = sorted(
            (h / 1000 for h in self._popularity.half_lives.tolist()), reverse=True
        )
        return MeasureNames(shares=("popular", *(f"popular_{h:.12g}s" for h in longest_first)))

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        tables, popularity = context.tables, self._popularity
        orders = (
            ranked(tables.read(popularity.count_rows).tops).rows,
            ranked(tables.read(popularity.decayed_rows).tops).rows,
        )
        return Recalled(_in_turn(np.concatenate(orders), allowed, n))

    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        tables, popularity = asked.tables, self._popularity
        total = tables.read(popularity.total_count).row(0)
        totals = tables.read(popularity.total_decayed).row(0)
        n, n_known = len(candidates), len(candidates.rows)
        shares = np.zeros((len(self.measures.shares), n))
        if total is not None and totals is not None:
            shares[:, :n_known] = popularity_shares(
                tables.read(popularity.count_rows).take(candidates.rows),
                tables.read(popularity.decayed_rows).take(candidates.rows),
                int(total[0]),
                totals.reshape(1, -1),
                popularity.half_lives,
                items_known(asked, popularity),
                asked.at_ms,
            )
        return Measures(shares, unmeasured(n))


def ranked(tops: Tops | None) -> Tops:
    """Return the greatest rows of a table that is declared to be ranked."""
    assert tops is not None, "a table without ranks"
    return tops


def items_known(asked: Asked, popularity: Popularity) -> int:
    """Return how many items have positive feedback."""
    return ranked(asked.tables.read(popularity.count_rows).tops).n_above


@numba.njit(cache=True, nogil=True)
def _in_turn(orders: Slots, allowed: NDArray[np.bool_], n: int) -> Slots:
    """The first ``n`` allowed rows of each order, one of each in turn, none twice."""
    n_orders, length = orders.shape
    at, taken = np.zeros(n_orders, dtype=np.int64), np.zeros(len(allowed), dtype=np.bool_)
    found = np.empty(n_orders * n, dtype=np.int32)
    n_found = 0
    for _ in range(n):
        for order in range(n_orders):
            while at[order] < length:
                row = orders[order, at[order]]
                at[order] += 1
                if row < 0:
                    at[order] = length
                elif allowed[row]:
                    if not taken[row]:
                        taken[row] = True
                        found[n_found] = row
                        n_found += 1
                    break
    return found[:n_found]
