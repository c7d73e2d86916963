"""Several outcomes of what was shown, each foreseen by itself, from one row of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.bandit import slots_of, touched
from streamer_models.bandits.linear_statistics import (
    FEATURE_MAX,
    LinearStatistics,
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
from streamer_models.state.inputs import Examples, Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadDecayed, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ARM, Merge, Slots, TableSpec

OUTCOME_MAX = FEATURE_MAX
"""Bound of an outcome's magnitude: outcomes are summed as features are."""

Floats = NDArray[np.float64]


class Objectives(Model):
    """Sums of linear regression for several outcomes o of the same items, with features x.

    A row sums ``z zᵀ`` of ``z = (x, o)``, so it holds ``A = Σ x xᵀ``, ``Σ x oᵀ`` and ``Σ o oᵀ``
    alike (:mod:`streamer_models.bandits.linear_statistics`, whose rewards stay 0). The statistics
    of any weighted sum of the outcomes follow from it exactly (:func:`weighed`), so what slates are
    ranked for may be weighed anew without learning anew. An example that is amended is taken back
    with the outcomes that it was learned with.

    Beside it, what each item brought of each objective is counted, decayed; what is below 0 there
    counts as nothing. It learns behind :class:`streamer_models.bandits.bandit.Bandit`, which
    admits and evicts the arms, and counts how often each was shown.

    Parameters
    ----------
    objectives
        Name → types of events that bring it; the outcomes of examples are in this order.
    feature_names
        Of the examples' features: with others it is another model.
    counted_half_life_s
        Of what is counted by item.
    half_life_s
        After which evidence counts half in the statistics; 0: it does not fade.
    propensity_weight_max
        Bound of the weights that examples come with: with another one it is another model.

    Attributes
    ----------
    statistics, gains
        Its tables as they are read: one row of merged sums, and a counter an objective by item.
    """

    def __init__(
        self,
        *,
        objectives: Mapping[str, Sequence[str]],
        feature_names: Sequence[str],
        counted_half_life_s: float,
        half_life_s: float = 0.0,
        propensity_weight_max: float = 1.0,
    ) -> None:
        if not objectives:
            raise ValueError("no objectives: give a name and its types of events")
        self.objectives = {name: tuple(types) for name, types in objectives.items()}
        self.feature_names = tuple(feature_names)
        self._propensity_weight_max = propensity_weight_max
        self.half_life_ms = round(1000 * half_life_s)
        (self._counted_half_life_ms,) = half_lives_ms([counted_half_life_s]).tolist()
        n_objectives = len(objectives)
        n_summed = len(feature_names) + n_objectives
        self.statistics = ReadRows(
            statistics_spec("objective_statistics", "slot", n_summed, self.half_life_ms)
        )
        self.gains = ReadDecayed(
            TableSpec("objective_gains", ARM, Merge.DECAYED, "i8", CELLS_WIDTH * n_objectives),
            (self._counted_half_life_ms,) * n_objectives,
            totalled=True,
        )

    def settings(self) -> Mapping[str, Any]:
        return {
            "objectives": {name: list(types) for name, types in self.objectives.items()},
            "features": list(self.feature_names),
            "half_life_ms": self.half_life_ms,
            "counted_half_life_ms": self._counted_half_life_ms,
            "propensity_weight_max": self._propensity_weight_max,
        }

    def tables(self) -> Sequence[TableSpec]:
        return self.statistics.spec, self.gains.spec

    def readable(self) -> Sequence[Readable]:
        return self.statistics, self.gains

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Take back the outcomes of each example as they were, and add them as they are."""
        examples = inputs.examples
        if not len(examples) or examples.gains is None:
            return
        self._sum(examples, state)
        gains, slots = examples.gains, slots_of(examples, state)
        table = touched(self.gains.spec.name, slots, state)
        _count(
            table.values, slots, gains.before, gains.after, examples.ts_ms,
            self._counted_half_life_ms,
        )  # fmt: skip

    def _sum(self, examples: Examples, state: PartitionState) -> None:
        assert examples.gains is not None
        rows = np.zeros(len(examples), dtype=np.int32)
        table = touched(self.statistics.spec.name, rows, state)
        unknown = np.full(len(examples), np.nan)
        for outcomes, taken_back in ((examples.gains.before, True), (examples.gains.after, False)):
            known = ~np.isnan(outcomes[:, 0])
            z = np.hstack([examples.features, np.where(known[:, None], outcomes, 0.0)])
            example = np.where(known, 0.0, np.nan)  # NaN is no example
            before, after = (example, unknown) if taken_back else (unknown, example)
            amend_statistics(
                table.values, rows, z, before, after, examples.ts_ms, self.half_life_ms,
                examples.weights,
            )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _count(
    cells: NDArray[np.int64],
    slots: Slots,
    before: Floats,
    after: Floats,
    ts_ms: NDArray[np.int64],
    half_life_ms: int,
) -> None:
    """Bring counters of items from outcomes ``before`` to ``after``, ``(n, n_objectives)``."""
    for i in range(len(slots)):
        if slots[i] < 0:
            continue
        epoch, weight = forward_weight(ts_ms[i], half_life_ms)
        for j in range(before.shape[1]):
            was = whole(weight * before[i, j]) if before[i, j] > 0 else 0  # NaN is not above 0
            now = whole(weight * after[i, j]) if after[i, j] > 0 else 0
            add_to_counter(cells[slots[i]], j, epoch, now - was)


def weighed(joint: LinearStatistics, weights: Floats) -> LinearStatistics:
    """Return the statistics of a weighted sum of outcomes, as if it had been the reward.

    Parameters
    ----------
    joint
        Over ``d + m`` columns, of which the last m are the outcomes.
    weights
        ``(m,)``.

    Examples
    --------
    >>> z = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])  # a feature and two outcomes, twice
    >>> joint = LinearStatistics(2.0, 0.0, np.zeros(3), z.T @ z)
    >>> found = weighed(joint, np.array([1.0, 3.0]))
    >>> found.b.tolist(), found.reward_squares  # rewards of 1 and 4
    ([5.0], 17.0)
    """
    d = len(joint.a) - len(weights)
    squares, b = np.zeros(1), np.zeros(d)
    for j, weight in enumerate(weights.tolist()):  # one order of summing on every machine
        b += weight * joint.a[:d, d + j]
        for m, other in enumerate(weights.tolist()):
            squares += weight * other * joint.a[d + j, d + m]
    return LinearStatistics(joint.n, float(squares[0]), b, joint.a[:d, :d].copy())
