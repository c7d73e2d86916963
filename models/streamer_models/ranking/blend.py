"""The listwise blend: which of the candidates a user takes up, by what the channels say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer_models.ranking.blend_kernels import (
    N_CONTEXTS,
    NO_LIMIT,
    add_statistics,
    blend_scores,
    context_limits,
    shares_of_choice,
    slope,
    solved_weights,
    statistics_width,
)
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Array, Merge, Slots, Table, TableSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """What candidates are scored with.

    Attributes
    ----------
    weights
        ``(n_columns, 8)``.
    limits
        ``(2, 8)``: contexts beyond them count as the limit.
    """

    weights: Floats
    limits: Floats

    def scores(self, columns: Floats, context: Floats) -> Floats:
        """``(n,)`` logits of ``(n, n_columns)`` candidates in an ``(8,)`` context."""
        found: Floats = blend_scores(columns, self.weights, self.limits, context)
        return found


class ListwiseBlend(Model):
    """A conditional logit over candidates with weights that depend on who asks and when.

    ``z_i = Σ W[f, k] context[k] columns[i, f]``; the share of candidate i is ``softmax(z)_i``
    (McFadden 1974; listwise softmax, Cao et al. 2007). A step is an online Newton step (Hazan,
    Agarwal & Kale 2007) in the form of a regularized leader: with the gradients g at the weights
    they were taken at, ``A = Σ g gᵀ``, ``b = Σ g (g·W) - rate g`` and ``W = (A₀ + A)⁻¹ (A₀ W₀ +
    b)``. A and b are sums, so what several partitions learned adds up, in any order; nobody's steps
    are added. Contexts count within two deviations of what was learned with, see
    :func:`streamer_models.ranking.blend_kernels.context_limits`.

    A partition keeps its last steps and adds them to the sums, ``window`` at a time; then it takes
    the weights that all sums stand for. So weights are a function of its own steps and of what was
    merged, wherever batches end, and the sums (some 60 kB) are committed once a window.

    It learns from :meth:`step`, not from the inputs of a batch.

    Parameters
    ----------
    columns
        Names of the columns.
    prior
        ``(n_columns, 8)`` W₀.
    rate
        Of a Newton step.
    precision
        Of the prior, for weights of the constant context; the others have twice as much.
    window
        Steps between two sets of weights.

    Attributes
    ----------
    statistics
        Its merged sums as they are read, one row.
    """

    def __init__(
        self,
        *,
        columns: Sequence[str],
        prior: Floats,
        rate: float = 5.0,
        precision: float = 30.0,
        window: int = 32,
    ) -> None:
        n = len(columns)
        if prior.shape != (n, N_CONTEXTS) or not n:
            raise ValueError(f"prior {prior.shape} must be {(n, N_CONTEXTS)}, and not empty")
        if not (rate > 0 and precision > 0 and window > 0):
            raise ValueError(f"rate={rate}, precision={precision}, window={window}: all above 0")
        self.columns = tuple(columns)
        self.rate, self.precision, self.window = rate, precision, window
        self.prior = prior
        self.precisions = np.full(prior.shape, 2 * precision)
        self.precisions[:, 0] = precision
        everywhere = np.repeat([[-NO_LIMIT], [NO_LIMIT]], N_CONTEXTS, axis=1)
        self._first = BlendWeights(prior, everywhere)
        d, width = prior.size, statistics_width(n)
        self.statistics = ReadRows(TableSpec("blend_statistics", "slot", Merge.SUM, "i8", width))
        self._weights = TableSpec("blend_weights", "slot", Merge.REPLACE, "f8", d + 2 * N_CONTEXTS)
        self._steps = TableSpec("blend_steps", "slot", Merge.REPLACE, "f8", n + N_CONTEXTS)
        self._n_steps = TableSpec("blend_n_steps", "slot", Merge.REPLACE, "i8", 1)

    def settings(self) -> Mapping[str, Any]:
        return {
            "columns": list(self.columns),
            "prior": self.prior.tolist(),
            "rate": self.rate,
            "precision": self.precision,
            "window": self.window,
        }

    def tables(self) -> Sequence[TableSpec]:
        return self.statistics.spec, self._weights, self._steps, self._n_steps

    def readable(self) -> Sequence[Readable]:
        return (self.statistics,)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Learn nothing: a step of a batch is no choice among candidates."""

    def weights(self, state: PartitionState) -> BlendWeights:
        """Return the weights that a partition practises with."""
        table = state.own[self._weights.name]
        if not len(table):
            return self._first
        stored: Floats = table.values[0]
        limits = stored[self.prior.size :].reshape(2, N_CONTEXTS)
        return BlendWeights(stored[: self.prior.size].reshape(self.prior.shape), limits)

    def n_steps(self, state: PartitionState) -> int:
        """Return how many steps a partition has taken."""
        table = state.own[self._n_steps.name]
        return int(table.values[0, 0]) if len(table) else 0

    def merged_weights(self, statistics: Array | None) -> BlendWeights:
        """Return the weights that merged sums stand for, the prior's without."""
        if statistics is None:
            return self._first
        weights = solved_weights(statistics, self.prior, self.precisions)
        return BlendWeights(weights, context_limits(statistics, N_CONTEXTS))

    def step(
        self,
        columns: Floats,
        context: Floats,
        target: int,
        state: PartitionState,
        shared: SharedState,
    ) -> None:
        """Learn that candidate ``target`` of ``(n, n_columns)`` was the one taken up."""
        shares = shares_of_choice(self.weights(state).scores(columns, context))
        n = self.n_steps(state)
        steps = state.own[self._steps.name]
        steps.reserve(self.window)
        steps.touch(np.array([n % self.window], dtype=np.int32))
        steps.values[n % self.window] = np.concatenate([slope(columns, shares, target), context])
        self._touch(state.own[self._n_steps.name])[0, 0] = n + 1
        if (n + 1) % self.window == 0:
            self._renew(steps.values[: self.window], state, shared)

    def _renew(self, steps: Floats, state: PartitionState, shared: SharedState) -> None:
        taken_at = self.weights(state)
        sums = self._touch(shared.tables[self.statistics.spec.name])[0]
        add_statistics(sums, steps, len(self.columns), taken_at.weights, taken_at.limits, self.rate)
        new = self.merged_weights(sums)
        stored = self._touch(state.own[self._weights.name])
        stored[0] = np.concatenate([new.weights.reshape(-1), new.limits.reshape(-1)])

    @staticmethod
    def _touch(table: Table) -> Array:
        table.reserve(1)
        table.touch(_FIRST)
        return table.values


_FIRST: Slots = np.zeros(1, dtype=np.int32)
