"""What the bandit has learned in one version: outcomes by item, and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.replica.columns import ColumnView, DecayedColumnView
from streamer.replica.id_rows import IndexRows
from streamer.replica.row_store import RowView
from streamer.replica.tables import Tables
from streamer_models.bandits.bandit import N_OUTCOMES, N_POSITIVE, N_RATES, REWARDS, Bandit
from streamer_models.bandits.objectives import Objectives
from streamer_models.counters.popularity import Popularity
from streamer_models.state.model import Model, model_of
from streamer_models.state.table import Array, Keys

SHOWN, POSITIVE, REWARD = N_OUTCOMES, N_POSITIVE, REWARDS
"""Columns of :meth:`ArmView.outcomes`."""
FADED = REWARD + 1
"""How many there are."""


@dataclass(frozen=True, slots=True)
class ArmView:
    """Outcomes of one version, by item.

    Attributes
    ----------
    counted, rates
        Columns of ``arm_outcomes`` and of ``arm_rates``.
    own
        Statistics of each item; None where there are none.
    gains
        Columns of ``objective_gains``; None where there are no objectives.
    """

    counted: ColumnView
    rates: DecayedColumnView
    own: RowView | None
    gains: DecayedColumnView | None = None

    @property
    def totals(self) -> NDArray[np.float64]:
        """``(3,)`` times shown, positive outcomes, sum of rewards over all items."""
        return self.counted.totals[:FADED]

    def outcomes(self, keys: Keys) -> NDArray[np.float64]:
        """``(n, 3)`` times shown, positive outcomes, sum of rewards; zeros where never shown."""
        return self.counted.of(keys)[:, :FADED]

    def faded(self, keys: Keys, at_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(n, n_half_lives)`` each: faded times shown and positive outcomes at a time."""
        return self._split(self.rates.of(keys), at_ms)

    def faded_totals(self, at_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(n_half_lives,)`` each: the same over all items."""
        return self._split(self.rates.totals, at_ms)

    def gained(self, keys: Keys, at_ms: int) -> NDArray[np.float64]:
        """``(n, n_objectives)`` what items brought, faded, at a time."""
        assert self.gains is not None, "no objectives are learned"
        return self.gains.of(keys) * self.gains.shares(at_ms)

    def gained_totals(self, at_ms: int) -> NDArray[np.float64]:
        """``(n_objectives,)``: the same over all items."""
        assert self.gains is not None, "no objectives are learned"
        totals: NDArray[np.float64] = self.gains.totals * self.gains.shares(at_ms)
        return totals

    def statistics(self, keys: Keys) -> tuple[NDArray[np.intp], Array]:
        """Positions among ``keys`` that have statistics of their own, and their rows."""
        if self.own is None:
            return np.zeros(0, dtype=np.intp), np.zeros((0, 0), dtype=np.int64)
        return self.own.rows(self.counted.ids.map.find(keys))

    def _split(
        self, values: NDArray[np.float64], at_ms: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = values * self.rates.shares(at_ms)
        return values[..., 0::N_RATES], values[..., 1::N_RATES]


@dataclass(frozen=True, slots=True)
class BanditView:
    """All that the bandit knew in one version.

    Attributes
    ----------
    statistics
        ``(width,)`` int64 of the model that all items share; None before anything is learned.
        Versions between which it did not change hold the same array.
    objectives
        The same of outcomes by objective; None where there are none.
    watermark_ms
        Of the version: statistics that fade are read as of it.
    """

    statistics: NDArray[np.int64] | None
    arms: ArmView
    watermark_ms: int
    objectives: NDArray[np.int64] | None = None
    _read: tuple[RowView | None, RowView | None] = (None, None)

    @classmethod
    def of(
        cls,
        tables: Tables,
        models: Sequence[Model],
        watermark_ms: int,
        before: BanditView | None = None,
    ) -> BanditView:
        """What the bandit knows in a version that follows another."""
        bandit = model_of(models, Bandit)
        if bandit is None:
            return cls(None, _never_shown(models), watermark_ms)
        shared, own = tables.read(bandit.statistics), bandit.arm_statistics
        asked = model_of(models, Objectives)
        joint = None if asked is None else tables.read(asked.statistics)
        of_shared, of_joint = (None, None) if before is None else before._read
        return cls(
            statistics=before.statistics if before and of_shared is shared else shared.row(0),
            arms=ArmView(
                counted=tables.read(bandit.outcomes),
                rates=tables.read(bandit.rates),
                own=None if own is None else tables.read(own),
                gains=None if asked is None else tables.read(asked.gains),
            ),
            watermark_ms=watermark_ms,
            objectives=(
                before.objectives
                if before and of_joint is joint
                else None
                if joint is None
                else joint.row(0)
            ),
            _read=(shared, joint),
        )


def _never_shown(models: Sequence[Model]) -> ArmView:
    """What is known where no bandit is learned; by the half-lives of popularity, if any."""
    popular, nothing = model_of(models, Popularity), IndexRows().publish()
    half_lives = np.repeat(
        np.zeros(0, np.int64) if popular is None else popular.half_lives, N_RATES
    )
    n = len(half_lives)
    counted = ColumnView(nothing, np.zeros((0, FADED), np.float32), np.zeros(FADED))
    rates = np.zeros((0, n), np.float32), np.zeros(n)
    return ArmView(counted, DecayedColumnView(nothing, *rates, half_lives=half_lives), None)
