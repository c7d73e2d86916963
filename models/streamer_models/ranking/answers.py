"""What slates teach the blend: which of the items that were seen a user took up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer_models.ranking.answer_kernels import add_choices, sums_width
from streamer_models.ranking.blend_kernels import solved_weights
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadRows
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Array, Merge, Slots, TableSpec

Floats = NDArray[np.float64]


class AnsweredSlates(Model):
    """A correction of a blend, from choices among the items of slates.

    The logit of a candidate with columns x is ``z + V · x``, z that of
    :class:`streamer_models.ranking.blend.ListwiseBlend`. V is learned from slates alone: an item
    taken up was a choice among it and those that were seen and passed over, with shares
    ``softmax(z + V · x)``. The last column is ``ln(1 + position)`` there and 0 of candidates, so
    its weight c says how attention falls with the position, ``(1 + position)^c`` (the position
    based model of examination of Richardson et al. 2007, in a conditional logit), and what stands
    first is not taken for liked because it is looked at more often.

    A step is the online Newton step of the blend, without contexts: with the gradients g at the
    weights that the slate was made with, ``A = Σ w g gᵀ``, ``b = Σ w (g (g·V) - rate g)`` and
    ``V = (A₀ + A)⁻¹ (A₀ V₀ + b)``, w the square of the reward, at most 1. Everything in it was
    logged with the decision, so a choice that is amended is taken back to the same bits, and the
    sums are a function of decisions and events, however they were read.

    Parameters
    ----------
    columns
        Names of the columns, that of the position last.
    prior
        ``(n_columns,)`` V₀.
    rate
        Of a Newton step.
    precision
        Of the prior.

    Attributes
    ----------
    statistics
        Its merged sums as they are read, one row.
    """

    def __init__(
        self, *, columns: Sequence[str], prior: Floats, rate: float = 1.0, precision: float = 30.0
    ) -> None:
        if prior.shape != (len(columns),) or not columns:
            raise ValueError(f"prior {prior.shape} must be {(len(columns),)}, and not empty")
        if not (rate > 0 and precision > 0):
            raise ValueError(f"rate={rate}, precision={precision}: both above 0")
        self.columns, self.prior = tuple(columns), prior
        self.rate, self.precision = rate, precision
        width = sums_width(len(columns))
        self.statistics = ReadRows(TableSpec("blend_answers", "slot", Merge.SUM, "i8", width))

    def settings(self) -> Mapping[str, Any]:
        return {
            "columns": list(self.columns),
            "prior": self.prior.tolist(),
            "rate": self.rate,
            "precision": self.precision,
        }

    def tables(self) -> Sequence[TableSpec]:
        return (self.statistics.spec,)

    def readable(self) -> Sequence[Readable]:
        return (self.statistics,)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        """Take back what slates taught before, and add what they teach now."""
        choices = inputs.choices
        if not len(choices):
            return
        table = state.contributions[self.statistics.spec.name]
        table.reserve(1)
        table.touch(_FIRST)
        changes = zip(choices.slates, choices.before, choices.after, strict=True)
        for slate, before, after in changes:
            add_choices(table.values[0], slate, before, -1, self.rate)
            add_choices(table.values[0], slate, after, 1, self.rate)

    def weights(self, statistics: Array | None) -> Floats:
        """Return the ``(n_columns,)`` V that merged sums stand for, the prior's without."""
        if statistics is None:
            return self.prior
        precisions = np.full(len(self.prior), self.precision)
        found: Floats = solved_weights(statistics, self.prior, precisions)
        return found


_FIRST: Slots = np.zeros(1, dtype=np.int32)
