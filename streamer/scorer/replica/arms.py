"""What the bandit has learned: outcomes by item and statistics, in immutable views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.scorer.replica.id_rows import IdMap, IdRows
from streamer.scorer.replica.items import decay_reference, grown
from streamer.scorer.replica.row_store import RowStore, RowView
from streamer_models.bandits.bandit import (
    ARM_STATISTICS,
    N_OUTCOMES,
    N_POSITIVE,
    N_RATES,
    OUTCOMES,
    RATES,
    REWARDS,
    STATISTICS,
)
from streamer_models.bandits.linear_statistics import STATISTICS_BITS
from streamer_models.counters.decay import decayed_values
from streamer_models.state.protocols import Model
from streamer_models.state.table import (
    ARM,
    Array,
    Change,
    IdChange,
    Keys,
    Rows,
    Slots,
    TableSpec,
    fold,
)

SHOWN, POSITIVE, REWARD, FADED = range(4)
"""Columns of ``ArmView.stats``: times shown, with a positive outcome, the sum of rewards; from
``FADED`` on, by half-life, faded times shown and faded positive outcomes."""


@dataclass(frozen=True, slots=True)
class ArmView:
    """Outcomes of one version, by item.

    Attributes
    ----------
    stats
        ``(n_rows, 3 + 2 * n_half_lives)`` float32, faded ones as of ``at_ms``.
    totals
        ``(3 + 2 * n_half_lives,)`` float64, over all items.
    """

    map: IdMap
    stats: NDArray[np.float32]
    totals: NDArray[np.float64]
    at_ms: int
    half_lives: NDArray[np.int64]
    _statistics: RowView | None

    def outcomes(self, keys: Keys) -> NDArray[np.float64]:
        """``(n, 3)`` times shown, positive outcomes, sum of rewards; zeros where never shown."""
        return self._of(keys)[:, :FADED]

    def faded(self, keys: Keys, at_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(n, n_half_lives)`` each: faded times shown and positive outcomes at a time."""
        return self._split(self._of(keys)[:, FADED:], at_ms)

    def faded_totals(self, at_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(n_half_lives,)`` each: the same over all items."""
        return self._split(self.totals[FADED:], at_ms)

    def statistics(self, keys: Keys) -> tuple[NDArray[np.intp], Array]:
        """Positions among ``keys`` that have statistics of their own, and their rows."""
        if self._statistics is None:
            return np.zeros(0, dtype=np.intp), np.zeros((0, 0), dtype=np.int64)
        return self._statistics.rows(self.map.find(keys))

    def _of(self, keys: Keys) -> NDArray[np.float64]:
        rows = self.map.find(keys)
        found = np.zeros((len(keys), self.stats.shape[1]))
        known = rows >= 0
        found[known] = self.stats[rows[known]]
        return found

    def _split(
        self, values: NDArray[np.float64], at_ms: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        fade = np.exp2((self.at_ms - at_ms) / self.half_lives)
        return values[..., 0::N_RATES] * fade, values[..., 1::N_RATES] * fade


@dataclass(frozen=True, slots=True)
class BanditView:
    """All that the bandit knew in one version.

    Attributes
    ----------
    statistics
        ``(width,)`` int64 of the model that all items share; None before anything is learned.
        Versions between which it did not change hold the same array.
    watermark_ms
        Of the version: statistics that fade are read as of it.
    """

    statistics: NDArray[np.int64] | None
    arms: ArmView
    watermark_ms: int


class BanditState:
    """Merged statistics; for the follower thread alone, but for what :meth:`publish` makes.

    Where the models keep no bandit, nothing is ever learned here.

    Parameters
    ----------
    models
        Whose tables these are.
    half_lives
        ``(n,)`` ms, of the columns of ``arm_rates``.
    """

    def __init__(self, models: Sequence[Model], half_lives: NDArray[np.int64]) -> None:
        specs = {spec.name: spec for model in models for spec in model.tables()}
        self.ids = IdRows(keep_names=False)
        self._half_lives = half_lives
        self._counted = {name: specs[name] for name in (OUTCOMES, RATES) if name in specs}
        self._values = {
            name: np.zeros((0, spec.width), dtype=spec.dtype)
            for name, spec in self._counted.items()
        }
        # Of all items, kept as one more row: exact, whatever order changes come in.
        self._totals = {
            name: np.zeros((1, spec.width), dtype=spec.dtype)
            for name, spec in self._counted.items()
        }
        own = specs.get(ARM_STATISTICS)
        self._own = None if own is None else RowStore(own)
        self._shared_spec = specs.get(STATISTICS)
        self._shared: NDArray[np.int64] | None = None
        self._stats = np.zeros((0, FADED + N_RATES * len(half_lives)), dtype=np.float32)
        self._touched: list[Slots] = []
        self._at_ms = 0
        self._view: ArmView | None = None

    # --- what partitions commit ------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Withdrawals first, then ids dropped and admitted, then what was learned."""
        self.add(change.withdrawn)
        if ARM in change.ids:
            ids = change.ids[ARM]
            dead = self.ids.release(ids.removed)
            if self._own is not None:
                self._own.drop(dead)
            self._view = None
            self.admit(ids)
        self.add(change.tables)

    def admit(self, ids: IdChange) -> None:
        """Give new ids a row each, of zeros."""
        rows = self.ids.admit(ids.added, ids.names)
        self._reserve(self.ids.n_rows)
        if self._own is not None:
            self._own.reserve(self.ids.n_rows)
        self._touch(rows)

    def add(self, tables: Mapping[str, Rows]) -> None:
        """Add contributions, or differences of them, of ids that are admitted."""
        for name, spec in self._counted.items():
            if name in tables and len(tables[name]):
                at = self._find(name, tables[name].keys)
                fold(spec, self._values[name], at, tables[name].values)
                fold(spec, self._totals[name], np.zeros_like(at), tables[name].values)
                self._touch(at)
        if self._own is not None and ARM_STATISTICS in tables:
            rows = tables[ARM_STATISTICS]
            self._own.merge(self._find(ARM_STATISTICS, rows.keys), rows.values)
            self._view = None
        if self._shared_spec is not None and STATISTICS in tables:
            self._add_shared(self._shared_spec, tables[STATISTICS])

    def _add_shared(self, spec: TableSpec, rows: Rows) -> None:
        if not len(rows):
            return
        # A new array: versions hold the one before.
        merged = np.zeros((1, spec.width), dtype=spec.dtype)
        if self._shared is not None:
            merged[0] = self._shared
        fold(spec, merged, rows.keys.astype(np.int32), rows.values)
        self._shared = merged[0]

    def _find(self, name: str, keys: Keys) -> Slots:
        at = self.ids.map.find(keys)
        assert len(at) == 0 or at.min() >= 0, f"{name}: a change of an arm that is not admitted"
        return at

    def _touch(self, rows: Slots) -> None:
        if len(rows):
            self._touched.append(rows)
            self._view = None

    def _reserve(self, n_rows: int) -> None:
        size = len(self._stats)
        if n_rows > size:
            size = max(n_rows, size + size // 2, 1_024)
            self._stats = grown(self._stats, size)
            self._values = {name: grown(values, size) for name, values in self._values.items()}

    # --- what requests see -----------------------------------------------------------------------

    def publish(self, watermark_ms: int) -> BanditView:
        """What is known now, immutable; copied only where something changed."""
        if self.ids.too_many_dead:
            self._pack()
        at_ms = decay_reference(self._half_lives, watermark_ms)
        if at_ms > self._at_ms:
            self._at_ms = at_ms
            self._touch(np.arange(self.ids.n_rows, dtype=np.int32))
        if self._view is None or self._view.at_ms != self._at_ms:
            self._view = self._published()
        return BanditView(self._shared, self._view, watermark_ms)

    def _published(self) -> ArmView:
        if self._touched:
            rows = np.unique(np.concatenate(self._touched))
            values = {name: values[rows] for name, values in self._values.items()}
            self._stats[rows] = self._read(values, len(rows))
            self._touched.clear()
        ids, _ = self.ids.publish()
        stats = self._stats[: self.ids.n_rows].copy()
        totals = self._read(self._totals, 1)[0]
        own = None if self._own is None else self._own.publish(self.ids.n_rows)
        return ArmView(ids, stats, totals, self._at_ms, self._half_lives, own)

    def _read(self, values: Mapping[str, Array], n: int) -> NDArray[np.float64]:
        """``(n, 3 + 2 * n_half_lives)`` numbers that rows of the tables stand for."""
        stats = np.zeros((n, FADED + N_RATES * len(self._half_lives)))
        if OUTCOMES in values:
            stats[:, [SHOWN, POSITIVE]] = values[OUTCOMES][:, [N_OUTCOMES, N_POSITIVE]]
            stats[:, REWARD] = values[OUTCOMES][:, REWARDS] * 2.0**-STATISTICS_BITS
        if RATES in values:
            each = np.repeat(self._half_lives, N_RATES)
            stats[:, FADED:] = decayed_values(values[RATES], each, self._at_ms)
        return stats

    def _pack(self) -> None:
        kept = self.ids.pack()
        if self._own is not None:
            self._own.pack(kept)
        self._stats = self._stats[kept]
        self._values = {name: values[kept] for name, values in self._values.items()}
        self._touched.clear()
        self._touch(np.arange(len(kept), dtype=np.int32))
