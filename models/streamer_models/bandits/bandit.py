"""The live bandit's learner: outcomes of items shown → statistics that add up exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.linear_statistics import (
    STATISTICS_BITS,
    amend_statistics,
    statistics_spec,
)
from streamer_models.counters.decay import half_lives_ms
from streamer_models.state.decayed_cells import (
    CELLS_WIDTH,
    add_to_counter,
    forward_weight,
    whole,
)
from streamer_models.state.ids.id_table import META_FIRST_OFFSET
from streamer_models.state.inputs import Examples, Inputs, ShownItems
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadColumns, ReadDecayed, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ARM, Merge, Slots, Table, TableSpec

STATISTICS, ARM_STATISTICS = "bandit_statistics", "arm_statistics"
OUTCOMES, RATES = "arm_outcomes", "arm_rates"
N_OUTCOMES, N_POSITIVE, REWARDS, REWARD_SQUARES = range(4)
"""Columns of ``arm_outcomes``; rewards and their squares in units of 2^-24."""
N_RATES = 2
"""Counters a half-life in ``arm_rates``: outcomes, and those with a positive reward."""


class Bandit(Model):
    """Counts outcomes by arm, and sums the statistics of linear models over the features.

    It learns from :class:`streamer_models.state.inputs.Examples`, which say what changed: an
    outcome that is amended or taken back leaves the sums as if it had always been so. What one
    partition adds depends on its own examples alone, and all of it merges exactly.

    An arm is admitted when it is shown. At the bound those shown least recently are dropped with
    their statistics; an example older than its arm (which was dropped in between) changes the
    shared model alone.

    Parameters
    ----------
    n_features
        d, of the examples.
    half_lives_s
        Of ``arm_rates``, in seconds of event time.
    half_life_s
        After which evidence counts half in the linear models; 0: evidence does not fade.
    per_arm
        Whether each arm has a linear model of its own, beside the shared one: 4 * d^2 bytes an
        arm, 16 * d^2 where evidence fades.

    feature_names
        What the features mean, in order: with others it is another model.
    propensity_weight_max
        Bound of the weights that examples come with: with another one it is another model.

    Attributes
    ----------
    statistics, arm_statistics, outcomes, rates
        Its tables as they are read; ``arm_statistics`` is None without ``per_arm``.
    """

    def __init__(
        self,
        *,
        n_features: int,
        half_lives_s: Sequence[float],
        half_life_s: float = 0.0,
        per_arm: bool = False,
        feature_names: Sequence[str] = (),
        propensity_weight_max: float = 1.0,
    ) -> None:
        if feature_names and len(feature_names) != n_features:
            raise ValueError(f"{len(feature_names)} names for n_features={n_features}")
        self.feature_names = tuple(feature_names)
        self.n_features = n_features
        self._propensity_weight_max = propensity_weight_max
        self.half_lives = half_lives_ms(half_lives_s)
        self.half_life_ms = round(1000 * half_life_s)
        self.per_arm = per_arm
        self.statistics = ReadRows(
            statistics_spec(STATISTICS, "slot", n_features, self.half_life_ms)
        )
        of_arms = statistics_spec(ARM_STATISTICS, ARM, n_features, self.half_life_ms)
        self.arm_statistics = ReadRows(of_arms, many_at_once=True) if per_arm else None
        unit = 2.0**-STATISTICS_BITS
        self.outcomes = ReadColumns(
            TableSpec(OUTCOMES, ARM, Merge.SUM, "i8", 4), units=(1, 1, unit, unit), totalled=True
        )
        self.rates = ReadDecayed(
            TableSpec(
                RATES, ARM, Merge.DECAYED, "i8", N_RATES * CELLS_WIDTH * len(self.half_lives)
            ),
            tuple(np.repeat(self.half_lives, N_RATES).tolist()),
            totalled=True,
        )

    def settings(self) -> Mapping[str, Any]:
        return {
            "features": list(self.feature_names) or self.n_features,
            "half_lives_ms": self.half_lives.tolist(),
            "half_life_ms": self.half_life_ms,
            "per_arm": self.per_arm,
            "propensity_weight_max": self._propensity_weight_max,
        }

    def tables(self) -> Sequence[TableSpec]:
        return (
            self.statistics.spec,
            self.outcomes.spec,
            self.rates.spec,
            *([self.arm_statistics.spec] if self.arm_statistics else []),
        )

    def readable(self) -> Sequence[Readable]:
        of_arms = [self.arm_statistics] if self.arm_statistics else []
        return self.statistics, self.outcomes, self.rates, *of_arms

    def make_room(self, ahead: Inputs, state: PartitionState) -> int | None:
        """Evict arms until the first of the slates ahead can be shown.

        Of a slate with more arms than there may be at all, the rest will be refused.
        """
        shown = ahead.shown
        if not len(shown):
            return None
        arms = state.ids[ARM]
        n_first = int(np.searchsorted(shown.offsets, shown.offsets[0], side="right"))
        n_ready = arms.plan(shown.item_ids).n_ready
        while n_ready < n_first and len(arms):
            state.evict(ARM, arms.evictable())
            n_ready = arms.plan(shown.item_ids).n_ready
        n_ready = max(n_ready, n_first)
        return int(shown.offsets[n_ready]) if n_ready < len(shown) else None

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Admit the arms shown, then bring the statistics from each example's ``before`` to its
        ``after``."""
        self._show(inputs.shown, state)
        self._learn_examples(inputs.examples, state)

    def _show(self, shown: ShownItems, state: PartitionState) -> None:
        """Admit arms as far as there is room, and count those that are refused."""
        if not len(shown):
            return
        arms = state.ids[ARM]
        plan = arms.plan(shown.item_ids)
        n = plan.n_ready
        arms.apply(plan, n, shown.offsets)
        arms.n_refused += len(shown) - n
        state.reserve()
        slots = plan.slots[:n]
        known = slots >= 0
        arms.seen(slots[known], shown.offsets[:n][known], shown.ts_ms[:n][known])

    def _learn_examples(self, examples: Examples, state: PartitionState) -> None:
        if not len(examples):
            return
        index = np.zeros(len(examples), dtype=np.int32)
        self._amend(STATISTICS, index, examples, state)
        slots = slots_of(examples, state)
        if self.per_arm:
            self._amend(ARM_STATISTICS, slots, examples, state)
        outcomes = touched(OUTCOMES, slots, state)
        _amend_outcomes(outcomes.values, slots, examples.before, examples.after)
        rates = touched(RATES, slots, state)
        _amend_rates(
            rates.values, slots, examples.before, examples.after, examples.ts_ms, self.half_lives
        )

    def _amend(self, name: str, rows: Slots, examples: Examples, state: PartitionState) -> None:
        amend_statistics(
            touched(name, rows, state).values,
            rows,
            examples.features,
            examples.before,
            examples.after,
            examples.ts_ms,
            self.half_life_ms,
            examples.weights,
        )


def slots_of(examples: Examples, state: PartitionState) -> Slots:
    """``(n,)`` slots of the arms, -1 where there is none or a younger one than the example."""
    arms = state.ids[ARM]
    slots = arms.slots_of(examples.arm_ids)
    if len(arms.meta):
        younger = arms.meta.values[slots, META_FIRST_OFFSET] > examples.offsets
        slots[younger] = -1
    return slots


def touched(name: str, rows: Slots, state: PartitionState) -> Table:
    """Return a table of contributions, with room for rows that are about to be changed."""
    table = state.contributions[name]
    if table.spec.entity not in state.ids:
        table.reserve(1)
    table.touch(rows)
    return table


@numba.njit(cache=True, nogil=True)
def _amend_outcomes(
    values: NDArray[np.int64],
    slots: Slots,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
) -> None:
    unit = 2.0**STATISTICS_BITS
    for i in range(len(slots)):
        if slots[i] < 0:
            continue
        row = values[slots[i]]
        for reward, sign in ((before[i], -1), (after[i], 1)):
            if not np.isnan(reward):
                row[N_OUTCOMES] += sign
                row[N_POSITIVE] += sign if reward > 0 else 0
                row[REWARDS] += sign * np.int64(np.rint(reward * unit))
                row[REWARD_SQUARES] += sign * np.int64(np.rint(reward * reward * unit))


@numba.njit(cache=True, nogil=True)
def _amend_rates(
    cells: NDArray[np.int64],
    slots: Slots,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    ts_ms: NDArray[np.int64],
    half_lives: NDArray[np.int64],
) -> None:
    """Decayed counts of outcomes, and of positive ones, by half-life."""
    for i in range(len(slots)):
        if slots[i] < 0:
            continue
        n = int(not np.isnan(after[i])) - int(not np.isnan(before[i]))
        n_positive = int(after[i] > 0) - int(before[i] > 0)  # NaN is not above 0
        for h in range(len(half_lives)):
            epoch, weight = forward_weight(ts_ms[i], half_lives[h])
            one = whole(weight)
            add_to_counter(cells[slots[i]], N_RATES * h, epoch, n * one)
            add_to_counter(cells[slots[i]], N_RATES * h + 1, epoch, n_positive * one)
